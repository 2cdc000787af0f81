# Concordance as R's survival package has it: `Rscript concordance.R [where the JSON goes]`.
suppressMessages({
  library(survival)
  library(jsonlite)
})
here <- dirname(sub("--file=", "", grep("--file=", commandArgs(), value = TRUE)))
out <- c(commandArgs(trailingOnly = TRUE), file.path(here, "concordance.json"))[1]

cohorts <- list(
  gbsg2 = c("pnodes", "tsize"),
  whas500 = c("age", "hr"),
  veteran = c("Months_from_Diagnosis", "Age_in_years"),
  flchain = c("age", "kappa"),
  ties = c("faceage", "age"),
  entry = c("risk", "age")
)

results <- lapply(names(cohorts), function(name) {
  data <- read.csv(file.path(here, "cohorts", paste0(name, ".csv")))
  y <- if (is.null(data$entry)) Surv(data$duration, data$event) else Surv(data$entry, data$duration, data$event)
  a <- data[[cohorts[[name]][1]]]
  b <- data[[cohorts[[name]][2]]]
  single <- concordance(y ~ a, reverse = TRUE, influence = 1)
  # Models whose linear predictor is the score itself.
  fit_a <- coxph(y ~ a, init = 1, iter.max = 0)
  fit_b <- coxph(y ~ b, init = 1, iter.max = 0)
  both <- concordance(fit_a, fit_b)
  contrast <- c(1, -1)
  difference <- sum(contrast * coef(both))
  se <- sqrt(drop(contrast %*% vcov(both) %*% contrast))
  result <- list(
    cohort = name, risk_a = cohorts[[name]][1], risk_b = cohorts[[name]][2],
    c = unname(coef(single)), se = sqrt(vcov(single)), influence = unname(single$dfbeta)[1:20],
    c_b = unname(coef(both))[2], difference = difference, difference_se = se, p = 2 * pnorm(-abs(difference / se))
  )
  if (is.null(data$entry) && !any(data$duration == 0)) {
    tau <- unname(quantile(data$duration[data$event == 1], 0.8, type = 1))
    # Uno's weights 1 / G(t-)^2, and pairs whose first death comes at tau or earlier.
    uno <- concordance(y ~ a, reverse = TRUE, timewt = "n/G2", ymax = tau)
    result <- c(result, list(tau = tau, uno = unname(coef(uno))))
  }
  result
})

write(toJSON(list(survival = as.character(packageVersion("survival")), results = results),
  digits = 17, auto_unbox = TRUE, pretty = TRUE), out)
