"""Texts in chunks: bits and memory of the way back."""

import weakref
from contextlib import nullcontext

import numpy as np
import pytest
import torch
from transformers import BertConfig, BertForMaskedLM, DistilBertConfig, DistilBertForMaskedLM

from policylearn.models import chunks
from policylearn.models.chunks import in_chunks
from policylearn.models.model import Elsewhere, InnerModel

LAYERS, WIDTH = 4, 32
LENGTHS = np.random.default_rng(0).integers(3, 12, 40)


def batch(rows):
    width = int(LENGTHS[rows].max())
    ids = np.random.default_rng(1).integers(5, 50, (len(LENGTHS), LENGTHS.max()))[rows, :width]
    return torch.from_numpy(ids), torch.arange(width) < torch.from_numpy(LENGTHS[rows])[:, None]


def bert():
    torch.manual_seed(0)
    shape = {"hidden_size": WIDTH, "num_hidden_layers": LAYERS, "num_attention_heads": 2, "intermediate_size": 64}
    return InnerModel(BertForMaskedLM(BertConfig(vocab_size=50, initializer_range=0.2, **shape)).eval())


def distilbert():
    torch.manual_seed(0)
    config = DistilBertConfig(vocab_size=50, dim=WIDTH, n_layers=LAYERS, n_heads=2, hidden_dim=64)
    return InnerModel(DistilBertForMaskedLM(config).eval())


def slopes(model, features, rows):
    """Of a loss that hangs on every feature, in all parameters of the encoder."""
    x = in_chunks(features, batch, rows, LENGTHS[rows])
    found = torch.autograd.grad(x.tanh().square().sum(), list(model.parameters()), allow_unused=True)
    return [g for g in found if g is not None]


@pytest.mark.parametrize("make", [bert, distilbert])
@pytest.mark.parametrize("chunk", [24, 100, 10_000])
def test_what_is_computed_again_has_the_bits_of_what_is_kept(make, chunk, monkeypatch):
    monkeypatch.setattr(chunks, "CHUNK", chunk)
    model, rows = make(), np.arange(len(LENGTHS))
    found = slopes(model, model, rows)
    monkeypatch.setattr(chunks, "checkpoint", lambda function, *inputs, use_reentrant: function(*inputs))
    monkeypatch.setattr(chunks, "layers_again", nullcontext)
    kept = slopes(model, model, rows)
    assert len(found) > 10 * LAYERS and all(map(torch.equal, found, kept))


def test_chunks_add_up_to_one(monkeypatch):
    model, rows = bert().double(), np.arange(len(LENGTHS))
    whole = slopes(model, model, rows)
    monkeypatch.setattr(chunks, "CHUNK", 24)
    for one, other in zip(slopes(model, model, rows), whole, strict=True):
        torch.testing.assert_close(one, other, atol=1e-12, rtol=1e-9)


def test_a_model_at_other_parameters_comes_back_to_them(monkeypatch):
    monkeypatch.setattr(chunks, "CHUNK", 24)
    model, rows = bert(), np.arange(len(LENGTHS))
    other = {name: (p.detach() * 1.5).requires_grad_() for name, p in model.named_parameters()}
    x = in_chunks(Elsewhere(model, other), batch, rows, LENGTHS[rows])
    found = torch.autograd.grad(x.tanh().square().sum(), list(other.values()), allow_unused=True)
    model.load_state_dict(other, strict=False)  # the head has the embeddings once more
    expected = slopes(model, model, rows)
    for one, two in zip((g for g in found if g is not None), expected, strict=True):
        torch.testing.assert_close(one, two)


def most_alive(model, rows) -> int:
    """The most inner activations that are held at once, forwards and backwards."""
    alive, most = weakref.WeakSet(), [0]

    def count(module, inputs, output):
        alive.add(output)
        most[0] = max(most[0], len(alive))

    handles = [layer.intermediate.dense.register_forward_hook(count) for layer in model.mlm.bert.encoder.layer]
    slopes(model, model, rows)
    for handle in handles:
        handle.remove()
    return most[0]


def test_memory_hangs_neither_on_the_number_of_examples_nor_on_that_of_layers(monkeypatch):
    monkeypatch.setattr(chunks, "CHUNK", 24)
    model = bert()
    few, many = most_alive(model, np.arange(10)), most_alive(model, np.arange(40))
    assert few == many <= 2 < LAYERS


def test_the_layers_are_as_they_were(monkeypatch):
    monkeypatch.setattr(chunks, "CHUNK", 24)
    model = bert()
    slopes(model, model, np.arange(40))
    assert not any("forward" in vars(layer) for layer in model.modules())
