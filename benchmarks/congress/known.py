"""What is known of a member without the face: the covariates that the face has to add to, and their log hazard."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import pyarrow.compute as pc
import pyarrow.dataset as ds
from era import ERA, with_era

from fahr_hf.clinical import Categorical, CoxResult, Spline, cox_regression
from fahr_hf.clinical.design import Covariate, covariate_columns

BASELINE: tuple[Covariate, ...] = (
    Categorical("sex", "male"),
    # Five knots bend in four degrees of freedom.
    Spline("birth_year", knots=5),
    "age_at_first_term",
    "tenure",
    Categorical("chamber", "House"),
    "government",
)
KNOWN: tuple[Covariate, ...] = (*BASELINE, *ERA)

_COLUMNS = [
    *("subject_id", "sex", "birth_year", "first_term_start", "last_congress_start", "chamber", "portrait_source"),
    *("death_year", "part"),
]


def read_members(data: Path, part: str) -> pd.DataFrame:
    """The members of one part of a data set of `fahr-hf data build congress`, with the features of their portraits.

    Raises:
        FileNotFoundError: no data set there.
        ValueError: it has nobody in this part.
    """
    files = sorted(Path(data, "data").glob("*.parquet"))
    if not files:
        raise FileNotFoundError(f"No data set in {data}. Make it with `fahr-hf data build congress`.")
    table = ds.dataset(files).to_table([*_COLUMNS, "image"], filter=pc.field("part") == part)
    if not len(table):
        raise ValueError(f"{data} has nobody in the part {part!r}.")
    encoded = pc.struct_field(table["image"], "bytes").to_pylist()
    return with_era(table.drop_columns("image").to_pandas().assign(image=encoded))


def varying(covariates: Sequence[Covariate], people: pd.DataFrame) -> list[Covariate]:
    """Those covariates that differ between the people; in a subset, such as of one source, some do not."""
    return [
        covariate
        for covariate in covariates
        if all(people[column].nunique() > 1 for column in covariate_columns([covariate]))
    ]


def fit(people: pd.DataFrame, covariates: Sequence[Covariate]) -> CoxResult:
    """A Cox model on attained age with delayed entry."""
    return cox_regression(people, "duration", "event", covariates, entry="entry")
