"""Uploads: read within limits, deleted as they are read, and checked before they are decoded."""

import contextlib
import threading
from collections import Counter
from collections.abc import Iterable, Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import gradio
from gradio.utils import get_upload_folder
from gradio_client.utils import is_http_url_like
from PIL import Image, UnidentifiedImageError

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


class _Uploads(set[str]):
    """Where Gradio notes uploads for its own cleaning; here they are counted as well."""

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
