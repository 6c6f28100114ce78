"""How parts of others are written, so that what was made with one does not pass for made with another of its name."""

import copyreg
import hashlib
import os
import random
from collections.abc import Iterable, Iterator, Set
from dataclasses import dataclass
from functools import partial
from itertools import chain
from logging import Logger
from types import CellType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from policylearn.artefact.tokenizer import tokenizer_fingerprint
from policylearn.config import Config
from policylearn.config.parts import parts_of_others

PLAIN = (bool, int, float, complex, str, bytes, type(None))
SURROUNDINGS = (ModuleType, Logger, type(os.environ))
"""Objects of elsewhere that are no part of what is written, whatever they hold."""
GENERATORS = (random.Random, np.random.Generator, np.random.RandomState, np.random.BitGenerator, torch.Generator)
"""What they hold tells how often they were used."""


NOW = 2
"""Ways of looking at parts, the first of which are those of older runs: 0 sees no arrays and other objects of
elsewhere; 1 only one module, that of the class of an object, though another brings it."""


@dataclass(frozen=True)
class Look:
    """What of a part counts.

    Attributes:
        homes: modules whose functions and classes do, and not their names alone.
        inside: whether arrays and other objects of elsewhere do.
        enclosed: whether what functions of elsewhere enclose of these modules does.
    """

    homes: frozenset[str]
    inside: bool
    enclosed: bool


def code_of_parts(
    config: Config, kinds: Iterable[str] | None = None, but: Set[str] = frozenset(), way: int = NOW
) -> dict[str, str]:
    """`code_hash` of every part that `parts_of_others` finds: "the code of metric 'cell'" → hash."""
    parts = parts_of_others(config, kinds, but)
    return {f"the code of {named}": code_hash(*part, way) for named, part in parts.items()}


def code_hash(part: Any, module: str | None = None, way: int = NOW) -> str:
    """SHA-256 of what a function, a class or an object is compiled to, with all of its own module that it uses, and of
    the module that brings it, such as what an object of a class of ours is made of: functions, classes, numbers, texts,
    lists of them, and whatever else can be pickled: arrays, patterns, settings.
    Comments do not matter, another Python does. Functions and classes that it imports from elsewhere are not looked at,
    but for functions of these modules that one of them encloses; and of an object that cannot be pickled, such as a
    lock, or that is another after every use, such as a generator of random numbers, only the class is.

    Args:
        part: of others.
        module: that brings it; None: its own.
        way: `NOW`, or that of an older run.

    >>> def twice(x):
    ...     return 2 * x
    >>> def thrice(x):
    ...     return 3 * x
    >>> code_hash(twice) == code_hash(twice), code_hash(twice) == code_hash(thrice)
    (True, False)
    """
    own, by = _home(part), module if module is not None and way == NOW else _home(part)
    look = Look(frozenset({own, by}), inside=way > 0, enclosed=own != by)
    return hashlib.sha256("\n".join(_written(part, look, {})).encode()).hexdigest()


def _home(part: Any) -> str:
    if isinstance(part, partial):
        return _home(part.func)
    return getattr(part, "__module__", None) or type(part).__module__


def _written(part: Any, look: Look, seen: dict[int, Any]) -> Iterator[str]:
    """What a part is made of, and what that is made of, if it is of its homes; else only what it is called."""
    if isinstance(part, PLAIN):
        yield repr(part)
        return
    yield type(part).__qualname__
    if id(part) in seen:
        return
    seen[id(part)] = part  # and kept: the id of what is gone is given to another
    if isinstance(part, set | frozenset):
        yield from sorted(" ".join(_written(item, look, {})) for item in part)  # they have no order
    else:
        for inner in _made_of(part, look):
            yield from _written(inner, look, seen)


def _made_of(part: Any, look: Look) -> Iterable[Any]:
    if isinstance(part, dict):
        places = set(map(id, part.values()))
        return chain.from_iterable(item for item in part.items() if not _is_place(*item, places))
    if isinstance(part, list | tuple):
        return part
    if isinstance(part, CodeType):
        return [part.co_code, part.co_names, *part.co_consts]
    if isinstance(part, MethodType):
        return [part.__self__, part.__func__]
    if isinstance(part, staticmethod | classmethod):
        return [part.__func__]
    if isinstance(part, property):
        return [part.fget]
    if isinstance(part, partial):
        return [part.func, part.args, part.keywords]
    if isinstance(part, np.ndarray | Tensor) and look.inside:
        return _pickled(part)
    if _home(part) not in look.homes:
        return [getattr(part, "__qualname__", ""), *_of_elsewhere(part, look)]
    if isinstance(part, FunctionType):
        used = {name: part.__globals__[name] for name in _names(part.__code__) if name in part.__globals__}
        return [part.__code__, part.__defaults__, part.__kwdefaults__, used, _enclosed(part), vars(part)]
    if isinstance(part, type):
        own = {name: value for name, value in vars(part).items() if _is_written(name, value)}
        return [part.__bases__, own, *(_fields(part) if look.inside else ())]
    return [type(part), getattr(part, "__dict__", {}), *(_slots(part) if look.inside else ())]


def _of_elsewhere(part: Any, look: Look) -> list[Any]:
    if isinstance(part, FunctionType) and look.enclosed:
        return [held for held in _enclosed(part) if isinstance(held, FunctionType) or _home(held) in look.homes]
    named = isinstance(part, SURROUNDINGS + GENERATORS) or hasattr(part, "__qualname__")
    return _pickled(part) if look.inside and not named else []


def _enclosed(part: FunctionType) -> list[Any]:
    return [cell.cell_contents for cell in part.__closure__ or () if cell != CellType()]  # one may be empty


def _is_place(name: Any, value: Any, places: Set[int]) -> bool:
    """Whether it remembers where in memory another of these values is, as a fitted vectorizer of scikit-learn does of
    its stop words."""
    return isinstance(name, str) and name.endswith("_id") and isinstance(value, int) and value in places


def _array(part: np.ndarray | Tensor) -> list[Any]:
    """Its numbers as one hash, for what is written of bytes takes several times their room."""
    if isinstance(part, Tensor):
        flat = part.detach().cpu().to_dense().resolve_conj().contiguous().reshape(-1)
        return [str(part.dtype), tuple(part.shape), _digest(flat.view(torch.uint8).numpy())]
    return [part.dtype.str, part.shape, part.tolist() if part.dtype.hasobject else _digest(np.ascontiguousarray(part))]


def _digest(numbers: np.ndarray) -> bytes:
    return hashlib.sha256(numbers.tobytes()).digest()


def _pickled(part: Any) -> list[Any]:
    """What pickle would make an object of; of those that remember how they were used, what they are made of."""
    try:
        if isinstance(part, np.ndarray | Tensor):
            return _array(part)
        if isinstance(part, PreTrainedTokenizerBase):
            return [tokenizer_fingerprint(part)]
        if isinstance(part, nn.Module):
            return [repr(part), part.state_dict()]
        reduce = copyreg.dispatch_table.get(type(part))
        made = reduce(part) if reduce else part.__reduce_ex__(2)
    except Exception:  # part boundary: an object may refuse with anything
        return []
    if isinstance(made, str):
        return [made]
    if made[:2] == (copyreg.__newobj__, (type(part),)) and not any(made[2:]):  # type: ignore[attr-defined]
        return []  # it holds nothing
    return [list(x) if isinstance(x, Iterator) else x for x in made]


def _fields(part: type) -> list[Any]:
    """What pydantic keeps of the fields of a class, where that says more than their names."""
    fields = getattr(part, "__pydantic_fields__", {})
    own = {name: [x.default, x.default_factory, x.metadata] for name, x in fields.items()}
    own = {name: said for name, said in own.items() if not fields[name].is_required() or said[2]}
    return [own] if own else []


def _slots(part: Any) -> list[Any]:
    """Those of an object, of which its dictionary knows nothing."""
    state = object.__getstate__(part)
    own = {k: v for k, v in state[1].items() if _is_written(k, v)} if isinstance(state, tuple) else {}
    return [own] if own else []


def _is_written(name: str, value: Any) -> bool:
    """Not what classes have by themselves, or by pydantic, which remembers where in memory something was."""
    return not name.startswith("__") or isinstance(value, FunctionType)


def _names(code: CodeType) -> list[str]:
    """Those that may be of its module."""
    inner = [_names(const) for const in code.co_consts if isinstance(const, CodeType)]
    return [*code.co_names, *chain.from_iterable(inner)]
