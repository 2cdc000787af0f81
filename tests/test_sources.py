"""The readers of published data sets, on tiny files in the published layouts.

Nobody here has the real releases, other than the three sets of which a test in test_build.py builds the real files.
"""

import csv
import io
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Features
from PIL import Image

from fahr_hf.cli.data.build import NAMES
from fahr_hf.data.schema import Photo
from fahr_hf.data.sources import SOURCES, Reject, table
from fahr_hf.data.sources.voteview import congress_start


def jpeg(shade: int = 0) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (8, 8), (shade, shade, shade)).save(file, "JPEG")
    return file.getvalue()


def put(folder: Path, *names: str) -> None:
    for shade, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(jpeg(shade))


def put_csv(path: Path, header: str, *rows: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([header, *rows]) + "\n")


def put_parquet(path: Path, columns: dict[str, list]) -> None:
    count = len(next(iter(columns.values())))
    images = [{"bytes": jpeg(shade), "path": f"photo{shade}.jpg"} for shade in range(count)]
    pq.write_table(pa.table({"image": images, **columns}), path)


def read(name: str, folder: Path) -> tuple[dict[str, Photo], dict[str, str]]:
    """Photos, and reasons of what was left out, by identifier."""
    source = SOURCES[name]
    photos, rejects = sort(source.read(folder))
    assert all(set(photo.extra) == set(source.columns) for photo in photos.values())
    # Raises where a value is not of the type that its column has.
    schema = Features({column: entry.type for column, entry in source.columns.items()}).arrow_schema
    pa.Table.from_pylist([photo.extra for photo in photos.values()], schema)
    return photos, rejects


def sort(rows) -> tuple[dict[str, Photo], dict[str, str]]:
    rows = list(rows)
    photos = {row.photo_id: row for row in rows if isinstance(row, Photo)}
    rejects = {row.photo_id: row.reason for row in rows if isinstance(row, Reject)}
    assert len(photos) + len(rejects) == len(rows)
    return photos, rejects


def test_the_command_line_offers_every_source():
    assert list(NAMES) == [*SOURCES, "table"]


@pytest.mark.parametrize("source", SOURCES.values(), ids=lambda source: source.name)
def test_every_source_says_what_its_card_needs(source):
    assert source.homepage.startswith("https://")
    assert source.citation.startswith("@")
    for text in (source.title, source.licence, source.hub_licence, source.terms, source.release):
        assert text
    assert source.terms.endswith(".")


@pytest.mark.parametrize("name", ["imdb_clean", "appa_real", "fairface", "lagenda", "congress"])
def test_a_set_whose_labels_are_not_there_says_where_it_looked(name, tmp_path):
    with pytest.raises(FileNotFoundError, match=f"in {tmp_path}: looked for "):
        read(name, tmp_path)


@pytest.mark.parametrize("name", ["utkface", "agedb", "morph"])
def test_a_file_whose_name_is_no_label_is_left_out_and_a_hidden_one_not_seen(name, tmp_path):
    put(tmp_path, "holiday.png", ".thumbnail.png", ".cache/holiday.png")
    photos, rejects = read(name, tmp_path)
    assert not photos
    assert list(rejects) == ["holiday.png"]
    assert rejects["holiday.png"].startswith("file name is not ")


class TestUTKFace:
    def test_the_label_is_the_file_name(self, tmp_path):
        put(tmp_path, "part1/26_0_2_20170116182630634.jpg", "part2/116_1_4_20170120134921760.jpg")
        photos, rejects = read("utkface", tmp_path)
        young, old = photos["26_0_2_20170116182630634"], photos["116_1_4_20170120134921760"]
        assert (young.age, young.sex, young.race) == (26, "male", "Asian")
        assert (old.age, old.sex, old.race) == (116, "female", "Others")
        assert young.split is None
        assert not rejects

    def test_a_photo_and_its_aligned_crop_have_one_identifier(self, tmp_path):
        put(tmp_path, "wild/26_0_2_20170116182630634.jpg", "crops/26_0_2_20170116182630634.jpg.chip.jpg")
        assert len({row.photo_id for row in SOURCES["utkface"].read(tmp_path)}) == 1

    def test_the_three_names_that_lack_a_field_are_left_out(self, tmp_path):
        names = ["39_1_20170116174525125", "61_1_20170109142408075", "61_1_20170109150557335"]
        put(tmp_path, *(f"{name}.jpg.chip.jpg" for name in names))
        photos, rejects = read("utkface", tmp_path)
        assert not photos
        assert rejects == {f"{name}.jpg.chip.jpg": "file name is not age_sex_race_date" for name in names}

    def test_names_that_are_odd_but_complete_are_read(self, tmp_path):
        put(
            tmp_path,
            "55_0_0_20170116232725357jpg.chip.jpg",
            "24_0_1_20170116220224657 .jpg.chip.jpg",
            "44_1_4_20170116235150272.pg",
            "20_1_0_20170116235150273.JPG",
        )
        photos, rejects = read("utkface", tmp_path)
        assert [photo.age for photo in photos.values()] == [20, 24, 44, 55]
        assert not rejects

    def test_parquet_files_come_with_their_splits(self, tmp_path):
        columns = {
            "id": ["1_0_0_20170116182630634", "2_1_1_20170116182630635"],
            "age": [1.0, 2.0],
            "sex": ["male", "female"],
            "race": ["White", "Black"],
            "split": ["train", "test_faceage"],
        }
        put_parquet(tmp_path / "utkface-00000-of-00001.parquet", columns)
        photos, _ = read("utkface", tmp_path)
        photo = photos["2_1_1_20170116182630635"]
        assert (photo.image, photo.age, photo.sex, photo.race) == (jpeg(1), 2, "female", "Black")
        assert photo.split == "test_faceage"
        assert photo.key == photo.photo_id


class TestIMDBClean:
    HEADER = "filename,age,gender,x_min,y_min,x_max,y_max,head_roll,head_yaw,head_pitch"

    def labels(self, folder: Path, train=(), valid=(), test=()):
        for word, rows in (("train", train), ("valid", valid), ("test", test)):
            put_csv(folder / f"imdb_{word}_new_1024.csv", self.HEADER, *rows)

    def test_a_row_has_person_label_and_box(self, tmp_path):
        put(tmp_path, "data/imdb-clean-1024/00/nm0000100_rm46373120_1955-1-6_2003.jpg")
        row = "00/nm0000100_rm46373120_1955-1-6_2003.jpg,48,M,339,339,681,681,1.5,-2,0"
        self.labels(tmp_path / "csvs", test=[row])
        photos, rejects = read("imdb_clean", tmp_path)
        (photo,) = photos.values()
        assert photo.image.is_file()
        assert (photo.subject_id, photo.age, photo.sex, photo.split) == ("nm0000100", 48, "male", "test")
        assert photo.box == (339, 339, 681, 681)
        assert not rejects

    def test_validation_is_read_as_train_since_it_shows_the_same_people(self, tmp_path):
        (tmp_path / "00").mkdir()
        rows = [f"00/nm1_rm{i}_1955-1-6_2003.jpg,48,F,1,2,3,4,0,0,0" for i in range(2)]
        self.labels(tmp_path, train=rows[:1], valid=rows[1:])
        photos, _ = read("imdb_clean", tmp_path)
        assert [photo.split for photo in photos.values()] == ["train", "train"]
        assert [photo.extra["authors_split"] for photo in photos.values()] == ["train", "valid"]

    def test_what_makes_no_sense_is_left_out_with_the_reason(self, tmp_path):
        (tmp_path / "00").mkdir()
        rows = [
            "00/nm1_rm1_1955-1-6_2003.jpg,old,M,1,2,3,4,0,0,0",
            "00/nm1_rm2_1955-1-6_2003.jpg,48,X,1,2,3,4,0,0,0",
            "00/picture.jpg,48,M,1,2,3,4,0,0,0",
        ]
        self.labels(tmp_path, train=rows)
        photos, rejects = read("imdb_clean", tmp_path)
        assert not photos
        assert list(rejects.values()) == [
            "age is no number: 'old'",
            "sex is none of m, f, male, female: 'X'",
            "file name names no person",
        ]

    def test_labels_of_another_layout_name_what_is_missing(self, tmp_path):
        (tmp_path / "00").mkdir()
        put_csv(tmp_path / "imdb_train_new_1024.csv", "path,age", "00/a.jpg,3")
        with pytest.raises(ValueError, match=r"No column filename, gender, x_min.* there are path, age"):
            read("imdb_clean", tmp_path)


class TestAgeDB:
    def test_the_label_is_the_file_name(self, tmp_path):
        put(tmp_path, "AgeDB/12083_ElsaMartinelli_74_f.jpg", "AgeDB/1139_HeinrichHertz_30_m.jpg", "AgeDB/cover.jpg")
        photos, rejects = read("agedb", tmp_path)
        photo = photos["12083_ElsaMartinelli_74_f.jpg"]
        assert (photo.subject_id, photo.age, photo.sex, photo.split) == ("ElsaMartinelli", 74, "female", None)
        assert photos["1139_HeinrichHertz_30_m.jpg"].sex == "male"
        assert rejects == {"AgeDB/cover.jpg": "file name is not number_person_age_sex.jpg"}

    def test_a_blank_behind_the_name_makes_no_other_person(self, tmp_path):
        put(tmp_path, "16079_WillSmith _45_m.jpg", "16080_WillSmith_46_m.jpg")
        photos, _ = read("agedb", tmp_path)
        assert {photo.subject_id for photo in photos.values()} == {"WillSmith"}


class TestAPPAReal:
    HEADER = "file_name,num_ratings,apparent_age_avg,apparent_age_std,real_age"

    def test_the_real_age_is_the_age_and_the_apparent_one_stands_apart(self, tmp_path):
        put(tmp_path, "train/000000.jpg", "train/000000.jpg_face.jpg", "test/000000.jpg")
        put_csv(tmp_path / "gt_avg_train.csv", self.HEADER, "000000.jpg,36,5.0,1.15,4")
        put_csv(tmp_path / "gt_avg_valid.csv", self.HEADER, "000001.jpg,x,5.0,1.15,4")
        put_csv(tmp_path / "gt_avg_test.csv", self.HEADER, "000000.jpg,38,60.5,4,57")
        photos, rejects = read("appa_real", tmp_path)
        assert list(photos) == ["train/000000.jpg", "test/000000.jpg"]
        young, old = photos.values()
        assert (young.age, old.age) == (4, 57)
        assert old.extra == {"apparent_age": 60.5, "apparent_age_sd": 4, "ratings": 38}
        assert (young.split, old.split) == ("train", "test")
        assert young.image == tmp_path / "train" / "000000.jpg"
        assert rejects == {"valid/000001.jpg": "num_ratings is no number: 'x'"}


class TestFairFace:
    HEADER = "file,age,gender,race,service_test"

    def labels(self, folder: Path, *train: str):
        put_csv(folder / "fairface_label_train.csv", self.HEADER, *train)
        put_csv(folder / "fairface_label_val.csv", self.HEADER, "val/1.jpg,more than 70,Female,East Asian,False")

    def test_ages_are_ranges_and_the_last_is_open(self, tmp_path):
        put(tmp_path, "train/1.jpg", "val/1.jpg")
        self.labels(tmp_path, "train/1.jpg,50-59,Male,White,True")
        photos, _ = read("fairface", tmp_path)
        some, old = photos["train/1.jpg"], photos["val/1.jpg"]
        assert (some.age, old.age) == (None, None)
        assert some.extra == {"age_low": 50, "age_high": 59, "service_test": True}
        assert old.extra == {"age_low": 70, "age_high": None, "service_test": False}
        assert (some.sex, old.race, some.box) == ("male", "East Asian", None)

    def test_what_people_report_on_is_test(self, tmp_path):
        put(tmp_path, "train/1.jpg")
        self.labels(tmp_path, "train/1.jpg,0-2,Male,White,True")
        assert [photo.split for photo in read("fairface", tmp_path)[0].values()] == ["train", "test"]

    def test_of_two_crops_the_wide_one_is_taken_with_the_box_in_its_middle(self, tmp_path):
        put(tmp_path, "fairface-img-margin025-trainval/train/1.jpg", "fairface-img-margin125-trainval/train/1.jpg")
        self.labels(tmp_path, "train/1.jpg,3-9,Male,White,True")
        photo = read("fairface", tmp_path)[0]["train/1.jpg"]
        assert photo.image == tmp_path / "fairface-img-margin125-trainval" / "train" / "1.jpg"
        x0, y0, x1, y1 = photo.box
        assert (x0 + x1) / 2 == (y0 + y1) / 2 == 448 / 2
        assert (x1 - x0) * 3.5 == (y1 - y0) * 3.5 == 448

    def test_an_unknown_range_is_left_out(self, tmp_path):
        put(tmp_path, "train/1.jpg")
        self.labels(tmp_path, "train/1.jpg,adult,Male,White,True")
        assert read("fairface", tmp_path)[1] == {"train/1.jpg": "age is no range: 'adult'"}


class TestLagenda:
    HEADER = "img_name,age,gender,face_x0,face_y0,face_x1,face_y1,person_x0,person_y0,person_x1,person_y1"

    def test_every_labelled_face_of_a_photo_is_a_row(self, tmp_path):
        put_csv(
            tmp_path / "lagenda_annotation.csv",
            self.HEADER,
            "lag_benchmark/b5c8.jpg,30,M,10,10,50,60,0,0,60,200",
            "lag_benchmark/b5c8.jpg,7,F,80,20,90,35,-1,-1,-1,-1",
            "lag_benchmark/b5c8.jpg,-1,-1,5,5,9,9,-1,-1,-1,-1",
            "lag_benchmark/a001.jpg,41,F,-1,-1,-1,-1,0,0,60,200",
            "lag_benchmark/a002.jpg,-1,F,1,2,3,4,-1,-1,-1,-1",
        )
        photos, rejects = read("lagenda", tmp_path)
        man, girl, woman = photos.values()
        assert (man.age, man.sex, man.box) == (30, "male", (10, 10, 50, 60))
        assert (girl.age, girl.sex, girl.box) == (7, "female", (80, 20, 90, 35))
        assert (woman.age, woman.sex) == (None, "female")
        assert man.image == girl.image == tmp_path / "lag_benchmark" / "b5c8.jpg"
        assert man.key == girl.key
        assert {photo.split for photo in photos.values()} == {"test"}
        assert sorted(rejects.values()) == ["no box of the face", "not labelled"]


class TestMorph:
    HEADER = "id_num,picture_num,dob,doa,race,gender,facial_hair,age,age_diff,glasses,photo"

    def test_names_alone_say_all_but_the_race(self, tmp_path):
        put(tmp_path, "Album2/009055_1M54.JPG", "Album2/009055_2M55.JPG", "Album2/index.html")
        alone, rejects = read("morph", tmp_path)
        rows = [
            f"9055,{i},01/02/1950,03/04/200{i},B,M,NULL,{53 + i},0,NULL,Album2/009055_{i}M{53 + i}.JPG" for i in (1, 2)
        ]
        put_csv(tmp_path / "morph_2008_nonCommercial.csv", self.HEADER, *rows)
        listed, _ = read("morph", tmp_path)
        assert list(alone) == list(listed) == ["009055_1M54", "009055_2M55"]
        first = alone["009055_1M54"]
        assert (first.subject_id, first.age, first.sex, first.race) == ("009055", 54, "male", None)
        assert first.extra == {"picture": 1}
        assert listed["009055_1M54"].race == "B"
        assert listed["009055_1M54"].key == first.key
        assert rejects == {"Album2/index.html": "file name is not person_pictureSEXage.JPG"}


def test_public_figures_keep_their_years(tmp_path):
    columns = {
        "subject_id": ["9baac27f95ea"],
        "sex": ["male"],
        "birth_year": [1955],
        "photo_year": [2018],
        "death_year": [2020],
        "age": [63.0],
        "died": [True],
        "split": ["validation"],
    }
    put_parquet(tmp_path / "public_figures-00000-of-00001.parquet", columns)
    photo = read("public_figures", tmp_path)[0]["photo0.jpg"]
    assert (photo.subject_id, photo.age, photo.split) == ("9baac27f95ea", 63, "validation")
    assert photo.extra == {"birth_year": 1955, "photo_year": 2018, "death_year": 2020, "died": True}


def test_members_of_congress_have_no_age_since_no_photo_has_a_date(tmp_path):
    columns = {
        "subject_id": ["b692e279138c", "d93520f4ed55"],
        "sex": ["male", None],
        "birth_year": [1888, 1930],
        "first_term_start": ["1943-01-03", "1965-01-03"],
        "last_congress_start": ["1955-01-03", "1983-01-03"],
        "chamber": ["House", "Senate"],
        "source": ["bio_guide", "wiki"],
        "death_year": [1961.0, None],
        "died": [True, False],
        "split": ["test", "train"],
    }
    put_parquet(tmp_path / "congress.parquet", columns)
    dead, alive = read("congress", tmp_path)[0].values()
    assert (dead.age, alive.sex) == (None, None)
    assert (dead.extra["death_year"], alive.extra["death_year"]) == (1961, None)
    assert (dead.extra["portrait_source"], alive.extra["portrait_source"]) == ("bio_guide", "wiki")


class TestVoteview:
    """What anybody can download of Congress, in place of the Parquet file."""

    HEADER = (
        "congress,chamber,icpsr,state_icpsr,district_code,state_abbrev,party_code,occupancy,last_means,bioname,"
        "bioguide_id,born,died"
    )

    def put(self, folder: Path, *members: str, portraits: tuple[str, ...], place: str = "images") -> None:
        """A table of members, each `congress,chamber,icpsr,bioguide_id,born,died`, and portraits."""
        rows = []
        for member in members:
            congress, chamber, icpsr, bioguide, born, died = member.split(",")
            rows.append(f'{congress},{chamber},{icpsr},40,9,VA,200,,,"DOE, Jo",{bioguide},{born},{died}')
        put_csv(folder / "HSall_members.csv", self.HEADER, *rows)
        put(folder, *(f"{place}/{portrait}" for portrait in portraits))

    @pytest.mark.parametrize("place", ["images", "member_photos/images"])
    def test_a_person_is_all_rows_of_the_table_and_one_portrait(self, tmp_path, place):
        members = ["73,House,812,D000001,1890.0,1961.0", "78,House,812,D000001,1890.0,1961.0"]
        members += ["84,Senate,812,D000001,1890.0,1961.0", "84,House,20750,,1925,"]
        self.put(tmp_path, *members, portraits=("bio_guide/000812.jpg", "wiki/020750.jpg"), place=place)
        photos, rejects = read("congress", tmp_path)
        senator, alive = photos["bio_guide/000812.jpg"], photos["wiki/020750.jpg"]
        assert senator.image == tmp_path / place / "bio_guide/000812.jpg"
        assert senator.extra == {
            "birth_year": 1890,
            "first_term_start": "1933-03-04",
            "last_congress_start": "1955-01-03",
            "chamber": "Senate",
            "death_year": 1961,
            "died": True,
            "portrait_source": "bio_guide",
        }
        assert (alive.extra["death_year"], alive.extra["died"], alive.age, alive.sex) == (None, False, None, None)
        assert not rejects

    def test_a_member_with_two_numbers_is_one_person_with_the_portrait_of_the_government(self, tmp_path):
        members = ["96,House,14910,S000709,1930,2012", "111,Senate,94910,S000709,1930,2012"]
        portraits = ("wiki/014910.jpg", "bio_guide/094910.jpg", "manual/094910.jpg")
        self.put(tmp_path, *members, portraits=portraits)
        photos, rejects = read("congress", tmp_path)
        (photo,) = photos.values()
        assert photo.photo_id == "bio_guide/094910.jpg"
        assert (photo.extra["first_term_start"], photo.extra["chamber"]) == ("1979-01-03", "Senate")
        assert list(rejects) == ["wiki/014910.jpg", "manual/094910.jpg"]
        assert set(rejects.values()) == {"another portrait of the person is taken"}

    def test_the_split_follows_a_hash_of_the_person_by_the_rule_of_the_parquet_file(self, tmp_path):
        members = [f"90,House,{number},X{number:06},1920,1990" for number in range(1, 301)]
        portraits = tuple(f"bio_guide/{number:06}.jpg" for number in range(1, 301))
        self.put(tmp_path, *members, portraits=portraits)
        photos, _ = read("congress", tmp_path)
        rule = {0: "test", 1: "validation"}
        assert len({photo.subject_id for photo in photos.values()}) == 300
        for photo in photos.values():
            assert photo.split == rule.get(int(photo.subject_id[:8], 16) % 5, "train")
        # Another release has the same people in the same splits.
        assert photos["bio_guide/000001.jpg"].subject_id == "43005e8ac892"

    def test_the_sex_is_that_of_the_tables_of_congress_legislators(self, tmp_path):
        members = ["90,House,1,A000001,1920,1990", "118,House,2,B000002,1970,", "118,House,3,C000003,1970,"]
        self.put(tmp_path, *members, portraits=tuple(f"bio_guide/00000{number}.jpg" for number in (1, 2, 3)))
        put_csv(tmp_path / "legislators-historical.csv", "last_name,gender,bioguide_id", "Doe,F,A000001")
        put_csv(tmp_path / "legislators-current.csv", "last_name,gender,bioguide_id", "Roe,M,B000002")
        photos, _ = read("congress", tmp_path)
        assert [photo.sex for photo in photos.values()] == ["female", "male", None]

    def test_a_death_after_the_end_of_follow_up_is_none(self, tmp_path):
        members = ["90,House,1,A000001,1920,2024", "90,House,2,B000002,1920,2025"]
        self.put(tmp_path, *members, portraits=("bio_guide/000001.jpg", "bio_guide/000002.jpg"))
        in_time, later = read("congress", tmp_path)[0].values()
        assert (in_time.extra["death_year"], in_time.extra["died"]) == (2024, True)
        assert (later.extra["death_year"], later.extra["died"]) == (None, False)

    @pytest.mark.parametrize(
        ("member", "reason"),
        [
            ("1,House,1,A000001,1736.0,1800.0", "born before 1880"),
            ("90,House,1,A000001,,1990", "no year of birth"),
            ("90,House,1,A000001,1900,", "no year of death: born in 1900"),
            ("90,House,1,A000001,c. 1900,1990", "born is no number: 'c. 1900'"),
            ("90,President,1,,1917,1963", "no member has this number"),
            ("90,House,2,B000002,1917,1963", "no member has this number"),
        ],
    )
    def test_who_cannot_be_used_is_left_out_with_the_reason(self, tmp_path, member, reason):
        self.put(tmp_path, member, portraits=("bio_guide/000001.jpg",))
        photos, rejects = read("congress", tmp_path)
        assert not photos
        assert rejects == {"bio_guide/000001.jpg": reason}

    def test_rows_that_disagree_on_a_year_are_left_out_and_one_that_lacks_it_is_not(self, tmp_path):
        members = ["90,House,1,A000001,1920,1990", "91,House,1,A000001,1921,1990"]
        members += ["90,House,2,B000002,1920,1990", "91,House,2,B000002,,"]
        self.put(tmp_path, *members, portraits=("bio_guide/000001.jpg", "bio_guide/000002.jpg"))
        photos, rejects = read("congress", tmp_path)
        assert rejects == {"bio_guide/000001.jpg": "several years in born: 1920, 1921"}
        assert photos["bio_guide/000002.jpg"].extra["death_year"] == 1990

    def test_a_table_without_portraits_says_where_they_were_looked_for(self, tmp_path):
        self.put(tmp_path, "90,House,1,A000001,1920,1990", portraits=())
        with pytest.raises(FileNotFoundError, match=r"No portraits .*: looked for images, member_photos/images"):
            read("congress", tmp_path)

    @pytest.mark.parametrize(
        ("number", "day"),
        [(1, "1789-03-04"), (73, "1933-03-04"), (74, "1935-01-03"), (118, "2023-01-03")],
    )
    def test_a_congress_begins_in_january_since_the_twentieth_amendment(self, number, day):
        assert congress_start(number) == day


class TestTable:
    def test_columns_are_found_by_name_or_named_and_the_rest_is_kept(self, tmp_path):
        put(tmp_path, "photos/a.jpg")
        put_csv(
            tmp_path / "labels.csv",
            "file_name,Age,PatientID,sex,duration,event,ward,code",
            "photos/a.jpg,61.5,007,F,2.25,true,3,0012",
            "photos/b.jpg,,008,male,3,false,,12",
        )
        source = table(tmp_path, {"age": "Age", "subject_id": "PatientID"}, name="clinic")
        assert source.name == "clinic"
        assert {name: column.type.dtype for name, column in source.columns.items()} == {
            "duration": "float64",
            "event": "bool",
            "ward": "int64",
            "code": "string",
        }
        first, second = sort(source.read(tmp_path))[0].values()
        assert first.image.read_bytes() == jpeg()
        assert (first.photo_id, first.age, first.subject_id, first.sex) == ("photos/a.jpg", 61.5, "007", "female")
        assert first.extra == {"duration": 2.25, "event": True, "ward": 3, "code": "0012"}
        assert (second.age, second.sex, second.extra["ward"]) == (None, "male", None)

    def test_the_index_that_pandas_writes_is_not_carried_along(self, tmp_path):
        put_csv(tmp_path / "t.csv", ",image,score", "0,a.jpg,7")
        (photo,) = table(tmp_path).read(tmp_path)
        assert photo.extra == {"score": 7}

    def test_jsonl_is_read_as_csv_is(self, tmp_path):
        rows = [{"image": "a.jpg", "age": 3, "tags": ["x"]}, {"image": "b.jpg", "split": "test", "score": 1}]
        (tmp_path / "labels.jsonl").write_text("\n".join([*map(json.dumps, rows), "{torn"]))
        source = table(tmp_path)
        photos, rejects = sort(source.read(tmp_path))
        assert photos["a.jpg"].age == 3
        assert photos["a.jpg"].extra == {"tags": '["x"]', "score": None}
        assert (photos["b.jpg"].split, photos["b.jpg"].extra["score"]) == ("test", 1)
        assert rejects["row 3"].startswith("line is no JSON: ")

    def test_parquet_may_hold_the_photos_themselves(self, tmp_path):
        for i in range(2):
            columns = {"photo_id": [f"photo {i}"], "source": ["web"], "weight": pa.array([i], pa.int8())}
            put_parquet(tmp_path / f"part-{i}.parquet", columns)
        source = table(tmp_path)
        assert source.columns["weight"].type.dtype == "int8"
        photos, _ = sort(source.read(tmp_path))
        assert list(photos) == ["photo 0", "photo 1"]
        assert photos["photo 1"].image == jpeg()
        # The schema has a column `source` of its own.
        assert photos["photo 1"].extra == {"original_source": "web", "weight": 1}

    def test_photos_without_a_name_need_one(self, tmp_path):
        pq.write_table(pa.table({"image": [jpeg(9)], "id": [17]}), tmp_path / "t.parquet")
        with pytest.raises(ValueError, match="photo_id=COLUMN"):
            sort(table(tmp_path).read(tmp_path))
        photos, _ = sort(table(tmp_path, {"photo_id": "id"}).read(tmp_path))
        assert photos["17"].image == jpeg(9)

    @pytest.mark.parametrize("box", ["box", "left,top,right,bottom"])
    def test_boxes_tell_the_faces_of_a_photo_apart(self, tmp_path, box):
        corners = [[1, 2, 30, 40], [50, 2, 80, 40], None, [1, 2]]
        rows = [{"image": "a.jpg", "box": value} for value in corners]
        if box != "box":
            names = box.split(",")
            rows = [{"image": "a.jpg", **dict(zip(names, value or [], strict=False))} for value in corners]
        (tmp_path / "t.jsonl").write_text("\n".join(map(json.dumps, rows)))
        photos, rejects = sort(table(tmp_path, {"box": box}).read(tmp_path))
        assert list(photos) == ["a.jpg#1,2,30,40", "a.jpg#50,2,80,40", "a.jpg"]
        assert photos["a.jpg#1,2,30,40"].box == (1, 2, 30, 40)
        assert {photo.key for photo in photos.values()} == {"a.jpg"}
        assert rejects["a.jpg"].startswith("box is not four numbers: [1, 2")

    def test_a_bad_row_is_left_out_and_the_others_stay(self, tmp_path):
        put_csv(
            tmp_path / "t.csv", "image,age", "a.jpg,unknown", "b.jpg,-1", "c.jpg,30", "d.jpg,30,extra", ",30", "e.jpg"
        )
        photos, rejects = sort(table(tmp_path).read(tmp_path))
        assert list(photos) == ["c.jpg", "e.jpg"]
        assert rejects == {
            "a.jpg": "age is no number: 'unknown'",
            "b.jpg": "age cannot be: '-1'",
            "row 4": "row has more fields than the header",
            "row 5": "no photo in the row",
        }

    @pytest.mark.parametrize("sex", ["0", "man", "Unknown"])
    def test_a_sex_that_is_not_spelt_out_is_an_error_that_names_it(self, tmp_path, sex):
        put_csv(tmp_path / "t.csv", "image,sex", "a.jpg,M", f"b.jpg,{sex}")
        with pytest.raises(ValueError, match=f"m, f, male, female: '{sex}'"):
            sort(table(tmp_path).read(tmp_path))

    def test_a_path_that_holds_on_one_machine_only_is_an_error(self, tmp_path):
        put_csv(tmp_path / "t.csv", "image", str(tmp_path / "a.jpg"))
        with pytest.raises(ValueError, match="relative to its table"):
            sort(table(tmp_path).read(tmp_path))

    def test_photos_alone_are_a_set_too(self, tmp_path):
        put(tmp_path, "b/2.png", "a/1.jpg", "a/.hidden.jpg")
        (tmp_path / "notes.txt").write_text("")
        photos, rejects = sort(table(tmp_path).read(tmp_path))
        assert list(photos) == ["a/1.jpg", "b/2.png"]
        assert not rejects

    def test_a_table_can_be_given_itself(self, tmp_path):
        put_csv(tmp_path / "one.csv", "image", "a.jpg")
        put_csv(tmp_path / "two.csv", "image", "b.jpg")
        with pytest.raises(ValueError, match=r"one.csv, two.csv. Name one"):
            table(tmp_path)
        (photo,) = table(tmp_path / "two.csv").read(tmp_path / "two.csv")
        assert photo.image == tmp_path / "b.jpg"

    @pytest.mark.parametrize(
        ("columns", "message"),
        [
            ({"age": "Alter"}, "No column Alter .* there are picture, years"),
            ({"height": "years"}, "'height'; it can for image, photo_id"),
            ({}, "No column image or file_name .* Say image=COLUMN"),
        ],
    )
    def test_a_wrong_mapping_is_named(self, tmp_path, columns, message):
        put_csv(tmp_path / "t.csv", "picture,years", "a.jpg,3")
        columns = columns if not columns else {"image": "picture", **columns}
        with pytest.raises(ValueError, match=message):
            table(tmp_path, columns)

    def test_what_is_no_table_is_an_error(self, tmp_path):
        (tmp_path / "labels.xlsx").write_bytes(b"")
        with pytest.raises(ValueError, match=r"labels.xlsx is no table: expected .csv"):
            table(tmp_path / "labels.xlsx")
        with pytest.raises(FileNotFoundError, match="nowhere"):
            table(tmp_path / "nowhere")


def test_csv_files_with_a_byte_order_mark_are_read(tmp_path):
    with (tmp_path / "t.csv").open("w", encoding="utf-8-sig", newline="") as file:
        csv.writer(file).writerows([["image", "age"], ["a.jpg", "3"]])
    (photo,) = table(tmp_path).read(tmp_path)
    assert photo.age == 3
