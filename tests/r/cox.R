# Write tests/r/cox.json: `Rscript tests/r/cox.R [OUT]`, from the folder that holds tests/.
# Models are fitted with survival's coxph, cox.zph and anova; only the criterion of convergence is tighter than by default.
suppressPackageStartupMessages({library(survival); library(jsonlite)})

read <- function(name) read.csv(file.path("tests", "r", "cohorts", paste0(name, ".csv")), stringsAsFactors = TRUE)
exactly <- coxph.control(eps = 1e-12, iter.max = 100, toler.chol = 1e-14)

fit <- function(formula, data, ties = "efron", cluster = NULL, transforms = c("km", "rank", "identity", "log")) {
  environment(formula) <- environment()  # cox.zph looks for the data there
  model <- if (is.null(cluster)) coxph(formula, data, ties = ties, control = exactly, x = TRUE)
    else eval(bquote(coxph(formula, data, ties = ties, control = exactly, x = TRUE, cluster = .(as.name(cluster)))))
  table <- summary(model)$coefficients
  interval <- exp(confint(model))
  zph <- lapply(transforms, function(transform) {
    test <- cox.zph(model, transform = transform)$table
    list(term = I(rownames(test)), chisq = I(unname(test[, "chisq"])), df = I(unname(test[, "df"])), p = I(unname(test[, "p"])))
  })
  names(zph) <- transforms
  list(coef = I(unname(coef(model))), se = I(unname(sqrt(diag(vcov(model))))),
       p = I(unname(table[, ncol(table)])), hr_low = I(unname(interval[, 1])), hr_high = I(unname(interval[, 2])),
       log_likelihood = model$loglik[2], null_log_likelihood = model$loglik[1], n = model$n, events = model$nevent, zph = zph)
}

gbsg2 <- read("gbsg2")
gbsg2$tgrade <- factor(gbsg2$tgrade, c("I", "II", "III"))
gbsg2$horTh <- relevel(gbsg2$horTh, "no")
whas500 <- read("whas500")
veteran <- read("veteran")
veteran$Celltype <- relevel(veteran$Celltype, "squamous")
veteran$Treatment <- relevel(veteran$Treatment, "standard")
flchain <- read("flchain")
ties <- read("ties")
entry <- read("entry")
entry$person <- seq_len(nrow(entry))

nozero <- c("km", "rank", "identity")
models <- list()
for (method in c("efron", "breslow")) {
  add <- function(name, ...) models[[paste(name, method)]] <<- fit(..., ties = method)
  add("gbsg2", Surv(duration, event) ~ I(age / 10) + horTh + pnodes + progrec + estrec + tgrade + tsize + menostat, gbsg2)
  add("whas500", Surv(duration, event) ~ scale(age) + gender + hr + diasbp + bmi + chf, whas500)
  add("veteran", Surv(duration, event) ~ Treatment + Celltype + Karnofsky_score + Months_from_Diagnosis + Age_in_years, veteran)
  add("veteran, strata", Surv(duration, event) ~ Treatment + Karnofsky_score + Age_in_years + strata(Celltype), veteran)
  add("flchain", Surv(duration, event) ~ age + sex + kappa + lambda + creatinine, flchain, transforms = nozero)
  add("ties", Surv(duration, event) ~ age + faceage + sex + stage, ties, transforms = nozero)
  add("ties, strata", Surv(duration, event) ~ faceage + sex + strata(stage), ties, transforms = nozero)
  add("ties, cluster", Surv(duration, event) ~ faceage + sex + stage, ties, cluster = "site", transforms = nozero)
  add("entry", Surv(entry, duration, event) ~ age + risk + sex + arm, entry)
  add("entry, cluster", Surv(entry, duration, event) ~ age + risk + sex + arm, entry, cluster = "family")
  add("entry, robust", Surv(entry, duration, event) ~ age + risk, entry, cluster = "person")
  add("entry, strata, cluster", Surv(entry, duration, event) ~ age + risk + sex + strata(arm), entry, cluster = "family")
}
models[["one event"]] <- fit(Surv(duration, event) ~ age, read("one_event"), transforms = c())

# 0.1 x 3 and 3 / 10 differ by rounding; timefix ties them.
rounding <- ties
rounding$duration <- ifelse(seq_len(nrow(ties)) %% 2 == 0, 0.1 * ties$duration, ties$duration / 10)
models[["rounding"]] <- fit(Surv(duration, event) ~ age + faceage, rounding, transforms = c())
delayed <- rounding[rounding$duration > 0.05, ]
delayed$entry <- ifelse(seq_len(nrow(delayed)) %% 3 == 0 & delayed$duration > 0.35, 0.3, 0)
models[["rounding, entry"]] <- fit(Surv(entry, duration, event) ~ age + faceage, delayed, transforms = c())

reduced <- coxph(Surv(duration, event) ~ I(age / 10) + horTh, gbsg2, control = exactly)
full <- coxph(Surv(duration, event) ~ I(age / 10) + horTh + tgrade + tsize, gbsg2, control = exactly)
comparison <- anova(reduced, full)
likelihood_ratio <- list(statistic = comparison$Chisq[2], df = comparison$Df[2], p = comparison[2, "Pr(>|Chi|)"])

arguments <- commandArgs(trailingOnly = TRUE)
out <- if (length(arguments)) arguments[1] else file.path("tests", "r", "cox.json")
write_json(list(models = models, likelihood_ratio = likelihood_ratio), out, digits = NA, auto_unbox = TRUE, pretty = 1)
