"""How much a visitor may send, and how many are answered at once."""

from dataclasses import dataclass

_MEGABYTE = 10**6

AT_ONCE = {"photos": 2, "maps": 1, "zip": 1}
"""Requests of a kind that are answered at the same time; the others wait."""


@dataclass(frozen=True)
class Limits:
    """Bounds of the demo. None of them is a property of the models.

    Args:
        photo_bytes: Size of a photo.
        photo_pixels: Pixels of a photo, which decide how much memory it takes.
        photos_of_person: Photos of one person.
        upload_bytes: Bytes of one request that uploads, however many files it brings, and of all photos of one person.
        call_bytes: Bytes of any other request; those name files that were uploaded before.
        archive_bytes: Size of a zip.
        archive_unpacked: Bytes that the photos in a zip may have together.
        archive_photos: Photos in a zip.
        archive_directory: Bytes of the list of files in a zip, about 80 a file.
        waiting: Requests that may wait; more are told to come back.
    """

    photo_bytes: int = 25 * _MEGABYTE
    photo_pixels: int = 50_000_000
    photos_of_person: int = 20
    upload_bytes: int = 120 * _MEGABYTE
    call_bytes: int = _MEGABYTE
    archive_bytes: int = 100 * _MEGABYTE
    archive_unpacked: int = 300 * _MEGABYTE
    archive_photos: int = 200
    archive_directory: int = 100_000
    waiting: int = 40


def megabytes(size: int) -> str:
    """A size in words, such as `25 MB`."""
    return f"{size / _MEGABYTE:g} MB"
