"""Changes of where pixels lie: turned, cut and shrunk photos.

Each gives the photo and, as the face has moved, the landmarks in it: (height, width, 3) uint8 and (5, 2).
"""

import cv2
import numpy as np

from fahr_hf.analysis.perturbation.face_frame import CENTRE, FaceFrame
from fahr_hf.models.image_processing_fahr_face import TEMPLATE_SIDE

# Half the width of a head, in pixels of the template, whose eyes are 35 apart.
_RADIUS = 44.0


def roll(photo: np.ndarray, degrees: float, landmarks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Turned in the picture plane, clockwise above 0; on a larger canvas that is black at its corners."""
    height, width = photo.shape[:2]
    matrix = np.array(cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), -degrees, 1.0), np.float64)
    cos, sin = abs(matrix[0, :2])
    size = np.ceil([width * cos + height * sin, width * sin + height * cos]).astype(int)
    matrix[:, 2] += (size - np.array([width, height])) / 2
    turned = cv2.warpAffine(photo, matrix, size.tolist(), flags=cv2.INTER_CUBIC)
    return turned, landmarks @ matrix[:, :2].T + matrix[:, 2]


def yaw(photo: np.ndarray, degrees: float, landmarks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """As if the photo were painted on a cylinder as wide as the head, and that turned; above 0 to the viewer's right.

    It is no turned head: nose and ears keep their depth, nothing that was hidden appears (the border of the cylinder is
    smeared there), and neck and hair turn with the face. Pixels beyond the head are stretched to meet it.
    """
    face, angle = FaceFrame(landmarks), np.deg2rad(degrees)
    to_radius = TEMPLATE_SIDE / 2 / _RADIUS
    x = face.template_x(photo.shape) * to_radius
    step = face.right * _RADIUS
    moved = _painted_at(x, angle) - x
    rows, columns = np.indices(x.shape, np.float32)
    turned = cv2.remap(
        photo,
        columns + (moved * step[0]).astype(np.float32),
        rows + (moved * step[1]).astype(np.float32),
        cv2.INTER_CUBIC,
        borderMode=cv2.BORDER_REPLICATE,
    )
    middle = face.points([(CENTRE, CENTRE)])[0]
    place = ((landmarks - middle) @ face.right / face.scale**2 / _RADIUS).clip(-1, 1)
    now = np.sin((np.arcsin(place) + angle).clip(-np.pi / 2, np.pi / 2))
    return turned, landmarks + (now - place)[:, None] * step


def cut(photo: np.ndarray, percent: float, landmarks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Cut to a square around the face, of which the aligned crop takes up that much of each side.

    Below 100 % there is more around the face than the crop will show, above it the crop lacks its border. Where a photo
    ends before, it is left so; one that ends before on all sides is given back itself.
    """
    face = FaceFrame(landmarks)
    middle, half = face.points([(CENTRE, CENTRE)])[0], 100 / percent * face.scale * TEMPLATE_SIDE / 2
    x0, y0 = np.maximum(np.round(middle - half), 0).astype(int)
    x1, y1 = np.maximum(np.round(middle + half), 1).astype(int)
    square = photo[y0:y1, x0:x1]
    return (photo if square.shape == photo.shape else np.ascontiguousarray(square)), landmarks - (x0, y0)


def resolution(photo: np.ndarray, enlargement: float, landmarks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Shrunk until a pixel of the photo makes so many pixels, along a side, of the aligned crop; 1 is 35 between eyes.

    A photo of less is given back itself.
    """
    height, width = photo.shape[:2]
    factor = 1 / (enlargement * FaceFrame(landmarks).scale)
    if factor >= 1:
        return photo, landmarks
    size = max(1, round(width * factor)), max(1, round(height * factor))
    stretch = np.array([size[0] / width, size[1] / height])
    return cv2.resize(photo, size, interpolation=cv2.INTER_AREA), (landmarks + 0.5) * stretch - 0.5


def _painted_at(x: np.ndarray, angle: float) -> np.ndarray:
    """Where on the photo lies what is seen at `x` of a turned cylinder; both in its radius, from its axis."""
    seen = np.arcsin(x.clip(-1, 1)) - angle
    on_head = np.sin(seen.clip(-np.pi / 2, np.pi / 2))
    # From the head's border to twice its radius, pixels are stretched so that nothing tears.
    side = np.sign(x)
    border = np.sin(np.clip(side * np.pi / 2 - angle, -np.pi / 2, np.pi / 2))
    beyond = border + (2 * side - border) * (np.abs(x) - 1)
    return np.where(np.abs(x) <= 1, on_head, np.where(np.abs(x) < 2, beyond, x))
