"""Difference-Masking (Wilf et al., Findings of EMNLP 2023): mask what is near the words that make the domain
different."""

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from policylearn.policy.scores import Scores
from policylearn.scores.sources import Sources
from policylearn.scores.vectors import Embed, batches, type_pieces, word_embedder


def difference(sources: Sources) -> Scores:
    """Similarity to the nearest anchor: of every type by itself, and of every word of the lexicon."""
    pieces, size = sources.lexicon.pieces, len(sources.vocabulary.special)
    longer = pieces[:, 1] >= 0
    wanted = np.concatenate([type_pieces(size), pieces[longer]])
    order: Iterable[np.ndarray] = list(batches(wanted))
    if sources.config.difference.embedding == "encoder":
        order = sources.watch("running the encoder on words", order, len(wanted), size=len)
    # Anchors first: without any there is nothing to run an encoder for.
    anchors = sources.anchors.pieces
    found = anchor_similarity(wanted, anchors, word_embedder(sources), order)
    # A word of one piece is its type.
    words = found[torch.from_numpy(pieces[:, 0]).long()]
    words[torch.from_numpy(longer)] = found[size:]
    return Scores(found[:size], words)


def anchor_similarity(
    pieces: np.ndarray, anchors: np.ndarray, embed: Embed, order: Iterable[np.ndarray] | None = None
) -> Tensor:
    """Similarity of words [n, PIECES] to the nearest of the anchors [K, PIECES], [n] float32; the vectors of all words
    are never held at once.

    Args:
        pieces, anchors: token ids of words, filled up with -1.
        embed: of `scores.vectors`.
        order: of `scores.vectors.batches`, perhaps watched.
    """
    near, similarity = embed(anchors), torch.zeros(len(pieces))
    for rows in batches(pieces) if order is None else order:
        similarity[torch.from_numpy(rows)] = nearest_anchor_similarity(embed(pieces[rows]), near)
    return similarity


def nearest_anchor_similarity(vectors: Tensor, anchors: Tensor) -> Tensor:
    """max_a cos(vector_w, vector_a) for every word w, [n], from vectors [n, d] of words and [K, d] of anchors.

    >>> nearest_anchor_similarity(torch.tensor([[1.0, 0.0], [0.0, 2.0], [3.0, 3.0]]), torch.tensor([[0.0, 0.5]]))
    tensor([0.0000, 1.0000, 0.7071])
    """
    return (normalize(vectors.float(), dim=1) @ normalize(anchors.float(), dim=1).T).amax(1)
