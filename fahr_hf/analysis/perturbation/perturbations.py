"""Perturbations of any photo, before a face is looked for in it: what is changed, in which unit, and how far.

They meet the photo and not the aligned crop, since that is where they happen in life: they may move the landmarks, and
with them the crop, or hide the face altogether.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from fahr_hf.analysis.perturbation import face, geometry, light

_Moving = Callable[[np.ndarray, float, np.ndarray], tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class Perturbation:
    """One way of changing a photo.

    Args:
        name: Of files and options.
        unit: Of the strength, with what it is a strength of.
        identity: Strength at which the photo stays as it is, bit by bit.
        grid: Strengths to try, in rising order, without `identity`.
        moving: Gives photo and landmarks for photo, strength and landmarks.

    Examples:
        >>> grey = np.full((90, 90, 3), 100, np.uint8)
        >>> points = np.array([[35, 40], [65, 40], [50, 55], [38, 70], [62, 70]], float)
        >>> brighter, _ = perturbation("brightness")(grey, 1.0, points)
        >>> int(brighter[0, 0, 0])
        138
    """

    name: str
    unit: str
    identity: float
    grid: tuple[float, ...]
    moving: _Moving

    def __call__(self, photo: np.ndarray, strength: float, landmarks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The changed photo, and where its landmarks are now.

        Args:
            photo: (height, width, 3) uint8 RGB; never written to.
            strength: In the unit.
            landmarks: (5, 2), of one face, in pixels of the photo, in the order of the image processor.
        """
        return (photo, landmarks) if strength == self.identity else self.moving(photo, strength, landmarks)


def _everywhere(change: Callable[[np.ndarray, float], np.ndarray]) -> _Moving:
    return lambda photo, strength, landmarks: (change(photo, strength), landmarks)


def _in_place(change: Callable[[np.ndarray, float, np.ndarray], np.ndarray]) -> _Moving:
    return lambda photo, strength, landmarks: (change(photo, strength, landmarks), landmarks)


_QUARTERS = (25.0, 50.0, 75.0, 100.0)
_OPACITY = (20.0, 40.0, 60.0, 80.0)

PERTURBATIONS: tuple[Perturbation, ...] = (
    Perturbation("brightness", "stops of exposure", 0, (-3, -2, -1, -0.5, 0.5, 1, 2), _everywhere(light.brightness)),
    Perturbation("gamma", "exponent; above 1 is darker", 1, (0.5, 0.7, 0.85, 1.2, 1.5, 2), _everywhere(light.gamma)),
    Perturbation("side_light", "stops from cheek to cheek", 0, (-4, -2, -1, 1, 2, 4), _in_place(light.side_light)),
    Perturbation(
        "colour_temperature",
        "kelvin of the light",
        light.DAYLIGHT,
        (2500, 3500, 4500, 5500, 8000, 12000),
        _everywhere(light.colour_temperature),
    ),
    Perturbation("grey", "% of colour lost", 0, (50, 100), _everywhere(light.grey)),
    Perturbation("blur", "SD in pixels of the aligned crop", 0, (0.5, 1, 1.5, 2, 3), _in_place(light.blur)),
    Perturbation("noise", "SD in grey levels", 0, (5, 10, 20, 40), _everywhere(light.noise)),
    Perturbation("jpeg", "quality; 100 is not saved again", 100, (5, 10, 20, 40, 60, 80), _everywhere(light.jpeg)),
    Perturbation("resolution", "pixels of the crop from one of the photo", 0, (1, 1.5, 2, 3, 4), geometry.resolution),
    Perturbation("roll", "degrees clockwise", 0, (-40, -30, -20, -10, 10, 20, 30, 40), geometry.roll),
    Perturbation("yaw", "degrees of a turned cylinder", 0, (-40, -30, -20, -10, 10, 20, 30, 40), geometry.yaw),
    Perturbation("cut", "% of the photo's side that the crop is", 0, (50, 75, 90, 100, 110, 125), geometry.cut),
    Perturbation("glasses", "% of light kept away", 0, _QUARTERS, _in_place(face.glasses)),
    Perturbation("mask", "% from chin to root of nose covered", 0, _QUARTERS, _in_place(face.mask)),
    Perturbation("forehead", "% from hairline to brows covered", 0, _QUARTERS, _in_place(face.forehead)),
    Perturbation("mouth", "% of a bar over the mouth", 0, _QUARTERS, _in_place(face.mouth)),
    Perturbation("lipstick", "% opacity of colour on the lips", 0, _OPACITY, _in_place(face.lipstick)),
    Perturbation("eye_shadow", "% opacity of colour on the lids", 0, _OPACITY, _in_place(face.eye_shadow)),
)
"""All of them; strengths, shapes and colours are ours."""


def perturbation(name: str) -> Perturbation:
    """One of `PERTURBATIONS` by its name.

    Raises:
        ValueError: there is none of that name.
    """
    for known in PERTURBATIONS:
        if known.name == name:
            return known
    raise ValueError(
        f"No perturbation is named {name!r}; there are {', '.join(known.name for known in PERTURBATIONS)}."
    )
