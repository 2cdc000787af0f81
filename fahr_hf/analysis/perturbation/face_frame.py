"""Where a face lies in its photo: the template of the aligned crop, laid over the photo by the five landmarks.

Regions are written down once, in pixels of the 112 x 112 template, and drawn into any photo at its own resolution.
"""

import cv2
import numpy as np

from fahr_hf.models.image_processing_fahr_face import ARCFACE_TEMPLATE, TEMPLATE_SIDE, similarity

TEMPLATE = np.array(ARCFACE_TEMPLATE)
CENTRE = (TEMPLATE_SIDE - 1) / 2
"""Of the template, along both axes."""

# OpenCV draws at fractions of a pixel if coordinates are integers in units of 2^-4.
_SHIFT = 4


class FaceFrame:
    """The template in a photo.

    Args:
        landmarks: (5, 2), in pixels of the photo, in the order of the image processor.
    """

    def __init__(self, landmarks: np.ndarray) -> None:
        self.matrix = similarity(TEMPLATE, landmarks)
        """(2, 3), from pixels of the template to pixels of the photo."""
        self.scale = float(np.hypot(self.matrix[0, 0], self.matrix[1, 0]))
        """Pixels of the photo for one of the template."""
        self.right, self.down = self.matrix[:, 0], self.matrix[:, 1]
        """One pixel of the template along each of its axes, as a step (2,) in the photo."""

    def points(self, template_points: np.ndarray | list[tuple[float, float]]) -> np.ndarray:
        """Points (n, 2) of the template as points of the photo."""
        return np.asarray(template_points, np.float64) @ self.matrix[:, :2].T + self.matrix[:, 2]

    def template_x(self, shape: tuple[int, ...]) -> np.ndarray:
        """How far right of the face's middle each pixel is, (height, width) float32; 1 at the edge of the template."""
        middle = self.points([(CENTRE, CENTRE)])[0]
        step = self.right / self.scale**2 / (TEMPLATE_SIDE / 2)
        x, y = np.arange(shape[1]) - middle[0], np.arange(shape[0]) - middle[1]
        return (x * step[0] + y[:, None] * step[1]).astype(np.float32)


def ellipse(centre: np.ndarray, across: np.ndarray, down: np.ndarray) -> np.ndarray:
    """A polygon (n, 2) around an ellipse, by its middle and its half axes."""
    angle = np.linspace(0, 2 * np.pi, 48, endpoint=False)[:, None]
    return centre + np.cos(angle) * across + np.sin(angle) * down


def region(shape: tuple[int, ...], polygons: list[np.ndarray], soft: float = 0) -> np.ndarray:
    """How much of each pixel lies in one of some polygons.

    Args:
        shape: Of the photo, (height, width, ...).
        polygons: Each (n, 2), in pixels of the photo.
        soft: Standard deviation in pixels by which borders are blurred; 0 leaves them sharp.

    Returns:
        (height, width, 1) float32, 0 to 1.
    """
    mask = np.zeros(shape[:2], np.uint8)
    for polygon in polygons:
        cv2.fillPoly(mask, [np.round(polygon * 2**_SHIFT).astype(np.int32)], 255, cv2.LINE_AA, _SHIFT)
    blurred = cv2.GaussianBlur(mask, (0, 0), soft) if soft else mask
    return (blurred / np.float32(255))[..., None]


def paint(photo: np.ndarray, mask: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    """A photo with a colour laid over it, as thickly as a mask (height, width, 1) says; where that is 0, untouched."""
    return (photo + mask * (np.array(colour, np.float32) - photo)).round().astype(np.uint8)
