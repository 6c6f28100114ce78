"""A window of one step so small that every mask of one text of six words can be tried."""

import copy
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from itertools import product

import torch
from torch import Tensor

from policylearn.adapt.outer import outer_problem
from policylearn.arms.arms import arm_policy
from policylearn.config import load_config
from policylearn.inner.trajectory import Trajectory
from policylearn.inner.window import Window
from policylearn.masking import IGNORED, MaskedBatch
from policylearn.metagrad.estimators import SoftMask
from policylearn.metagrad.unroll import unroll
from policylearn.models.model import Blend
from policylearn.policy.policy import shown_if_masked
from policylearn.problems.of_config import problem_of

WORDS = 6


class Everywhere(SoftMask):
    """The loss of `SoftMask`, to the bit, with a derivative in w where nothing is masked, too: what a little of a loss
    that sees its own word would do. Needs the vocabulary head at every position."""

    def __call__(self, model: Callable[..., Tensor], batch: MaskedBatch, x: Tensor) -> Tensor:
        labels = torch.where(batch.real, batch.original, IGNORED)
        blend = Blend(x[1] - batch.mask.to(x), self.shown_if_masked(batch), batch.original)
        losses = model(batch.shown, batch.real, labels=labels, blend=blend)
        return (x[0][batch.real] * losses).sum() / max(1, int(batch.mask.sum()))


PLANTED = (
    "planted={length=6, class_words=10, distractor_words=6, generic_words=12, class_share=0.4, distractor_share=0.2,"
    " documents=2000, labelled_class_words=1, train=200, dev=100, test=10}",
    'model.architecture={model_type="bert", hidden_size=16, num_hidden_layers=1, num_attention_heads=2,'
    " intermediate_size=32, initializer_range=0.1}",
    "model.max_length=16",
    "masking.rate=0.3333",
    "inner.learning_rate=0.001",
    "outer.support=24",
    "outer.query=160",
)


@dataclass(frozen=True)
class Toy:
    """What every mask does.

    Attributes:
        masks: [64, 6] boolean.
        outer: [64] outer loss after the step.
        weights, hidden: [64, 6], its derivatives in w and h of `relaxed`; in w of words that are not masked, too.
        seconds: per mask, of the step alone and of the step with its derivatives.
    """

    masks: Tensor
    outer: Tensor
    weights: Tensor
    hidden: Tensor
    seconds: tuple[float, float]


def build(number: int, texts: int, rate: float, warm: int, mask_share: float) -> Toy:
    """Train for `warm` steps under random masks, then try every mask of the first text of a batch.

    Args:
        number: of the text: another seed of everything.
        texts: of the batch, the others with fixed masks.
        rate: learning rate of the step.
        warm: steps before.
        mask_share: of masked words that show [MASK]; half of the others show a random word.
    """
    settings = (f"inner.steps={warm + 1}", f"masking.mask_share={mask_share}")
    shares = f"masking.random_share={round((1 - mask_share) / 2, 3)}"
    problem = problem_of(load_config(None, [*PLANTED, *settings, shares]))
    policy = arm_policy(problem, "random")
    trajectory = Trajectory.start(problem, policy, number)
    trajectory.model.double()
    for _ in range(warm):
        trajectory.take_step(next(trajectory.batches))
    batch = _batch_with_six_words(trajectory, texts)
    loss = Everywhere(partial(shown_if_masked, policy))
    shown = loss.shown_if_masked(batch)
    outer = outer_problem(problem, [number], trajectory.note)
    columns = policy.eligible(batch.original, batch.real)[0].nonzero()[:, 0]
    masks = torch.tensor(list(product([False, True], repeat=WORDS)))
    values, gradients, spent = [], [], [0.0, 0.0]
    for bits in masks:
        tried = _masked(batch, shown, columns, bits)
        started = time.process_time()
        model, optimizer = _stepped(trajectory, tried, loss, rate)
        with torch.no_grad():
            values.append(outer(model))
        spent[0] += time.process_time() - started
        model, optimizer = copy.deepcopy((trajectory.model, trajectory.optimizer))
        started = time.process_time()
        gradients += unroll(model, optimizer, Window([tried], [rate], loss), outer, "all")
        spent[1] += time.process_time() - started
    both = torch.stack(gradients)[:, :, 0, columns]
    seconds = (spent[0] / len(masks), spent[1] / len(masks))
    return Toy(masks, torch.stack(values), both[:, 0], both[:, 1], seconds)


def _batch_with_six_words(trajectory: Trajectory, texts: int) -> MaskedBatch:
    policy = trajectory.policy
    while True:
        batch = next(trajectory.batches)
        counts = policy.eligible(batch.original, batch.real).sum(1)
        if bool((counts == WORDS).any()):
            break
    first = int((counts == WORDS).nonzero()[0])
    rows = torch.tensor([first, *(i for i in range(len(counts)) if i != first)][:texts])
    assert batch.keys is not None
    parts = {name: getattr(batch, name)[rows] for name in ("original", "shown", "real", "labels", "keys")}
    return replace(batch, **parts)


def _masked(batch: MaskedBatch, shown: Tensor, columns: Tensor, bits: Tensor) -> MaskedBatch:
    mask = batch.mask.clone()
    mask[0] = False
    mask[0, columns] = bits
    labels = torch.where(mask, batch.original, IGNORED)
    return replace(batch, shown=torch.where(mask, shown, batch.original), labels=labels)


def _stepped(trajectory: Trajectory, batch: MaskedBatch, loss: SoftMask, rate: float) -> tuple:
    model, optimizer = copy.deepcopy((trajectory.model, trajectory.optimizer))
    for group in optimizer.param_groups:
        group["lr"] = rate
    optimizer.zero_grad()
    loss(model, batch, loss.inputs(batch, next(model.parameters()))).backward()
    optimizer.step()
    return model, optimizer
