"""What is given as objects is written into the run's folder, so that the run is the same from anywhere.

Data sets, models and tokenizers are written by their own `save_to_disk` and `save_pretrained`, rows and texts as JSON
lines, each under a name that ends in a hash of what it holds: given again it is found, and other data are another
place, which a run that has begun refuses.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from policylearn.artefact import PolicyArtefact, save_policy
from policylearn.artefact.card import plain_card
from policylearn.artefact.tokenizer import tokenizer_files, tokenizer_fingerprint
from policylearn.data.class_names import classes_of
from policylearn.data.hub import named_rows
from policylearn.data.text import HALF
from policylearn.messages.quote import quote
from policylearn.runs.run import INPUTS
from policylearn.storage.folder import Storage

SET_ON_SAVING = ("_name_or_path", "architectures", "dtype", "transformers_version")
"""Fields of a model's config that are no part of the model."""
DIGITS = 10
"""Of the hash in a name."""


class Inputs:
    """Places of what is given: names and paths as they are, objects once they are written.

    Args:
        out: the run's folder.
        pictures: whether it is of these.

    Attributes:
        written: what was an object, by name.
    """

    def __init__(self, out: str | os.PathLike[str], pictures: bool = False) -> None:
        self.out, self.pictures, self.written = str(out), pictures, list[str]()

    def task(self, given: Any) -> str:
        """Labelled rows: splits by name, or one set of rows."""
        if _is_place(given):
            return str(given)
        if hasattr(given, "save_to_disk"):
            if self.pictures and not isinstance(given, Mapping):
                raise ValueError(
                    "task: a Dataset of pictures is one split, and none is carved off it: give a DatasetDict of train, "
                    "dev and test"
                )
            return self._data_set("task", given)
        if not (isinstance(given, Mapping) and "train" in given):
            return self._lines("task", {"": _rows(given, "task")})
        return self._lines("task", {f"/{split}": _rows(rows, f"task[{split!r}]") for split, rows in given.items()})

    def texts(self, name: str, given: Any, column: str) -> str:
        """A corpus: texts, or rows with a column of them."""
        if _is_place(given):
            return str(given)
        if hasattr(given, "save_to_disk"):
            return self._data_set(name, given)
        if isinstance(given, Mapping) or hasattr(given, "columns"):
            return self._lines(name, {"": _rows(given, name)})
        return self._lines(name, {"": ({column: x} if isinstance(x, str) else x for x in given)})

    def model(self, given: Any, tokenizer: Any) -> dict[str, str]:
        """The settings of [model] that name a model and a tokenizer.

        Raises:
            ValueError: a model of texts is given without its tokenizer, or it is none of transformers.
        """
        found = {} if given is None else {"name": self._model(given, tokenizer)}
        if tokenizer is not None and (given is None or _is_place(given)):
            found["tokenizer"] = self._tokenizer(tokenizer)
        return found

    def policy(self, name: str, given: Any) -> str:
        """An exported policy."""
        if _is_place(given):
            return str(given)
        if not isinstance(given, PolicyArtefact):
            raise ValueError(f"policy {name!r} is a {type(given).__name__}: give a folder, or what load_policy gives")
        tensors = given.policy.tensors()
        parts = chain(_tensor_parts(tensors), [repr((given.policy.config, given.policy.masking)).encode()])
        card = given.card or plain_card("Masking policy", "Made with policylearn.", given.provenance)
        return self._write(f"policy-{name}", parts, lambda place: save_policy(place, given, card))

    def _model(self, given: Any, tokenizer: Any) -> str:
        if _is_place(given):
            return str(given)
        if not isinstance(given, PreTrainedModel):
            raise ValueError(f"model is a {type(given).__name__}: give a name, a folder, or a model of transformers")
        if not (isinstance(tokenizer, PreTrainedTokenizerBase) or self.pictures):
            raise ValueError("a model given as an object needs its tokenizer: model=..., tokenizer=...")
        speaks = "" if self.pictures else _all_of(tokenizer)
        shape = {key: value for key, value in given.config.to_dict().items() if key not in SET_ON_SAVING}
        parts = [repr((type(given).__name__, sorted(shape.items()), speaks)).encode()]

        def save(place: Path) -> None:
            given.save_pretrained(place)
            if not self.pictures:
                tokenizer.save_pretrained(place)

        return self._write("model", chain(parts, _tensor_parts(given.state_dict())), save)

    def _tokenizer(self, given: Any) -> str:
        if _is_place(given):
            return str(given)
        return self._write("tokenizer", [_all_of(given).encode()], given.save_pretrained)

    def _data_set(self, name: str, given: Any) -> str:
        for rows in given.values() if isinstance(given, Mapping) else [given]:
            _check_transform(rows, name)
        given = given.with_format(None)  # which would change and leave out what is hashed, and is saved along
        splits = given if isinstance(given, Mapping) else {"train": given}
        parts = (split.encode() + part for split in sorted(splits) for part in _row_parts(splits[split]))
        return self._write(name, parts, given.save_to_disk)

    def _lines(self, name: str, files: Mapping[str, Iterable[Any]]) -> str:
        """Rows by the file they go to, below a folder where there are several."""
        if self.pictures:
            raise ValueError(f"{name}: pictures are given as a folder or .npz file, or as a data set of `datasets`")
        lines = {file: [_line(row, name) for row in rows] for file, rows in files.items()}
        parts = chain.from_iterable([file.encode(), *found] for file, found in sorted(lines.items()))

        def save(place: Path) -> None:
            for file, found in lines.items():
                path = place / f"{file.strip('/')}.jsonl" if file else place
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(b"".join(found))

        return self._write(name, parts, save, "" if len(lines) > 1 or "" not in lines else ".jsonl")

    def _write(self, name: str, parts: Iterable[bytes], save: Callable[[Path], Any], ending: str = "") -> str:
        if "://" in self.out:
            raise ValueError(
                f"{name.partition('-')[0]} is given as an object, which cannot be written to {self.out}: give a name, "
                "a path, or an out on this machine"
            )
        Storage.at(self.out).check_folder()
        digest = hashlib.sha256()
        for part in parts:
            digest.update(part)
        place = Path(self.out).absolute() / INPUTS / f"{name}-{digest.hexdigest()[:DIGITS]}{ending}"
        if not place.exists():
            pending = place.with_name(f"{place.name}.partial")
            shutil.rmtree(pending, ignore_errors=True)
            place.parent.mkdir(parents=True, exist_ok=True)
            save(pending)
            os.replace(pending, place)
        self.written.append(name.partition("-")[0])
        return str(place)


def _is_place(given: Any) -> bool:
    return isinstance(given, str | os.PathLike)


def _rows(given: Any, name: str) -> Iterator[Mapping[str, Any]]:
    """Rows of a table of any usual form: a list of rows, lists by column, a data frame, a data set."""
    if hasattr(given, "columns"):
        given = _of_frame(given)
    if hasattr(given, "features"):
        _check_transform(given, name)
        given = named_rows(given.with_format(None))
    if not isinstance(given, Mapping):
        yield from given
        return
    if single := [
        column for column, values in given.items() if isinstance(values, str) or not hasattr(values, "__len__")
    ]:
        raise ValueError(
            f"{name}: column {quote(single[0])} is one value, {quote(given[single[0]])}: give a list of rows"
        )
    lengths = {column: len(values) for column, values in given.items()}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"{name}: columns of different lengths, {lengths}: give each as many values")
    for values in zip(*given.values(), strict=True):
        yield dict(zip(given, values, strict=True))


def _of_frame(given: Any) -> Any:
    """Lists by column of a data frame of pandas; rows of one of polars, or of a table of pyarrow."""
    if rows := getattr(given, "to_dicts", None) or getattr(given, "to_pylist", None):
        return rows()
    return given.to_dict("list")


def _check_transform(rows: Any, name: str) -> None:
    if getattr(rows, "format", {}).get("type") == "custom":
        raise ValueError(f"{name}: a data set with a transform cannot be written to the run's folder: use .map()")


def _row_parts(rows: Any) -> Iterator[bytes]:
    """What the rows of a data set hold, how its classes are called, and of pictures the files, not what is in them."""
    if classes := classes_of(rows.features):
        yield json.dumps(classes).encode()
    files = [column for column, kind in rows.features.items() if getattr(kind, "decode", False)]
    for column in files:
        rows = rows.cast_column(column, type(rows.features[column])(decode=False))
    for row in rows:
        yield _json({key: value for key, value in row.items() if key not in files}, default=_plain_or_told)
        yield from (part for column in files for part in _file_parts(row[column]))


def _file_parts(file: Mapping[str, Any] | None) -> Iterator[bytes]:
    """Content of a file that a data set holds, or knows the place of; nothing of one that is missing, which is refused
    when it is read, with its row."""
    if file is not None:
        yield file["bytes"] if file["bytes"] is not None else Path(file["path"]).read_bytes()


def _line(row: Any, name: str) -> bytes:
    """A row as a line of JSON."""
    if not isinstance(row, Mapping):
        raise ValueError(f"{name}: a row is {quote(row)}; give rows such as {{'text': …, 'label': …}}, or texts")
    try:
        return _json(dict(row), default=_plain)
    except TypeError as error:
        column = next((column for column, value in row.items() if not _writes(value)), "?")
        raise ValueError(
            f"{name}: column {quote(column)} of a row cannot be written as JSON: {error}; drop it, or write it as text"
        ) from None


def _json(row: Mapping[str, Any], default: Callable[[Any], Any]) -> bytes:
    """A line of it; halves of surrogate pairs, which UTF-8 has not, are escaped."""
    written = json.dumps(row, ensure_ascii=False, default=default)
    line = json.dumps(row, default=default) if HALF.search(written) else written
    return f"{line}\n".encode()


def _writes(value: Any) -> bool:
    try:
        json.dumps(value, default=_plain)
    except TypeError:
        return False
    return True


def _plain(value: Any) -> Any:
    """Numbers and arrays of NumPy as JSON has them, dates as texts."""
    if hasattr(value, "tolist"):
        return value.tolist()
    if hasattr(value, "isoformat"):
        return value.isoformat()
    raise TypeError(f"it holds a {type(value).__name__}")


def _plain_or_told(value: Any) -> Any:
    """The same of what is written by `datasets`, which has more, and here only told from others."""
    try:
        return _plain(value)
    except TypeError:
        return repr(value)


def _tensor_parts(tensors: Mapping[str, torch.Tensor]) -> Iterator[bytes]:
    for name in sorted(tensors):
        yield name.encode()
        yield tensors[name].detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes()


def _all_of(tokenizer: PreTrainedTokenizerBase) -> str:
    """Whatever decides how a tokenizer reads a text, not its tokens alone; of one that is not fast these."""
    return "".join(tokenizer_files(tokenizer)) if tokenizer.is_fast else tokenizer_fingerprint(tokenizer)
