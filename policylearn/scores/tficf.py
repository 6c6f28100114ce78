"""TF-ICF: which tokens are typical of the domain against general text."""

import numpy as np
import torch
from torch import Tensor


def tficf(domain: np.ndarray, general: np.ndarray) -> Tensor:
    """Term frequency × inverse corpus frequency of every token type.

        TF-ICF(w) = count_domain(w) / |domain| · log(|general| / (count_general(w) + 1))

    after Difference-Masking (Wilf et al., Findings of EMNLP 2023). |·| are corpus sizes in tokens.

    Args:
        domain, general: [V] counts.

    Returns:
        [V] float32; 0 for tokens that never occur in the domain.

    Raises:
        ValueError: a corpus is empty.

    >>> tficf(np.array([5, 5, 0]), np.array([99, 0, 1]))
    tensor([0.0000, 2.3026, 0.0000])
    """
    if domain.sum() == 0 or general.sum() == 0:
        empty = "domain" if domain.sum() == 0 else "general"
        raise ValueError(f"the {empty} corpus holds no tokens: check {empty}.path and {empty}.text")
    inverse = np.log(general.sum() / (general + 1))
    return torch.from_numpy((domain / domain.sum() * inverse).astype(np.float32))
