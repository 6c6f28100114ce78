import math
from collections import Counter
from itertools import product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from policylearn.masking.keys import mix
from policylearn.masking.spans import best_first, candidate_logits, drawn_span_starts, eligible_words, span_logits
from policylearn.masking.units import leads, sizes

MEAN = 3.0


def one_by_one(values: torch.Tensor) -> list[bool]:
    """`best_first` of one row [W, L] as it is told: the best of those left, then what overlaps it is struck out."""
    left = [(-float(values[w, n]), w, n) for w, n in product(*map(range, values.shape)) if values[w, n] > -torch.inf]
    begins = [False] * len(values)
    while left:
        _, first, more = min(left)
        begins[first] = True
        left = [(v, w, n) for v, w, n in left if w > first + more or w + n < first]
    return begins


@st.composite
def candidates(draw):
    """[B, W, L] values, some alike, of candidates that do not cross the end of their row."""
    random = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    width, longest, levels = draw(st.integers(1, 24)), draw(st.integers(1, 6)), draw(st.sampled_from([2, 5, 10**6]))
    values = torch.randint(levels, (3, width, longest), generator=random).double()
    end = torch.arange(width)[:, None] + torch.arange(longest)
    return values.masked_fill(end >= torch.randint(0, width + 1, (3, 1, 1), generator=random), -torch.inf)


@settings(max_examples=100)
@given(candidates())
def test_many_at_once_are_those_taken_one_by_one(values):
    assert best_first(values).tolist() == [one_by_one(row) for row in values]


def test_the_comparison_rejects_taking_all_that_are_best_where_they_begin():
    values = torch.tensor([[[1.0, 5.0], [2.0, 3.0], [4.0, -torch.inf]]])
    careless = values.amax(2) == values.amax(2).cummax(1).values
    assert careless[0].tolist() != one_by_one(values[0]) == best_first(values)[0].tolist()


def drawn(ends, n, longest, starts=None, eligible=None):
    """Starts [n, T] of the spans of one text under n keys."""
    everywhere = torch.ones(ends.shape[:1], dtype=torch.bool)
    starts, eligible = (everywhere if x is None else x for x in (starts, eligible))
    rows = (x.expand(n, *x.shape) for x in (ends, starts, eligible))
    return drawn_span_starts(*rows, mix(torch.arange(n)), torch.arange(len(ends)).expand(n, -1), MEAN, longest)


def chances(ends: torch.Tensor) -> dict[tuple[bool, ...], float]:
    """The chance of every cut of three words into spans of up to two: spans drawn one after another from
    p ∝ (1 − 1 / mean)^(words − 1) exp(start + end), among those that overlap none drawn before."""
    pairs = [(i, j) for i in range(3) for j in range(i, min(3, i + 2))]
    weights = {(i, j): float((ends[i, 0] + ends[j, 1]).exp()) * (1 - 1 / MEAN) ** (j - i) for i, j in pairs}
    found: Counter[tuple[bool, ...]] = Counter()

    def go_on(left: dict, begun: frozenset, chance: float) -> None:
        if not left:
            found[tuple(i in begun for i in range(3))] += chance
        for (i, j), weight in left.items():
            others = {(a, b): w for (a, b), w in left.items() if a > j or b < i}
            go_on(others, begun | {i}, chance * weight / sum(left.values()))

    go_on(weights, frozenset(), 1.0)
    return dict(found)


def test_spans_are_drawn_from_their_probabilities_without_overlap():
    n, ends = 20_000, torch.tensor([[0.5, -1.0], [1.0, 0.3], [-0.5, 1.5]])
    seen = Counter(map(tuple, drawn(ends, n, 2).tolist()))
    expected = chances(ends)
    assert seen.keys() == expected.keys() and len(expected) == 3
    for cut, chance in expected.items():
        assert abs(seen[cut] / n - chance) < 4.5 * (chance * (1 - chance) / n) ** 0.5
    # Were all logits equal, this would be seen.
    assert max(abs(seen[cut] / n - chance) for cut, chance in chances(0 * ends).items()) > 0.05


TEXT = torch.tensor([[1, 1, 0, 1, 1, 0, 0, 1, 1, 1, 0, 1]]).bool()
ELIGIBLE = torch.tensor([[0, 1, 1, 1, 1, 1, 1, 0, 1, 1, 1, 0]]).bool()


@pytest.mark.parametrize("longest", [1, 2, 3, 10])
def test_spans_begin_and_end_with_words_and_hold_nothing_that_may_not_be_masked(longest):
    draw = torch.Generator().manual_seed(0)
    starts = drawn(torch.randn(12, 2, generator=draw), 300, longest, TEXT[0], ELIGIBLE[0])
    lead = leads(starts)
    assert not (starts & ~TEXT).any()  # a span begins where a word does, and so ends where one does
    assert (ELIGIBLE.expand(300, -1).gather(1, lead) == ELIGIBLE).all()
    words = torch.zeros_like(lead).scatter_add(1, lead, TEXT.long().expand(300, -1))
    assert int(words.max()) == min(longest, 3)  # neighbouring eligible words: three, then two


def test_spans_of_a_text_do_not_depend_on_padding_or_neighbours():
    draw = torch.Generator().manual_seed(1)
    ends, keys = torch.randn(1, 12, 2, generator=draw), torch.tensor([77])
    alone = drawn_span_starts(ends, TEXT, ELIGIBLE, keys, torch.arange(12)[None], MEAN, 4)
    for left, right in [(3, 0), (0, 5), (2, 2)]:
        pad = torch.nn.functional.pad
        rows = [pad(x, (left, right), value=value) for x, value in ((TEXT, True), (ELIGIBLE, False))]
        index = pad(torch.arange(12)[None], (left, right), value=-1)
        wide = torch.cat([pad(ends, (0, 0, left, right), value=9.0), torch.randn(2, 12 + left + right, 2)])
        many = [torch.cat([x, torch.ones(2, x.shape[1], dtype=torch.bool)]) for x in rows]
        indices = torch.cat([index, torch.arange(index.shape[1]).expand(2, -1)])
        found = drawn_span_starts(wide, *many, torch.tensor([77, 1, 2]), indices, MEAN, 4)
        assert torch.equal(found[:1, left : left + 12], alone)


def test_every_unit_of_a_cut_is_a_candidate_with_the_logit_it_is_given():
    draw = torch.Generator().manual_seed(2)
    ends = torch.randn(1, 12, 3, generator=draw)
    ends[..., 2] = 0  # what counts for the worth of a unit, and not for its probability
    lead = leads(drawn_span_starts(ends, TEXT, ELIGIBLE, torch.tensor([5]), torch.arange(12)[None], MEAN, 4))
    words, logits = eligible_words(TEXT, ELIGIBLE), span_logits(ends, lead)
    values = candidate_logits(ends, words, MEAN, 4)[0]
    for first in (sizes(lead)[0] > 0).nonzero()[:, 0].tolist():
        if ELIGIBLE[0, first]:
            word = words.first[0].tolist().index(first)
            more = int((TEXT[0] & (lead[0] == first)).sum()) - 1
            assert float(values[word, more]) == pytest.approx(float(logits[0, first]) + more * math.log(1 - 1 / MEAN))


def test_a_text_with_nothing_to_mask_is_left_as_it_is():
    nothing = torch.zeros_like(ELIGIBLE)
    starts = drawn_span_starts(torch.zeros(1, 12, 2), TEXT, nothing, torch.tensor([1]), torch.arange(12)[None], MEAN, 3)
    assert torch.equal(starts, TEXT)


def test_spans_of_mean_length_one_are_words():
    ends = torch.randn(1, 12, 2, generator=torch.Generator().manual_seed(3))
    starts = drawn_span_starts(ends, TEXT, ELIGIBLE, torch.tensor([1]), torch.arange(12)[None], 1.0, 3)
    assert torch.equal(starts, TEXT)
