"""What `fahr-hf data build` writes: photos as they were, parts that do not mix, and a word on all that was left out."""

import io
import json
import os
import shutil
import tracemalloc
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import skimage
from datasets import Features, Value, load_dataset
from huggingface_hub import DatasetCard
from PIL import Image
from typer.testing import CliRunner

from fahr_hf.cli.data import data
from fahr_hf.data import build as module
from fahr_hf.data.build import Selection, build
from fahr_hf.data.dataset_card import dataset_card
from fahr_hf.data.folds import Folds
from fahr_hf.data.schema import COLUMNS, Photo
from fahr_hf.data.sources import SOURCES, Column, Reject, Source, table
from fahr_hf.data.splits import assign_parts, part_of

SHARED = Path(os.environ.get("FAHR_HF_DATA", Path(__file__).parents[2] / "shared" / "data"))
needs_photos = pytest.mark.skipif(not SHARED.is_dir(), reason="the photos are not beside the repository")


ASTRONAUT = Image.fromarray(skimage.data.astronaut())


def encoded(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def photo(shade: int) -> bytes:
    return encoded(Image.new("RGB", (8, 8), (shade % 256, shade // 256, 0)))


def source_of(*rows: Photo | Reject, columns: dict[str, Column] | None = None) -> Source:
    """A data set that is in memory."""
    return Source(
        name="tiny",
        title="Tiny set",
        homepage="https://example.org/tiny",
        licence="CC BY 4.0",
        hub_licence="cc-by-4.0",
        terms="The licence permits weights for any use, with attribution.",
        citation="@misc{tiny,\n  title = {Tiny set}\n}",
        release="The first one.",
        read=lambda folder: iter(rows),  # noqa: ARG005
        columns=columns or {},
    )


def rows_of(out: Path) -> list[dict]:
    return [row for file in sorted((out / "data").glob("*.parquet")) for row in pq.read_table(file).to_pylist()]


def rejects_of(out: Path) -> dict[str, str]:
    return {row["photo_id"]: row["reason"] for row in pq.read_table(out / "rejects.parquet").to_pylist()}


@pytest.fixture
def out(tmp_path) -> Path:
    return tmp_path / "out"


@pytest.fixture(scope="module")
def clinic(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clinic")
    (folder / "photos").mkdir()
    # Turned by EXIF, which a decoder applies and a copy must keep.
    exif = Image.Exif()
    exif[0x0112] = 6
    ASTRONAUT.resize((64, 32)).save(folder / "photos" / "a.jpg", exif=exif)
    ASTRONAUT.save(folder / "photos" / "b.png")
    (folder / "labels.csv").write_text(
        "image,subject_id,age,sex,split,duration,event\n"
        "photos/a.jpg,p1,60.5,F,train,1.5,true\n"
        "photos/b.png,p2,7,male,test_late,,false\n"
    )
    out = folder / "out"
    build(table(folder, name="clinic"), folder, out)
    return folder, out


class TestWhatIsWritten:
    def test_datasets_opens_it_with_the_parts_as_splits(self, clinic, tmp_path):
        photos = load_dataset(str(clinic[1]), cache_dir=tmp_path)
        assert list(photos) == [part_of("p1", "train", validation_given=False), "test_late"]
        row = photos["test_late"][0]
        assert np.array_equal(row["image"], ASTRONAUT)
        assert (row["photo_id"], row["subject_id"], row["age"], row["sex"]) == ("photos/b.png", "p2", 7, "male")
        assert (row["source"], row["part"], row["race"], row["box"]) == ("clinic", "test_late", None, None)
        assert (row["duration"], row["event"]) == (None, False)

    def test_columns_are_those_of_the_schema_and_then_its_own(self, clinic):
        for file in (clinic[1] / "data").iterdir():
            features = Features.from_arrow_schema(pq.read_schema(file))
            assert features == Features({**COLUMNS, "duration": Value("float64"), "event": Value("bool")})
            assert list(features)[-2:] == ["duration", "event"]

    def test_photos_are_copied_byte_for_byte(self, clinic, tmp_path):
        folder, out = clinic
        for row in rows_of(out):
            assert row["image"]["bytes"] == (folder / row["photo_id"]).read_bytes()
            assert row["image"]["path"] == Path(row["photo_id"]).name
        turned = next(iter(load_dataset(str(out), cache_dir=tmp_path).values()))[0]["image"]
        assert turned.size == (32, 64)

    def test_there_is_nothing_beside_the_data_rejects_and_card(self, clinic):
        assert sorted(path.name for path in clinic[1].iterdir()) == ["README.md", "data", "rejects.parquet"]
        assert rejects_of(clinic[1]) == {}


class TestParts:
    def test_a_set_without_splits_is_divided_by_person(self, out):
        photos = [Photo(photo(i), f"{i}.jpg", subject_id=str(i // 2)) for i in range(400)]
        built = build(source_of(*photos), ".", out)
        parts = {}
        for row in rows_of(out):
            assert (
                parts.setdefault(row["subject_id"], row["part"])
                == row["part"]
                == part_of(row["subject_id"], None, False)
            )
        assert built.kept == Counter(row["part"] for row in rows_of(out))
        assert set(built.kept) == {"train", "validation", "calibration", "test"}

    def test_for_pre_training_everything_can_be_train(self, out):
        photos = [Photo(photo(i), f"{i}.jpg") for i in range(30)]
        assert build(source_of(*photos), ".", out, Selection(all_train=True)).kept == {"train": 30}

    def test_but_not_where_the_authors_hold_photos_out(self, out):
        with pytest.raises(ValueError, match="--all-train would ignore the splits"):
            build(source_of(Photo(photo(1), "1", split="test")), ".", out, Selection(all_train=True))

    @pytest.mark.parametrize(
        ("splits", "message"),
        [
            (["train", "test"], "'p' is in the splits 'train' and 'test'; a person belongs to one"),
            (["train", None], "Some photos have a split and some have none"),
            (["train", "train", "dev"], "'p' is in the splits 'train' and 'dev'"),
            (["dev", "dev"], "Unknown split 'dev'"),
        ],
    )
    def test_splits_that_make_no_sense_stop_the_work_before_it_begins(self, out, splits, message):
        photos = [Photo(photo(i), str(i), subject_id="p", split=split) for i, split in enumerate(splits)]
        done = []
        with pytest.raises(ValueError, match=message):
            build(source_of(*photos), ".", out, progress=lambda *counts: done.append(counts))
        assert not done
        assert not out.exists()

    @needs_photos
    @pytest.mark.parametrize(
        ("name", "counts"),
        [
            ("utkface", {"train": 14491, "validation": 1835, "calibration": 1839, "test": 2010, "test_faceage": 1210}),
            ("public_figures", {"train": 4796, "validation": 1738, "calibration": 576, "test": 1825}),
        ],
    )
    def test_of_two_sets_that_are_here(self, name, counts):
        photos = [(photo.split, photo.key) for photo in SOURCES[name].read(SHARED)]
        assert Counter(assign_parts(*zip(*photos, strict=True))) == counts

    @needs_photos
    def test_of_a_third_that_is_built(self, out):
        built = build(SOURCES["congress"], SHARED, out)
        assert built.kept == {"train": 1767, "validation": 650, "calibration": 177, "test": 673}
        assert not built.rejected


class TestDuplicates:
    def test_the_first_of_two_stays(self, out):
        photos = [Photo(photo(1), name, split="test") for name in ("a", "b")]
        built = build(source_of(*photos), ".", out)
        assert built.rejected == {"duplicate": 1}
        assert rejects_of(out) == {"b": "duplicate: a"}

    @pytest.mark.parametrize("order", [1, -1])
    @pytest.mark.parametrize(
        ("winner", "loser"), [("test", "train"), ("test_late", "validation"), ("validation", "train")]
    )
    def test_the_same_bytes_are_never_in_two_parts_and_the_stricter_one_has_them(self, out, winner, loser, order):
        assert part_of("seen", "train", validation_given=False) == "train"
        photos = [Photo(photo(1), "seen", split=loser), Photo(photo(1), "held", split=winner)][::order]
        build(source_of(*photos), ".", out)
        assert [(row["photo_id"], row["part"]) for row in rows_of(out)] == [("held", winner)]
        assert rejects_of(out) == {"seen": f"same photo in another part: held in {winner}"}

    def test_two_faces_of_one_photo_are_no_duplicates(self, out):
        boxes = [(0, 0, 4, 4), (4, 4, 8, 8), (4, 4, 8, 8)]
        photos = [Photo(photo(1), f"a.jpg#{i}", box=box) for i, box in enumerate(boxes)]
        build(source_of(*photos), ".", out)
        assert {row["photo_id"]: row["box"] for row in rows_of(out)} == {
            "a.jpg#0": [0, 0, 4, 4],
            "a.jpg#1": [4, 4, 8, 8],
        }
        assert rejects_of(out) == {"a.jpg#2": "duplicate: a.jpg#1"}

    def test_an_identifier_is_there_once(self, out):
        build(source_of(Photo(photo(1), "a", split="test"), Photo(photo(2), "a", split="test")), ".", out)
        assert rejects_of(out) == {"a": "photo_id occurs twice"}


class TestWhatIsLeftOut:
    def test_every_row_has_its_reason_and_good_work_stays(self, tmp_path, out):
        (tmp_path / "empty.jpg").write_bytes(b"")
        (tmp_path / "text.jpg").write_text("not a photo")
        (tmp_path / "folder.jpg").mkdir()
        names = ["missing.jpg", "empty.jpg", "text.jpg", "folder.jpg"]
        rows = [Photo(tmp_path / name, name, split="train") for name in names]
        rows.append(Reject("row 5", "age is no number: 'x'"))
        built = build(source_of(*rows, Photo(photo(1), "good", split="test")), ".", out)
        assert built.kept == {"test": 1}
        assert rejects_of(out) == {
            "missing.jpg": "missing file",
            "empty.jpg": "unreadable: empty file",
            "text.jpg": "unreadable: no image that Pillow knows",
            "folder.jpg": "unreadable: Is a directory",
            "row 5": "age is no number: 'x'",
        }
        assert built.rejected == {"missing file": 1, "unreadable": 3, "age is no number": 1}
        assert pq.read_table(out / "rejects.parquet")["source"].to_pylist() == ["tiny"] * 5

    def test_a_file_whose_name_is_no_text_is_one_of_them(self, tmp_path, out):
        (tmp_path / "good.png").write_bytes(photo(1))
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.png")).write_bytes(photo(2))
        assert build(table(tmp_path), tmp_path, out).kept.total() == 1
        assert rejects_of(out) == {"caf?.png": "file name is not UTF-8"}

    def test_a_photo_too_large_to_open_is_one_of_them(self, out, monkeypatch):
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
        build(source_of(Photo(encoded(ASTRONAUT), "large"), Photo(photo(1), "small")), ".", out)
        assert rejects_of(out)["large"].startswith("unreadable: Image size (262144 pixels) exceeds limit")

    def test_ages_are_limited_where_asked_for(self, out):
        ages = {"a": 0, "b": 17.5, "c": 18, "d": 80, "e": 80.5, "f": None}
        photos = [Photo(photo(i), name, age=age) for i, (name, age) in enumerate(ages.items())]
        built = build(source_of(*photos), ".", out, Selection(ages=(18, 80)))
        assert sorted(row["photo_id"] for row in rows_of(out)) == ["c", "d", "f"]
        assert built.rejected == {"age out of range": 3}

    def test_a_label_can_be_required(self, out):
        ward = {"ward": Column(Value("int64"), "number of the ward")}
        photos = [
            Photo(photo(1), "a", age=0, extra={"ward": 0}),
            Photo(photo(2), "b", extra={"ward": 1}),
            Photo(photo(3), "c", age=1, extra={"ward": None}),
        ]
        built = build(source_of(*photos, columns=ward), ".", out, Selection(require=["age", "ward"]))
        assert [row["photo_id"] for row in rows_of(out)] == ["a"]
        assert built.rejected == {"no age": 1, "no ward": 1}

    def test_a_label_that_there_is_not_cannot(self, out):
        with pytest.raises(ValueError, match="tiny has no label 'height' to require; there are subject_id, age"):
            build(source_of(Photo(photo(1), "a")), ".", out, Selection(require=["height"]))

    def test_nothing_kept_is_an_error_that_says_why(self, out):
        with pytest.raises(ValueError, match="None of 1 rows could be kept; the first one: missing file"):
            build(source_of(Photo(Path("nowhere.jpg"), "a")), ".", out)
        with pytest.raises(ValueError, match=r"no photos of Tiny set in .* Expected: The first one"):
            build(source_of(), ".", out)
        assert not out.exists()


class TestTheFolder:
    def test_what_exists_is_left_alone(self, out):
        out.mkdir()
        (out / "thesis.txt").write_text("precious")
        with pytest.raises(FileExistsError, match="exists and is not empty"):
            build(source_of(Photo(photo(1), "a")), ".", out)
        assert [path.name for path in out.iterdir()] == ["thesis.txt"]

    def test_an_empty_folder_is_filled(self, out):
        out.mkdir()
        build(source_of(Photo(photo(1), "a")), ".", out)
        assert (out / "README.md").exists()

    def test_an_interrupted_build_leaves_nothing_that_looks_complete(self, out):
        photos = [Photo(photo(i), str(i)) for i in range(300)]
        passes = []

        def read(folder: Path) -> Iterator[Photo]:
            del folder
            passes.append(1)
            yield from photos[:250]
            if len(passes) == 4:
                raise KeyboardInterrupt
            yield from photos[250:]

        source = replace(source_of(), read=read)
        with pytest.raises(KeyboardInterrupt):
            build(source, ".", out)
        assert not out.exists()
        assert list(out.parent.iterdir()) == []
        assert build(source, ".", out).kept.total() == 300

    def test_what_a_killed_build_left_is_cleared_away(self, out):
        left = out.with_name(".out.partial")
        (left / "data").mkdir(parents=True)
        (left / "data" / "train-00007.parquet").write_bytes(b"half a file")
        build(source_of(Photo(photo(1), "a")), ".", out)
        assert not left.exists()
        assert len(rows_of(out)) == 1

    def test_files_have_a_bounded_number_of_rows_and_bytes(self, out, monkeypatch):
        monkeypatch.setattr(module, "_GROUP_ROWS", 2)
        monkeypatch.setattr(module, "_FILE_ROWS", 5)
        photos = [Photo(photo(i), str(i), split="test") for i in range(11)]
        build(source_of(*photos), ".", out)
        files = [pq.ParquetFile(file).metadata for file in sorted((out / "data").iterdir())]
        assert [file.num_rows for file in files] == [5, 5, 1]
        assert [files[0].row_group(i).num_rows for i in range(files[0].num_row_groups)] == [2, 2, 1]
        assert [row["photo_id"] for row in rows_of(out)] == [str(i) for i in range(11)]
        shutil.rmtree(out)
        monkeypatch.setattr(module, "_FILE_BYTES", 3 * len(photo(0)))
        build(source_of(*photos), ".", out)
        assert [pq.read_metadata(file).num_rows for file in sorted((out / "data").iterdir())] == [3, 3, 3, 2]

    def test_memory_does_not_grow_with_the_number_of_photos(self, tmp_path):
        png = encoded(ASTRONAUT.resize((64, 64)))

        def peak(count: int) -> int:
            def read(folder: Path) -> Iterator[Photo]:
                del folder
                # What follows the end of a PNG is no part of it.
                return (Photo(png + i.to_bytes(4, "big"), str(i), split="test") for i in range(count))

            tracemalloc.start()
            build(replace(source_of(), read=read), ".", tmp_path / str(count))
            size = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            return size

        peak(10)
        assert peak(2000) < 1.05 * peak(400)


# As the README of the published databases lists them.
TRAINING_FOLDERS = [
    {0, 1, 2, 3, 4, 5},
    {2, 3, 4, 5, 6, 7},
    {4, 5, 6, 7, 8, 9},
    {5, 6, 7, 8, 9, 0},
    {6, 7, 8, 9, 0, 1},
]
VALIDATION_FOLDERS = [{6, 7}, {8, 9}, {0, 1}, {1, 2}, {2, 3}]


class TestFolds:
    def database(self, folder: Path, entries: dict[str, int]) -> Path:
        path = folder / "Some.json"
        path.write_text(json.dumps([{"img_path": name, "folder": number} for name, number in entries.items()]))
        return path

    @pytest.mark.parametrize("fold", range(5))
    def test_ten_folders_make_five_folds(self, tmp_path, fold):
        database = self.database(tmp_path, {f"AgeDB/AgeDB/{i}.jpg": i for i in range(10)})
        folds = Folds(database, fold)
        for i in range(10):
            split = folds.assign(Photo(tmp_path / "downloads" / f"{i}.jpg", "any")).split
            assert (split == "train") == (i in TRAINING_FOLDERS[fold])
            assert (split == "validation") == (i in VALIDATION_FOLDERS[fold])
            assert split in ("train", "validation", "test")

    def test_three_folders_are_those_of_the_authors(self, tmp_path):
        folds = Folds(self.database(tmp_path, {"a.jpg": 0, "b.jpg": 1, "c.jpg": 2}), 0)
        splits = [folds.assign(Photo(b"", name)).split for name in ("a.jpg", "b.jpg", "c.jpg")]
        assert splits == ["train", "validation", "test"]

    def test_of_files_of_one_name_the_folder_above_decides(self, tmp_path):
        folds = Folds(self.database(tmp_path, {"set/train/1.jpg": 0, "set/valid/1.jpg": 1, "set/test/2.jpg": 2}), 0)
        assert folds.assign(Photo(Path("/mine/valid/1.jpg"), "any")).split == "validation"
        assert folds.assign(Photo(Path("/mine/test/2.jpg"), "any")).split == "test"
        unclear = folds.assign(Photo(Path("/mine/1.jpg"), "any"))
        assert unclear.reason == "in several folders of the folds: [0, 1]"

    def test_parts_come_from_the_file_and_what_it_lacks_is_left_out(self, tmp_path, out):
        folder = tmp_path / "AgeDB"
        folder.mkdir()
        people = {f"{i}_Person{i}_30_m.jpg": i % 10 for i in range(40)}
        for i, name in enumerate([*people, "99_Stranger_30_f.jpg"]):
            (folder / name).write_bytes(photo(i))
        database = self.database(tmp_path, {f"AgeDB/AgeDB/{name}": number for name, number in people.items()})
        build(SOURCES["agedb"], folder, out, Selection(folds=Folds(database, 1)))
        for row in rows_of(out):
            number = people[row["photo_id"]]
            expected = "test" if number in (0, 1) else "validation" if number in (8, 9) else "train"
            assert row["part"] == part_of(row["subject_id"], expected, validation_given=True)
        assert rejects_of(out) == {"99_Stranger_30_f.jpg": "not in the folds"}
        assert "Fold 1 of `Some.json` decides" in (out / "README.md").read_text()
        assert "fahr-hf data build agedb SOURCE OUT --folds Some.json --fold 1" in (out / "README.md").read_text()

    def test_a_person_whom_the_file_takes_for_two_stays_in_one_part(self, tmp_path, out):
        # The names of some are written in two ways, and the two are in other folders.
        names = {"1_Will_30_m.jpg": 0, "2_Will _31_m.jpg": 9, "3_Ann_30_f.jpg": 3, "4_Ann _30_f.jpg": 6}
        for i, name in enumerate(names):
            (tmp_path / name).write_bytes(photo(i))
        entries = {**names, **{f"{i}.jpg": i for i in range(10)}}
        (tmp_path / "folds").mkdir()
        database = self.database(tmp_path / "folds", entries)
        build(SOURCES["agedb"], tmp_path, out, Selection(folds=Folds(database, 0)))
        assert {row["photo_id"] for row in rows_of(out)} == {"2_Will _31_m.jpg", "3_Ann_30_f.jpg"}
        assert rejects_of(out)["1_Will_30_m.jpg"] == "person in several folds: Will"
        assert rejects_of(out)["4_Ann _30_f.jpg"] == "person in several folds: Ann"

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("version https://git-lfs.github.com/spec/v1", "is no database of folds"),
            ('{"img_path": "a.jpg"}', "is no database of folds: .* img_path and folder, got {'img_path'"),
            ('[{"img_path": "a.jpg"}]', "is no database of folds"),
            ("[1]", "is no database of folds: .* got 1"),
            ('[{"img_path": "a.jpg", "folder": 7}]', r"The folders of f.json are \[7\]; expected 0 to 2 or 0 to 9"),
        ],
    )
    def test_another_file_is_an_error(self, tmp_path, text, message):
        (tmp_path / "f.json").write_text(text)
        with pytest.raises(ValueError, match=message):
            Folds(tmp_path / "f.json", 0)

    def test_another_fold_is_an_error(self, tmp_path):
        with pytest.raises(ValueError, match=r"Some.json has 1 folds, counted from 0; got 1"):
            Folds(self.database(tmp_path, {"a": 0, "b": 1, "c": 2}), 1)


CARD = """\
---
license: cc-by-4.0
size_categories:
- n<1K
task_categories:
- image-classification
- image-feature-extraction
pretty_name: Tiny set
tags:
- face
- age-estimation
- biometric-data
- fahr-hf
configs:
- config_name: default
  data_files:
  - split: train
    path: data/train-*.parquet
  - split: validation
    path: data/validation-*.parquet
  - split: test
    path: data/test-*.parquet
  - split: test_late
    path: data/test_late-*.parquet
---

# Tiny set

4 photos of faces in the schema of fahr-hf, made from Tiny set (https://example.org/tiny).

- Licence of the source: CC BY 4.0.
- The licence permits weights for any use, with attribution.
- Release read: The first one.

## Uses

Photos of faces are biometric data. Whoever holds this set answers for the rights of those whom it shows.

**Intended**: research on what a face tells of age and health: to train and to measure models that estimate an age or a
risk.

**Out of scope**: recognising or matching people; and decisions about a person, such as insurance, employment, credit,
immigration, policing, triage and individual prognosis.

## Parts

| part | photos |
|---|---|
| `train` | 1 |
| `validation` | 1 |
| `test` | 1 |
| `test_late` | 1 |

The splits of the set decide; of what is `train` by them, a stable hash of the person, or of the photo where no \
identities exist, sets apart a tenth as `calibration`.

Models are fitted on `train` and chosen on `validation`; tables that belong to a finished model are fitted on
`calibration`. Nothing is ever fitted or chosen on `test`, `test_late`.
No person, as far as identities are known, and no file is in two parts.

```python
from datasets import load_dataset

photos = load_dataset(FOLDER, split="train")
```

## Columns

| column | meaning |
|---|---|
| `image` | the photo as it was found, encoded |
| `photo_id` | unique within the set |
| `subject_id` | the person; null where no identities exist |
| `age` | years |
| `sex` | `female` or `male`, as the source labels it |
| `race` | the source's own word |
| `source` | `tiny` |
| `part` | see above |
| `box` | of the labelled face: x0, y0, x1, y1 in pixels of the photo as its EXIF data turn it; null where it is \
the only one |
| `ward` | number of the ward |

A column is null where the source says nothing.

## What was left out

| reason | rows |
|---|---|
| duplicate | 2 |
| age out of range | 1 |

`rejects.parquet` names each of them.

## How it was made

```
fahr-hf data build tiny SOURCE OUT --ages 0 100 --require age
```

Photos are copied byte for byte. Of photos with the same bytes one stays: of a test part rather than of another, of
any other rather than of `train`.

## Citation

```bibtex
@misc{tiny,
  title = {Tiny set}
}
```
"""


class TestTheCard:
    def test_is_this(self, out):
        ages = {"seen": "train", "1": "validation", "2": "test", "3": "test_late"}
        photos = [Photo(photo(i), name, age=i, split=split) for i, (name, split) in enumerate(ages.items())]
        photos += [replace(photos[2], photo_id="copy"), replace(photos[2], photo_id="another")]
        photos += [Photo(photo(9), "old", age=101, split="train")]
        source = source_of(*photos, columns={"ward": Column(Value("int64"), "number of the ward")})
        build(source, ".", out, Selection(ages=(0, 100), require=["age"]))
        assert (out / "README.md").read_text() == CARD

    @pytest.mark.parametrize("source", SOURCES.values(), ids=lambda source: source.name)
    def test_of_every_source_the_hub_can_read_its_head(self, source):
        card = DatasetCard(dataset_card(source, {"train": 12345, "test": 1}, {}, "By hash.", []))
        assert card.data.license == source.hub_licence
        if source.hub_licence == "other":
            assert card.data.get("license_name") == f"{source.name}-terms"
            assert card.data.get("license_link").startswith("https://")
        assert card.data.pretty_name == source.title
        assert card.data.size_categories == ["10K<n<100K"]
        assert [entry["split"] for entry in card.data.configs[0]["data_files"]] == ["train", "test"]
        assert f"fahr-hf data build {source.name} SOURCE OUT\n" in card.text
        assert "More Information Needed" not in card.text
        assert "Nothing.\n" in card.text
        for name in source.columns:
            assert f"| `{name}` |" in card.text

    def test_of_a_table_tells_the_columns_that_were_named(self, tmp_path, out):
        (tmp_path / "labels.csv").write_text("file,Age in years\na.png,7\n")
        (tmp_path / "a.png").write_bytes(photo(1))
        mapping = {"image": "file", "age": "Age in years"}
        build(table(tmp_path, mapping, "ward 7"), tmp_path, out, Selection(all_train=True))
        text = (out / "README.md").read_text()
        command = "fahr-hf data build table SOURCE OUT --name 'ward 7' --column image=file --column 'age=Age in years'"
        assert f"{command} --all-train\n" in text
        assert "Everything is `train`: nothing of this set is held out." in text
        assert str(tmp_path) not in text


class TestTheCommandLine:
    def run(self, *arguments: str | Path):
        return CliRunner().invoke(data, ["build", *map(str, arguments)], catch_exceptions=False)

    def test_builds_and_counts(self, tmp_path, out):
        folder = tmp_path / "photos"
        folder.mkdir()
        (folder / "a.png").write_bytes(photo(1))
        (folder / "b.png").write_bytes(photo(2))
        (folder / "c.png").write_bytes(photo(2))
        (folder / "labels.csv").write_text("image,years,sex\na.png,7,F\nb.png,90,M\nc.png,8,F\n")
        result = self.run(
            "table", folder, out, "--column", "age=years", "--ages", 0, 80, "--all-train", "--name", "mine"
        )
        assert result.exit_code == 0
        assert "2 photos, 1 rows left out\n  train: 2\n  left out: 1 x age out of range" in result.output
        assert {row["source"] for row in rows_of(out)} == {"mine"}

    def test_takes_folds(self, tmp_path, out):
        (tmp_path / "AgeDB").mkdir()
        entries = []
        for i in range(3):
            (tmp_path / "AgeDB" / f"{i}_P{i}_30_m.jpg").write_bytes(photo(i))
            entries.append({"img_path": f"AgeDB/{i}_P{i}_30_m.jpg", "folder": i})
        (tmp_path / "folds.json").write_text(json.dumps(entries))
        result = self.run("agedb", tmp_path / "AgeDB", out, "--folds", tmp_path / "folds.json", "--fold", 0)
        assert result.exit_code == 0
        assert {row["subject_id"]: row["part"] for row in rows_of(out)}["P2"] == "test"

    def test_help_names_every_set(self):
        text = self.run("--help").output
        for name in [*SOURCES, "table"]:
            assert name in text

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["celebrities", "in", "out"], "no data set 'celebrities'; there are utkface, imdb_clean"),
            (["utkface", "in", "out", "--column", "age=Age"], "belong to 'table'"),
            (["table", "in", "out", "--column", "Age"], "needs FIELD=COLUMN, such as age=Age, got 'Age'"),
            (["agedb", "in", "out", "--fold", "1"], "--folds and --fold go together"),
            (["agedb", "in", "out"], "There is no in"),
        ],
    )
    def test_says_what_is_wrong(self, tmp_path, monkeypatch, arguments, message):
        monkeypatch.chdir(tmp_path)
        with pytest.raises((ValueError, OSError), match=message):
            self.run(*arguments)
