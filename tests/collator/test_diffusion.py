"""Batches of a masked-diffusion model: columns that fit, twice the rows with complements, and what is refused."""

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from policylearn import DiffusionCollator
from policylearn.inner.masked_diffusion import MaskedDiffusion
from policylearn.models.model import InnerModel

COLUMNS = {"input_ids", "attention_mask", "labels", "t", "p_mask", "weights"}


def loss_of(model, batch):
    logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
    nll = cross_entropy(logits.transpose(1, 2), batch["labels"], reduction="none")
    return (batch["weights"] * nll).sum() / (batch["p_mask"] > 0).sum().clamp(min=1)


def at_epoch(collator, epoch=3):
    collator.set_epoch(epoch)
    return collator


@pytest.mark.parametrize("form", ["pt", "np"])
@pytest.mark.parametrize("complement", [False, True])
def test_its_columns(tokenizer, make_policy, examples, form, complement):
    settings = {"complement": complement, "pad_to_multiple_of": 8, "return_tensors": form}
    batch = at_epoch(DiffusionCollator(tokenizer, policy=make_policy("none"), **settings))(examples)
    assert set(batch) == COLUMNS
    text = np.where(batch["labels"] != -100, batch["labels"], batch["input_ids"])
    rows = [row for row in examples for _ in range(1 + complement)]
    for row, ids, real in zip(rows, text, batch["attention_mask"], strict=True):
        assert ids[np.asarray(real) > 0].tolist() == row["input_ids"]
    hidden, p, t = (np.asarray(x) for x in (batch["labels"] != -100, batch["p_mask"], batch["t"]))
    assert ((np.asarray(batch["input_ids"]) == tokenizer.mask_token_id) == hidden).all()
    assert np.asarray(batch["weights"])[hidden] == pytest.approx(1 / p[hidden], rel=1e-5)
    assert (np.asarray(batch["weights"])[~hidden] == 0).all()
    assert p.sum(1) == pytest.approx(t * (p > 0).sum(1), rel=1e-5)


@pytest.mark.parametrize("policy", ["none", "context"])
def test_with_weights_by_rate_its_loss_is_that_of_the_objective(tokenizer, make_policy, masked_lm, examples, policy):
    policy, model = make_policy(policy, learned=policy == "context"), masked_lm.eval()
    batch = at_epoch(DiffusionCollator(tokenizer, policy=policy, weighting="rate", floor=0.0))(examples)
    objective, real = MaskedDiffusion(policy.field.special), batch["attention_mask"].bool()
    text = torch.where(batch["labels"] != -100, batch["labels"], batch["input_ids"])
    drawn = objective.draw(policy, text, real, 0, 3)
    with torch.no_grad():
        expected = objective(InnerModel(model), drawn, objective.inputs(drawn, torch.ones(1)))
        assert torch.equal(drawn.labels, batch["labels"])
        assert float(loss_of(model, batch)) == pytest.approx(float(expected), rel=1e-5)


def test_a_model_learns_from_it(tokenizer, masked_lm, examples):
    collator = DiffusionCollator(tokenizer, complement=True)
    optimizer, losses = torch.optim.AdamW(masked_lm.parameters(), lr=1e-2), []
    for _ in range(150):
        loss = loss_of(masked_lm, collator(examples))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert np.mean(losses[-20:]) < np.mean(losses[:5]) - 0.3


def test_a_batch_without_a_word_costs_nothing(tokenizer, masked_lm):
    batch = at_epoch(DiffusionCollator(tokenizer))([{"input_ids": [2, 3]}])
    assert (batch["labels"] != -100).sum() == 1 and (batch["weights"] == 0).all()
    assert loss_of(masked_lm, batch) == 0


PACKED = [{"input_ids": [2, 9, 3, 2, 10, 3], "position_ids": [0, 1, 2, 0, 1, 2]}]


@pytest.mark.parametrize(
    ("settings", "rows", "said"),
    [
        ({"weighting": "p"}, None, "weighting 'p': take one of inclusion, rate"),
        ({"floor": 1.5}, None, "floor 1.5 must lie between 0 and 1"),
        ({"mlm_probability": 0.3}, None, "mlm_probability is given"),
        ({"mlm": False}, None, "mlm=False hides nothing"),
        ({}, PACKED, "documents are packed"),
        ({"complement": True}, {"input_ids": torch.tensor([[2, 9, 3]])}, "give examples one by one"),
    ],
)
def test_what_is_refused(tokenizer, settings, rows, said):
    with pytest.raises(ValueError, match=said):
        DiffusionCollator(tokenizer, **settings)(rows)
