"""The nouns of the house: what may be swapped, and what whoever swaps it has to bring."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol, Self

import numpy as np
from torch import Tensor

from policylearn.config import MaskingConfig
from policylearn.messages.watch import Watch


class Rows(Protocol):
    """Examples as they are read from files, whatever they are of: texts are token ids, pictures patches.

    Attributes:
        cut: how many lost what was too much for a row.
    """

    @property
    def cut(self) -> int: ...

    def __len__(self) -> int: ...

    def take(self, rows: Iterable[int]) -> Self:
        """Some of them, in the order given."""
        ...

    def contents(self) -> Iterator[bytes]:
        """All that they hold, for keys."""
        ...

    def spread(self, most: int) -> np.ndarray:
        """Numbers of `most` rows, evenly spaced from the first to the last; of all rows if there are no more."""
        ...

    def lengths(self, rows: Iterable[int]) -> list[int]:
        """Places of the given rows."""
        ...

    def batch(self, rows: Iterable[int], pad_id: int) -> tuple[Tensor, Tensor]:
        """(x [B, T, …], real [B, T]: not padding) of the given rows."""
        ...

    def values(self, rows: Iterable[int], width: int) -> dict[str, Tensor]:
        """Numbers that come with the places of the given rows, by name, [B, width]."""
        ...


class Field(Protocol):
    """What may be hidden of an example, and how: a module that policies, budgets and designs ask, whatever x is.

    x [B, T, …] are examples of T places; a text is its token ids [B, T].

    Attributes:
        masking: the settings.
        size: V, how many types of places there are.
    """

    masking: MaskingConfig

    @property
    def size(self) -> int: ...

    def types(self, x: Tensor) -> Tensor:
        """The type of every place, [B, T], below V: what scores and networks look up."""
        ...

    def eligible(self, x: Tensor, real: Tensor) -> Tensor:
        """Places that may be hidden, [B, T] boolean; `real` [B, T]: not padding."""
        ...

    def words(self, x: Tensor, real: Tensor) -> Tensor:
        """Lead of the group of places that is scored as one, [B, T], see `masking.units`."""
        ...

    def units(
        self,
        x: Tensor,
        real: Tensor,
        keys: Tensor | None = None,
        ends: Tensor | None = None,
        rate: float | Tensor | None = None,
    ) -> Tensor | None:
        """Lead of the unit that each place is hidden with, [B, T]; None: every place by itself."""
        ...

    def keys(self, x: Tensor, real: Tensor, seed: int, epoch: int | Tensor) -> Tensor:
        """A key for each example, [B], of its content, seed and epoch: what all random numbers come from."""
        ...

    def hide(self, x: Tensor, mask: Tensor, keys: Tensor, index: Tensor) -> tuple[Any, Tensor]:
        """(what is shown under a mask [B, T], labels [B, T]: -100 where nothing is to be predicted)."""
        ...


class Readout(Protocol):
    """All in which kinds of task differ whose texts have one target each, once texts have become features.

    Outputs are [N, C], targets y [N] as the rows have them.

    Attributes:
        width: C, outputs of a text.
        temperature: what a head's outputs are multiplied with before it is fine-tuned.
        problem_type: what transformers calls it, None for one class.
        metrics: by name; (y [N], predictions [N]) → score, the more the better.
    """

    width: int
    temperature: float
    problem_type: str | None
    metrics: Mapping[str, Callable[..., float]]

    def targets(self, y: Tensor) -> Tensor:
        """What a ridge regression of y is fitted to, [N, C]."""
        ...

    def outputs(self, scores: Tensor, factor: float, centre: Tensor) -> Tensor:
        """Outputs of a ridge regression of targets less their mean `centre` [C], that predicts `scores` [N, C]."""
        ...

    def fit_factor(self, scores: Tensor, y: Tensor, centre: Tensor) -> tuple[float, float]:
        """(smallest loss of such outputs, the factor it is at)."""
        ...

    def losses(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Of every text, [N]."""
        ...

    def loss(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Their mean."""
        ...

    def quality(self, outputs: Tensor, y: Tensor) -> float:
        """How good outputs are, at most 1."""
        ...

    def predictions(self, outputs: Tensor) -> Tensor:
        """What outputs say of each text, [N]."""
        ...

    def plain_head(self, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        """A head [C, d] and [C], for those who know nothing of this readout: it gives logits, or y itself."""
        ...

    def estimator(self, regularisation: float) -> Any:
        """A linear model on frozen features, as scikit-learn has it; the less `regularisation`, the stronger."""
        ...


class Kind(Protocol):
    """A kind of task, as adaptations meet it: its batches, losses and metric.

    Attributes:
        name: as in `task.kind`.
        readout: what a head is to give; None: there is no head, the model itself learns to answer.
        step_loss: the loss of a fine-tuning step that engines go back over, see `inner.window.Loss`.
    """

    name: str
    step_loss: Any

    @property
    def readout(self) -> Readout | None: ...

    def batch(self, split: Any, rows: Sequence[int]) -> Any:
        """Rows of a split, as `step_loss` takes them."""
        ...

    def training_loss(self, model: Any, split: Any, rows: list[int]) -> Tensor:
        """The loss of an ordinary step on these rows, a scalar."""
        ...

    def query_loss(self, model: Any, split: Any, picked: Any) -> tuple[Tensor, float]:
        """(loss of the picked rows, differentiable, and its `Readout.quality` or what stands for it)."""
        ...

    def score(self, model: Any, split: Any, watch: Watch) -> float:
        """The task's metric of a model, with its head if there is one."""
        ...
