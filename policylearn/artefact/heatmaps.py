"""Texts as a policy sees them: mask probabilities of every token, before and after learning."""

from collections.abc import Sequence

import torch
from transformers import PreTrainedTokenizerBase

from policylearn.data.text import text_of
from policylearn.masking.field import text_field
from policylearn.masking.vocabulary import BLANK, mark_of
from policylearn.messages.quote import quote
from policylearn.policy.policy import Columns, MaskingPolicy
from policylearn.report.heatmap import Heatmap
from policylearn.report.pieces import in_bytes


def heatmaps(
    policy: MaskingPolicy, tokenizer: PreTrainedTokenizerBase, input_ids: Sequence[int], columns: Columns | None = None
) -> tuple[Heatmap, Heatmap]:
    """(prior, learned) mask probabilities of one tokenised text, with the scores [1, T] that came with it; NaN where
    nothing may be masked."""
    ids = torch.tensor([list(input_ids)])
    real = torch.ones_like(ids, dtype=torch.bool)
    eligible = policy.eligible(ids, real)
    with torch.no_grad():
        pair = policy.prior_probabilities(ids, real, columns), policy.probabilities(ids, real, columns=columns)
    mark = mark_of(tokenizer)
    tokens = _tokens(tokenizer, ids[0].tolist(), mark)
    prior, learned = (Heatmap(tokens, torch.where(eligible, p, torch.nan)[0].tolist(), mark) for p in pair)
    return prior, learned


def _tokens(tokenizer: PreTrainedTokenizerBase, ids: list[int], mark: str | None) -> list[str]:
    """All spelt alike: what was added to a byte-level tokenizer stands there as it is."""
    added = tokenizer.added_tokens_decoder if mark == BLANK else {}
    tokens = tokenizer.convert_ids_to_tokens(ids)
    return [in_bytes(token) if i in added else token for i, token in zip(ids, tokens, strict=True)]


def inspect_texts(
    policy: MaskingPolicy, tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]
) -> list[tuple[Heatmap, Heatmap]]:
    """(prior, learned) heatmaps of texts.

    Raises:
        ValueError: there is no text, one is empty, or one has no token that may be masked.
    """
    if isinstance(texts, str):
        texts = [texts]
    if not texts:
        raise ValueError("no text to inspect: give one or more, or a file of them with --file")
    return [_inspect(policy, tokenizer, text, place) for place, text in enumerate(texts, start=1)]


def _inspect(
    policy: MaskingPolicy, tokenizer: PreTrainedTokenizerBase, text: str, place: int
) -> tuple[Heatmap, Heatmap]:
    text = text_of(text, "the texts given", f"text {place}", "give strings")
    if not text.strip():
        raise ValueError(f"text {place} is empty: there is nothing to mask in it")
    ids = tokenizer(text, truncation=True)["input_ids"]
    if not ids or bool(text_field(policy.field).special[torch.tensor(ids)].all()):
        tokens = " ".join(tokenizer.convert_ids_to_tokens(ids))
        raise ValueError(f"text {place}, {quote(text)}, has no token that may be masked: its tokens are {tokens}")
    return heatmaps(policy, tokenizer, ids)
