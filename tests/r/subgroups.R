# Write tests/r/subgroups.json: `Rscript tests/r/subgroups.R [OUT]`, from the folder that holds tests/.
# Hazard ratios of an exposure within subgroups, and likelihood-ratio tests of interaction, by survival's coxph.
suppressPackageStartupMessages({library(survival); library(jsonlite)})

read <- function(name) read.csv(file.path("tests", "r", "cohorts", paste0(name, ".csv")), stringsAsFactors = TRUE)
exactly <- coxph.control(eps = 1e-12, iter.max = 100, toler.chol = 1e-14)

# R warns where a covariate's group without events runs to infinity; the exposure's numbers converge all the same.
within <- function(level, data, subgroup, outcome, exposure, covariates) {
  part <- data[data[[subgroup]] == level, ]
  model <- suppressWarnings(coxph(reformulate(c(exposure, covariates), outcome), part, control = exactly))
  line <- summary(model)
  list(subgroup = subgroup, level = level, n = model$n, events = model$nevent, hr = line$conf.int[1, 1],
       hr_low = line$conf.int[1, 3], hr_high = line$conf.int[1, 4], p = line$coefficients[1, 5])
}

forest <- function(data, outcome, exposure, subgroups, covariates) {
  parts <- lapply(subgroups, function(subgroup) {
    others <- setdiff(covariates, subgroup)
    product <- paste0(exposure, ":", subgroup)
    reduced <- coxph(reformulate(c(exposure, subgroup, others), outcome), data, control = exactly)
    full <- coxph(reformulate(c(exposure, subgroup, others, product), outcome), data, control = exactly)
    list(levels = lapply(levels(data[[subgroup]]), within, data, subgroup, outcome, exposure, others),
         p = anova(reduced, full)[2, "Pr(>|Chi|)"])
  })
  p <- sapply(parts, `[[`, "p")
  list(levels = do.call(c, lapply(parts, `[[`, "levels")), p_interaction = p, p_holm = p.adjust(p, "holm"))
}

gbsg2 <- read("gbsg2")
entry <- read("entry")
result <- list(
  gbsg2 = forest(gbsg2, quote(Surv(duration, event)), "pnodes", c("horTh", "tgrade", "menostat"),
                 c("age", "tsize", "horTh", "tgrade")),
  entry = forest(entry, quote(Surv(entry, duration, event)), "risk", c("sex", "arm"), c("age", "sex"))
)
# Of the treated women with a small tumour of grade I nobody dies: the coefficients of the grades run away.
small <- gbsg2[gbsg2$tsize <= 30, ]
small$event[small$tgrade == "I" & small$horTh == "yes"] <- 0
result$separated <- within("yes", small, "horTh", quote(Surv(duration, event)), "pnodes", c("age", "tgrade"))

arguments <- commandArgs(trailingOnly = TRUE)
out <- if (length(arguments)) arguments[1] else file.path("tests", "r", "subgroups.json")
write_json(result, out, digits = NA, auto_unbox = TRUE, pretty = 1)
