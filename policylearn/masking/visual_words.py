"""Visual words: what patches of pictures are told apart by."""

import numpy as np
import torch
from torch import Tensor

SEED = 0
SAMPLE = 20_000
"""Patches that centroids are found among."""


def visual_words(x: Tensor, count: int) -> Tensor:
    """Codebook [K, d], K ≤ count: centroids of k-means (Lloyd, 1982; k-means++) of patches x [B, T, d], of which a
    sample is enough. Patches that are all alike have one centroid.

    >>> visual_words(torch.tensor([[[0.0], [1.0], [0.0], [9.0]]]), 2).sort(0).values.flatten()
    tensor([0.3333, 9.0000])
    """
    from sklearn.cluster import KMeans  # here only: whoever has a policy needs it no more
    from threadpoolctl import threadpool_limits

    flat = x.flatten(0, 1).numpy()
    picked = np.random.default_rng(SEED).permutation(len(flat))[:SAMPLE]
    different = len(np.unique(flat[picked], axis=0))
    with threadpool_limits(1):  # several would add up in an order of their own, and last bits are part of keys
        found = KMeans(min(count, different), n_init=1, random_state=SEED).fit(flat[picked])
    return torch.from_numpy(found.cluster_centers_).float()
