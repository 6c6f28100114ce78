import math

import pytest
import torch
from torch import nn
from transformers import (
    get_constant_schedule_with_warmup,
    get_cosine_schedule_with_warmup,
    get_linear_schedule_with_warmup,
)

from policylearn.config import InnerConfig
from policylearn.inner import steps
from policylearn.inner.masked_lm import MaskedLM, mlm_loss
from policylearn.inner.steps import learning_rate, make_optimizer, plain_step
from policylearn.masking import IGNORED, MaskedBatch


class Unigram(nn.Module):
    """The smallest masked language model: the same logits everywhere."""

    def __init__(self, logits: list[float]) -> None:
        super().__init__()
        self.matrix = nn.Parameter(torch.tensor([logits]))
        self.bias = nn.Parameter(torch.zeros(len(logits)))

    def forward(self, input_ids, real, labels=None, observe=None):
        picked = labels[labels != IGNORED]
        return -(self.matrix[0] + self.bias).log_softmax(0)[picked]


def batch_of(labels: list[list[int]]) -> MaskedBatch:
    y = torch.tensor(labels)
    ids = torch.zeros_like(y)
    return MaskedBatch(ids, ids, torch.ones_like(y, dtype=torch.bool), y)


LOGITS = [math.log(0.5), math.log(0.25), math.log(0.25)]
BATCH = batch_of([[IGNORED, 0, 1], [2, IGNORED, IGNORED]])


def test_the_mask_is_where_labels_are():
    assert BATCH.mask.tolist() == [[False, True, True], [True, False, False]]


def test_the_plain_loss_is_the_mean_over_masked_tokens():
    assert mlm_loss(Unigram(LOGITS), BATCH).item() == pytest.approx(math.log(2) * (1 + 2 + 2) / 3)


def test_the_weighted_loss_by_hand():
    weights = torch.tensor([1.0, 0.5, 2.0], requires_grad=True)
    loss = mlm_loss(Unigram(LOGITS), BATCH, weights)
    assert loss.item() == pytest.approx(math.log(2) * (1 * 1 + 0.5 * 2 + 2 * 2) / 3)  # over M, not over Σ w
    loss.backward()
    assert weights.grad.tolist() == pytest.approx([math.log(2) / 3, 2 * math.log(2) / 3, 2 * math.log(2) / 3])


def test_weights_of_one_are_the_plain_loss():
    model = Unigram(LOGITS)
    assert mlm_loss(model, BATCH, torch.ones(3)).item() == pytest.approx(mlm_loss(model, BATCH).item())


def test_a_batch_without_masked_tokens_costs_nothing_and_moves_nothing():
    empty = batch_of([[IGNORED, IGNORED]])
    model = Unigram(LOGITS)
    assert plain_step(model, make_optimizer(model, InnerConfig(weight_decay=0.0)), MaskedLM(), empty, 0.1) == 0.0
    assert model.matrix[0].tolist() == pytest.approx(LOGITS)


def test_the_learning_rate_warms_up_and_stays():
    config = InnerConfig(learning_rate=0.8, warmup=0.4)
    assert [learning_rate(config, step, 10) for step in range(6)] == pytest.approx([0.2, 0.4, 0.6, 0.8, 0.8, 0.8])
    assert learning_rate(config, 9, 10) == 0.8
    assert learning_rate(InnerConfig(learning_rate=0.8, warmup=0.0), 0, 10) == 0.8


@pytest.mark.parametrize(
    ("schedule", "reference"),
    [
        ("constant", get_constant_schedule_with_warmup),
        ("linear", get_linear_schedule_with_warmup),
        ("cosine", get_cosine_schedule_with_warmup),
    ],
)
def test_schedules_are_those_of_transformers(schedule, reference):
    """Which begin with a step at rate 0; here step t has the rate they give to t + 1 while warming up."""
    config = InnerConfig(learning_rate=0.8, warmup=0.3, schedule=schedule)
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.8)
    steps = (3,) if schedule == "constant" else (3, 10)
    factor = reference(optimizer, *steps).lr_lambdas[0]
    expected = [0.8 * factor(step + 1 if step < 3 else step) for step in range(10)]
    assert [learning_rate(config, step, 10) for step in range(10)] == pytest.approx(expected)


def test_norms_and_biases_do_not_decay():
    model = Unigram(LOGITS)
    matrices, others = make_optimizer(model, InnerConfig(weight_decay=0.3)).param_groups
    assert (matrices["weight_decay"], others["weight_decay"]) == (0.3, 0.0)
    assert matrices["params"][0] is model.matrix
    assert others["params"][0] is model.bias


@pytest.mark.parametrize("clip", [None, 0.01])
@pytest.mark.parametrize("kind", ["adamw", "sgd"])
def test_a_plain_step_is_one_of_torchs_optimiser_at_the_rate_given(kind, clip):
    config = InnerConfig(optimizer=kind, weight_decay=0.3, learning_rate=99.0, momentum=0.7)
    model, twin = Unigram(LOGITS), Unigram(LOGITS)
    optimizer = make_optimizer(model, config)
    groups = [{"params": [twin.matrix], "weight_decay": 0.3}, {"params": [twin.bias], "weight_decay": 0.0}]
    if kind == "adamw":
        reference = torch.optim.AdamW(groups, lr=0.1, betas=config.betas, eps=config.eps)
    else:
        reference = torch.optim.SGD(groups, lr=0.1, momentum=0.7)
    for _ in range(3):
        assert plain_step(model, optimizer, MaskedLM(), BATCH, 0.1, clip=clip) == pytest.approx(
            mlm_loss(twin, BATCH).item()
        )
        reference.zero_grad()
        mlm_loss(twin, BATCH).backward()
        if clip is not None:
            assert nn.utils.clip_grad_norm_(twin.parameters(), clip) > clip
        reference.step()
    assert torch.equal(model.matrix, twin.matrix)
    assert torch.equal(model.bias, twin.bias)


def test_a_step_on_parts_of_a_batch_is_a_step_on_the_batch():
    whole, parts = Unigram(LOGITS), Unigram(LOGITS)
    config = InnerConfig(optimizer="sgd")
    for _ in range(2):
        expected = plain_step(whole, make_optimizer(whole, config), MaskedLM(), BATCH, 0.5, clip=0.3)
        found = plain_step(parts, make_optimizer(parts, config), MaskedLM(), BATCH, 0.5, clip=0.3, rows=1)
        assert found == pytest.approx(expected)
    torch.testing.assert_close(parts.matrix, whole.matrix)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_stops_before_the_step(bad):
    model = Unigram(LOGITS)
    optimizer = make_optimizer(model, InnerConfig())
    with torch.no_grad():
        model.matrix[0, 1] = bad
    bias = model.bias.detach().clone()
    with pytest.raises(FloatingPointError, match=r"lower inner\.learning_rate"):
        plain_step(model, optimizer, MaskedLM(), BATCH, 0.1)
    assert torch.equal(model.bias, bias)


@pytest.mark.parametrize("kind", ["adamw", "sgd"])
def test_steps_of_many_parameters_are_those_of_few_to_rounding(kind, monkeypatch):
    config, ends = InnerConfig(optimizer=kind, learning_rate=0.1, weight_decay=0.1), []
    for many in (0, 10**6):
        monkeypatch.setattr(steps, "MANY", many)
        model = Unigram(LOGITS)
        optimizer = make_optimizer(model, config)
        assert optimizer.defaults["fused" if many == 0 else "foreach"]
        for _ in range(5):
            plain_step(model, optimizer, MaskedLM(), BATCH, 0.1)
        ends.append(torch.cat([p.detach().flatten() for p in model.parameters()]))
    torch.testing.assert_close(*ends, atol=1e-6, rtol=0)
    assert not torch.equal(ends[0], torch.cat([torch.tensor(LOGITS), torch.zeros(3)]))


def test_whoever_observes_a_step_sees_it_once_in_whatever_parts_it_is_computed():
    class Guesses(Unigram):
        def forward(self, input_ids, real, labels=None, observe=None):
            picked = labels[labels != IGNORED]
            observe(picked, torch.zeros_like(picked))
            return super().forward(input_ids, real, labels)

    for rows in (None, 1):
        model, seen = Guesses(LOGITS), []
        optimizer = make_optimizer(model, InnerConfig(optimizer="sgd"))
        plain_step(model, optimizer, MaskedLM(), BATCH, 0.5, lambda *pair: seen.append(pair), rows=rows)  # noqa: B023
        ((labels, guesses),) = seen
        assert labels.tolist() == [0, 1, 2] and guesses.tolist() == [0, 0, 0]
