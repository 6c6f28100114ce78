"""Settings that had another name in earlier versions: configs that say so, and runs made with them, go on working."""

from typing import Any

CREDITED = ("points", "batches", "batch_size", "examples", "folds", "resplits")
RENAMED = {"learn.method": "learn.stages"} | {f"diagnose.{name}": f"credit.{name}" for name in CREDITED}
"""Key of an earlier version → today's."""
VALUES: dict[str, dict[Any, Any]] = {"learn.method": {"meta": ["rounds"], "supervised": ["supervised"]}}
"""Key of an earlier version → its value then → today's; others are as they were."""


def value_of_today(key: str, value: Any) -> Any:
    """What the value of a key of an earlier version is under today's.

    >>> value_of_today("learn.method", "meta"), value_of_today("diagnose.points", 3)
    (['rounds'], 3)
    """
    return VALUES[key].get(value, value) if key in VALUES and isinstance(value, str) else value


def rename_keys(tree: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """A tree of settings, as TOML or JSON has it, under the names of today, and the keys that had another. What stands
    under both names is left as it is, to be refused.

    >>> rename_keys({"learn": {"method": "meta", "rounds": 2}})
    ({'learn': {'rounds': 2, 'stages': ['rounds']}}, ['learn.method'])
    """
    found = []
    for old, new in RENAMED.items():
        (section, leaf), (target, name) = old.split("."), new.split(".")
        given, into = tree.get(section), tree.get(target, {})
        if isinstance(given, dict) and leaf in given and isinstance(into, dict) and name not in into:
            tree = {**tree, section: {key: value for key, value in given.items() if key != leaf}}
            tree = {**tree, target: {**tree.get(target, {}), name: value_of_today(old, given[leaf])}}
            found.append(old)
    return tree, found
