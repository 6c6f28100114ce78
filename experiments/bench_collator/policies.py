"""Policies by kind. What masking costs does not depend on which token or word has which score."""

from functools import cache
from pathlib import Path

import torch
from texts import examples
from torch import Tensor
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from policylearn.config import MaskingConfig, PolicyConfig
from policylearn.masking import TextField, vocabulary, word_keys
from policylearn.policy.policy import MaskingPolicy, uniform_policy
from policylearn.policy.scores import Scores


def build_policy(
    tokenizer: PreTrainedTokenizerBase, model: Path, corpus: Path, kind: str, unit: str = "token"
) -> MaskingPolicy:
    """ "uniform"; "table", a score per token type, spread as Difference-Masking's; "table of words", a score per word
    too; "context", a learned network of the default size on top of the table."""
    masking = MaskingConfig(unit=unit)
    if kind == "uniform":
        return uniform_policy(tokenizer, masking)
    field, seeded = TextField(vocabulary(tokenizer), masking), torch.Generator().manual_seed(0)
    lexicon = known_words(model, corpus) if kind == "table of words" else torch.zeros(0, dtype=torch.int64)
    types, words = (torch.rand(size, generator=seeded) for size in (len(field.special), len(lexicon)))
    config = PolicyConfig(network="context" if kind == "context" else "none")
    features = torch.randn(len(types), config.features + 1, generator=seeded)
    scores = {"difference": Scores(types, words if len(lexicon) else None)}
    policy = MaskingPolicy(config, scores, lexicon, features, field)
    policy.load_learned({name: 0.1 * torch.randn(p.shape, generator=seeded) for name, p in policy.learned().items()})
    return policy


@cache
def known_words(model: Path, corpus: Path) -> Tensor:
    """Keys of the words of some hundred thousand tokens, the timed ones among them: some ten thousand."""
    tokenizer = AutoTokenizer.from_pretrained(model)
    field, found = TextField(vocabulary(tokenizer), MaskingConfig()), []
    for text in examples(tokenizer, corpus, 64, 8192):
        ids = torch.tensor(text["input_ids"])[None]
        found.append(word_keys(ids, field.words(ids, torch.ones_like(ids, dtype=torch.bool))).unique())
    return torch.cat(found).unique()[1:]
