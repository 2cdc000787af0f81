import json
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from PIL import Image

from fahr_hf.reports.cells import shown, shown_table
from fahr_hf.reports.document import Picture, Report, Section, Table
from fahr_hf.reports.sources import sources
from fahr_hf.reports.writing import write_report

_WITHOUT_END = {"meta", "img", "path", "use", "rect"}


class Page(HTMLParser):
    """The text of a page, its tags and identifiers; fails where tags do not close in order."""

    def __init__(self, html: str):
        super().__init__()
        self.open, self.tags, self.identifiers, self.words = [], [], [], []
        self.feed(html)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.identifiers += [value for name, value in attrs if name == "id"]
        if tag not in _WITHOUT_END:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in _WITHOUT_END:
            self.open.pop()

    def handle_endtag(self, tag):
        if tag not in _WITHOUT_END:
            assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def drawing(points: int = 5) -> Figure:
    figure = Figure(figsize=(4, 3), layout="constrained")
    axes = figure.subplots()
    axes.plot(np.arange(points), np.random.default_rng(0).normal(size=points), "o", label="a & b")
    axes.legend()
    return figure


def hazard_ratios() -> pd.DataFrame:
    data = {"hr": [1.23456789, np.nan], "hr_low": [1.1, np.nan], "hr_high": [1.3, np.nan], "p": [1e-9, 0.25]}
    return pd.DataFrame({"n": [120, 34567], **data}, index=pd.Index(["age <b> | decade", "sex"], name="covariate"))


def report() -> Report:
    first = Section(
        "Hazard & ratios",
        "One paragraph.\n\nAnother <script>alert(1)</script>.",
        [Table("cox", "Cox <regression>", hazard_ratios(), "Per decade."), Picture("curve", "A curve", drawing())],
    )
    second = Section("Subgroups", parts=[Picture("forest", "A forest", drawing(9))], problem="no event in <group> 2")
    return Report("Survival <of> people", "What this is.", [first, second], {"c": np.float64(0.7), "se": np.nan})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_report(report(), tmp_path / "report")
    return tmp_path / "report"


def test_a_report_is_a_page_a_text_numbers_and_a_file_for_every_table_and_picture(folder):
    files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    pictures = [f"figures/{name}.{kind}" for name in ("curve", "forest") for kind in ("png", "svg")]
    assert files == [*pictures, "numbers.json", "report.html", "report.md", "tables/cox.csv"]


def test_a_fitted_model_is_a_file_of_its_own_and_goes_when_the_report_is_replaced(folder):
    write_report(Report("Another", "", [], {}, models={"cox": {"format": "a model", "n": 3}}), folder)
    assert json.loads((folder / "models/cox.json").read_text()) == {"format": "a model", "n": 3}
    write_report(report(), folder)
    assert not (folder / "models").exists()


def test_the_page_parses_holds_its_pictures_and_loads_nothing(folder):
    html = (folder / "report.html").read_text()
    page = Page(html)
    assert sum(tag == "svg" for tag, _ in page.tags) == 2
    assert not [tag for tag, _ in page.tags if tag in ("link", "script", "iframe")]
    links = [
        attributes[key] for _, attributes in page.tags for key in ("src", "href", "xlink:href") if key in attributes
    ]
    assert links
    assert all(link.startswith("#") for link in links)
    assert {link[1:] for link in links} <= set(page.identifiers)


def test_identifiers_of_two_pictures_in_a_page_do_not_meet(folder):
    identifiers = Page((folder / "report.html").read_text()).identifiers
    assert len(identifiers) > 20
    assert len(set(identifiers)) == len(identifiers)


def test_the_page_shows_every_text_as_it_was_written(folder):
    text = Page((folder / "report.html").read_text()).text
    for written in (
        "Survival <of> people",
        "1. Hazard & ratios",
        "Another <script>alert(1)</script>.",
        "Cox <regression>",
        "age <b> | decade",
        "no event in <group> 2",
    ):
        assert written in text


def test_markdown_keeps_its_columns_and_lets_no_tag_through(folder):
    text = (folder / "report.md").read_text()
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len(rows) == 4
    assert {row.replace("\\|", "").count("|") for row in rows} == {5}
    assert "<script" not in text.replace("\\<", "")
    assert "| 34,567 |" in text
    assert "![A curve](figures/curve.png)" in text


def test_a_csv_file_holds_every_digit_of_a_table_and_its_named_index(folder):
    read = pd.read_csv(folder / "tables" / "cox.csv").set_index("covariate")
    pd.testing.assert_frame_equal(read, hazard_ratios(), check_exact=True)


def test_numbers_are_json_for_every_reader_with_null_where_there_is_none(folder):
    def refuse(constant):
        raise AssertionError(constant)

    numbers = json.loads((folder / "numbers.json").read_text(), parse_constant=refuse)
    assert (numbers["c"], numbers["se"]) == (0.7, None)
    assert numbers["tables"]["cox"][0]["hr"] == 1.23456789
    assert numbers["tables"]["cox"][1] == {
        "covariate": "sex", "n": 34567, "hr": None, "hr_low": None, "hr_high": None, "p": 0.25,
    }  # fmt: skip


def test_the_same_report_gives_the_same_bytes(folder, tmp_path):
    write_report(report(), tmp_path / "again")
    for path in folder.rglob("*"):
        if path.is_file():
            assert path.read_bytes() == (tmp_path / "again" / path.relative_to(folder)).read_bytes(), path


def test_a_second_report_takes_the_place_of_the_first_and_leaves_nothing_behind(folder):
    other = Report("Other", "", [Section("One", parts=[Table("other", "Other", hazard_ratios())])], {})
    write_report(other, folder)
    assert sorted(path.name for path in folder.parent.iterdir()) == ["report"]
    assert [path.name for path in (folder / "tables").iterdir()] == ["other.csv"]
    assert not list((folder / "figures").iterdir())


def test_a_report_that_cannot_be_written_leaves_the_one_before_it(folder):
    before = (folder / "report.html").read_bytes()
    with pytest.raises(TypeError):
        write_report(Report("Other", "", [], {"numbers": object()}), folder)
    assert (folder / "report.html").read_bytes() == before
    assert sorted(path.name for path in folder.parent.iterdir()) == ["report"]


def test_a_folder_that_holds_something_else_is_not_replaced(tmp_path):
    (tmp_path / "thesis.docx").write_text("years of work")
    with pytest.raises(FileExistsError, match=r"thesis\.docx"):
        write_report(report(), tmp_path)
    assert (tmp_path / "thesis.docx").exists()


def test_a_drawing_of_very_many_points_stands_in_the_page_as_pixels(tmp_path):
    many = Report("Many", "", [Section("One", parts=[Picture("many", 'The "many"', drawing(20_000))])], {})
    write_report(many, tmp_path / "report")
    [image] = [
        attributes for tag, attributes in Page((tmp_path / "report/report.html").read_text()).tags if tag == "img"
    ]
    assert image["alt"] == 'The "many"'
    assert image["src"].startswith("data:image/png;base64,")
    with Image.open(tmp_path / "report/figures/many.png") as png:
        assert png.width > 400


def test_a_long_table_is_shown_in_part_and_written_whole(tmp_path):
    long = Table("long", "Long", pd.DataFrame({"x": range(1000)}))
    write_report(Report("Long", "", [Section("One", parts=[long])], {}), tmp_path / "report")
    page = Page((tmp_path / "report/report.html").read_text())
    assert sum(tag == "td" for tag, _ in page.tags) == 200
    assert "The first 200 of 1000 rows" in page.text
    assert len(pd.read_csv(tmp_path / "report/tables/long.csv")) == 1000


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1.23456, "1.235"),
        (62.348, "62.35"),
        (623.48, "623.5"),
        (6234.8, "6235"),
        (62348.0, "62,348"),
        (-0.5, "-0.500"),
        (0.00012345, "0.00012"),
        (0.0, "0.000"),
        (np.int64(2026), "2026"),
        (np.True_, "yes"),
        (float("nan"), "-"),
        (None, "-"),
        ("I/II", "I/II"),
    ],
)
def test_a_value_is_shown_with_four_digits(value, text):
    assert shown(value) == text


def test_an_estimate_and_its_limits_are_one_cell_and_a_small_p_is_a_bound():
    headings, rows = shown_table(hazard_ratios())
    assert headings == ["covariate", "n", "hr (low to high)", "p"]
    assert rows[0] == ["age <b> | decade", "120", "1.235 (1.100 to 1.300)", "<0.001"]
    assert rows[1] == ["sex", "34,567", "-", "0.250"]


def test_two_tables_of_one_name_and_names_that_are_no_files_are_refused():
    table = Table("cox", "Cox", hazard_ratios())
    with pytest.raises(ValueError, match="cox more than once"):
        Report("Twice", "", [Section("One", parts=[table]), Section("Two", parts=[table])], {})
    with pytest.raises(ValueError, match=r"'\.\./cox' cannot name a file"):
        Report("Elsewhere", "", [Section("One", parts=[Table("../cox", "Cox", hazard_ratios())])], {})


def test_the_hash_of_a_file_is_that_of_sha256sum(tmp_path):
    (tmp_path / "people.csv").write_text("a,b\n1,2\n")
    expected = subprocess.run(["sha256sum", tmp_path / "people.csv"], capture_output=True, text=True, check=True)
    assert sources(data=tmp_path / "people.csv")["data"] == {"name": "people.csv", "sha256": expected.stdout.split()[0]}


def test_the_hash_of_a_folder_follows_its_files_and_not_the_folder_they_lie_in(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name / "inner").mkdir(parents=True)
        (tmp_path / name / "inner" / "weights").write_bytes(b"weights")
        (tmp_path / name / "config.json").write_text("{}")
    listing = "cd one && find . -type f -printf '%P\\n' | LC_ALL=C sort | xargs sha256sum | sha256sum"
    expected = subprocess.run(listing, shell=True, capture_output=True, text=True, check=True, cwd=tmp_path)
    hashes = sources(one=tmp_path / "one", two=tmp_path / "two")
    assert hashes["one"]["sha256"] == hashes["two"]["sha256"] == expected.stdout.split()[0]
    shutil.move(tmp_path / "two/config.json", tmp_path / "two/settings.json")
    assert sources(two=tmp_path / "two")["two"]["sha256"] != hashes["two"]["sha256"]


def test_sources_name_the_code_and_what_is_missing(tmp_path):
    code = sources()["code"]
    assert len(code["sha256"]) == 64
    assert code["version"]
    with pytest.raises(FileNotFoundError, match="absent"):
        sources(data=tmp_path / "absent.csv")
