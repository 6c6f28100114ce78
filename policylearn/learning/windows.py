"""The windows of a training: where one opens, and the credits of the batches in it, by the engine of the config."""

from collections.abc import Sequence
from functools import partial
from itertools import islice
from typing import Any

import torch
from torch import Tensor

from policylearn.adapt.outer import outer_problem
from policylearn.config import Config, InnerConfig
from policylearn.inner.trajectory import Trajectory
from policylearn.inner.window import Loss, Window
from policylearn.masking import MaskedBatch
from policylearn.metagrad.engines import Engine, Outer, engine
from policylearn.metagrad.finite_difference import finite_difference
from policylearn.metagrad.one_step import one_step

Credits = tuple[Sequence[MaskedBatch], Sequence[Tensor]]
"""Batches of a window, and ∂(outer loss)/∂x of each."""


def check_windows(config: Config, asked: bool = False) -> None:
    """Refuse settings under which a rollout ends before its first window does, and its gradient would be zero.

    Args:
        config: the experiment.
        asked: whether gradients are wanted whatever is learned.

    Raises:
        ValueError: naming them.
    """
    inner, learn = config.inner, config.learn
    if (
        (asked or config.has_rounds)
        and learn.estimator != "score_function"
        and inner.first_window + inner.window > inner.steps
    ):
        raise ValueError(
            f"inner.window = {inner.window} after the first {inner.first_window} of inner.steps = {inner.steps} steps "
            "does not fit: raise inner.steps, or lower inner.window or inner.start"
        )


def opens_window(config: InnerConfig, step: int) -> bool:
    """Whether a window begins before this step.

    >>> config = InnerConfig(steps=20, start=0.5, every=4, window=2)
    >>> [step for step in range(20) if opens_window(config, step)]
    [10, 14, 18]
    """
    since = step - config.first_window
    return since >= 0 and since % config.every == 0 and step + config.window <= config.steps


def credits_over_window(trajectory: Trajectory, loss: Loss) -> Credits:
    """Take a trajectory over the window that opens here, by the engine of the config.

    Args:
        trajectory: is moved on.
        loss: of the steps, and what it is differentiated in: the objective's own, or one such as `SoftMask`.

    Returns:
        the batches of the window, and ∂(outer loss at its end)/∂x of each, on the CPU.

    Raises:
        ValueError: what the engine gave has not the shapes of x.
        FloatingPointError: it is NaN or infinite.
    """
    credits = _one_step_credits if trajectory.problem.config.inner.engine == "one_step" else _window_credits
    batches, gradients = credits(trajectory, loss, outer_at(trajectory))
    return batches, [gradient.cpu() for gradient in gradients]  # where the policy is, whatever the model is on


def outer_at(trajectory: Trajectory) -> Outer:
    """Labelled examples drawn anew from the training split for every window."""
    return outer_problem(trajectory.problem, [trajectory.seed, trajectory.step], trajectory.note)


def _window_credits(trajectory: Trajectory, loss: Loss, outer: Outer) -> Credits:
    config = trajectory.problem.config
    inner = config.inner
    batches, rates = trajectory.look_ahead(inner.window)
    window = Window(batches, rates, loss, inner.clip, rows=inner.micro_batch)
    found = _engine(trajectory)(trajectory.model, trajectory.optimizer, window, outer, config.outer.parameters)
    like = next(trajectory.model.parameters())
    _check_credits(inner.engine, found, [loss.inputs(batch, like).shape for batch in batches])
    return batches, found


def _check_credits(name: str, found: Any, shapes: Sequence[torch.Size]) -> None:
    """Refuse what an engine gave if it is not of the shapes of x, to which it might be spread, or not finite."""
    if not isinstance(found, list | tuple) or not all(isinstance(credit, Tensor) for credit in found):
        raise ValueError(
            f"engine {name!r} gave a {type(found).__name__}: have it give a list of tensors, one for each step"
        )
    if (given := [credit.shape for credit in found]) != list(shapes):
        told, wanted = (", ".join(str(list(shape)) for shape in sizes) for sizes in (given, shapes))
        raise ValueError(
            f"engine {name!r} gave credits {told} for x of {wanted}: have it give one for each number of x"
        )
    if not all(bool(torch.isfinite(credit).all()) for credit in found):
        raise FloatingPointError(
            f"credits of engine {name!r} are NaN or infinite: lower inner.window or inner.learning_rate, or mend the "
            "engine if others give none such"
        )


def _engine(trajectory: Trajectory) -> Engine:
    name = trajectory.problem.config.inner.engine
    return partial(finite_difference, note=trajectory.note) if name == "finite_difference" else engine(name)


def _one_step_credits(trajectory: Trajectory, loss: Loss, outer: Outer) -> Credits:
    config = trajectory.problem.config
    batches = list(islice(trajectory.batches, config.inner.credit_batches))
    window = Window(batches, [trajectory.rate] * len(batches), loss)
    gradients = one_step(trajectory.model, trajectory.optimizer, window, outer, config.outer.parameters)
    trajectory.take_step(batches[0])
    return batches, gradients
