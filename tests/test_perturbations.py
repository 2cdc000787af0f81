"""Perturbations of photos: nothing at the identity, known effects elsewhere, and curves against plain loops."""

import doctest

import cv2
import numpy as np
import pandas as pd
import pytest
from photo_sets import ASTRONAUT, side_by_side

import fahr_hf
from fahr_hf.analysis.perturbation import face_frame, geometry, light, perturbations, sensitivity
from fahr_hf.analysis.perturbation.face_frame import FaceFrame
from fahr_hf.analysis.perturbation.figure import draw_curves
from fahr_hf.analysis.perturbation.perturbations import PERTURBATIONS, Perturbation, perturbation
from fahr_hf.analysis.perturbation.sensitivity import LOST, Photo, curves, perturbed_answers, tolerances
from fahr_hf.resampling import bootstrap_interval, clusters_of

PHOTO = np.array(ASTRONAUT)
NAMES = [each.name for each in PERTURBATIONS]
COVERING = ("glasses", "mask", "forehead", "mouth", "lipstick", "eye_shadow")
GREYS = np.arange(256, dtype=np.uint8).reshape(16, 16, 1).repeat(3, axis=2)


@pytest.fixture(scope="module")
def pipeline():
    return fahr_hf.pipeline("face-age")


@pytest.fixture(scope="module")
def landmarks(pipeline):
    return np.array(pipeline.image_processor.detect(PHOTO)[0]["landmarks"])


class TestChanges:
    @pytest.mark.parametrize("name", NAMES)
    def test_at_its_identity_a_photo_stays_as_it_is_and_elsewhere_it_does_not(self, landmarks, name):
        each, original = perturbation(name), PHOTO.copy()
        same, points = each(PHOTO, each.identity, landmarks)
        assert np.array_equal(same, PHOTO)
        assert np.array_equal(points, landmarks)
        for strength in (each.grid[0], each.grid[-1]):
            changed, _ = each(PHOTO, strength, landmarks)
            assert changed.dtype == np.uint8
            assert changed.shape != PHOTO.shape or not np.array_equal(changed, PHOTO)
        assert np.array_equal(PHOTO, original), "the photo given is never written to"

    @pytest.mark.parametrize("name", NAMES)
    def test_the_same_photo_is_always_changed_alike(self, landmarks, name):
        each = perturbation(name)
        first, second = (each(PHOTO, each.grid[-1], landmarks)[0] for _ in range(2))
        assert np.array_equal(first, second)

    def test_grids_rise_and_leave_the_identity_out(self):
        for each in PERTURBATIONS:
            assert list(each.grid) == sorted(set(each.grid) - {each.identity})

    def test_an_unknown_one_is_an_error_that_names_those_there_are(self):
        with pytest.raises(ValueError, match="No perturbation is named 'fog'; there are brightness, gamma, side_light"):
            perturbation("fog")

    def test_examples_of_the_documentation_are_right(self):
        assert doctest.testmod(perturbations).failed == 0


class TestLight:
    def test_one_stop_doubles_the_light_of_a_grey(self):
        # Linear light of 100 is .1274, and of 138 .2542, by the formula of sRGB.
        grey = np.full((4, 4, 3), 100, np.uint8)
        assert np.unique(light.brightness(grey, 1)).tolist() == [138]
        assert np.unique(light.brightness(grey, 10)).tolist() == [255]

    def test_gamma_keeps_black_and_white_and_is_the_power(self):
        changed = light.gamma(GREYS, 2).reshape(-1, 3)[:, 0]
        assert changed.tolist() == np.round(255 * (np.arange(256) / 255) ** 2).tolist()

    def test_a_candle_is_red_a_blue_sky_blue_and_both_as_bright_as_daylight(self):
        grey = np.full((2, 2, 3), 90, np.uint8)
        warm, cold = (light.colour_temperature(grey, kelvin)[0, 0].astype(int) for kelvin in (2500, 12000))
        assert warm[0] > warm[1] > warm[2]
        assert cold[0] < cold[1] < cold[2]
        daylight = light.colour_temperature(PHOTO, light.DAYLIGHT)
        assert np.array_equal(daylight, PHOTO)
        for colour in (warm, cold):
            linear = np.where(colour <= 10, colour / 255 / 12.92, ((colour / 255 + 0.055) / 1.055) ** 2.4)
            assert linear @ [0.2126, 0.7152, 0.0722] == pytest.approx(((90 / 255 + 0.055) / 1.055) ** 2.4, rel=0.02)

    def test_grey_is_the_same_in_all_channels_and_leaves_greys_alone(self):
        changed = light.grey(PHOTO, 100).astype(int)
        assert np.ptp(changed, axis=2).max() == 0
        assert np.abs(light.grey(GREYS, 100).astype(int) - GREYS).max() <= 1

    def test_side_light_brightens_the_viewers_right_and_leaves_the_middle(self, landmarks):
        flat = np.full_like(PHOTO, 100)
        changed = light.side_light(flat, 2, landmarks)[..., 0].astype(int)
        left, right = landmarks[:2].round().astype(int)
        middle = FaceFrame(landmarks).points([(55.5, 55.5)])[0].round().astype(int)
        assert changed[left[1], left[0]] < 95 < 105 < changed[right[1], right[0]]
        assert changed[middle[1], middle[0]] == pytest.approx(100, abs=2)

    def test_noise_has_the_spread_that_was_asked_for(self):
        flat = np.full((200, 200, 3), 128, np.uint8)
        changed = light.noise(flat, 10)
        assert changed.std() == pytest.approx(10, rel=0.02)
        assert changed.mean() == pytest.approx(128, abs=0.2)

    def test_a_lower_jpeg_quality_is_further_from_the_photo(self):
        errors = [np.abs(light.jpeg(PHOTO, q).astype(int) - PHOTO).mean() for q in (80, 40, 10)]
        assert errors == sorted(errors)

    def test_blur_is_measured_in_pixels_of_the_crop(self, landmarks):
        twice = cv2.resize(PHOTO, None, fx=2, fy=2, interpolation=cv2.INTER_AREA)
        large = light.blur(twice, 2, landmarks * 2 + 0.5)
        small = light.blur(PHOTO, 2, landmarks)
        again = cv2.resize(large, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
        assert np.abs(again.astype(int) - small).mean() < 0.5


class TestGeometry:
    def test_landmarks_follow_a_turned_cut_and_shrunk_photo(self, pipeline, landmarks):
        eyes = float(np.hypot(*(landmarks[1] - landmarks[0])))
        for name, strength in (("roll", 20), ("roll", -20), ("cut", 75), ("resolution", 1)):
            changed, points = perturbation(name)(PHOTO, strength, landmarks)
            found = np.array(pipeline.image_processor.detect(changed)[0]["landmarks"])
            now = float(np.hypot(*(points[1] - points[0])))
            assert np.abs(found - points).max() < 0.1 * now, name
            assert name in ("resolution",) or now == pytest.approx(eyes)

    def test_a_roll_to_the_right_is_clockwise(self, pipeline, landmarks):
        before = pipeline.image_processor.detect(PHOTO)[0]["roll"]
        changed, _ = geometry.roll(PHOTO, 20, landmarks)
        assert pipeline.image_processor.detect(changed)[0]["roll"] - before == pytest.approx(20, abs=2)

    def test_the_resolution_is_that_of_the_crop_times_the_enlargement(self, landmarks):
        _, points = geometry.resolution(PHOTO, 2, landmarks)
        assert FaceFrame(points).scale == pytest.approx(0.5, rel=0.02)
        small, points = geometry.resolution(PHOTO[::8, ::8], 1, landmarks / 8)
        assert small.shape[:2] == (64, 64), "photos that are smaller already are left alone"

    def test_a_photo_that_is_too_small_to_be_cut_or_shrunk_has_no_row_there(self, pipeline, landmarks):
        tight, _ = geometry.cut(PHOTO, 100, landmarks)
        chosen = [perturbation("cut"), perturbation("resolution")]
        table = perturbed_answers(pipeline, [Photo("tight", None, tight)], chosen)
        left = table.groupby("perturbation")["strength"].agg(list)
        assert left["cut"] == [110, 125]
        assert left["resolution"] == [1, 1.5, 2, 3, 4]

    def test_a_cut_photo_is_a_square_of_the_crop(self, landmarks):
        # The whole crop, and then less than it by a quarter.
        scale = FaceFrame(landmarks).scale
        for percent in (100, 125):
            changed, _ = geometry.cut(PHOTO, percent, landmarks)
            assert changed.shape[:2] == pytest.approx((112 * scale * 100 / percent,) * 2, abs=1)

    def test_yaw_moves_the_face_along_its_own_axis_and_leaves_what_is_far_away(self, landmarks):
        changed, points = geometry.yaw(PHOTO, 20, landmarks)
        moved = (points - landmarks) @ FaceFrame(landmarks).right
        assert (moved > 0).all(), "to the viewer's right"
        assert np.array_equal(changed[:, -40:], PHOTO[:, -40:])
        # The colours beside the nose are found where its landmark went.
        old, new = landmarks[2].round().astype(int), points[2].round().astype(int)
        patches = [cv2.GaussianBlur(photo, (0, 0), 2)[y, x] for photo, (x, y) in ((PHOTO, old), (changed, new))]
        assert np.abs(patches[0].astype(int) - patches[1]).max() < 25


class TestCoverings:
    @pytest.mark.parametrize("name", COVERING)
    def test_more_of_it_covers_more_and_only_the_face(self, landmarks, name):
        each, face = perturbation(name), FaceFrame(landmarks)
        touched = [(each(PHOTO, s, landmarks)[0] != PHOTO).any(axis=2) for s in each.grid]
        sizes = [np.abs(each(PHOTO, s, landmarks)[0].astype(int) - PHOTO).sum() for s in each.grid]
        assert sizes == sorted(sizes)
        y, x = np.nonzero(touched[-1])
        middle = face.points([(55.5, 55.5)])[0]
        assert np.hypot(x - middle[0], y - middle[1]).max() < 120 * face.scale

    @pytest.mark.parametrize(
        ("name", "covered", "free"),
        [("glasses", [0, 1], [2, 3, 4]), ("mask", [2, 3, 4], [0, 1]), ("mouth", [3, 4], [0, 1])],
    )
    def test_what_it_is_named_for_is_covered_and_the_rest_is_not(self, landmarks, name, covered, free):
        changed, _ = perturbation(name)(PHOTO, 100, landmarks)
        touched = (changed != PHOTO).any(axis=2)
        at = [bool(touched[round(y), round(x)]) for x, y in landmarks]
        assert [at[i] for i in covered] == [True] * len(covered)
        assert [at[i] for i in free] == [False] * len(free)

    def test_lipstick_is_red_on_the_lips_and_leaves_the_eyes(self, landmarks):
        changed, _ = perturbation("lipstick")(PHOTO, 80, landmarks)
        x, y = landmarks[3:].mean(axis=0).round().astype(int)
        red, green, blue = changed[y, x].astype(int)
        assert red > green + 30
        assert red > blue + 30
        eye = landmarks[0].round().astype(int)
        assert np.array_equal(changed[eye[1], eye[0]], PHOTO[eye[1], eye[0]])

    def test_a_region_is_as_large_as_its_polygon_to_a_pixel_at_its_border(self):
        oval = face_frame.ellipse(np.array([50.0, 40.0]), np.array([20.0, 0.0]), np.array([0.0, 10.0]))
        area, border = np.pi * 200, np.hypot(*(oval - np.roll(oval, 1, axis=0)).T).sum()
        assert area < face_frame.region((100, 100), [oval]).sum() < area + border


@pytest.fixture(scope="module")
def answers(pipeline):
    nothing = Perturbation("nothing", "nothing", 0, (1,), lambda photo, _, points: (photo.copy(), points))
    hidden = Perturbation("hidden", "nothing", 0, (1,), lambda photo, _, points: (np.zeros_like(photo), points))
    photos = [
        Photo("a", "Ann", PHOTO),
        Photo("two", "Bob", np.array(side_by_side())),
        Photo("wall", None, np.full((100, 100, 3), 200, np.uint8)),
        Photo("text", None, b"this is no photo"),
    ]
    return perturbed_answers(pipeline, photos, [nothing, hidden, perturbation("roll")])


class TestAnswers:
    def test_no_change_of_the_photo_is_no_change_of_the_answer(self, answers, pipeline):
        same = answers[answers["perturbation"] == "nothing"]
        assert same["photo"].tolist() == ["a", "two"]
        # Batches of another size are summed in another order.
        assert same["age_after"].tolist() == pytest.approx(same["age_before"].tolist(), abs=1e-4)
        assert same["reason"].isna().all()
        # The face is a little larger than twice the crop needs, and was shrunk.
        assert same["age_before"].iloc[0] == pytest.approx(pipeline(PHOTO)[0]["age"], abs=1)

    def test_a_face_that_is_gone_is_lost_and_no_number(self, answers):
        gone = answers[answers["perturbation"] == "hidden"]
        assert gone["reason"].tolist() == [LOST, LOST]
        assert gone["age_after"].isna().all()
        row = curves(answers).set_index("perturbation").loc["hidden"]
        assert (row["photos"], row["lost"], row["n"]) == (2, 1, 0)

    def test_photos_without_an_answer_have_a_row_that_says_why(self, answers):
        rows = answers[answers["perturbation"].isna()].set_index("photo")["reason"]
        assert rows["wall"] == "no face found"
        assert "is not an image file that Pillow can read" in rows["text"]

    def test_alignment_undoes_a_roll_that_changes_the_answer_for_an_unaligned_crop(self, answers, pipeline, landmarks):
        rolled = answers[(answers["perturbation"] == "roll") & (answers["strength"].abs() <= 20)]
        aligned = (rolled["age_after"] - rolled["age_before"]).abs()
        assert len(aligned) == 8
        assert aligned.mean() < 1.5
        ready = fahr_hf.pipeline(
            "face-age", pipeline.model, image_processor=type(pipeline.image_processor)(do_detect=False)
        )
        matrix = FaceFrame(landmarks).matrix

        def unaligned(degrees):
            turned, _ = geometry.roll(PHOTO, degrees, landmarks)
            middle = np.array(turned.shape[1::-1]) / 2 + FaceFrame(landmarks).points([(55.5, 55.5)])[0] - 256
            half = int(56 * np.hypot(matrix[0, 0], matrix[1, 0]))
            x, y = middle.round().astype(int)
            return ready(turned[y - half : y + half, x - half : x + half])[0]["age"]

        plain = [abs(unaligned(degrees) - unaligned(0)) for degrees in (-20, 20)]
        assert np.mean(plain) > 2 * aligned[rolled["photo"] == "a"].mean()

    def test_of_several_faces_the_same_one_is_followed(self, pipeline):
        """The larger face is hidden; the smaller one, still found, is no answer for it."""

        def hide(photo, _, points):
            photo = photo.copy()
            photo[:, : round(points[:, 0].max()) + 60] = 0
            return photo, points

        both = Photo("two", None, np.array(side_by_side()))
        (row,) = perturbed_answers(pipeline, [both], [Perturbation("hide", "", 0, (1,), hide)]).to_dict("records")
        assert row["reason"] == LOST


def made_up(n=40, seed=0):
    """Two photos a person; the absolute change grows by .4 a step, and the largest step loses every fourth face."""
    generator = np.random.default_rng(seed)
    sign = generator.choice([-1, 1], n)
    rows = []
    for strength in PERTURBATIONS[0].grid:
        lost = (np.arange(n) % 4 == 0) & (strength == 2)
        after = 50 + 0.8 * abs(strength) * sign + generator.normal(0, 1e-3, n)
        rows.append(
            pd.DataFrame(
                {
                    "photo": [f"{i}" for i in range(n)],
                    "person": [f"p{i // 2}" for i in range(n)],
                    "perturbation": "brightness",
                    "strength": float(strength),
                    "age_before": 50.0,
                    "age_after": np.where(lost, np.nan, after),
                    "reason": np.where(lost, LOST, None),
                }
            )
        )
    return pd.concat(rows, ignore_index=True)


class TestCurves:
    def test_means_and_intervals_are_those_of_the_plain_bootstrap_over_people(self):
        table = made_up()
        row = curves(table).set_index("strength").loc[2.0]
        kept = table[(table["strength"] == 2) & table["age_after"].notna()]
        change = (kept["age_after"] - kept["age_before"]).to_numpy()
        assert (row["photos"], row["lost"], row["n"]) == (40, 0.25, 30)
        for name, values in (("change", change), ("absolute", np.abs(change))):
            assert row[name] == pytest.approx(values.mean())
            interval = bootstrap_interval(lambda x: float(x.mean()), values, clusters=clusters_of(kept["person"]))
            assert (row[f"{name}_low"], row[f"{name}_high"]) == pytest.approx(interval)

    def test_the_limit_is_passed_between_two_strengths_on_a_straight_line(self):
        found = tolerances(curves(made_up())).set_index("direction")
        # .8 years a stop: a year at 1.25 stops, either way.
        assert found.loc["up", "passes_at"] == pytest.approx(1.25, abs=0.01)
        assert found.loc["down", "passes_at"] == pytest.approx(-1.25, abs=0.01)
        assert found.loc["up", "lost"] == 0.25
        assert found.loc["down", ["tested_to", "absolute"]].tolist() == pytest.approx([-3, 2.4], abs=0.01)

    def test_a_limit_that_is_not_passed_has_no_strength(self):
        found = tolerances(curves(made_up()), limit=3)
        assert found["passes_at"].isna().all()

    def test_few_photos_have_no_intervals(self):
        found = curves(made_up(n=sensitivity.LEAST - 1))
        assert found["absolute"].notna().all()
        assert found["absolute_low"].isna().all()

    def test_the_drawing_has_a_panel_for_each_that_was_tried(self):
        figure = draw_curves(curves(made_up()), 1, "years")
        (panel,) = figure.axes
        assert panel.get_title() == "brightness"
        line = next(line for line in panel.lines if line.get_label() == "mean absolute change")
        assert 0 in line.get_xdata()
        assert line.get_ydata()[list(line.get_xdata()).index(0)] == 0
