"""Uploads: read within limits, deleted as they are read, and checked before they are decoded."""

import contextlib
import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from io import BytesIO
from itertools import chain
from pathlib import Path
from typing import Any

import gradio
from gradio.utils import get_upload_folder
from gradio_client.utils import is_http_url_like
from PIL import Image, UnidentifiedImageError
from starlette.formparsers import MultiPartException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fahr_hf.demo.limits import Limits, megabytes

Image.init()
# Every other decoder of Pillow stays out of reach; some of them start other programs. AVIF is not in every Pillow.
FORMATS = sorted({"AVIF", "BMP", "GIF", "JPEG", "PNG", "TIFF", "WEBP"} & Image.OPEN.keys())

_GONE = "The file is no longer on the server. Choose it again."

# Gradio stores equal files of several visitors once: how many of them have still to be read, by path.
_unread: Counter[Path] = Counter()
_counting = threading.Lock()


class Refusal(gradio.Error):
    """Why there is no answer, in words for the visitor. Nothing of it is logged."""

    def __init__(self, message: str):
        # Gradio shows messages as HTML.
        safe = message.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
        super().__init__(safe, duration=None, title="No answer", print_exception=False)


def take(upload: Mapping[str, Any] | None, at_most: int) -> bytes:
    """The contents of an upload, which is deleted with that.

    Args:
        upload: What Gradio hands over for an uploaded file, as a dict.
        at_most: Bytes.

    Raises:
        Refusal: no file, one that is gone, or one that is too large.
    """
    if not isinstance(upload, Mapping) or not isinstance(upload.get("path"), str):
        raise Refusal("Choose a file first.")
    path = Path(upload["path"]).resolve()
    # A client may send any path, and Gradio checks those alone that are marked as files.
    with _counting:
        if not path.is_relative_to(Path(get_upload_folder()).resolve()) or not path.is_file():
            raise Refusal(_GONE)
        size = path.stat().st_size
        content = path.read_bytes() if size <= at_most else None
        _unread[path] -= 1
        if _unread[path] <= 0:
            del _unread[path]
            path.unlink()
            # The folder also holds the same content under other names.
            with contextlib.suppress(OSError):
                path.parent.rmdir()
    if content is None:
        raise Refusal(f"The file has {megabytes(size)}; {megabytes(at_most)} is the limit here.")
    return content


def take_several(uploads: Any, limits: Limits) -> list[bytes]:
    """The contents of the photos of one person, which are deleted with that.

    Raises:
        Refusal: too few photos, too many, or too large ones; one by one as `take`, or together.
    """
    if not isinstance(uploads, list) or not 2 <= len(uploads) <= limits.photos_of_person:
        raise Refusal(f"Choose 2 to {limits.photos_of_person} photos.")
    contents: list[bytes] = []
    for upload in uploads:
        contents.append(take(upload, limits.photo_bytes))
        if sum(map(len, contents)) > limits.upload_bytes:
            raise Refusal(f"Together the photos have more than {megabytes(limits.upload_bytes)}, the limit here.")
    return contents


def check_photo(content: bytes, limits: Limits) -> None:
    """Look at a photo's header.

    Raises:
        Refusal: no image, or one that is too large.
    """
    if len(content) > limits.photo_bytes:
        raise Refusal(f"The photo has {megabytes(len(content))}; {megabytes(limits.photo_bytes)} is the limit here.")
    most = f"{limits.photo_pixels // 10**6} million pixels are the limit here. Make the photo smaller."
    try:
        with Image.open(BytesIO(content), formats=FORMATS) as image:
            width, height = image.size
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise Refusal(f"The photo has too many pixels; {most}") from error
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError) as error:
        raise Refusal("This is no photo that can be read. Choose a JPEG, PNG or WebP.") from error
    if width * height > limits.photo_pixels:
        raise Refusal(f"The photo has {width} x {height} pixels; {most}")


class BoundedBodies:
    """Cuts a request off that brings more bytes than it may; Gradio bounds every file, and not all of them together.

    Args:
        app: What answers the requests.
        limits: Of the demo.
    """

    def __init__(self, app: ASGIApp, limits: Limits):
        self._app = app
        self._limits = limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        is_upload = scope["path"].endswith("/upload")
        at_most = self._limits.upload_bytes if is_upload else self._limits.call_bytes
        left = at_most

        async def counted() -> Message:
            nonlocal left
            message = await receive()
            left -= len(message.get("body", b""))
            if left < 0:
                # In these words, Gradio deletes what it has written so far and answers with 413.
                raise MultiPartException(f"A request has a maximum allowed size of {megabytes(at_most)}.")
            return message

        return await self._app(scope, counted, send)


class _Uploads(set[str]):
    """Where Gradio notes uploads for its own cleaning; here they are counted as well."""

    def __iter__(self) -> Iterator[str]:
        """With what Gradio does not note: uploads that broke off, or that came as a field of another name."""
        return chain(super().__iter__(), (str(file) for file in Path(get_upload_folder()).glob("*") if file.is_file()))

    def update(self, *files: Iterable[str]) -> None:
        new = [file for several in files for file in several]
        with _counting:
            _unread.update(Path(file).resolve() for file in new)
        super().update(new)


def guard(page: gradio.Blocks) -> None:
    """Count a page's uploads, and let nobody make the server download something.

    Gradio would do so, and without a limit, where a client names a URL as the path of a file.
    """
    page.temp_file_sets.remove(page.upload_file_set)
    page.upload_file_set = _Uploads()
    page.temp_file_sets.append(page.upload_file_set)
    for block in page.blocks.values():
        block.async_move_resource_to_block_cache = _files_only(  # type: ignore[method-assign]
            block.async_move_resource_to_block_cache
        )


def _files_only(move: Any) -> Any:
    async def guarded(path: Any) -> Any:
        if is_http_url_like(str(path)):
            raise Refusal("Upload a file; addresses are not fetched here.")
        return await move(path)

    return guarded
