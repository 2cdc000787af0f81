"""Drawings of a data set or a crop cache: its ages, and some of its faces."""

from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from matplotlib.figure import Figure
from PIL import Image, ImageDraw, ImageFont

from fahr_hf.data.crops import BORDER, blacken, decode
from fahr_hf.data.summary import UNKNOWN, Summary, labels
from fahr_hf.models.image_processing_fahr_face import PhotoError, _read

CELLS = 64
"""Faces on a contact sheet, eight to a row."""

# Told apart by people with any colour vision (Okabe and Ito, 2008).
_COLOURS = {"female": "#E69F00", "male": "#0072B2", UNKNOWN: "#999999"}

_COLUMNS = 8
# Pixels of a contact sheet: the largest side of a picture, the space around it, the line below it, the sheet's head.
_SIDE, _GAP, _LINE, _HEAD = 112, 6, 18, 56
_PAPER, _INK, _FRAME = "white", "black", (255, 210, 0)
# The largest photo that the image processor reads by default.
_MAX_PIXELS = 178_956_970


def draw_ages(summary: Summary) -> Figure:
    """Histograms of ages, one a part, bars of one year, coloured by sex.

    Args:
        summary: With at least one known age.

    Raises:
        ValueError: no age is known.
    """
    parts = {name: part for name, part in summary.parts.items() if part.ages_known}
    oldest = summary.total.oldest
    if oldest is None:
        raise ValueError(f"No photo in {summary.folder} has an age, so there is none to draw.")
    sexes = sorted({sex for part in parts.values() for sex in part.ages}, key=list(_COLOURS).index)
    figure = Figure(figsize=(8, 1.2 + 1.6 * len(parts)), dpi=150, layout="constrained")
    panels = figure.subplots(len(parts), sharex=True, squeeze=False)[:, 0]
    for panel, (name, part) in zip(panels, parts.items(), strict=True):
        bottom = np.zeros(oldest + 1)
        for sex in sexes:
            counts = np.array([part.ages.get(sex, {}).get(years, 0) for years in range(oldest + 1)])
            # An age of 30 is anything from the thirtieth birthday to the next.
            panel.bar(range(oldest + 1), counts, width=1, align="edge", bottom=bottom, color=_COLOURS[sex], label=sex)
            bottom += counts
        panel.set_title(
            f"{name}: {part.ages_known:,} {summary.what}, median {part.median_age} years", loc="left", size=10
        )
        panel.yaxis.get_major_locator().set_params(integer=True)
        panel.set_ylabel(f"{summary.what} per\nyear of age")
        panel.spines[["top", "right"]].set_visible(False)
    panels[-1].set_xlabel("age (completed years)")
    panels[-1].set_xlim(0, oldest + 1)
    panels[0].legend(title="sex, as labelled", frameon=False, fontsize=9)
    figure.suptitle(f"{summary.name}: ages")
    return figure


def draw_contact_sheet(summary: Summary, cells: int = CELLS) -> Image.Image:
    """Some faces of a data set or a cache with their ages: the youngest first, and every age as often as any other.

    Where no age is known they are spread over the rows. The same folder gives the same sheet. Crops are shown as a
    model sees them, black beyond the photo; photos are shown whole, with the box of the face that the age belongs to.

    Args:
        summary: Of the folder.
        cells: Number of faces; fewer if there are fewer.
    """
    chosen = _choose(summary, cells)
    rows = -(-len(chosen) // _COLUMNS)
    width, height = _SIDE + _GAP, _SIDE + _LINE + _GAP
    sheet = Image.new("RGB", (_COLUMNS * width + _GAP, _HEAD + rows * height), _PAPER)
    draw = ImageDraw.Draw(sheet)
    ages = "with age in years" if summary.total.ages_known else "none with an age"
    title = f"{summary.name}: {len(chosen)} of {summary.total.photos:,} {summary.what}, {ages}"
    draw.text((_GAP, 6), title, _INK, ImageFont.load_default(18))
    draw.text((_GAP, 30), "Faces are biometric data: not to be passed on.", _INK, ImageFont.load_default(13))
    font = ImageFont.load_default(13)
    for number, (path, position, age) in enumerate(chosen):
        x, y = _GAP + number % _COLUMNS * width, _HEAD + number // _COLUMNS * height
        caption = "" if age is None else f"{age:g}"
        try:
            picture = _picture(path, position)
        except PhotoError:
            caption += " unreadable"
        else:
            sheet.paste(picture, (x + (_SIDE - picture.width) // 2, y + _SIDE - picture.height))
        draw.text((x + _SIDE // 2, y + _SIDE + 2), caption, _INK, font, anchor="ma")
    return sheet


def _choose(summary: Summary, cells: int) -> list[tuple[Path, int, float | None]]:
    """File, position in it, and age of the rows to show, youngest first."""
    ages: Counter[int | None] = Counter()
    for counts in summary.total.ages.values():
        ages.update(counts)
    if not ages:
        ages[None] = summary.total.photos
    shares = _share_out(dict(sorted(ages.items())), cells)
    # Which of the rows of an age are taken: evenly from the first to the last.
    wanted = {
        years: {(2 * i + 1) * ages[years] // (2 * share) for i in range(share)} for years, share in shares.items()
    }
    seen: Counter[int | None] = Counter()
    chosen = []
    for path, positions, rows in labels(Path(summary.folder), "age"):
        for position, age in zip(positions.tolist(), rows["age"].to_pylist(), strict=True):
            years = None if age is None else int(age)
            if seen[years] in wanted.get(years, ()):
                chosen.append((path, position, age))
            seen[years] += 1
    return sorted(chosen, key=lambda row: row[2] or 0)


def _share_out(counts: dict, cells: int) -> dict:
    """How many of each to show: one of each in turn, as long as there are any; the last round goes to some, evenly."""
    shares = dict.fromkeys(counts, 0)
    while cells and (left := [value for value in counts if shares[value] < counts[value]]):
        if len(left) > cells:
            left = [left[index] for index in np.linspace(0, len(left) - 1, cells).round().astype(int)]
        for value in left:
            shares[value] += 1
        cells -= len(left)
    return shares


def _picture(path: Path, position: int) -> Image.Image:
    """What a row shows, at most `_SIDE` pixels wide and high.

    Raises:
        PhotoError: it cannot be read.
    """
    with pq.ParquetFile(path) as file:
        group = 0
        while position >= (rows := file.metadata.row_group(group).num_rows):
            position, group = position - rows, group + 1
        columns = ["image", "corners" if "corners" in file.schema_arrow.names else "box"]
        row = file.read_row_group(group, columns=columns).slice(position, 1).to_pylist()[0]
    data = row["image"]["bytes"]
    return _crop(data, row["corners"]) if "corners" in row else _thumbnail(data, row["box"])


def _crop(data: bytes, corners: list[float]) -> Image.Image:
    framed = blacken(decode(data), np.reshape(np.array(corners, np.float32), (4, 2)))[BORDER:-BORDER, BORDER:-BORDER]
    image = Image.fromarray(framed)
    image.thumbnail((_SIDE, _SIDE))
    return image


def _thumbnail(data: bytes, box: list[float] | None) -> Image.Image:
    photo = _read(data, _MAX_PIXELS, draft_side=2 * _SIDE)
    image = Image.fromarray(photo.pixels)
    image.thumbnail((_SIDE, _SIDE))
    if box is not None:
        corners = np.reshape(box, (2, 2)) * (image.width / photo.width, image.height / photo.height)
        ImageDraw.Draw(image).rectangle(corners.ravel().tolist(), outline=_FRAME, width=2)
    return image
