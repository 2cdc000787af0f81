"""The demo as visitors meet it: by its API, in a browser, and as the command and the Space that start it."""

import csv
import importlib.util
import io
import os
import re
import signal
import subprocess
import sys
import urllib.request
import zipfile
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path

import numpy as np
import pytest
import torch
from huggingface_hub import RepoCard
from photo_sets import ASTRONAUT, encoded, side_by_side
from PIL import Image

import fahr_hf
from fahr_hf import FahrFaceForAgeEstimation, FahrFaceForSurvival, FahrFaceImageProcessor
from fahr_hf.hub.golden import PORTRAIT
from fahr_hf.risk_calibration import fit_risk_table
from tests.conftest import minute_config

pytestmark = pytest.mark.skipif(importlib.util.find_spec("gradio") is None, reason="the demo is drawn by gradio")

ROOT = Path(__file__).parents[1]
SPACE = ROOT / "spaces" / "fahr-face"
VARIABLES = {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="module")
def survival_checkpoint(tmp_path_factory) -> Path:
    """A survival model whose percentiles come from an invented cohort."""
    torch.manual_seed(0)
    model = FahrFaceForSurvival(minute_config())
    generator = np.random.default_rng(0)
    risk = generator.normal(0, 0.1, 400)
    duration = generator.exponential(np.exp(-10 * risk))
    model.config.calibration = {
        "survival": fit_risk_table(risk, duration, np.ones(400), cohort="an invented cohort", clock="time since photo")
    }
    folder = tmp_path_factory.mktemp("survival")
    model.save_pretrained(folder)
    FahrFaceImageProcessor(size=32).save_pretrained(folder)
    return folder


class Demo:
    """A demo in a process of its own, which can be interrupted like a program."""

    def __init__(self, folder: Path, command: list[str], **variables: str):
        self.folder, self.log = folder, folder / "log"
        environment = os.environ | VARIABLES | {"TMPDIR": str(folder), "PYTHONWARNINGS": "ignore"} | variables
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, *command], env=environment, stdout=subprocess.PIPE, stderr=log, text=True
            )

    @cached_property
    def address(self) -> str:
        """Where it is, as soon as it says so."""
        line = next(line for line in self.process.stdout if "The demo is at" in line)
        return re.search(r"http://[\w.:]+", line)[0]

    @cached_property
    def client(self):
        from gradio_client import Client

        return Client(self.address, verbose=False)

    def call(self, name: str, *inputs):
        return self.client.predict(*inputs, api_name=name)

    def refusal(self, name: str, *inputs) -> str:
        from gradio_client.exceptions import AppError

        with pytest.raises(AppError) as refusal:
            self.call(name, *inputs)
        return str(refusal.value)

    def functions(self) -> set[str]:
        return set(self.client.view_api(return_format="dict")["named_endpoints"])

    def read(self, path: str) -> str:
        with urllib.request.urlopen(self.address + path) as response:
            return response.read().decode()

    def files(self) -> list[Path]:
        return [file for file in self.folder.rglob("*") if file.is_file() and file != self.log]

    def interrupt(self) -> int:
        self.process.send_signal(signal.SIGINT)
        code = self.process.wait(120)
        self.process.stdout.close()
        return code


@pytest.fixture(scope="module")
def demos(survival_checkpoint, tmp_path_factory):
    """The Space with a survival model, and the command without one; both start at the same time."""
    space = Demo(
        tmp_path_factory.mktemp("space"), [str(SPACE / "app.py")], FAHR_FACE_SURVIVAL_MODEL=str(survival_checkpoint)
    )
    command = Demo(tmp_path_factory.mktemp("command"), ["-c", "from fahr_hf.cli import app; app()", "demo"])
    yield space, command
    for demo in (space, command):
        if demo.process.poll() is None:
            demo.interrupt()


@pytest.fixture
def server(demos) -> Demo:
    return demos[0]


@pytest.fixture
def photo(tmp_path):
    """Write a photo, and give what a client sends."""
    from gradio_client import handle_file

    def write(image: Image.Image | bytes, name: str = "photo.jpg"):
        file = tmp_path / name
        file.write_bytes(image if isinstance(image, bytes) else encoded(image))
        return handle_file(str(file))

    return write


def zipped(files: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", method) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return content.getvalue()


def nobody() -> Image.Image:
    """A photo without a face."""
    return ASTRONAUT.crop((0, 300, 200, 500))


# ------------------------------------------------------------------------------------------------------ answers


def test_an_age_is_that_of_the_pipeline(server, photo):
    (wanted,) = fahr_hf.pipeline("face-age")(str(PORTRAIT))
    (face,) = server.call("/age", photo(PORTRAIT.read_bytes()))
    assert face["age"] == pytest.approx(wanted["age"], abs=1e-3)
    assert face["interval"] == pytest.approx(wanted["interval"], abs=1e-3)
    assert face["box"] == pytest.approx(wanted["box"])
    assert face["warning"] is None


def test_every_face_of_a_photo_is_answered_the_largest_first(server, photo):
    first, second = server.call("/age", photo(side_by_side()))
    assert first["box"]["xmax"] < 512 < second["box"]["xmin"]


def test_a_photo_is_turned_upright_as_its_exif_says(server, photo):
    exif = Image.Exif()
    exif[0x0112] = 6
    lying = encoded(ASTRONAUT.transpose(Image.Transpose.ROTATE_90), quality=95, exif=exif)
    (face,) = server.call("/age", photo(lying))
    (upright,) = server.call("/age", photo(encoded(ASTRONAUT, quality=95), "upright.jpg"))
    assert face["box"] == pytest.approx(upright["box"], abs=3)
    drawn, _ = server.call("/page_age", photo(lying))
    (corner,) = re.findall(r'<rect x="([\d.]+)"', drawn)
    assert float(corner) == pytest.approx(upright["box"]["xmin"], abs=3)


def test_the_age_of_a_person_is_the_median_over_photos(server, photo):
    photos = [photo(ASTRONAUT.resize((side, side)), f"{side}.jpg") for side in (200, 300, 400)]
    person = server.call("/person", [*photos, photo(nobody(), "nobody.jpg")])
    ages = [one["age"] for one in person["photos"]]
    assert ages[3] is None
    assert person["photos"][3]["error"] == "no face found"
    assert person["age"] == np.median(ages[:3])
    assert person["sd"] == pytest.approx(np.std(ages[:3], ddof=1))


def test_two_photos_are_compared_by_the_second_age_less_the_first(server, photo):
    comparison = server.call("/compare", photo(ASTRONAUT), photo(ASTRONAUT.resize((128, 128)), "small.jpg"))
    assert comparison["difference"] == comparison["second"]["age"] - comparison["first"]["age"] != 0


def test_the_same_photo_under_two_names_is_as_old(server, photo):
    assert server.call("/compare", photo(ASTRONAUT), photo(ASTRONAUT, "the same.jpg"))["difference"] == 0


def test_a_zip_becomes_a_table_with_a_row_for_every_photo(server, photo):
    files = {
        "a/one.jpg": encoded(ASTRONAUT),
        "=two.png": encoded(nobody(), "PNG"),
        "three.jpg": b"no photo",
        "notes.txt": b"left out",
        "__MACOSX/one.jpg": b"left out",
    }
    table = list(csv.DictReader(io.StringIO(server.call("/zip_to_csv", photo(zipped(files), "photos.zip")))))
    # A spreadsheet would take a name that begins with = for a formula.
    assert [row["photo"] for row in table] == ["a/one.jpg", "./=two.png", "three.jpg"]
    assert [bool(row["age"]) for row in table] == [True, False, False]
    assert table[1]["error"] == "no face found"
    assert "no photo that can be read" in table[2]["error"]
    assert {row["model"] for row in table} == {"fahr-faceage-tiny"}


def test_twenty_clients_are_answered_at_once(server, photo):
    ages = [fahr_hf.pipeline("face-age")(str(PORTRAIT))[0]["age"]] * 20
    sent = photo(PORTRAIT.read_bytes())
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda _: server.call("/age", sent), range(20)))
    assert [face["age"] for (face,) in answers] == pytest.approx(ages, abs=1e-3)


# ----------------------------------------------------------------------------------------------------- refusals


def test_no_face_is_said_plainly(server, photo):
    assert server.refusal("/age", photo(nobody())).startswith("No face was found in this photo.")


@pytest.mark.parametrize("content", [b"", b"no photo at all", encoded(ASTRONAUT)[:2000], b"%!PS-Adobe-3.0 EPSF-3.0\n"])
def test_a_broken_file_is_said_plainly(server, photo, content):
    assert re.match(r"This is no photo that can be read|The photo is damaged", server.refusal("/age", photo(content)))


@pytest.mark.parametrize("side", [8_000, 10_000, 20_000])
def test_too_many_pixels_are_refused_before_they_are_decoded(server, photo, side):
    bomb = encoded(Image.new("1", (side, side)), "PNG")
    assert len(bomb) < 100_000
    assert "50 million pixels are the limit" in server.refusal("/age", photo(bomb, "bomb.png"))


@pytest.mark.parametrize("name", ["../out.jpg", "a/../../out.jpg", "/etc/out.jpg", "C:\\out.jpg", "..\\out.jpg"])
def test_an_archive_with_a_path_that_leads_out_is_refused(server, photo, name):
    archive = photo(zipped({name: encoded(ASTRONAUT)}), "photos.zip")
    assert "leads out of its folder" in server.refusal("/zip_to_csv", archive)


def claiming(size: int, content: bytes) -> bytes:
    """A zip with one file, that claims another size of it in both places where it is said."""
    archive = zipped({"bomb.jpg": content})
    return archive.replace(len(content).to_bytes(4, "little"), size.to_bytes(4, "little"))


BOMBS = {
    "much to unpack": (claiming(301_000_000, bytes(100_000)), "more than 300 MB"),
    "many photos": (zipped({f"{i}.jpg": b"" for i in range(201)}), "201 photos in this zip; 200 are the limit"),
    "a long list of files": (zipped({f"{i}.txt": b"" for i in range(2_000)}), "too many files"),
    "no zip": (b"PK\x03\x04 and so on", "no zip that can be read"),
    "nothing": (zipped({"notes.txt": b""}), "no photo in this zip"),
}


@pytest.mark.parametrize("kind", BOMBS)
def test_what_an_archive_may_hold_is_bounded(server, photo, kind):
    content, reason = BOMBS[kind]
    assert len(content) < 1_000_000
    assert reason in server.refusal("/zip_to_csv", photo(content, "photos.zip"))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (claiming(1_000, bytes(30_000_000)), "damaged in the zip"),
        (zipped({"bomb.jpg": bytes(900_000)}, zipfile.ZIP_BZIP2), "packed by a method that is not read here"),
    ],
)
def test_a_file_of_an_archive_that_unpacks_without_bounds_is_not_unpacked(server, photo, content, reason):
    (row,) = csv.DictReader(io.StringIO(server.call("/zip_to_csv", photo(content, "photos.zip"))))
    assert row["error"] == reason


def test_files_of_the_server_and_addresses_are_not_read(server, tmp_path):
    secret = tmp_path / "secret.jpg"
    secret.write_bytes(PORTRAIT.read_bytes())
    # Without the mark of a file, the client sends it as it is, and Gradio lets it pass.
    assert "no longer on the server" in server.refusal("/age", {"path": str(secret)})
    address = {"path": f"{server.address}/favicon.ico", "meta": {"_type": "gradio.FileData"}}
    assert "addresses are not fetched" in server.refusal("/age", address)
    assert server.refusal("/age", None) == "Choose a file first."


def test_one_photo_makes_no_person_and_too_many_neither(server, photo):
    assert server.refusal("/person", [photo(nobody())] * 21) == "Choose 2 to 20 photos."
    assert server.refusal("/person", [photo(ASTRONAUT)]) == "Choose 2 to 20 photos."


# ------------------------------------------------------------------------------------------------------ privacy


def test_uploads_are_deleted_and_nothing_is_logged(server, photo):
    import httpx

    # Of several photos that were refused for their number; these wait for the cleaning.
    before = server.files()
    marked = ASTRONAUT.resize((300, 300))
    upload = {"files": ("marked and waiting.jpg", encoded(marked))}
    (path,) = httpx.post(f"{server.address}/gradio_api/upload", files=upload).json()
    assert [str(file) for file in server.files() if file not in before] == [path]
    assert len(server.call("/age", {"path": path})) == 1
    server.call("/page_age", photo(marked, "marked.jpg"))
    server.call("/zip_to_csv", photo(zipped({"marked.jpg": encoded(marked)}), "marked.zip"))
    server.refusal("/age", photo(nobody(), "marked too.jpg"))
    server.refusal("/age", photo(bytes(26_000_000), "marked, and too large.jpg"))
    assert server.files() == before
    log = server.log.read_text()
    assert "marked" not in log
    assert "Traceback" not in log


def test_the_page_sends_nothing_to_anybody_else(server):
    assert '"analytics_enabled":false' in server.read("/config")
    assert not re.search(r"""(url\(|@import )["']?(https?:|//)""", server.read("/theme.css"))


# ----------------------------------------------------------------------------------------------------- survival


def test_survival_is_off_unless_a_model_is_named(demos):
    space, command = demos
    documented = {"/age", "/saliency", "/person", "/compare", "/zip_to_csv"}
    assert command.functions() == documented
    assert space.functions() == documented | {"/survival"}
    assert "Position in a cohort" not in command.read("/")


def test_survival_answers_with_a_position_in_the_named_cohort_and_nothing_else(server, photo, survival_checkpoint):
    wanted = fahr_hf.pipeline("face-survival", survival_checkpoint)(str(PORTRAIT), adult=True)[0]["percentile"]
    sent = photo(PORTRAIT.read_bytes())
    position = server.call("/survival", sent, True)
    assert position == {"percentile": round(wanted), "cohort": "an invented cohort"}
    page, *_ = server.call("/page_survival", sent, True)
    words = re.sub(r"<[^>]+>", " ", page)
    assert re.findall(r"\d+", words) == [str(round(wanted)), "100", "100", str(round(wanted))]
    assert not re.search(r"year|month|probab|chance|likel|surviv", words)
    assert "an invented cohort" in words
    assert "findahelpline.com" in page
    # A map of what a rank rests on would be read as what is wrong with a face.
    assert "<figure" not in page


def test_survival_is_refused_without_acknowledgement_for_several_faces_and_for_the_young(server, photo):
    for acknowledged in (False, None, "yes"):
        reason = server.refusal("/survival", photo(ASTRONAUT), acknowledged)
        assert "tick the box" in reason
    assert "2 faces" in server.refusal("/survival", photo(side_by_side()), True)


def test_survival_is_refused_for_a_face_that_looks_young(survival_checkpoint, tmp_path):
    from fahr_hf.demo.estimates import Estimates
    from fahr_hf.demo.limits import Limits
    from fahr_hf.demo.uploads import Refusal

    # An age model that has learned nothing, and says about 0 for everybody.
    FahrFaceForAgeEstimation(minute_config()).save_pretrained(tmp_path)
    FahrFaceImageProcessor(size=32).save_pretrained(tmp_path)
    estimates = Estimates(str(tmp_path), str(survival_checkpoint), Limits())
    with pytest.raises(Refusal, match="no answer for faces that look younger than 25"):
        estimates.position(PORTRAIT.read_bytes(), True)


def test_a_survival_model_without_a_cohort_is_one_line(run, tmp_path):
    FahrFaceForSurvival(minute_config()).save_pretrained(tmp_path)
    FahrFaceImageProcessor(size=32).save_pretrained(tmp_path)
    code, _, error = run("demo", "--survival-model", tmp_path)
    assert code == 1
    assert "names no cohort to compare with" in error


# ------------------------------------------------------------------------------------------------- what starts it


def test_the_command_starts_the_same_page_and_leaves_nothing_behind(demos):
    command = demos[1]
    assert "How old does a face look?" in command.read("/")
    assert list(command.folder.glob("fahr-face-*"))
    assert command.interrupt() == 0
    assert not list(command.folder.glob("fahr-face-*"))
    assert command.files() == []


def test_an_unknown_model_is_one_line(run):
    code, _, error = run("demo", "--model", "nothing")
    assert code == 1
    assert error.startswith("fahr-hf: Unknown model 'nothing'")


def test_the_card_of_the_space_says_what_the_hub_asks():
    card = RepoCard.load(SPACE / "README.md").data.to_dict()
    assert card["sdk"] == "gradio"
    assert card["sdk_version"] == "6.31.0"
    assert card["python_version"] == "3.12"
    assert (SPACE / card["app_file"]).exists()
    # The strictest licence of what it is made from, which is that of the embedded weights.
    weights = RepoCard.load(Path(fahr_hf.checkpoint("fahr-faceage-tiny"), "README.md")).data.to_dict()
    assert card["license"] == weights["license"]
    assert len(card["short_description"]) <= 60
    assert (SPACE / "requirements.txt").read_text() == "fahr-hf[demo]\n"
