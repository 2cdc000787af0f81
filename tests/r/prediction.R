# Calibration and net benefit by R's survival package: `Rscript prediction.R [where the JSON goes]`.
suppressMessages({
  library(survival)
  library(jsonlite)
})
here <- dirname(sub("--file=", "", grep("--file=", commandArgs(), value = TRUE)))
out <- c(commandArgs(trailingOnly = TRUE), file.path(here, "prediction.json"))[1]

# A horizon for each cohort, and age as what predicts death by it.
cohorts <- list(gbsg2 = 1000, whas500 = 700, ties = 3, entry = 4)

results <- lapply(names(cohorts), function(name) {
  horizon <- cohorts[[name]]
  data <- read.csv(file.path(here, "cohorts", paste0(name, ".csv")))
  y <- if (is.null(data$entry)) Surv(data$duration, data$event) else Surv(data$entry, data$duration, data$event)
  probability <- plogis((data$age - 65) / 15)

  dead <- function(rows) {
    curve <- summary(survfit(y[rows] ~ 1), times = horizon)
    list(risk = 1 - curve$surv, se = curve$std.err)
  }
  observed <- dead(rep(TRUE, nrow(data)))
  ratio <- observed$risk / mean(probability)
  margin <- exp(qnorm(0.975) * observed$se / observed$risk)

  x <- log(-log(1 - probability))
  slope <- coxph(y ~ x)

  k <- quantile(x, c(0.1, 0.5, 0.9))
  cube <- function(knot) pmax(x - knot, 0)^3
  bend <- cube(k[1]) - cube(k[2]) * (k[3] - k[1]) / (k[3] - k[2]) + cube(k[3]) * (k[2] - k[1]) / (k[3] - k[2])
  smooth <- coxph(y ~ x + bend)
  newdata <- data.frame(x = x, bend = bend)
  curve <- 1 - drop(summary(survfit(smooth, newdata = newdata), times = horizon)$surv)
  distance <- abs(curve - probability)

  thresholds <- c(0.2, 0.4, 0.6)
  benefit <- sapply(thresholds, function(threshold) {
    treated <- probability >= threshold
    died <- dead(treated)$risk
    mean(treated) * (died - (1 - died) * threshold / (1 - threshold))
  })
  list(
    cohort = name, horizon = horizon,
    observed_expected = c(observed$risk, mean(probability), ratio, ratio / margin, ratio * margin),
    slope = unname(c(coef(slope), sqrt(vcov(slope)))),
    index = unname(c(mean(distance), median(distance), quantile(distance, 0.9), max(distance))),
    curve = unname(curve[1:10]), thresholds = thresholds, net_benefit = benefit,
    treat_all = observed$risk - (1 - observed$risk) * thresholds / (1 - thresholds)
  )
})

write(toJSON(list(survival = as.character(packageVersion("survival")), results = results),
  digits = 17, auto_unbox = TRUE, pretty = TRUE), out)
