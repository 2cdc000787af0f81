"""The people that crops show: their outcomes, checked once, and samples of one photo a person."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch

from fahr_hf.data.crops import Crops
from fahr_hf.models.survival_losses_fahr_face import comparable_pairs
from fahr_hf.training.randomness import choice_generator
from fahr_hf.training.samples import CropSamples, check_part

OUTCOMES = ("duration", "event", "entry", "offset")
"""What is known of a person."""

_NAMED = 5


@dataclass(frozen=True)
class People:
    """People, in the order in which their first photos come.

    Args:
        person: Position of the person that each crop shows, (crops,) int64.
        duration: Time to death or censoring, (people,) float64, years.
        event: Who died, (people,) bool.
        entry: Time at which observation began, (people,) float64, years; earlier than `duration`.
        offset: Log hazard known without the face, (people,) float64; 0 where nothing is.
    """

    person: np.ndarray
    duration: np.ndarray
    event: np.ndarray
    entry: np.ndarray
    offset: np.ndarray

    def __len__(self) -> int:
        return len(self.duration)

    def mean(self, values: np.ndarray) -> np.ndarray:
        """The mean over each person's crops, (people,), of a value a crop, (crops,)."""
        return np.bincount(self.person, values) / np.bincount(self.person)


def people_of(crops: Crops, part: str) -> People:
    """The people of a part, of whom at least two can be compared.

    Args:
        crops: With the columns `subject_id`, `duration`, `event` and `entry`, and optionally `offset`, which is 0 if
            there is none; the same in all crops of a person.
        part: That all crops are of.

    Raises:
        ValueError: crops of another part, a missing column, values out of range or that differ between crops of a
            person (the message names the people), or no death that somebody under observation outlived.
    """
    check_part(crops, part)
    columns = {name: crops.column(name) for name in ("subject_id", "duration", "event", "entry")}
    has_offset = "offset" in crops.table.column_names
    columns["offset"] = crops.column("offset") if has_offset else np.zeros(len(crops))
    table = pd.DataFrame(columns)
    nobody = int(table["subject_id"].isna().sum())
    if nobody:
        raise ValueError(f"{nobody} of {len(table)} {part} crops have no subject_id; name their people.")
    table = table.astype(dict.fromkeys(OUTCOMES, np.float64))
    duration, event, entry, offset = (table[name] for name in OUTCOMES)
    _refuse(table, ~np.isfinite(duration) | (duration <= 0), part, "duration must be a positive number of years")
    _refuse(table, ~event.isin([0, 1]), part, "event must be 1 (death) or 0 (censored)")
    _refuse(table, ~((entry >= 0) & (entry < duration)), part, "entry must be at least 0 and earlier than duration")
    _refuse(table, ~np.isfinite(offset), part, "offset must be a finite number")
    differing = table.groupby("subject_id", sort=False)[list(OUTCOMES)].transform("nunique").gt(1).any(axis=1)
    _refuse(table, differing, part, "all crops of a person must have the same duration, event, entry and offset")

    person, _ = pd.factorize(table["subject_id"])
    first = table.drop_duplicates("subject_id")
    values = {name: first[name].to_numpy() for name in OUTCOMES}
    people = People(person, **{**values, "event": values["event"].astype(bool)})
    if not comparable_pairs(*map(torch.tensor, (people.duration, people.event, people.entry))):
        raise ValueError(
            f"No two people of the part {part!r} can be compared: {people.event.sum()} of {len(people)} died, and "
            "nobody outlived one of them under observation. A ranking needs deaths, and people who outlive them."
        )
    return people


class PersonSamples:
    """People as training samples, each with one of their crops, drawn anew for every showing.

    Args:
        crops: See `CropSamples`.
        people: Of these crops.
        seed: Of the draws, at least 0.
    """

    def __init__(self, crops: Crops, people: People, seed: int):
        self.samples, self.people, self.seed = CropSamples(crops), people, seed
        order = np.argsort(people.person, kind="stable")
        self.crops_of = np.split(order, np.cumsum(np.bincount(people.person))[:-1])

    def __len__(self) -> int:
        return len(self.people)

    def __getitem__(self, place: tuple[int, int]) -> dict[str, Any]:
        """As of `CropSamples`, with `OUTCOMES` and `person`; `place` is an epoch and a showing, see `spread_deaths`.

        `index` is the showing, so that a person who is shown twice in an epoch has two views.
        """
        epoch, showing = place
        person = showing % len(self)
        crop = choice_generator(self.seed, epoch, showing).choice(self.crops_of[person])
        outcomes = {name: getattr(self.people, name)[person] for name in OUTCOMES}
        return {**self.samples[epoch, int(crop)], **outcomes, "person": person, "index": showing}


def _refuse(table: pd.DataFrame, wrong: pd.Series, part: str, rule: str) -> None:
    if wrong.any():
        names = table["subject_id"][wrong].unique()
        some = ", ".join(map(str, names[:_NAMED]))
        more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
        raise ValueError(f"{rule}; in the part {part!r} it is not so for {some}{more}.")
