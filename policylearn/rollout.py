"""One rollout: base checkpoint → H inner steps under the policy's masks → a policy gradient.

A rollout is a pure function of (φ, config, seed). It may run anywhere, twice, or again after a crash.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from policylearn.inner.mlm import MaskedBatch, learning_rate, make_optimizer, plain_step
from policylearn.inner.model import InnerModel
from policylearn.inner.probe import outer_loss
from policylearn.metagrad.estimators import advantages, credit_surrogate, entropy, kl_divergence
from policylearn.metagrad.one_step import one_step
from policylearn.policy import MaskingPolicy, mask_tokens
from policylearn.problem import Examples, Problem

Features = Callable[[Tensor, Tensor], Tensor]
FEATURE_BATCH = 128


@dataclass(frozen=True)
class PolicyGradient:
    """What a rollout sends back: the gradient of the outer loss in φ, and a few numbers."""

    gradient: dict[str, Tensor]
    metrics: dict[str, float]


@dataclass
class _Tally:
    """Sums of a rollout's metrics, averaged at the end."""

    values: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))

    def add(self, **numbers: float) -> None:
        for name, number in numbers.items():
            self.values[name].append(number)

    def means(self) -> dict[str, float]:
        return {name: float(np.mean(numbers)) for name, numbers in self.values.items()}


def rollout(problem: Problem, policy: MaskingPolicy, seed: int, differentiate: bool = True) -> PolicyGradient:
    """Train a fresh model for H steps under the policy's masks; differentiate through windows on the way.

    Args:
        problem: data and models.
        policy: π_φ; its gradients are used as scratch and left empty.
        seed: of the model (where it is random), the data order, the masks and the support / query draws.
        differentiate: False trains only, for the dev score of a baseline.

    Returns:
        gradient by parameter name, averaged over windows, and metrics: `dev` (the probe's dev score at θ_H),
        `mlm_loss`, and with windows `outer_loss`, `outer_accuracy`, `entropy`, `kl`.

    Raises:
        FloatingPointError: the inner loss, the outer loss or the gradient is not finite.
    """
    config = problem.config.inner
    model = problem.fresh_model(seed)
    optimizer = make_optimizer(model, config)
    stream = masked_batches(problem, policy, seed)
    tally, windows, step = _Tally(), 0, 0
    policy.zero_grad(set_to_none=True)
    while step < config.steps:
        if differentiate and _opens_window(problem, step):
            step += _learn_from_window(problem, policy, model, optimizer, stream, step, seed, tally)
            windows += 1
            continue
        tally.add(mlm_loss=plain_step(model, optimizer, next(stream), learning_rate(config, step, config.steps)))
        step += 1
    gradient = _collect(policy, windows) if differentiate else {}
    policy.zero_grad(set_to_none=True)
    return PolicyGradient(gradient, tally.means() | {"dev": dev_score(problem, model)})


def _opens_window(problem: Problem, step: int) -> bool:
    config = problem.config.inner
    first = max(1, round(config.start * config.steps))
    return step >= first and (step - first) % config.every == 0 and step + config.window <= config.steps


def _learn_from_window(
    problem: Problem,
    policy: MaskingPolicy,
    model: InnerModel,
    optimizer: torch.optim.AdamW,
    stream: Iterator[MaskedBatch],
    step: int,
    seed: int,
    tally: _Tally,
) -> int:
    """Credits of one window, added to the policy's gradient; returns how many inner steps it took."""
    config = problem.config
    outer = OuterProblem(problem, seed, step, tally)
    rates = [learning_rate(config.inner, step + k, config.inner.steps) for k in range(config.inner.window)]
    if config.inner.engine == "unroll":
        from policylearn.metagrad.unroll import unroll  # here only: the other engines run without `higher`

        batches = [next(stream) for _ in rates]
        gradients = unroll(model, optimizer, batches, rates, outer, config.outer.parameters)
        taken = len(rates)
    else:
        batches = [next(stream) for _ in range(config.inner.credit_batches)]
        gradients = one_step(model, optimizer, batches, rates[0], outer, config.outer.parameters)
        taken = 1
        tally.add(mlm_loss=plain_step(model, optimizer, batches[0], rates[0]))
    _accumulate(policy, batches, advantages(gradients), config.learn.kl, tally)
    return taken


class OuterProblem:
    """The outer loss of one window: support and query examples drawn anew from the training split."""

    def __init__(self, problem: Problem, seed: int, step: int, tally: _Tally) -> None:
        train, sizes = problem.examples("train"), problem.config.outer
        picked = np.random.default_rng([seed, step]).permutation(len(train))
        support = min(sizes.support, len(train) // 2)
        self.support, self.query = picked[:support], picked[support : support + sizes.query]
        self.problem, self.tally = problem, tally

    def __call__(self, features: Features) -> Tensor:
        train = self.problem.examples("train")
        x = extract(features, train, [*self.support, *self.query], self.problem.tokenizer.pad_token_id)
        s = len(self.support)
        y, classes = train.y, len(self.problem.labels)
        fit = outer_loss(x[:s], y[self.support], x[s:], y[self.query], classes)
        if not torch.isfinite(fit.loss):
            raise FloatingPointError(f"the outer loss became {fit.loss.item()}")
        self.tally.add(outer_loss=fit.loss.item(), outer_accuracy=fit.accuracy)
        return fit.loss


def _accumulate(
    policy: MaskingPolicy,
    batches: Sequence[MaskedBatch],
    gradients: Sequence[Tensor],
    kl: float,
    tally: _Tally,
) -> None:
    """Add the gradient of credit and KL pull, averaged over the batches of a window, to the policy's."""
    for batch, gradient in zip(batches, gradients, strict=True):
        p = policy.probabilities(batch.original, batch.real)
        eligible = policy.eligible(batch.original, batch.real)
        prior = policy.prior_probabilities(batch.original, batch.real).detach()
        pull = kl_divergence(p[eligible], prior[eligible])
        loss = (credit_surrogate(p, batch.mask, gradient) + kl * pull) / len(batches)
        if loss.requires_grad:
            loss.backward()
        tally.add(kl=pull.item(), entropy=entropy(p.detach()[eligible]).item())


def _collect(policy: MaskingPolicy, windows: int) -> dict[str, Tensor]:
    """The accumulated gradient, averaged over windows."""
    gradient = {
        name: torch.zeros_like(p) if p.grad is None else p.grad / max(windows, 1)
        for name, p in policy.named_parameters()
        if p.requires_grad
    }
    if not all(torch.isfinite(g).all() for g in gradient.values()):
        raise FloatingPointError("the policy gradient is not finite")
    return gradient


def masked_batches(problem: Problem, policy: MaskingPolicy, seed: int) -> Iterator[MaskedBatch]:
    """Endless masked batches of the domain corpus, in an order drawn from `seed`, reshuffled every epoch."""
    rng = np.random.default_rng([seed, 0])
    rows, size = problem.domain, problem.config.inner.batch_size
    pad, mask_token_id = problem.tokenizer.pad_token_id, problem.tokenizer.mask_token_id
    masking = problem.config.masking
    queue: list[int] = []
    epoch = -1
    while True:
        while len(queue) < size:
            queue += rng.permutation(len(rows)).tolist()
            epoch += 1
        picked, queue = queue[:size], queue[size:]
        # Neighbouring batches may straddle an epoch; the epoch only keys the masks, so either number will do.
        input_ids, real = rows.batch(picked, pad)
        masked = mask_tokens(policy, input_ids, real, masking, mask_token_id, seed, epoch)
        yield MaskedBatch(input_ids, masked[0], real, masked[1])


def extract(
    features: Features, examples: Examples, picked: Sequence[int], pad_id: int, batch: int = FEATURE_BATCH
) -> Tensor:
    """Features of the picked examples, [len(picked), d], in batches of similar length."""
    order = sorted(range(len(picked)), key=lambda i: len(examples.rows[picked[i]]))
    parts = [
        features(*examples.rows.batch([picked[i] for i in order[k : k + batch]], pad_id))
        for k in range(0, len(order), batch)
    ]
    return torch.cat(parts)[torch.tensor(order).argsort()]


def dev_score(problem: Problem, model: InnerModel) -> float:
    """Accuracy on dev of the ridge probe fitted on train: how good θ has become for the task."""
    pad = problem.tokenizer.pad_token_id
    train, dev = problem.examples("train"), problem.examples("dev")
    with torch.no_grad():
        x, y = (extract(model, split, range(len(split)), pad) for split in (train, dev))
        return outer_loss(x, train.y, y, dev.y, len(problem.labels)).accuracy
