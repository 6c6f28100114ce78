"""Texts with one target each: what their kinds have in common."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from policylearn.config import Config, TaskConfig
from policylearn.data.opened import OpenTask
from policylearn.data.pairs import check_separators
from policylearn.data.task import Task
from policylearn.data.tokens import TokenRows, tokenize
from policylearn.messages.watch import UNSEEN, Watch
from policylearn.models.chunks import Indices, extract
from policylearn.protocols import Readout, Rows
from policylearn.tasks.kind import Shown, TaskKind, metric_of


@dataclass(frozen=True)
class Examples:
    """One labelled split, tokenised: rows, and targets y [N], class indices or numbers."""

    rows: Rows
    y: Tensor

    def __len__(self) -> int:
        return len(self.y)

    def contents(self) -> Iterator[bytes]:
        """All targets, for keys."""
        yield self.y.numpy().tobytes()

    def targets_of(self, picked: Indices) -> Indices:
        """Where in y the targets of the picked rows are."""
        return picked

    def within(self, picked: Indices, places: Indices) -> Indices:
        """Where among the targets of the picked rows those of the rows at some places among them are."""
        return places

    def strata(self, picked: Indices, y: Tensor) -> np.ndarray:
        """What is to be spread evenly when the picked rows are dealt: y, their targets or others, row by row."""
        return y.numpy()

    def tokens_of(self, picked: Indices) -> Iterator[np.ndarray]:
        """Token ids of what each target of the picked rows is of: the whole row."""
        rows = cast(TokenRows, self.rows)
        return (rows[int(row)] for row in picked)

    def outputs(self, model: Callable[..., Tensor], picked: Indices, pad_id: int, watch: Watch = UNSEEN) -> Tensor:
        """Features, or outputs of a model with a head, one for each target of the picked rows."""
        return extract(model, self.rows, picked, pad_id, watch)

    def measure(self, metric: Callable[..., float], predicted: np.ndarray) -> float:
        """A metric of what is predicted for all targets; it may sort or change what it is given."""
        return metric(self.y.numpy().copy(), predicted.copy())


@dataclass(frozen=True)
class LabelledBatch:
    """Texts with their targets: input_ids and real [B, T], y [B]."""

    input_ids: Tensor
    real: Tensor
    y: Tensor

    @property
    def more(self) -> dict[str, Tensor]:
        """What a model is told besides the texts."""
        return {}


class LabelWeights:
    """The loss Σ_i x_i · ℓ_i(θ) / B; x are the weights of the B examples, all 1.

    Args:
        losses: (outputs [B, C], y [B]) → ℓ [B].
    """

    def __init__(self, losses: Callable[[Tensor, Tensor], Tensor]) -> None:
        self.losses = losses

    def inputs(self, batch: LabelledBatch, like: Tensor) -> Tensor:
        """Ones [B]."""
        return like.new_ones(len(batch.y))

    def __call__(self, model: Callable[..., Tensor], batch: LabelledBatch, x: Tensor) -> Tensor:
        """The loss, a scalar."""
        return (x * self.losses(model(batch.input_ids, batch.real), batch.y.to(x.device))).mean()

    def parts(self, batch: LabelledBatch, x: Tensor, rows: int) -> Iterator[tuple[LabelledBatch, Tensor, float]]:
        """Rows with their weights, and their share of the examples."""
        for first in range(0, len(x), rows):
            tensors = (tensor[first : first + rows] for tensor in (batch.input_ids, batch.real, batch.y))
            yield LabelledBatch(*tensors), x[first : first + rows], len(x[first : first + rows]) / len(x)


class Labelled:
    """The `Kind` of tasks whose texts have one target each.

    Args:
        name: as in `task.kind`.
        readout: what differs.
        metric: its name.
        pad_id: of the tokenizer.
    """

    def __init__(self, name: str, readout: Readout, metric: str, pad_id: int) -> None:
        self.name, self.readout, self.pad_id = name, readout, pad_id
        self.metric = metric_of(name, readout, metric)
        self.step_loss = LabelWeights(readout.losses)

    def batch(self, split: Examples, rows: Sequence[int]) -> LabelledBatch:
        """Some rows of a split."""
        return LabelledBatch(*split.rows.batch(rows, self.pad_id), split.y[list(rows)])

    def training_loss(self, model: Callable[..., Tensor], split: Examples, rows: list[int]) -> Tensor:
        """The mean loss of these rows."""
        batch = self.batch(split, rows)
        outputs = model(batch.input_ids, batch.real, **batch.more)
        return self.readout.loss(outputs, batch.y.to(outputs.device))

    def query_loss(self, model: Callable[..., Tensor], split: Examples, picked: Indices) -> tuple[Tensor, float]:
        """The loss of the picked rows, and the quality of the outputs."""
        outputs = split.outputs(model, picked, self.pad_id)
        y = split.y[split.targets_of(picked)].to(outputs.device)
        return self.readout.loss(outputs, y), self.readout.quality(outputs, y)

    def score(self, model: Callable[..., Tensor], split: Examples, watch: Watch = UNSEEN) -> float:
        """The metric of a model with a head."""
        return split.measure(self.metric, self.predicted(model, split, watch))

    def predicted(self, model: Callable[..., Tensor], split: Examples, watch: Watch = UNSEEN) -> np.ndarray:
        """What a model with a head says of every target, [N]."""
        with torch.no_grad():
            outputs = split.outputs(model, np.arange(len(split)), self.pad_id, watch)
            return self.readout.predictions(outputs).cpu().numpy()


def labelled_kind(
    name: str,
    metrics: Iterable[str],
    read: Callable[[TaskConfig, OpenTask], Task],
    describe: Callable[[Task], list[str]],
    targets: Callable[[Task, list[Any]], Tensor],
    readout: Callable[[list[str], Tensor], Readout],
) -> TaskKind:
    """A kind of task whose texts have one target each.

    Args:
        name: of the kind.
        metrics: of its readout; the first is that of a config which names none.
        read: its rows.
        describe: them, in a few lines.
        targets: (what was read, labels of a split) → y [N].
        readout: (label set, y of train) → what a head is to give.
    """

    def tokenized(config: Config, task: Task, split: str, tokenizer: PreTrainedTokenizerBase, shown: Shown) -> Examples:
        found = task.splits[split]
        rows = tokenize(shown(found.texts), tokenizer, config.model.max_length)
        if len(task.columns) > 1:
            check_separators(rows, tokenizer, f"task.path {config.task.path}: split {split!r}")
        return Examples(rows, targets(task, found.labels))

    def build(
        config: TaskConfig, labels: list[str], tokenizer: PreTrainedTokenizerBase, train: Callable[[], Examples]
    ) -> Labelled:
        return Labelled(name, readout(labels, train().y), config.metric, tokenizer.pad_token_id)

    return TaskKind(tuple(metrics), read, describe, tokenized, build)


def check_metric(kind: Any, split: Any) -> None:
    """Ask the metric of a task for a score before anything is trained: every target is predicted to be that of the next
    text. ValueError: it fails, or gives what is no finite number."""
    if isinstance(kind, Labelled):
        outputs = kind.readout.targets(split.y.roll(1, 0))
        split.measure(kind.metric, kind.readout.predictions(outputs).numpy())


def class_examples(kind: Any, split: Any, who: str) -> Examples:
    """A split, known to have classes. ValueError: it has none, and `who` needs them."""
    if kind.name != "classification":
        raise ValueError(f"{who} needs texts with classes, but the task is one of {kind.name}: task.kind")
    return split
