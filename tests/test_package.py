"""What is built and installed: contents, size and licences of the wheel."""

import zipfile
from email.parser import Parser
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]
MEGABYTE = 1_000_000


def test_the_wheel_stays_small(wheel):
    assert wheel.stat().st_size < 60 * MEGABYTE


def test_the_wheel_holds_no_weights_but_those_of_tiny_checkpoints(wheel):
    with zipfile.ZipFile(wheel) as archive:
        weights = [name for name in archive.namelist() if name.endswith((".safetensors", ".bin", ".pth", ".pt"))]
    assert all(name.startswith("fahr_hf/checkpoints/") and "-tiny/" in name for name in weights)


def test_the_wheel_holds_the_package_and_nothing_beside_it(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    tops = {name.split("/")[0] for name in names}
    assert tops == {"fahr_hf", f"fahr_hf-{wheel.name.split('-')[1]}.dist-info"}
    for name in ("models/modeling_fahr_face.py", "models/image_processing_fahr_face.py", "py.typed"):
        assert f"fahr_hf/{name}" in names
    assert not any("__pycache__" in name for name in names)


def test_code_and_other_peoples_weights_are_licensed_apart(wheel):
    with zipfile.ZipFile(wheel) as archive:
        name = next(name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        metadata = Parser().parsestr(archive.read(name).decode())
    assert metadata["License-Expression"] == "Apache-2.0 AND MIT AND CC-BY-NC-4.0"
    assert {"LICENSE", "LICENSE-WEIGHTS.md", "fahr_hf/models/DETECTORS.md"} == set(metadata.get_all("License-File"))


def test_the_core_needs_no_gpl_package(wheel):
    with zipfile.ZipFile(wheel) as archive:
        name = next(name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        metadata = Parser().parsestr(archive.read(name).decode())
    gpl = [text for text in metadata.get_all("Requires-Dist") if text.startswith("scikit-survival")]
    # Whoever works on this package has the extra, for the tests.
    assert {text.partition("extra == ")[2].strip("'\"") for text in gpl} == {"survival", "dev"}


def test_models_import_nothing_else_of_ours():
    for file in (REPOSITORY / "fahr_hf/models").glob("*.py"):
        assert "fahr_hf" not in "".join(
            line for line in file.read_text().splitlines() if line.startswith(("import ", "from "))
        ), file.name
