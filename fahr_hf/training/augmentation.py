"""Augmentation of aligned crops: functions of the crop and of the sample's own generator."""

from dataclasses import dataclass

import cv2
import numpy as np

from fahr_hf.data.crops import BORDER, blacken

_FLIP = 0.5
_FRAME = 0.75
# As in He et al. (2022), but from half of the crop's area up instead of a fifth: an aligned face fills its crop.
_AREA = (0.5, 1.0)
_ASPECT = (3 / 4, 4 / 3)
# Of an erased rectangle: its share of the view's area, and its aspect ratio (Zhong et al. 2020, but smaller).
_ERASED_AREA = (0.02, 0.12)
_ERASED_ASPECT = (1 / 2, 2.0)


@dataclass(frozen=True)
class Augmentation:
    """How far views differ from their crops, and in which share of views; all are ours.

    The defaults are mild on purpose. A small network that starts from nothing and sees its photos a dozen times needed
    about twice as many of them to the same training loss when movement and light were twice as strong. `STRONG` is for
    a network that has seen many faces before, and for longer runs.

    Args:
        scale: Largest change of size, as a share.
        rotation: Largest turn, degrees.
        shift: Largest shift in each direction, pixels.
        light: Largest change of brightness, contrast and saturation each, as a share.
        side_light: Share of views lit from one side, by up to twice `light`.
        grey: Share of views without colour, as old photographs are.
        blur: Share of views that are shown at a lower resolution.
        noise: Share of views with the noise of a sensor, of a standard deviation of 1 to 15 grey levels.
        jpeg: Share of views that were compressed, with a quality between 30 and 95.
        erasing: Share of views with a rectangle of noise over 2 to 12 % of their area.
    """

    scale: float = 0.08
    rotation: float = 4.0
    shift: float = 3.0
    light: float = 0.1
    side_light: float = 0.0
    grey: float = 0.05
    blur: float = 0.05
    noise: float = 0.0
    jpeg: float = 0.0
    erasing: float = 0.0


MILD = Augmentation()
STRONG = Augmentation(
    scale=0.1,
    rotation=8.0,
    shift=4.0,
    light=0.25,
    side_light=0.2,
    grey=0.15,
    blur=0.15,
    noise=0.15,
    jpeg=0.3,
    erasing=0.2,
)


def augment(
    image: np.ndarray,
    corners: np.ndarray,
    frames: np.ndarray,
    generator: np.random.Generator,
    augmentation: Augmentation = MILD,
) -> np.ndarray:
    """One random view of a stored crop, flipped half of the time.

    In three quarters of views black surrounds the photo: beyond its own corners, or, if it fills the crop, beyond those
    of another photo, so that the frame says nothing about where a photo comes from.

    Args:
        image: (side, side, 3) uint8, with `BORDER` pixels to spare on each side.
        corners: (4, 2), the photo's corners in pixels of `image`.
        frames: (m, 4, 2), corners of photos that do not fill their crops; m may be 0.
        generator: The sample's own.
        augmentation: How strong.

    Returns:
        (side - 2 BORDER, the same, 3) uint8.
    """
    # Light changes before the frame comes, which is always black.
    image = _relight(image, augmentation, generator)
    if generator.random() < augmentation.side_light:
        image = _light_from_a_side(image, 2 * augmentation.light, generator)
    view = _move(_framed(image, corners, frames, generator), augmentation, generator)
    if generator.random() < augmentation.blur:
        view = _coarsen(view, generator.uniform(0.3, 0.8))
    if generator.random() < augmentation.noise:
        view = _add_noise(view, generator.uniform(1, 15), generator)
    if generator.random() < augmentation.jpeg:
        view = _compress(view, int(generator.integers(30, 96)))
    if generator.random() < augmentation.erasing:
        view = _erase(view, generator)
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


def _move(image: np.ndarray, augmentation: Augmentation, generator: np.random.Generator) -> np.ndarray:
    side = len(image) - 2 * BORDER
    angle = np.radians(generator.uniform(-augmentation.rotation, augmentation.rotation))
    scale = np.exp(generator.uniform(-augmentation.scale, augmentation.scale))
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    if generator.random() < _FLIP:
        turn[:, 0] *= -1
    shift = generator.uniform(-augmentation.shift, augmentation.shift, 2)
    centre, target = (len(image) - 1) / 2, (side - 1) / 2 + shift
    matrix = np.column_stack([turn, target - turn @ (centre, centre)])
    return cv2.warpAffine(image, matrix, (side, side), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)


def _coarsen(image: np.ndarray, share: float) -> np.ndarray:
    side = len(image)
    small = cv2.resize(image, (round(side * share), round(side * share)), interpolation=cv2.INTER_AREA)
    return cv2.resize(small, (side, side), interpolation=cv2.INTER_LINEAR)


def _add_noise(image: np.ndarray, strength: float, generator: np.random.Generator) -> np.ndarray:
    noise = generator.normal(0, strength, image.shape)
    return np.clip(np.round(image + noise), 0, 255).astype(np.uint8)


def _compress(image: np.ndarray, quality: int) -> np.ndarray:
    # OpenCV takes the channels for BGR. Turned round before and after, the eye's red stays red to the encoder.
    encoded = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return np.asarray(cv2.imdecode(encoded, cv2.IMREAD_COLOR))[..., ::-1]


def _erase(image: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    area, aspect = generator.uniform(*_ERASED_AREA), np.exp(generator.uniform(*np.log(_ERASED_ASPECT)))
    height, width = np.round(len(image) * np.sqrt(area * np.array([aspect, 1 / aspect]))).astype(int)
    top, left = generator.integers(len(image) - height), generator.integers(len(image) - width)
    erased = image.copy()
    erased[top : top + height, left : left + width] = generator.integers(256, size=(height, width, 3))
    return erased


def _relight(image: np.ndarray, augmentation: Augmentation, generator: np.random.Generator) -> np.ndarray:
    brightness, contrast, saturation = np.exp(generator.uniform(-augmentation.light, augmentation.light, 3))
    if generator.random() < augmentation.grey:
        saturation = 0.0
    # One 3 x 3 matrix mixes the channels and one offset keeps middle grey, so that a single pass does all three.
    luma = np.array([0.299, 0.587, 0.114])
    mix = saturation * np.eye(3) + (1 - saturation) * luma
    offset = np.full((3, 1), 127.5 * (1 - contrast))
    return cv2.transform(image, np.hstack([brightness * contrast * mix, offset]))


def _light_from_a_side(image: np.ndarray, strength: float, generator: np.random.Generator) -> np.ndarray:
    direction, slope = generator.uniform(0, 2 * np.pi), generator.uniform(0, strength)
    across = np.linspace(-1, 1, len(image), dtype=np.float32)
    light = np.exp(slope * (np.cos(direction) * across + np.sin(direction) * across[:, None]))
    return np.clip(image * light[..., None], 0, 255).astype(np.uint8)
