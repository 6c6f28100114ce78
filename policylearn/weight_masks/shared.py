"""Several tasks on one encoder in memory."""

import copy
from collections.abc import Mapping

import torch
from torch import Tensor

from policylearn.models.model import Elsewhere, InnerModel
from policylearn.weight_masks.selection import prefix
from policylearn.weight_masks.task import WeightMasks


class SharedEncoder:
    """Classifiers of several tasks on one frozen encoder, one of them active at a time.

    The encoder stays as it is, masks stay packed; the weights W ∘ M of the active task are in a room of their own, as
    large as the matrices that are masked, and written anew when tasks are switched.

    Args:
        encoder: an `InnerModel` in eval mode, not copied.
        tasks: by name.

    Raises:
        ValueError: a task's masks were learned on another encoder, or it is none.
    """

    def __init__(self, encoder: InnerModel, tasks: Mapping[str, WeightMasks]) -> None:
        for task in tasks.values():
            task.check(encoder)
        self.encoder, self.tasks = encoder, dict(tasks)
        self._own = {name: p.detach() for name, p in encoder.named_parameters()}
        self._reader = encoder
        self._room: dict[str, Tensor] = {}
        self.active: str | None = None

    def use(self, task: str) -> None:
        """Switch to a task. ValueError: it is not known."""
        if task not in self.tasks:
            raise ValueError(f"task {task!r} is not known; known: {sorted(self.tasks)}")
        if task == self.active:
            return
        for name, mask in self.tasks[task].masks().items():
            name = prefix(self.encoder) + name
            own = self._own[name]
            room = self._room.setdefault(name, torch.empty_like(own))
            torch.mul(own, mask.to(own.device), out=room)
        self._reader = copy.copy(self.encoder)  # the same modules, told of pairs as this task has them
        if self.tasks[task].separator is not None:
            self._reader.read_pairs(self.tasks[task].separator)
        self.active = task

    def __call__(self, input_ids: Tensor, real: Tensor) -> Tensor:
        """Logits [B, C] of the active task, without gradients. ValueError: none is, or the encoder is in train mode."""
        if self.active is None:
            raise ValueError(f"no task is active: call use() first, with one of {sorted(self.tasks)}")
        if any(module.training for module in self.encoder.mlm.modules()):
            raise ValueError("the encoder is in train mode, where dropout makes logits random: call encoder.eval()")
        task = self.tasks[self.active]
        masked = {prefix(self.encoder) + name for name in task.shapes}
        weights = {name: self._room[name] if name in masked else p for name, p in self._own.items()}
        with torch.no_grad():
            features = Elsewhere(self._reader, weights)(input_ids, real)
            return features @ task.weight.to(features).T + task.bias.to(features)

    @property
    def nbytes(self) -> dict[str, int]:
        """In memory: "encoder", "room" and, by name, "tasks" together."""
        room = sum(tensor.nbytes for tensor in self._room.values())
        tasks = sum(task.nbytes for task in self.tasks.values())
        return {"encoder": sum(p.nbytes for p in self._own.values()), "room": room, "tasks": tasks}
