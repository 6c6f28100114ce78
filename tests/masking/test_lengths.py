"""Units that let any text be masked at the rate: the mean share is the rate, and no text is without a mask."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import XLMRobertaTokenizer

from policylearn.config import MaskingConfig
from policylearn.masking import TextField, Vocabulary, draw_units, leads, positions, sizes
from policylearn.masking.keys import mix
from policylearn.masking.lengths import LONGEST_WORD, cut_long_units, share_in_tokens, split_long_words, too_few
from policylearn.masking.units import at_leads, unit_probabilities
from policylearn.policy.policy import mask_tokens, uniform_policy

RATES = st.sampled_from([0.05, 0.15, 0.3, 0.5])
LENGTHS = st.lists(st.one_of(st.integers(1, 4), st.integers(1, 60)), min_size=1, max_size=25)


def starts_of(lengths: list[int]) -> torch.Tensor:
    return torch.tensor([[i == 0 for length in lengths for i in range(length)]])


def unit_starts(lengths: list[int], joined: int, rate: float) -> torch.Tensor:
    """Where units begin: words of such lengths, so many of them joined."""
    words = starts_of(lengths)
    eligible = torch.ones_like(words)
    split = split_long_words(words, eligible, rate)
    number = split.long().cumsum(1) - 1
    return cut_long_units(split & (number % joined == 0), split, eligible, rate)


@settings(max_examples=300)
@given(LENGTHS, RATES, st.integers(1, 6), st.floats(0, 12), st.integers(0, 2**31))
def test_the_budget_is_the_rate_whatever_the_units(lengths, rate, joined, spread, seed):
    starts = unit_starts(lengths, joined, rate)
    lead, n = leads(starts), starts.shape[1]
    logits = spread * torch.randn(1, n, generator=torch.Generator().manual_seed(seed))
    p = unit_probabilities(logits, torch.ones_like(starts), lead, rate, 0.9)
    assert float(p.sum()) == pytest.approx(max(rate * n, 1.0), abs=1e-6)
    assert float(at_leads(p, lead).sum()) >= 1 - 1e-9 and float(p.max()) <= max(0.9, 1 / n) + 1e-9


def test_a_long_unit_that_is_wanted_is_masked_as_often_as_leaves_others_a_mask():
    lead = leads(starts_of([30] + [1] * 30))
    logits = torch.where(lead == 0, 20.0, 0.0).requires_grad_()
    found = unit_probabilities(logits, torch.ones_like(lead) > 0, lead, 0.15, 0.9)
    p = found.detach()
    assert float(p.sum()) == pytest.approx(9) and float(at_leads(p, lead).sum()) == pytest.approx(1)
    assert 0.15 < float(p[0, 0]) < 0.3  # 9 of 30 would be it alone
    even = unit_probabilities(torch.zeros_like(logits), lead >= 0, lead, 0.15, 0.9)
    assert float((even - 0.15).abs().max()) < 1e-12
    assert bool(torch.isfinite(torch.autograd.grad(found[0, 40], logits)[0]).all())


@settings(max_examples=25)
@given(LENGTHS, RATES, st.integers(1, 6), st.sampled_from(["systematic", "independent"]), st.integers(0, 2**31))
def test_the_mean_share_and_every_units_chance_are_what_they_should_be(lengths, rate, joined, design, seed):
    starts = unit_starts(lengths, joined, rate)
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


@settings(max_examples=150)
@given(st.lists(st.integers(1, LONGEST_WORD), min_size=20, max_size=40), st.integers(1, 2))
def test_ordinary_texts_keep_their_words_and_spans(lengths, joined):
    """Twenty words are ten pairs, and .15 · 10 is more than one."""
    words = starts_of(lengths)
    number = words.long().cumsum(1) - 1
    assert torch.equal(unit_starts(lengths, joined, 0.15), words & (number % joined == 0))


def test_a_sentence_that_a_tokenizer_calls_a_word_is_cut_and_its_neighbours_are_not():
    words, eligible = starts_of([2] * 10 + [40]), torch.ones(1, 60).bool()
    split = split_long_words(words, eligible, 0.15)
    assert torch.equal(split[:, :20], words[:, :20]) and bool(split[:, 20:].all())


def test_in_a_text_of_few_words_none_is_longer_than_what_is_to_be_masked():
    words, eligible = starts_of([2, 4, 3, 1, 10]), torch.ones(1, 20).bool()
    assert bool(too_few(words, eligible, 0.15)) and int(share_in_tokens(eligible, 0.15)) == 3
    split = split_long_words(words, eligible, 0.15)
    assert sizes(leads(split))[split].tolist() == [2, 1, 1, 1, 1, 3, *[1] * 11]


def test_a_unit_goes_on_where_a_word_begins_and_no_sooner_than_it_must():
    words = starts_of([2, 1, 3, 1, 1, 3, 2])
    whole = torch.zeros_like(words)
    whole[0, 0] = True
    cut = cut_long_units(whole, words, torch.ones_like(words), 0.39)
    assert cut[0].nonzero()[:, 0].tolist() == [0, 3, 8]  # 2 + 1, 3 + 1 + 1, 3 + 2


def test_rows_have_bounds_of_their_own():
    words = starts_of([4] * 8).repeat(2, 1)
    eligible = torch.ones_like(words)
    eligible[1, 12:] = False
    split = split_long_words(words, eligible, 0.15)
    assert torch.equal(split[0], words[0]) and bool(split[1, :12].all())


def unspaced() -> XLMRobertaTokenizer:
    pieces = ["▁", *"医生说这种药物可以治疗高血压但是不能和其他一起服用", "药物", "高血压", "医生"]
    specials = [("<s>", 0.0), ("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
    return XLMRobertaTokenizer(vocab=specials + [(piece, -(len(piece) ** 0.5)) for piece in pieces])


@pytest.mark.parametrize("unit", ["word", "span"])
def test_a_text_without_spaces_has_its_share_masked(unit):
    tokenizer = unspaced()
    text = tokenizer("医生说这种药物可以治疗高血压但是不能和其他药物一起服用", return_tensors="pt")["input_ids"]
    policy, real = uniform_policy(tokenizer, MaskingConfig(unit=unit)), torch.ones_like(text) > 0
    assert int(sizes(policy.field.words(text, real)).max()) == text.shape[1] - 2  # a single word
    masks = torch.cat([mask_tokens(policy, text, real, 0, epoch).mask for epoch in range(1500)])
    counts = masks.sum(1)
    assert float(counts.double().mean()) == pytest.approx(0.15 * (text.shape[1] - 2), abs=0.2)
    assert int(counts.min()) >= 1 and int(counts.max()) < text.shape[1] - 2
    assert masks.any(0).sum() == text.shape[1] - 2  # every one of its tokens at some time


def test_the_bound_follows_the_rate_of_the_moment():
    words = Vocabulary(torch.tensor([False, False]), torch.tensor([True, False]), *torch.ones(2, 2).char())
    field = TextField(words, MaskingConfig(unit="word", rate={"kind": "linear", "rates": [0.4, 0.1]}))
    ids = torch.tensor([[0, 1, 1] * 4])
    real = torch.ones_like(ids) > 0
    assert int(sizes(field.units(ids, real)).max()) == 3
    assert int(sizes(field.units(ids, real, rate=0.1)).max()) == 1
