"""Every kind of masked image model, trained a few steps by `Trainer`: it sees the masks of the policy."""

import pickle

import numpy as np
import pytest
import torch
import transformers
from datasets import Dataset
from PIL import Image
from transformers import Trainer, TrainingArguments

from policylearn.collator.patch_collator import PatchCollator
from policylearn.config import MaskingConfig
from policylearn.masking.grid import Grid, grid_of
from policylearn.masking.patches import PatchField
from policylearn.policy.patches import mask_patches, patch_policy, random_patches
from policylearn.policy.scores import Scores
from policylearn.trainers import EpochCallback

SIZES = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
PICTURE = {"image_size": 12, "patch_size": 3}
PICTURES = Grid(12, 12, patch=3)
DECODER = {f"decoder_{name}": value for name, value in SIZES.items()}
SWIN = {"embed_dim": 8, "depths": [1], "num_heads": [2], "window_size": 2, "encoder_stride": 3}
MODELS = {
    "ViTMAEForPreTraining": ("ViTMAEConfig", {**SIZES, **DECODER, "mask_ratio": 0.75}),
    "ViTForMaskedImageModeling": ("ViTConfig", {**SIZES, "encoder_stride": 3}),
    "SwinForMaskedImageModeling": ("SwinConfig", SWIN),
    "BeitForMaskedImageModeling": ("BeitConfig", {**SIZES, "vocab_size": 20, "use_mask_token": True}),
    "VideoMAEForPreTraining": ("VideoMAEConfig", {**SIZES, **DECODER, "num_frames": 4, "tubelet_size": 2}),
}
ROWS, BATCH, EPOCHS = 8, 4, 2


def model_of(name, **settings):
    config, own = MODELS[name]
    torch.manual_seed(0)
    return getattr(transformers, name)(getattr(transformers, config)(**{**PICTURE, **own, **settings}))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"rate": 0}, "rate 0 is no share between 0 and 1"),
        ({"rate": "a"}, "rate 'a' is no share"),
        ({"seed": -1}, "seed -1 must be a whole number"),
        ({"policy": "runs/a"}, "policy is a str: give what load_policy gives"),
    ],
)
def test_settings_of_a_wrong_type_are_refused(settings, said):
    with pytest.raises(ValueError, match=said):
        PatchCollator(model_of("ViTForMaskedImageModeling"), **settings)


def test_a_policy_that_is_set_later_is_asked_and_held_against_the_model():
    model = model_of("ViTMAEForPreTraining")
    collator, rows = PatchCollator(model), [{"pixel_values": x} for x in pixels_for(model)]
    collator.set_epoch(0)
    random, policy = collator(rows)["noise"], policy_of(model)
    collator.policy = policy
    asked = PatchCollator(model, policy)
    asked.set_epoch(0)
    assert torch.equal(collator(rows)["noise"], asked(rows)["noise"])
    collator.policy = None
    assert torch.equal(collator(rows)["noise"], random)
    collator.policy = policy.under(rate=0.5)
    with pytest.raises(ValueError, match="hides 8 of 16 patches"):
        collator(rows)
    collator.policy = policy_of(model_of("ViTMAEForPreTraining", image_size=24))
    with pytest.raises(ValueError, match="the policy is over pictures of"):
        collator(rows)
    collator.policy, collator.seed = policy, -1
    with pytest.raises(ValueError, match="seed -1 must be a whole number"):
        collator.mask(torch.stack([row["pixel_values"] for row in rows]))
    collator.seed, collator.vary_repeats = 0, "no"
    with pytest.raises(ValueError, match="vary_repeats 'no' is neither True nor False"):
        collator(rows)


def test_examples_that_are_none_are_refused():
    model = model_of("ViTForMaskedImageModeling")
    collator, rows = PatchCollator(model, seed=None), [{"pixel_values": x} for x in pixels_for(model)]
    for batch, said in (
        ([], "one at least"),
        (torch.zeros(2, 3, 12, 12), "a list of examples with pixel_values"),
        ({"pixel_values": torch.zeros(2, 3, 12, 12)}, "a list of examples"),
        ([*rows, {"label": 3}], "examples have label and no pixel_values"),
        ([*rows, {"label": 3, "pixel_values": None}], "examples have label and no pixel_values"),
        (
            [{"pixel_values": torch.zeros(3, 12, 12, dtype=torch.uint8)}],
            r"of torch.uint8, and whole numbers mean other",
        ),
        ([{"pixel_values": torch.zeros(1, 3, 12, 12)}], r"are \[1, 3, 12, 12\], .* no films: give \[3, 12, 12\]"),
        ([*rows, {"pixel_values": torch.full((3, 12, 12), torch.nan)}], "of row 8 of the batch are NaN or infinite"),
        ([*rows, {"pixel_values": torch.zeros(3, 15, 12)}], r"of \[3, 12, 12\] and \[3, 15, 12\]: make all pictures"),
    ):
        with pytest.raises(ValueError, match=said):
            collator(batch)


def policy_of(model, rate=0.75):
    grid = grid_of(model.config)
    codebook = torch.linspace(0.3, 0.7, 5)[:, None].expand(5, grid.depth)
    field = PatchField(codebook, grid, MaskingConfig(rate=rate), zones=2)
    return patch_policy(field, {"bright": Scores(torch.arange(20.0) / 10)}, {"bright": 2.0})


def pixels_for(model):
    grid = grid_of(model.config)
    return grid.pixels(torch.rand(ROWS, grid.count, grid.depth, generator=torch.Generator().manual_seed(0)))


def seen_in_training(model, rows, collator, folder, **settings):
    """What the model was given, batch by batch."""
    batches: list[dict] = []
    keep = lambda module, args, given: batches.append({k: v.clone() for k, v in given.items() if torch.is_tensor(v)})  # noqa: E731
    watching = model.register_forward_pre_hook(keep, with_kwargs=True)
    told = {"per_device_train_batch_size": BATCH, "num_train_epochs": EPOCHS, "report_to": [], "use_cpu": True}
    arguments = TrainingArguments(str(folder), **told, save_strategy="no", disable_tqdm=True, **settings)
    trainer = Trainer(model, arguments, train_dataset=rows, data_collator=collator, callbacks=[EpochCallback(collator)])
    assert np.isfinite(trainer.train().training_loss)
    watching.remove()
    return batches


@pytest.mark.parametrize("name", MODELS)
def test_a_model_in_training_sees_the_masks_of_the_policy(name, tmp_path):
    model = model_of(name)
    policy, rows = policy_of(model), [{"pixel_values": picture} for picture in pixels_for(model)]
    collator = PatchCollator(model, policy, seed=5)
    batches = seen_in_training(model, rows, collator, tmp_path)
    assert len(batches) == EPOCHS * ROWS // BATCH
    for step, batch in enumerate(batches):
        wanted = mask_patches(policy, batch["pixel_values"], seed=5, epoch=step // (ROWS // BATCH))
        if name == "ViTMAEForPreTraining":
            with torch.no_grad():
                removed = model(batch["pixel_values"], noise=batch["noise"]).mask
            assert torch.equal(removed.bool(), wanted.mask)
        else:
            assert torch.equal(batch["bool_masked_pos"], wanted.mask)
        if name == "BeitForMaskedImageModeling":
            assert torch.equal(batch["labels"], wanted.types[wanted.mask])
        assert wanted.hidden() == 0.75 * wanted.mask.shape[1]
    assert not torch.equal(mask_patches(policy, rows[0]["pixel_values"][None], 5, 0).mask, wanted.mask[:1])


def test_pictures_go_through_the_processor_of_the_model_and_boxes_come_with_them(tmp_path):
    model = model_of("ViTMAEForPreTraining")
    draw = np.random.default_rng(0)
    pictures = [Image.fromarray(draw.integers(0, 256, (20, 16, 3), dtype=np.uint8)) for _ in range(ROWS)]
    rows = Dataset.from_dict({"image": pictures, "region": [[[0.0, 0.0, 1.0, 0.5]]] * ROWS, "label": [0] * ROWS})
    processor = transformers.ViTImageProcessorPil(size={"height": 12, "width": 12})
    policy = patch_policy(policy_of(model).field, {}, {"region": 15.0}).under(p_max=1.0)
    collator = PatchCollator(model, policy, processor=processor)
    batches = seen_in_training(model, rows, collator, tmp_path, remove_unused_columns=False)
    for batch in batches:
        assert batch["pixel_values"].shape == (BATCH, 3, 12, 12)
        assert (batch["noise"].reshape(BATCH, 4, 4)[:, :2] >= 1).all()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (
            {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]},
            r"image_std .0\.229, .* 0\.5 and 0\.5:",
        ),
        ({"do_normalize": False}, "image_mean 0.0 and image_std 1.0"),
        ({"image_mean": 0.5, "image_std": 0.5}, None),
        ({"image_mean": [0.48] * 3, "image_std": [0.52] * 3}, None),
    ],
)
def test_a_processor_that_normalises_otherwise_than_the_policy_is_refused(given, said):
    model, processor = model_of("ViTMAEForPreTraining"), transformers.ViTImageProcessorPil(**given)
    PatchCollator(model, processor=processor)  # no visual words, nothing to be held against
    if said is None:
        PatchCollator(model, policy_of(model), processor=processor)
    else:
        with pytest.raises(ValueError, match=said):
            PatchCollator(model, policy_of(model), processor=processor)


def test_a_picture_without_boxes_takes_none_from_those_beside_it():
    model = model_of("ViTMAEForPreTraining")
    policy = patch_policy(policy_of(model).field, {}, {"region": 15.0}).under(p_max=1.0)
    one, other, third = ({"pixel_values": picture} for picture in pixels_for(model)[:3])
    one |= {"region": [[0.0, 0.0, 1.0, 0.5]]}
    noise = PatchCollator(model, policy)([one, other, third | {"region": None}])["noise"].reshape(3, 4, 4)
    assert (noise[0, :2] >= 1).all() and not (noise[1, :2] >= 1).all()
    assert torch.equal(noise[1:], PatchCollator(model, policy)([other, third])["noise"].reshape(2, 4, 4))


def test_a_processor_without_its_column_says_which():
    collator = PatchCollator(model_of("ViTForMaskedImageModeling"), processor=lambda pictures, **given: {})
    with pytest.raises(ValueError, match=r"examples have img and no image: set PatchCollator\(image=…\)"):
        collator([{"img": Image.new("RGB", (12, 12))}])


def test_masks_are_the_same_in_workers(tmp_path):
    model = model_of("SwinForMaskedImageModeling")
    rows = [{"pixel_values": picture} for picture in pixels_for(model)]
    masks = []
    for workers in (0, 2):
        collator = PatchCollator(model, policy_of(model))
        batches = seen_in_training(
            model_of("SwinForMaskedImageModeling"), rows, collator, tmp_path, dataloader_num_workers=workers
        )
        masks.append(torch.cat([batch["bool_masked_pos"] for batch in batches]))
    assert torch.equal(*masks)


def test_without_a_policy_every_patch_is_as_likely_at_the_rate_of_the_model():
    model = model_of("ViTMAEForPreTraining", mask_ratio=0.5)
    found = PatchCollator(model).mask(pixels_for(model))
    assert found.hidden() == 8 and torch.allclose(found.p, torch.tensor(0.5).double())


def test_a_collator_travels_without_its_model():
    model = model_of("SwinForMaskedImageModeling")
    collator = PatchCollator(model, policy_of(model))
    copy = pickle.loads(pickle.dumps(collator))
    for one in (collator, copy):
        one.set_epoch(3)
    assert torch.equal(copy.mask(pixels_for(model)).mask, collator.mask(pixels_for(model)).mask)
    assert not any(
        isinstance(value, torch.nn.Module) for value in vars(collator).values() if value is not collator.policy
    )


def test_frames_of_sound_are_hidden_by_the_same_value():
    config = transformers.Wav2Vec2Config(
        **SIZES,
        conv_dim=[8],
        conv_stride=[4],
        conv_kernel=[4],
        num_feat_extract_layers=1,
        num_conv_pos_embeddings=4,
        num_conv_pos_embedding_groups=2,
        apply_spec_augment=True,
    )
    model, wave = transformers.Wav2Vec2Model(config), torch.randn(2, 64)
    frames = Grid(1, 16, patch=1, channels=4)  # sixteen frames, one beside the other, of four samples each
    policy = random_patches(frames, MaskingConfig(rate=0.5))
    mask = mask_patches(policy, wave.reshape(2, 16, 4).permute(0, 2, 1)[:, :, None])
    with torch.no_grad():
        hidden = model(wave, mask_time_indices=mask.bool_masked_pos()).last_hidden_state
    assert hidden.shape == (2, 16, 16) and mask.hidden() == 8


@pytest.mark.parametrize(
    ("model", "made", "said"),
    [
        ("ViTMAEForPreTraining", {"rate": 0.5}, "hides 8 of 16 patches, the model's config.mask_ratio removes 12"),
        ("BeitForMaskedImageModeling", {"vocab_size": 7}, "knows 7 visual words, the policy has 20"),
        ("SwinForMaskedImageModeling", {"image_size": 24}, "the policy is over pictures of"),
    ],
)
def test_what_does_not_go_together_is_refused_before_training(model, made, said):
    policy, rate = policy_of(model_of(model)), made.pop("rate", None)
    with pytest.raises(ValueError, match=said):
        PatchCollator(model_of(model, **made), policy, rate=rate)


def test_films_need_a_design_of_fixed_size():
    model = model_of("VideoMAEForPreTraining")
    with pytest.raises(ValueError, match="hidden, and this model needs"):
        collator = PatchCollator(model, policy_of(model).under(design="independent"))
        collator.mask(pixels_for(model))


def test_a_model_that_takes_no_mask_is_refused():
    config = transformers.ViTConfig(**PICTURE, **SIZES)
    with pytest.raises(ValueError, match="ViTForImageClassification takes neither noise nor bool_masked_pos"):
        PatchCollator(transformers.ViTForImageClassification(config))


def test_copies_of_a_picture_share_what_there_is_to_hide():
    model = model_of("ViTForMaskedImageModeling")
    own = {"rate": 0.25, "design": "explore", "draws": 4, "copies": 4, "p_max": 1.0}
    policy, pixels = random_patches(grid_of(model.config), MaskingConfig(**own)), pixels_for(model)[:2]
    batch = PatchCollator(model, policy)([{"pixel_values": picture} for picture in pixels])
    assert torch.equal(batch["pixel_values"], pixels.repeat_interleave(4, 0))
    assert batch["bool_masked_pos"].reshape(2, 4, -1).long().sum(1).eq(1).all()


def test_words_are_told_where_there_are_some_and_those_of_examples_come_first():
    model, one_word = model_of("BeitForMaskedImageModeling"), random_patches(PICTURES, MaskingConfig()).field
    structure = patch_policy(one_word, {}, {"block": 1.0})
    pixels, own = pixels_for(model)[:3], torch.arange(48).reshape(3, 4, 4) % 20
    rows = [{"pixel_values": picture, "labels": words} for picture, words in zip(pixels, own, strict=True)]
    for policy in (None, structure, policy_of(model)):
        batch = PatchCollator(model, policy)(rows)
        assert torch.equal(batch["labels"], own.flatten(1)[batch["bool_masked_pos"]])
    for policy in (None, structure):
        with pytest.raises(ValueError, match="there is but one visual word: give examples a column 'labels'"):
            PatchCollator(model, policy)([row | {"labels": None} for row in rows])
    classes = [row | {"labels": 3} for row in rows]  # of another task
    batch = PatchCollator(model, policy_of(model))(classes)
    assert torch.equal(
        batch["labels"], policy_of(model).field.types(PICTURES.patches(pixels))[batch["bool_masked_pos"]]
    )


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (None, "row 2 of the batch has 0 words in its column 'labels' and 16 patches: give every example"),
        (3, "row 2 of the batch has 0 words"),
        (torch.zeros(8, 8), "row 2 of the batch has 64 words"),
        (torch.full((4, 4), 20), "labels of row 2 of the batch are words from 20 to 20, the model knows 0 to 19: set"),
        ([-1] * 16, "words from -1 to -1"),
    ],
)
def test_words_of_examples_are_those_of_all_patches_and_known(words, said):
    model = model_of("BeitForMaskedImageModeling")
    rows = [{"pixel_values": picture, "labels": [5] * 16} for picture in pixels_for(model)[:3]]
    policy = policy_of(model).under(copies=2)
    with pytest.raises(ValueError, match=said):
        PatchCollator(model, policy)([*rows[:2], rows[2] | {"labels": words}])


@pytest.mark.parametrize("name", ["BeitForMaskedImageModeling", "ViTForMaskedImageModeling"])
def test_a_step_is_the_same_in_one_batch_and_in_several(name, tmp_path):
    weights = []
    for micro in (8, 2):
        model = model_of(name)
        rows = [{"pixel_values": picture} for picture in pixels_for(model)]
        told = {"per_device_train_batch_size": micro, "gradient_accumulation_steps": 8 // micro, "max_steps": 1}
        arguments = TrainingArguments(
            str(tmp_path), **told, optim="sgd", max_grad_norm=0, report_to=[], use_cpu=True, save_strategy="no"
        )
        collator = PatchCollator(model, policy_of(model))
        told = {"data_collator": collator, "callbacks": [EpochCallback(collator)]}
        Trainer(model, arguments, train_dataset=rows, **told).train()
        weights.append(torch.cat([parameter.flatten() for parameter in model.parameters()]))
    torch.testing.assert_close(*weights, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("prior", ["region", "region:rank"])
def test_boxes_are_read_whatever_is_made_of_them(prior):
    model = model_of("ViTMAEForPreTraining", mask_ratio=0.5)
    policy = patch_policy(policy_of(model).field, {}, {prior: 40.0}).under(p_max=1.0, rate=0.5)
    row = {"pixel_values": pixels_for(model)[0], "region": [[0.0, 0.0, 1.0, 0.5]]}
    assert (PatchCollator(model, policy)([row])["noise"].reshape(4, 4) >= 1).all(1).tolist() == [True] * 2 + [False] * 2


def test_boxes_of_what_a_processor_cuts_are_refused():
    model, sizes = model_of("ViTForMaskedImageModeling"), {"size": {"height": 24, "width": 24}}
    policy = patch_policy(policy_of(model).field, {}, {"region:rank": 15.0})
    cuts = transformers.DeiTImageProcessorPil(**sizes, crop_size={"height": 12, "width": 12})
    PatchCollator(model, policy_of(model), processor=cuts)
    with pytest.raises(
        ValueError, match=r"has do_center_crop, and the policy goes by boxes of whole pictures: have it resize"
    ):
        PatchCollator(model, policy, processor=cuts)


def test_models_whose_patches_are_no_squares_side_by_side_are_refused():
    for model, own in (("Hiera", {"image_size": [224, 224]}), ("ViT", {"image_size": [8, 8], "patch_size": [4, 2]})):
        config = getattr(transformers, f"{model}Config")(**own)
        with pytest.raises(ValueError, match=r"cuts patches of .*: take one whose patches are squares side by side"):
            grid_of(config)
