"""One's own photos: everything wrong with a table is told at once, and what is right becomes crops."""

from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest
from own_photo_sets import write_csv, write_faces
from PIL import Image

from fahr_hf.data.crops import load_crops
from fahr_hf.data.own_photos import build_own_photos, crops_of_own_photos
from fahr_hf.data.splits import part_of


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    """0.jpg ... 5.jpg with a face each, and blank.jpg."""
    folder = write_faces(tmp_path_factory.mktemp("photos"), 6)
    Image.new("RGB", (64, 64)).save(folder / "blank.jpg")
    return folder


GOOD = """image,age,split
    0.jpg,30,train
    1.jpg,31.5,validation
    2.jpg,32,test
    blank.jpg,33,train"""

BAD = """Photo,Age,Patient,split
    0.jpg,30,P1,train
    1.jpg,,P2,train
    2.jpg,-3,P3,train
    3.jpg,121,P4,train
    4.jpg,forty,P5,train
    non4.jpg,50,P6,train
    5.jpg,60,P7,train
    5.jpg,62,P7,train
    0.jpg,30,P8,train
    3.jpg,33,P8,test
    1.jpg,31,P9,validation
    2.jpg,33,P10,
    4.jpg,33,P11,holdout
    non4.jpg,140,P12,train"""
COLUMNS = {"image": "Photo", "age": "Age", "subject_id": "Patient"}


@pytest.fixture
def bad(tmp_path) -> Path:
    return write_csv(tmp_path / "my.csv", BAD)


def kept(folder: Path) -> dict[str, str]:
    """Part by photo of the data set."""
    rows = pq.read_table(folder / "photos" / "data", columns=["photo_id", "part"]).to_pylist()
    return {row["photo_id"]: row["part"] for row in rows}


def test_one_error_tells_all_that_is_wrong_by_kind_with_row_numbers_and_how_to_go_on(bad, photos, tmp_path):
    with pytest.raises(ValueError, match="12 of 14 rows") as caught:
        build_own_photos(bad, photos, tmp_path / "run", COLUMNS)
    lines = [line.strip() for line in str(caught.value).splitlines()]
    for expected in (
        "age missing, 1 row: 2",
        "age cannot be, 1 row: 3 ('-3')",
        "age over 120, 2 rows: 4 (121), 14 (140)",
        "age is no number, 1 row: 5 ('forty')",
        "photo does not exist, 2 rows: 6 (non4.jpg), 14 (non4.jpg)",
        "one photo with different ages, 2 rows: 7 (60), 8 (62)",
        "one person in several splits, 2 rows: 9 (P8 train), 10 (P8 test)",
        "no split, where other rows have one, 1 row: 12",
        "split is none of train, validation, test, test_..., 1 row: 13 (holdout)",
    ):
        assert expected in lines
    assert "--skip-bad-rows" in lines[-1]
    assert not (tmp_path / "run" / "photos").exists()


def test_of_many_bad_rows_ten_are_named_and_the_others_counted(photos, tmp_path):
    rows = "\n".join("0.jpg," for _ in range(25))
    table = write_csv(tmp_path / "my.csv", f"image,age\n0.jpg,30\n{rows}")
    with pytest.raises(ValueError, match=r"age missing, 25 rows: 2, 3, 4, 5, 6, 7, 8, 9, 10, 11 and 15 more\n"):
        build_own_photos(table, photos, tmp_path / "run")


def test_bad_rows_that_are_skipped_are_listed_with_their_numbers_and_the_rest_is_kept(bad, photos, tmp_path):
    build_own_photos(bad, photos, tmp_path / "run", COLUMNS, skip_bad_rows=True)
    assert kept(tmp_path / "run") == {"0.jpg": "train", "1.jpg": "validation"}
    reasons = pq.read_table(tmp_path / "run" / "photos" / "rejects.parquet")["reason"].to_pylist()
    assert len(reasons) == 12
    assert {"age missing: row 2", "age is no number: row 5, 'forty'", "age over 120: row 14, 140"} < set(reasons)


def test_without_a_column_of_ages_those_that_there_are_are_named(photos, tmp_path):
    table = write_csv(tmp_path / "my.csv", "image,Age\n0.jpg,30")
    with pytest.raises(ValueError, match=r"No column age in .*my\.csv; there are image, Age"):
        build_own_photos(table, photos, tmp_path / "run")


def test_codes_in_place_of_words_are_an_error_that_shows_a_row(photos, tmp_path):
    table = write_csv(tmp_path / "my.csv", "image,age,sex\n0.jpg,30,f\n1.jpg,30,1")
    with pytest.raises(ValueError, match=r"Row 2 of .*my\.csv: sex is none of m, f, male, female: '1'"):
        build_own_photos(table, photos, tmp_path / "run")


def test_a_table_that_is_not_utf_8_is_an_error_that_says_how_to_save_it(photos, tmp_path):
    (tmp_path / "my.csv").write_bytes("image,age,name\n0.jpg,30,Zoë\n".encode("latin-1"))
    with pytest.raises(ValueError, match="CSV UTF-8"):
        build_own_photos(tmp_path / "my.csv", photos, tmp_path / "run")


def test_a_table_or_folder_that_is_not_there_is_named(photos, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no table .*my\.csv"):
        build_own_photos(tmp_path / "my.csv", photos, tmp_path / "run")
    with pytest.raises(FileNotFoundError, match=r"no folder .*nowhere"):
        build_own_photos(write_csv(tmp_path / "my.csv", GOOD), tmp_path / "nowhere", tmp_path / "run")


@pytest.mark.parametrize("column", ["split", "part"])
@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_csv_jsonl_and_parquet_are_read_alike_and_their_own_parts_bind(photos, tmp_path, suffix, column):
    frame = pd.read_csv(write_csv(tmp_path / "good.csv", GOOD)).rename(columns={"split": column})
    table = tmp_path / f"my.{suffix}"
    match suffix:
        case "csv":
            frame.to_csv(table, index=False)
        case "jsonl":
            frame.to_json(table, orient="records", lines=True)
        case "parquet":
            frame.to_parquet(table)
    build_own_photos(table, photos, tmp_path / "run")
    found = kept(tmp_path / "run")
    assert (found["1.jpg"], found["2.jpg"]) == ("validation", "test")


def test_without_parts_of_its_own_the_stable_hash_of_the_person_decides(photos, tmp_path):
    people = {part_of(name, None, validation_given=False): name for name in map("P{}".format, range(1000))}
    rows = "\n".join(f"{number}.jpg,30,{person}" for number, person in enumerate(people.values()))
    build_own_photos(write_csv(tmp_path / "my.csv", f"image,age,subject_id\n{rows}"), photos, tmp_path / "run")
    assert kept(tmp_path / "run") == {f"{number}.jpg": part for number, part in enumerate(people)}


def test_a_second_call_goes_on_and_a_folder_keeps_to_its_table(photos, tmp_path):
    table = write_csv(tmp_path / "my.csv", GOOD)
    shown: list[tuple[int, int]] = []
    folder = crops_of_own_photos(table, photos, tmp_path / "run", progress=lambda *place: shown.append(place))
    # Four rows are copied, and then four photos looked at.
    assert shown[:4] == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert shown[-1] == (4, 4)
    assert len(shown) > 4
    crops = load_crops(folder)
    assert crops.column("photo_id").tolist() == ["2.jpg", "0.jpg", "1.jpg"]
    assert crops.column("age").tolist() == [32, 30, 31.5]
    assert crops.rejected["photo_id"].to_pylist() == ["blank.jpg"]

    again: list[tuple[int, int]] = []
    crops_of_own_photos(table, photos, tmp_path / "run", progress=lambda *place: again.append(place))
    assert again == [(4, 4)]

    write_csv(table, GOOD.replace("31.5", "41.5"))
    with pytest.raises(ValueError, match=r"run/photos is of another table than .*my\.csv"):
        crops_of_own_photos(table, photos, tmp_path / "run")


def test_a_folder_of_photos_that_is_there_already_is_not_taken_for_a_data_set(photos, tmp_path):
    (tmp_path / "photos").mkdir()
    with pytest.raises(ValueError, match=r"photos is of another table than .*my\.csv"):
        build_own_photos(write_csv(tmp_path / "my.csv", GOOD), photos, tmp_path)


def test_too_few_photos_to_select_on_are_an_error_that_counts_the_parts(photos, tmp_path):
    table = write_csv(tmp_path / "my.csv", GOOD.replace("validation", "train"))
    with pytest.raises(ValueError, match=r"part 'validation'.*\(there are train: 3, test: 1\)"):
        crops_of_own_photos(table, photos, tmp_path / "run")
