"""What a start loads and asks for: names of modules and connections instead of seconds, which no test can rely on."""

import json
import os
import subprocess
import sys
from typing import Any

import pytest
import skimage
from PIL import Image

NEEDED_BY_ANSWERS = {"torch", "transformers", "numpy", "PIL", "cv2", "huggingface_hub"}
NEVER_NEEDED_BY_ANSWERS = {
    "datasets",
    "evaluate",
    "gradio",
    "matplotlib",
    "pandas",
    "peft",
    "pyarrow",
    "skimage",
    "sklearn",
    "sksurv",
    "statsmodels",
    "tensorboard",
    "torchvision",
}

# Beside what was printed: which packages have been loaded, every address that was looked up or connected to, and how
# often Python has looked for garbage.
WATCHED = """
import gc, json, sys
lookups = []
def watch(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname"):
        lookups.append(f"{event} {arguments}")
sys.addaudithook(watch)
try:
    exec(sys.argv.pop(1))
finally:
    loaded = sorted({name.partition(".")[0] for name in sys.modules})
    searches = gc.get_stats()[0]["collections"]
    print("\\n" + json.dumps({"loaded": loaded, "lookups": lookups, "searches": searches}))
"""


def watched(program: str, *arguments: str) -> dict[str, Any]:
    """`loaded`, `lookups` and `searches` of a program, in a Python that may use the network."""
    environment = {name: value for name, value in os.environ.items() if not name.endswith("_OFFLINE")}
    done = subprocess.run(
        [sys.executable, "-c", WATCHED, program, *arguments],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def photo(tmp_path_factory) -> str:
    path = tmp_path_factory.mktemp("photos") / "photo.jpg"
    Image.fromarray(skimage.data.astronaut()).save(path)
    return str(path)


@pytest.fixture(scope="module")
def answered(photo):
    """`fahr-hf predict photo.jpg`."""
    program = "import fahr_hf.cli, contextlib\nwith contextlib.suppress(SystemExit): fahr_hf.cli.app()"
    return watched(program, "predict", photo)


def test_the_help_of_every_command_loads_nothing_that_only_a_run_needs():
    program = """
from typer.main import get_command
from typer.testing import CliRunner
from fahr_hf.cli.app import _program
def check(command, words):
    result = CliRunner().invoke(_program, [*words, "--help"])
    assert result.exit_code == 0 and "Usage" in result.output, (words, result.output)
    pages.append(words)
    for name, inner in getattr(command, "commands", {}).items():
        check(inner, [*words, name])
pages = []
check(get_command(_program), [])
assert ["train", "age"] in pages and ["predict"] in pages, pages
"""
    loaded = watched(program)["loaded"]

    assert not (NEEDED_BY_ANSWERS | NEVER_NEEDED_BY_ANSWERS).intersection(loaded)


def test_an_age_needs_neither_tables_nor_plots_nor_what_only_training_takes(answered):
    assert set(answered["loaded"]) >= NEEDED_BY_ANSWERS
    assert not NEVER_NEEDED_BY_ANSWERS.intersection(answered["loaded"])


def test_little_time_goes_to_garbage_among_what_imports_bring_to_stay(answered):
    # About 900 times with Python's own threshold.
    assert answered["searches"] < 300


def test_weights_that_are_there_are_opened_without_a_look_at_the_network(answered):
    assert answered["lookups"] == []


def test_transformers_opens_them_without_a_look_at_the_network_either(photo):
    program = (
        "import fahr_hf, transformers\n"
        "folder = fahr_hf.checkpoint('fahr-faceage-tiny')\n"
        "assert transformers.pipeline('face-age', model=folder)(sys.argv[1])\n"
        "transformers.AutoModel.from_pretrained(folder), transformers.AutoImageProcessor.from_pretrained(folder)"
    )

    assert watched(program, photo)["lookups"] == []


def test_a_question_to_the_hub_would_have_been_seen():
    program = (
        "import contextlib, huggingface_hub\n"
        "with contextlib.suppress(Exception): huggingface_hub.HfApi('http://127.0.0.1:9').whoami('hf_none')"
    )

    assert watched(program)["lookups"]
