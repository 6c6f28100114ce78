from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from policylearn.arms.policies import sources_of
from policylearn.config import ScoresConfig
from policylearn.masking import IGNORED, budget
from policylearn.policy.adaptive import FLOOR, AdaptiveWeights, amlm_update
from policylearn.problems.of_config import problem_of
from policylearn.scores.loss import loss, masked_losses
from policylearn.scores.occurrences import PRIOR

P = 0.15
counts = st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)), min_size=2, max_size=9)


def unpack(pairs: list[tuple[int, int]]) -> tuple[torch.Tensor, torch.Tensor]:
    """(hits, seen) of (hits, misses)."""
    hits, misses = torch.tensor(pairs).T
    return hits, hits + misses


@settings(max_examples=60)
@given(counts, st.integers(0, 2**31))
def test_weights_have_the_mean_p_and_a_floor(pairs, seed):
    weights = torch.rand(len(pairs), generator=torch.Generator().manual_seed(seed)).double() + FLOOR
    weights = amlm_update(P * weights / weights.mean(), P, *unpack(pairs))
    torch.testing.assert_close(weights.mean(), torch.tensor(P).double())
    assert weights.min() >= FLOOR * P / (2 * P)  # before scaling the mean is below 2 p


@settings(max_examples=60)
@given(counts)
def test_of_types_seen_equally_often_the_better_known_gets_less(pairs):
    hits = torch.tensor([min(h, 20) for h, _ in pairs])
    seen = torch.full_like(hits, 20)
    after = amlm_update(torch.full((len(hits),), P), P, hits, seen)
    order = hits.argsort(stable=True)
    assert (after[order].diff() <= 1e-7).all()
    assert (after[hits == hits[0]] == after[0]).all()


def test_a_type_that_was_not_seen_keeps_its_weight_against_others_that_were_not():
    weights = torch.tensor([0.3, 0.1, 0.05, 0.15])
    hits, seen = torch.tensor([0, 0, 0, 9]), torch.tensor([0, 0, 0, 9])
    after = amlm_update(weights, P, hits, seen)
    torch.testing.assert_close(after[:3] / after[0], weights[:3] / weights[0])
    assert after[3] / after[0] < weights[3] / weights[0]


def test_the_rule_by_hand():
    # Accuracies (0 + ½)/(4 + 1) = .1 and (4 + ½)/(4 + 1) = .9; .2 · .15 + .8 · .15 · (1 − a) = .138 and .042.
    after = amlm_update(torch.full((2,), P), P, torch.tensor([0, 4]), torch.tensor([4, 4]))
    torch.testing.assert_close(after, torch.tensor([0.138, 0.042]) * P / 0.09)


def test_what_is_always_known_falls_to_the_floor():
    weights, hits, seen = torch.full((5,), P), torch.tensor([10**6, 0, 0, 0, 0]), torch.full((5,), 10**6)
    for _ in range(20):
        weights = amlm_update(weights, P, hits, seen)
    assert weights[0] / weights[1] < 0.06  # .2 w + 0 would go on falling, .005 does not
    assert weights[0] >= FLOOR


def batch_of(seed: int, types: int, size: int = 50) -> tuple[torch.Tensor, torch.Tensor]:
    random = torch.Generator().manual_seed(seed)
    labels, guesses = torch.randint(types, (2, size), generator=random)
    return labels, torch.where(torch.rand(size, generator=random) < labels / types, labels, guesses)


def test_weights_move_every_n_batches_by_what_was_seen_since():
    weights = AdaptiveWeights(6, p=P, every=3)
    expected = torch.full((6,), P)
    for first in (0, 3):
        seen = [batch_of(seed, 6) for seed in range(first, first + 3)]
        for i, (labels, predicted) in enumerate(seen):
            assert torch.equal(weights.weights, expected), i
            weights.observe(labels, predicted)
        labels, predicted = (torch.cat(parts) for parts in zip(*seen, strict=True))
        hits = [int(((labels == v) & (predicted == v)).sum()) for v in range(6)]
        total = [int((labels == v).sum()) for v in range(6)]
        expected = amlm_update(expected, P, torch.tensor(hits), torch.tensor(total))
    assert torch.equal(weights.weights, expected)
    assert weights.weights[5] < weights.weights[0]  # high ids were guessed right more often


def test_a_saved_state_goes_on_as_if_nothing_had_happened():
    through, stopped = AdaptiveWeights(6, p=P, every=4), AdaptiveWeights(6, p=P, every=4)
    for seed in range(10):
        through.observe(*batch_of(seed, 6))
        stopped.observe(*batch_of(seed, 6))
        resumed = AdaptiveWeights(6, p=P, every=4)
        resumed.load_state_dict(stopped.state_dict())
        stopped = resumed
    assert torch.equal(stopped.weights, through.weights) and torch.equal(stopped.seen, through.seen)
    assert through.seen.sum() == 100  # two batches since the last update


def test_as_logits_the_scores_give_probabilities_in_proportion_to_the_weights():
    weights = AdaptiveWeights(4, p=P, every=1)
    weights.observe(torch.tensor([0, 0, 1, 2, 3]), torch.tensor([0, 0, 0, 2, 1]))
    p = budget(weights.scores[None], torch.ones(1, 4, dtype=torch.bool), rate=0.26)[0]
    assert weights.weights.max() / weights.weights.min() > 1.5
    p = budget(weights.scores.repeat(1, 200), torch.ones(1, 800, dtype=torch.bool), rate=0.01)[0, :4]
    torch.testing.assert_close((p / p.sum()).float(), weights.weights / weights.weights.sum(), rtol=0.02, atol=0)


@pytest.fixture(scope="module")
def sources(tiny):
    return sources_of(problem_of(tiny("scores.model_texts=50")))


def test_the_score_is_the_mean_loss_per_type(sources):
    rows = sources.domain_rows()
    found: dict[int, list[float]] = {}
    for types, losses in masked_losses(sources, sources.model(), rows.take(rows.spread(50))):
        for v, one in zip(types.tolist(), losses.tolist(), strict=True):
            found.setdefault(v, []).append(one)
    overall = sum(map(sum, found.values())) / sum(map(len, found.values()))
    means = {v: (sum(values) + PRIOR * overall) / (len(values) + PRIOR) for v, values in found.items()}
    assert 50 < sum(map(len, found.values())) < 150  # 15 % of ten words, at least one a row
    assert not any(sources.vocabulary.special[v] for v in found)
    scores = loss(sources)
    assert scores.words is None
    largest, usual = max(means.values()), sum(means.values()) / len(means)
    expected = [means.get(v, usual) / largest for v in range(len(sources.tokenizer))]
    torch.testing.assert_close(scores.types, torch.tensor(expected, dtype=torch.float64))
    assert scores.types.max() == 1


def test_what_the_model_expects_scores_low(sources):
    model, v = sources.model(), sources.tokenizer.convert_tokens_to_ids("generic_000")
    model.mlm.cls.predictions.bias.data[v] += 5.0
    before, after = loss(sources).types, loss(replace(sources, model=lambda: model)).types
    assert after.argmin() == v != before.argmin()


def test_batches_leave_no_trace(sources, monkeypatch):
    at_once = loss(sources).types
    monkeypatch.setattr("policylearn.scores.loss.BATCH", 3)
    torch.testing.assert_close(loss(sources).types, at_once, rtol=1e-5, atol=1e-6)


def test_no_more_texts_than_asked_for_are_looked_at(sources):
    seen = []

    def look(work, items, total, size):
        for item in items:
            seen.append(size(item))
            yield item

    few = replace(sources, config=ScoresConfig(model_texts=7), watch=look)
    loss(few)
    assert sum(seen) == 7


def test_a_model_shows_its_guesses_while_it_trains(sources):
    model, seen = sources.model(), []
    ids, real = sources.domain_rows().batch(range(4), sources.tokenizer.pad_token_id)
    labels = torch.where(torch.arange(ids.shape[1]) % 3 == 1, ids, IGNORED)
    model(ids, real, labels=labels, observe=lambda *pair: seen.append(pair))
    with torch.no_grad():
        whole = model.mlm(input_ids=ids, attention_mask=real.long()).logits.argmax(2)
    ((true, guessed),) = seen
    assert torch.equal(true, labels[labels != IGNORED]) and torch.equal(guessed, whole[labels != IGNORED])
