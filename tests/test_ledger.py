"""The test ledger: every scoring of a test split leaves a line."""

import csv
import subprocess
from pathlib import Path

import pytest

from fahr_hf.data.ledger import record_test_score

HEADER = "date,commit,checkpoint,data,split,n,metric,value,low,high\n"
REPOSITORY = Path(__file__).parents[1]


def score(ledger, **changes):
    line = {
        "checkpoint": "fahr-faceage-tiny",
        "data": "utkface",
        "split": "test",
        "n": 2010,
        "metric": "MAE (years)",
        "value": 5.25,
        "interval": (5.05, 5.45),
    }
    return record_test_score(**{**line, **changes}, ledger=ledger)


@pytest.fixture
def repository(tmp_path):
    (tmp_path / "benchmarks").mkdir()
    (tmp_path / "benchmarks/test_ledger.csv").write_text(HEADER)
    (tmp_path / "code.py").write_text("one")
    for command in (["init", "-q"], ["add", "."], ["commit", "-qm", "one"]):
        identity = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
        subprocess.run(["git", "-C", str(tmp_path), *identity, *command], check=True)
    return tmp_path


def test_the_repositorys_ledger_has_the_columns_that_are_written():
    assert (REPOSITORY / "benchmarks/test_ledger.csv").read_text().startswith(HEADER)


def test_lines_are_appended_with_date_and_commit(repository):
    ledger = repository / "benchmarks/test_ledger.csv"
    score(ledger)
    score(ledger, split="test_faceage", n=1210)
    lines = list(csv.DictReader(ledger.read_text().splitlines()))
    head = subprocess.run(
        ["git", "-C", str(repository), "rev-parse", "--short=12", "HEAD"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    assert [line["split"] for line in lines] == ["test", "test_faceage"]
    # The second line finds the ledger itself changed by the first, which is no change of the code.
    assert [line["commit"] for line in lines] == [head, head]
    assert lines[0]["date"].startswith("20")
    assert [lines[0][name] for name in ("n", "value", "low", "high")] == ["2010", "5.25", "5.05", "5.45"]


def test_code_that_differs_from_its_commit_is_marked(repository):
    (repository / "code.py").write_text("two")
    assert score(repository / "benchmarks/test_ledger.csv").commit.endswith("+")


def test_outside_a_repository_the_commit_is_unknown(tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    (tmp_path / "ledger.csv").write_text(HEADER)
    assert score(tmp_path / "ledger.csv").commit == "unknown"


def test_only_test_splits_belong_here(repository):
    with pytest.raises(ValueError, match="for test splits, got 'validation'"):
        score(repository / "benchmarks/test_ledger.csv", split="validation")
    with pytest.raises(ValueError, match="n must be at least 1"):
        score(repository / "benchmarks/test_ledger.csv", n=0)


def test_no_ledger_is_made_on_the_fly(tmp_path):
    with pytest.raises(FileNotFoundError, match="No test ledger at"):
        score(tmp_path / "benchmarks/test_ledger.csv")
