# Write tests/r/agreement.json: `Rscript tests/r/agreement.R [OUT]`, from the folder that holds tests/.
# Intraclass correlations by psych::ICC, errors of measurement from aov, equivalence by two one-sided t.test.
suppressPackageStartupMessages({library(psych); library(jsonlite)})

i <- 1:40
before <- 30 + (i * 7) %% 40 + ((i * 13) %% 17) / 4
after <- before + 0.4 + ((i * 29) %% 23 - 11) / 6
tables <- list(
  shrout_fleiss = matrix(c(9, 2, 5, 8, 6, 1, 3, 2, 8, 4, 6, 8, 7, 1, 2, 6, 10, 5, 6, 9, 6, 2, 4, 7), 6, byrow = TRUE),
  pairs = cbind(before, after),
  # A coefficient below 0: who is high in one condition is low in the other.
  opposed = cbind((i * 11) %% 7, 7 - (i * 11) %% 7 + i %% 3)[1:12, ]
)

coefficients <- function(table) {
  found <- ICC(table, lmer = FALSE)$results
  one <- function(row) unlist(found[row, c("ICC", "lower bound", "upper bound")], use.names = FALSE)
  list(icc_2_1 = one("Single_random_raters"), icc_3_1 = one("Single_fixed_raters"))
}

errors <- function(table) {
  long <- data.frame(value = c(table), person = factor(row(table)), condition = factor(col(table)))
  squares <- summary(aov(value ~ person + condition, long))[[1]][["Mean Sq"]]
  sem <- sqrt(max(squares[2] - squares[3], 0) / nrow(table) + squares[3])
  list(mean_squares = squares, sem = sem)
}

equivalence <- function(difference, margin) {
  above <- t.test(difference, mu = -margin, alternative = "greater")
  below <- t.test(difference, mu = margin, alternative = "less")
  list(margin = margin, p = max(above$p.value, below$p.value), p_different = t.test(difference)$p.value,
       interval_90 = as.vector(t.test(difference, conf.level = 0.9)$conf.int),
       interval_95 = as.vector(t.test(difference)$conf.int))
}

result <- list(
  tables = tables,
  coefficients = lapply(tables, coefficients),
  errors = lapply(tables, errors),
  equivalence = lapply(c(wide = 1, narrow = 0.5, less_than_found = 0.3), equivalence, difference = after - before),
  holm = p.adjust(c(0.04, 0.01, 0.03, 0.2), "holm")
)
arguments <- commandArgs(trailingOnly = TRUE)
out <- if (length(arguments)) arguments[1] else file.path("tests", "r", "agreement.json")
write_json(result, out, digits = NA, auto_unbox = TRUE, pretty = 1)
