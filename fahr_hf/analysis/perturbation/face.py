"""What covers or colours a part of the face, drawn by the landmarks.

These are flat shapes in one colour and no photos of real things. They show what an answer rests on; what real glasses,
masks or make-up do is for pairs of photos to show. Coordinates are pixels of the 112 x 112 template, in which the eyes
lie at (38, 52) and (74, 52), and the corners of the mouth at (42, 92) and (71, 92).
"""

import numpy as np

from fahr_hf.analysis.perturbation.face_frame import CENTRE, FaceFrame, ellipse, paint, region

_LENS = (14.0, 11.0)
_GLASS, _CLOTH, _HAIR, _BAR = (20, 20, 24), (196, 212, 222), (58, 44, 36), (128, 128, 128)
_LIPSTICK, _EYE_SHADOW = (170, 30, 60), (80, 45, 95)
_CHIN, _NASAL_ROOT = 125.0, 56.0
_HAIRLINE, _BROWS = 0.0, 44.0


def glasses(photo: np.ndarray, percent: float, landmarks: np.ndarray) -> np.ndarray:
    """Glasses whose lenses, bridge and arms let that much less through; dark from some 80 % on."""
    face = FaceFrame(landmarks)
    across, down = _LENS[0] * face.right, _LENS[1] * face.down
    lenses = [ellipse(eye + face.down, across, down) for eye in landmarks[:2]]
    bars = [face.points(_box(left, right, 48, 51)) for left, right in ((2, 26), (50, 62), (86, 110))]
    return paint(photo, percent / 100 * region(photo.shape, lenses + bars), _GLASS)


def mask(photo: np.ndarray, percent: float, landmarks: np.ndarray) -> np.ndarray:
    """A pale cloth from below the chin up; at 100 % its upper edge lies on the root of the nose."""
    top = _CHIN - percent / 100 * (_CHIN - _NASAL_ROOT)
    cloth = [(CENTRE, top), (98, top + 9), (92, 112), (74, 128), (38, 128), (20, 112), (14, top + 9)]
    lowest = [(x, max(y, top)) for x, y in cloth]
    return _covered(photo, landmarks, lowest, _CLOTH)


def forehead(photo: np.ndarray, percent: float, landmarks: np.ndarray) -> np.ndarray:
    """A dark fringe or hat from above; at 100 % it reaches the brows."""
    bottom = _HAIRLINE + percent / 100 * (_BROWS - _HAIRLINE)
    return _covered(photo, landmarks, _box(4, 108, -45, bottom), _HAIR)


def mouth(photo: np.ndarray, percent: float, landmarks: np.ndarray) -> np.ndarray:
    """A grey bar over the mouth, growing from its middle; at 100 % from under the nose to the chin."""
    width, height = percent / 100 * 25, percent / 100 * 15
    return _covered(photo, landmarks, _box(CENTRE - width, CENTRE + width, 92 - height, 92 + height), _BAR)


def lipstick(photo: np.ndarray, percent: float, landmarks: np.ndarray) -> np.ndarray:
    """Red on the lips, from corner to corner, of that opacity. No make-up: an ellipse of colour in its place."""
    face, (left, right) = FaceFrame(landmarks), landmarks[3:]
    lips = ellipse((left + right) / 2, 1.05 * (right - left) / 2, 6 * face.down)
    return paint(photo, percent / 100 * region(photo.shape, [lips], face.scale), _LIPSTICK)


def eye_shadow(photo: np.ndarray, percent: float, landmarks: np.ndarray) -> np.ndarray:
    """Violet on the upper lids, of that opacity, the eyes left out. No make-up: ellipses of colour in its place."""
    face = FaceFrame(landmarks)
    lids = [ellipse(eye - 3 * face.down, 11 * face.right, 6 * face.down) for eye in landmarks[:2]]
    eyes = [ellipse(eye, 8 * face.right, 3 * face.down) for eye in landmarks[:2]]
    painted = region(photo.shape, lids, face.scale) * (1 - region(photo.shape, eyes, face.scale / 2))
    return paint(photo, percent / 100 * painted, _EYE_SHADOW)


def _covered(
    photo: np.ndarray, landmarks: np.ndarray, shape: list[tuple[float, float]], colour: tuple[int, int, int]
) -> np.ndarray:
    return paint(photo, region(photo.shape, [FaceFrame(landmarks).points(shape)]), colour)


def _box(left: float, right: float, top: float, bottom: float) -> list[tuple[float, float]]:
    return [(left, top), (right, top), (right, bottom), (left, bottom)]
