"""Checkpoints of the outer state: safetensors and JSON, written atomically, verified on load, never pickled."""

import hashlib
import json
import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors.torch import load, save
from torch import Tensor

KEEP = 3
STATE, TENSORS = "state.json", "state.safetensors"
BEST = "best."


@dataclass
class OuterState:
    """All there is to continue a run from.

    Attributes:
        round: rounds finished.
        tensors: φ ("phi.") and Adam's moments ("adam.").
        best: the φ of the best dev score so far.
        history: one record per finished round, the lines of metrics.jsonl.
        numbers: everything else that is JSON: baselines, best dev score, …
    """

    round: int = 0
    tensors: dict[str, Tensor] = field(default_factory=dict)
    best: dict[str, Tensor] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    numbers: dict[str, Any] = field(default_factory=dict)


def save_state(folder: Path, state: OuterState) -> Path:
    """Write `folder/round-0007`, complete or not at all, and remove all but the newest few."""
    folder.mkdir(parents=True, exist_ok=True)
    target, pending = folder / f"round-{state.round:04d}", folder / f".round-{state.round:04d}.partial"
    shutil.rmtree(pending, ignore_errors=True)
    pending.mkdir()
    blob = save(state.tensors | {f"{BEST}{name}": value for name, value in state.best.items()})
    (pending / TENSORS).write_bytes(blob)
    record = {"round": state.round, "history": state.history, "numbers": state.numbers, "sha256": _sha(blob)}
    (pending / STATE).write_text(json.dumps(record), encoding="utf-8")
    shutil.rmtree(target, ignore_errors=True)
    os.replace(pending, target)
    for old in sorted(folder.glob("round-*"))[:-KEEP]:
        shutil.rmtree(old)
    return target


def load_latest(folder: Path) -> tuple[OuterState | None, list[str]]:
    """The newest sound checkpoint, and a sentence for every damaged one passed over on the way."""
    complaints: list[str] = []
    for path in sorted(folder.glob("round-*"), reverse=True):
        try:
            return _load(path), complaints
        except Exception as error:  # storage boundary: whatever is wrong with it, the one before may do
            complaints.append(f"checkpoint {path} is damaged and was passed over: {error}")
    return None, complaints


def load_round(folder: Path, number: int) -> OuterState:
    """The checkpoint written after `number` rounds.

    Raises:
        ValueError: it is not kept; only the newest few are.
    """
    path = folder / f"round-{number:04d}"
    if not path.is_dir():
        kept = [int(p.name.removeprefix("round-")) for p in sorted(folder.glob("round-*"))]
        raise ValueError(f"{folder} keeps no checkpoint of round {number}; it keeps {kept}")
    return _load(path)


def _load(path: Path) -> OuterState:
    record = json.loads((path / STATE).read_text(encoding="utf-8"))
    blob = (path / TENSORS).read_bytes()
    if _sha(blob) != record["sha256"]:
        raise ValueError(f"{TENSORS} does not match {STATE}")
    tensors = load(blob)
    best = {name.removeprefix(BEST): tensors.pop(name) for name in list(tensors) if name.startswith(BEST)}
    return OuterState(record["round"], tensors, best, record["history"], record["numbers"])


def _sha(blob: bytes) -> str:
    return hashlib.sha256(blob).hexdigest()
