import numpy as np
import pytest
import torch

from policylearn.adapt.ridge import probe_loss
from policylearn.arms.arms import initial_policy
from policylearn.arms.policies import build_uniform
from policylearn.credit.analysis import A
from policylearn.credit.credits import (
    credits_of,
    group_cosines,
    masked_texts,
    preconditioned,
    take,
    through,
)
from policylearn.credit.halves import text_halves
from policylearn.credit.labels import cross_fitted
from policylearn.credit.outer import outer_gradients
from policylearn.credit.reliability import measure, outer_losses
from policylearn.credit.words import keys_of, spell
from policylearn.inner.masked_lm import MaskedLM
from policylearn.inner.seeds import MASK_SEED
from policylearn.inner.window import Window
from policylearn.learning.rollout import Trajectory
from policylearn.metagrad.one_step import one_step, outer_direction
from policylearn.models.parameters import carriers
from policylearn.problems.of_config import problem_of


@pytest.fixture(scope="module")
def warm(problem):
    """A trajectory three steps in."""
    trajectory = Trajectory.start(problem, initial_policy(problem), 0)
    for _ in range(3):
        trajectory.take_step(next(trajectory.batches))
    return trajectory


def test_the_outer_gradient_is_the_mean_over_splits(problem, warm):
    picked = np.arange(24)
    y = problem.examples("train").y[picked]
    loss = cross_fitted(problem, picked, y, folds=2, resplits=1, seed=0)
    found = outer_gradients(warm.model, {"one": loss, "same": loss}, carriers(warm.model, "all"))
    named = {n: p for n, p in warm.model.named_parameters() if n in found["one"]}
    total = dict.fromkeys(named, 0.0)
    for s, q in loss.splits:
        x = loss.features(warm.model)
        fit = probe_loss(x[s], y[s], x[q], y[q], problem.kind.readout).loss / 2
        for name, g in zip(named, torch.autograd.grad(fit, list(named.values())), strict=True):
            total[name] = total[name] + g
    for name in named:
        torch.testing.assert_close(found["one"][name], total[name])
        torch.testing.assert_close(found["same"][name], total[name])


def test_credits_are_those_of_the_engine(problem, warm):
    loss = outer_losses(problem)[A]
    batches = take(masked_texts(problem, warm.policy, text_halves(problem, 0)[0], 0), 2)
    outer = lambda model: loss.loss(loss.features(model))  # noqa: E731
    expected = one_step(warm.model, warm.optimizer, Window(batches, [warm.rate] * 2, MaskedLM()), outer, "matrices")
    raw = outer_gradients(warm.model, {A: loss}, carriers(warm.model, "all"))[A]
    direction = preconditioned(warm, raw)
    engine = outer_direction(warm.model, warm.optimizer, warm.rate, outer, "all")
    assert direction.keys() == engine.keys()
    for name in through(warm.model, engine, "matrices"):  # of a key's bias the gradient is 0, and what is left rounding
        torch.testing.assert_close(direction[name], engine[name], rtol=1e-4, atol=1e-6)
    for tokens, gradient in zip(
        credits_of(warm, batches, [through(warm.model, direction, "matrices")]), expected, strict=True
    ):
        np.testing.assert_allclose(tokens.credits[:, 0], -gradient.double().numpy(), rtol=1e-4, atol=1e-9)


def test_a_credit_that_is_no_number_is_told_and_does_not_pass_for_an_unmasked_token(warm):
    batches, direction = [next(warm.batches)], dict(warm.model.named_parameters())
    endless = {name: torch.full_like(p, torch.inf) for name, p in direction.items()}
    with pytest.raises(FloatingPointError, match=r"credits grow beyond all numbers at step \d+"):
        list(credits_of(warm, batches, [endless]))


def test_gradients_flow_through_what_they_may(warm):
    everything = dict(warm.model.named_parameters())
    names = {which: set(through(warm.model, everything, which)) for which in ("all", "matrices", "layers")}
    assert names["all"] == set(everything)
    assert names["matrices"] == {name for name, p in everything.items() if p.ndim > 1}
    assert {name for name in names["matrices"] - names["layers"]} == {n for n in everything if "embeddings.weight" in n}


def test_cosines_are_by_group(warm):
    ones = {name: torch.ones_like(p) for name, p in warm.model.named_parameters()}
    turned = {name: -x if x.ndim < 2 else x for name, x in ones.items()}
    cosines = group_cosines(warm.model, ones, turned)
    assert {"embeddings", "attention", "ffn", "norms", "biases", "head", "matrices", "vectors"} == cosines.keys()
    signs = {group: (-1.0 if group in ("norms", "biases", "vectors") else 1.0) for group in cosines}
    assert cosines == pytest.approx(signs)


def test_tokens_are_known_by_their_word(wordpiece, problem, warm):
    batch = next(masked_texts(problem, warm.policy, text_halves(problem, 0)[0], 0))
    keys, spelling = keys_of(warm.policy, batch), spell(warm.policy, batch)
    words = [problem.tokenizer.decode(list(spelling[int(key)])) for key in keys]
    assert words == problem.tokenizer.convert_ids_to_tokens(batch.labels[batch.mask].tolist())


def test_explore_masks_every_token_of_a_text_before_it_goes_on(tiny):
    problem = problem_of(tiny("masking.design=explore", "masking.draws=4", "masking.rate=0.25"))
    policy = build_uniform(problem)
    batches = take(masked_texts(problem, policy, np.arange(16), 0), 8)
    for draws in (batches[:4], batches[4:]):
        assert all(torch.equal(b.original, draws[0].original) for b in draws)
        assert torch.equal(sum(b.mask.long() for b in draws), policy.eligible(draws[0].original, draws[0].real).long())
    assert not torch.equal(batches[0].original, batches[4].original)


def test_all_rows_have_their_turn_and_no_mask_twice(tiny):
    problem = problem_of(tiny("credit.batch_size=12"))
    policy, rows = build_uniform(problem), np.arange(30)
    batches = take(masked_texts(problem, policy, rows, 0), 5)  # 60: each row twice
    texts = [tuple(row[real].tolist()) for b in batches for row, real in zip(b.original, b.real, strict=True)]
    assert sorted(texts) == sorted(2 * [tuple(problem.domain[i].tolist()) for i in rows])
    masks = [tuple(row[real].tolist()) for b in batches for row, real in zip(b.mask, b.real, strict=True)]
    drawn = list(zip(texts, masks, strict=True))
    assert len(set(drawn)) > 0.9 * len(drawn)  # two draws of a short text may agree


def test_batches_are_as_large_as_they_are_to_be_and_training_goes_on_with_its_own(tiny):
    problem = problem_of(tiny("credit.batch_size=12"))
    policy = build_uniform(problem)
    assert [len(b.original) for b in take(masked_texts(problem, policy, np.arange(30), 0), 3)] == [12, 12, 12]
    assert len(next(Trajectory.start(problem, policy, 0).batches).original) == 8


def test_tokens_are_credited_twice_where_both_masks_of_a_text_chose_them(problem):
    uniform = build_uniform(problem)
    first, second = text_halves(problem, 0)
    (point, _), _ = measure(problem, uniform, uniform)
    one, other = (next(masked_texts(problem, uniform, first, MASK_SEED, epoch=epoch)) for epoch in (0, 1))
    both = one.mask & other.mask
    assert 0 < len(point.twins) == int(both.sum()) < int(one.mask.sum()) / 2
    np.testing.assert_array_equal(point.twins[:, 0], point.tokens[0].credits[: int(one.mask.sum()), 0][both[one.mask]])
    for tokens, rows in zip(point.tokens, (first, second), strict=True):
        batches = take(masked_texts(problem, uniform, rows, MASK_SEED), problem.config.credit.batches)
        assert np.array_equal(tokens.keys, np.concatenate([keys_of(uniform, batch) for batch in batches]))
