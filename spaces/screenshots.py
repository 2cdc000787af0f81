"""Makes the screenshots of the demo, in a folder: `python spaces/screenshots.py spaces/fahr-face`.

It starts the demo and takes pictures of it with a Chromium that is on the machine, by `pip install playwright`. The
photos are those that come with the package.
"""

import sys
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

from fahr_hf.demo import build, serve
from fahr_hf.hub.golden import PORTRAIT

CHROMIUM = "/usr/bin/chromium"
DESKTOP = {"width": 1100, "height": 900}
PHONE = {"width": 390, "height": 844}
# A palette keeps the files small, and is enough for a page.
_COLOURS = 128


def one_photo(page: Page) -> None:
    """The answer for one photo."""
    page.locator("input[type=file]").first.set_input_files(PORTRAIT)
    page.get_by_role("button", name="Estimate the age").click()
    page.get_by_text("1 face found").wait_for()


def saliency(page: Page) -> None:
    """The answer for one photo, and what it rests on."""
    page.locator("input[type=file]").first.set_input_files(PORTRAIT)
    page.get_by_role("button", name="Show what the answer rests on").click()
    page.locator(".ff-map").wait_for(timeout=120_000)


def two_photos(page: Page) -> None:
    """The same photo twice, once mirrored and darker."""
    page.get_by_role("tab", name="Two photos").click()
    with tempfile.TemporaryDirectory() as folder:
        second = Path(folder, "second.jpg")
        with Image.open(PORTRAIT) as photo:
            photo.transpose(Image.Transpose.FLIP_LEFT_RIGHT).point(lambda level: level * 0.6).save(second)
        inputs = page.locator("input[type=file]:visible, [role=tabpanel]:visible input[type=file]")
        inputs.nth(0).set_input_files(PORTRAIT)
        inputs.nth(1).set_input_files(second)
        page.get_by_role("button", name="Compare the ages").click()
        page.locator(".ff-pair").wait_for()


SCENES = [
    ("one_photo", one_photo, DESKTOP, "light"),
    ("one_photo_dark", one_photo, DESKTOP, "dark"),
    ("one_photo_phone", one_photo, PHONE, "light"),
    ("saliency", saliency, DESKTOP, "light"),
    ("two_photos", two_photos, DESKTOP, "light"),
]


def main(folder: Path) -> None:
    """Write one PNG a scene."""
    address = serve(build())
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        for name, scene, viewport, scheme in SCENES:
            page = browser.new_page(viewport=viewport, color_scheme=scheme)
            page.goto(address)
            scene(page)
            page.wait_for_timeout(500)
            file = folder / f"{name}.png"
            page.screenshot(path=file, full_page=True, animations="disabled")
            with Image.open(file) as picture:
                small = picture.convert("RGB").quantize(_COLOURS)
            small.save(file, optimize=True)
            print(f"{file}: {file.stat().st_size // 1000} kB")
            page.close()
        browser.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
