"""Photos in a zip, one after the other in memory; nothing is unpacked to disk.

Everything that a hostile archive can be is bounded: the list of files before it is read, the number and declared sizes
of the photos before they are unpacked, and what really comes out while it does. A name that would lead out of a folder
is harmless here, since no file is made of it, but whoever sends one is refused.
"""

import zipfile
from collections.abc import Iterator
from io import BytesIO
from pathlib import PurePosixPath, PureWindowsPath

from fahr_hf.demo.limits import Limits, megabytes
from fahr_hf.demo.uploads import Refusal
from fahr_hf.models.pipeline_fahr_face import PHOTO_SUFFIXES

_ENCRYPTED = 1
# The other methods unpack a whole piece at once, however much comes out.
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


def photos_of(content: bytes, limits: Limits) -> tuple[list[str], Iterator[bytes | Refusal]]:
    """The photos of a zip.

    Args:
        content: Of the zip.
        limits: Of the demo.

    Returns:
        Their names, and an iterator over their contents in the same order. In place of a photo that cannot be unpacked
        comes the reason.

    Raises:
        Refusal: no zip, too much in it, or names that lead out of a folder. Also from the iterator, if more comes out
            of the archive than it says.
    """
    file = _Checked(content, limits.archive_directory)
    try:
        archive = zipfile.ZipFile(file)
    except Refusal:
        raise
    except (zipfile.BadZipFile, NotImplementedError, ValueError) as error:
        raise Refusal("This is no zip that can be read.") from error
    file.opened()
    for entry in archive.infolist():
        _check_name(entry.filename)
    photos = [entry for entry in archive.infolist() if _is_photo(entry)]
    if not photos:
        raise Refusal("There is no photo in this zip.")
    if len(photos) > limits.archive_photos:
        raise Refusal(f"There are {len(photos)} photos in this zip; {limits.archive_photos} are the limit here.")
    if sum(entry.file_size for entry in photos) > limits.archive_unpacked:
        raise Refusal(f"The photos of this zip have more than {megabytes(limits.archive_unpacked)}, the limit here.")
    return [entry.filename for entry in photos], _contents(archive, photos, limits)


class _Checked(BytesIO):
    """A zip's bytes; as it opens, `zipfile` reads the list of files in one piece, which must not be a large one."""

    def __init__(self, content: bytes, directory: int):
        super().__init__(content)
        self._directory: int | None = directory

    def read(self, size: int | None = -1, /) -> bytes:
        if self._directory is not None and size is not None and size > self._directory:
            raise Refusal("There are too many files in this zip.")
        return super().read(size)

    def opened(self) -> None:
        self._directory = None


def _check_name(name: str) -> None:
    windows = PureWindowsPath(name)
    if PurePosixPath(name).is_absolute() or windows.drive or windows.root or ".." in windows.parts:
        raise Refusal("A name in this zip leads out of its folder; such archives are not opened.")


def _is_photo(entry: zipfile.ZipInfo) -> bool:
    path = PurePosixPath(entry.filename)
    hidden = any(part.startswith((".", "__MACOSX")) for part in path.parts)
    return not entry.is_dir() and not hidden and path.suffix.lower() in PHOTO_SUFFIXES


def _contents(archive: zipfile.ZipFile, photos: list[zipfile.ZipInfo], limits: Limits) -> Iterator[bytes | Refusal]:
    left = limits.archive_unpacked
    for entry in photos:
        if entry.flag_bits & _ENCRYPTED:
            yield Refusal("encrypted")
            continue
        if entry.compress_type not in _METHODS:
            yield Refusal("packed by a method that is not read here")
            continue
        try:
            with archive.open(entry) as file:
                content = file.read(limits.photo_bytes + 1)
        except (zipfile.BadZipFile, NotImplementedError, OSError, ValueError, EOFError):
            yield Refusal("damaged in the zip")
            continue
        left -= len(content)
        if left < 0:
            raise Refusal(f"The photos of this zip have more than {megabytes(limits.archive_unpacked)}.")
        yield content
