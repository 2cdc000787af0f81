"""Near duplicates: what counts as the same picture, and which of two copies has to go."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from photo_sets import ASTRONAUT, encoded, row, write_set
from PIL import ImageEnhance, ImageOps
from typer.testing import CliRunner

from fahr_hf import FahrFaceImageProcessor
from fahr_hf.cli.data import data
from fahr_hf.data import duplicates as module
from fahr_hf.data.crops import load_crops
from fahr_hf.data.cutting import cut_crops, cut_face
from fahr_hf.data.duplicates import NEAR, difference_hash, find_duplicates, hash_distance, mark_duplicates

CLAIMS = {"test": 0, "test_young": 0, "calibration": 1, "validation": 2, "train": 3}


COPIES = {
    "recompressed": encoded(ASTRONAUT, quality=30),
    "resized": encoded(ASTRONAUT.resize((230, 230))),
    "cut": encoded(ASTRONAUT.crop((100, 0, 400, 300))),
    "turned": encoded(ASTRONAUT.rotate(20)),
    "darker": encoded(ImageEnhance.Brightness(ASTRONAUT).enhance(0.8)),
    "grey": encoded(ASTRONAUT.convert("L")),
}


def hash_of(photo: bytes) -> np.ndarray:
    return difference_hash(cut_face(photo, FahrFaceImageProcessor()).image[None])


@pytest.mark.parametrize("copy", COPIES)
def test_a_copy_of_a_photo_has_nearly_the_same_hash(copy):
    assert hash_distance(hash_of(encoded(ASTRONAUT)), hash_of(COPIES[copy]))[0, 0] <= NEAR


def test_another_picture_of_the_same_face_has_not():
    mirrored = encoded(ImageOps.mirror(ASTRONAUT))
    assert hash_distance(hash_of(encoded(ASTRONAUT)), hash_of(mirrored))[0, 0] > 2 * NEAR


def test_the_distance_is_the_number_of_bits_that_differ():
    hashes = np.array([[0b00000000], [0b00000111]], np.uint8)
    others = np.array([[0b11111111], [0b00000110], [0b00000111]], np.uint8)
    assert hash_distance(hashes, others).tolist() == [[8, 2, 3], [5, 1, 0]]


# -------------------------------------------------------------------------------------------------- which one has to go


def hashes_in_clusters(count: int, seed: int) -> np.ndarray:
    """Hashes of which many differ from a few others by up to twice `NEAR` bits, so that nearness is not transitive."""
    rng = np.random.default_rng(seed)
    centres = rng.integers(0, 2, (count // 5, 264))
    flips = rng.random((count, 264)) < rng.choice([0.01, 0.05, 0.1], (count, 1))
    return np.packbits(centres[rng.integers(0, len(centres), count)] ^ flips, axis=1)


@pytest.mark.parametrize("block", [7, 4096])
@pytest.mark.parametrize("seed", range(3))
def test_the_rule_is_a_walk_in_order_of_claims_past_all_that_stay(monkeypatch, seed, block):
    monkeypatch.setattr(module, "_BLOCK", block)
    hashes = hashes_in_clusters(120, seed)
    parts = np.random.default_rng(seed).choice(list(CLAIMS), 120, p=[0.1, 0.1, 0.1, 0.1, 0.6]).tolist()
    wanted = np.full(120, -1)
    stay: list[int] = []
    for one in sorted(range(120), key=lambda index: CLAIMS[parts[index]]):
        for other in stay:
            weaker = CLAIMS[parts[other]] < CLAIMS[parts[one]] or parts[one] == "train"
            if weaker and np.bitwise_count(hashes[one] ^ hashes[other]).sum() <= NEAR:
                wanted[one] = other
                break
        else:
            stay.append(one)
    assert (find_duplicates(hashes, parts) == wanted).all()
    # Otherwise the comparison says little.
    assert {parts[index] for index in np.flatnonzero(wanted >= 0)} == {"calibration", "validation", "train"}


def test_a_test_photo_always_stays_and_a_held_out_one_never_goes_because_of_train():
    same = np.zeros((8, 33), np.uint8)
    parts = ["train", "validation", "train", "test", "validation", "calibration", "test_young", "test"]
    assert find_duplicates(same, parts).tolist() == [3, 3, 3, -1, 3, 3, -1, -1]
    assert find_duplicates(same[:3], parts[:3]).tolist() == [1, -1, 1]
    assert find_duplicates(same[4:6], parts[4:6]).tolist() == [1, -1]
    # Copies within a held-out part do no harm.
    assert find_duplicates(same[:2], ["calibration"] * 2).tolist() == [-1, -1]


def test_bits_up_to_the_limit_count_as_near():
    hashes = np.packbits(np.arange(264) < np.array([[0], [NEAR], [NEAR + 1]]), axis=1)
    assert find_duplicates(hashes[[0, 1]], ["train"] * 2).tolist() == [-1, 0]
    assert find_duplicates(hashes[[0, 2]], ["train"] * 2).tolist() == [-1, -1]


def test_of_no_crops_none_is_left_out():
    assert find_duplicates(np.zeros((0, 33), np.uint8), []).tolist() == []


# ------------------------------------------------------------------------------------------------------------ in caches


@pytest.fixture(scope="module")
def caches(tmp_path_factory) -> list[Path]:
    place = tmp_path_factory.mktemp("caches")
    mirrored = ImageOps.mirror(ASTRONAUT)
    rows = {
        "one": [
            row("fits", encoded(ASTRONAUT, quality=95), source="one"),
            row("mirrored", encoded(mirrored, quality=95), source="one"),
            row("again", encoded(mirrored, quality=50), source="one"),
        ],
        "two": [row("tests", encoded(ASTRONAUT.resize((300, 300)), "PNG"), source="two", part="test")],
    }
    for name in rows:
        list(cut_crops(write_set(place / "sets" / name, rows[name]), place / name, workers=1))
    return [place / name for name in rows]


def test_caches_are_compared_within_and_with_each_other(caches):
    result = CliRunner().invoke(data, ["duplicates", *map(str, caches)], catch_exceptions=False)
    assert f"{caches[0]}: 2 photos left out (2 of train)" in result.output
    assert f"{caches[1]}: 0 photos left out\n" in result.output
    listed = pq.read_table(caches[0] / "duplicates.parquet").to_pydict()
    assert (listed["row"], listed["photo_id"]) == ([0, 2], ["fits", "again"])
    pairs = zip(("two/tests", "one/mirrored"), listed["reason"], strict=True)
    for other, reason in pairs:
        assert reason.startswith(f"nearly the same picture as {other} (")
        assert reason.endswith(" of 264 bits)")
    assert load_crops(caches[0]).column("photo_id").tolist() == ["mirrored"]
    assert len(load_crops(caches[1])) == 1


def test_another_run_replaces_the_list(caches):
    mark_duplicates(caches)
    (counts,) = mark_duplicates(caches[:1])
    assert counts == {"train": 1}
    assert load_crops(caches[0]).column("photo_id").tolist() == ["fits", "mirrored"]


def test_a_cache_given_twice_would_be_all_duplicates_of_itself(caches):
    with pytest.raises(ValueError, match="given twice"):
        mark_duplicates([caches[0], caches[1], caches[0] / ".." / caches[0].name])
