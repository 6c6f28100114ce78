"""The oracle of the planted benchmark, which knows what is worth masking."""

import torch

from policylearn.data.planted import is_useful
from policylearn.scores.registry import scorer
from policylearn.scores.sources import Sources
from policylearn.scores.table import Scores


@scorer("oracle")
def _oracle(sources: Sources) -> Scores:
    tokens = sources.tokenizer.convert_ids_to_tokens(list(range(len(sources.tokenizer))))
    useful = torch.tensor([is_useful(token) for token in tokens])
    if not useful.any():
        raise ValueError("the oracle is known on the planted benchmark only: take it out of evaluate.arms")
    return Scores(useful.float())
