"""Which photo may be used for what, now and for ever."""

import os
from collections import Counter
from pathlib import Path

import pytest

from fahr_hf.data.splits import assign_parts, is_test, part_of, stable_fraction, subject_split

SHARED = Path(os.environ.get("FAHR_HF_DATA", Path(__file__).parents[2] / "shared" / "data"))
needs_photos = pytest.mark.skipif(not SHARED.is_dir(), reason="the photos are not beside the repository")


def columns(pattern: str, key: str) -> tuple[list[str], list[str]]:
    import pyarrow.parquet as pq

    splits, keys = [], []
    for file in sorted(SHARED.glob(pattern)):
        table = pq.read_table(file, columns=["split", key])
        splits += table["split"].to_pylist()
        keys += table[key].to_pylist()
    return splits, keys


def test_the_hash_never_changes():
    # Written down on the first day. A change here would move photos between parts.
    assert stable_fraction("26_0_2_20170116182630634") == 0.1817251585580384
    assert stable_fraction("b692e279138c") == 0.29751970684779927
    assert stable_fraction("") == 0.7156612724215248


def test_the_hash_is_uniform():
    fractions = [stable_fraction(str(i)) for i in range(10_000)]
    assert all(0 <= f < 1 for f in fractions)
    # Each of ten bins is binomial with a standard deviation of 30.
    assert all(abs(count - 1000) < 150 for count in Counter(int(f * 10) for f in fractions).values())


def test_subject_split_is_the_published_rule():
    for digest in ("b692e279138c", "d93520f4ed55", "9baac27f95ea", "00000005", "00000006", "00000007"):
        remainder = int(digest[:8], 16) % 5
        assert subject_split(digest) == {0: "test", 1: "validation"}.get(remainder, "train")
    with pytest.raises(ValueError, match="'person-7'"):
        subject_split("person-7")


def test_validation_is_cut_only_where_none_is_given():
    keys = [str(i) for i in range(1000)]
    cut = Counter(assign_parts(["train"] * 1000, keys))
    assert 60 < cut["validation"] < 140
    assert 60 < cut["calibration"] < 140
    given = assign_parts([*["train"] * 1000, "validation"], [*keys, "x"])
    assert Counter(given)["validation"] == 1
    # What is calibration stays calibration either way.
    one = {k for k, part in zip(keys, assign_parts(["train"] * 1000, keys), strict=True) if part == "calibration"}
    assert one == {k for k, part in zip(keys, given[:1000], strict=True) if part == "calibration"}


def test_a_part_does_not_depend_on_the_rest_of_the_data_set():
    keys = [str(i) for i in range(100)]
    alone = [assign_parts(["train"], [key])[0] for key in keys]
    assert assign_parts(["train"] * 100, keys) == alone


def test_tests_stay_tests():
    assert assign_parts(["test", "test_faceage", "train"], ["a", "b", "c"])[:2] == ["test", "test_faceage"]
    assert is_test("test")
    assert is_test("test_faceage")
    assert not any(is_test(part) for part in ("train", "validation", "calibration", "testing"))


@pytest.mark.parametrize("given", [True, False])
def test_photo_by_photo_the_parts_are_the_same(given):
    keys = [str(i) for i in range(300)]
    splits = [["train", "validation" if given else "train", "test", "test_faceage"][i % 4] for i in range(300)]
    assert [part_of(key, split, given) for key, split in zip(keys, splits, strict=True)] == assign_parts(splits, keys)


def test_without_splits_the_hash_holds_out_a_tenth_thrice():
    keys = [str(i) for i in range(10_000)]
    parts = [part_of(key, None, validation_given=False) for key in keys]
    # Binomial with a standard deviation of 30, as above.
    counts = Counter(parts)
    assert all(abs(counts[part] - 1000) < 150 for part in ("test", "validation", "calibration"))
    # What would be held out if all were `train` is held out here too.
    for part, other in zip(parts, assign_parts(["train"] * len(keys), keys), strict=True):
        assert part == other or (part, other) == ("test", "train")


def test_the_parts_of_keys_never_change():
    # Written down on the first day, as above.
    assert [part_of(str(i), None, validation_given=False) for i in range(16)] == [
        "train",
        "test",
        "validation",
        "validation",
        "train",
        "validation",
        "calibration",
        "train",
        "validation",
        "validation",
        "train",
        "train",
        "train",
        "test",
        "train",
        "calibration",
    ]


def test_an_unknown_split_has_no_part():
    with pytest.raises(ValueError, match="Unknown split 'dev' of 'a'"):
        part_of("a", "dev", validation_given=False)


@pytest.mark.parametrize(
    ("splits", "keys", "message"),
    [
        (["train"], ["a", "b"], "1 splits and 2 keys"),
        (["dev"], ["a"], "Unknown split 'dev' of 'a'"),
        (["train", "test"], ["a", "a"], "'a' is in the splits 'train' and 'test'"),
    ],
)
def test_contradictions_are_refused(splits, keys, message):
    with pytest.raises(ValueError, match=message):
        assign_parts(splits, keys)


@needs_photos
@pytest.mark.parametrize(
    ("pattern", "key", "counts"),
    [
        (
            "utkface-*.parquet",
            "id",
            {"train": 14491, "validation": 1835, "calibration": 1839, "test": 2010, "test_faceage": 1210},
        ),
        (
            "public_figures-*.parquet",
            "subject_id",
            {"train": 4796, "validation": 1738, "calibration": 576, "test": 1825},
        ),
        (
            "congress.parquet",
            "subject_id",
            {"train": 1767, "validation": 650, "calibration": 177, "test": 673},
        ),
    ],
)
def test_parts_of_the_three_sets(pattern, key, counts):
    splits, keys = columns(pattern, key)
    assert Counter(assign_parts(splits, keys)) == counts
    if key == "subject_id":
        assert [subject_split(k) for k in keys] == splits


@needs_photos
def test_nobody_is_in_two_parts_or_two_sets():
    part_of, set_of = {}, {}
    for pattern in ("public_figures-*.parquet", "congress.parquet"):
        splits, keys = columns(pattern, "subject_id")
        for key, part in zip(keys, assign_parts(splits, keys), strict=True):
            assert part_of.setdefault(key, part) == part
            assert set_of.setdefault(key, pattern) == pattern
