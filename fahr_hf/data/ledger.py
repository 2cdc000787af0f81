"""The test ledger: one line for every time a test split was scored, so that nobody has to be believed.

A test split that is looked at often enough becomes a validation split. The evaluation code therefore writes here by
itself; there is no way to a test figure that leaves no line.
"""

import csv
import subprocess
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path

from fahr_hf.data.splits import is_test

LEDGER = Path("benchmarks") / "test_ledger.csv"


@dataclass(frozen=True)
class TestScore:
    """One line of the ledger.

    Args:
        date: Time of the scoring, UTC, ISO 8601 to the second.
        commit: Commit of the code, with `+` behind it where files differed from it; `unknown` outside a repository.
        checkpoint: Name of the model that was scored.
        data: Name of the data set.
        split: The test split.
        n: Photos or people scored.
        metric: What was measured, with its unit.
        value: The figure.
        low: Lower end of its 95 % interval.
        high: Upper end.
    """

    # pytest would otherwise take the name for that of a test class.
    __test__ = False

    date: str
    commit: str
    checkpoint: str
    data: str
    split: str
    n: int
    metric: str
    value: float
    low: float
    high: float


_COLUMNS = [field.name for field in fields(TestScore)]


def check_ledger(ledger: str | Path = LEDGER) -> Path:
    """The ledger's file, before anything is scored.

    Raises:
        FileNotFoundError: no ledger there. It is never made on the fly: a line in a new file somewhere would be lost.
    """
    path = Path(ledger)
    if not path.is_file():
        raise FileNotFoundError(
            f"No test ledger at {path}. Score test splits from the repository's root, or make a file with the line "
            f"{','.join(_COLUMNS)} and name it."
        )
    return path


def record_test_score(
    checkpoint: str,
    data: str,
    split: str,
    n: int,
    metric: str,
    value: float,
    interval: tuple[float, float],
    ledger: str | Path = LEDGER,
) -> TestScore:
    """Append a scoring of a test split to the ledger.

    Args:
        checkpoint: Name of the model.
        data: Name of the data set.
        split: A test split: `test` or `test_...`.
        n: Photos or people scored, at least 1.
        metric: What was measured, with its unit, as in `MAE (years)`.
        value: The figure.
        interval: Ends of its 95 % interval.
        ledger: The csv file; by default that of the repository one works in.

    Returns:
        The line as written.

    Raises:
        ValueError: a split that is no test split, or no photos.
        FileNotFoundError: no ledger there; see `check_ledger`.
    """
    if not is_test(split):
        raise ValueError(f"The ledger is for test splits, got {split!r}.")
    if n < 1:
        raise ValueError(f"n must be at least 1, got {n}.")
    path = check_ledger(ledger)
    score = TestScore(
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        commit=_commit(path.resolve().parent),
        checkpoint=checkpoint,
        data=data,
        split=split,
        n=n,
        metric=metric,
        value=value,
        low=interval[0],
        high=interval[1],
    )
    with path.open("a", newline="", encoding="utf-8") as file:
        csv.DictWriter(file, _COLUMNS, lineterminator="\n").writerow(asdict(score))
    return score


def _commit(folder: Path) -> str:
    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=True
        ).stdout.strip()

    try:
        # The ledger itself changes with every line and says nothing about the code.
        changed = git("status", "--porcelain", "--", ":(top)", f":(top,exclude){LEDGER.as_posix()}")
        return git("rev-parse", "--short=12", "HEAD") + ("+" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
