"""What became of many photos, in four numbers."""

from dataclasses import dataclass
from typing import Any

from fahr_hf.models.pipeline_fahr_face import NO_FACE


@dataclass(frozen=True)
class PhotoCounts:
    """What became of photos; counts add up.

    Args:
        photos: All of them.
        faces: Found in them.
        no_face: Photos that show none.
        unreadable: Photos that could not be read.
    """

    photos: int = 0
    faces: int = 0
    no_face: int = 0
    unreadable: int = 0

    @classmethod
    def of_record(cls, record: dict[str, Any]) -> "PhotoCounts":
        """Of one photo, from what a pipeline's `records` yields."""
        error = record["error"]
        return cls(1, len(record["faces"]), int(error == NO_FACE), int(error not in (None, NO_FACE)))

    def __add__(self, other: "PhotoCounts") -> "PhotoCounts":
        return PhotoCounts(
            self.photos + other.photos,
            self.faces + other.faces,
            self.no_face + other.no_face,
            self.unreadable + other.unreadable,
        )

    def __str__(self) -> str:
        return (
            f"photos {self.photos}, faces {self.faces}, photos without a face {self.no_face}, "
            f"unreadable {self.unreadable}"
        )
