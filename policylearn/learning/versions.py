"""Versions of φ, for rounds that are run with one that is some rounds old."""

from torch import Tensor

from policylearn.runs.state import select_prefix

Versions = dict[int, dict[str, Tensor]]
"""φ by the number of rounds it has learned from."""


def add_version(versions: Versions, number: int, phi: dict[str, Tensor], lag: int) -> Versions:
    """With a copy of the newest φ, and without those that no round to come is run with.

    >>> import torch
    >>> phi = {"logits": torch.zeros(2)}
    >>> list(add_version({2: phi, 3: phi}, 4, phi, lag=1))
    [3, 4]
    """
    newest = {name: value.clone() for name, value in phi.items()}
    return {n: old for n, old in versions.items() if n >= number - lag} | {number: newest}


def version_of(versions: Versions, number: int, lag: int) -> dict[str, Tensor]:
    """The φ that round `number` is run with: what was learned by then from all rounds but the last `lag`."""
    return versions[max(0, number - lag)]


def older_versions(versions: Versions) -> dict[str, Tensor]:
    """All but the newest as named tensors."""
    newest = max(versions)
    return {f"past.{n}.{name}": value for n, phi in versions.items() if n != newest for name, value in phi.items()}


def recalled_versions(tensors: dict[str, Tensor]) -> Versions:
    """Undo `older_versions`."""
    numbers = {int(name.split(".")[1]) for name in tensors if name.startswith("past.")}
    return {n: select_prefix(f"past.{n}.", tensors) for n in sorted(numbers)}
