# Write tests/r/splines.json: `Rscript tests/r/splines.R [OUT]`, from the folder that holds tests/.
# Natural splines by R's own basis, splines::ns: it spans the same curves as Harrell's, with other coefficients.
suppressPackageStartupMessages({library(survival); library(splines); library(jsonlite)})

read <- function(name) read.csv(file.path("tests", "r", "cohorts", paste0(name, ".csv")), stringsAsFactors = TRUE)
exactly <- coxph.control(eps = 1e-12, iter.max = 100, toler.chol = 1e-14)

outer <- c("3" = 0.1, "4" = 0.05, "5" = 0.05, "6" = 0.05, "7" = 0.025)
curve <- function(name, column, others, count, reference, values, cluster = "") {
  data <- read(name)
  x <- data[[column]]
  edge <- outer[[as.character(count)]]
  knots <- unname(quantile(x, seq(edge, 1 - edge, length.out = count)))
  y <- if (is.null(data$entry)) Surv(data$duration, data$event) else Surv(data$entry, data$duration, data$event)
  basis <- ns(x, knots = knots[2:(count - 1)], Boundary.knots = knots[c(1, count)])
  z <- model.matrix(reformulate(others), data)[, -1, drop = FALSE]
  group <- if (cluster == "") NULL else data[[cluster]]
  spline <- coxph(y ~ basis + z, ties = "efron", control = exactly, cluster = group)
  straight <- coxph(y ~ x + z, ties = "efron", control = exactly)

  own <- seq_len(count - 1)
  b <- coef(spline)[own]
  v <- vcov(spline)[own, own]
  difference <- sweep(predict(basis, values), 2, predict(basis, reference))
  ratio <- drop(difference %*% b)
  margin <- qnorm(0.975) * sqrt(rowSums((difference %*% v) * difference))

  # The straight line in this basis; the distance of b from its multiples, in errors, is the Wald test of bending.
  line <- coef(lm(x ~ basis))[-1]
  slope <- sum(line * solve(v, b)) / sum(line * solve(v, line))
  rest <- b - slope * line
  wald <- sum(rest * solve(v, rest))
  list(cohort = name, column = column, others = I(others), count = count, reference = reference, values = values,
       knots = knots, log_likelihood = spline$loglik[2], hr = exp(ratio), hr_low = exp(ratio - margin),
       hr_high = exp(ratio + margin), wald = c(wald, count - 2, pchisq(wald, count - 2, lower.tail = FALSE)),
       likelihood_ratio = 2 * (spline$loglik[2] - straight$loglik[2]), cluster = cluster)
}

curves <- list(
  curve("whas500", "bmi", c("age", "gender"), 4, 27, c(13, 20, 24, 27, 31, 40, 50)),
  curve("whas500", "bmi", c("age", "gender"), 7, 27, c(13, 20, 24, 27, 31, 40, 50)),
  curve("gbsg2", "age", c("tsize"), 3, 50, c(20, 35, 50, 65, 80)),
  curve("gbsg2", "age", c("tsize"), 6, 50, c(20, 35, 50, 65, 80)),
  curve("ties", "faceage", c("age", "sex"), 5, 60, c(30, 45, 60, 75, 90)),
  curve("entry", "age", c("risk", "sex"), 4, 55, c(20, 40, 55, 70, 95)),
  curve("entry", "age", c("risk", "sex"), 4, 55, c(20, 40, 55, 70, 95), cluster = "family")
)

entry <- read("entry")
product <- function(formula) coxph(formula, entry, ties = "efron", control = exactly)
full <- product(Surv(entry, duration, event) ~ risk * arm + age)
interaction <- list(
  coef = unname(coef(full)), se = unname(sqrt(diag(vcov(full)))), log_likelihood = full$loglik[2],
  likelihood_ratio = 2 * (full$loglik[2] - product(Surv(entry, duration, event) ~ risk + arm + age)$loglik[2])
)

arguments <- commandArgs(trailingOnly = TRUE)
out <- if (length(arguments)) arguments[1] else file.path("tests", "r", "splines.json")
write_json(list(curves = curves, interaction = interaction), out, digits = NA, auto_unbox = TRUE, pretty = 1)
