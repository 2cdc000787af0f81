"""How much a visitor may send."""

from dataclasses import dataclass

_MEGABYTE = 10**6


@dataclass(frozen=True)
class Limits:
    """Bounds of the demo. None of them is a property of the models.

    Args:
        photo_bytes: Size of a photo.
        photo_pixels: Pixels of a photo, which decide how much memory it takes.
        photos_of_person: Photos of one person.
        archive_bytes: Size of a zip.
        archive_unpacked: Bytes that the photos in a zip may have together.
        archive_photos: Photos in a zip.
        archive_directory: Bytes of the list of files in a zip, about 80 a file.
        waiting: Requests that may wait; more are told to come back.
    """

    photo_bytes: int = 25 * _MEGABYTE
    photo_pixels: int = 50_000_000
    photos_of_person: int = 20
    archive_bytes: int = 100 * _MEGABYTE
    archive_unpacked: int = 300 * _MEGABYTE
    archive_photos: int = 200
    archive_directory: int = 100_000
    waiting: int = 40


def megabytes(size: int) -> str:
    """A size in words, such as `25 MB`."""
    return f"{size / _MEGABYTE:g} MB"
