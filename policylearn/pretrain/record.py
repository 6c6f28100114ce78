"""The folder of a pretraining: what it is made from, so that it is continued and nothing else is; and its card."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from huggingface_hub import ModelCard, ModelCardData

from policylearn.pretrain.reports import TENSORBOARD
from policylearn.runs.kept import damaged, kept_json
from policylearn.runs.stop import has_begun
from policylearn.storage.folder import Storage

RECORD, CHECKPOINTS, CARD = "pretrain.json", "checkpoints", "README.md"
HASHED = {
    "weights": "the model's weights are others",
    "masks": "the policy is another",
    "tokens": "the texts are others",
    "pixels": "the pictures are others",
    "labelled": "the labelled examples are others",
}
"""Facts of which the record keeps a hash, and what to say where it is another."""
LATER = ("weights", "architecture")
"""What a training is known by, and was not at first: a record from before that goes by the rest."""


class Record:
    """What a folder holds. Use `Record.open`.

    Attributes:
        folder: the folder.
        made_from: settings, policy and texts, as plain JSON.
        result: what the training came to; None until it is finished.
    """

    def __init__(self, folder: Path, made_from: dict[str, Any], result: dict[str, Any] | None = None) -> None:
        self.folder, self.made_from, self.result = folder, made_from, result

    @classmethod
    def open(cls, folder: Path, made_from: dict[str, Any], fresh: bool = False) -> "Record":
        """The record of a folder that is new, empty, or of the same training; written. A training that was refused
        before it began makes room for another.

        Raises:
            ValueError: the folder holds another training, something that is none, or a damaged record.
        """
        cls.check_takes(folder)
        if not fresh and (known := _known(folder, made_from)):
            other, result = known
            if other and (result or (folder / CHECKPOINTS).is_dir()):
                raise ValueError(
                    f"{folder} holds a pretraining with other settings ({other}): choose another --out, or --fresh to "
                    "start over"
                )
            if not other:
                found = cls(folder, made_from, result)
                if not result:
                    found.write()  # from now on it is known by what it was not at first as well
                return found
        shutil.rmtree(folder / CHECKPOINTS, ignore_errors=True)
        found = cls(folder, made_from)
        found.write()
        _forget_model(folder)
        has_begun(folder)
        return found

    @classmethod
    def seen(cls, folder: Path, made_from: dict[str, Any], fresh: bool) -> "Record":
        """The record as processes beside the first see it, which opens it: finished before, or yet to be."""
        if not fresh and (known := _known(folder, made_from)):
            other, result = known
            if not other:
                return cls(folder, made_from, result)
        has_begun(folder)
        return cls(folder, made_from)

    @staticmethod
    def check_takes(folder: Path) -> None:
        """That a folder is new, empty, or that of a training. ValueError: it is not, or can be none."""
        Storage.at(folder).check_folder()
        if folder.is_dir() and any(folder.iterdir()) and not (folder / RECORD).is_file():
            raise ValueError(f"{folder} is not empty and holds no pretraining: choose another --out")

    def finish(self, result: dict[str, Any]) -> None:
        """Keep what the training came to; its checkpoints are not needed any more."""
        self.result = result
        self.write()
        shutil.rmtree(self.folder / CHECKPOINTS, ignore_errors=True)

    def write(self) -> None:
        """Write the file, whole or not at all."""
        self.folder.mkdir(parents=True, exist_ok=True)
        pending = self.folder / f"{RECORD}.partial"
        content = {"made_from": self.made_from, "result": self.result}
        pending.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        pending.replace(self.folder / RECORD)


def _forget_model(folder: Path) -> None:
    """Of an earlier training: under the new record it would pass for what comes of this one."""
    for file in (folder / CARD, *folder.glob("model*.safetensors*")):
        file.unlink(missing_ok=True)
    shutil.rmtree(folder / TENSORBOARD, ignore_errors=True)


def _known(folder: Path, made_from: Mapping[str, Any]) -> tuple[str, dict[str, Any] | None] | None:
    """In what the training of a folder is another, in words, and what it came to; None: there is none. ValueError: the
    record is damaged."""
    storage, advice = Storage.at(folder), "choose another --out"
    known = kept_json(storage, RECORD, advice)
    if known is None and not storage.is_file(RECORD):
        return None
    untold = {key: made_from[key] for key in LATER if key in made_from}
    try:
        return differences(untold | known["made_from"], made_from), known["result"]
    except (KeyError, TypeError) as error:  # storage boundary: JSON, and of something else
        raise damaged(storage, RECORD, ValueError("it tells of no training"), advice) from error


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """What is another, in words; empty: nothing is.

    >>> differences({"a": 1, "b": 2, "masks": "73d8"}, {"a": 1, "b": 3, "masks": "b8ac"})
    'b was 2, now 3; the policy is another'
    """
    others = [key for key in dict.fromkeys([*new, *old]) if old.get(key) != new.get(key)]
    return "; ".join(HASHED.get(key, f"{key} was {old.get(key)!r}, now {new.get(key)!r}") for key in others)


def card(name: str, base: str, masks: str, facts: Mapping[str, Any], pictures: str = "") -> str:
    """README.md of the model.

    Args:
        name: of the experiment.
        base: the model it was before, as a card may name it.
        masks: under whose it was trained, in words.
        facts: of the training, by name.
        pictures: the class of a model of these; empty: the model is one of texts.
    """
    task, head, by = ("fill-mask", "AutoModelForMaskedLM", "masked language modelling")
    if pictures:
        task, head, by = ("image-feature-extraction", pictures, "restoring masked patches")
    data = ModelCardData(
        library_name="transformers",
        pipeline_tag=task,
        base_model=base if base.count("/") == 1 else None,
        tags=["policylearn", task],
    )
    lines = [
        f"# {name}",
        "",
        f"{base}, trained further by {by} {masks}. Made with policylearn.",
        "",
        *["```python", f"from transformers import AutoModel, {head}", ""],
        'encoder = AutoModel.from_pretrained("this folder")',
        f'with_its_head = {head}.from_pretrained("this folder")',
        *["```", "", "## What it was made from", ""],
        *(f"- {key}: {value}" for key, value in facts.items()),
    ]
    return str(ModelCard(f"---\n{data.to_yaml()}\n---\n\n" + "\n".join(lines) + "\n"))
