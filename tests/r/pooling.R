# Write tests/r/pooling.json: `Rscript tests/r/pooling.R [OUT]`, from the folder that holds tests/.
# Rubin's rules by mice::pool, on five versions of a cohort whose "imputed" values are made by a formula.
suppressPackageStartupMessages({library(survival); library(mice); library(jsonlite)})

gbsg2 <- read.csv(file.path("tests", "r", "cohorts", "gbsg2.csv"), stringsAsFactors = TRUE)
row <- seq_len(nrow(gbsg2)) - 1
exactly <- coxph.control(eps = 1e-12, iter.max = 100, toler.chol = 1e-14)

pooled <- function(formula, every) {
  fits <- lapply(1:5, function(i) {
    version <- gbsg2
    gaps <- row %% every == 0
    version$pnodes[gaps] <- (row[gaps] * i * i) %% 23
    coxph(formula, version, control = exactly)
  })
  found <- pool(as.mira(fits))$pooled
  table <- summary(pool(as.mira(fits)), conf.int = TRUE)
  list(coef = found$estimate, se = table$std.error, t = table$statistic, p = table$p.value, df = found$df,
       fmi = found$fmi, low = table[["2.5 %"]], high = table[["97.5 %"]])
}

result <- list(
  many = pooled(Surv(duration, event) ~ pnodes + age + horTh, 2),
  few = pooled(Surv(duration, event) ~ pnodes + tgrade, 10),
  none = pooled(Surv(duration, event) ~ tsize + age, 2)
)
arguments <- commandArgs(trailingOnly = TRUE)
out <- if (length(arguments)) arguments[1] else file.path("tests", "r", "pooling.json")
write_json(result, out, digits = NA, auto_unbox = TRUE, pretty = 1)
