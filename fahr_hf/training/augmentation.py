"""Augmentation of aligned crops: functions of the crop and of the sample's own generator."""

import cv2
import numpy as np

from fahr_hf.data.crops import BORDER, blacken

# Mild on purpose: with about twice the movement and light, and blur three times as often, a small network of
# convolutions needed about twice as many photos to the same training loss (at half the learning rate, so only a hint).
_FLIP = 0.5
_SCALE = 0.08
_ROTATION = 4.0
_SHIFT = 3.0
_LIGHT = 0.1
_GREY = 0.05
_BLUR = 0.05
_FRAME = 0.75
# As in He et al. (2022), but from half of the crop's area up instead of a fifth: an aligned face fills its crop.
_AREA = (0.5, 1.0)
_ASPECT = (3 / 4, 4 / 3)


def augment(image: np.ndarray, corners: np.ndarray, frames: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """One random view of a stored crop.

    Flipped half of the time; scaled by up to 8 %, turned by up to 4 degrees, shifted by up to 3 pixels; brightness,
    contrast and saturation each by up to a tenth; now and then grey, or shown at a lower resolution. In three
    quarters of views black surrounds the photo: beyond its own corners, or, if it fills the crop, beyond those of
    another photo, so that the frame says nothing about where a photo comes from.

    Args:
        image: (side, side, 3) uint8, with `BORDER` pixels to spare on each side.
        corners: (4, 2), the photo's corners in pixels of `image`.
        frames: (m, 4, 2), corners of photos that do not fill their crops; m may be 0.
        generator: The sample's own.

    Returns:
        (side - 2 BORDER, the same, 3) uint8.
    """
    # Light changes before the frame comes, which is always black.
    image = _framed(_relight(image, generator), corners, frames, generator)
    view = _move(image, generator)
    if generator.random() < _BLUR:
        view = _coarsen(view, generator.uniform(0.3, 0.8))
    return view


def random_resized_crop(
    image: np.ndarray, corners: np.ndarray | None, frames: np.ndarray, side: int, generator: np.random.Generator
) -> np.ndarray:
    """One random view for masked pre-training: a part of the stored crop, resized, and flipped half of the time.

    The part has between half and all of the crop's area, and an aspect ratio between 3:4 and 4:3 (the only
    augmentation of He et al. 2022; the limits are ours). Black frames come as in `augment`.

    Args:
        image: (height, width, 3) uint8, with or without spare pixels around the model's own crop.
        corners: See `augment`; None where they are not known, as of crops that others have aligned.
        frames: See `augment`.
        side: Of the view, in pixels.
        generator: The sample's own.

    Returns:
        (side, side, 3) uint8.
    """
    image = _framed(image, corners, frames, generator)
    area, aspect = generator.uniform(*_AREA), np.exp(generator.uniform(*np.log(_ASPECT)))
    share = np.minimum(np.sqrt(area * np.array([aspect, 1 / aspect])), 1)
    size = share * image.shape[1::-1]
    start = generator.uniform(0, image.shape[1::-1] - size)
    scale = side / size
    # Pixel centres of the part's corners go to those of the view's.
    matrix = np.column_stack([np.diag(scale), scale * (0.5 - start) - 0.5])
    if generator.random() < _FLIP:
        matrix[0] = (0, 0, side - 1) - matrix[0]
    return cv2.warpAffine(image, matrix, (side, side), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)


def fills(corners: np.ndarray, side: int) -> np.ndarray:
    """Whether photos fill their stored crops, all but the spare border: (n,) bool.

    Args:
        corners: (n, 4, 2), clockwise from the upper left, in pixels of the stored crop.
        side: Of the stored crop.
    """
    edges = np.roll(corners, -1, axis=1) - corners
    low, high = BORDER, side - 1 - BORDER
    inside = np.ones(len(corners), bool)
    for point in ((low, low), (high, low), (high, high), (low, high)):
        offset = np.array(point) - corners
        inside &= (edges[..., 0] * offset[..., 1] - edges[..., 1] * offset[..., 0] >= 0).all(axis=1)
    return inside


def _framed(
    image: np.ndarray, corners: np.ndarray | None, frames: np.ndarray, generator: np.random.Generator
) -> np.ndarray:
    if generator.random() >= _FRAME:
        return image
    if len(frames) and (corners is None or fills(corners[None], len(image))[0]):
        corners = frames[generator.integers(len(frames))]
    return image if corners is None else blacken(image, corners)


def _move(image: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    side = len(image) - 2 * BORDER
    angle = np.radians(generator.uniform(-_ROTATION, _ROTATION))
    scale = np.exp(generator.uniform(-_SCALE, _SCALE))
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    if generator.random() < _FLIP:
        turn[:, 0] *= -1
    centre, target = (len(image) - 1) / 2, (side - 1) / 2 + generator.uniform(-_SHIFT, _SHIFT, 2)
    matrix = np.column_stack([turn, target - turn @ (centre, centre)])
    return cv2.warpAffine(image, matrix, (side, side), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)


def _coarsen(image: np.ndarray, share: float) -> np.ndarray:
    side = len(image)
    small = cv2.resize(image, (round(side * share), round(side * share)), interpolation=cv2.INTER_AREA)
    return cv2.resize(small, (side, side), interpolation=cv2.INTER_LINEAR)


def _relight(image: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    brightness, contrast, saturation = np.exp(generator.uniform(-_LIGHT, _LIGHT, 3))
    if generator.random() < _GREY:
        saturation = 0.0
    # One 3 x 3 matrix mixes the channels and one offset keeps middle grey, so that a single pass does all three.
    luma = np.array([0.299, 0.587, 0.114])
    mix = saturation * np.eye(3) + (1 - saturation) * luma
    offset = np.full((3, 1), 127.5 * (1 - contrast))
    return cv2.transform(image, np.hstack([brightness * contrast * mix, offset]))
