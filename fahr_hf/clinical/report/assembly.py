"""The report: all parts in order, each from the same people."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import pandas as pd

from fahr_hf.clinical.report.calibration_plots import calibration_chapter
from fahr_hf.clinical.report.chapter import Chapter
from fahr_hf.clinical.report.checklists import checklist_chapter
from fahr_hf.clinical.report.combination import combination_chapter
from fahr_hf.clinical.report.cox_tables import cox_chapter
from fahr_hf.clinical.report.curves import cross_chapter, quartile_chapter
from fahr_hf.clinical.report.dose_response import dose_response_chapter
from fahr_hf.clinical.report.estimates import Estimates
from fahr_hf.clinical.report.external import external_chapter
from fahr_hf.clinical.report.flow import flow_chapter
from fahr_hf.clinical.report.follow_up import follow_up_chapter
from fahr_hf.clinical.report.gap import gap_chapter
from fahr_hf.clinical.report.hazards import hazards_chapter
from fahr_hf.clinical.report.methods import methods_chapter
from fahr_hf.clinical.report.missing import missing_chapter
from fahr_hf.clinical.report.models import models_chapter
from fahr_hf.clinical.report.parameters import parameters_chapter
from fahr_hf.clinical.report.settings import ReportSettings
from fahr_hf.clinical.report.study import make_study
from fahr_hf.clinical.report.subgroups import subgroup_chapter
from fahr_hf.clinical.report.table_one import table_one_chapter
from fahr_hf.reports.document import Report

_INTRODUCTION = (
    "How scores estimated from faces relate to survival. Higher FaceSurvival means earlier death. The scores are "
    "research estimates and no basis for the care of a patient."
)


def survival_report(
    data: pd.DataFrame,
    settings: ReportSettings,
    external: Mapping[str, pd.DataFrame] | None = None,
    sources: Mapping[str, Any] | None = None,
) -> Report:
    """The paper's analysis of one table of people.

    Args:
        data: The development cohort, one row a person.
        settings: Which columns mean what, and the researcher's choices.
        external: Other cohorts by name, on which what was estimated on the first is tried.
        sources: What `fahr_hf.reports.sources.sources` returned for the files behind the tables.

    Returns:
        A report in which a section that could not be made says why; `fahr_hf.reports.writing.write_report` writes it.

    Raises:
        ValueError: a table or settings that cannot be analysed at all; see `make_study`.

    Examples:
        >>> import numpy as np
        >>> from fahr_hf.clinical import ReportSettings
        >>> random = np.random.default_rng(0)
        >>> people = pd.DataFrame({"years": random.exponential(5, 60), "died": 1, "risk": random.normal(size=60)})
        >>> settings = ReportSettings("years", "died", face_survival="risk", horizons=(5,), out_of_fold=False)
        >>> survival_report(people, settings).numbers["people"]["development"]
        {'read': 60, 'excluded': {}, 'analysed': 60, 'events': 60}
    """
    study = make_study(data, settings, external or {})
    estimates = Estimates(study)
    parts: dict[str, Chapter] = {
        "people": flow_chapter(study),
        "characteristics": table_one_chapter(study),
        "follow_up": follow_up_chapter(study),
        "hazard_ratios": cox_chapter(study, estimates),
        "groups": quartile_chapter(study),
        "dose_response": dose_response_chapter(study),
        "gap": gap_chapter(study, estimates),
        "crossed": cross_chapter(study),
        "subgroups": subgroup_chapter(study),
        "models": models_chapter(study),
        "combination": combination_chapter(study),
        "calibration": calibration_chapter(study),
        "external": external_chapter(study),
        "missing": missing_chapter(study, estimates),
        "proportional_hazards": hazards_chapter(study),
        "events_per_parameter": parameters_chapter(study, estimates),
    }
    parts["methods"] = methods_chapter(study, parts.values())
    parts["checklists"] = checklist_chapter(study, parts)
    numbers: dict[str, Any] = {"settings": asdict(settings)}
    numbers |= {name: part.numbers for name, part in parts.items() if part.numbers}
    numbers["not_shown"] = {name: part.section.problem for name, part in parts.items() if part.section.problem}
    return Report(
        title=f"Faces and survival: {study.development.name}",
        introduction=_INTRODUCTION,
        sections=[part.section for part in parts.values()],
        numbers=numbers | {"sources": dict(sources or {})},
        models={name: content for part in parts.values() for name, content in part.models.items()},
    )
