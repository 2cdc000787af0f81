"""Photos to aligned face crops: the image processor of the FAHR-Face models.

A photo flows through five steps, each a short section of this file:

1. read: any file, bytes, URL, PIL image or array becomes upright RGB uint8;
2. detect: YuNet proposes boxes on the photo shrunk to at most `max_detection_side` pixels;
3. refine: MTCNN's O-Net places five landmarks in each box, then again in the crop made upright by the first;
4. align: a similarity transform takes the landmarks to the template, without aliasing;
5. normalise: uint8 crops become the float32 tensor that the models take.

The file stands alone, so that it also works as remote code inside a checkpoint: it imports nothing else of
the package, and OpenCV only if it is there. `DETECTORS.md` tells where the two detector files come from.
"""

import contextlib
import http.client
import io
import math
import numbers
import os
import shutil
import struct
import urllib.request
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from transformers.image_processing_utils import BaseImageProcessor, BatchFeature
from transformers.utils import cached_file

# The check that runs before remote code is loaded skips imports inside a `try`, and only those.
try:
    import cv2
except ImportError:
    cv2 = None  # type: ignore[assignment]

ARCFACE_TEMPLATE = (
    (38.2946, 51.6963),
    (73.5318, 51.5014),
    (56.0252, 71.7366),
    (41.5493, 92.3655),
    (70.7299, 92.2041),
)
"""The usual five ArcFace points, in pixels of a 112 x 112 crop, in the order of a face's `landmarks`."""

TEMPLATE_SIDE = 112

YUNET_FILE = "face_detection_yunet_2023mar.onnx"
ONET_FILE = "mtcnn_onet.onnx"
DETECTOR_FILES = (YUNET_FILE, ONET_FILE)
"""What `save_pretrained` puts beside preprocessor_config.json, and `from_pretrained` looks for there."""

# Where the five points lie, as fractions, in the upright square that the second O-Net pass sees. This
# framing, like the one of the first pass below, is the one in which the answers vary least when the photo is
# moved or mirrored.
_ONET_SHAPE = np.array([[0.287, 0.337], [0.713, 0.337], [0.5, 0.572], [0.326, 0.78], [0.674, 0.78]])
_ONET_SIDE = 48
# O-Net wants the face alone: a square a little smaller than YuNet's box.
_ONET_BOX_SCALE = 0.9
# The five points in the order in which a mirrored face shows them.
_MIRRORED = [1, 0, 2, 4, 3]
# Below this YuNet has nothing to see, and thin strips give false faces.
_SMALLEST_SIDE = 16
_YUNET_NMS = 0.3
_YUNET_TOP_K = 5000
_OVERSAMPLING = 2
# Pixels of a photo decoded small for one pixel of the crop. From here on a crop of 120 photos of faces kept 93 % of its
# sharpness and differed by .3 of 255 grey levels; with just one pixel it kept 77 %.
_DRAFT_PIXELS = 1.5
# OpenCV's log level that leaves out warnings.
_OPENCV_ERRORS = 2
# Orientation tag of EXIF, and the transposition that undoes each of its values.
_EXIF_ORIENTATION = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SIXTEEN_BIT_MODES = ("I;16", "I;16L", "I;16B", "I;16N")
_URL_TIMEOUT = 30.0
# What Pillow's decoders have been seen to raise on damaged files.
_DAMAGED = (
    ArithmeticError,
    EOFError,
    LookupError,
    OSError,
    RuntimeError,
    SyntaxError,
    ValueError,
    struct.error,
    zlib.error,
)
# Keyword arguments of `from_pretrained` that say where a file lies, and so hold for the detector files too.
_HUB_OPTIONS = (
    "cache_dir",
    "force_download",
    "local_files_only",
    "proxies",
    "revision",
    "subfolder",
    "token",
)
# Keys that transformers itself writes into preprocessor_config.json.
_LIBRARY_KEYS = ("auto_map", "feature_extractor_type", "image_processor_type", "processor_class")

ImageSource = str | os.PathLike | bytes | Image.Image | np.ndarray | torch.Tensor


class PhotoError(ValueError):
    """A photo that cannot be used; the message says which one, why, and what to do."""


class FahrFaceImageProcessorOptions(TypedDict, total=False):
    """The options of `FahrFaceImageProcessor`, for its constructor, `from_pretrained` and single calls."""

    do_detect: bool
    size: dict[str, int]
    margin: float
    template: list[list[float]]
    min_detection_score: float
    max_detection_side: int
    max_pixels: int
    do_rescale: bool
    rescale_factor: float
    do_normalize: bool
    image_mean: list[float]
    image_std: list[float]


# ------------------------------------------------------------------------------------------------------- read


@dataclass
class _Photo:
    """An upright RGB photo, perhaps decoded smaller than it is stored.

    `pixels` is (height, width, 3) uint8; `width` and `height` are those of the original, upright photo.
    """

    pixels: np.ndarray
    width: int
    height: int

    @property
    def scale(self) -> np.ndarray:
        """Original pixels per decoded pixel, (x, y)."""
        height, width = self.pixels.shape[:2]
        return np.array([self.width / width, self.height / height])

    @property
    def is_reduced(self) -> bool:
        return self.pixels.shape[:2] != (self.height, self.width)

    def to_original(self, points: np.ndarray) -> np.ndarray:
        return _rescale_points(points, self.scale)

    def from_original(self, points: np.ndarray) -> np.ndarray:
        return _rescale_points(points, 1 / self.scale)


def _rescale_points(points: np.ndarray, scale: np.ndarray | float) -> np.ndarray:
    """Follow points (..., 2) through a resize. Integers are pixel centres, so the photo's corner is -0.5."""
    return (np.asarray(points, np.float64) + 0.5) * scale - 0.5


def _fetch(source: ImageSource) -> ImageSource:
    """Turn URLs and open files into bytes, which can be decoded more than once."""
    if isinstance(source, str) and source.startswith(("http://", "https://")):
        request = urllib.request.Request(source, headers={"User-Agent": "fahr-hf"})
        try:
            with urllib.request.urlopen(request, timeout=_URL_TIMEOUT) as response:
                return response.read()
        except (OSError, http.client.HTTPException) as error:
            raise OSError(
                f"Could not download the photo {source}: {error}. Check the address, or save the file."
            ) from error
    if hasattr(source, "read") and not isinstance(source, Image.Image):
        content = source.read()
        if not isinstance(content, bytes):
            raise TypeError(f"The open file {source!r} gives {type(content).__name__}. Open it in mode 'rb'.")
        return content
    return source


def _read(source: ImageSource, max_pixels: int, draft_side: int | None = None) -> _Photo:
    """Decode one photo to upright RGB uint8.

    Args:
        source: what `_fetch` returned.
        max_pixels: refuse photos with more pixels than this.
        draft_side: let JPEG files decode to 1/2, 1/4 or 1/8 as long as the longer side keeps this many pixels.
    """
    if isinstance(source, Image.Image):
        name = f"a PIL image of mode {source.mode}"
        with _photo_errors(name):
            return _from_pil(source, name, max_pixels)
    if isinstance(source, np.ndarray | torch.Tensor):
        return _from_array(source)
    if isinstance(source, bytes | bytearray | memoryview):
        return _from_file(io.BytesIO(source), f"{len(source)} bytes", max_pixels, draft_side)
    if isinstance(source, str | os.PathLike):
        if not Path(source).is_file():
            raise FileNotFoundError(
                f"No photo at {os.fspath(source)!r}. Give a path to an image file, or a URL that starts with http."
            )
        return _from_file(source, repr(os.fspath(source)), max_pixels, draft_side)
    raise TypeError(
        f"Cannot read a photo from {type(source).__name__}. Give a path, URL, bytes, open binary file, PIL "
        "image, numpy array (height, width, 3) uint8, torch tensor (3, height, width) uint8, or a list of "
        "these."
    )


def _from_file(file: Any, name: str, max_pixels: int, draft_side: int | None) -> _Photo:
    with _photo_errors(name), Image.open(file) as image:
        return _from_pil(image, name, max_pixels, draft_side)


@contextlib.contextmanager
def _photo_errors(name: str) -> Iterator[None]:
    """Say which photo it is that Pillow cannot read, and in one type of error."""
    try:
        yield
    except (PhotoError, PermissionError):
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise PhotoError(
            f"The photo in {name} is larger than Pillow's own limit: {error} Shrink it first; or, if you trust the "
            "file, raise PIL.Image.MAX_IMAGE_PIXELS and max_pixels."
        ) from error
    except UnidentifiedImageError as error:
        raise PhotoError(f"{name} is not an image file that Pillow can read. Give a JPEG, PNG or similar.") from error
    except _DAMAGED as error:
        raise PhotoError(f"The image in {name} is damaged: {error}. Save or download it again.") from error


def _from_pil(image: Image.Image, name: str, max_pixels: int, draft_side: int | None = None) -> _Photo:
    width, height = image.size
    if width * height > max_pixels:
        raise PhotoError(
            f"The photo in {name} has {width} x {height} = {width * height:,} pixels, more than max_pixels = "
            f"{max_pixels:,}. Shrink it first, or raise max_pixels if you trust the file."
        )
    if width * height == 0:
        raise PhotoError(f"The photo in {name} is empty ({width} x {height} pixels); at least 1 x 1 is needed.")
    if draft_side is not None and max(width, height) > draft_side:
        shrink = draft_side / max(width, height)
        image.draft(None, (math.ceil(width * shrink), math.ceil(height * shrink)))
    orientation = _orientation(image)
    rgb = _to_rgb(image, name)
    if orientation in _UPRIGHT:
        rgb = rgb.transpose(_UPRIGHT[orientation])
    if orientation >= 5:
        width, height = height, width
    return _Photo(np.asarray(rgb), width, height)


def _orientation(image: Image.Image) -> int:
    """EXIF orientation, 1 (upright) to 8; 1 if the EXIF block is damaged, for the photo itself is not."""
    try:
        value = image.getexif().get(_EXIF_ORIENTATION, 1)
    except (OSError, SyntaxError, ValueError, TypeError, KeyError, struct.error):
        return 1
    return value if value in _UPRIGHT else 1


def _to_rgb(image: Image.Image, name: str) -> Image.Image:
    if image.mode in _SIXTEEN_BIT_MODES:
        # Pillow's own conversion clips at 255 instead of scaling.
        levels = np.asarray(image).astype(np.float32) / 257
        return Image.fromarray(levels.round().astype(np.uint8)).convert("RGB")
    if image.mode in ("I", "F"):
        raise PhotoError(
            f"{name} holds 32-bit pixels (mode {image.mode}), whose range is not known. "
            "Scale them to 0..255 and convert to uint8 first."
        )
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, "white")
        return Image.alpha_composite(white, rgba).convert("RGB")
    # Converting to the mode that it has would copy it.
    return image if image.mode == "RGB" else image.convert("RGB")


def _from_array(array: np.ndarray | torch.Tensor) -> _Photo:
    if isinstance(array, torch.Tensor):
        kind, expected, channel_axis = "torch tensor", "(3, height, width)", 0
    else:
        kind, expected, channel_axis = "numpy array", "(height, width, 3)", -1
    shape, dtype = tuple(array.shape), str(array.dtype).removeprefix("torch.")
    if dtype != "uint8":
        raise PhotoError(f"A {kind} of dtype {dtype} has no certain range. Scale it to 0..255 and convert it to uint8.")
    if len(shape) not in (2, 3) or (len(shape) == 3 and shape[channel_axis] not in (1, 3, 4)):
        raise PhotoError(f"A {kind} of shape {shape} is not a photo; expected {expected}, with 1, 3 or 4 channels.")
    if 0 in shape:
        raise PhotoError(f"A {kind} of shape {shape} is empty; at least 1 x 1 pixel is needed.")
    values = array.detach().cpu().numpy() if isinstance(array, torch.Tensor) else array
    if len(shape) == 3:
        values = np.moveaxis(values, channel_axis, -1)
        values = values[..., 0] if values.shape[-1] == 1 else values
    rgb = _to_rgb(Image.fromarray(np.ascontiguousarray(values)), kind)
    return _Photo(np.asarray(rgb), rgb.width, rgb.height)


# ------------------------------------------------------------------------------------------ detect and refine


class _Detectors:
    """YuNet and O-Net, opened. One thread at a time may use OpenCV's networks, and they do not survive a fork."""

    def __init__(self, yunet_file: str, onet_file: str):
        # Bytes, not paths: OpenCV cannot open paths with non-ASCII letters everywhere.
        yunet, onet = (np.fromfile(file, np.uint8) for file in (yunet_file, onet_file))
        with _quiet_opencv():
            self.yunet = cv2.FaceDetectorYN.create("onnx", yunet, np.empty(0, np.uint8), (320, 320))
            self.onet = cv2.dnn.readNetFromONNX(onet)
        self.yunet.setNMSThreshold(_YUNET_NMS)
        self.yunet.setTopK(_YUNET_TOP_K)

    def boxes(self, rgb: np.ndarray, max_side: int, min_score: float) -> tuple[np.ndarray, np.ndarray]:
        """Find faces, with a second and third look where the first sees none.

        Returns:
            Boxes (n, 4) as xmin, ymin, width, height in pixels of `rgb`, and scores (n,).
        """
        fit = max_side / max(rgb.shape[:2])
        first = min(1.0, fit)
        # Shrinking melts the screen of a printed photo; enlarging helps with small faces.
        rows = np.zeros((0, 15))
        for scale in dict.fromkeys((first, 0.35 * first, min(2.0, fit))):
            rows = self._look(rgb, scale, min_score)
            if len(rows):
                break
        return rows[:, :4], rows[:, 14]

    def _look(self, rgb: np.ndarray, scale: float, min_score: float) -> np.ndarray:
        """YuNet's rows (n, 15) at one scale: box, five points (left as they are), score."""
        height, width = rgb.shape[:2]
        small_width, small_height = round(width * scale), round(height * scale)
        if min(small_width, small_height) < _SMALLEST_SIDE:
            return np.zeros((0, 15))
        if scale != 1:
            filter_ = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
            rgb = cv2.resize(rgb, (small_width, small_height), interpolation=filter_)
        self.yunet.setInputSize((small_width, small_height))
        self.yunet.setScoreThreshold(min_score)
        rows = self.yunet.detect(cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))[1]
        if rows is None:
            return np.zeros((0, 15))
        rows = rows.astype(np.float64)
        to_full = np.array([width / small_width, height / small_height])
        rows[:, :2] = _rescale_points(rows[:, :2], to_full)
        rows[:, 2:4] *= to_full
        # On photos without any contrast OpenCV 4 answers with boxes that lie at infinity.
        centres = rows[:, :2] + rows[:, 2:4] / 2
        return rows[((centres > 0) & (centres < (width, height))).all(axis=1) & (rows[:, 2:4] > 0).all(axis=1)]

    def landmarks(self, rgb: np.ndarray, boxes: np.ndarray) -> np.ndarray:
        """Place five points in each box: O-Net twice, the second time on the crop made upright by the first.

        Returns:
            (n, 5, 2) in pixels of `rgb`.
        """
        sides = boxes[:, 2:].max(axis=1) * _ONET_BOX_SCALE
        corners = boxes[:, :2] + boxes[:, 2:] / 2 - sides[:, None] / 2
        squares = [_square_to_crop(corner, side, _ONET_SIDE) for corner, side in zip(corners, sides, strict=True)]
        first = self._onet_points(rgb, squares)
        target = _ONET_SHAPE * _ONET_SIDE - 0.5
        return self._onet_points(rgb, [similarity(points, target) for points in first])

    def _onet_points(self, rgb: np.ndarray, matrices: Sequence[np.ndarray]) -> np.ndarray:
        crops = np.stack([warp(rgb, matrix, _ONET_SIDE) for matrix in matrices])
        # Every crop is also seen mirrored, and the two answers averaged: less noise, and no preferred side.
        both = np.concatenate([crops, crops[:, :, ::-1]])
        # O-Net was trained on transposed images (columns first) with values in -1..1.
        self.onet.setInput(np.ascontiguousarray(((both.astype(np.float32) - 127.5) / 128).transpose(0, 2, 1, 3)))
        # Box correction, landmarks, face probability: OpenCV 5 insists on handing out all of them.
        _, fractions, _ = self.onet.forward(["dense_5", "dense_6", "softmax_2"])
        points = np.stack([fractions[:, :5], fractions[:, 5:]], axis=-1).astype(np.float64) * _ONET_SIDE - 0.5
        plain, mirrored = np.split(points, 2)
        mirrored[..., 0] = _ONET_SIDE - 1 - mirrored[..., 0]
        points = (plain + mirrored[:, _MIRRORED]) / 2
        return np.stack([_apply(_invert(matrix), face) for matrix, face in zip(matrices, points, strict=True)])


# Opened detectors that no thread uses at the moment, by process and files. Opening takes longer than one photo.
_idle: dict[tuple[int, tuple[str, str]], list[_Detectors]] = {}


@contextlib.contextmanager
def _borrowed_detectors(files: tuple[str, str]) -> Iterator[_Detectors]:
    """Detectors for the caller alone, as long as the context lasts; as many are opened as are used at once."""
    idle = _idle.setdefault((os.getpid(), files), [])
    try:
        detectors = idle.pop()
    except IndexError:
        detectors = _Detectors(*files)
    yield detectors
    # Not in a `finally`: after an error nobody knows what state a network is in.
    idle.append(detectors)


@contextlib.contextmanager
def _quiet_opencv() -> Iterator[None]:
    """OpenCV 5 prints a warning about targets whenever it opens YuNet, which no user can act upon."""
    logging = getattr(cv2.utils, "logging", cv2)  # OpenCV 5 keeps there what 4 has at the top
    level = logging.getLogLevel()
    logging.setLogLevel(_OPENCV_ERRORS)
    try:
        yield
    finally:
        logging.setLogLevel(level)


def _require_cv2() -> None:
    if cv2 is None:
        raise ImportError(
            "Finding and aligning faces needs OpenCV: `pip install opencv-python-headless`. "
            "Crops that are already aligned can be processed without it by passing do_detect=False."
        )


# ------------------------------------------------------------------------------------------------------ align


def similarity(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Least-squares rotation, scale and shift (no reflection) that takes `source` points to `target` points.

    With points as complex numbers the transform is w = a z + b, and a is the regression slope of w on z.

    Args:
        source: (n, 2), not all the same point.
        target: (n, 2).

    Returns:
        (2, 3) float64 matrix.
    """
    z, w = (np.asarray(points, np.float64) @ np.array([1, 1j]) for points in (source, target))
    centred = z - z.mean()
    a = (centred.conj() @ (w - w.mean())) / max((abs(centred) ** 2).sum(), 1e-12)
    b = w.mean() - a * z.mean()
    return np.array([[a.real, -a.imag, b.real], [a.imag, a.real, b.imag]])


def warp(rgb: np.ndarray, matrix: np.ndarray, side: int) -> np.ndarray:
    """Cut a square crop by a similarity transform, antialiased; black where it leaves the photo.

    `cv2.warpAffine` takes single pixels of the photo even where it shrinks. So a photo with more detail than
    the crop is first averaged down, to twice the crop's resolution; the crop is cut at that, and averaged
    down to its own. Cutting at the final resolution would blur more, and change more when the photo is
    turned.

    Args:
        rgb: (height, width, 3) uint8.
        matrix: (2, 3), from photo pixels to crop pixels.
        side: of the crop, in pixels.

    Returns:
        (side, side, 3) uint8.
    """
    height, width = rgb.shape[:2]
    fine = side * _OVERSAMPLING
    to_fine = _stretch(_OVERSAMPLING, _OVERSAMPLING) @ np.vstack([matrix, [0, 0, 1]])
    scale = math.hypot(to_fine[0, 0], to_fine[1, 0])
    corners = np.array([[-0.5, -0.5], [fine, -0.5], [-0.5, fine], [fine, fine]])
    needed = _apply(_invert(to_fine[:2]), corners)
    reach = 2 * max(1.0, 1 / scale)
    x0, y0 = np.clip(np.floor(needed.min(axis=0) - reach), 0, (width, height)).astype(int)
    x1, y1 = np.clip(np.ceil(needed.max(axis=0) + reach), 0, (width, height)).astype(int)
    if x0 >= x1 or y0 >= y1:
        return np.zeros((side, side, 3), np.uint8)
    region = rgb[y0:y1, x0:x1]
    to_fine = to_fine @ np.array([[1, 0, x0], [0, 1, y0], [0, 0, 1]])
    if scale < 1:
        small = max(1, round((x1 - x0) * scale)), max(1, round((y1 - y0) * scale))
        region = cv2.resize(region, small, interpolation=cv2.INTER_AREA)
        to_fine = to_fine @ _stretch((x1 - x0) / small[0], (y1 - y0) / small[1])
    crop = cv2.warpAffine(region, to_fine[:2], (fine, fine), flags=cv2.INTER_LINEAR)
    return cv2.resize(crop, (side, side), interpolation=cv2.INTER_AREA)


def _stretch(x: float, y: float) -> np.ndarray:
    """The (3, 3) matrix of a resize, with integers as pixel centres."""
    return np.array([[x, 0, (x - 1) / 2], [0, y, (y - 1) / 2], [0, 0, 1]])


def _square_to_crop(corner: np.ndarray, side: float, crop_side: int) -> np.ndarray:
    scale = crop_side / side
    return np.array([[scale, 0, -0.5 - corner[0] * scale], [0, scale, -0.5 - corner[1] * scale]])


def _apply(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    return np.asarray(points) @ matrix[:, :2].T + matrix[:, 2]


def _invert(matrix: np.ndarray) -> np.ndarray:
    inverse = np.linalg.inv(matrix[:, :2])
    return np.hstack([inverse, -inverse @ matrix[:, 2:]])


# -------------------------------------------------------------------------------------------------- processor


class FahrFaceImageProcessor(BaseImageProcessor):
    """Find the faces of photos, align each to a square crop, and normalise the crops for a FAHR-Face model.

    Calling the processor is the usual Hugging Face door. `detect`, `align`, `crops` and `normalize_crops` are
    its steps on their own.

    A photo is a path, a URL (http or https), bytes, an open binary file, a PIL image, a numpy array (height,
    width, 3) uint8 or a torch tensor (3, height, width) uint8. Rotation by EXIF is undone; transparent parts
    become white; grey, palette, CMYK and 16-bit files are converted; of an animation the first frame counts.
    Arrays of other types than uint8 are refused, because their range of values is not certain.
    A JPEG file is decoded no larger than detection and the crops need, the crop of its smallest face included;
    coordinates are those of the original photo all the same.

    A face is a dict, with all coordinates in pixels of the original photo as a viewer sees it (after EXIF
    rotation), x to the right and y down, integers at pixel centres:

    - `box`: `{"xmin", "ymin", "xmax", "ymax"}`, clipped to the photo;
    - `landmarks`: five [x, y]: eye on the viewer's left (the person's right), the other eye, nose tip, mouth
      corner on the viewer's left, the other mouth corner;
    - `detection_score`: YuNet's, `min_detection_score` to 1;
    - `roll`: degrees by which the face is turned in the picture plane, -180 to 180; positive is clockwise as
      seen by the viewer. Measured values hold to about 40 degrees either way;
    - `sharpness`: variance of the Laplacian (grey levels 0..255) of the aligned crop between eyes and mouth;
      a photo that had to be enlarged, or is out of focus, has a low one;
    - `size`: square root of the area of the unclipped box. Faces come largest first.

    Args:
        do_detect: find and align faces. False takes each image as one crop that is already aligned, and needs no
            OpenCV.
        size: `{"height", "width"}` of the crops in pixels, both equal; a single integer will do.
        margin: widens the crop by this fraction of its side, at the same number of pixels; 0 to 10. 0 is the
            template itself.
        template: five [x, y] in pixels of a 112 x 112 crop, where the landmarks shall come to lie. ArcFace's by
            default.
        min_detection_score: YuNet's score from which on a face counts, above 0 and at most 1. At .5 nearly every
            portrait has its face, and now and then a pattern passes for one; .8 leaves out most of both.
        max_detection_side: YuNet sees the photo shrunk so that its longer side has at most this many pixels. Where
            it sees no face it looks again at .35 and then at 2 times the size, within the same limit.
        max_pixels: refuse files and PIL images with more pixels. The default is where Pillow itself stops.
        do_rescale: multiply by `rescale_factor`.
        rescale_factor: 1/255 takes uint8 to 0..1.
        do_normalize: subtract `image_mean` and divide by `image_std`.
        image_mean: one for each channel, RGB.
        image_std: one for each channel, RGB.

    Raises:
        ValueError: an option is out of its range.
        TypeError: an option is not known.
    """

    model_input_names = ["pixel_values"]
    valid_kwargs = FahrFaceImageProcessorOptions  # type: ignore[assignment]

    def __init__(
        self,
        *,
        do_detect: bool = True,
        size: dict[str, int] | int = TEMPLATE_SIDE,
        margin: float = 0.0,
        template: Sequence[Sequence[float]] = ARCFACE_TEMPLATE,
        min_detection_score: float = 0.5,
        max_detection_side: int = 640,
        max_pixels: int = 178_956_970,
        do_rescale: bool = True,
        rescale_factor: float = 1 / 255,
        do_normalize: bool = True,
        image_mean: Sequence[float] = (0.5, 0.5, 0.5),
        image_std: Sequence[float] = (0.5, 0.5, 0.5),
        **kwargs: Any,
    ):
        unknown = [key for key in kwargs if key not in _LIBRARY_KEYS and not key.startswith("_")]
        if unknown:
            known = ", ".join(FahrFaceImageProcessorOptions.__annotations__)
            raise TypeError(f"FahrFaceImageProcessor has no option {', '.join(map(repr, unknown))}. Options: {known}.")
        super().__init__()
        self.do_detect = do_detect
        self.size = _check_size(size)
        self.margin = _check_number("margin", margin, 0.0, 10.0)
        self.template = _check_template(template)
        self.min_detection_score = _check_number("min_detection_score", min_detection_score, 0.01, 1.0)
        self.max_detection_side = int(_check_number("max_detection_side", max_detection_side, 32, 8192))
        self.max_pixels = int(_check_number("max_pixels", max_pixels, 1, math.inf))
        self.do_rescale = do_rescale
        self.rescale_factor = _check_number("rescale_factor", rescale_factor, 0.0, math.inf)
        self.do_normalize = do_normalize
        self.image_mean = _check_channels("image_mean", image_mean)
        self.image_std = _check_channels("image_std", image_std)
        if min(self.image_std) <= 0:
            raise ValueError(f"image_std is {self.image_std}; expected three values above 0.")
        self._detector_files = _files_in(Path(__file__).parent)

    # Saving and loading -------------------------------------------------------------------------------------

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | os.PathLike, **kwargs: Any):  # type: ignore[override]
        """Load from a local folder or the Hub, with the detector files that lie there.

        Args:
            pretrained_model_name_or_path: folder, path of a preprocessor_config.json, or Hub repository.
            **kwargs: `revision`, `subfolder`, `token`, `cache_dir`, `local_files_only` and so on, as everywhere in
                transformers; and options of this class, which override the loaded ones.

        Returns:
            The processor; with `return_unused_kwargs=True`, it and the keywords that nobody took.

        Raises:
            OSError: there is no preprocessor_config.json, or a download failed.
        """
        loaded = super().from_pretrained(pretrained_model_name_or_path, **kwargs)
        processor = loaded[0] if isinstance(loaded, tuple) else loaded
        place = Path(pretrained_model_name_or_path)
        where = place.parent if place.is_file() else pretrained_model_name_or_path
        options = {key: kwargs[key] for key in _HUB_OPTIONS if key in kwargs}
        found = [
            cached_file(where, file, _raise_exceptions_for_missing_entries=False, **options) for file in DETECTOR_FILES
        ]
        if all(found):
            processor._detector_files = tuple(found)
        return loaded

    def save_pretrained(self, save_directory: str | os.PathLike, push_to_hub: bool = False, **kwargs: Any) -> list[str]:
        """Write preprocessor_config.json, this file as remote code, and the two detector files.

        Args:
            save_directory: folder, made if it does not exist.
            push_to_hub: also upload to the Hub, to `repo_id` or else the folder's own name.
            **kwargs: `repo_id` and the keywords of `push_to_hub`.

        Returns:
            The path of preprocessor_config.json, in a list.

        Raises:
            FileNotFoundError: the processor detects faces, but its own detector files are gone.
        """
        saved = super().save_pretrained(save_directory)
        if self.do_detect or self._detector_files is not None:
            for file in self._require_detector_files():
                target = Path(save_directory) / Path(file).name
                if not (target.exists() and target.samefile(file)):
                    shutil.copyfile(file, target)
        if push_to_hub:
            self.push_to_hub(kwargs.pop("repo_id", Path(save_directory).name), **kwargs)
        return saved

    def to_dict(self) -> dict[str, Any]:
        """The options, as preprocessor_config.json holds them. The place of the detector files is not one."""
        return {key: value for key, value in super().to_dict().items() if key != "_detector_files"}

    def _require_detector_files(self) -> tuple[str, str]:
        if self._detector_files is None or not all(Path(file).is_file() for file in self._detector_files):
            # A pickle that has travelled to another machine finds the files beside the code there.
            self._detector_files = _files_in(Path(__file__).parent)
        if self._detector_files is None:
            raise FileNotFoundError(
                f"Finding faces needs {' and '.join(DETECTOR_FILES)}, and they lie neither in the checkpoint "
                f"nor beside {Path(__file__).name}. Load the processor from a checkpoint that has them, "
                "install fahr-hf, or pass do_detect=False for crops that are already aligned."
            )
        return self._detector_files

    # Doors --------------------------------------------------------------------------------------------------

    def preprocess(
        self,
        images: Any,
        *,
        do_detect: bool | None = None,
        return_tensors: str | None = "pt",
        **options: Any,
    ) -> BatchFeature:
        """Photos to model inputs. This is what calling the processor does.

        Args:
            images: one photo, a list or tuple of photos, or a batch as a 4-dimensional array or tensor.
            do_detect: overrides the processor's own setting for this call.
            return_tensors: "pt" for torch, "np" or None for numpy.
            **options: any other option of the class, for this call only.

        Returns:
            `pixel_values`, (faces, 3, height, width) float32. When detecting there is also `faces`, a list with one
            dict for each row, as the class describes it, plus `image_index`, the position of its photo in `images`.
            A photo without a face has no rows. Without detection each image is one row.

        Raises:
            PhotoError: (a ValueError) a photo is damaged, too large, or of a kind whose values are uncertain.
            ValueError: an option is out of its range.
            OSError: a file does not exist or cannot be downloaded.
            TypeError: `images` is nothing that can be read, or an option is not known.
            ImportError: detection without OpenCV.
        """
        if options:
            return self._with(options).preprocess(images, do_detect=do_detect, return_tensors=return_tensors)
        photos = list(images) if isinstance(images, list | tuple) or getattr(images, "ndim", 0) == 4 else [images]
        if not (self.do_detect if do_detect is None else do_detect):
            ready = [self._ready_crop(photo) for photo in photos]
            pixel_values = self.normalize_crops(_stack(ready, self.size["height"]))
            return BatchFeature({"pixel_values": pixel_values}, tensor_type=return_tensors)
        crops: list[np.ndarray] = []
        faces: list[dict[str, Any]] = []
        for index, photo in enumerate(photos):
            photo_crops, photo_faces = self.crops(photo)
            crops.extend(photo_crops)
            faces.extend({"image_index": index, **face} for face in photo_faces)
        pixel_values = self.normalize_crops(_stack(crops, self.size["height"]))
        batch = BatchFeature({"pixel_values": pixel_values}, tensor_type=return_tensors)
        batch["faces"] = faces
        return batch

    def detect(self, image: ImageSource) -> list[dict[str, Any]]:
        """The faces of one photo, largest first, as the class describes them; an empty list without any."""
        return self.crops(image)[1]

    def crops(self, image: ImageSource) -> tuple[np.ndarray, list[dict[str, Any]]]:
        """The aligned crops of one photo, and its faces.

        Returns:
            (faces, height, width, 3) uint8 RGB, and one dict for each, as the class describes it; largest first.
        """
        _require_cv2()
        source = _fetch(image)
        # Twice the side that YuNet sees: crops from a draft of that side alone moved a portrait's age by a year.
        photo = _read(source, self.max_pixels, draft_side=2 * self.max_detection_side)
        boxes, scores, landmarks = self._find(photo)
        while photo.is_reduced and (growth := self._growth_wanted(landmarks)) > 1:
            # A face that the draft shows too small is found and cut again in more of the file's pixels.
            photo = _read(source, self.max_pixels, draft_side=math.ceil(growth * max(photo.pixels.shape)))
            boxes, scores, landmarks = self._find(photo)
        matrices = [similarity(points, self.target_landmarks()) for points in landmarks]
        crops = [warp(photo.pixels, matrix, self.size["height"]) for matrix in matrices]
        faces = [self._describe(photo, *parts) for parts in zip(boxes, scores, landmarks, matrices, crops, strict=True)]
        order = sorted(range(len(faces)), key=lambda i: -faces[i]["size"])
        return _stack([crops[i] for i in order], self.size["height"]), [faces[i] for i in order]

    def align(self, image: ImageSource, landmarks: Sequence[Sequence[float]]) -> np.ndarray:
        """Cut one aligned crop by landmarks that are already known.

        Args:
            image: one photo.
            landmarks: five [x, y] in pixels of the original photo, in the order of the class description.

        Returns:
            (height, width, 3) uint8 RGB.
        """
        _require_cv2()
        points = _check_points("landmarks", landmarks)
        photo = _read(_fetch(image), self.max_pixels)
        return warp(photo.pixels, similarity(photo.from_original(points), self.target_landmarks()), self.size["height"])

    def normalize_crops(self, crops: np.ndarray) -> np.ndarray:
        """Crops to model inputs.

        Args:
            crops: (n, height, width, 3) uint8 RGB, n may be 0.

        Returns:
            (n, 3, height, width) float32.
        """
        crops = np.asarray(crops)
        if crops.ndim != 4 or crops.shape[-1] != 3 or crops.dtype != np.uint8:
            raise ValueError(f"crops are {crops.dtype} of shape {crops.shape}; expected uint8 (n, height, width, 3).")
        values = crops.transpose(0, 3, 1, 2).astype(np.float32)
        if self.do_rescale:
            values *= np.float32(self.rescale_factor)
        if self.do_normalize:
            values -= np.array(self.image_mean, np.float32)[:, None, None]
            values /= np.array(self.image_std, np.float32)[:, None, None]
        return values

    # Steps --------------------------------------------------------------------------------------------------

    def _with(self, options: dict[str, Any]) -> "FahrFaceImageProcessor":
        changed = type(self)(**{**self.to_dict(), **options})
        changed._detector_files = self._detector_files
        return changed

    def _find(self, photo: _Photo) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Boxes (n, 4), scores (n,) and landmarks (n, 5, 2), in pixels as decoded."""
        with _borrowed_detectors(self._require_detector_files()) as detectors:
            boxes, scores = detectors.boxes(photo.pixels, self.max_detection_side, self.min_detection_score)
            landmarks = detectors.landmarks(photo.pixels, boxes) if len(boxes) else np.zeros((0, 5, 2))
        return boxes, scores, landmarks

    def target_landmarks(self) -> np.ndarray:
        """Where `align` puts the landmarks, (5, 2) in pixels of the crop: the template with the margin applied."""
        side = self.size["height"]
        points = _rescale_points(np.array(self.template), side / TEMPLATE_SIDE)
        centre = (side - 1) / 2
        return (points - centre) / (1 + self.margin) + centre

    def _growth_wanted(self, landmarks: np.ndarray) -> float:
        """How many times larger a draft would have to be for `_DRAFT_PIXELS` in the crop of its smallest face."""
        matrices = [similarity(points, self.target_landmarks()) for points in landmarks]
        return _DRAFT_PIXELS * max((math.hypot(matrix[0, 0], matrix[1, 0]) for matrix in matrices), default=0)

    def _describe(
        self,
        photo: _Photo,
        box: np.ndarray,
        score: float,
        landmarks: np.ndarray,
        matrix: np.ndarray,
        crop: np.ndarray,
    ) -> dict[str, Any]:
        corners = photo.to_original(np.array([box[:2], box[:2] + box[2:]]))
        (xmin, ymin), (xmax, ymax) = np.clip(corners, 0, (photo.width, photo.height)).tolist()
        return {
            "box": {"xmin": xmin, "ymin": ymin, "xmax": xmax, "ymax": ymax},
            "landmarks": photo.to_original(landmarks).tolist(),
            "detection_score": float(score),
            "roll": math.degrees(-math.atan2(matrix[1, 0], matrix[0, 0])),
            "sharpness": self.sharpness(crop),
            "size": float(np.sqrt(np.prod(box[2:] * photo.scale))),
        }

    def sharpness(self, crop: np.ndarray) -> float:
        """How much fine detail an aligned crop shows: the variance of its Laplacian, in grey levels squared.

        Args:
            crop: (height, width, 3) uint8, of the processor's size.
        """
        # Only between the landmarks: the black that fills a crop beyond the photo's border has a sharp edge.
        target = self.target_landmarks().round().astype(int)
        (x0, y0), (x1, y1) = target.min(axis=0), target.max(axis=0) + 1
        grey = cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY)[y0:y1, x0:x1]
        return float(cv2.Laplacian(grey, cv2.CV_64F).var())

    def _ready_crop(self, image: ImageSource) -> np.ndarray:
        rgb = _read(_fetch(image), self.max_pixels).pixels
        height, width = rgb.shape[:2]
        if height != width:
            raise PhotoError(
                f"With do_detect=False an image must be an aligned, square crop; this one has "
                f"{width} x {height} pixels. Use do_detect=True for photos."
            )
        side = self.size["height"]
        if side == height:
            return rgb
        # Pillow's filters widen when they shrink, so this is antialiased.
        return np.asarray(Image.fromarray(rgb).resize((side, side), Image.Resampling.BICUBIC))


def _files_in(folder: Path) -> tuple[str, str] | None:
    yunet, onet = (folder / file for file in DETECTOR_FILES)
    return (str(yunet), str(onet)) if yunet.is_file() and onet.is_file() else None


def _stack(crops: Sequence[np.ndarray], side: int) -> np.ndarray:
    return np.stack(crops) if len(crops) else np.zeros((0, side, side, 3), np.uint8)


def _check_number(name: str, value: float, low: float, high: float) -> float:
    if isinstance(value, bool) or not isinstance(value, numbers.Real) or not low <= value <= high:
        raise ValueError(f"{name} is {value!r}; expected a number from {low} to {high}.")
    return value


def _check_size(size: dict[str, int] | int) -> dict[str, int]:
    if isinstance(size, int):
        size = {"height": size, "width": size}
    sides = dict(size)
    height = sides.get("height")
    if set(sides) != {"height", "width"} or height != sides["width"] or not isinstance(height, int) or height < 16:
        raise ValueError(
            f'size is {size!r}; expected {{"height": n, "width": n}} with one n of at least 16, or n itself.'
        )
    return sides


def _check_points(name: str, points: Sequence[Sequence[float]]) -> np.ndarray:
    array = np.asarray(points, np.float64)
    if array.shape != (5, 2) or not np.isfinite(array).all() or np.ptp(array, axis=0).max() == 0:
        raise ValueError(f"{name} are {points!r}; expected five different [x, y]: two eyes, nose, two mouth corners.")
    return array


def _check_template(template: Sequence[Sequence[float]]) -> list[list[float]]:
    points = _check_points("template", template)
    if points.min() < 0 or points.max() >= TEMPLATE_SIDE:
        raise ValueError(f"template is {template!r}; expected points inside a {TEMPLATE_SIDE} x {TEMPLATE_SIDE} crop.")
    return points.tolist()


def _check_channels(name: str, values: Sequence[float]) -> list[float]:
    channels = [float(value) for value in values]
    if len(channels) != 3 or not np.isfinite(channels).all():
        raise ValueError(f"{name} is {values!r}; expected three finite numbers, for red, green and blue.")
    return channels


FahrFaceImageProcessor.register_for_auto_class()
