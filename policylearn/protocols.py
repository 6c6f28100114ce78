"""The nouns of the house: what may be swapped, and what whoever swaps it has to bring."""

from typing import Any, Protocol

from torch import Tensor

from policylearn.config import MaskingConfig


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
        rate: float | None = None,
    ) -> Tensor | None:
        """Lead of the unit that each place is hidden with, [B, T]; None: every place by itself."""
        ...

    def keys(self, x: Tensor, real: Tensor, seed: int, epoch: int | Tensor) -> Tensor:
        """A key for each example, [B], of its content, seed and epoch: what all random numbers come from."""
        ...

    def hide(self, x: Tensor, mask: Tensor, keys: Tensor, index: Tensor) -> tuple[Any, Tensor]:
        """(what is shown under a mask [B, T], labels [B, T]: -100 where nothing is to be predicted)."""
        ...
