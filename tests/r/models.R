# Write tests/r/models.json: `Rscript tests/r/models.R [OUT]`, from the folder that holds tests/.
# Cox models side by side: survival's coxph, concordance, anova and survfit, and the Brier score by its definition.
suppressPackageStartupMessages({library(survival); library(jsonlite)})

read <- function(name) read.csv(file.path("tests", "r", "cohorts", paste0(name, ".csv")), stringsAsFactors = TRUE)
exactly <- coxph.control(eps = 1e-12, iter.max = 100, toler.chol = 1e-14)

compare <- function(data, outcome, models) {
  fits <- lapply(models, function(covariates) {
    model <- coxph(reformulate(covariates, outcome), data, control = exactly)
    model$call$formula <- model$formula  # concordance looks for it there
    model
  })
  each <- lapply(fits, function(fit) {
    found <- concordance(fit)
    list(log_likelihood = fit$loglik[2], aic = AIC(fit), c = unname(coef(found)), se = sqrt(drop(vcov(found))))
  })
  pairs <- combn(names(models), 2, simplify = FALSE)
  differences <- lapply(pairs, function(pair) {
    both <- concordance(fits[[pair[2]]], fits[[pair[1]]])
    contrast <- c(1, -1)
    se <- sqrt(drop(contrast %*% vcov(both) %*% contrast))
    difference <- sum(contrast * coef(both))
    list(model = pair[2], against = pair[1], difference = difference, se = se, p = 2 * pnorm(-abs(difference / se)))
  })
  nested <- Filter(function(pair) all(models[[pair[1]]] %in% models[[pair[2]]]), pairs)
  tests <- lapply(nested, function(pair) {
    test <- anova(fits[[pair[1]]], fits[[pair[2]]])
    list(reduced = pair[1], full = pair[2], chisq = test$Chisq[2], df = test$Df[2], p = test[2, "Pr(>|Chi|)"])
  })
  list(fits = fits, json = list(models = each, differences = differences, likelihood_ratio = tests))
}

# Deaths precede censorings at the same time; G is the Kaplan-Meier estimate of being uncensored after a time.
brier <- function(fit, data, horizon) {
  survival <- as.vector(summary(survfit(fit, newdata = data), times = horizon)$surv)
  times <- sort(unique(data$duration[data$event == 0]))
  left <- sapply(times, function(t) sum(data$duration > t | (data$duration == t & data$event == 0)))
  G <- stepfun(times, c(1, cumprod(1 - sapply(times, function(t) sum(data$duration == t & data$event == 0)) / left)))
  dead <- data$duration <= horizon & data$event == 1
  alive <- data$duration > horizon
  mean(ifelse(dead, survival^2 / G(data$duration), ifelse(alive, (1 - survival)^2 / G(horizon), 0)))
}

gbsg2 <- read("gbsg2")
models <- list(clinical = c("age", "horTh"), nodes = c("age", "horTh", "pnodes"), size = c("age", "horTh", "tsize"),
               both = c("age", "horTh", "pnodes", "tsize"))
times <- c(365, 1000, 1800)
found <- compare(gbsg2, quote(Surv(duration, event)), models)
found$json$brier <- lapply(found$fits, function(fit) sapply(times, brier, fit = fit, data = gbsg2))
entry <- compare(read("entry"), quote(Surv(entry, duration, event)), list(age = "age", both = c("age", "risk")))

arguments <- commandArgs(trailingOnly = TRUE)
out <- if (length(arguments)) arguments[1] else file.path("tests", "r", "models.json")
write_json(list(gbsg2 = found$json, entry = entry$json), out, digits = NA, auto_unbox = TRUE, pretty = 1)
