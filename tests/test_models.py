"""The contract that every FAHR-Face model keeps."""

import math

import numpy as np
import pytest
import torch
from conftest import HEADS, images, main_output, mask_noise, minute_config, run_model

from fahr_hf import FahrFaceForAgeEstimation, FahrFaceForPreTraining, FahrFaceForSurvival, FahrFaceModel
from fahr_hf.models.efficientnet_stem_fahr_face import CHANNELS, FahrFaceEfficientNetStem
from fahr_hf.models.modeling_fahr_face import FahrFaceDropPath, sine_cosine_positions


class TestForward:
    def test_output_shapes(self):
        x = images(3)
        backbone = FahrFaceModel(minute_config()).eval()(x)
        assert backbone.last_hidden_state.shape == (3, 17, 32)
        assert torch.equal(backbone.pooler_output, backbone.last_hidden_state[:, 0])
        age = FahrFaceForAgeEstimation(minute_config()).eval()(x)
        assert (age.logits.shape, age.age.shape, age.loss) == ((3, 1), (3,), None)
        risk = FahrFaceForSurvival(minute_config()).eval()(x)
        assert (risk.logits.shape, risk.risk.shape) == ((3, 1), (3,))
        mae = FahrFaceForPreTraining(minute_config()).eval()(x)
        assert (mae.loss.shape, mae.logits.shape, mae.mask.shape) == ((), (3, 16, 192), (3, 16))

    def test_a_batch_answers_like_its_members(self, model):
        x, noise = images(4), mask_noise(4)
        extra = {"noise": noise} if isinstance(model, FahrFaceForPreTraining) else {}
        together = main_output(run_model(model, x, **extra))
        for i in range(4):
            one = {key: value[i : i + 1] for key, value in extra.items()}
            alone = main_output(run_model(model, x[i : i + 1], **one))
            torch.testing.assert_close(together[i : i + 1], alone, atol=1e-5, rtol=1e-5)

    def test_eager_attention_equals_sdpa(self, model):
        x = images()
        assert model.config._attn_implementation == "sdpa"
        fused = main_output(run_model(model, x))
        model.set_attn_implementation("eager")
        torch.testing.assert_close(main_output(run_model(model, x)), fused, atol=1e-5, rtol=1e-5)

    @pytest.mark.parametrize("implementation", ["sdpa", "eager"])
    def test_attentions_come_on_request_under_any_implementation(self, model, implementation):
        model.set_attn_implementation(implementation)
        x = images()
        output = run_model(model, x, output_attentions=True)
        tokens = 5 if isinstance(model, FahrFaceForPreTraining) else 17
        assert [tuple(a.shape) for a in output.attentions] == [(3, 2, tokens, tokens)] * 2
        for weights in output.attentions:
            torch.testing.assert_close(weights.sum(-1), torch.ones(3, 2, tokens))
        torch.testing.assert_close(main_output(output), main_output(run_model(model, x)), atol=1e-5, rtol=1e-5)
        assert run_model(model, x).attentions is None

    def test_hidden_states_come_on_request(self, model):
        output = run_model(model, images(), output_hidden_states=True)
        tokens = 5 if isinstance(model, FahrFaceForPreTraining) else 17
        assert [tuple(h.shape) for h in output.hidden_states] == [(3, tokens, 32)] * 3
        if isinstance(model, FahrFaceModel):
            torch.testing.assert_close(model.norm(output.hidden_states[-1]), output.last_hidden_state)

    def test_return_dict_false_gives_a_tuple(self, model):
        output = run_model(model, images(), return_dict=False)
        assert isinstance(output, tuple)
        first = output[1] if isinstance(model, FahrFaceForPreTraining) else output[0]
        torch.testing.assert_close(first, main_output(run_model(model, images())))

    def test_config_return_dict_false_gives_a_tuple(self, model):
        model.config.return_dict = False
        assert isinstance(run_model(model, images()), tuple)

    @pytest.mark.parametrize(
        ("wrong", "message"),
        [
            (torch.zeros(3, 32, 32), r"\(batch, 3, height, width\), got \(3, 32, 32\)"),
            (torch.zeros(1, 1, 32, 32), r"\(batch, 3, height, width\), got \(1, 1, 32, 32\)"),
            (torch.zeros(1, 3, 32, 32, dtype=torch.uint8), "floating-point numbers, got torch.uint8"),
            (torch.zeros(1, 3, 30, 32), r"multiples of patch_size \(8\), got 30 x 32"),
            (torch.zeros(1, 3, 0, 32), r"multiples of patch_size \(8\), got 0 x 32"),
        ],
    )
    def test_wrong_pixel_values_are_named(self, model, wrong, message):
        with pytest.raises(ValueError, match=message):
            model(wrong)


class TestPositions:
    def test_new_positions_are_sines_and_cosines_of_row_and_column(self):
        positions = sine_cosine_positions(8, 3)[0].tolist()
        assert positions[0] == [0.0] * 8
        for row in range(3):
            for column in range(3):
                wanted = []
                for place in (row, column):
                    wanted += [math.sin(place), math.sin(place / 100), math.cos(place), math.cos(place / 100)]
                assert positions[1 + 3 * row + column] == pytest.approx(wanted, abs=1e-6)
        model = FahrFaceForPreTraining(minute_config())
        assert torch.equal(model.backbone.embeddings.position_embeddings, sine_cosine_positions(32, 4))
        assert torch.equal(model.decoder.position_embeddings, sine_cosine_positions(16, 4))

    def test_other_sizes_are_interpolated(self, model):
        for height, width in ((64, 64), (48, 32), (16, 24)):
            x = torch.randn(2, 3, height, width)
            output = main_output(run_model(model, x))
            assert output.isfinite().all()
            if isinstance(model, FahrFaceModel):
                assert output.shape[1] == 1 + (height // 8) * (width // 8)

    def test_interpolation_matches_torch_on_each_channel(self):
        backbone = FahrFaceModel(minute_config()).eval()
        grid = backbone.embeddings.position_embeddings[0, 1:].reshape(4, 4, 32).permute(2, 0, 1)
        wanted = torch.nn.functional.interpolate(grid[None], size=(8, 6), mode="bicubic")[0]
        zeros = torch.zeros(1, 3, 64, 48)
        tokens = backbone.embeddings(zeros)[0, 1:].reshape(8, 6, 32).permute(2, 0, 1)
        torch.testing.assert_close(tokens, wanted)


class TestTraining:
    def loss(self, model, x):
        if isinstance(model, FahrFaceModel):
            projection = torch.randn(17, 32, generator=torch.Generator().manual_seed(2))
            return (run_model(model, x).last_hidden_state * projection).sum()
        if isinstance(model, FahrFaceForPreTraining):
            return run_model(model, x).loss
        if isinstance(model, FahrFaceForAgeEstimation):
            return model(x, labels=torch.tensor([20.0, 40.0, 80.0])).loss
        return model(x).risk.square().sum()

    def test_gradient_reaches_every_parameter(self, model):
        self.loss(model.train(), images()).backward()
        for name, parameter in model.named_parameters():
            assert parameter.grad is not None, name
            assert parameter.grad.isfinite().all(), name
            # A bias of the keys adds the same number to every score of a query, which softmax removes.
            if not name.endswith("k_proj.bias"):
                assert parameter.grad.abs().max() > 0, name

    def test_activation_checkpointing_changes_no_gradient(self, model):
        x = images()
        self.loss(model.train(), x).backward()
        plain = {name: p.grad.clone() for name, p in model.named_parameters()}
        model.zero_grad()
        # Named gradient_checkpointing_enable up to transformers 5.1x.
        enable = getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
        enable()
        self.loss(model, x).backward()
        for name, parameter in model.named_parameters():
            torch.testing.assert_close(parameter.grad, plain[name], msg=name)

    def test_autocast_keeps_losses_in_float32(self, model):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = self.loss(model, images())
        assert loss.dtype == torch.float32
        assert loss.isfinite()

    def test_compiles_into_one_graph(self, model):
        extra = {"noise": mask_noise()} if isinstance(model, FahrFaceForPreTraining) else {}
        compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
        torch.testing.assert_close(main_output(compiled(images(), **extra)), main_output(model(images(), **extra)))

    def test_drop_path_is_only_for_training_and_keeps_the_expectation(self):
        torch.manual_seed(0)
        drop = FahrFaceDropPath(0.25)
        branch = torch.ones(20_000, 1, 1)
        assert torch.equal(drop.eval()(branch), branch)
        dropped = drop.train()(branch)
        assert dropped.unique().tolist() == pytest.approx([0, 4 / 3])
        # Standard error of the mean: sqrt(.25 / .75 / 20,000) = .004.
        assert dropped.mean().item() == pytest.approx(1, abs=0.016)

    def test_drop_path_grows_with_depth(self):
        layers = FahrFaceModel(minute_config(num_hidden_layers=3, drop_path_rate=0.4)).layers
        assert [layer.drop_path.rate for layer in layers] == [0.0, 0.2, 0.4]


class TestPreTraining:
    def test_loss_equals_a_double_loop(self):
        for norm_pix_loss in (True, False):
            model = FahrFaceForPreTraining(minute_config(norm_pix_loss=norm_pix_loss)).eval()
            x = images(2)
            output = model(x, noise=mask_noise(2))
            logits, mask = output.logits.detach().double().numpy(), output.mask.numpy()
            pixels, errors = x.double().numpy(), []
            for b in range(2):
                for p in range(16):
                    if mask[b, p] == 0:
                        continue
                    row, column = divmod(p, 4)
                    patch = pixels[b, :, row * 8 : row * 8 + 8, column * 8 : column * 8 + 8]
                    target = np.array([patch[c, i, j] for i in range(8) for j in range(8) for c in range(3)])
                    if norm_pix_loss:
                        target = (target - target.mean()) / math.sqrt(target.var(ddof=1) + 1e-6)
                    errors.append(((logits[b, p] - target) ** 2).mean())
            assert len(errors) == 2 * 12
            assert output.loss.item() == pytest.approx(np.mean(errors), rel=1e-5)

    def test_mask_hides_the_patches_with_the_largest_noise(self):
        output = FahrFaceForPreTraining(minute_config()).eval()(images(), noise=mask_noise())
        kept_noise = mask_noise().masked_fill(output.mask.bool(), 2).sort(dim=1).values[:, :4]
        torch.testing.assert_close(kept_noise, mask_noise().sort(dim=1).values[:, :4])
        assert output.mask.sum(dim=1).tolist() == [12, 12, 12]

    def test_hidden_pixels_cannot_reach_the_prediction(self):
        model = FahrFaceForPreTraining(minute_config()).eval()
        x, noise = images(1), mask_noise(1)
        first = model(x, noise=noise)
        hidden = model.unpatchify(first.mask[:, :, None].expand(-1, -1, 192)).bool()
        second = model(torch.where(hidden, torch.randn_like(x), x), noise=noise)
        torch.testing.assert_close(first.logits, second.logits)
        third = model(torch.where(hidden, x, torch.randn_like(x)), noise=noise)
        assert not torch.allclose(first.logits, third.logits)

    def test_unpatchify_undoes_patchify(self):
        model = FahrFaceForPreTraining(minute_config())
        for height, width in ((32, 32), (16, 48)):
            x = torch.randn(2, 3, height, width)
            assert torch.equal(model.unpatchify(model.patchify(x), height, width), x)
        with pytest.raises(ValueError, match="has 16 patches of 8 pixels, got 15"):
            model.unpatchify(torch.zeros(1, 15, 192))

    def test_masking_is_random_and_repeatable(self):
        model = FahrFaceForPreTraining(minute_config()).eval()
        x = images()
        assert not torch.equal(model(x).mask, model(x).mask)
        assert torch.equal(model(x, noise=mask_noise()).logits, model(x, noise=mask_noise()).logits)

    def test_wrong_noise_and_too_small_images_are_named(self):
        model = FahrFaceForPreTraining(minute_config())
        with pytest.raises(ValueError, match=r"\(batch, patches\) = \(3, 16\), got \(3, 17\)"):
            model(images(), noise=torch.rand(3, 17))
        with pytest.raises(ValueError, match="of 1 patches keeps 0"):
            model(torch.zeros(1, 3, 8, 8))


class TestAge:
    def test_years_are_the_output_of_the_linear_layer(self):
        model = FahrFaceForAgeEstimation(minute_config()).eval()
        features = model.backbone(images()).pooler_output
        wanted = features @ model.age_head.weight[0] + model.age_head.bias
        torch.testing.assert_close(model(images()).age, wanted)

    def test_expectation_is_over_whole_years(self):
        model = FahrFaceForAgeEstimation(minute_config(age_output="expectation", min_age=18, max_age=90)).eval()
        output = model(images())
        logits = output.logits.detach().double().numpy()
        assert logits.shape == (3, 73)
        for row, age in zip(logits, output.age.tolist(), strict=True):
            weights = np.exp(row - row.max())
            assert age == pytest.approx(np.average(np.arange(18, 91), weights=weights), rel=1e-6)

    def test_expectation_in_bfloat16_keeps_its_years(self):
        model = FahrFaceForAgeEstimation(minute_config(age_output="expectation")).eval()
        with torch.no_grad():
            model.age_head.weight.zero_()
        # Uniform over 0..100. In bfloat16 the sum would miss 50 by a tenth of a year and more.
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert model(images(1)).age.item() == pytest.approx(50, abs=1e-4)

    def test_loss_of_years_is_the_mean_absolute_error(self):
        model = FahrFaceForAgeEstimation(minute_config()).eval()
        labels = torch.tensor([3, 50, 90])
        output = model(images(), labels=labels)
        assert output.loss.item() == pytest.approx((output.age - labels).abs().mean().item())

    def test_loss_of_the_expectation_is_divergence_plus_absolute_error(self):
        model = FahrFaceForAgeEstimation(minute_config(age_output="expectation", age_label_sigma=3.0)).eval()
        labels = [3.0, 50.5, 90.0]
        output = model(images(), labels=torch.tensor(labels))
        logits, total = output.logits.detach().double().numpy(), 0.0
        for row, label in zip(logits, labels, strict=True):
            target = np.exp(-0.5 * ((np.arange(101) - label) / 3.0) ** 2)
            target /= target.sum()
            log_predicted = row - row.max() - np.log(np.exp(row - row.max()).sum())
            total += (target * (np.log(np.maximum(target, 1e-300)) - log_predicted)).sum()
        total += (output.age - torch.tensor(labels)).abs().sum().item()
        assert output.loss.item() == pytest.approx(total / 3, rel=1e-5)

    def test_labels_of_another_shape_are_refused(self):
        model = FahrFaceForAgeEstimation(minute_config())
        with pytest.raises(ValueError, match=r"labels must have the shape \(3,\), got \(3, 1\)"):
            model(images(), labels=torch.zeros(3, 1))

    def test_it_learns(self):
        torch.manual_seed(0)
        model = FahrFaceForAgeEstimation(minute_config(age_output="expectation")).train()
        x, labels = images(8), torch.linspace(5, 85, 8)
        optimizer = torch.optim.AdamW(model.parameter_groups(lr=3e-3, weight_decay=0.01))
        for _ in range(150):
            optimizer.zero_grad()
            model(x, labels=labels).loss.backward()
            optimizer.step()
        assert (model.eval()(x).age - labels).abs().mean() < 2


class TestSurvival:
    def test_risk_is_the_linear_layer_on_cls(self):
        model = FahrFaceForSurvival(minute_config()).eval()
        features = model.backbone(images()).pooler_output
        wanted = features @ model.survival_head.weight[0] + model.survival_head.bias
        torch.testing.assert_close(model(images()).risk, wanted)

    @pytest.mark.parametrize("given", [{"duration"}, {"event"}, {"entry"}, {"duration", "entry"}])
    def test_some_of_the_labels_are_not_enough_for_a_loss(self, given):
        with pytest.raises(ValueError, match="A loss needs both duration and event"):
            FahrFaceForSurvival(minute_config())(images(), **{name: torch.ones(3) for name in given})


class TestFineTuning:
    def test_layer_groups_hold_every_parameter_once_in_order(self, model):
        groups = model.layer_groups()
        names = [name for members in groups.values() for name, _ in members]
        assert sorted(names) == sorted(name for name, _ in model.named_parameters())
        assert list(groups) == ["embeddings", "layers.0", "layers.1", model.head_name or "norm"]

    def test_learning_rates_fall_towards_the_input(self, model):
        groups = model.parameter_groups(lr=1e-3, layer_decay=0.5, weight_decay=0.05)
        rates = {group["name"].removesuffix(".no_decay"): group["lr"] for group in groups}
        assert list(rates.values()) == pytest.approx([1.25e-4, 2.5e-4, 5e-4, 1e-3])
        assert sum(len(group["params"]) for group in groups) == len(list(model.parameters()))
        for group in groups:
            assert group["weight_decay"] == (0.0 if group["name"].endswith("no_decay") else 0.05)
        undecayed = {id(p) for group in groups if group["weight_decay"] == 0 for p in group["params"]}
        for name, parameter in model.named_parameters():
            special = name.endswith(("cls_token", "mask_token", "position_embeddings"))
            assert (id(parameter) in undecayed) == (special or parameter.ndim == 1), name
        torch.optim.AdamW(groups)

    @pytest.mark.parametrize("wrong", [{"lr": 0}, {"lr": 1, "layer_decay": 1.5}, {"lr": 1, "weight_decay": -1}])
    def test_rates_out_of_range_are_refused(self, model, wrong):
        with pytest.raises(ValueError, match="Expected lr > 0"):
            model.parameter_groups(**wrong)

    @pytest.mark.parametrize("head_class", HEADS, ids=lambda c: c.__name__)
    def test_a_frozen_backbone_leaves_the_head_trainable(self, head_class):
        model = head_class(minute_config())
        model.freeze_backbone()
        assert {name.split(".")[0] for name, p in model.named_parameters() if p.requires_grad} == {model.head_name}
        assert {g["name"].split(".")[0] for g in model.parameter_groups(lr=1)} == {model.head_name}
        model.unfreeze_backbone()
        assert all(p.requires_grad for p in model.parameters())

    @pytest.mark.parametrize("head_class", HEADS, ids=lambda c: c.__name__)
    def test_reset_head_changes_the_head_alone(self, head_class, tmp_path):
        head_class(minute_config()).save_pretrained(tmp_path)
        model = head_class.from_pretrained(tmp_path)
        before = {name: p.clone() for name, p in model.named_parameters()}
        model.reset_head()
        changed = {name for name, p in model.named_parameters() if not torch.equal(p, before[name])}
        assert changed
        assert all(name.startswith(model.head_name) for name in changed)

    def test_the_backbone_has_no_head_to_reset(self):
        with pytest.raises(ValueError, match="FahrFaceModel has no head"):
            FahrFaceModel(minute_config()).reset_head()

    # PEFT asks transformers for an attribute that transformers has renamed.
    @pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
    def test_peft_lora(self, tmp_path):
        peft = pytest.importorskip("peft")
        torch.manual_seed(0)
        base = FahrFaceForAgeEstimation(minute_config())
        plain = base.eval()(images()).age
        adapters = peft.LoraConfig(r=4, target_modules=["q_proj", "v_proj"], modules_to_save=["age_head"])
        model = peft.get_peft_model(base, adapters).train()
        trainable = [name for name, p in model.named_parameters() if p.requires_grad]
        assert len(trainable) == 2 * 2 * 2 + 2
        assert all("lora_" in name or "age_head" in name for name in trainable)
        optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2)
        for _ in range(3):
            optimizer.zero_grad()
            model(pixel_values=images(), labels=torch.tensor([20.0, 40.0, 80.0])).loss.backward()
            optimizer.step()
        adapted = model.eval()(pixel_values=images()).age
        assert not torch.allclose(adapted, plain)
        merged = model.merge_and_unload()
        torch.testing.assert_close(merged(images()).age, adapted, atol=1e-4, rtol=1e-4)
        merged.save_pretrained(tmp_path)
        torch.testing.assert_close(
            FahrFaceForAgeEstimation.from_pretrained(tmp_path)(images()).age, merged(images()).age
        )

    def test_transformers_trainer(self, tmp_path):
        pytest.importorskip("accelerate")
        from transformers import Trainer, TrainingArguments

        torch.manual_seed(0)
        x, ages = images(16), torch.linspace(5, 85, 16)
        data = [{"pixel_values": x[i], "labels": ages[i]} for i in range(16)]
        model = FahrFaceForAgeEstimation(minute_config(age_output="expectation"))
        arguments = TrainingArguments(
            output_dir=str(tmp_path),
            num_train_epochs=30,
            per_device_train_batch_size=8,
            gradient_accumulation_steps=2,
            learning_rate=5e-3,
            report_to=[],
            save_strategy="no",
            disable_tqdm=True,
            use_cpu=True,
        )
        trainer = Trainer(model=model, args=arguments, train_dataset=data, eval_dataset=data)
        assert trainer.model_accepts_loss_kwargs is False
        before = trainer.evaluate()["eval_loss"]
        trainer.train()
        assert trainer.evaluate()["eval_loss"] < before / 2


@pytest.mark.parametrize("frozen", ["backbone", "all but adapters"])
def test_a_frozen_stem_keeps_the_statistics_of_its_training(frozen):
    from fahr_hf.training.lora import add_lora

    torch.manual_seed(0)
    model = FahrFaceForAgeEstimation(minute_config(stem="convolution"))
    before = {name: buffer.clone() for name, buffer in model.named_buffers()}
    model.freeze_backbone() if frozen == "backbone" else add_lora(model, rank=2)
    model.train()(images(), labels=torch.tensor([20.0, 30.0, 40.0])).loss.backward()
    assert all(torch.equal(buffer, before[name]) for name, buffer in model.named_buffers())
    model.unfreeze_backbone()
    model.train()(images())
    assert any(not torch.equal(buffer, before[name]) for name, buffer in model.named_buffers() if name in before)


def test_the_efficientnet_stem_is_the_first_half_of_efficientnet_lite0():
    timm = pytest.importorskip("timm")
    torch.manual_seed(0)
    theirs = timm.create_model("tf_efficientnet_lite0").eval()
    for norm in theirs.modules():
        if isinstance(norm, torch.nn.BatchNorm2d):
            norm.running_mean.uniform_(-0.1, 0.1)
            norm.running_var.uniform_(0.5, 2)
    ours = FahrFaceEfficientNetStem(3).eval()
    ours.load_state_dict(dict(zip(ours.state_dict(), theirs.state_dict().values(), strict=False)))
    image = torch.randn(2, 3, 112, 112)
    with torch.no_grad():
        features = theirs.blocks[:5](theirs.bn1(theirs.conv_stem(image)))
        assert torch.equal(ours(image), features)
        assert features.shape == (2, CHANNELS, 7, 7)


def test_the_efficientnet_stem_has_a_stride_of_its_own():
    with pytest.raises(ValueError, match="patch_size must be 16, got 8"):
        minute_config(stem="efficientnet", patch_size=8)


@pytest.mark.parametrize("stem", ["convolution", "efficientnet"])
def test_a_stem_computes_in_float32_in_a_model_of_bfloat16(stem, tmp_path):
    model = FahrFaceForAgeEstimation(minute_config(stem=stem, patch_size=16, image_size=64)).eval()
    model.save_pretrained(tmp_path)
    loaded = FahrFaceForAgeEstimation.from_pretrained(tmp_path, dtype=torch.bfloat16)
    seen = []
    loaded.backbone.embeddings.stem.register_forward_hook(lambda *called: seen.append(called[2]))
    pixel_values = torch.randn(1, 3, 64, 64)

    loaded(pixel_values=pixel_values)

    torch.testing.assert_close(seen[0], model.backbone.embeddings.stem(pixel_values))
    assert {parameter.dtype for parameter in loaded.backbone.layers.parameters()} == {torch.bfloat16}


def test_a_model_with_the_efficientnet_stem_learns_and_loads_again(tmp_path):
    torch.manual_seed(0)
    model = FahrFaceForAgeEstimation(minute_config(stem="efficientnet", patch_size=16, image_size=64))
    pixel_values, labels = torch.randn(4, 3, 64, 64), torch.tensor([20.0, 30.0, 40.0, 50.0])
    optimizer = torch.optim.AdamW(model.parameter_groups(1e-2, layer_decay=0.9, weight_decay=0.0))
    losses = []
    for _ in range(30):
        losses.append(model.train()(pixel_values, labels=labels).loss)
        optimizer.zero_grad()
        losses[-1].backward()
        optimizer.step()
    assert losses[-1] < 0.75 * losses[0]
    assert all(parameter.grad is not None for parameter in model.backbone.embeddings.stem.parameters())

    model.eval().save_pretrained(tmp_path)
    again = FahrFaceForAgeEstimation.from_pretrained(tmp_path)
    with torch.no_grad():
        assert torch.equal(again(pixel_values).age, model(pixel_values).age)
    assert (tmp_path / "efficientnet_stem_fahr_face.py").is_file()
