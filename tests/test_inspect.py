"""Looking at a data set or a crop cache: the numbers are those of the files, and the drawings show what they say."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from photo_sets import ASTRONAUT, TIGHT, encoded, row, side_by_side, write_set
from PIL import Image, ImageOps
from typer.testing import CliRunner

from fahr_hf.cli.data import data
from fahr_hf.data.build import Selection, build
from fahr_hf.data.crops import load_crops
from fahr_hf.data.cutting import cut_crops
from fahr_hf.data.duplicates import mark_duplicates
from fahr_hf.data.figures import draw_ages, draw_contact_sheet
from fahr_hf.data.sources import table
from fahr_hf.data.summary import QUANTILES, UNKNOWN, summarise

PHOTO = encoded(ASTRONAUT, quality=95)
# Of the smaller face in `side_by_side`.
SMALL_FACE = (650.0, 110.0, 720.0, 200.0)


def random_rows(number: int, parts: list[str], seed: int) -> list[dict]:
    """Labels of all kinds, some of them missing, and no photos."""
    random = np.random.default_rng(seed)

    def some(value):
        return value if random.random() < 0.9 else None

    return [
        row(
            f"{seed}-{index}",
            b"no photo",
            age=some(float(random.uniform(0, 100))),
            sex=some(str(random.choice(["female", "male"]))),
            race=some(str(random.choice(["A", "B", "C"]))),
            subject_id=some(f"person {random.integers(100)}"),
            part=str(random.choice(parts)),
        )
        for index in range(number)
    ]


@pytest.fixture(scope="module")
def mixed(tmp_path_factory) -> Path:
    """Five hundred rows in three files."""
    folder = tmp_path_factory.mktemp("mixed") / "photos"
    train, mixture = random_rows(300, ["train"], 1), random_rows(180, ["test_late", "train"], 2)
    return write_set(folder, train, mixture, random_rows(20, ["validation"], 3))


@pytest.fixture(scope="module")
def cache(tmp_path_factory) -> Path:
    """Eight photos: two without a usable face, and two that show the same picture as one of the test."""
    folder = tmp_path_factory.mktemp("cache")
    rows = [
        row("wide", PHOTO, age=41.9, sex="female", part="test"),
        row("several", encoded(side_by_side(), quality=95), age=12.0, part="test"),
        row("no face", encoded(Image.new("RGB", (200, 200), "gray"))),
        row("damaged", PHOTO[:5000]),
        row("tight", encoded(TIGHT, quality=95), age=41.0),
        row("mirrored", encoded(ImageOps.mirror(TIGHT), quality=95), age=70.0, subject_id="someone"),
        row("again", encoded(ASTRONAUT, quality=60), age=41.0),
        row("small", encoded(side_by_side(), quality=95), age=3.0, box=SMALL_FACE, part="test"),
    ]
    list(cut_crops(write_set(folder / "photos", rows[:4], rows[4:]), folder / "crops", workers=1))
    mark_duplicates([folder / "crops"])
    return folder / "crops"


# ------------------------------------------------------------------------------------------------------------- numbers


def test_the_numbers_are_those_that_pandas_finds(mixed):
    rows = pd.concat(pd.read_parquet(file) for file in sorted((mixed / "data").iterdir()))
    summary = summarise(mixed)
    assert list(summary.parts) == ["train", "validation", "test_late"]
    for name, part in [*summary.parts.items(), ("all", summary.total)]:
        wanted = rows if name == "all" else rows[rows["part"] == name]
        years = np.floor(wanted["age"].dropna())
        assert part.photos == len(wanted)
        assert part.people == wanted["subject_id"].nunique()
        assert part.ages_known == len(years)
        assert (part.youngest, part.oldest) == (years.min(), years.max())
        assert part.median_age == np.quantile(years, 0.5, method="inverted_cdf")
        assert (part.under_18, part.from_60) == ((wanted["age"] < 18).sum(), (wanted["age"] >= 60).sum())
        counted = {(sex, age): number for sex, ages in part.ages.items() for age, number in ages.items()}
        known = wanted.dropna(subset="age")
        assert counted == known.groupby([known["sex"].fillna(UNKNOWN), np.floor(known["age"])]).size().to_dict()
    assert summary.sexes == rows["sex"].value_counts().to_dict()
    assert summary.races == rows["race"].value_counts().to_dict()
    assert summary.sources == {"small": 500}
    labels = ["photo_id", "subject_id", "age", "sex", "race", "source", "part"]
    assert summary.missing == rows[labels].isna().sum().to_dict()


def test_a_set_as_it_is_built_tells_what_was_left_out_and_why(tmp_path):
    source = tmp_path / "clinic"
    source.mkdir()
    ASTRONAUT.save(source / "a.png")
    shutil.copy(source / "a.png", source / "b.png")
    (source / "c.png").write_text("no photo")
    TIGHT.save(source / "d.png")
    (source / "labels.csv").write_text("image,age\na.png,30\nb.png,30\nc.png,30\nd.png,150\ne.png,30\n")
    build(table(source), source, tmp_path / "out", Selection(ages=(0, 120), all_train=True))
    summary = summarise(tmp_path / "out")
    assert summary.name == "clinic"
    assert summary.total.photos == 1
    assert summary.left_out == {"age out of range": 1, "duplicate": 1, "missing file": 1, "unreadable": 1}
    assert summary.total.people is None
    # It is a PNG, which Parquet can hardly compress.
    assert summary.bytes_each == pytest.approx((source / "a.png").stat().st_size, rel=0.02)


def test_a_cache_is_summed_up_as_it_is_loaded_without_duplicates(cache):
    crops, summary = load_crops(cache), summarise(cache)
    assert crops.column("photo_id").tolist() == ["wide", "several", "mirrored", "small"]
    assert {name: part.photos for name, part in summary.parts.items()} == {"train": 1, "test": 3}
    assert summary.total.ages == {"female": {41: 1}, UNKNOWN: {3: 1, 12: 1, 70: 1}}
    assert summary.missing["subject_id"] == 3
    assert summary.left_out == {"duplicate": 2, "no face": 1, "unreadable": 1}
    assert "nobody has looked for duplicates" not in str(summary)
    assert summary.cut is not None
    scores = np.quantile(crops.column("detection_score"), QUANTILES, method="inverted_cdf")
    assert list(summary.cut.detection_scores.values()) == pytest.approx(scores.tolist(), abs=0.0005)
    assert summary.cut.faces == pd.Series(crops.column("faces")).value_counts().to_dict()
    assert summary.cut.settings["quality"] == 95


def test_labels_are_read_without_the_photos(mixed, tmp_path):
    folder = shutil.copytree(mixed, tmp_path / "photos")
    for path in (folder / "data").iterdir():
        metadata = pq.read_metadata(path)
        content = bytearray(path.read_bytes())
        for group in range(metadata.num_row_groups):
            photos = metadata.row_group(group).column(0)
            assert photos.path_in_schema == "image.bytes"
            start = photos.dictionary_page_offset or photos.data_page_offset
            content[start : start + photos.total_compressed_size] = bytes(photos.total_compressed_size)
        path.write_bytes(content)
        with pytest.raises(OSError, match="Couldn't deserialize thrift"):
            pq.read_table(path)
    summary = summarise(folder)
    assert (summary.total, summary.parts) == (summarise(mixed).total, summarise(mixed).parts)


def test_no_ages_no_people_and_no_crops_are_no_trouble(cache, tmp_path):
    photos = write_set(tmp_path / "photos", [row("a", encoded(Image.new("RGB", (9, 9))), age=None)])
    summary = summarise(photos)
    assert (summary.total.ages_known, summary.total.median_age, summary.total.people) == (0, None, None)
    assert "unknown" in str(summary)
    with pytest.raises(ValueError, match=r"No photo in .*photos has an age"):
        draw_ages(summary)
    # As it would be if no photo had a face.
    shard = shutil.copytree(cache, tmp_path / "crops") / "shard-00000.parquet"
    pq.write_table(pq.read_table(shard).slice(0, 0), shard)
    (tmp_path / "crops" / "duplicates.parquet").unlink()
    empty = summarise(tmp_path / "crops")
    assert (empty.total.photos, empty.bytes_each, empty.parts) == (0, None, {})
    assert empty.left_out == {"no face": 1, "unreadable": 1}
    assert "nobody has looked for duplicates yet" in str(empty)
    assert "detection scores: none" in str(empty)
    assert draw_contact_sheet(empty).width > 0


# ------------------------------------------------------------------------------------------------------ what is refused


def test_a_folder_that_is_neither_is_refused_with_what_to_do(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"neither a data set, .* nor a crop cache, .*`fahr-hf data build`"):
        summarise(tmp_path)


def test_a_cache_that_is_not_complete_is_refused(cache, tmp_path):
    folder = shutil.copytree(cache, tmp_path / "crops")
    (folder / "shard-00000.parquet").unlink()
    with pytest.raises(FileNotFoundError, match="cutting was interrupted"):
        summarise(folder)


def test_files_of_another_kind_are_named(mixed, tmp_path):
    folder = shutil.copytree(mixed, tmp_path / "photos")
    file = folder / "data" / "00001.parquet"
    pq.write_table(pq.read_table(file).drop_columns(["sex", "part"]), file)
    with pytest.raises(ValueError, match=r"00001.parquet lacks the columns sex, part; there are image, photo_id"):
        summarise(folder)
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(OSError, match=r"00001.parquet cannot be read: .* Make it again"):
        summarise(folder)


# ------------------------------------------------------------------------------------------------------------- drawings


def test_bars_hold_every_photo_with_an_age_and_axes_have_units(mixed):
    summary = summarise(mixed)
    figure = draw_ages(summary)
    assert len(figure.axes) == 3
    for panel, (name, part) in zip(figure.axes, summary.parts.items(), strict=True):
        assert panel.get_title("left").startswith(f"{name}: {part.ages_known} photos")
        assert sum(bar.get_height() for bar in panel.patches) == part.ages_known
        assert panel.get_ylabel() == "photos per\nyear of age"
    assert figure.axes[-1].get_xlabel() == "age (completed years)"
    legend = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert legend == ["female", "male", UNKNOWN]


def grey(shade: int) -> bytes:
    return encoded(Image.new("L", (112, 112), shade), "PNG")


def cells(sheet: Image.Image) -> list[Image.Image]:
    """The places of pictures on a contact sheet, row by row."""
    corners = [(x, y) for y in range(56, sheet.height, 136) for x in range(6, sheet.width, 118)]
    return [sheet.crop((x, y, x + 112, y + 112)) for x, y in corners]


def shades(sheet: Image.Image) -> list[int]:
    return [cell.getpixel((56, 56))[0] for cell in cells(sheet)]


def test_a_contact_sheet_goes_evenly_through_all_ages_however_many_photos_each_has(tmp_path):
    random = np.random.default_rng(0)
    # Every age from 0 to 99 once, those from 20 to 29 thirty times more.
    ages = random.permutation([*range(100), *np.repeat(np.arange(20, 30), 30)]).tolist()
    rows = [row(str(index), grey(age), age=float(age)) for index, age in enumerate(ages)]
    summary = summarise(write_set(tmp_path / "photos", rows[:200], rows[200:]))
    sheet = draw_contact_sheet(summary)
    shown = shades(sheet)
    assert shown == sorted(set(shown))
    assert (len(shown), shown[0], shown[-1], max(np.diff(shown))) == (64, 0, 99, 2)
    assert draw_contact_sheet(summary).tobytes() == sheet.tobytes()


def test_few_ages_share_a_contact_sheet_and_an_age_shows_photos_from_first_to_last(tmp_path):
    ages = {10: 3, 50: 100, 90: 100}
    photos = [(age, index) for age, number in ages.items() for index in range(number)]
    rows = [row(f"{age}-{index}", grey(age + index // 10), age=float(age)) for age, index in photos]
    shown = shades(draw_contact_sheet(summarise(write_set(tmp_path / "photos", rows))))
    assert [sum(low <= shade < low + 40 for shade in shown) for low in ages] == [3, 31, 30]
    assert set(shown) == {10, *range(50, 60), *range(90, 100)}


def test_without_ages_a_contact_sheet_is_spread_over_the_rows(tmp_path):
    rows = [row(str(index), grey(index), age=None) for index in range(128)]
    assert shades(draw_contact_sheet(summarise(write_set(tmp_path / "photos", rows)))) == list(range(1, 128, 2))


def test_a_photo_is_shown_whole_with_the_box_of_its_face_and_a_damaged_one_leaves_a_gap(tmp_path):
    photo = Image.new("RGB", (1120, 560), "blue")
    rows = [
        row("boxed", encoded(photo, "PNG"), age=1.0, box=(560.0, 0.0, 840.0, 280.0)),
        row("damaged", PHOTO[:5000], age=2.0),
        row("plain", encoded(photo, "PNG"), age=3.0),
    ]
    boxed, damaged, plain, *empty = cells(draw_contact_sheet(summarise(write_set(tmp_path / "photos", rows))))
    # A tenth of the size: 112 wide, and 56 high at the bottom of its place.
    white, blue = (255, 255, 255), (0, 0, 255)
    assert [plain.getpixel(place) for place in [(0, 55), (0, 56), (111, 111)]] == [white, blue, blue]
    frame = [(x, y) for x in range(112) for y in range(112) if boxed.getpixel((x, y)) != plain.getpixel((x, y))]
    assert (min(frame), max(frame)) == ((56, 56), (84, 84))
    assert damaged.getcolors() == empty[0].getcolors() == [(112 * 112, white)]


def test_crops_are_shown_as_a_model_sees_them_without_duplicates(cache):
    crops = load_crops(cache)
    shown = cells(draw_contact_sheet(summarise(cache)))[: len(crops)]
    wanted = np.argsort(crops.column("age"))
    for cell, index in zip(shown, wanted, strict=True):
        assert (np.asarray(cell) == crops.framed(index)).all()


# ------------------------------------------------------------------------------------------------------- command line


def inspect(*arguments: str | Path) -> str:
    return CliRunner().invoke(data, ["inspect", *map(str, arguments)], catch_exceptions=False).output


def test_the_command_prints_a_page_and_writes_nothing(mixed, cache):
    before = sorted(mixed.rglob("*"))
    page = inspect(mixed)
    assert f"{mixed}: a data set, 500 photos in 3 files" in page
    assert "sex, as the data set labels it: " in page
    assert "left out: 0 photos" in page
    assert sorted(mixed.rglob("*")) == before
    page = inspect(cache)
    assert "crops of small" in page
    assert "  1 x unreadable\n" in page
    assert "image_format jpeg, quality 95" in page


def test_with_a_folder_it_writes_the_numbers_and_the_ages_and_no_face(mixed, tmp_path):
    assert "wrote summary.json, ages.png to " in inspect(mixed, "--out", tmp_path / "out")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"summary.json", "ages.png"}
    written = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert written["parts"]["train"]["photos"] == summarise(mixed).parts["train"].photos
    with Image.open(tmp_path / "out" / "ages.png") as picture:
        assert picture.width == 1200


def test_faces_are_drawn_only_when_asked_for(cache, tmp_path):
    assert "biometric" in inspect("--help")
    with pytest.raises(ValueError, match="give --out"):
        inspect(cache, "--contact-sheet")
    assert "contact_sheet.png" in inspect(cache, "--out", tmp_path, "--contact-sheet")
    with Image.open(tmp_path / "contact_sheet.png") as picture:
        assert picture.size == draw_contact_sheet(summarise(cache)).size
