import pytest
import torch
from pydantic import ValidationError
from scipy import stats

from policylearn.artefact import save_policy
from policylearn.collator.policy_collator import PolicyCollator
from policylearn.config import MaskingConfig, RandomRate
from policylearn.masking.keys import mix
from policylearn.masking.random_rate import drawn_rates
from policylearn.policy.policy import mask_tokens

UNIFORM = {"kind": "uniform", "low": 0.05, "high": 0.25}
BETA = {"kind": "beta", "low": 0.1, "high": 0.5, "a": 2, "b": 6}
KEYS = mix(torch.arange(20_000))
IDS = torch.stack([torch.arange(5, 45).roll(k) for k in range(40)])
REAL = torch.ones_like(IDS, dtype=torch.bool)


@pytest.mark.parametrize(
    ("rate", "a", "b"), [(UNIFORM, 1, 1), (BETA, 2, 6), (BETA | {"a": 4, "b": 1}, 4, 1)], ids=["uniform", "beta", "top"]
)
def test_rates_have_the_distribution_that_was_asked_for(rate, a, b):
    rate = RandomRate(**rate)
    found = drawn_rates(rate, KEYS)
    assert stats.kstest(found[:, 0], stats.beta(a, b, rate.low, rate.high - rate.low).cdf).pvalue > 1e-3
    assert float(found.mean()) == pytest.approx(rate.mean, abs=0.003)


def test_the_rate_of_a_text_is_its_own_and_that_of_a_batch_of_all_its_texts():
    text, batch = (RandomRate(**UNIFORM, per=per) for per in ("text", "batch"))
    assert torch.equal(drawn_rates(text, KEYS)[7:9], drawn_rates(text, KEYS[7:9]))
    (one,) = drawn_rates(batch, KEYS[:8]).unique()
    assert torch.equal(drawn_rates(batch, KEYS[:8].flip(0)), one.expand(8, 1))  # in whatever order
    assert one != drawn_rates(batch, KEYS[:7])[0]
    many = torch.stack([drawn_rates(batch, keys)[0, 0] for keys in KEYS.view(-1, 8)])
    assert float(many.mean()) == pytest.approx(0.15, abs=0.005) and float(many.std()) > 0.05


@pytest.mark.parametrize("design", ["systematic", "independent", "explore"])
@pytest.mark.parametrize("unit", ["token", "span"])
@pytest.mark.parametrize("rate", [UNIFORM, BETA, UNIFORM | {"per": "batch"}], ids=["uniform", "beta", "batch"])
def test_every_text_spends_just_its_own_budget(make_policy, design, unit, rate):
    policy = make_policy("context", learned=True, masking={"rate": rate, "design": design, "unit": unit})
    masked = []
    for epoch in range(20):
        batch = mask_tokens(policy, IDS, REAL, 3, epoch)
        budget = batch.rate[:, 0] * IDS.shape[1]
        torch.testing.assert_close(policy.reconsider(batch)[0].sum(1), budget)
        if unit == "token" and design != "independent":
            assert bool(((batch.mask.sum(1) - budget).abs() < 1).all())
        masked.append(batch.mask.double().mean())
    few = {"text": 800, "batch": 20}[RandomRate(**rate).per]
    assert float(torch.stack(masked).mean()) == pytest.approx(policy.masking.usual_rate, abs=4 * 0.07 / few**0.5)


def test_masks_that_take_turns_keep_their_rate(make_policy):
    """Six masks of a text at one rate, which is another in the next six."""
    policy = make_policy("none", (), masking={"rate": UNIFORM, "design": "explore"})
    rates = torch.stack([mask_tokens(policy, IDS, REAL, 0, epoch).rate[:, 0] for epoch in range(12)])
    assert all(len(turn.unique(dim=0)) == 1 for turn in (rates[:6], rates[6:])) and bool((rates[5] != rates[6]).all())


def test_an_exported_policy_draws_the_same_rates(make_artefact, make_policy, tmp_path):
    policy = make_policy("context", learned=True, masking={"rate": BETA})
    collator = PolicyCollator.from_pretrained(save_policy(tmp_path / "policy", make_artefact(policy), "# A policy\n"))
    assert collator.policy.masking == policy.masking
    collator.set_epoch(2)
    labels = torch.cat([collator(rows.tolist())["labels"] for rows in IDS.split(7)])  # whatever is beside a text
    assert torch.equal(labels, mask_tokens(policy, IDS, REAL, 0, 2).labels)
    assert len((labels != -100).sum(1).unique()) > 4


@pytest.mark.parametrize(
    ("rate", "message"),
    [
        (UNIFORM | {"low": 0.3}, "low 0.3 must not exceed high 0.25"),
        (UNIFORM | {"a": 2, "b": 3}, 'a and b give a rate of kind "beta" its shape'),
        ({"kind": "beta", "low": 0.1, "high": 0.2, "a": 2}, "got a = 2, b = None"),
        (UNIFORM | {"high": 0.95}, "rate 0.95 must be below p_max 0.9"),
        (UNIFORM | {"per": "token"}, "'text' or 'batch'"),
        ({"kind": "uniform", "low": 0.1}, "Field required"),
    ],
)
def test_a_rate_that_cannot_be_drawn_is_refused(rate, message):
    with pytest.raises(ValidationError, match=message):
        MaskingConfig(rate=rate)
