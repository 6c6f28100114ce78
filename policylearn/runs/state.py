"""Checkpoints of the state of learning: JSON and safetensors, a manifest written last, verified on load, never pickled.

round-0007/state.json          round, history, numbers
round-0007/state.safetensors   φ, Adam's moments, the best φ
round-0007/manifest.json       size and SHA-256 of the two; a folder without it is unfinished
"""

import hashlib
import json
import os
from dataclasses import dataclass, field
from typing import Any

from safetensors.torch import load, save
from torch import Tensor

from policylearn.storage.folder import Storage, StorageFailed

KEEP = 3
STATE, TENSORS, MANIFEST = "state.json", "state.safetensors", "manifest.json"
BEST = "best."
ROUND = "round-"

Place = str | os.PathLike[str] | Storage


@dataclass
class State:
    """All there is to continue a stage of learning from.

    Attributes:
        round: rounds finished.
        tensors: what is learned so far: φ ("phi.") and Adam's moments ("adam."), or sums of credits.
        best: the φ of the best dev score so far.
        history: one record per finished round, the lines of metrics.jsonl.
        numbers: everything else that is JSON: baselines, best dev score, …
        folder: where in the run it is kept; empty: at the top.
        tried: φ that the newest round has tried, and its dev score; not kept.
    """

    round: int = 0
    tensors: dict[str, Tensor] = field(default_factory=dict)
    best: dict[str, Tensor] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    numbers: dict[str, Any] = field(default_factory=dict)
    folder: str = ""
    tried: tuple[dict[str, Tensor], float] | None = None


def select_prefix(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors whose names begin with `prefix`, by the rest of their names."""
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def state_files(state: State) -> dict[str, bytes]:
    """The files of a checkpoint, by name: the state as it is now, whenever they are written."""
    record = {"round": state.round, "history": state.history, "numbers": state.numbers}
    tensors = state.tensors | {f"{BEST}{name}": value for name, value in state.best.items()}
    files = {STATE: json.dumps(record).encode(), TENSORS: save(tensors)}
    manifest = {name: _digest(data) for name, data in files.items()}
    return files | {MANIFEST: json.dumps(manifest).encode()}


def save_files(folder: Place, number: int, files: dict[str, bytes]) -> Storage:
    """Write what `state_files` made to `folder/round-0007`, and remove all but the newest few. A sound one of that
    round is left as it is.

    Rounds after `number`, left by a run that found them damaged, are not touched and keep nothing from being kept.
    """
    folder = Storage.at(folder)
    target = _round(folder, number)
    for unfinished in (n for n in _rounds(folder) if n <= number and not _finished(folder, n)):
        folder.remove(_round_name(unfinished))
    if not _sound(target):
        target.write_all(files, MANIFEST)
    for old in [n for n in _rounds(folder) if n <= number][:-KEEP]:
        folder.remove(_round_name(old))
    return target


def load_latest(folder: Place) -> tuple[State | None, list[str]]:
    """The newest sound checkpoint, and a sentence for every one passed over on the way: damaged, or not to be read
    although another one can.

    Raises:
        StorageFailed: nothing can be read here, which says nothing about what there is.
    """
    folder = Storage.at(folder)
    rounds, at_once = _rounds(folder), folder.impatient()
    state, complaints, failure = _newest(at_once, rounds)
    if failure and state:  # an older one can be read: the place is there, or has just come back
        state, complaints, failure = _newest(at_once, rounds)
    if failure and not state:  # none can: it is the place
        state, complaints, failure = _newest(folder, rounds)
    if failure and not state:
        raise failure
    return state, complaints


def _newest(folder: Storage, rounds: list[int]) -> tuple[State | None, list[str], StorageFailed | None]:
    """State and complaints of `load_latest`, and what kept the newest from being read that could not be."""
    complaints: list[str] = []
    failure = None
    for number in reversed(rounds):
        path = _round(folder, number)
        try:
            return _load(path), complaints, failure
        except StorageFailed as error:
            failure = failure or error
            complaints.append(f"checkpoint {path} was passed over: {error}")
        except Exception as error:  # storage boundary: whatever is wrong with it, the one before may do
            complaints.append(f"checkpoint {path} is damaged and was passed over: {error}")
    return None, complaints, failure


def load_round(folder: Place, number: int) -> State:
    """The checkpoint written after `number` rounds.

    Raises:
        ValueError: it is not kept, only the newest few are; or it is damaged.
    """
    folder = Storage.at(folder)
    if number not in (kept := _rounds(folder)):
        raise ValueError(f"{folder} keeps no checkpoint of round {number}; it keeps {kept}")
    return _load(_round(folder, number))


def _load(path: Storage) -> State:
    files = _verified(path)
    record, tensors = json.loads(files[STATE]), load(files[TENSORS])
    best = select_prefix(BEST, tensors)
    tensors = {name: value for name, value in tensors.items() if not name.startswith(BEST)}
    return State(record["round"], tensors, best, record["history"], record["numbers"])


def _verified(path: Storage) -> dict[str, bytes]:
    """The payload files, which are what the manifest says they are."""
    files = {}
    try:
        manifest = json.loads(path.read(MANIFEST))
        for name in (STATE, TENSORS):
            files[name] = path.read(name)
            if manifest[name] != _digest(files[name]):
                raise ValueError(f"{name} does not match {MANIFEST}")
    except FileNotFoundError as error:
        raise ValueError(f"{MANIFEST if not files else 'a file'} is missing: {error}") from error
    except (KeyError, TypeError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(f"{MANIFEST} is unreadable: {error!r}") from error
    return files


def _sound(path: Storage) -> bool:
    """Whether it need not be written; what cannot be read is replaced, if the place takes anything at all."""
    try:
        return bool(_verified(path.impatient()))
    except (ValueError, StorageFailed):
        return False


def _rounds(folder: Storage) -> list[int]:
    numbers = (name.removeprefix(ROUND) for name in folder.names() if name.startswith(ROUND))
    return sorted(int(number) for number in numbers if number.isdecimal())


def _finished(folder: Storage, number: int) -> bool:
    return _round(folder, number).is_file(MANIFEST)


def _round_name(number: int) -> str:
    return f"{ROUND}{number:04d}"


def _round(folder: Storage, number: int) -> Storage:
    return folder / _round_name(number)


def _digest(data: bytes) -> dict[str, Any]:
    return {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
