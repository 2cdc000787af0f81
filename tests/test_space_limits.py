"""What one request may bring to the demo, and what becomes of uploads that nobody claims; served without a model."""

import importlib.util
import socket
import time
from pathlib import Path

import httpx
import pytest
from test_space import Demo

pytestmark = pytest.mark.skipif(importlib.util.find_spec("gradio") is None, reason="the demo is drawn by gradio")

LIMIT, OTHERS = 300_000, 50_000


# A page that answers nothing, and that deletes after a second what the demo deletes after ten minutes.
SERVE = f"""
import gradio as gr
from fahr_hf.demo import Limits, serve
from fahr_hf.demo.uploads import guard
with gr.Blocks(analytics_enabled=False, delete_cache=(1, 1)) as page:
    gr.Markdown("Nothing")
guard(page)
print("The demo is at", serve(page, Limits(upload_bytes={LIMIT}, call_bytes={OTHERS})), flush=True)
page.block_thread()
"""


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    folder = tmp_path_factory.mktemp("uploads")
    demo = Demo(folder, ["-c", SERVE], GRADIO_TEMP_DIR=str(folder))
    yield demo
    demo.interrupt()


@pytest.fixture
def address(demo) -> str:
    return demo.address


@pytest.fixture
def stored(demo):
    return demo.files


def several(count: int, name: str = "files") -> list[tuple]:
    """Files of 100 kB for httpx."""
    return [(name, (f"{number}.jpg", bytes([number]) * 100_000)) for number in range(count)]


def test_several_files_of_one_request_are_taken_as_long_as_they_are_few_bytes_together(address, stored):
    response = httpx.post(f"{address}/gradio_api/upload", files=several(2))
    assert response.status_code == 200
    paths = [Path(path) for path in response.json()]
    assert [path.stat().st_size for path in paths] == [100_000] * 2
    assert set(paths) <= set(stored())


@pytest.mark.parametrize("is_length_declared", [True, False])
def test_files_that_are_too_many_bytes_together_are_refused_and_not_kept(address, stored, is_length_declared):
    before = stored()
    request = httpx.Request("POST", f"{address}/gradio_api/upload", files=several(4))
    body = request.read()
    content = body if is_length_declared else iter([body[:150_000], body[150_000:]])
    response = httpx.post(request.url, content=content, headers={"Content-Type": request.headers["Content-Type"]})
    assert response.status_code == 413
    assert response.text == "A request has a maximum allowed size of 0.3 MB."
    assert set(stored()) <= set(before)


def test_a_request_that_uploads_nothing_may_be_a_small_one_alone(address):
    for size, is_taken in ((OTHERS // 2, True), (2 * OTHERS, False)):
        call = {"data": ["a" * size], "fn_index": 99, "session_hash": "one"}
        response = httpx.post(f"{address}/gradio_api/queue/join", json=call)
        assert ("error parsing the body" not in response.text) == is_taken
        assert response.status_code >= 400


def test_an_upload_that_breaks_off_or_has_another_field_name_is_deleted_like_any_other(address, stored):
    host, port = address.removeprefix("http://").split(":")
    head = (
        f"POST /gradio_api/upload HTTP/1.1\r\nHost: {host}\r\nContent-Length: 200000\r\n"
        "Content-Type: multipart/form-data; boundary=x\r\n\r\n"
        '--x\r\nContent-Disposition: form-data; name="files"; filename="half.jpg"\r\n\r\n'
    )
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(head.encode() + bytes(100_000))
        until(lambda: [file for file in stored() if file.stat().st_size >= 90_000 and file.suffix == ""])
    assert httpx.post(f"{address}/gradio_api/upload", files=several(1, "others")).json() == []
    assert stored()
    until(lambda: not stored())


def until(what, seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_the_photos_of_one_person_are_bounded_together_however_they_came(tmp_path, monkeypatch):
    from fahr_hf.demo import Limits
    from fahr_hf.demo.uploads import Refusal, take_several

    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))

    def uploaded(count: int) -> list[dict[str, str]]:
        files = [tmp_path / str(number) / "photo.jpg" for number in range(count)]
        for file in files:
            file.parent.mkdir(exist_ok=True)
            file.write_bytes(bytes(100_000))
        return [{"path": str(file)} for file in files]

    limits = Limits(upload_bytes=LIMIT)
    assert [len(content) for content in take_several(uploaded(3), limits)] == [100_000] * 3
    with pytest.raises(Refusal, match=r"Together the photos have more than 0\.3 MB"):
        take_several(uploaded(4), limits)
