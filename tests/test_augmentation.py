"""Augmentation: every kind does what it is named for, in the share of views it is given, and nothing else."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
from photo_sets import ASTRONAUT

from fahr_hf.data.crops import BORDER
from fahr_hf.training.augmentation import MILD, STRONG, Augmentation, augment
from fahr_hf.training.randomness import sample_generator

SIDE = 128
FULL = np.array([[0, 0], [SIDE - 1, 0], [SIDE - 1, SIDE - 1], [0, SIDE - 1]], np.float32)
NO_FRAMES = FULL[None][:0]
STILL = Augmentation(scale=0, rotation=0, shift=0, light=0, grey=0, blur=0)
FACE = np.array(ASTRONAUT.crop((150, 30, 310, 190)).resize((SIDE, SIDE)))
INSIDE = FACE[BORDER:-BORDER, BORDER:-BORDER]


def views(augmentation: Augmentation, image: np.ndarray = FACE, count: int = 200) -> np.ndarray:
    return np.stack(
        [augment(image, FULL, NO_FRAMES, sample_generator(0, 0, index), augmentation) for index in range(count)]
    )


def upright(view: np.ndarray, original: np.ndarray = INSIDE) -> np.ndarray:
    """The view, turned back where it was mirrored."""
    mirrored = view[:, ::-1]
    distance = [np.abs(image.astype(float) - original).mean() for image in (view, mirrored)]
    return view if distance[0] <= distance[1] else mirrored


def changed(augmentation: Augmentation) -> np.ndarray:
    """How far each view is from its crop, in grey levels."""
    return np.array([np.abs(upright(view).astype(float) - INSIDE).mean() for view in views(augmentation)])


def test_without_any_strength_a_view_is_the_crop_or_its_mirror_image():
    still = views(STILL)
    mirrored = [(view == INSIDE[:, ::-1]).all() for view in still]
    assert all((view == INSIDE).all() or mirror for view, mirror in zip(still, mirrored, strict=True))
    assert 0.4 < np.mean(mirrored) < 0.6


@pytest.mark.parametrize("kind", ["grey", "blur", "noise", "jpeg", "erasing"])
def test_a_kind_comes_in_its_share_of_views(kind):
    assert 0.2 < (changed(replace(STILL, **{kind: 0.3})) > 0).mean() < 0.4
    assert (changed(replace(STILL, **{kind: 1.0})) > 0).all()


def test_a_grey_view_has_no_colour_and_keeps_its_light():
    grey = upright(views(replace(STILL, grey=1.0), count=1)[0])
    wanted = cv2.cvtColor(INSIDE, cv2.COLOR_RGB2GRAY)
    assert np.abs(grey.astype(int) - wanted[..., None]).max() <= 1


def test_noise_keeps_the_light_and_differs_from_channel_to_channel():
    flat = np.full((SIDE, SIDE, 3), 120, np.uint8)
    noisy = views(replace(STILL, noise=1.0), flat).astype(float)
    assert np.abs(noisy.mean((1, 2, 3)) - 120).max() < 0.5
    strength = noisy.std((1, 2, 3))
    assert 0.9 < strength.min() < 2
    assert 14 < strength.max() < 15.5
    strongest = noisy[strength.argmax()].reshape(-1, 3)
    assert np.abs(np.corrcoef(strongest.T) - np.eye(3)).max() < 0.05


def test_a_compressed_view_keeps_its_colours_and_loses_detail():
    red = np.zeros((SIDE, SIDE, 3), np.uint8)
    red[..., 0] = 200
    compressed = views(replace(STILL, jpeg=1.0), red, count=20)
    assert np.abs(compressed.astype(int) - (200, 0, 0)).max() <= 4
    error = changed(replace(STILL, jpeg=1.0))
    assert 0.3 < error.min() < error.max() < 10


def test_an_erased_rectangle_covers_between_2_and_12_per_cent():
    still = views(replace(STILL, erasing=1.0))
    covered = [(upright(view) != INSIDE).any(axis=-1).mean() for view in still]
    assert 0.015 < min(covered) < 0.035
    assert 0.1 < max(covered) < 0.125


def test_light_from_a_side_makes_one_half_lighter_than_the_other():
    flat = np.full((SIDE, SIDE, 3), 100, np.uint8)
    lit = views(replace(STILL, light=0.25, side_light=1.0), flat).astype(float)
    halves = np.abs(lit[:, :, :56].mean((1, 2, 3)) - lit[:, :, 56:].mean((1, 2, 3)))
    rows = np.abs(lit[:, :56].mean((1, 2, 3)) - lit[:, 56:].mean((1, 2, 3)))
    assert np.maximum(halves, rows).max() > 15
    assert (np.ptp(lit, axis=(1, 2, 3)) > 0).mean() > 0.95


def test_strong_views_are_further_from_the_crop_than_mild_ones():
    assert np.median(changed(STRONG)) > 1.3 * np.median(changed(MILD))
