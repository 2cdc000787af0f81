# Write tests/r/survival.json: `Rscript tests/r/survival.R [OUT]`, from the folder that holds tests/.
# Baseline hazards by basehaz, probabilities of survival by predict and by survfit.
suppressPackageStartupMessages({library(survival); library(jsonlite)})

read <- function(name) read.csv(file.path("tests", "r", "cohorts", paste0(name, ".csv")), stringsAsFactors = TRUE)
exactly <- coxph.control(eps = 1e-12, iter.max = 100, toler.chol = 1e-14)

models <- list(
  "whas500" = list(formula = Surv(duration, event) ~ age + gender + hr, times = c(1, 30, 365.5, 1000, 2358)),
  "gbsg2" = list(formula = Surv(duration, event) ~ horTh + pnodes + tgrade, times = c(72, 365, 1826.25, 2456)),
  "ties" = list(formula = Surv(duration, event) ~ age + faceage + stage, times = c(0, 1, 2.5, 8)),
  "ties, strata" = list(formula = Surv(duration, event) ~ faceage + sex + strata(stage), times = c(0, 1, 2.5, 6)),
  "entry" = list(formula = Surv(entry, duration, event) ~ age + risk + sex, times = c(0.1, 1, 2.75, 5)),
  "entry, strata" = list(formula = Surv(entry, duration, event) ~ age + risk + strata(arm), times = c(0.1, 1, 2.75, 5))
)

predictions <- list()
for (name in names(models)) for (ties in c("efron", "breslow")) {
  data <- read(sub(",.*", "", name))
  formula <- models[[name]]$formula
  environment(formula) <- environment()
  fit <- coxph(formula, data, ties = ties, control = exactly)
  hazard <- basehaz(fit, centered = FALSE)
  people <- head(data, 8)
  if (!is.null(people$entry)) people$entry <- 0
  at <- sapply(models[[name]]$times, function(time) predict(fit, transform(people, duration = time), type = "survival"))
  result <- list(ties = ties, times = models[[name]]$times, hazard = hazard$hazard, time = hazard$time, survival = unname(at),
                 log_ratio = unname(predict(fit, people, type = "lp", reference = "zero")))
  if (is.null(hazard$strata)) {
    curves <- summary(survfit(fit, newdata = people), times = models[[name]]$times)
    result$curves <- unname(t(curves$surv))
  }
  predictions[[paste(name, ties)]] <- result
}

arguments <- commandArgs(trailingOnly = TRUE)
out <- if (length(arguments)) arguments[1] else file.path("tests", "r", "survival.json")
write_json(predictions, out, digits = NA, auto_unbox = TRUE)
