"""How long the survival statistics take on a cohort as large as the paper's.

    OMP_NUM_THREADS=1 python benchmarks/clinical_speed.py --out benchmarks/results/clinical_speed.md

The people are simulated: 35,000 with 15 covariates of which four are groups, times in days with ties, half of them
censored, delayed entry where it says so. Figures are CPU seconds, which on one free core are seconds by the clock:
other programs hardly change those. The least of three runs, of fewer where they take more than ten seconds.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from fahr_hf.clinical import (
    Categorical,
    ReportSettings,
    Standardised,
    aalen_johansen,
    brier_score,
    compare_concordance,
    concordance,
    cox_regression,
    kaplan_meier,
    log_rank_test,
    proportional_hazards_test,
    subgroup_analysis,
    survival_report,
    uno_concordance,
)
from fahr_hf.reports.writing import write_report

PEOPLE, MANY_PEOPLE = 35_000, 100_000
NUMBERS, GROUPS = 11, 4
SUBGROUP_VARIABLES, LEVELS = 10, 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="Markdown file to write; the table is printed in any case")
    out = parser.parse_args().out
    rows = [f"| {name} | {seconds(run):.2f} |" for name, run in tasks().items()]
    text = "\n".join(
        [
            "# Survival statistics, timed",
            "",
            f"`OMP_NUM_THREADS=1 python benchmarks/clinical_speed.py`. {PEOPLE:,} simulated people where nothing "
            "else is said; what they are like stands at the top of that script. One of "
            f"{os.cpu_count()} cores.",
            "",
            "| | CPU seconds |",
            "|---|---|",
            *rows,
            "",
        ]
    )
    print(text)
    if out:
        out.write_text(text)


def tasks() -> dict[str, Callable[[], object]]:
    data, many = cohort(PEOPLE), cohort(MANY_PEOPLE)
    covariates = [f"x{i}" for i in range(NUMBERS)] + [Categorical(f"g{i}", reference=0) for i in range(GROUPS)]
    outcome = (data["event"], data["duration"])
    curve = (data["duration"], data["event"])
    fit = cox_regression(data, "duration", "event", covariates)
    times = data["duration"].quantile([0.25, 0.5, 0.75]).to_numpy()
    alive = np.exp(-np.outer(np.exp(data["x0"]), times / times[-1]))
    subgroups = [f"s{i}" for i in range(SUBGROUP_VARIABLES)]
    exposure = Standardised("risk")
    return {
        f"Harrell's C and its error, {MANY_PEOPLE:,} people": lambda: concordance(
            many["event"], many["duration"], many["risk"]
        ),
        f"the same with delayed entry, {MANY_PEOPLE:,} people": lambda: concordance(
            many["event"], many["duration"], many["risk"], many["entry"]
        ),
        "difference of two C": lambda: compare_concordance(*outcome, data["risk"], data["x0"]),
        "Uno's C": lambda: uno_concordance(*outcome, data["risk"], tau=times[-1]),
        "Brier score at three times": lambda: brier_score(*outcome, alive, times),
        "Kaplan-Meier": lambda: kaplan_meier(*curve),
        "Aalen-Johansen, two causes, delayed entry": lambda: aalen_johansen(
            data["duration"], data["cause"], data["entry"]
        ),
        "log-rank test, four groups, four strata": lambda: log_rank_test(*curve, data["g0"], strata=data["g1"]),
        "Cox regression, 15 covariates, Efron": lambda: cox_regression(data, "duration", "event", covariates),
        "the same with delayed entry": lambda: cox_regression(data, "duration", "event", covariates, entry="entry"),
        "test of proportional hazards": lambda: proportional_hazards_test(fit),
        f"subgroup analysis, {SUBGROUP_VARIABLES} variables of {LEVELS} levels (50 subgroups), 16 covariates": lambda: (
            subgroup_analysis(data, "duration", "event", exposure, subgroups, covariates)
        ),
        "the whole report with both scores, 15 covariates, the same subgroups, figures written": lambda: report(data),
    }


def report(data: pd.DataFrame) -> None:
    settings = ReportSettings(
        "duration",
        "event",
        face_age="face_age",
        face_survival="risk",
        age="age",
        covariates=(*(f"x{i}" for i in range(NUMBERS - 1)), *(f"g{i}" for i in range(GROUPS))),
        references={f"g{i}": None for i in range(GROUPS)},
        subgroups=tuple(f"s{i}" for i in range(SUBGROUP_VARIABLES)),
        horizons=tuple(data["duration"].quantile([0.25, 0.5]).round()),
        unit="days",
        out_of_fold=False,
    )
    with tempfile.TemporaryDirectory() as folder:
        write_report(survival_report(data, settings), Path(folder, "report"))


def cohort(people: int) -> pd.DataFrame:
    generator = np.random.default_rng(0)
    columns = {f"x{i}": generator.normal(size=people) for i in range(NUMBERS)}
    columns |= {f"g{i}": generator.integers(0, 4, people) for i in range(GROUPS)}
    columns |= {f"s{i}": generator.integers(0, LEVELS, people) for i in range(SUBGROUP_VARIABLES)}
    columns["risk"] = columns["x0"] + generator.normal(size=people)
    columns["age"] = generator.normal(63, 11, people)
    columns["face_age"] = columns["age"] + generator.normal(0, 7, people)
    hazard = 0.1 * np.exp(0.3 * columns["risk"] + 0.2 * columns["x1"] + 0.1 * columns["g0"])
    death, leave = generator.exponential(1 / hazard), generator.uniform(0, 12, people)
    entry = generator.uniform(0, 3, people) * (generator.random(people) < 0.5)
    event = (death <= leave).astype(int)
    years = np.ceil(np.minimum(death, leave) * 365.25)  # in whole days
    columns |= {"entry": np.floor(entry * 365.25), "duration": np.floor(entry * 365.25) + years, "event": event}
    return pd.DataFrame(columns | {"cause": event * generator.integers(1, 3, people)})


def seconds(run: Callable[[], object]) -> float:
    taken: list[float] = []
    while len(taken) < 3 and sum(taken) < 10:
        start = time.process_time()
        run()
        taken.append(time.process_time() - start)
    return min(taken)


if __name__ == "__main__":
    main()
