"""What a policy loses by not masking the targets."""

import torch
from torch import Tensor

from policylearn.masking import example_keys, text_field
from policylearn.masking.spans import Words, candidate_logits, eligible_words, neighbours
from policylearn.policy.policy import MaskingPolicy


def target_loss(policy: MaskingPolicy, input_ids: Tensor, real: Tensor, numbers: Tensor, epoch: int) -> Tensor:
    """That of the units as they are cut in this epoch, and of the cut where the policy's network makes it.

    Args:
        policy: π_φ.
        input_ids, real: [B, T].
        numbers: [B, T], which target each token belongs to: 1, 2, …; 0: none.
        epoch: passes over the texts before this one.
    """
    lead = policy.units(input_ids, real, example_keys(input_ids, real, 0, epoch))
    loss = coverage_loss(policy.probabilities(input_ids, real, lead=lead), numbers)
    return loss + _cut_loss(policy, input_ids, real, numbers) if policy.cuts_spans else loss


def _cut_loss(policy: MaskingPolicy, input_ids: Tensor, real: Tensor, numbers: Tensor) -> Tensor:
    assert policy.network is not None
    words = eligible_words(text_field(policy.field).word_starts(input_ids, real), policy.eligible(input_ids, real))
    mean, longest = policy.masking.span_mean, policy.masking.span_longest
    logits = candidate_logits(policy.network(input_ids, real), words, mean, longest)
    return span_loss(logits, target_spans(numbers, words, longest))


def coverage_loss(p: Tensor, numbers: Tensor) -> Tensor:
    """−log Σ_targets p_i / |targets|, the mean over texts that have one: what is maximised is the expected share of
    target tokens that a mask covers. Since Σ p is given, precision follows.

    Args:
        p: [B, T] inclusion probabilities.
        numbers: as above.

    >>> coverage_loss(torch.tensor([[0.25, 0.25, 0.5]]), torch.tensor([[1.0, 0.0, 2.0]])).exp()  # 1 / .375
    tensor(2.6667)
    """
    wanted = (numbers > 0).to(p)
    covered = ((p * wanted).sum(1) / wanted.sum(1).clamp(min=1.0))[wanted.any(1)]
    return -covered.clamp(min=1e-6).log().sum() / max(1, len(covered))


def span_loss(logits: Tensor, wanted: Tensor) -> Tensor:
    """−log p(span) with p = softmax of the logits [B, W, L] over all candidates of a text; the mean over its targets
    `wanted` [B, W, L], then over the texts that have one.

    >>> span_loss(torch.zeros(1, 2, 2), torch.tensor([[[True, False], [False, False]]])).exp()
    tensor(4.)
    """
    log_p = logits.flatten(1).log_softmax(1)
    wanted = wanted.flatten(1) & log_p.isfinite()
    per_text = torch.where(wanted, log_p, 0.0).sum(1) / wanted.sum(1).clamp(min=1)
    return -per_text.sum() / wanted.any(1).sum().clamp(min=1)


def target_spans(numbers: Tensor, words: Words, longest: int) -> Tensor:
    """True at the span of words w to w + l of every target, [B, W, L]. A word belongs to a target as soon as one of
    its tokens does; targets of more than L words are not among the candidates.

    >>> words = eligible_words(torch.tensor([[1, 0, 1, 1]]).bool(), torch.ones(1, 4).bool())
    >>> target_spans(torch.tensor([[0.0, 1.0, 1.0, 0.0]]), words, 2)  # words 0 and 1
    tensor([[[False,  True],
             [False, False],
             [False, False]]])
    """
    number = torch.where(words.there, _of_words(numbers, words), 0.0)
    around = torch.nn.functional.pad(number, (1, 1))
    begins, ends = (number > 0) & (number != around[:, :-2]), number != around[:, 2:]
    same = neighbours(number, longest, 0) == number[..., None]
    return begins[..., None] & same & neighbours(ends.long(), longest, 0).bool()


def _of_words(numbers: Tensor, words: Words) -> Tensor:
    """The largest number of the tokens of each word, [B, W]."""
    here = torch.arange(numbers.shape[1], device=numbers.device)
    inside = (here >= words.first[..., None]) & (here <= words.last[..., None])
    return torch.where(inside, numbers[:, None], 0.0).amax(2)
