"""What the engines are compared with: training without a meta-gradient, and other libraries."""

import torch
from problem import RATE, VOCABULARY, Problem
from torch import Tensor
from torch.nn.functional import cross_entropy

from policylearn.inner.masked_lm import MaskedLM, mlm_loss
from policylearn.inner.steps import plain_step
from policylearn.masking import IGNORED
from policylearn.models.model import InnerModel


class TransformersLoss(InnerModel):
    """The MLM loss as transformers has it: logits of all positions, those that are not masked ignored."""

    def forward(self, input_ids, real, labels=None, observe=None) -> Tensor:
        if labels is None:
            return super().forward(input_ids, real)
        input_ids, real, labels = (x.to(self.mlm.device) for x in (input_ids, real, labels))
        logits = self.mlm(input_ids=input_ids, attention_mask=real.long()).logits
        losses = cross_entropy(logits.view(-1, VOCABULARY), labels.view(-1), ignore_index=IGNORED, reduction="none")
        return losses[labels.view(-1) != IGNORED]


def plain(p: Problem) -> list[Tensor]:
    """No meta-gradient: transformers' own training step."""
    for batch in p.batches:
        given = {"input_ids": batch.shown, "attention_mask": batch.real.long(), "labels": batch.labels}
        p.model.mlm(**{name: x.to(p.model.mlm.device) for name, x in given.items()}).loss.backward()
        p.optimizer.step()
        p.optimizer.zero_grad()
    return []


def ordinary(p: Problem) -> list[Tensor]:
    """No meta-gradient: our own training step, logits at masked positions only."""
    for batch in p.batches:
        plain_step(p.model, p.optimizer, MaskedLM(), batch, RATE)
    return []


def torchopt(p: Problem) -> list[Tensor]:
    """The differentiable AdamW of torchopt, which takes the two ends of a tie for two parameters."""
    import torchopt as library

    group = p.optimizer.param_groups[0]
    # Decay on norms and biases too: its `mask` fails, and at a rate of 1e-4 the difference is below single precision.
    settings = {name: group[name] for name in ("betas", "eps", "weight_decay")}
    inner = library.MetaAdamW(p.model, lr=RATE, **settings)
    _warm(inner, p.optimizer)
    weights = [torch.ones(int(batch.mask.sum()), requires_grad=True) for batch in p.batches]
    for batch, w in zip(p.batches, weights, strict=True):
        inner.step(mlm_loss(p.model, batch, w))
    for part in p.model.modules():  # the outer gradient is that of matrices, as everywhere
        vectors = {name: x for name, x in part._parameters.items() if x is not None and x.ndim < 2}
        part._parameters.update({name: x.detach() for name, x in vectors.items()})
    return list(torch.autograd.grad(p.outer(p.model), weights))


def _warm(inner, optimizer: torch.optim.AdamW) -> None:
    """Give torchopt's optimiser the moments that ours has."""
    import torchopt as library
    from torchopt.transform.scale_by_adam import ScaleByAdamState

    parameters = library.pytree.tree_leaves(inner.param_containers_groups[0])
    known = [optimizer.state[p] for p in parameters]
    moments = ScaleByAdamState(
        mu=tuple(s["exp_avg"] for s in known),
        nu=tuple(s["exp_avg_sq"] for s in known),
        count=tuple(s["step"].long() for s in known),
    )
    fresh = inner.impl.init(tuple(parameters))
    inner.state_groups[0] = tuple(moments if isinstance(part, ScaleByAdamState) else part for part in fresh)
