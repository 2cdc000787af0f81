# Write tests/r/combination.json: `Rscript tests/r/combination.R [OUT]`, from the folder that holds tests/.
# One Cox model of several blocks, each added to those before it and to all others: coxph, anova and concordance.
suppressPackageStartupMessages({library(survival); library(jsonlite)})

read <- function(name) read.csv(file.path("tests", "r", "cohorts", paste0(name, ".csv")), stringsAsFactors = TRUE)
exactly <- coxph.control(eps = 1e-12, iter.max = 100, toler.chol = 1e-14)

combine <- function(data, outcome, blocks) {
  fit <- function(names) {
    model <- coxph(reformulate(if (length(names)) unlist(blocks[names]) else "1", outcome), data, control = exactly)
    model$call$formula <- model$formula  # concordance looks for it there
    model
  }
  gain <- function(block, others) {
    larger <- fit(names(blocks)[names(blocks) %in% c(block, others)])
    smaller <- fit(others)
    test <- anova(smaller, larger)
    row <- list(block = block, to = if (length(others)) paste(others, collapse = " + ") else "nothing",
                chisq = test$Chisq[2], df = test$Df[2], p = test[2, "Pr(>|Chi|)"])
    if (!length(others)) {
      found <- concordance(larger)
      return(c(row, c = unname(coef(found)), difference = unname(coef(found)) - 0.5, se = sqrt(drop(vcov(found)))))
    }
    both <- concordance(larger, smaller)
    contrast <- c(1, -1)
    c(row, c = unname(coef(both)[1]), difference = sum(contrast * coef(both)),
      se = sqrt(drop(contrast %*% vcov(both) %*% contrast)))
  }
  order <- names(blocks)
  whole <- summary(fit(order))
  list(
    hr = unname(whole$conf.int[, "exp(coef)"]), low = unname(whole$conf.int[, "lower .95"]),
    high = unname(whole$conf.int[, "upper .95"]), p = unname(whole$coefficients[, "Pr(>|z|)"]),
    in_order = lapply(seq_along(order), function(place) gain(order[place], head(order, place - 1))),
    last = lapply(order, function(block) gain(block, setdiff(order, block)))
  )
}

ties <- read("ties")
ties$risk <- sin(1.7 * (seq_len(nrow(ties)) - 1)) + 0.04 * ties$faceage
ties$sex <- relevel(ties$sex, "female")
ties$stage <- relevel(ties$stage, "I")
entry <- read("entry")
found <- list(
  ties = combine(ties, quote(Surv(duration, event)), list(
    clinical = c("I(age / 10)", "sex", "stage"), FaceAge = "I(faceage / 10)", FaceSurvival = "scale(risk)")),
  entry = combine(entry, quote(Surv(entry, duration, event)), list(age = "I(age / 10)", FaceSurvival = "scale(risk)"))
)

arguments <- commandArgs(trailingOnly = TRUE)
out <- if (length(arguments)) arguments[1] else file.path("tests", "r", "combination.json")
write_json(found, out, digits = NA, auto_unbox = TRUE, pretty = 1)
