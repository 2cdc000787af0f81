"""`examples/clinical_report.py`, on the patients of the Worcester Heart Attack Study with scores made up for them."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

pytest.importorskip("scipy")
pytest.importorskip("sksurv")

from fahr_hf.clinical.cox import cox_regression
from fahr_hf.clinical.cox_model import load_cox
from fahr_hf.clinical.design import Scaled, Standardised
from fahr_hf.clinical.prediction import linear_predictor, predict_survival

ROOT = Path(__file__).parents[1]


def patients() -> pd.DataFrame:
    table = pd.read_csv(ROOT / "tests/r/cohorts/whas500.csv")
    wave = np.sin(1.7 * np.arange(len(table)))
    # A face that looks a little older in heart failure, and a risk that knows something of the blood pressure.
    faceage = table.age + 3 * table.chf + 5 * wave
    risk = -0.01 * table.sysbp + 0.5 * wave[::-1]
    person = [f"p{row}" for row in range(len(table))]
    return table.assign(duration=table.duration / 365.25, faceage=faceage, risk=risk, person=person)


def test_the_example_reports_tests_and_applies_one_model_of_age_covariates_and_scores(tmp_path):
    people, new = patients().iloc[::2], patients().iloc[1::2].drop(columns=["duration", "event"])
    people.to_csv(tmp_path / "people.csv", index=False)
    new.to_csv(tmp_path / "new.csv", index=False)
    script = [sys.executable, ROOT / "examples/clinical_report.py", tmp_path / "people.csv", tmp_path / "report"]
    options = ["--covariate", "bmi", "--horizon", "1", "--new", tmp_path / "new.csv"]
    result = subprocess.run([*script, *options], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "report/report.html").exists()
    told = [line.partition(":")[0] for line in result.stdout.splitlines()]
    assert told == [
        "clinical added to nothing",
        "FaceAge added to clinical",
        "FaceSurvival added to clinical + FaceAge",
        "clinical added to FaceAge + FaceSurvival",
        "FaceAge added to clinical + FaceSurvival",
    ]
    covariates = [Scaled("age", per=10), "bmi", Scaled("faceage", per=10), Standardised("risk")]
    by_hand = cox_regression(people, "duration", "event", covariates)
    predicted = pd.read_csv(tmp_path / "new_predicted.csv")
    np.testing.assert_allclose(predicted["log_hazard_ratio"], linear_predictor(by_hand, new), rtol=1e-7)
    assert 1 in load_cox(tmp_path / "report/models/combination.json").times
    np.testing.assert_allclose(predicted["survival"], predict_survival(by_hand, new, 1)[:, 0], rtol=1e-7)
