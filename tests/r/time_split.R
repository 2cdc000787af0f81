# Write tests/r/time_split.json: `Rscript tests/r/time_split.R [OUT]`, from the folder that holds tests/.
# Hazard ratios in windows of time by survSplit and coxph, and restricted means by survfit, both of the package survival.
suppressPackageStartupMessages({library(survival); library(jsonlite)})

read <- function(name) read.csv(file.path("tests", "r", "cohorts", paste0(name, ".csv")), stringsAsFactors = TRUE)
exactly <- coxph.control(eps = 1e-12, iter.max = 100, toler.chol = 1e-14)

windows <- function(split, exposure, covariates) {
  y <- quote(Surv(tstart, tstop, status))
  one <- coxph(reformulate(c(exposure, covariates), y), split, control = exactly)
  terms <- c(covariates, paste0(exposure, ":strata(window)"))
  # One coefficient a window: without the main effect of the exposure.
  each <- coxph(reformulate(terms, y), split, control = exactly)
  line <- summary(each)
  rows <- grep("strata", rownames(line$coefficients))
  list(n = as.vector(table(split$window)), events = as.vector(tapply(split$status, split$window, sum)),
       hr = unname(line$conf.int[rows, 1]), hr_low = unname(line$conf.int[rows, 3]),
       hr_high = unname(line$conf.int[rows, 4]), p = unname(line$coefficients[rows, 5]),
       p_equal = pchisq(2 * (each$loglik[2] - one$loglik[2]), length(rows) - 1, lower.tail = FALSE))
}

veteran <- read("veteran")
ties <- read("ties")
entry <- read("entry")
split <- list(
  veteran = survSplit(Surv(duration, event) ~ ., veteran, cut = c(50, 150), episode = "window", end = "tstop", event = "status"),
  ties = survSplit(Surv(duration, event) ~ ., ties, cut = c(2, 4), zero = -1, episode = "window", end = "tstop", event = "status"),
  entry = survSplit(Surv(entry, duration, event) ~ ., entry, cut = c(2, 5), episode = "window", start = "tstart", end = "tstop", event = "status")
)
windowed <- list(
  veteran = windows(split$veteran, "Karnofsky_score", c("Treatment", "Age_in_years")),
  ties = windows(split$ties, "faceage", c("age", "sex", "stage")),
  entry = windows(split$entry, "risk", c("age", "arm"))
)

restricted <- function(formula, data, tau) {
  found <- summary(survfit(formula, data), rmean = tau)$table
  list(tau = tau, mean = unname(found[, "rmean"]), se = unname(found[, "se(rmean)"]))
}
means <- list(
  veteran = restricted(Surv(duration, event) ~ Celltype, veteran, 180),
  entry = restricted(Surv(entry, duration, event) ~ arm, entry, 6)
)

arguments <- commandArgs(trailingOnly = TRUE)
out <- if (length(arguments)) arguments[1] else file.path("tests", "r", "time_split.json")
write_json(list(windows = windowed, restricted_means = means), out, digits = NA, auto_unbox = TRUE, pretty = 1)
