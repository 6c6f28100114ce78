import pytest
import torch

from policylearn.learning.supervised.losses import coverage_loss, span_loss, target_loss, target_spans
from policylearn.masking.spans import candidate_logits, eligible_words

STARTS = torch.tensor([[1, 1, 0, 1, 1, 0, 1, 1]]).bool()
ELIGIBLE = torch.tensor([[0, 1, 1, 1, 1, 1, 1, 0]]).bool()
NUMBERS = torch.tensor([[0.0, 0, 1, 1, 2, 0, 0, 0]])
"""Words [1 2] [3] [4 5] [6]; target 1 is the first two of them, though it begins inside of one, target 2 the third."""


def test_targets_are_the_spans_of_the_words_they_touch():
    words = eligible_words(STARTS, ELIGIBLE)
    assert target_spans(NUMBERS, words, 3).nonzero().tolist() == [[0, 0, 1], [0, 2, 0]]
    assert target_spans(NUMBERS, words, 1).nonzero().tolist() == [[0, 2, 0]]  # the other is too long


def test_the_loss_of_spans_is_the_mean_negative_log_probability_of_the_targets():
    words, ends = eligible_words(STARTS, ELIGIBLE), torch.randn(1, 8, 3, generator=torch.Generator().manual_seed(0))
    found = span_loss(candidate_logits(ends, words, 2.0, 3), target_spans(NUMBERS, words, 3))
    borders = [(1, 2), (3, 3), (4, 5), (6, 6)]
    weights = {
        (i, j): float((ends[0, borders[i][0], 0] + ends[0, borders[j][1], 1]).exp()) / 2 ** (j - i)
        for i in range(4)
        for j in range(i, min(4, i + 3))
    }
    p = [weights[span] / sum(weights.values()) for span in ((0, 1), (2, 2))]
    assert float(found) == pytest.approx(-float(torch.tensor(p).log().mean()), rel=1e-5)


def test_texts_without_a_target_among_the_candidates_do_not_count():
    logits, wanted = torch.zeros(2, 2, 2), torch.zeros(2, 2, 2, dtype=torch.bool)
    wanted[0, 0, 0] = True
    assert float(span_loss(logits, wanted)) == pytest.approx(float(span_loss(logits[:1], wanted[:1])))
    assert float(span_loss(logits, ~wanted & False)) == 0.0
    p, numbers = torch.tensor([[0.5, 0.1], [0.2, 0.4]]), torch.tensor([[1.0, 0.0], [0.0, 0.0]])
    assert float(coverage_loss(p, numbers)) == pytest.approx(-torch.tensor(0.5).log().item())
    assert float(coverage_loss(p, 0 * numbers)) == 0.0


@pytest.mark.parametrize("network", ["table", "context", "span"])
def test_following_the_gradient_masks_the_targets(make_policy, network):
    unit = "span" if network == "span" else "token"
    policy = make_policy(network, (), masking={"unit": unit})
    ids = torch.randint(5, 40, (8, 20), generator=torch.Generator().manual_seed(0))
    real, numbers = torch.ones_like(ids, dtype=torch.bool), torch.where(ids < 10, 1.0, 0.0)
    optimizer = torch.optim.Adam([p for p in policy.parameters() if p.requires_grad], 0.05)
    covered = []
    for epoch in range(40):
        p = policy.probabilities(ids, real).detach()
        covered.append(float((p * (numbers > 0)).sum() / (numbers > 0).sum()))
        optimizer.zero_grad()
        target_loss(policy, ids, real, numbers, epoch).backward()
        optimizer.step()
    assert covered[0] < 0.25 and covered[-1] > 2.5 * covered[0]
