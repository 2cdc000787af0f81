"""Saliency: maps mark what is known to matter, regions share out the crop, and checks tell good maps from bad ones."""

import json

import numpy as np
import pytest
import torch
from conftest import images, minute_config
from PIL import Image
from skimage.data import astronaut

import fahr_hf
from fahr_hf import FahrFaceConfig, FahrFaceForAgeEstimation, FahrFaceForSurvival, FahrFaceImageProcessor

pytest.importorskip("pandas")
scipy_stats = pytest.importorskip("scipy.stats")
attr = pytest.importorskip("captum.attr")

from fahr_hf.analysis.saliency import checks, figures, summary  # noqa: E402
from fahr_hf.analysis.saliency.faces import read_faces  # noqa: E402
from fahr_hf.analysis.saliency.methods import METHODS, answers, saliency_maps  # noqa: E402
from fahr_hf.analysis.saliency.regions import (  # noqa: E402
    REGIONS,
    region_areas,
    region_labels,
    region_shares,
    region_sums,
)
from fahr_hf.cli.evaluate.saliency import Method  # noqa: E402

PORTRAIT = np.ascontiguousarray(astronaut()[:256, 96:352])
PATCH = 6  # the third of the second row of four
INSIDE = (slice(8, 16), slice(16, 24))


@pytest.fixture
def reader() -> FahrFaceForAgeEstimation:
    """A model whose age depends on nothing but one patch: [CLS] attends to its position, and reads its pixels there."""
    torch.manual_seed(0)
    model = FahrFaceForAgeEstimation(minute_config(num_hidden_layers=1, num_attention_heads=1)).eval()
    backbone, layer = model.backbone, model.backbone.layers[0]
    with torch.no_grad():
        backbone.embeddings.position_embeddings.zero_()
        backbone.embeddings.position_embeddings[0, 1 + PATCH, 0] = 8
        backbone.embeddings.patch_projection.weight[0] = 0
        layer.attention.q_proj.weight.zero_()
        layer.attention.q_proj.bias[0] = 200
        for projection in (layer.attention.k_proj, layer.attention.v_proj, layer.attention.out_proj):
            projection.weight.copy_(torch.eye(32))
        layer.mlp.down_proj.weight.zero_()
        model.age_head.weight.normal_()
    return model


@pytest.fixture
def small() -> FahrFaceForAgeEstimation:
    """A random model whose answers differ by more than rounding."""
    torch.manual_seed(1)
    model = FahrFaceForAgeEstimation(minute_config()).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 2:
                parameter.mul_(5)
    return model


class TestRegions:
    processor = FahrFaceImageProcessor()
    labels = region_labels(processor)

    def test_every_pixel_has_one_region_and_every_region_has_pixels(self):
        maps = np.random.default_rng(0).normal(size=(3, 112, 112))
        assert self.labels.shape == (112, 112)
        assert set(np.unique(self.labels)) == set(range(len(REGIONS)))
        np.testing.assert_allclose(region_sums(maps, self.labels).sum(axis=1), maps.sum(axis=(1, 2)))
        np.testing.assert_allclose(region_shares(maps, self.labels).sum(axis=1), 1)
        assert region_areas(self.labels).sum() == pytest.approx(1)

    def test_a_region_sums_its_own_pixels(self):
        maps = (self.labels == REGIONS.index("mouth"))[None] * 2.0
        (sums,) = region_sums(maps, self.labels)
        assert sums[REGIONS.index("mouth")] == maps.sum()
        assert np.count_nonzero(sums) == 1

    @pytest.mark.parametrize("margin", [0, 0.5])
    def test_landmarks_lie_in_the_regions_named_after_them(self, margin):
        processor = FahrFaceImageProcessor(margin=margin)
        labels = region_labels(processor)
        places = processor.target_landmarks().round().astype(int)
        names = [REGIONS[labels[y, x]] for x, y in places]
        assert names == ["eyes", "eyes", "nose", "mouth", "mouth"]

    def test_both_sides_of_the_face_are_alike(self):
        template = [[38, 51.5], [74, 51.5], [56, 72], [42, 92], [70, 92]]
        labels = region_labels(FahrFaceImageProcessor(template=template))
        # The middle of this template is pixel 56. Where an edge cuts a pixel, the painter's rounding decides.
        assert (labels[:, 1:] != labels[:, 1:][:, ::-1]).mean() < 0.01

    def test_a_wider_crop_has_more_background(self):
        wide = region_labels(FahrFaceImageProcessor(margin=0.5))
        assert region_areas(wide)[-1] > region_areas(self.labels)[-1]
        assert REGIONS[-1] == "background"


class TestMethods:
    @pytest.mark.parametrize("method", METHODS)
    def test_the_one_patch_that_a_model_reads_is_marked_and_nothing_else(self, reader, method):
        maps = abs(saliency_maps(reader, images(3), method))
        inside = maps[(..., *INSIDE)].sum(axis=(1, 2))
        assert (inside > 0.95 * maps.sum(axis=(1, 2))).all()

    @pytest.mark.parametrize("method", METHODS)
    @pytest.mark.parametrize("model_class", [FahrFaceForAgeEstimation, FahrFaceForSurvival])
    def test_ages_and_risks_are_explained_with_either_stem(self, model_class, method):
        torch.manual_seed(0)
        model = model_class(minute_config(stem="convolution")).eval()
        maps = saliency_maps(model, images(2), method)
        assert maps.shape == (2, 32, 32)
        assert np.isfinite(maps).all()
        assert (maps.std(axis=(1, 2)) > 0).all()

    def test_integrated_gradients_add_up_to_the_answer_less_that_to_a_grey_crop(self, small):
        pixel_values = images(4)
        with torch.no_grad():
            wanted = answers(small, pixel_values) - answers(small, torch.zeros_like(pixel_values))
        found = saliency_maps(small, pixel_values, "integrated_gradients").sum(axis=(1, 2))
        assert abs(wanted).max() > 0.5
        np.testing.assert_allclose(found, wanted.numpy(), atol=0.02 * float(abs(wanted).max()))

    def test_occlusion_is_that_of_captum(self, small):
        pixel_values = images(2)
        occlusion = attr.Occlusion(lambda values: answers(small, values))
        with torch.no_grad():
            wanted = occlusion.attribute(pixel_values, sliding_window_shapes=(3, 8, 8), strides=(3, 8, 8))
        np.testing.assert_allclose(saliency_maps(small, pixel_values), wanted[:, 0].numpy(), atol=1e-4)

    def test_rollout_of_uniform_attention_is_known(self, small):
        with torch.no_grad():
            for layer in small.backbone.layers:
                layer.attention.q_proj.weight.zero_()
        # Each of two layers keeps half and spreads half over 17 tokens: 1 - 1/4 is spread in the end.
        np.testing.assert_allclose(saliency_maps(small, images(2), "rollout"), 0.75 / 17, rtol=1e-5)

    def test_the_command_offers_every_method(self):
        assert [method.value for method in Method] == list(METHODS)

    def test_an_unknown_method_is_an_error_that_names_those_that_exist(self, small):
        with pytest.raises(ValueError, match="Unknown method 'lime'; there are occlusion, integrated_gradients"):
            saliency_maps(small, images(1), "lime")


class TestChecks:
    def test_rank_correlations_are_scipys(self):
        first, second = np.random.default_rng(0).normal(size=(2, 3, 8, 8)).round(1)
        wanted = [
            scipy_stats.spearmanr(*map(np.ravel, (abs(a), abs(b)))).statistic
            for a, b in zip(first, second, strict=True)
        ]
        np.testing.assert_allclose(checks.rank_correlations(first, second), wanted)

    def test_a_map_without_any_difference_correlates_with_nothing(self):
        assert np.isnan(checks.rank_correlations(np.ones((1, 4, 4)), np.arange(16.0).reshape(1, 4, 4))).all()

    def test_with_random_weights_the_map_of_what_was_learned_is_gone(self, reader):
        pixel_values = images(4)
        maps = saliency_maps(reader, pixel_values)
        before = {name: value.clone() for name, value in reader.state_dict().items()}
        found = {
            stage: checks.rank_correlations(maps, saliency_maps(model, pixel_values)).mean()
            for stage, model in checks.randomised(reader)
        }
        assert list(found) == ["head", "upper half of the layers", "all layers", "everything"]
        assert found["head"] > 0.9, "the other patches still do not reach [CLS]"
        assert abs(found["everything"]) < 0.5
        assert all(torch.equal(value, before[name]) for name, value in reader.state_dict().items())

    def test_weights_become_random_from_the_head_down(self, small):
        trained = small.state_dict()
        changed = [
            {name for name, value in model.state_dict().items() if not torch.equal(value, trained[name])}
            for _, model in checks.randomised(small)
        ]
        assert changed[0] == {"age_head.weight"}
        assert changed[0] < changed[1] < changed[2] < changed[3]
        assert not any("layers.0" in name for name in changed[1])
        assert not any("embeddings" in name for name in changed[2])

    def test_rollout_is_seen_to_be_blind_to_the_head(self, small):
        maps = saliency_maps(small, images(2), "rollout")
        _, random_head = next(checks.randomised(small))
        np.testing.assert_allclose(checks.rank_correlations(maps, saliency_maps(random_head, images(2), "rollout")), 1)

    def test_covering_what_matters_moves_the_answer_sooner_than_covering_at_random(self, reader):
        pixel_values = images(8)
        curves = checks.covering_curves(reader, pixel_values, saliency_maps(reader, pixel_values), steps=16)
        means = {name: values.mean(axis=0) for name, values in curves.items()}
        assert all(values[0] == 0 for values in means.values())
        # The first of 16 places is all there is.
        np.testing.assert_allclose(means["deletion"][1:], means["deletion"][-1], rtol=0.05)
        np.testing.assert_allclose(means["insertion"][:-1], 0, atol=0.05 * means["deletion"][-1])
        assert means["deletion"].mean() > means["random"].mean() > means["insertion"].mean()

    def test_a_map_of_everything_else_is_worse_than_chance(self, reader):
        wrong = np.ones((8, 32, 32))
        wrong[:, *INSIDE] = 0
        curves = checks.covering_curves(reader, images(8), wrong, steps=16)
        assert curves["deletion"].mean() < curves["random"].mean() < curves["insertion"].mean()


class TestSummary:
    labels = region_labels(FahrFaceImageProcessor())

    def test_a_flat_map_gives_every_region_the_share_of_its_area(self):
        table = summary.regional_table(np.full((12, 112, 112), -3.0), self.labels)
        np.testing.assert_allclose(table["density"], 1)
        np.testing.assert_allclose(table["share"], table["area"])
        np.testing.assert_allclose(table["share_low"], table["share_high"])

    def test_few_photos_have_no_interval(self):
        table = summary.regional_table(np.ones((1, 112, 112)), self.labels)
        assert table[["share_low", "share_high"]].isna().all(axis=None)

    def test_photos_count_alike_in_the_average_however_large_their_maps(self):
        maps = np.zeros((2, 4, 4))
        maps[0, 0, 0], maps[1, 1, 1] = 1, -1000
        average = summary.average_map(maps)
        assert average[0, 0] == average[1, 1] == 8
        assert average.mean() == 1

    def test_age_groups_leave_out_the_unknown_and_the_few(self):
        age = np.array([5.0] * 10 + [39.9] * 10 + [40.0] * 9 + [60.0] * 11 + [np.nan] * 20)
        groups = summary.age_groups(age)
        assert {name: int(inside.sum()) for name, inside in groups.items()} == {
            "0 to 17": 10,
            "18 to 39": 10,
            "60 or more": 11,
        }

    def test_equal_maps_correlate_perfectly_and_unrelated_ones_hardly(self):
        generator = np.random.default_rng(0)
        maps, others = generator.normal(size=(2, 40, 112, 112))
        same = summary.compare_maps(maps, 2 * maps, self.labels, 16)
        np.testing.assert_allclose(list(same.values()), 1)
        unlike = summary.compare_maps(maps, others, self.labels, 16)
        assert unlike["photos"][1] < 0.01 < unlike["photos"][2] + 0.02
        assert abs(unlike["photos"][0]) < 0.01
        differences = summary.regional_differences(maps, others, self.labels)
        assert (differences["difference_low"] < differences["difference"]).all()
        covered = (differences["difference_low"] < 0) & (differences["difference_high"] > 0)
        assert covered.mean() > 0.7, "the difference is 0"


def save_checkpoint(folder, model_class=FahrFaceForAgeEstimation, years=40.0, seed=0, **processor) -> str:
    torch.manual_seed(seed)
    model = model_class(FahrFaceConfig.from_size("tiny", num_hidden_layers=1))
    if model_class is FahrFaceForAgeEstimation:
        torch.nn.init.constant_(model.age_head.bias, years)
    model.save_pretrained(folder)
    FahrFaceImageProcessor(**processor).save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("checkpoints")
    return {
        "age": save_checkpoint(folder / "age"),
        "again": save_checkpoint(folder / "again", seed=1),
        "wide": save_checkpoint(folder / "wide", margin=0.2),
        "child": save_checkpoint(folder / "child", years=8.0),
        "survival": save_checkpoint(folder / "survival", FahrFaceForSurvival),
    }


class TestPipeline:
    def test_ages_come_with_the_map_of_occlusion_when_asked(self, checkpoints):
        age = fahr_hf.pipeline("face-age", checkpoints["age"], explain=True)
        (face,) = age(PORTRAIT)
        (wanted,) = saliency_maps(age.model, age.image_processor(PORTRAIT)["pixel_values"])
        assert face["saliency"].shape == (112, 112)
        assert face["saliency"].dtype == np.float32
        np.testing.assert_allclose(face["saliency"], wanted, atol=1e-4)
        assert "saliency" not in fahr_hf.pipeline("face-age", checkpoints["age"])(PORTRAIT)[0]

    def test_flip_averaged_ages_are_explained_as_they_are(self, checkpoints):
        age = fahr_hf.pipeline("face-age", checkpoints["age"], explain=True, flip=True)
        plain = fahr_hf.pipeline("face-age", checkpoints["age"], explain=True)
        crop = age.image_processor.crops(PORTRAIT)[0][0]
        values = age.image_processor.normalize_crops(np.stack([crop, crop[:, ::-1]]))
        first, mirrored = saliency_maps(plain.model, torch.from_numpy(values))
        np.testing.assert_allclose(age(PORTRAIT)[0]["saliency"], (first + mirrored[:, ::-1]) / 2, atol=1e-4)

    def test_a_refused_face_has_no_map_of_its_risk(self, checkpoints):
        def ask(age_model):
            risk = fahr_hf.pipeline("face-survival", checkpoints["survival"], age_model=age_model, explain=True)
            return risk(PORTRAIT, adult=True)[0]

        assert ask(checkpoints["age"])["saliency"].shape == (112, 112)
        refused = ask(checkpoints["child"])
        assert refused["status"] == "refused_minor"
        assert refused["saliency"] is None

    def test_a_vector_is_not_explained(self, checkpoints):
        with pytest.raises(ValueError, match="explain is about one number"):
            fahr_hf.pipeline("face-embedding", checkpoints["age"], explain=True)


class TestCommand:
    def test_a_part_of_a_crop_cache_is_explained_and_models_are_compared(self, checkpoints, crop_cache, run, tmp_path):
        options = ["--method", "grad_cam", "--part", "train", "--photos", "6"]
        others = ["--other", checkpoints["survival"], "--again", checkpoints["again"]]
        code, said, error = run(
            "evaluate", "saliency", checkpoints["age"], crop_cache, "--out", tmp_path / "report", *options, *others
        )
        assert code == 0, error
        assert "age on crops, part train, grad_cam, photos: 6" in said
        numbers = json.loads((tmp_path / "report" / "numbers.json").read_text())
        assert sum(numbers["regions"].values()) == pytest.approx(100)
        assert numbers["unit"] == "years"
        assert numbers["answer"] == pytest.approx(40, abs=5)
        assert list(numbers["comparison"]) == ["other", "seed 1"]
        assert list(numbers["randomised"]) == ["head", "upper half of the layers", "all layers", "everything"]
        assert len(numbers["tables"]["differences"]) == len(REGIONS)
        page = (tmp_path / "report" / "report.md").read_text()
        assert "research estimates" in page
        assert "does not make two models independent" in page

    def test_a_photo_is_explained_by_itself(self, checkpoints, run, tmp_path):
        Image.fromarray(PORTRAIT).save(tmp_path / "photo.png")
        code, said, error = run(
            "evaluate", "saliency", checkpoints["age"], tmp_path / "photo.png", "--out", tmp_path / "report"
        )
        assert code == 0, error
        assert "on one photo, occlusion, photos: 1" in said
        assert (tmp_path / "report" / "figures" / "saliency.png").stat().st_size > 10_000

    def test_the_young_are_left_out_where_risks_are_explained(self, crop_cache):
        processor = FahrFaceImageProcessor()
        everybody = read_faces(crop_cache, "train", processor, 100)
        adults = read_faces(crop_cache, "train", processor, 100, adults=True)
        assert sorted(everybody.age)[:2] == [10, 25]
        assert sorted(adults.age) == sorted(everybody.age)[1:]
        assert len(read_faces(crop_cache, "train", processor, 3, adults=True)) == 3

    @pytest.mark.parametrize(
        ("model", "options", "message"),
        [
            ("age", ["--part", "test"], "'test' is a test part"),
            ("wide", [], "were cut with margin = 0.0, and the model's processor has 0.2"),
            ("age", ["--other", "wide"], "wide cuts crops with margin = 0.2, and the first model with 0.0"),
            ("age", ["--part", "calibration"], "no crops to look at in the part 'calibration'"),
        ],
    )
    def test_what_cannot_be_explained_is_said(self, checkpoints, crop_cache, run, tmp_path, model, options, message):
        options = [checkpoints.get(option, option) for option in options]
        code, _, error = run(
            "evaluate", "saliency", checkpoints[model], crop_cache, "--out", tmp_path / "report", *options
        )
        assert code == 1
        assert message in error

    def test_a_photo_without_a_face_is_one_line(self, checkpoints, run, tmp_path):
        Image.new("RGB", (200, 200), "white").save(tmp_path / "empty.png")
        code, _, error = run(
            "evaluate", "saliency", checkpoints["age"], tmp_path / "empty.png", "--out", tmp_path / "r"
        )
        assert code == 1
        assert "empty.png: no face found" in error

    def test_risks_are_explained_of_declared_adults_alone(self, checkpoints, run, tmp_path):
        Image.fromarray(PORTRAIT).save(tmp_path / "photo.png")
        command = (
            "evaluate",
            "saliency",
            checkpoints["survival"],
            tmp_path / "photo.png",
            "--out",
            tmp_path / "report",
        )
        code, _, error = run(*command)
        assert code == 1
        assert "A survival model needs --adult" in error
        assert run(*command, "--adult", "--method", "rollout")[0] == 0
        assert json.loads((tmp_path / "report" / "numbers.json").read_text())["unit"] == "units of risk"


def test_the_regions_can_be_drawn(tmp_path):
    processor = FahrFaceImageProcessor()
    figure = figures.draw_regions(processor.crops(PORTRAIT)[0][0], region_labels(processor))
    figure.savefig(tmp_path / "regions.png")
    assert [text.get_text() for text in figure.axes[0].get_legend().get_texts()] == list(REGIONS)
