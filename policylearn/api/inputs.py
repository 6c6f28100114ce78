"""What is given as objects is written into the run's folder, so that the run is the same from anywhere.

Data sets, models and tokenizers are written by their own `save_to_disk` and `save_pretrained`, rows and texts as JSON
lines, each under a name that ends in a hash of what it holds: given again it is found, and other data are another
place, which a run that has begun refuses.
"""

import hashlib
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from policylearn.api.rows import check_transform, line_of, row_parts, rows_of
from policylearn.artefact import PolicyArtefact, save_policy
from policylearn.artefact.card import plain_card
from policylearn.artefact.tokenizer import tokenizer_files, tokenizer_fingerprint
from policylearn.runs.layout import CONFIG, GIVEN, INPUTS
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
            return self._lines("task", {"": rows_of(given, "task")})
        return self._lines("task", {f"/{split}": rows_of(rows, f"task[{split!r}]") for split, rows in given.items()})

    def texts(self, name: str, given: Any, column: str) -> str:
        """A corpus: texts, or rows with a column of them."""
        if _is_place(given):
            return str(given)
        if hasattr(given, "save_to_disk"):
            return self._data_set(name, given)
        if isinstance(given, Mapping) or hasattr(given, "columns"):
            return self._lines(name, {"": rows_of(given, name)})
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
        card = given.card or plain_card("Masking policy", "Made with policylearn.", given.provenance, given.use)
        return self._write(f"policy-{name}", parts, lambda place: save_policy(place, given, card))

    def _model(self, given: Any, tokenizer: Any) -> str:
        if _is_place(given):
            return str(given)
        if not isinstance(given, PreTrainedModel):
            raise ValueError(f"model is a {type(given).__name__}: give a name, a folder, or a model of transformers")
        if not (isinstance(tokenizer, PreTrainedTokenizerBase) or self.pictures):
            mend = "tokenizer=AutoTokenizer.from_pretrained(...)"
            raise ValueError(f"a model given as an object needs its tokenizer as an object as well: {mend}")
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
            check_transform(rows, name)
        given = given.with_format(None)  # which would change and leave out what is hashed, and is saved along
        splits = given if isinstance(given, Mapping) else {"train": given}
        parts = (split.encode() + part for split in sorted(splits) for part in row_parts(splits[split], name))
        return self._write(name, parts, given.save_to_disk)

    def _lines(self, name: str, files: Mapping[str, Iterable[Any]]) -> str:
        """Rows by the file they go to, below a folder where there are several."""
        if self.pictures:
            raise ValueError(f"{name}: pictures are given as a folder or .npz file, or as a data set of `datasets`")
        lines = {file: [line_of(row, name) for row in rows] for file, rows in files.items()}
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


@contextmanager
def withdrawn_if_refused(out: str | os.PathLike[str]) -> Iterator[None]:
    """What is written below `out` within goes again where the call is refused, unless the run there has taken it."""
    before = _written(out)
    try:
        yield
    except ValueError:
        for name in _written(out) - before:
            place = Path(out, INPUTS, name)
            if not any(name in Path(out, file).read_text(encoding="utf-8") for file in _records(out)):
                shutil.rmtree(place) if place.is_dir() else place.unlink()
        raise


def _written(out: str | os.PathLike[str]) -> set[str]:
    folder = Path(out, INPUTS)
    return {place.name for place in folder.iterdir()} if folder.is_dir() else set()


def _records(out: str | os.PathLike[str]) -> list[str]:
    """Files in which a run says what it has taken."""
    return [file for file in (CONFIG, GIVEN) if Path(out, file).is_file()]


def _is_place(given: Any) -> bool:
    return isinstance(given, str | os.PathLike)


def _tensor_parts(tensors: Mapping[str, torch.Tensor]) -> Iterator[bytes]:
    for name in sorted(tensors):
        yield name.encode()
        yield tensors[name].detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes()


def _all_of(tokenizer: PreTrainedTokenizerBase) -> str:
    """Whatever decides how a tokenizer reads a text, not its tokens alone; of one that is not fast these."""
    return "".join(tokenizer_files(tokenizer)) if tokenizer.is_fast else tokenizer_fingerprint(tokenizer)
