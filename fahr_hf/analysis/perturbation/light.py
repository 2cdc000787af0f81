"""Changes of light, colour and quality of a whole photo.

Light adds up in the world and not in the numbers of a file, so that brighter, warmer and sidelong light are computed in
linear light (sRGB decoded), and encoded again. Photos are (height, width, 3) uint8 RGB, and so are results.
"""

import io
import zlib

import cv2
import numpy as np
from PIL import Image

from fahr_hf.analysis.perturbation.face_frame import FaceFrame

DAYLIGHT = 6500.0
"""Kelvin of the light that photos are meant for."""

# Metres, about the dominant wavelengths of the primaries of sRGB; and the constant h c / k of Planck's law.
_WAVELENGTHS = np.array([611e-9, 549e-9, 464e-9])
_HC_OVER_K = 1.438777e-2
# Of sRGB, linear red, green and blue.
_LUMINANCE = np.array([0.2126, 0.7152, 0.0722])


def brightness(photo: np.ndarray, stops: float) -> np.ndarray:
    """Exposure: twice the light for each stop; what becomes brighter than white is white."""
    return _with_light(photo, np.full(3, 2.0**stops))


def gamma(photo: np.ndarray, exponent: float) -> np.ndarray:
    """Middle tones darker (above 1) or brighter (below 1), with black and white as they are."""
    return _rounded(255 * (np.arange(256) / 255) ** exponent)[photo]


def colour_temperature(photo: np.ndarray, kelvin: float) -> np.ndarray:
    """Light of a black body of another temperature than daylight, at the same brightness of grey; below is warmer.

    The gains of red, green and blue are ratios of Planck's law at one wavelength each.
    """
    gains = _planck(kelvin) / _planck(DAYLIGHT)
    return _with_light(photo, gains / (gains @ _LUMINANCE))


def side_light(photo: np.ndarray, stops: float, landmarks: np.ndarray) -> np.ndarray:
    """More light on one cheek and less on the other, by so many stops from edge to edge of the aligned crop.

    Above 0 the viewer's right is brighter. Beyond the crop the light stays as it is at its edge.
    """
    along = FaceFrame(landmarks).template_x(photo.shape).clip(-1, 1)
    return _encoded(_LINEAR[photo] * 2.0 ** (stops / 2 * along)[..., None])


def blur(photo: np.ndarray, sigma: float, landmarks: np.ndarray) -> np.ndarray:
    """Gaussian blur, with a standard deviation in pixels of the aligned crop."""
    return cv2.GaussianBlur(photo, (0, 0), sigma * FaceFrame(landmarks).scale)


def noise(photo: np.ndarray, sd: float) -> np.ndarray:
    """Independent normal noise on every value, standard deviation in grey levels; a photo always has the same noise."""
    generator = np.random.default_rng(zlib.crc32(photo.tobytes()))
    return _rounded(photo + sd * generator.standard_normal(photo.shape, np.float32))


def jpeg(photo: np.ndarray, quality: float) -> np.ndarray:
    """Saved and opened again as JPEG of a quality from 1 to 95 (libjpeg's scale)."""
    file = io.BytesIO()
    Image.fromarray(photo).save(file, "JPEG", quality=round(quality))
    return np.array(Image.open(file))


def grey(photo: np.ndarray, percent: float) -> np.ndarray:
    """Less colour: that much of the way to the photo's luminance."""
    linear = _LINEAR[photo]
    luminance = (linear @ _LUMINANCE)[..., None]
    return _encoded(linear + percent / 100 * (luminance - linear))


def _rounded(values: np.ndarray) -> np.ndarray:
    return values.round().clip(0, 255).astype(np.uint8)


def _decode(value: np.ndarray) -> np.ndarray:
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


def _encoded(light: np.ndarray) -> np.ndarray:
    """Linear light as uint8; of several values of light that round to one number, the file holds that number."""
    light = light.clip(0, 1)
    return _rounded(255 * np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055))


_LINEAR = _decode(np.arange(256) / 255).astype(np.float32)


def _with_light(photo: np.ndarray, gains: np.ndarray) -> np.ndarray:
    tables = _encoded(_LINEAR[:, None] * gains)
    return cv2.LUT(photo, tables[None])


def _planck(kelvin: float) -> np.ndarray:
    """Radiance at the three wavelengths, up to a common factor."""
    return _WAVELENGTHS**-5 / np.expm1(_HC_OVER_K / (_WAVELENGTHS * kelvin))
