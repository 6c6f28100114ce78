"""Scores of visual words: what Difference-Masking, TF-ICF and the loss of a model say of patches.

The functions behind are those of texts, for a picture is a text of visual words (Sivic & Zisserman, ICCV 2003).
"""

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor

from policylearn.masking.patches import PatchField
from policylearn.policy.scores import Scores
from policylearn.scores.difference import nearest_anchor_similarity
from policylearn.scores.occurrences import Means, largest_is_one
from policylearn.scores.tficf import tficf


def counts(field: PatchField, pictures: Iterable[Tensor]) -> np.ndarray:
    """How often every type occurs, [V] int64, in batches x [B, T, d]."""
    found = np.zeros(field.size, dtype=np.int64)
    for x in pictures:
        found += np.bincount(field.types(x).flatten().numpy(), minlength=field.size)
    return found


def by_tficf(domain: np.ndarray, general: np.ndarray) -> Scores:
    """TF-ICF of every type, from counts [V] in the domain and in general pictures; the largest is 1.

    Raises:
        ValueError: there are no pictures.
    """
    found = tficf(domain, int(domain.sum()), general, int(general.sum()))
    return largest_is_one(Scores(torch.from_numpy(found.clip(min=0.0))))


def anchors(domain: np.ndarray, general: np.ndarray, most: int, ratio: float = 2.0, least: int = 20) -> np.ndarray:
    """The types that make the domain different, [K]: of those that occur `least` times and are `ratio` times as
    frequent as in general pictures, `most` of the highest TF-ICF.

    Raises:
        ValueError: there are none.

    >>> anchors(np.array([50, 50, 900]), np.array([0, 100, 900]), most=5)
    array([0])
    """
    typical = tficf(domain, int(domain.sum()), general, int(general.sum()))
    usable = (domain >= least) & (domain / domain.sum() >= ratio * (general + 1) / general.sum())
    order = np.argsort(-typical, kind="stable")
    if not len(found := order[usable[order]][:most]):
        raise ValueError(
            f"no visual word of the domain can be an anchor: none occurs {least} times and is {ratio:g} times as "
            "frequent as in general pictures; check domain.path, general.path, patches.words and "
            "scores.difference.anchor_ratio"
        )
    return found


def difference(
    field: PatchField, domain: np.ndarray, general: np.ndarray, most: int = 20, ratio: float = 2.0, least: int = 20
) -> Scores:
    """Difference-Masking (Wilf et al., Findings of EMNLP 2023) of patches: similarity of every type to the nearest
    anchor, the cosine of their centroids less the mean patch of general pictures.

    Args:
        field: of the pictures.
        domain, general: counts [V].
        most, ratio, least: of `anchors`.

    Raises:
        ValueError: there is no anchor.
    """
    centroids = field.codebook.repeat_interleave(field.zones**2, 0)
    weights = torch.from_numpy(general / general.sum()).float()
    apart = centroids - weights @ centroids
    found = torch.from_numpy(anchors(domain, general, most, ratio, least))
    return Scores(nearest_anchor_similarity(apart, apart[found]))


def hard(field: PatchField, losses: Iterable[tuple[Tensor, Tensor]]) -> Scores:
    """Mean reconstruction loss of every type, shrunk, the largest 1; a type that was never hidden has the mean.

    Args:
        field: of the pictures.
        losses: types [M] of hidden patches and the losses [M] of a model.
    """
    means = Means(field.size)
    for types, values in losses:
        means.add(types, values)
    found = means(shrunk=True)
    return largest_is_one(Scores(found.nan_to_num(float(found.nanmean()))))
