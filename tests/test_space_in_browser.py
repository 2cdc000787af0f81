"""The demo's page in headless Chromium; skipped where there is none."""

import importlib.util
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from photo_sets import ASTRONAUT, encoded, side_by_side
from test_space import Demo, demos, nobody, server, survival_checkpoint, zipped  # noqa: F401

from fahr_hf.hub.golden import PORTRAIT

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
IS_THERE = CHROMIUM and all(importlib.util.find_spec(package) for package in ("gradio", "playwright"))

pytestmark = pytest.mark.skipif(not IS_THERE, reason="needs gradio, playwright and a Chromium")

PHONE = {"width": 390, "height": 844}


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def visit(browser, server):  # noqa: F811
    @contextmanager
    def open_page(**options) -> Iterator:
        page = browser.new_page(**options)
        page.set_default_timeout(60_000)
        page.goto(server.address)
        page.get_by_role("button", name="Estimate the age").wait_for()
        yield page
        page.close()

    return open_page


def choose(page, *files: Path, nth: int = 0) -> None:
    page.locator("[role=tabpanel]:visible input[type=file]").nth(nth).set_input_files(files)


def test_an_uploaded_photo_is_answered_on_the_page_which_asks_nobody_else(visit, server):  # noqa: F811
    with visit() as page:
        strangers = []
        page.on("request", lambda request: strangers.append(request.url))
        page.reload()
        choose(page, PORTRAIT)
        page.get_by_role("button", name="Estimate the age").click()
        page.get_by_text("1 face found").wait_for()
        answer = page.locator(".ff-result").inner_text()
        assert "36 years" in answer
        assert "90 % interval 20 to 57 years" in answer
        assert page.get_by_role("img", name="Your photo, 1 face marked").is_visible()
        assert page.locator("[aria-live=polite] .ff-result").count() == 1
        # The box for the photo is empty again, and so is the server's folder.
        page.get_by_text("Drop Image Here").wait_for()
        assert server.files() == []
        assert all(url.startswith((server.address, "data:", "blob:")) for url in strangers)


@pytest.mark.parametrize(
    ("content", "reason"),
    [(encoded(nobody()), "No face was found"), (b"no photo", "This is no photo that can be read")],
)
def test_a_photo_without_an_answer_is_answered_by_the_reason(visit, tmp_path, content, reason):
    file = tmp_path / "photo.jpg"
    file.write_bytes(content)
    with visit() as page:
        choose(page, file)
        page.get_by_role("button", name="Estimate the age").click()
        page.get_by_text(reason).wait_for()


def test_several_faces_are_numbered(visit, tmp_path):
    file = tmp_path / "photo.jpg"
    side_by_side().save(file)
    with visit() as page:
        choose(page, file)
        page.get_by_role("button", name="Estimate the age").click()
        page.get_by_text("2 faces found").wait_for()
        assert page.locator(".ff-photo text").all_text_contents() == ["1", "2"]
        assert [page.get_by_text(f"Face {number}", exact=True).is_visible() for number in (1, 2)] == [True, True]


def test_what_an_answer_rests_on_is_shown_on_request_by_keyboard_in_the_dark_on_a_phone(visit):
    with visit(viewport=PHONE, color_scheme="dark") as page:
        choose(page, PORTRAIT)
        page.get_by_text("Drop Image Here").wait_for(state="hidden")
        page.get_by_role("button", name="Show what the answer rests on").focus()
        page.keyboard.press("Enter")
        drawn = page.get_by_role("img", name="The face, upright, under coloured squares")
        drawn.wait_for(timeout=180_000)
        assert page.get_by_role("figure").get_by_text("This describes the model and not the person").is_visible()
        assert page.get_by_text("1 face found").is_visible()
        box = drawn.bounding_box()
        assert 0 <= box["x"] < box["x"] + box["width"] <= PHONE["width"]
        assert page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]
        assert [text for text in (".ff-map figcaption", ".ff-ends span") if contrast(page, text) < 4.5] == []


def test_a_table_can_be_downloaded(visit, tmp_path):
    file = tmp_path / "photos.zip"
    file.write_bytes(zipped({"<b>one</b>.jpg": encoded(ASTRONAUT), "{{two}}${2}.jpg": encoded(nobody())}))
    with visit() as page:
        page.get_by_role("tab", name="Many photos").click()
        choose(page, file)
        page.get_by_role("button", name="Make a table of ages").click()
        with page.expect_download() as download:
            page.get_by_role("link", name="Download ages.csv").click()
        assert Path(download.value.path()).read_text().startswith("photo,face,age,interval_low,interval_high,")
        # Names are shown, and never taken for a part of the page.
        names = page.locator(".ff-result tbody th").all_inner_texts()
        assert names == ["<b>one</b>.jpg", "{{two}}${2}.jpg"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_fits_a_phone_and_can_be_read_in_light_and_dark(visit, scheme):
    with visit(viewport=PHONE, color_scheme=scheme) as page:
        page.get_by_role("button", name="Try it with an example").click()
        page.get_by_text("1 face found").wait_for()
        assert page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]
        picture, age = page.locator(".ff-photo").bounding_box(), page.locator(".ff-age").first.bounding_box()
        assert 0 <= picture["x"] < picture["x"] + picture["width"] <= PHONE["width"]
        assert age["y"] > picture["y"]
        texts = [".ff-age", ".ff-interval", ".ff-tick", "#ff-privacy p", "[role=tab][aria-selected=true]"]
        texts += ["button.primary", "button.secondary", "[data-testid=block-label]", "button .wrap"]
        assert [text for text in texts if contrast(page, text) < 4.5] == []


def contrast(page, selector: str) -> float:
    """Of a text with what is behind it, by the formula of the Web Content Accessibility Guidelines."""
    script = """e => {
        const behind = e => getComputedStyle(e).backgroundColor;
        let ground = e;
        while (ground.parentElement && /, 0\\)$/.test(behind(ground))) ground = ground.parentElement;
        return [getComputedStyle(e).color, behind(ground)];
    }"""
    colours = page.locator(selector).first.evaluate(script)
    low, high = sorted(map(luminance, colours))
    return (high + 0.05) / (low + 0.05)


def luminance(colour: str) -> float:
    levels = [float(level) / 255 for level in colour[colour.index("(") + 1 : -1].split(",")[:3]]
    linear = [level / 12.92 if level <= 0.04045 else ((level + 0.055) / 1.055) ** 2.4 for level in levels]
    return sum(share * level for share, level in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def test_everything_is_reached_and_started_by_keyboard(visit):
    with visit() as page:
        names = []
        for _ in range(12):
            page.keyboard.press("Tab")
            names.append(
                page.evaluate("document.activeElement.ariaLabel ?? document.activeElement.innerText.split('\\n')[0]")
            )
        assert "Drop an image file here to upload" in names
        assert names.index("One photo") < names.index("Upload file") < names.index("Estimate the age")
        page.get_by_role("button", name="Try it with an example").focus()
        page.keyboard.press("Enter")
        page.get_by_text("1 face found").wait_for()


def test_a_position_is_shown_after_the_box_was_ticked_and_has_no_camera(visit):
    with visit() as page:
        page.get_by_role("tab", name="Position in a cohort").click()
        choose(page, PORTRAIT)
        assert page.get_by_role("button", name="Capture from camera").count() == 0
        page.get_by_role("button", name="Show the position").click()
        page.get_by_text("tick the box first").wait_for()
        assert page.locator(".ff-result").count() == 0
        choose(page, PORTRAIT)
        page.get_by_role("checkbox", name="says nothing reliable about this person").check()
        page.get_by_role("button", name="Show the position").click()
        page.get_by_text("Position within the cohort").wait_for()
        assert page.get_by_role("link", name="free and confidential helplines").is_visible()
