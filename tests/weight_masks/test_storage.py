import copy
import json
import os
import random
import re
from dataclasses import replace

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from policylearn.weight_masks.storage import MANIFEST, load_masks, save_masks
from policylearn.weight_masks.task import learned_masks


@pytest.fixture
def path(masks, tmp_path):
    return save_masks(tmp_path / "task" / "masks.safetensors", masks)


def test_what_was_saved_is_loaded(masks, path, encoder, learned, texts):
    found = load_masks(path)
    assert found.labels == masks.labels and found.shapes == masks.shapes and found.encoder == masks.encoder
    assert all(torch.equal(found.bits[name], bits) for name, bits in masks.bits.items())
    assert torch.equal(found.weight, masks.weight) and torch.equal(found.bias, masks.bias)
    for name, mask in learned.masks().items():
        assert torch.equal(found.masks()[name.removeprefix("mlm.bert.")], mask.bool())
    assert os.listdir(path.parent) == [path.name]


def test_a_weight_takes_one_bit(masks, path):
    weights = sum(rows * columns for rows, columns in masks.shapes.values())
    assert sum(bits.nbytes for bits in masks.bits.values()) * 8 == weights
    assert masks.nbytes == weights // 8 + 4 * (masks.weight.numel() + masks.bias.numel())
    assert masks.nbytes < path.stat().st_size < masks.nbytes + 6000  # the manifest


def refused(path) -> str:
    with pytest.raises(ValueError) as error:
        load_masks(path)
    assert str(path) in str(error.value)
    return str(error.value)


def spoil(path, tensors=None, **manifest):
    """The file again, with other tensors and other entries of the manifest."""
    with safe_open(path, "pt") as file:
        known = json.loads(file.metadata()[MANIFEST])
    found = load_file(path) | (tensors or {})
    kept = {name: tensor for name, tensor in found.items() if tensor is not None}
    save_file(kept, path, {MANIFEST: json.dumps(known | manifest)})
    return path


def test_files_that_are_something_else_are_refused(path, tmp_path):
    assert "no such file" in refused(tmp_path / "nothing")
    assert "no such file" in refused(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    assert "no such file" in refused(tmp_path / "pipe")  # at once: nobody will ever write to it
    save_file({"x": torch.zeros(2)}, tmp_path / "other")
    assert "it holds no weight masks" in refused(tmp_path / "other")
    save_file({"x": torch.zeros(2)}, tmp_path / "other", {MANIFEST: "[" * 100_000})
    assert "cannot be read" in refused(tmp_path / "other")


@pytest.mark.parametrize(
    ("manifest", "message"),
    [
        ({"format": 2}, "format 2, this policylearn reads 1"),
        ({"format": "1"}, "format"),
        ({"labels": ["a"]}, "labels"),
        ({"labels": ["a", "b", "c"]}, r"'head.weight' is torch.float32 \[2, 16\], not torch.float32 \[3, 16\]"),
        ({"shapes": {}}, "shapes"),
        ({"shapes": {"x": [2, 2]}}, "is missing, or is one too many"),
        ({"encoder": {}}, "encoder"),
        ({"encoder": {"x": "y"}}, "none of the encoder's"),
        ({"more": 1}, "more"),
    ],
)
def test_a_manifest_that_is_wrong_is_refused(path, manifest, message):
    assert re.search(message, refused(spoil(path, **manifest)))


def test_tensors_that_are_wrong_are_refused(path, masks):
    name = next(iter(masks.bits))
    weight = masks.weight.clone()
    weight[0, 0] = float("nan")
    assert "'head.weight' is not finite" in refused(spoil(path, {"head.weight": weight}))
    save_masks(path, masks)
    assert f"'bits.{name}' is torch.uint8" in refused(spoil(path, {f"bits.{name}": masks.bits[name][:-1].clone()}))
    save_masks(path, masks)
    assert "missing, or is one too many" in refused(spoil(path, {"head.bias": None}))
    save_masks(path, masks)
    shapes = {known: list(shape) for known, shape in masks.shapes.items()}
    assert "cannot be read" in refused(spoil(path, shapes=shapes | {name: [-16, -16]}))
    save_masks(path, masks)
    assert "cannot be read" in refused(spoil(path, shapes=shapes | {name: [10**30, 10**30]}))


def test_whatever_happens_to_the_bytes_is_an_error_or_a_file(path):
    """Cut short anywhere, or with bytes changed: never anything but a ValueError."""
    data, draw = path.read_bytes(), random.Random(0)
    for cut in [0, 1, 7, 8, 9, 100, len(data) // 2, len(data) - 1]:
        path.write_bytes(data[:cut])
        refused(path)
    header = int.from_bytes(data[:8], "little")
    for _ in range(150):
        spoilt = bytearray(data)
        for _ in range(draw.randint(1, 3)):
            spoilt[draw.randrange(8 + header)] = draw.randrange(256)
        path.write_bytes(bytes(spoilt))
        try:
            load_masks(path)
        except ValueError as error:
            assert str(path) in str(error)


def test_another_encoder_is_refused_by_name(problem, masks, encoder):
    masks.check(encoder)
    masks.weights(encoder)
    other = problem.fresh_model(0)
    name = "encoder.layer.0.output.dense.weight"
    with torch.no_grad():
        other.mlm.bert.encoder.layer[0].output.dense.weight[0, 0] += 1e-3
    with pytest.raises(ValueError, match=f"learned on another encoder: here {name} has another shape or other values"):
        masks.weights(other)
    other = problem.fresh_model(0)
    del other.mlm.bert.encoder.layer[0].output.LayerNorm.weight
    with pytest.raises(ValueError, match=r"here encoder\.layer\.0\.output\.LayerNorm\.weight is missing"):
        masks.check(other)


def test_an_encoder_that_computes_something_else_is_refused(problem, masks):
    other = problem.fresh_model(0)
    masks.check(other)
    for name, value in (("hidden_act", "relu"), ("num_attention_heads", 1), ("layer_norm_eps", 0.1)):
        was = getattr(other.mlm.config, name)
        setattr(other.mlm.config, name, value)
        with pytest.raises(ValueError, match=f"another encoder: here config.{name} is {value}, and not {was}; load"):
            masks.check(other)
        older = {name: digest for name, digest in masks.encoder.items() if not name.startswith("config.")}
        replace(masks, encoder=older).check(other)  # a file that says nothing of it
        setattr(other.mlm.config, name, was)


def test_an_encoder_of_another_type_is_said_to_be_that(problem, masks):
    with pytest.raises(ValueError, match=r"is of torch\.bfloat16, .* load the model with dtype=torch\.float32"):
        masks.check(problem.fresh_model(0).to(torch.bfloat16))
    with pytest.raises(ValueError, match=r"the encoder is a BertForMaskedLM: give InnerModel\(model\)"):
        masks.weights(problem.fresh_model(0).mlm)


def test_shapes_that_are_not_the_encoders_are_refused(masks, encoder):
    turned = {name: shape[::-1] for name, shape in masks.shapes.items()}
    with pytest.raises(ValueError, match=r"the weight mask of .* has shape \[\d+, \d+\], the encoder \[\d+, \d+\]"):
        replace(masks, shapes=turned).check(encoder)
    with pytest.raises(ValueError, match="has width 9, the encoder 16: learn it anew"):
        replace(masks, weight=torch.zeros(2, 9)).check(encoder)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda masks: {"weight": masks.weight[:1]}, r"'head.weight' is torch.float32 \[1, 16\], not .* \[2, 16\]"),
        (lambda masks: {"weight": masks.weight.double()}, r"'head.weight' is torch.float64"),
        (lambda masks: {"bias": masks.bias * torch.nan}, "'head.bias' is not finite"),
        (lambda masks: {"shapes": {name: (3, 3) for name in masks.shapes}}, r"'bits.* not torch.uint8 \[2\]"),
    ],
)
def test_what_would_not_be_read_is_not_written(masks, tmp_path, change, said):
    with pytest.raises(ValueError, match=said):
        save_masks(tmp_path / "masks.safetensors", replace(masks, **change(masks)))
    assert not os.listdir(tmp_path)


def test_a_head_is_written_however_it_lies_in_memory(problem, learned, tmp_path):
    other = copy.copy(learned)
    other._parameters = learned._parameters | {"weight": torch.nn.Parameter(learned.weight.detach().T.contiguous().T)}
    assert not other.weight.is_contiguous()
    found = load_masks(save_masks(tmp_path / "masks.safetensors", learned_masks(other, problem.labels)))
    assert torch.equal(found.weight, learned.weight)
