"""Settings that are called otherwise today: old names go on working in files, in overrides and in what runs left."""

import warnings
from collections.abc import Callable, Mapping
from typing import Any

RENAMED = {
    **{
        f"scores.{name}": f"scores.difference.{name}"
        for name in (
            *("anchors", "anchor_count", "anchor_ratio", "anchor_order", "anchor_share", "anchor_words"),
            *("embedding", "embedding_model"),
        )
    },
    "scores.entity_column": "scores.entity.column",
    "scores.entity_model": "scores.entity.model",
    "scores.pos_column": "scores.pos_column.name",
    "scores.pos_weights": "scores.pos_column.weights",
    "scores.column": "scores.column.name",
    "scores.collocations": "scores.pmi.collocations",
    "scores.collocation_words": "scores.pmi.longest",
    "scores.collocation_count": "scores.pmi.count",
    "scores.amlm_every": "scores.amlm.every",
    "scores.selective_delta": "scores.selective.delta",
    "learn.method": "learn.stages",
    **{
        f"diagnose.{name}": f"credit.{name}"
        for name in ("points", "batches", "batch_size", "examples", "folds", "resplits")
    },
}
"""Old key → new key."""
VALUES: dict[str, Callable[[Any], Any]] = {
    "learn.method": lambda method: {"meta": ["rounds"], "supervised": ["supervised"]}.get(method, method)
}
"""Old key → what its value is under the new one, where that is another."""


def new_name(key: str, value: Any) -> tuple[str, Any]:
    """A setting as it is called today, and its value there. A table is no value of what is a section today.

    >>> new_name("scores.column", "own"), new_name("scores.column", {"name": "own"}), new_name("inner.steps", 3)
    (('scores.column.name', 'own'), ('scores.column', {'name': 'own'}), ('inner.steps', 3))
    """
    is_section = isinstance(value, Mapping) and any(new.startswith(f"{key}.") for new in RENAMED.values())
    if key not in RENAMED or is_section:
        return key, value
    return RENAMED[key], VALUES[key](value) if key in VALUES and value is not None else value


def rename(tree: Mapping[str, Any], where: str | None = None) -> dict[str, Any]:
    """A config as TOML or JSON has it, with today's keys. A setting that is there under both stays: the old key is
    refused as any that is not known.

    Args:
        tree: left as it is.
        where: says where the tree is from in a warning for every old key; None: no warning.

    >>> rename({"scores": {"anchors": 9, "words": 7}})
    {'scores': {'words': 7, 'difference': {'anchors': 9}}}
    """
    moved: dict[str, Any] = {}
    found = _without_old(tree, "", moved)
    for key, given in moved.items():
        new, value = new_name(key, given)
        if _put(found, new, value):
            if where is not None:
                warn_of(key, new, where)
        else:
            _put(found, key, given)
    return found


def warn_of(old: str, new: str, where: str) -> None:
    """Say how a setting is called today."""
    warnings.warn(f"{where}: {old} is called {new} now", FutureWarning, stacklevel=4)


def _without_old(tree: Mapping[str, Any], prefix: str, moved: dict[str, Any]) -> dict[str, Any]:
    """A copy without old keys, which are added to `moved`; sections that held nothing else are gone with them."""
    kept: dict[str, Any] = {}
    for name, value in tree.items():
        key = f"{prefix}{name}"
        if new_name(key, value)[0] != key:
            moved[key] = value
        elif not isinstance(value, Mapping):
            kept[name] = value
        elif (inside := _without_old(value, f"{key}.", moved)) or not value:
            kept[name] = inside
    return kept


def _put(tree: dict[str, Any], key: str, value: Any) -> bool:
    """Set a key, if there is nothing yet in its place; whether that was so."""
    *sections, leaf = key.split(".")
    for section in sections:
        tree = tree.setdefault(section, {})
        if not isinstance(tree, dict):
            return False
    if leaf in tree:
        return False
    tree[leaf] = value
    return True
