"""The outer gradient part by part: the derivative of the whole, at the memory of a part."""

import weakref

import numpy as np
import pytest
import torch

from policylearn.arms.policies import build_uniform
from policylearn.credit import outer
from policylearn.credit.credits import derivatives, masked_texts, take
from policylearn.credit.domain import labelled_loss
from policylearn.credit.outer import outer_gradients, parts_of
from policylearn.data.tokens import TokenRows
from policylearn.inner.trajectory import Trajectory
from policylearn.metagrad.one_step import token_derivatives
from policylearn.models.parameters import carriers
from policylearn.problems.of_config import problem_of


def cut(monkeypatch, **sizes):
    for name, size in sizes.items():
        monkeypatch.setattr(outer, name, size)


@pytest.mark.parametrize("sizes", [{}, {"PART": 300, "AT_ONCE": 90}, {"PART": 300, "AT_ONCE": 90, "LONG": 1}])
def test_parts_add_up_to_the_derivative_of_the_loss(problem, monkeypatch, sizes):
    cut(monkeypatch, **sizes)
    model, loss = problem.fresh_model(0).double(), labelled_loss(problem)
    names = carriers(model, "layers")
    assert (len(parts_of(loss)) > 1) == bool(sizes)
    found = outer_gradients(model, {"a": loss, "b": loss}, names)
    named = {name: p for name, p in model.named_parameters() if name in names}
    whole = torch.autograd.grad(loss(model), list(named.values()), allow_unused=True)
    expected = {name: g for name, g in zip(named, whole, strict=True) if g is not None}
    assert found["a"].keys() == found["b"].keys() == expected.keys()
    for name, gradient in expected.items():
        torch.testing.assert_close(found["a"][name], gradient, rtol=1e-8, atol=1e-12)
        assert torch.equal(found["a"][name], found["b"][name])


def test_memory_does_not_grow_with_the_labels(problem, monkeypatch):
    cut(monkeypatch, AT_ONCE=90)
    model, loss = problem.fresh_model(0), labelled_loss(problem)
    alive, most = weakref.WeakSet(), [0]

    def count(module, inputs, output):
        alive.add(output)
        most[0] = max(most[0], len(alive))

    layers = [m for name, m in model.named_modules() if name.endswith("intermediate.dense")]
    handles = [layer.register_forward_hook(count) for layer in layers]
    outer_gradients(model, {"a": loss}, carriers(model, "layers"))
    for handle in handles:
        handle.remove()
    assert 0 < most[0] <= len(layers) + 1


@pytest.mark.parametrize("objective", ["masked_lm", "masked_diffusion"])
def test_a_text_is_credited_with_the_loss_of_its_own_batch_whatever_it_is_computed_beside(tiny, objective):
    problem = problem_of(tiny(f"inner.objective={objective}", "credit.batch_size=4"))
    rows = [problem.domain[i][: 4 + i % 9] for i in range(24)]
    problem.domain = TokenRows(np.concatenate(rows), np.cumsum([0, *map(len, rows)]))
    uniform = build_uniform(problem)
    warm = Trajectory.start(problem, uniform, 0)
    warm.model.double()
    batches = take(masked_texts(problem, uniform, np.arange(24), 0), 5)
    torch.manual_seed(0)
    direction = {n: torch.randn_like(p) for n, p in warm.model.named_parameters() if p.ndim > 1}
    found = derivatives(warm, batches, [direction, direction])
    for batch, columns in zip(batches, found, strict=True):
        alone = token_derivatives(warm.model, direction, batch, warm.objective)
        torch.testing.assert_close(columns[:, 0], alone)
        assert torch.equal(columns[:, 0], columns[:, 1])
