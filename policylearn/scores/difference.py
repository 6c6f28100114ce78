"""Difference-Masking (Wilf et al., Findings of EMNLP 2023): mask what is near the words that make the domain
different."""

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from policylearn.scores.tficf import tficf


def anchors(
    domain: np.ndarray, general: np.ndarray, allowed: Tensor, k: int, min_count: int, min_ratio: float
) -> Tensor:
    """Ids of the `k` allowed token types of highest TF-ICF, most typical first.

    TF-ICF alone ranks very frequent function words high in any domain (a term frequency of .05 outweighs any
    logarithm), so an anchor must also be `min_ratio` times as frequent in the domain as in general text.

    Args:
        domain, general: [V] counts.
        allowed: [V] boolean, types that may be anchors (words, not punctuation, pieces or special tokens).
        k: at most so many.
        min_count: types rarer than this in the domain are no anchors.
        min_ratio: smallest ratio of relative frequencies, domain to general (one added to the general count).

    Raises:
        ValueError: no type qualifies.
    """
    typicality = tficf(domain, general)
    ratio = (domain / domain.sum()) / ((general + 1) / general.sum())
    usable = allowed & torch.from_numpy((domain >= min_count) & (ratio >= min_ratio))
    if not usable.any():
        raise ValueError(
            f"no token of the domain corpus can be an anchor: none occurs {min_count} times and is {min_ratio} "
            "times as frequent as in general text; check domain.path, general.path, scores.anchor_count and "
            "scores.anchor_ratio"
        )
    ranked = torch.where(usable, typicality, -torch.inf).argsort(descending=True, stable=True)
    return ranked[: min(k, int(usable.sum()))]


def nearest_anchor_similarity(vectors: Tensor, anchor_ids: Tensor) -> Tensor:
    """max_a cos(vector_w, vector_a) for every token type w; [V] from word vectors [V, d].

    >>> nearest_anchor_similarity(torch.tensor([[1.0, 0.0], [0.0, 2.0], [3.0, 3.0]]), torch.tensor([1]))
    tensor([0.0000, 1.0000, 0.7071])
    """
    unit = normalize(vectors.float(), dim=1)
    return (unit @ unit[anchor_ids].T).amax(1)
