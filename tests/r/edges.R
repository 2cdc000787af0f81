# What R's package survival says at the edges of what can be computed: `Rscript edges.R [where the JSON goes]`.
# Where R gives no number, or warns, there is none here.
suppressMessages({
  library(survival)
  library(jsonlite)
})
here <- dirname(sub("--file=", "", grep("--file=", commandArgs(), value = TRUE)))
out <- c(commandArgs(trailingOnly = TRUE), file.path(here, "edges.json"))[1]
cohorts <- read.csv(file.path(here, "cohorts", "edges.csv"))

quietly <- function(expression) tryCatch(expression, error = function(e) NULL, warning = function(w) NULL)
finite <- function(x) if (is.null(x) || !all(is.finite(unlist(x)))) NULL else x

curve <- function(y) {
  fit <- survfit(y ~ 1)
  last <- max(fit$time)
  loglog <- survfit(y ~ 1, conf.type = "log-log")
  table <- unname(survival:::survmean(fit, rmean = last)$matrix)
  list(
    time = fit$time, at_risk = fit$n.risk, events = fit$n.event, survival = fit$surv,
    se = summary(fit, censored = TRUE)$std.err, low = fit$lower, high = fit$upper, low_loglog = loglog$lower,
    high_loglog = loglog$upper, mean = if (last > 0) table[5:6], median = tail(c(table), 3)
  )
}

incidence <- function(data, y) {
  if (!any(data$event == 1)) return(NULL)
  data$id <- seq_len(nrow(data))
  fit <- survfit(y(factor(data$cause, levels = c(0, sort(unique(data$cause[data$event == 1]))))) ~ 1, data, id = id)
  list(incidence = fit$pstate[, -1, drop = FALSE], se = fit$std.err[, -1, drop = FALSE])
}

c_index <- function(data, y) {
  fit <- concordance(y ~ data$age, reverse = TRUE)
  finite(list(c = unname(coef(fit)), se = sqrt(vcov(fit))))
}

log_rank <- function(data, rho) {
  fit <- survdiff(Surv(duration, event) ~ arm + strata(site), data, rho = rho)
  finite(list(chi2 = fit$chisq, observed = rowSums(as.matrix(fit$obs)), expected = rowSums(as.matrix(fit$exp))))
}

# cox.zph looks for the data of a fit in the workspace.
cox <- function(data, y, ties) {
  cohort <<- data
  outcome <<- y
  fit <- coxph(outcome ~ age, cohort, ties = ties, control = coxph.control(eps = 1e-11, iter.max = 50))
  test <- quietly(cox.zph(fit, "rank")$table[1, "chisq"])
  finite(list(coef = unname(coef(fit)), se = sqrt(vcov(fit))[1], log_likelihood = fit$loglik[2], zph = test))
}

results <- lapply(unique(cohorts$case), function(name) {
  data <- cohorts[cohorts$case == name, ]
  delayed <- any(data$entry > 0)
  y <- function(event) if (delayed) Surv(data$entry, data$duration, event) else Surv(data$duration, event)
  list(
    case = name, curve = curve(y(data$event)), incidence = incidence(data, y),
    concordance = quietly(c_index(data, y(data$event))),
    log_rank = if (!delayed) quietly(log_rank(data, 0)), wilcoxon = if (!delayed) quietly(log_rank(data, 1)),
    efron = quietly(cox(data, y(data$event), "efron")), breslow = quietly(cox(data, y(data$event), "breslow"))
  )
})

write(toJSON(list(survival = as.character(packageVersion("survival")), results = results),
  digits = 15, auto_unbox = TRUE, na = "null", null = "null"), out)
