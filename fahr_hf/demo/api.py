"""The documented functions of the demo; the help of each is what a user of the API reads."""

from collections.abc import Callable
from typing import Any

import gradio as gr
from gradio.data_classes import FileData

from fahr_hf.demo.estimates import Comparison, Estimates, ExplainedFace, Face, Person, Position, as_csv
from fahr_hf.demo.limits import AT_ONCE, Limits
from fahr_hf.demo.maps import as_data
from fahr_hf.demo.uploads import take, take_several


def add_api(estimates: Estimates, limits: Limits) -> None:
    """Add the functions to the page that is being built."""

    def age(photo: FileData) -> list[Face]:
        """Age of every face in a photo, the largest face first. A research estimate."""
        return estimates.faces(take(photo, limits.photo_bytes))  # type: ignore[arg-type]

    def saliency(photo: FileData) -> ExplainedFace:
        """Age of the largest face in a photo, its aligned crop, and by how many years each place of it adds to the age.

        `saliency` has a row for every row of pixels of the crop, which is a PNG as a data URL. A place is a square: its
        years are the age less the age with the square covered in grey. That describes the model and not the person.
        """
        faces, crop, values = estimates.explain(take(photo, limits.photo_bytes))  # type: ignore[arg-type]
        return {**faces[0], "crop": as_data(crop, "PNG"), "saliency": values.tolist()}

    def person(photos: list[FileData]) -> Person:
        """Median age and spread over several photos of one person; the largest face of each counts."""
        return estimates.person(take_several(photos, limits))

    def compare(first: FileData, second: FileData) -> Comparison:
        """Ages of the largest faces of two photos, and the second less the first."""
        one, two = (take(photo, limits.photo_bytes) for photo in (first, second))  # type: ignore[arg-type]
        return estimates.compare(one, two)

    def zip_to_csv(archive: FileData) -> str:
        """Ages of the faces in a zip of photos, as the text of a csv with one row a face."""
        return as_csv(estimates.table(take(archive, limits.archive_bytes)))  # type: ignore[arg-type]

    def survival(photo: FileData, acknowledged: bool) -> Position:
        """Position of one adult's face within a cohort, which says nothing reliable about the person.

        `acknowledged` says that the photo shows one adult who agreed, and that this is understood.
        """
        return estimates.position(take(photo, limits.photo_bytes), acknowledged)  # type: ignore[arg-type]

    functions: dict[str, list[Callable[..., Any]]] = {
        "photos": [age, person, compare],
        "maps": [saliency],
        "zip": [zip_to_csv],
    }
    if estimates.cohort is not None:
        functions["photos"].append(survival)
    for group, members in functions.items():
        for function in members:
            gr.api(function, concurrency_id=group, concurrency_limit=AT_ONCE[group])
