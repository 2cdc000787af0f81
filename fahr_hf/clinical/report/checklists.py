"""The reporting checklists TRIPOD+AI and CLAIM, filled where the report knows the answer.

Items are given by their number and a few words of ours; what they ask for in full stands in the checklists themselves
(Collins et al., BMJ 2024; Tejani et al., Radiology: Artificial Intelligence 2024). What only the authors know is left
to them: nothing is answered that was not done here.
"""

from collections.abc import Mapping

import pandas as pd

from fahr_hf.clinical.report.chapter import Chapter
from fahr_hf.clinical.report.study import Study

OPEN = "to be filled by the authors"
"""The answer to what the report cannot know."""

# Number, subject, and the answer's name below; None where only the authors know.
_TRIPOD: tuple[tuple[str, str, str | None], ...] = (
    ("1", "title", None),
    ("2", "abstract", None),
    ("3a", "medical context and existing models", None),
    ("3b", "target population, purpose, users", None),
    ("3c", "known inequalities between groups", None),
    ("4", "objectives", "objectives"),
    ("5a", "sources of data", None),
    ("5b", "dates of the data", None),
    ("6a", "setting and centres", None),
    ("6b", "who was eligible", "exclusions"),
    ("6c", "treatments received", None),
    ("7", "preparation of the data", "preparation"),
    ("8a", "outcome and its horizon", "outcome"),
    ("8b", "who assessed a subjective outcome", None),
    ("8c", "blinding of the outcome", None),
    ("9a", "choice of predictors", None),
    ("9b", "definition of predictors", "predictors"),
    ("9c", "who assessed subjective predictors", None),
    ("10", "size of the study", "size"),
    ("11", "missing data", "missing"),
    ("12a", "use of the data, partitions", "partitions"),
    ("12b", "how predictors entered", "scales"),
    ("12c", "type of model, building, internal validation", "model"),
    ("12d", "differences between clusters", "clusters"),
    ("12e", "measures of performance", "measures"),
    ("12f", "updating of the model", "updating"),
    ("12g", "how predictions were computed for evaluation", "predictions"),
    ("13", "class imbalance", "imbalance"),
    ("14", "fairness", "fairness"),
    ("15", "output of the model", "output"),
    ("16", "differences between development and evaluation", "differences"),
    ("17", "ethical approval", None),
    ("18a", "funding", None),
    ("18b", "conflicts of interest", None),
    ("18c", "protocol", None),
    ("18d", "registration", None),
    ("18e", "sharing of data", None),
    ("18f", "sharing of code", "code"),
    ("19", "involvement of patients and the public", None),
    ("20a", "flow of participants, follow-up", "flow"),
    ("20b", "characteristics of participants", "characteristics"),
    ("20c", "comparison of development and evaluation data", "differences"),
    ("21", "participants and events of each analysis", "flow"),
    ("22", "the full model", "specification"),
    ("23a", "performance with intervals, in subgroups too", "performance"),
    ("23b", "heterogeneity of performance", "clusters"),
    ("24", "results of updating", "updating"),
    ("25", "interpretation", None),
    ("26", "limitations", None),
    ("27a", "poor or missing input in use", None),
    ("27b", "user interaction and expertise", None),
    ("27c", "next steps", None),
)

_CLAIM: tuple[tuple[str, str, str | None], ...] = (
    ("1", "AI named in title or abstract", None),
    ("2", "structured abstract", None),
    ("3", "background, role of the AI", None),
    ("4", "aims and hypotheses", "objectives"),
    ("5", "prospective or retrospective", None),
    ("6", "goal of the study", "objectives"),
    ("7", "sources of data", None),
    ("8", "inclusion and exclusion", "exclusions"),
    ("9", "preprocessing", "preparation"),
    ("10", "selection of subsets of the data", "exclusions"),
    ("11", "de-identification", None),
    ("12", "missing data", "missing"),
    ("13", "acquisition of the images", None),
    ("14", "reference standard", "outcome"),
    ("15", "reason for the reference standard", None),
    ("16", "source of the reference standard", None),
    ("17", "annotation of the test set", None),
    ("18", "agreement of annotators", None),
    ("19", "assignment to partitions", "partitions"),
    ("20", "level at which partitions are disjoint", "level"),
    ("21", "size of the test set", "size"),
    ("22", "the model, inputs and outputs", "output"),
    ("23", "software", "code"),
    ("24", "starting values of the weights", None),
    ("25", "training", None),
    ("26", "choice of the final model", None),
    ("27", "ensembles", None),
    ("28", "metrics", "measures"),
    ("29", "uncertainty and significance", "uncertainty"),
    ("30", "robustness", "robustness"),
    ("31", "explainability", None),
    ("32", "evaluation on internal data", "internal"),
    ("33", "evaluation on external data", "external"),
    ("34", "registration of a trial", None),
    ("35", "flow of participants", "flow"),
    ("36", "characteristics of each partition", "characteristics"),
    ("37", "performance", "performance"),
    ("38", "precision of the estimates", "uncertainty"),
    ("39", "analysis of failures", None),
    ("40", "limitations", None),
    ("41", "implications", None),
    ("42", "protocol", None),
    ("43", "availability of software, model and data", "code"),
    ("44", "funding", None),
)


def checklist_chapter(study: Study, parts: Mapping[str, Chapter]) -> Chapter:
    """Both checklists as tables.

    Args:
        study: The people.
        parts: The parts of the report by key; answers point to those that show something.
    """
    chapter = Chapter(
        "Reporting checklists",
        "TRIPOD+AI (prediction models) and CLAIM (AI in medical imaging): numbers and short subjects of the items; "
        "read the items themselves in the checklists. Filled is what this report knows; the rest is the authors' to "
        "fill. An answer is a draft, and no claim that an item is met.",
    )
    answers = _answers(study, parts)
    for name, title, items in (("tripod_ai", "TRIPOD+AI", _TRIPOD), ("claim", "CLAIM, 2024", _CLAIM)):
        rows = [(number, subject, answers.get(key or "", OPEN)) for number, subject, key in items]
        chapter.table(f"checklist_{name}", title, pd.DataFrame(rows, columns=["item", "subject", "answer"]))
        chapter.numbers[name] = {number: answer for number, _, answer in rows if answer != OPEN}
    return chapter


def _answers(study: Study, parts: Mapping[str, Chapter]) -> dict[str, str]:
    """Answers by name; those of parts that show nothing are absent."""
    settings = study.settings
    scores = " and ".join(
        name for name, column in (("FaceAge", settings.face_age), ("FaceSurvival", settings.face_survival)) if column
    )

    def see(*keys: str) -> str | None:
        shown = [parts[key].section.title for key in keys if key in parts and parts[key].section.parts]
        return f"See {', '.join(f'“{title}”' for title in shown)}." if shown else None

    def told(key: str, text: str = "") -> str | None:
        place = see(key)
        return place and " ".join([*([text] if text else []), place])

    n, events = len(study.people), int(study.people[settings.event].sum())
    delayed = f", observed from {settings.entry} on" if settings.entry else ""
    over_time = ", AUC, Brier score" if "auc" in parts["models"].numbers else ""
    answers: dict[str, str | None] = {
        "objectives": f"To relate {scores} to {settings.event} over {settings.duration} ({settings.unit}).",
        "exclusions": told(
            "people", "Exclusions made here; eligibility before the table was made is the authors' to add."
        ),
        "preparation": "Scores were taken from the table; the image processor of the checkpoint prepared the "
        "photos, if they were made with it. The authors to confirm.",
        "outcome": f"{settings.event} = 1 at {settings.duration} ({settings.unit}){delayed}; the authors to define it.",
        "predictors": f"{', '.join([*settings.scores(), *settings.adjustment()])}; the authors to define the "
        "covariates.",
        "size": told(
            "events_per_parameter", f"{n:,} people, {events:,} events; no calculation beforehand is known here."
        ),
        "missing": told("missing"),
        "partitions": parts["people"].section.text.split("\n\n")[-1],
        "level": "One row a person; identifiers were checked to be unique." if settings.identifier else None,
        "scales": told("hazard_ratios", "Per decade, per standard deviation, groups and splines."),
        "model": told("calibration", "Cox regression, with cross-validation for calibration."),
        "clusters": told("subgroups", "Subgroups and tests of interaction."),
        "measures": told("models", f"Hazard ratios, concordance{over_time}, calibration."),
        "updating": "No model was updated.",
        "predictions": told("calibration"),
        "imbalance": "Events were neither over- nor under-sampled here.",
        "fairness": told("subgroups", "Hazard ratios by subgroup; the choice of groups is the authors' to justify."),
        "output": f"{scores}: "
        + " ".join(
            text
            for text, column in (
                ("FaceAge in years.", settings.face_age),
                (
                    "FaceSurvival a relative risk score, higher is earlier death, no probability.",
                    settings.face_survival,
                ),
            )
            if column
        ),
        "differences": see("characteristics", "external") if study.external else None,
        "code": "Code: fahr-hf; version, commit and hashes of code, weights and data are in numbers.json.",
        "flow": see("people", "follow_up"),
        "characteristics": see("characteristics"),
        "specification": told("hazard_ratios", "Coefficients of the Cox models; the face models have their own cards."),
        "performance": see("hazard_ratios", "models", "calibration", "subgroups"),
        "uncertainty": "95 % intervals and two-sided tests; interaction tests are adjusted by Holm's method.",
        "robustness": see("missing", "proportional_hazards"),
        "internal": see("groups", "calibration"),
        "external": see("external"),
    }
    return {key: answer for key, answer in answers.items() if answer}
