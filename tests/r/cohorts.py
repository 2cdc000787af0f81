"""Write the cohorts that the R scripts and the tests both read: `python tests/r/cohorts.py`.

The real ones are the trials that scikit-survival ships, the simulated ones hold what those lack: heavy ties, a death at
time zero, delayed entry, several records of one person, a single death. Every table has `duration` and `event` (0, 1).
"""

from pathlib import Path

import numpy as np
import pandas as pd
from sksurv import datasets

COHORTS = Path(__file__).parent / "cohorts"
EDGES = [
    "heavy ties",
    "deaths at time zero",
    "one event",
    "nobody dies",
    "everybody dies at once",
    "separated",
    "constant",
    "delayed entry",
    "risk set that empties",
]


def main() -> None:
    COHORTS.mkdir(exist_ok=True)
    tables = {
        "gbsg2": published(*datasets.load_gbsg2()),
        "whas500": published(*datasets.load_whas500()),
        "veteran": published(*datasets.load_veterans_lung_cancer()),
        "flchain": published(*datasets.load_flchain()).drop(columns=["chapter", "sample.yr"]).dropna()[::8],
        "ties": ties(),
        "entry": entry(),
        "one_event": one_event(),
        "edges": pd.concat([edge(kind, seed) for kind in EDGES for seed in range(3)]),
    }
    for name, table in tables.items():
        table.to_csv(COHORTS / f"{name}.csv", index=False, float_format="%.6g", lineterminator="\n")


def published(covariates: pd.DataFrame, outcome: np.ndarray) -> pd.DataFrame:
    event, duration = outcome.dtype.names
    table = pd.DataFrame({"duration": outcome[duration], "event": outcome[event].astype(int)})
    return pd.concat([table, covariates.reset_index(drop=True)], axis=1)


def ties() -> pd.DataFrame:
    """Follow-up in whole years, 0 to 8: most deaths are tied, and some fall on time zero."""
    generator = np.random.default_rng(1)
    n = 400
    age = generator.normal(60, 10, n)
    sex = generator.choice(["female", "male"], n)
    faceage = age + generator.normal(0, 5, n)
    hazard = 0.1 * np.exp(0.04 * (faceage - 60) + 0.5 * (sex == "male"))
    death = generator.exponential(1 / hazard)
    leave = generator.uniform(1, 9, n)
    stage = generator.choice(["I", "II", "III"], n, p=[0.5, 0.3, 0.2])
    table = {"duration": np.floor(np.minimum(death, leave)), "event": (death <= leave).astype(int)}
    return pd.DataFrame(
        table | {"age": age, "faceage": faceage, "sex": sex, "stage": stage, "site": generator.integers(0, 12, n)}
    )


def entry() -> pd.DataFrame:
    """Delayed entry in tenths of a year, with ties between entries and deaths, and up to three people a family."""
    generator = np.random.default_rng(2)
    n = 500
    family = np.sort(generator.integers(0, 220, n))
    frailty = generator.gamma(3, 1 / 3, 220)[family]
    age = generator.normal(55, 12, n)
    risk = generator.normal(size=n)
    sex = generator.choice(["female", "male"], n)
    arm = generator.choice(["a", "b", "c"], n)
    hazard = 0.12 * frailty * np.exp(0.03 * (age - 55) + 0.4 * risk)
    begin = np.round(generator.uniform(0, 4, n) * (generator.random(n) < 0.8), 1)
    death = begin + generator.exponential(1 / hazard)
    leave = begin + generator.uniform(0.5, 8, n)
    duration = np.maximum(np.round(np.minimum(death, leave), 1), np.round(begin + 0.1, 1))
    table = {"duration": duration, "event": (death <= leave).astype(int), "entry": begin}
    return pd.DataFrame(table | {"age": age, "risk": risk, "sex": sex, "arm": arm, "family": family})


def one_event() -> pd.DataFrame:
    generator = np.random.default_rng(3)
    n = 30
    event = np.zeros(n, int)
    event[11] = 1
    age = generator.normal(60, 10, n)
    age[11] = np.median(age)
    return pd.DataFrame({"duration": np.round(generator.uniform(1, 5, n), 2), "event": event, "age": age})


def edge(kind: str, seed: int) -> pd.DataFrame:
    """Forty people in whole numbers of years, at an edge of what a statistic can be computed from."""
    generator = np.random.default_rng([seed, EDGES.index(kind)])
    n = 40
    begin = np.zeros(n, int)
    duration = generator.integers(1, 8, n)
    event = generator.integers(0, 2, n)
    age = generator.integers(40, 80, n)
    arm = generator.permutation(np.arange(n) % 3)
    match kind:
        case "deaths at time zero":
            duration = duration - 1
        case "one event":
            event = (np.arange(n) == 11).astype(int)
            duration[11], age[11] = 3, 60
        case "nobody dies":
            event = np.zeros(n, int)
        case "everybody dies at once":
            event, duration = np.ones(n, int), np.full(n, 3)
        case "separated":
            age = np.where(event == 1, 70, 50)
        case "constant":
            age = np.full(n, 60)
        case "delayed entry":
            begin = generator.integers(0, 6, n)
        case "risk set that empties":
            begin = generator.integers(0, 6, n)
            begin[duration + begin > 4] += 6
            event[duration + begin <= 4] = 1
    cause = event * generator.integers(1, 3, n)
    table = {"case": f"{kind} {seed}", "entry": begin, "duration": begin + duration, "event": event, "cause": cause}
    return pd.DataFrame(table | {"age": age, "arm": arm, "site": generator.integers(0, 2, n)})


if __name__ == "__main__":
    main()
