"""Which photo may be used for what: decided once, for pre-training, age and survival alike.

A data set comes with a binding column `split` (`train`, `validation`, `test`, or a named test such as
`test_faceage`). From it and a stable hash follows the `part` of a photo:

| part | from the split | may be used to |
|---|---|---|
| `train` | what remains of `train` | fit weights |
| `validation` | `validation`; without one, a tenth of `train` | select: when to stop, losses, seeds, models |
| `calibration` | a tenth of `train` | fit tables on a finished model: intervals, percentiles, hazards |
| `test`, `test_...` | the same | report on a finished model; every scoring goes into the test ledger |

The hash is over the person, or over the photo where no identities exist, and over nothing else. So a person is in one
part only, and a photo stays in its part whatever is added to a data set, on every machine, and for ever.
"""

import hashlib
from collections.abc import Iterable, Sequence

CALIBRATION_SHARE = 0.1
VALIDATION_SHARE = 0.1
TEST_SHARE = 0.1

# Part of the hash. Changing it would move photos between parts, and make every published figure doubtful.
_SALT = "fahr-hf split 1"


def is_test(split: str) -> bool:
    """Whether a split or part is one that is never trained, tuned, calibrated or selected on."""
    return split == "test" or split.startswith("test_")


def subject_split(subject_id: str) -> str:
    """The binding split of a person whose identifier is a hexadecimal digest.

    Args:
        subject_id: At least eight hexadecimal digits.

    Returns:
        `"test"` for a fifth of people, `"validation"` for a fifth, `"train"` for the rest.

    Raises:
        ValueError: an identifier that does not begin with eight hexadecimal digits.
    """
    head = subject_id[:8]
    if len(head) < 8 or not set(head.lower()) <= set("0123456789abcdef"):
        raise ValueError(f"subject_id must begin with eight hexadecimal digits, got {subject_id!r}.")
    return {0: "test", 1: "validation"}.get(int(head, 16) % 5, "train")


def stable_fraction(key: str) -> float:
    """A number in [0, 1) that depends on the key alone: the first 52 bits of a SHA-256.

    Args:
        key: Identifier of the person, or of the photo where no identities exist.
    """
    digest = hashlib.sha256(f"{_SALT}:{key}".encode()).digest()
    return (int.from_bytes(digest[:8], "big") >> 12) / 2**52


def assign_parts(splits: Sequence[str], keys: Iterable[str]) -> list[str]:
    """The part of every photo of one data set.

    Args:
        splits: The data set's binding `split` column. Whether a validation part has to be cut from `train` is
            decided by whether this column has any `"validation"`, so give it whole.
        keys: For each photo its person's identifier, or its own where no identities exist.

    Returns:
        For each photo `"train"`, `"validation"`, `"calibration"`, `"test"` or `"test_..."`.

    Raises:
        ValueError: lengths differ, an unknown split, or one person in two splits.
    """
    keys = list(keys)
    if len(keys) != len(splits):
        raise ValueError(f"Expected one key a photo, got {len(splits)} splits and {len(keys)} keys.")
    seen: dict[str, str] = {}
    for split, key in zip(splits, keys, strict=True):
        if split not in ("train", "validation") and not is_test(split):
            raise ValueError(f"Unknown split {split!r} of {key!r}; expected train, validation, test or test_...")
        if seen.setdefault(key, split) != split:
            raise ValueError(f"{key!r} is in the splits {seen[key]!r} and {split!r}; a person belongs to one.")
    cut_validation = "validation" not in seen.values()
    return [_part(split, key, cut_validation) for split, key in zip(splits, keys, strict=True)]


def part_of(key: str, split: str | None, validation_given: bool) -> str:
    """The part of one photo, for data sets that are not handed over whole.

    Where the data set has no splits the hash decides all of it: a tenth of the keys each is `calibration`,
    `validation` and `test`, and the first two are those that `assign_parts` would cut from `train`.

    Args:
        key: The person's identifier, or the photo's where no identities exist.
        split: The data set's binding split, None where it has none.
        validation_given: Whether any photo of the data set has the split `"validation"`.

    Raises:
        ValueError: an unknown split.
    """
    if split is None:
        held_out = CALIBRATION_SHARE + VALIDATION_SHARE
        in_test = held_out <= stable_fraction(key) < held_out + TEST_SHARE
        return "test" if in_test else _part("train", key, cut_validation=True)
    if split not in ("train", "validation") and not is_test(split):
        raise ValueError(f"Unknown split {split!r} of {key!r}; expected train, validation, test or test_...")
    return _part(split, key, cut_validation=not validation_given)


def _part(split: str, key: str, cut_validation: bool) -> str:
    if split != "train":
        return split
    fraction = stable_fraction(key)
    if fraction < CALIBRATION_SHARE:
        return "calibration"
    if cut_validation and fraction < CALIBRATION_SHARE + VALIDATION_SHARE:
        return "validation"
    return "train"
