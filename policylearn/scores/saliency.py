"""Saliency: how strongly the task's loss hangs on each token, by gradient · input."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import nll_loss

from policylearn.models.model import InnerModel
from policylearn.policy.scores import Scores
from policylearn.scores.classifier import BATCH, TextClassifier, by_classifier, fit_classifier, some_labelled
from policylearn.scores.occurrences import OccurrenceMeans, largest_is_one
from policylearn.scores.sources import Sources


def saliency(sources: Sources) -> Scores:
    """Mean saliency of types and words over their occurrences in labelled texts (shrunk), divided by the largest.

    A type that occurs in none of them has the mean of the types: nothing speaks for it, nothing against.
    `scores.model_texts` labelled texts at most are looked at.
    """
    model, pad_id = sources.model(), sources.tokenizer.pad_token_id
    rows, y = some_labelled(sources)
    classifier = fit_classifier(model, rows, y, pad_id, sources.watch)
    means = OccurrenceMeans(sources.vocabulary, sources.lexicon)
    for picked in sources.watch("saliency of labelled texts", rows.by_length(BATCH), len(rows), size=len):
        ids, real = rows.batch(picked, pad_id)
        eligible = real & ~sources.vocabulary.special[ids]
        found = gradient_times_input(classifier, model, ids, real, y[torch.from_numpy(picked)])
        means.add(ids, real, relative(found, eligible))
    return replace(largest_is_one(means.scores(shrunk=True)), learned_from=by_classifier(rows))


def gradient_times_input(classifier: TextClassifier, model: InnerModel, ids: Tensor, real: Tensor, y: Tensor) -> Tensor:
    """s_t = |∂ℓ/∂e_t · e_t|, [B, T]: e_t the input embedding at position t, ℓ the cross-entropy of the text's label.

    To first order, what the loss changes by when the embedding at t is scaled to nothing (Simonyan et al., 2014;
    Shrikumar et al., 2017). It is a property of the token itself: no average over the other positions is taken.

    Args:
        classifier: on features of `model`.
        model: θ₀; its parameters get no gradient.
        ids, real: [B, T].
        y: [B] classes.
    """
    reader: Any = model.encoder  # whose embeddings are not those of the whole of a BART, but for their weights
    with torch.enable_grad(), input_embeddings(reader.get_input_embeddings()) as embedded:
        loss = nll_loss(classifier(ids, real), y, reduction="sum")
        (gradient,) = torch.autograd.grad(loss, embedded[-1])
    return (gradient * embedded[-1]).sum(2).abs().detach()


@contextmanager
def input_embeddings(module: nn.Module) -> Iterator[list[Tensor]]:
    """Collects what an embedding module gives, call by call, as tensors [B, T, d] to differentiate by."""
    collected: list[Tensor] = []

    def detach(module: nn.Module, inputs: tuple, output: Tensor) -> Tensor:
        collected.append(output.detach().requires_grad_())
        return collected[-1]

    handle = module.register_forward_hook(detach)
    try:
        yield collected
    finally:
        handle.remove()


def relative(values: Tensor, eligible: Tensor) -> Tensor:
    """Values divided by their mean over the eligible tokens of the same text: 1 is usual there; [B, T].

    Texts that are classified without doubt have small gradients everywhere, and would not count otherwise. A text
    whose values are all 0 keeps them.

    >>> relative(torch.tensor([[9.0, 3.0, 1.0]]), torch.tensor([[False, True, True]]))
    tensor([[4.5000, 1.5000, 0.5000]])
    """
    mean = (values * eligible).sum(1, keepdim=True) / eligible.sum(1, keepdim=True).clamp(min=1)
    return values / torch.where(mean > 0, mean, 1.0)
