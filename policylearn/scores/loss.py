"""What the model finds hard: the MLM loss of θ₀ per token type."""

from collections.abc import Iterator

import torch
from torch import Tensor

from policylearn.data.tokens import TokenRows
from policylearn.masking import IGNORED, budget, corrupt, eligible_positions, example_keys, positions, systematic
from policylearn.models.model import InnerModel
from policylearn.policy.scores import Scores
from policylearn.scores.occurrences import Means, largest_is_one
from policylearn.scores.sources import Sources

BATCH = 64
RATE = 0.15


def loss(sources: Sources) -> Scores:
    """Mean MLM loss (shrunk) of θ₀ per token type, divided by the largest; a type that was never masked has the mean.

    `scores.model_texts` rows of the domain corpus, evenly spaced, are masked once, at random (15 %; 80 % [MASK], 10 %
    random, 10 % kept).
    """
    rows = sources.domain_rows()
    rows = rows.take(rows.spread(sources.config.model_texts))
    means = Means(len(sources.vocabulary.special))
    for types, losses in masked_losses(sources, sources.model(), rows):
        means.add(types, losses)
    found = means(shrunk=True)
    return largest_is_one(Scores(found.nan_to_num(float(found.nanmean()))))


def masked_losses(sources: Sources, model: InnerModel, rows: TokenRows) -> Iterator[tuple[Tensor, Tensor]]:
    """Types [M] and cross-entropies [M] of the masked tokens, batch by batch."""
    mask_id, size = sources.tokenizer.mask_token_id, len(sources.vocabulary.special)
    for picked in sources.watch("MLM loss of texts of the domain", rows.by_length(BATCH), len(rows), size=len):
        ids, real = rows.batch(picked, sources.tokenizer.pad_token_id)
        keys, index = example_keys(ids, real, seed=0), positions(real)
        eligible = eligible_positions(ids, real, sources.vocabulary.special)
        mask = systematic(budget(torch.zeros(ids.shape), eligible, RATE), keys, index)
        hidden, labels = corrupt(ids, mask, keys, index, mask_token_id=mask_id, vocab_size=size)
        with torch.no_grad():
            losses = model(hidden, real, labels=labels)
        yield labels[labels != IGNORED], losses


def amlm(sources: Sources) -> Scores:
    """All alike: what `adaptive.AdaptiveWeights` begins with, before it follows a model's mistakes in training."""
    return Scores(torch.zeros(len(sources.vocabulary.special)))
