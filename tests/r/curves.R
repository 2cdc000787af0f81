# Curves and log-rank tests by R's package survival: Rscript tests/r/curves.R [OUT.json], from any folder.
# Without OUT.json the numbers are printed.
suppressMessages({library(survival); library(jsonlite)})

script <- sub("^--file=", "", grep("^--file=", commandArgs(FALSE), value=TRUE))
cohort <- function(name) {
  read.csv(file.path(dirname(script), "cohorts", paste0(name, ".csv")), stringsAsFactors=TRUE)
}
outcome <- function(data, event) {
  if (is.null(data$entry) || all(data$entry == 0)) Surv(data$duration, event) else Surv(data$entry, data$duration, event)
}
# Long curves are thinned to about 45 rows; `row` counts from 0.
thin <- function(n) unique(c(seq(1, n, by=max(1, n %/% 45)), n))
row_of <- function(fit, rmean) unname(summary(fit, rmean=rmean)$table)

curve <- function(data) {
  y <- outcome(data, data$event)
  log <- survfit(y ~ 1)
  loglog <- survfit(y ~ 1, conf.type="log-log", conf.int=0.9)
  reverse <- survfit(outcome(data, 1 - data$event) ~ 1)
  all <- summary(log, censored=TRUE)
  keep <- thin(length(log$time))
  table <- function(fit) unname(survival:::survmean(fit, rmean=max(fit$time))$matrix)
  median_of <- function(fit) tail(table(fit), 3)
  means <- lapply(max(data$duration) * c(0.05, 0.4, 1), function(tau) {
    row <- unname(survival:::survmean(log, rmean=tau)$matrix)
    list(tau=tau, mean=row[5], se=row[6])
  })
  at <- max(data$duration) * c(0, 0.1, 0.33, 0.5, 1)
  there <- summary(log, times=at)
  list(
    row=keep - 1, time=log$time[keep], at_risk=log$n.risk[keep], events=log$n.event[keep], censored=log$n.censor[keep],
    survival=log$surv[keep], se=all$std.err[keep], low=log$lower[keep], high=log$upper[keep],
    low_loglog_90=loglog$lower[keep], high_loglog_90=loglog$upper[keep],
    median=median_of(log), median_loglog_90=median_of(loglog), follow_up=median_of(reverse), restricted_mean=means,
    at=list(time=at, at_risk=there$n.risk, survival=there$surv, se=there$std.err, low=there$lower, high=there$upper)
  )
}

edges <- cohort("b_edges")
curves <- c(
  lapply(setNames(nm=c("gbsg2", "whas500", "veteran", "ties", "entry", "one_event")), function(name) curve(cohort(name))),
  lapply(split(edges, edges$case), curve)
)

incidence <- function(data) {
  y <- outcome(data, factor(data$cause))
  data$id <- seq_len(nrow(data))
  fit <- survfit(y ~ 1, data, id=id)
  keep <- thin(length(fit$time))
  list(
    row=keep - 1, time=fit$time[keep], at_risk=fit$n.risk[keep, 1], events=fit$n.event[keep, -1],
    censored=fit$n.censor[keep], survival=fit$pstate[keep, 1], incidence=fit$pstate[keep, -1], se=fit$std.err[keep, -1],
    low=fit$lower[keep, -1], high=fit$upper[keep, -1]
  )
}
causes <- cohort("b_causes")
whas500 <- cohort("whas500")
whas500$cause <- whas500$event * (1 + (seq_len(nrow(whas500)) %% 2))
ties <- cohort("ties")
ties$cause <- ties$event * (1 + (seq_len(nrow(ties)) %% 3))
incidences <- list(
  "delayed entry"=incidence(causes), "from the origin"=incidence(causes[, c("duration", "cause")]),
  whas500=incidence(whas500), ties=incidence(ties)
)

compare <- function(name, group, stratum=NULL, rho=0) {
  data <- cohort(name)
  data$group <- data[[group]]
  data$stratum <- if (is.null(stratum)) 1 else data[[stratum]]
  fit <- survdiff(Surv(duration, event) ~ group + strata(stratum), data, rho=rho)
  over <- function(x) if (is.matrix(x)) rowSums(x) else x
  list(cohort=name, group=group, strata=stratum, rho=rho, observed=over(fit$obs), expected=over(fit$exp),
       covariance=fit$var, chi2=fit$chisq)
}
# With ties="exact" the score test of a Cox model has the hypergeometric variance, so it is the log-rank test.
# Its time grows exponentially with ties under delayed entry: the first people of the cohort are enough.
score <- function(name, group, stratum=NULL, trend=FALSE) {
  data <- cohort(name)
  if (!is.null(data$entry)) data <- head(data, 120)
  data$group <- if (trend) as.integer(factor(data[[group]])) else factor(data[[group]])
  data$stratum <- if (is.null(stratum)) 1 else data[[stratum]]
  fit <- coxph(outcome(data, data$event) ~ group + strata(stratum), data, ties="exact", iter.max=0)
  list(cohort=name, n=nrow(data), group=group, strata=stratum, trend=trend, chi2=fit$score)
}
tests <- list(
  compare("veteran", "Celltype"), compare("veteran", "Celltype", "Treatment"), compare("veteran", "Celltype", rho=1),
  compare("veteran", "Celltype", "Treatment", rho=0.5), compare("gbsg2", "tgrade"), compare("gbsg2", "horTh", "menostat"),
  compare("whas500", "gender"), compare("ties", "stage"), compare("ties", "stage", "sex"), compare("ties", "stage", rho=1),
  compare("ties", "site")
)
scores <- list(
  score("entry", "arm"), score("entry", "arm", "sex"), score("entry", "arm", trend=TRUE),
  score("veteran", "Celltype", trend=TRUE), score("gbsg2", "tgrade", "horTh", trend=TRUE),
  score("ties", "stage", trend=TRUE)
)

# jsonlite turns a list of NULL strata into {}: left out instead.
drop <- function(list) lapply(list, function(one) one[!sapply(one, is.null)])
result <- list(curves=curves, incidences=incidences, tests=drop(tests), scores=drop(scores))
text <- toJSON(result, digits=I(12), na="null", auto_unbox=TRUE, pretty=FALSE)
out <- commandArgs(TRUE)
if (length(out)) writeLines(text, out[1]) else cat(text)
