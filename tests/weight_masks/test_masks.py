import pytest
import torch
from transformers import AutoConfig, AutoModelForMaskedLM, AutoModelForSeq2SeqLM

from policylearn.models.model import InnerModel
from policylearn.models.whole import inner_model
from policylearn.weight_masks.classifier import MaskedClassifier
from policylearn.weight_masks.masks import LOWEST, THRESHOLD, binarise, highest, initial_scores, masked, pack, unpack
from policylearn.weight_masks.selection import maskable
from policylearn.weight_masks.task import learned_masks

from .architectures import ARCHITECTURES, SEQ2SEQ, SMALL, SPECIALS

PER_LAYER = {"modernbert": 4}
"""Linear maps in a layer: query, key and value are one, and the gate is with the intermediate one."""


@pytest.mark.parametrize("sparsity", [0.03, 0.05, 0.1, 0.5])
def test_the_share_that_is_masked_at_first(sparsity):
    scores = initial_scores({"a": torch.Size([400, 500])}, sparsity, seed=3)["a"]
    assert scores.min() >= -LOWEST and scores.max() <= highest(sparsity)
    assert abs(1 - binarise(scores).mean().item() - sparsity) < 4 * (sparsity * (1 - sparsity) / 200_000) ** 0.5
    assert torch.equal(scores, initial_scores({"a": torch.Size([400, 500])}, sparsity, seed=3)["a"])
    assert not torch.equal(scores, initial_scores({"a": torch.Size([400, 500])}, sparsity, seed=4)["a"])


def test_binarisation_has_the_identity_for_its_derivative_and_can_be_differentiated_again():
    """y = Σ a M(m)² with M's slope 1: ∂y/∂m = 2 a M, and of that in a 2 M, in m again 2 a."""
    m = torch.tensor([0.5, THRESHOLD, -0.3], dtype=torch.float64, requires_grad=True)
    a = torch.tensor([2.0, 3.0, 5.0], dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad((a * binarise(m).square()).sum(), m, create_graph=True)
    assert slope.tolist() == [4.0, 0.0, 0.0]
    in_a, in_m = torch.autograd.grad(slope.sum(), [a, m])
    assert in_a.tolist() == [2.0, 0.0, 0.0] and in_m.tolist() == [4.0, 6.0, 10.0]


def test_masks_change_the_matrices_they_are_for():
    w, b = torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.ones(2)
    found = masked({"w": w, "b": b}, {"w": torch.tensor([[1, 0], [0, 1]])})
    assert found["w"].tolist() == [[1.0, 0.0], [0.0, 4.0]] and found["b"] is b
    assert w.tolist() == [[1.0, 2.0], [3.0, 4.0]]


@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (8, 16), (7, 9)])
def test_bits_are_what_was_packed(shape):
    mask = torch.rand(shape, generator=torch.Generator().manual_seed(1)) < 0.5
    bits = pack(mask)
    assert bits.dtype == torch.uint8 and len(bits) == -(-mask.numel() // 8)
    assert torch.equal(unpack(bits, mask.shape), mask)
    assert torch.equal(unpack(pack(mask.double()), mask.shape), mask)


@pytest.fixture(params=ARCHITECTURES)
def model(request):
    torch.manual_seed(0)
    config = AutoConfig.for_model(request.param, **ARCHITECTURES[request.param])
    return InnerModel(AutoModelForMaskedLM.from_config(config).eval())


def test_the_linear_maps_of_the_layers_take_part_and_nothing_else(model):
    found, parameters = maskable(model, 0), dict(model.named_parameters())
    assert len(found) == 3 * PER_LAYER.get(model.mlm.config.model_type, 6)
    assert all(parameters[name].shape == shape and len(shape) == 2 for name, shape in found.items())
    assert not any("embed" in name or "norm" in name.lower() for name in found)


def test_layers_below_the_first_stay_whole(model):
    assert list(maskable(model, 2)) == [name for name in maskable(model, 0) if ".2." in name]
    with pytest.raises(ValueError, match=r"no linear map is left to mask from layer 3 on: \w+ has 3 layers"):
        maskable(model, 3)


def test_a_model_without_layers_is_refused():
    torch.manual_seed(0)
    model = InnerModel(AutoModelForMaskedLM.from_config(AutoConfig.for_model("bert", **SMALL)))
    model.mlm.base_model.encoder.layer = torch.nn.Linear(2, 2)
    with pytest.raises(ValueError, match="BertModel has no list of layers"):
        maskable(model, 0)


@pytest.mark.parametrize("kind", SEQ2SEQ)
def test_of_an_encoder_decoder_the_encoder_is_masked_and_all_its_scores_learn(kind):
    torch.manual_seed(0)
    model = inner_model(AutoModelForSeq2SeqLM.from_config(AutoConfig.for_model(kind, **SEQ2SEQ[kind])).eval())
    found = maskable(model, 0)
    assert len(found) == 3 * 6 and not any("decoder" in name for name in found)
    classifier = MaskedClassifier(model, initial_scores(found, 0.3, seed=0), torch.randn(2, 8), torch.zeros(2))
    texts = torch.randint(4, 30, (5, 7)), torch.ones(5, 7, dtype=torch.bool)
    logits = classifier(*texts)
    logits.sum().backward()
    assert all(m.grad is not None and m.grad.any() for m in classifier.scores)
    weights = learned_masks(classifier, ["a", "b"]).weights(model)
    features = torch.func.functional_call(model, weights, texts)
    torch.testing.assert_close(features @ classifier.weight.T, logits)


def test_layers_whose_parts_are_apart_take_part_whole():
    torch.manual_seed(0)
    shape = {"vocab_size": 30, "emb_dim": 8, "n_layers": 3, "n_heads": 2, "pad_token_id": 0}
    model = inner_model(AutoModelForMaskedLM.from_config(AutoConfig.for_model("xlm", **shape)).eval())
    assert len(maskable(model, 0)) == 3 * 6 and len(maskable(model, 2)) == 6


def test_layers_without_linear_maps_are_refused_as_that():
    torch.manual_seed(0)
    config = AutoConfig.for_model("squeezebert", **SMALL | SPECIALS, embedding_size=8)
    model = inner_model(AutoModelForMaskedLM.from_config(config).eval())
    with pytest.raises(ValueError, match=r"the layers of SqueezeBertModel have no linear map as nn\.Linear"):
        maskable(model, 0)
