"""Survival statistics that agree with R's, and the report made from them.

Importing this package costs nothing: pandas and scipy come in when a name below is used, scikit-survival (GPL, in an
extra) when a statistic that needs it is computed.
"""

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fahr_hf.clinical.aalen_johansen import aalen_johansen
    from fahr_hf.clinical.brier import brier_score, integrated_brier_score
    from fahr_hf.clinical.calibration import (
        calibration_curve,
        calibration_index,
        calibration_slope,
        calibration_table,
        observed_expected,
    )
    from fahr_hf.clinical.combination import combine_scores
    from fahr_hf.clinical.compare_concordance import compare_concordance
    from fahr_hf.clinical.compare_models import compare_models, events_per_parameter
    from fahr_hf.clinical.concordance import concordance
    from fahr_hf.clinical.cox import CoxResult, cox_regression, likelihood_ratio_test, wald_test
    from fahr_hf.clinical.cox_model import CoxModel, load_cox, save_cox
    from fahr_hf.clinical.design import Categorical, Interaction, Scaled, Spline, Standardised
    from fahr_hf.clinical.discrimination import auc_over_time, uno_concordance
    from fahr_hf.clinical.imputation import impute, pool
    from fahr_hf.clinical.kaplan_meier import follow_up, kaplan_meier
    from fahr_hf.clinical.log_rank import log_rank_test
    from fahr_hf.clinical.net_benefit import net_benefit
    from fahr_hf.clinical.optimism import optimism_corrected_concordance
    from fahr_hf.clinical.prediction import baseline_hazard, linear_predictor, predict_survival
    from fahr_hf.clinical.proportional_hazards import proportional_hazards_test
    from fahr_hf.clinical.report.assembly import survival_report
    from fahr_hf.clinical.report.settings import ReportSettings
    from fahr_hf.clinical.risk_groups import risk_groups
    from fahr_hf.clinical.splines import dose_response, nonlinearity_test
    from fahr_hf.clinical.subgroups import subgroup_analysis
    from fahr_hf.clinical.time_split import restricted_mean_differences, time_split_hazard_ratios

_NAMES = {
    "aalen_johansen": ["aalen_johansen"],
    "brier": ["brier_score", "integrated_brier_score"],
    "calibration": [
        "calibration_curve",
        "calibration_index",
        "calibration_slope",
        "calibration_table",
        "observed_expected",
    ],
    "combination": ["combine_scores"],
    "compare_concordance": ["compare_concordance"],
    "compare_models": ["compare_models", "events_per_parameter"],
    "concordance": ["concordance"],
    "cox": ["CoxResult", "cox_regression", "likelihood_ratio_test", "wald_test"],
    "cox_model": ["CoxModel", "load_cox", "save_cox"],
    "design": ["Categorical", "Interaction", "Scaled", "Spline", "Standardised"],
    "discrimination": ["auc_over_time", "uno_concordance"],
    "imputation": ["impute", "pool"],
    "kaplan_meier": ["follow_up", "kaplan_meier"],
    "log_rank": ["log_rank_test"],
    "net_benefit": ["net_benefit"],
    "optimism": ["optimism_corrected_concordance"],
    "prediction": ["baseline_hazard", "linear_predictor", "predict_survival"],
    "proportional_hazards": ["proportional_hazards_test"],
    "report.assembly": ["survival_report"],
    "report.settings": ["ReportSettings"],
    "risk_groups": ["risk_groups"],
    "splines": ["dose_response", "nonlinearity_test"],
    "subgroups": ["subgroup_analysis"],
    "time_split": ["restricted_mean_differences", "time_split_hazard_ratios"],
}
_HOMES = {name: home for home, names in _NAMES.items() for name in names}

__all__ = [
    "Categorical",
    "CoxModel",
    "CoxResult",
    "Interaction",
    "ReportSettings",
    "Scaled",
    "Spline",
    "Standardised",
    "aalen_johansen",
    "auc_over_time",
    "baseline_hazard",
    "brier_score",
    "calibration_curve",
    "calibration_index",
    "calibration_slope",
    "calibration_table",
    "combine_scores",
    "compare_concordance",
    "compare_models",
    "concordance",
    "cox_regression",
    "dose_response",
    "events_per_parameter",
    "follow_up",
    "impute",
    "integrated_brier_score",
    "kaplan_meier",
    "likelihood_ratio_test",
    "linear_predictor",
    "load_cox",
    "log_rank_test",
    "net_benefit",
    "nonlinearity_test",
    "observed_expected",
    "optimism_corrected_concordance",
    "pool",
    "predict_survival",
    "proportional_hazards_test",
    "restricted_mean_differences",
    "risk_groups",
    "save_cox",
    "subgroup_analysis",
    "survival_report",
    "time_split_hazard_ratios",
    "uno_concordance",
    "wald_test",
]


class _Package(ModuleType):
    # Some files are called like their function; importing such a file would put the file in the function's place.
    def __setattr__(self, name: str, value: Any) -> None:
        if name not in _HOMES or not isinstance(value, ModuleType):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        home = import_module(f"{__name__}.{_HOMES[name]}")
    except ModuleNotFoundError as error:
        raise ImportError(f"{name} needs {error.name}: pip install 'fahr-hf[clinical]'.") from error
    value = globals()[name] = getattr(home, name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
