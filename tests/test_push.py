"""`fahr-hf push`: real clients against a Hub on this machine, and what users of the pushed checkpoint get."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import huggingface_hub
import pytest
import torch
from hub_server import READER, WRITER, Hub, serve
from safetensors.torch import load_file, save_file

import fahr_hf
from fahr_hf import models
from fahr_hf.hub.push import push

PHOTO = Path(__file__).parents[1] / "examples/astronaut.jpg"
REPO = "org/face-age"
# Beside the weights of a run; the first shows people, the second holds a pickle.
OF_NO_CONCERN = ("worst_faces.png", "optimizer.pt")

# Of huggingface_hub's own way to upload.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")


@pytest.fixture(scope="module")
def original(tmp_path_factory) -> Path:
    """A finished checkpoint, with things beside it that concern nobody."""
    folder = tmp_path_factory.mktemp("run") / "model"
    shutil.copytree(fahr_hf.checkpoint("fahr-faceage-tiny"), folder)
    for name in OF_NO_CONCERN:
        (folder / name).write_bytes(b"private")
    return folder


@pytest.fixture
def folder(original, tmp_path) -> Path:
    return Path(shutil.copytree(original, tmp_path / "model"))


def surroundings(hub: Hub, home: Path, **variables: str) -> dict[str, str]:
    """Environment variables of a process that takes `hub` for the Hub."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    return {**kept, "HF_ENDPOINT": hub.url, "HF_HUB_DISABLE_XET": "1", "HF_HOME": str(home), **variables}


@pytest.fixture(scope="module")
def published(original, tmp_path_factory):
    """A Hub with version v1 of the checkpoint, pushed by the program as a user types it; and what it printed."""
    program = Path(sys.executable).with_name("fahr-hf")
    with serve() as hub:
        result = subprocess.run(
            [program, "push", original, REPO, "--tag", "v1"],
            capture_output=True,
            text=True,
            env=surroundings(hub, tmp_path_factory.mktemp("home"), HF_TOKEN=WRITER),
            check=False,
        )
        assert result.returncode == 0, result.stderr
        yield hub, result.stdout


@pytest.fixture
def hub(monkeypatch):
    """An empty Hub that this process takes for the Hub, with a token that may write."""
    with serve() as hub:
        address = f"{hub.url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", hub.url)
        monkeypatch.setattr(huggingface_hub.constants, "HUGGINGFACE_CO_URL_TEMPLATE", address)
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setenv("HF_TOKEN", WRITER)
        yield hub


def writes(hub: Hub) -> list[str]:
    return [request for request in hub.requests if request.split()[0] in ("POST", "PUT")]


class TestWhatArrives:
    def test_a_complete_checkpoint_and_nothing_else(self, published, original):
        hub, _ = published
        files = dict(hub.repositories[REPO].commits[hub.repositories[REPO].head])
        del files[".gitattributes"]
        package = Path(models.__file__).parent
        code = {file.name for pattern in ("*_fahr_face.py", "*.onnx") for file in package.glob(pattern)}
        own = {file.name for file in original.iterdir()} - set(OF_NO_CONCERN)
        assert files.keys() == code | own
        for name, content in files.items():
            if name != "README.md":
                assert content == (package / name if name in code else original / name).read_bytes(), name

    def test_the_card_names_where_it_is_and_the_version(self, published):
        hub, _ = published
        card = hub.repositories[REPO].commits[hub.repositories[REPO].head]["README.md"].decode()
        assert f'"{REPO}", revision="v1")' in card

    def test_the_version_is_a_tag(self, published):
        hub, _ = published
        assert hub.repositories[REPO].tags == {"v1": hub.repositories[REPO].head}

    def test_the_program_says_what_went_where_and_what_stayed(self, published):
        hub, printed = published
        *files, stays, address = printed.splitlines()
        assert address == f"{hub.url}/{REPO}/commit/{hub.repositories[REPO].head}"
        assert stays == "Stays here: optimizer.pt, worst_faces.png"
        assert any(line.endswith("model.safetensors") for line in files)


WITHOUT_FAHR_HF = """
import os, sys
os.environ.update(HF_ENDPOINT=sys.argv[1], HF_HUB_DISABLE_XET="1", HF_HUB_OFFLINE=sys.argv[2])
import json, torch, transformers
age = transformers.pipeline("face-age", model="org/face-age", trust_remote_code=True)
backbone = transformers.AutoModel.from_pretrained("org/face-age", revision="v1", trust_remote_code=True)
processor = transformers.AutoImageProcessor.from_pretrained("org/face-age", revision="v1", trust_remote_code=True)
with torch.no_grad():
    vector = backbone(processor(sys.argv[3])["pixel_values"]).pooler_output[0]
print(json.dumps({"age": age(sys.argv[3])[0]["age"], "embedding": vector.tolist()}))
"""

WITH_FAHR_HF = """
import json, sys, fahr_hf, transformers
age = fahr_hf.pipeline("face-age", "org/face-age", revision="v1")
model = transformers.AutoModelForImageClassification.from_pretrained("org/face-age")
assert type(model) is fahr_hf.FahrFaceForAgeEstimation
print(fahr_hf.verify("org/face-age", revision="v1"), file=sys.stderr)
print(json.dumps({"age": age(sys.argv[1])[0]["age"]}))
"""


@pytest.fixture(scope="module")
def here():
    """The numbers that this process gives."""
    backbone = fahr_hf.FahrFaceModel.from_pretrained(fahr_hf.checkpoint("fahr-faceage-tiny"))
    with torch.no_grad():
        vector = backbone(fahr_hf.FahrFaceImageProcessor()(PHOTO)["pixel_values"]).pooler_output[0]
    age = fahr_hf.pipeline("face-age", "fahr-faceage-tiny")(PHOTO)[0]["age"]
    return {"age": pytest.approx(age, abs=1e-3), "embedding": pytest.approx(vector.tolist(), abs=1e-4)}


class TestUsers:
    def test_the_same_numbers_without_fahr_hf_and_again_from_the_cache_offline(
        self, published, here, python_without_fahr_hf
    ):
        hub, _ = published
        for offline in ("0", "1"):
            asked = len(hub.requests)
            result = python_without_fahr_hf(WITHOUT_FAHR_HF, hub.url, offline, PHOTO)
            assert result.returncode == 0, result.stderr
            assert json.loads(result.stdout.splitlines()[-1]) == here
            assert (len(hub.requests) == asked) == (offline == "1")

    def test_with_fahr_hf_nobody_is_asked_for_trust(self, published, here, tmp_path):
        hub, _ = published
        result = subprocess.run(
            [sys.executable, "-c", WITH_FAHR_HF, PHOTO],
            capture_output=True,
            text=True,
            env=surroundings(hub, tmp_path),
            stdin=subprocess.DEVNULL,
            check=False,
        )
        assert result.returncode == 0, result.stderr
        assert json.loads(result.stdout) == {"age": here["age"]}


class TestPushingAgain:
    def test_the_same_files_make_no_second_commit(self, hub, folder):
        first = push(folder, REPO)
        hub.requests.clear()
        assert push(folder, REPO).endswith(hub.repositories[REPO].head)
        assert first.endswith(hub.repositories[REPO].head)
        assert not [request for request in writes(hub) if "/upload/" in request or "/commit/" in request]

    def test_the_same_version_of_the_same_files_is_no_error(self, hub, folder):
        push(folder, REPO, tag="v1")
        commit = hub.repositories[REPO].head
        assert push(folder, REPO, tag="v1").endswith(commit)
        assert hub.repositories[REPO].head == commit

    def test_a_version_never_changes(self, hub, folder, run):
        push(folder, REPO, tag="v1")
        commits = list(hub.repositories[REPO].commits)
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**config, "calibration": None}))
        code, _, err = run("push", folder, REPO, "--tag", "v1")
        assert code == 1
        assert "has a version v1 with other files (config.json)" in err
        assert list(hub.repositories[REPO].commits) == commits
        push(folder, REPO, tag="v2")
        assert hub.repositories[REPO].tags == {"v1": commits[-1], "v2": hub.repositories[REPO].head}

    def test_a_failed_upload_is_one_line_and_the_next_push_sends_only_the_rest(self, hub, folder, run):
        hub.refused_uploads = 1
        code, _, err = run("push", folder, REPO, "--tag", "v1")
        assert code == 1
        assert "was not sent, or not all of it" in err
        assert "answered 507, no space left" in err
        assert "Traceback" not in err
        repository = hub.repositories[REPO]
        assert len(repository.commits) == 1
        assert repository.tags == {}
        arrived = set(hub.large)
        hub.requests.clear()
        push(folder, REPO, tag="v1")
        sent = {request.rpartition("/")[2] for request in hub.requests if "/upload/" in request}
        assert sent
        assert not sent & arrived
        assert repository.tags == {"v1": repository.head}

    def test_a_push_that_failed_before_its_tag_is_completed(self, hub, folder):
        push(folder, REPO, tag="v1")
        hub.repositories[REPO].tags.clear()
        commit = hub.repositories[REPO].head
        push(folder, REPO, tag="v1")
        assert hub.repositories[REPO].tags == {"v1": commit}


class TestNothingIsSent:
    def test_by_a_dry_run_which_needs_no_token(self, hub, folder, run, monkeypatch):
        monkeypatch.delenv("HF_TOKEN")
        code, out, err = run("push", folder, REPO, "--dry-run")
        assert (code, err) == (0, "")
        assert out.splitlines()[-1] == f"Would go to {hub.url}/{REPO}"
        assert hub.requests == []

    @pytest.mark.parametrize(
        ("damage", "complaint"),
        [
            (lambda folder: (folder / "model.safetensors").unlink(), "there is no model.safetensors"),
            (lambda folder: (folder / "golden.json").unlink(), "has no golden vectors"),
            (lambda folder: (folder / "README.md").unlink(), "README.md"),
            (lambda folder: (folder / "README.md").write_text("---\nlicense: mit\n---\n# Name\n"), "lacks"),
            (lambda folder: (folder / "preprocessor_config.json").write_text('{"margin": 0.5}'), "does not answer"),
        ],
        ids=["no weights", "no golden vectors", "no card", "a bare card", "another crop"],
    )
    def test_of_a_checkpoint_that_is_not_complete(self, damage, complaint, hub, folder, run):
        damage(folder)
        code, _, err = run("push", folder, REPO)
        assert code == 1
        assert complaint in err
        assert hub.requests == []

    def test_of_weights_that_do_not_fit(self, hub, folder, run):
        weights = load_file(folder / "model.safetensors")
        del weights["age_head.bias"]
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
        code, _, err = run("push", folder, REPO)
        assert code == 1
        assert "age_head.bias" in err
        assert hub.requests == []

    @pytest.mark.parametrize(
        ("repo", "tag", "complaint"),
        [("face-age", None, "has no owner"), ("org/face age", None, "org/face age"), (REPO, 'v1"', "no name of a")],
    )
    def test_under_a_name_that_is_none(self, repo, tag, complaint, hub, folder):
        with pytest.raises(ValueError, match=complaint):
            push(folder, repo, tag=tag)
        assert hub.requests == []


class TestRefusals:
    @pytest.mark.parametrize(
        ("token", "complaint"),
        [
            (None, "there is no token. Log in with `hf auth login`"),
            (READER, "the token may not write there"),
            ("hf_stranger", "does not know the token"),
        ],
        ids=["no token", "a token for reading", "an unknown token"],
    )
    def test_are_one_line_with_what_to_do(self, token, complaint, hub, folder, run, monkeypatch, tmp_path):
        monkeypatch.setattr(huggingface_hub.constants, "HF_TOKEN_PATH", str(tmp_path / "no token"))
        if token is None:
            monkeypatch.delenv("HF_TOKEN")
        else:
            monkeypatch.setenv("HF_TOKEN", token)
        code, _, err = run("push", folder, REPO)
        assert code == 1
        assert complaint in err
        assert len(err.splitlines()) == 1
        assert hub.repositories == {}

    def test_without_a_network(self, folder, run, monkeypatch):
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")
        monkeypatch.setenv("HF_TOKEN", WRITER)
        code, _, err = run("push", folder, REPO)
        assert code == 1
        assert "http://127.0.0.1:9 cannot be reached" in err
        assert len(err.splitlines()) == 1


def test_a_private_repository_is_private_from_the_start(hub, folder):
    push(folder, REPO, private=True)
    assert hub.repositories[REPO].private


def test_who_wants_weights_with_a_gate_asks_before_the_first_file_is_there(hub, folder):
    card = (folder / "README.md").read_text()
    (folder / "README.md").write_text(card.replace("---\n", "---\nextra_gated_fields:\n  Purpose: text\n", 1))
    push(folder, REPO)
    assert hub.repositories[REPO].gated == "manual"
    asked = writes(hub)
    assert asked.index(f"PUT /api/models/{REPO}/settings") < min(i for i, name in enumerate(asked) if "upload" in name)


def test_transformers_own_push_to_hub_sends_code_and_detectors_along(tmp_path):
    program = (
        "import fahr_hf\n"
        "config = fahr_hf.FahrFaceConfig.from_size('tiny', num_hidden_layers=1)\n"
        "fahr_hf.FahrFaceForAgeEstimation(config).push_to_hub('org/minute')\n"
        "fahr_hf.FahrFaceImageProcessor().push_to_hub('org/minute')"
    )
    with serve() as hub:
        # A process of its own: transformers keeps its client, with the address of the Hub, from the first call on.
        environment = surroundings(hub, tmp_path, HF_TOKEN=WRITER)
        subprocess.run([sys.executable, "-c", program], env=environment, check=True)
    files = hub.repositories["org/minute"].commits[hub.repositories["org/minute"].head]
    package = Path(models.__file__).parent
    for pattern in ("*_fahr_face.py", "*.onnx"):
        for file in package.glob(pattern):
            assert files[file.name] == file.read_bytes()
    assert {"config.json", "model.safetensors", "preprocessor_config.json"} <= files.keys()
