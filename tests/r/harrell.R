# Write tests/r/harrell.json: `Rscript tests/r/harrell.R [OUT]`, from the folder that holds tests/.
# Knots and basis by Harrell's own rcspline.eval (Debian's r-cran-hmisc), which rcs in his package rms calls.
suppressPackageStartupMessages({library(survival); library(Hmisc); library(jsonlite)})

read <- function(name) read.csv(file.path("tests", "r", "cohorts", paste0(name, ".csv")))
exactly <- coxph.control(eps = 1e-12, iter.max = 100, toler.chol = 1e-14)

spline <- function(name, column, rows, count) {
  data <- head(read(name), rows)
  basis <- rcspline.eval(data[[column]], nk = count, inclx = TRUE)
  fit <- coxph(Surv(data$duration, data$event) ~ basis, ties = "efron", control = exactly)
  list(cohort = name, column = column, rows = nrow(data), count = count, knots = attr(basis, "knots"),
       coef = unname(coef(fit)), se = unname(sqrt(diag(vcov(fit)))))
}
splines <- c(
  lapply(3:7, function(count) spline("whas500", "bmi", 500, count)),
  lapply(3:5, function(count) spline("veteran", "Age_in_years", 99, count)),
  lapply(3:5, function(count) spline("veteran", "Age_in_years", 100, count))
)

arguments <- commandArgs(trailingOnly = TRUE)
out <- if (length(arguments)) arguments[1] else file.path("tests", "r", "harrell.json")
write_json(splines, out, digits = NA, auto_unbox = TRUE, pretty = 1)
