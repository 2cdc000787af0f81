"""From people with scores to a report, and to one model of age, covariates and both scores for other people.

    pip install "fahr-hf[survival]"
    python examples/clinical_report.py PEOPLE.csv REPORT --covariate sex --covariate stage --new OTHERS.csv

`PEOPLE.csv` has one row a person whose photos trained no model: `person`, `duration` (years from the photo), `event`
(1 died, 0 censored), `age` at the photo, `faceage` and `risk` as `fahr-hf predict` gave them, and the covariates.
`OTHERS.csv` needs no outcomes. `clinical_cohort.md` says how such a table is made, and has the report as one command.
"""

import argparse
from pathlib import Path

import pandas as pd

from fahr_hf.clinical import ReportSettings, load_cox, survival_report
from fahr_hf.reports.sources import sources
from fahr_hf.reports.writing import write_report


def main() -> None:
    """Analyse, report, apply."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("people", type=Path)
    parser.add_argument("report", type=Path, help="folder that receives the report")
    parser.add_argument("--covariate", action="append", default=[], help="column to adjust for besides age; repeat")
    parser.add_argument("--horizon", type=float, default=2.0, help="years after which predictions are judged")
    parser.add_argument("--new", type=Path, help="table of other people, to apply the model to")
    arguments = parser.parse_args()

    # 1. Everything a manuscript needs. `out_of_fold=False` declares that nobody here trained the face models.
    settings = ReportSettings(
        "duration",
        "event",
        face_age="faceage",
        face_survival="risk",
        age="age",
        identifier="person",
        covariates=tuple(arguments.covariate),
        horizons=(arguments.horizon,),
        out_of_fold=False,
    )
    report = survival_report(pd.read_csv(arguments.people), settings, sources=sources(people=arguments.people))
    write_report(report, arguments.report)

    # 2. What each part adds to the others: likelihood-ratio tests, and the difference of C.
    for row in report.numbers["combination"]["added"]:
        print(f"{row['part']} added to {row['to']}: p = {row['p']:.2g}, C {row['difference']:+.3f}")

    # 3. The model of all of them, from its file, for people it has not seen: research estimates.
    if arguments.new:
        model, new = load_cox(arguments.report / "models" / "combination.json"), pd.read_csv(arguments.new)
        new["log_hazard_ratio"] = model.linear_predictor(new)
        new["survival"] = model.predict_survival(new, arguments.horizon)[:, 0]
        new.to_csv(arguments.new.with_name(f"{arguments.new.stem}_predicted.csv"), index=False)


if __name__ == "__main__":
    main()
