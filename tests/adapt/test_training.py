"""Training on labelled examples, seen from outside: a model of one weight, whose loss and dev scores are given."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from policylearn.adapt.training import adamw, train_best
from policylearn.config import FineTuneConfig


def trained(scores, seed=0, slope=1.0, size=4):
    """Of 10 examples and as many epochs as dev scores: the model, the best score, what was seen of every step (rows,
    learning rate, weight before), and the weight after every epoch."""
    model, steps, after, given = nn.Linear(1, 1, bias=False), [], [], iter(scores)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)

    def loss(rows):
        steps.append((rows, optimizer.param_groups[0]["lr"], model.weight.item()))
        return slope * model.weight.sum()

    def dev_score():
        after.append(model.weight.item())
        return next(given)

    schedule = SimpleNamespace(epochs=len(scores), batch_size=size)
    best = train_best(model, loss, dev_score, optimizer, schedule, np.arange(20, 30), seed)
    return model, best, steps, after


def test_it_ends_as_it_was_after_the_best_epoch_the_first_of_equal_ones():
    model, best, _, after = trained([0.5, 0.75, 0.75, 0.25])
    assert best == 0.75 and len(set(after)) == 4 and model.weight.item() == after[1]


def test_every_epoch_has_all_examples_in_an_order_of_its_own():
    _, _, steps, _ = trained([0.0, 0.0, 0.0])
    orders = [[row for rows, _, _ in steps[first : first + 3] for row in rows] for first in (0, 3, 6)]
    assert all(sorted(order) == [*range(20, 30)] for order in orders)
    assert len({*map(tuple, orders)}) == 3
    assert steps[0][0] == trained([0.0])[2][0][0] != trained([0.0], seed=1)[2][0][0]


def test_the_rate_goes_up_and_down_once_over_all_epochs_and_gradients_are_cut():
    _, _, steps, after = trained([0.0] * 4, slope=100.0, size=1)
    rates = [rate for _, rate, _ in steps]
    assert rates[:5] == pytest.approx([0.25, 0.5, 0.75, 1.0, 1.0]) and rates[-1] == pytest.approx(1 / 36)
    moved = -np.diff([*(weight for _, _, weight in steps), after[-1]])
    assert moved == pytest.approx(rates, rel=1e-3)  # of a gradient of 100 as of one of 1


def test_matrices_decay_and_norms_and_biases_do_not():
    model, config = nn.Sequential(nn.Linear(2, 2), nn.LayerNorm(2)), FineTuneConfig(weight_decay=0.25)
    decays = {id(p): group["weight_decay"] for group in adamw(model, config).param_groups for p in group["params"]}
    assert [decays[id(p)] for p in model.parameters()] == [0.25, 0.0, 0.0, 0.0]
