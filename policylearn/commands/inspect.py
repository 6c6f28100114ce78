"""Texts as a policy sees them: mask probabilities of every token, before and after learning."""

from collections.abc import Sequence
from pathlib import Path

import torch
from transformers import PreTrainedTokenizerBase

from policylearn.artefact import PolicyArtefact
from policylearn.collator.distil import COLUMN
from policylearn.config import PolicyConfig
from policylearn.data.formats import read_lines
from policylearn.data.text import text_of
from policylearn.masking.field import text_field
from policylearn.messages.quote import quote
from policylearn.policy.policy import MaskingPolicy
from policylearn.policy.scores import scorer_of
from policylearn.report.heatmap import Heatmap
from policylearn.scores.registry import READ_LABELS


def heatmaps(
    policy: MaskingPolicy, tokenizer: PreTrainedTokenizerBase, input_ids: Sequence[int]
) -> tuple[Heatmap, Heatmap]:
    """(prior, learned) mask probabilities of one tokenised text; NaN where nothing may be masked."""
    ids = torch.tensor([list(input_ids)])
    real = torch.ones_like(ids, dtype=torch.bool)
    eligible = policy.eligible(ids, real)
    with torch.no_grad():
        pair = policy.prior_probabilities(ids, real), policy.probabilities(ids, real)
    tokens = list(tokenizer.convert_ids_to_tokens(ids[0].tolist()))
    prior, learned = (Heatmap(tokens, torch.where(eligible, p, torch.nan)[0].tolist()) for p in pair)
    return prior, learned


def inspect_texts(artefact: PolicyArtefact, texts: Sequence[str]) -> list[tuple[Heatmap, Heatmap]]:
    """(prior, learned) heatmaps of texts.

    Raises:
        ValueError: there is no text, one is empty, or one has no token that may be masked.
    """
    if not texts:
        raise ValueError("no text to inspect: give one or more, or a file of them with --file")
    return [_inspect(artefact, text, place) for place, text in enumerate(texts, start=1)]


def _inspect(artefact: PolicyArtefact, text: str, place: int) -> tuple[Heatmap, Heatmap]:
    text = text_of(text, "the texts given", f"text {place}", "give strings")
    if not text.strip():
        raise ValueError(f"text {place} is empty: there is nothing to mask in it")
    ids = artefact.tokenizer(text, truncation=True)["input_ids"]
    if not ids or bool(text_field(artefact.policy.field).special[torch.tensor(ids)].all()):
        tokens = " ".join(artefact.tokenizer.convert_ids_to_tokens(ids))
        raise ValueError(f"text {place}, {quote(text)}, has no token that may be masked: its tokens are {tokens}")
    return heatmaps(artefact.policy, artefact.tokenizer, ids)


def read_texts(path: str) -> list[str]:
    """The lines of a file that are not blank.

    A line ends with "\\n" or "\\r\\n", and with nothing else: a form feed or U+2028 is part of a text.

    Raises:
        ValueError: it cannot be read, or has none.
    """
    if not (texts := [line for line in read_lines(Path(path), f"--file {path}") if line.strip()]):
        raise ValueError(f"--file {path} holds no text: one a line is expected")
    return texts


def facts(artefact: PolicyArtefact) -> dict[str, str]:
    """What to know of a policy, by name."""
    config, masking = artefact.policy.config, artefact.policy.masking
    prior = " + ".join(f"{strength:g} · {name}" for name, strength in config.prior.items()) or "uniform"
    network = {"none": "none", "table": "a logit per token id", "context": "over the text"}
    network["span"] = "over the text, of where spans begin and end"
    return {
        "rate": masking.rate_in_words,
        "unit": masking.unit,
        "design": masking.design,
        "prior": prior,
        "network": network[config.network],
        **_learned(config),
        **{name: str(value) for name, value in artefact.provenance.items()},
    }


def _learned(config: PolicyConfig) -> dict[str, str]:
    """What can be said of a policy whose provenance does not: those of earlier versions, and scorers straight from
    texts."""
    if config.network != "none" or COLUMN in config.prior:
        return {}
    from_labels = [name for name in config.prior if scorer_of(name) in READ_LABELS]
    return {"learned": f"in the prior, from labels ({', '.join(from_labels)})" if from_labels else "nothing"}
