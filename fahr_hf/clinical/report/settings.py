"""What a report is asked for: the names of columns, and the choices that are the researcher's."""

from collections.abc import Mapping
from dataclasses import dataclass, field

TRAIN = "train"
"""The part of people whose photos trained the model."""


@dataclass(frozen=True)
class ReportSettings:
    """Columns of the table and choices of the analysis.

    Args:
        duration: Time from the origin (the photo, as a rule) to death or the end of follow-up, in `unit`.
        event: 1 for death, 0 for censoring.
        entry: Time at which observation began; None if everybody was observed from the origin.
        identifier: One value a person; None if the table has none, and then doubles cannot be seen.
        face_age: Age estimated from the face, years; None without that model.
        face_survival: Risk estimated from the face, higher means earlier death; None without that model.
        age: Chronological age at the photo, years; None if unknown, and then nothing is adjusted for it.
        covariates: What the adjusted analyses hold besides age. Text is taken as groups.
        references: Reference group of covariates that are groups; numbers named here are groups too. The value None
            takes the largest group.
        subgroups: Columns of groups; a column of more than 20 numbers is split at its median.
        horizons: Times at which predictions are judged, in `unit`; empty: the median follow-up.
        groups: Number of groups of rising FaceSurvival; 4 makes quartiles.
        unit: Name of the unit of all times.
        strata: Column of groups with baseline hazards of their own, in the Cox tables.
        cluster: Column that says which people are dependent; the errors of the Cox tables are then robust.
        part: Column that says what the model did with each person's photos: train, validation, calibration, test ...
        out_of_fold: Declares where the scores come from: True, from models that had not seen the person
            (cross-fitting); False, nobody here trained the model; None, the column `part` tells.
        development: Name of the cohort that cut points, knots and coefficients come from.
        imputations: Number of completed tables where covariates are missing.
        seed: Of the imputations and of the folds of cross-validation.

    Raises:
        ValueError: neither score, one column in two roles, fewer than two groups, no positive horizons.

    Examples:
        >>> settings = ReportSettings("years", "died", face_survival="risk", age="age", covariates=("stage",))
        >>> settings.columns()
        ['years', 'died', 'risk', 'age', 'stage']
    """

    duration: str
    event: str
    face_age: str | None = None
    face_survival: str | None = None
    age: str | None = None
    entry: str | None = None
    identifier: str | None = None
    covariates: tuple[str, ...] = ()
    references: Mapping[str, str | None] = field(default_factory=dict)
    subgroups: tuple[str, ...] = ()
    horizons: tuple[float, ...] = ()
    groups: int = 4
    unit: str = "years"
    strata: str | None = None
    cluster: str | None = None
    part: str | None = None
    out_of_fold: bool | None = None
    development: str = "development"
    imputations: int = 20
    seed: int = 0

    def __post_init__(self) -> None:
        if self.face_age is None and self.face_survival is None:
            raise ValueError("Nothing to evaluate: name the column of FaceAge, of FaceSurvival, or both.")
        named = [self.duration, self.event, self.entry, self.face_age, self.face_survival, self.age, *self.covariates]
        roles = [column for column in named if column is not None]
        if twice := sorted({column for column in roles if roles.count(column) > 1}):
            raise ValueError(
                f"{', '.join(twice)} is named for more than one purpose. The outcome, the scores and age are no "
                "covariates; age is adjusted for wherever covariates are."
            )
        if unused := sorted(set(self.references) - set(self.covariates)):
            raise ValueError(f"{', '.join(unused)} has a reference group but is no covariate; name it as one.")
        if self.groups < 2:
            raise ValueError(f"groups must be at least 2, got {self.groups}; 4 makes quartiles.")
        if wrong := [horizon for horizon in self.horizons if not horizon > 0]:
            raise ValueError(f"Horizons must be times after 0, got {wrong[0]:g}.")

    def outcome(self) -> list[str]:
        """Columns of the follow-up."""
        return [self.duration, self.event, *([self.entry] if self.entry else [])]

    def scores(self) -> list[str]:
        """Columns of the scores, FaceAge first."""
        return [column for column in (self.face_age, self.face_survival) if column is not None]

    def adjustment(self) -> list[str]:
        """Columns that adjusted analyses hold besides the scores: age first."""
        return [*([self.age] if self.age else []), *self.covariates]

    def columns(self) -> list[str]:
        """All columns that the table must have, each once."""
        others = [self.identifier, self.strata, self.cluster, self.part]
        named = [*self.outcome(), *self.scores(), *self.adjustment(), *self.subgroups, *others]
        return list(dict.fromkeys(column for column in named if column is not None))
