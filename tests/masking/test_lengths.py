"""Units no longer than what is to be masked: the mean share is the rate for any text, and no text is without a mask."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import XLMRobertaTokenizer

from policylearn.config import MaskingConfig
from policylearn.masking import Segmenter, Vocabulary, draw_units, leads, positions, sizes
from policylearn.masking.keys import mix
from policylearn.masking.lengths import cut_long_units, longest_units, split_long_words
from policylearn.masking.units import at_leads, unit_probabilities
from policylearn.policy import mask_tokens, uniform_policy

RATES = st.sampled_from([0.05, 0.15, 0.3, 0.5])
LENGTHS = st.lists(st.one_of(st.integers(1, 4), st.integers(1, 60)), min_size=1, max_size=25)


def starts_of(lengths: list[int]) -> torch.Tensor:
    return torch.tensor([[i == 0 for length in lengths for i in range(length)]])


def unit_starts(lengths: list[int], joined: int, rate: float) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Words of such lengths, so many of them joined to a unit: where units begin, words begin, and what is longest."""
    words = starts_of(lengths)
    longest = longest_units(torch.ones_like(words), rate)
    split = split_long_words(words, longest)
    number = split.long().cumsum(1) - 1
    return cut_long_units(split & (number % joined == 0), split, longest), split, longest


@settings(deadline=None, max_examples=150)
@given(LENGTHS, RATES, st.integers(1, 6), st.integers(0, 2**31))
def test_the_budget_is_the_rate_whatever_the_units(lengths, rate, joined, seed):
    starts, _, longest = unit_starts(lengths, joined, rate)
    lead, n = leads(starts), starts.shape[1]
    logits = 3 * torch.randn(1, n, generator=torch.Generator().manual_seed(seed))
    p = unit_probabilities(logits, torch.ones_like(starts), lead, rate, 0.9)
    assert int(sizes(lead).max()) <= int(longest)
    assert float(p.sum()) == pytest.approx(max(rate * n, 1.0), abs=1e-6)
    assert float(at_leads(p, lead).sum()) >= 1 - 1e-9


@settings(deadline=None, max_examples=25)
@given(LENGTHS, RATES, st.integers(1, 6), st.sampled_from(["systematic", "independent"]), st.integers(0, 2**31))
def test_the_mean_share_and_every_units_chance_are_what_they_should_be(lengths, rate, joined, design, seed):
    starts, _, _ = unit_starts(lengths, joined, rate)
    lead, n, draws = leads(starts), starts.shape[1], 3000
    logits = torch.randn(1, n, generator=torch.Generator().manual_seed(seed))
    p = unit_probabilities(logits, torch.ones_like(starts), lead, rate, 0.9)
    rows = [x.expand(draws, -1) for x in (p, positions(torch.ones_like(starts)), lead)]
    masks = draw_units(design, rows[0], mix(seed + torch.arange(draws)), *rows[1:])
    hits, expected = masks.double().mean(0), p[0]
    error = (expected * (1 - expected) / draws).sqrt() + 1e-9
    assert float(((hits - expected) / error).abs().max()) < 6
    share = masks.double().mean(1)
    assert float(share.mean()) == pytest.approx(max(rate, 1 / n), abs=6 * float(share.std()) / draws**0.5 + 1e-9)
    assert design == "independent" or bool(masks.any(1).all())


@settings(deadline=None, max_examples=150)
@given(LENGTHS, RATES, st.integers(1, 6))
def test_what_is_short_enough_stays_as_it_is(lengths, rate, joined):
    starts, split, longest = unit_starts(lengths, joined, rate)
    words = starts_of(lengths)
    short = sizes(leads(words)).gather(1, leads(words)) <= longest
    assert torch.equal(split[short], words[short]) and bool(split[~short].all())
    assert bool((split | ~starts).all())  # units begin with words
    if max(lengths) * joined <= int(longest):
        number = words.long().cumsum(1) - 1
        assert torch.equal(starts, words & (number % joined == 0))


def test_a_unit_goes_on_where_a_word_begins_and_no_sooner_than_it_must():
    words = starts_of([2, 1, 3, 1, 1, 3, 2])
    whole = torch.zeros_like(words)
    whole[0, 0] = True
    cut = cut_long_units(whole, words, torch.tensor([[5]]))
    assert cut[0].nonzero()[:, 0].tolist() == [0, 3, 8]  # 2 + 1, 3 + 1 + 1, 3 + 2


def test_rows_have_bounds_of_their_own():
    words = starts_of([4] * 8).repeat(2, 1)
    eligible = torch.ones_like(words)
    eligible[1, 12:] = False
    split = split_long_words(words, longest_units(eligible, 0.15))
    assert torch.equal(split[0], words[0]) and bool(split[1].all())


def unspaced() -> XLMRobertaTokenizer:
    pieces = ["▁", *"医生说这种药物可以治疗高血压但是不能和其他一起服用", "药物", "高血压", "医生"]
    specials = [("<s>", 0.0), ("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
    return XLMRobertaTokenizer(vocab=specials + [(piece, -(len(piece) ** 0.5)) for piece in pieces])


@pytest.mark.parametrize("unit", ["word", "span"])
def test_a_text_without_spaces_has_its_share_masked(unit):
    tokenizer = unspaced()
    text = tokenizer("医生说这种药物可以治疗高血压但是不能和其他药物一起服用", return_tensors="pt")["input_ids"]
    policy, real = uniform_policy(tokenizer, MaskingConfig(unit=unit)), torch.ones_like(text) > 0
    assert int(sizes(policy.segmenter.words(text, real)).max()) == text.shape[1] - 2  # a single word
    masks = torch.cat([mask_tokens(policy, text, real, 4, 0, epoch).mask for epoch in range(300)])
    counts = masks.sum(1)
    assert float(counts.double().mean()) == pytest.approx(0.15 * (text.shape[1] - 2), abs=0.15)
    assert int(counts.min()) >= 1 and int(counts.max()) <= 6
    assert masks.any(0).sum() == text.shape[1] - 2  # every one of its tokens at some time


def test_the_bound_follows_the_rate_of_the_moment():
    words = Vocabulary(torch.tensor([False, False]), torch.tensor([True, False]), *torch.ones(2, 2).char())
    segmenter = Segmenter(words, MaskingConfig(unit="word", rate={"kind": "linear", "rates": [0.4, 0.1]}))
    ids = torch.tensor([[0, 1, 1] * 7])
    real = torch.ones_like(ids) > 0
    assert int(sizes(segmenter.units(ids, real)).max()) == 3
    assert int(sizes(segmenter.units(ids, real, rate=0.1)).max()) == 1
