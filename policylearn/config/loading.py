"""From a TOML file and overrides to a config, with errors that name the key, and back to JSON."""

import copy
import difflib
import json
import re
import tomllib
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, get_origin

from pydantic import BaseModel, ValidationError

from policylearn.config.data import KINDS_OF_SCALE, metrics_of
from policylearn.config.experiment import Config
from policylearn.config.masking import KINDS_OF_RATE
from policylearn.config.places import find_beside, no_file
from policylearn.config.renamed import RENAMED, new_name, rename, warn_of
from policylearn.config.strict import section_of
from policylearn.registry.registry import AUTO

BARE_LIST = re.compile(r"\[([\w.:@/ \"'-]+(?:,[\w.:@/ \"'-]+)*),?\]")
BARE_TABLE = re.compile(r"\{\s*(\w+\s*=[\w.:@/ \"'-]+(?:,\s*\w+\s*=[\w.:@/ \"'-]+)*)\}")
"""Words in brackets and braces, without the quotes that a shell has taken away."""
KINDS = {"rate": KINDS_OF_RATE, "mean": KINDS_OF_SCALE, "std": KINDS_OF_SCALE}
"""Of settings that may be of several kinds, which are no part of a key."""
NEAR, NEARER = 0.6, 0.85
"""How alike a misspelt key must be to one of its section, and to one of another."""


def load_config(path: str | Path | None, overrides: list[str] | None = None, imports: Collection[str] = ()) -> Config:
    """Read a TOML file and apply dotted overrides such as ``inner.steps=64``.

    Args:
        path: the file, or the config.json of a run; None for the embedded default. Paths in it are looked up in the
            current folder, then in its own.
        overrides: ``key=value``, the value in TOML syntax; anything that is not TOML is taken as a string, or as a list
            of strings where it is in brackets. ``key=`` unsets what the file says; ``section={key=value}`` changes
            what it names. Paths are looked up in the current
            folder only. Keys of earlier versions are understood; a FutureWarning says what they are called now.
        imports: modules that are imported besides those of `imports`.

    Raises:
        ValueError: naming the key, the file and, for a misspelt key, the nearest valid name or those there are.

    >>> load_config(None, ["inner.steps=64", "model.name=bert-base-uncased"]).inner.steps
    64
    >>> load_config(None, ["evaluate.arms=[random,learned]"]).evaluate.arms
    ['random', 'learned']
    >>> load_config(None, ["inner.stepz=64"])
    Traceback (most recent call last):
    ...
    ValueError: override inner.stepz=64: unknown key 'inner.stepz'; did you mean 'inner.steps'?
    """
    source = str(path) if path else "embedded default"
    given = [(*parsed(override), f"override {override}") for override in overrides or []]
    return config_of(tree_of(Path(path)) if path else {}, given, source, imports)


def tree_of(path: Path) -> dict[str, Any]:
    """What a config file says, its places as they are found from the current folder; raises as `read_toml`."""
    tree = rename(read_toml(path), str(path))
    if "tasks" in tree:  # as `is_study`
        raise ValueError(f"{path} is a study, of several tasks: `policylearn evaluate` compares arms on all of them")
    find_beside(tree, Config, path)
    return tree


def config_of(
    tree: dict[str, Any], changes: Iterable[tuple[str, Any, str]], source: str, imports: Collection[str] = ()
) -> Config:
    """A tree of settings with changes to it, checked.

    Args:
        tree: section → key → value; it is left as it is.
        changes: (dotted key, value, what to call the change in messages); None unsets what the tree says, and a table
            changes of a section what it names.
        source: what to call the tree.
        imports: as in `load_config`.

    Raises:
        ValueError: as `load_config`.

    >>> config_of({"inner": {"clip": 1.0}}, [("inner.steps", 64, "a change")], "a tree").inner.steps
    64
    """
    tree, single = copy.deepcopy(tree), [(*one, said) for key, value, said in changes for one in dotted(key, value)]
    origin = {_set(tree, key, value, said): said for key, value, said in single}
    if imports:
        tree["imports"] = list(dict.fromkeys([*tree.get("imports", []), *imports]))
    try:
        return Config.model_validate(tree)
    except ValidationError as error:
        raise ValueError(explained(error, source, origin)) from None


def resolved_json(config: Config) -> str:
    """Every setting, defaults included, as indented JSON; `Config.model_validate_json` reads it back."""
    return json.dumps(config.model_dump(mode="json"), indent=2) + "\n"


def changes(old: dict[str, Any], config: Config, free: Collection[str] = ()) -> str:
    """What differs between an earlier config, as JSON has it, and this one, in words; sections in `free` may.

    A setting that was not there yet has been what is its default now, one with another name what `renamed` says. A kind
    of task that is left to the rows has been what an earlier version had to be told.

    >>> old = json.loads(resolved_json(Config()))
    >>> del old["inner"]["clip"]
    >>> changes(old, load_config(None, ["inner.steps=64", "name=mine"]), free=["name"])
    'inner.steps was 150, now 64'
    """
    old, new = _completed(old), config.model_dump(mode="json")
    new["task"] = _as_told(new["task"], old.get("task", {}).get("kind", AUTO))
    changed = [key for key in new if key not in free and old.get(key) != new[key]]
    return "; ".join(_difference(key, old.get(key), new[key]) for key in changed)


def _as_told(task: dict[str, Any], kind: str) -> dict[str, Any]:
    """The settings of a task, its kind being this one if none is set, and the metric that of it."""
    if task["kind"] != AUTO or kind == AUTO:
        return task
    return task | {"kind": kind, "metric": metrics_of(kind)[0] if task["metric"] == AUTO else task["metric"]}


def _completed(old: dict[str, Any]) -> dict[str, Any]:
    """With today's defaults; as it is where an earlier version knew settings that today's does not."""
    try:
        return Config.model_validate(old).model_dump(mode="json")
    except ValidationError:  # storage boundary
        return rename(old)


def _difference(key: str, old: Any, new: Any) -> str:
    both = isinstance(old, dict) and isinstance(new, dict)
    if both and ("." not in key or old.keys() == new.keys()):  # within a section, one setting may be a table
        inner = [k for k in new if old.get(k) != new[k]]
        return "; ".join(_difference(f"{key}.{k}", old.get(k), new[k]) for k in inner)
    return f"{key} was {old!r}, now {new!r}"


def read_toml(path: Path) -> dict[str, Any]:
    """The tree of a TOML file, or of one that ends in .json; ValueError: it is not there, or is none."""
    if not path.is_file():
        meant = f"; did you mean {path}/config.json?" if (path / "config.json").is_file() else ""
        raise ValueError(f"config file {path} {no_file(str(path)) if path.exists() else 'does not exist'}{meant}")
    kind, read = ("JSON", json.loads) if path.suffix == ".json" else ("TOML", tomllib.loads)
    try:
        found = read(path.read_text(encoding="utf-8-sig"))  # editors on Windows begin a file with a mark
    except ValueError as error:  # what both raise, and what is no text
        raise ValueError(f"{path}: not valid {kind}: {error}") from None
    if not isinstance(found, dict):
        of = "a list" if isinstance(found, list) else "one value"
        raise ValueError(f"{path} holds {of}, not settings: is it the data? task.path={path} reads it as such")
    return found


def parsed(override: str) -> tuple[str, Any]:
    """Key and value of an override; None unsets. ValueError: it is none."""
    key, equals, text = override.partition("=")
    if not equals or not key.strip():
        raise ValueError(f"override {override!r} is not of the form section.key=value")
    return key.strip(), _value(text) if text.strip() else None


def dotted(key: str, value: Any) -> Iterator[tuple[str, Any]]:
    """A setting, or those that a table sets of a section: the rest of it stays as it is.

    >>> list(dotted("inner", {"steps": 3, "betas": [0.9, 0.99]})), list(dotted("policy.prior", {"tficf": 2.0}))
    ([('inner.steps', 3), ('inner.betas', [0.9, 0.99])], [('policy.prior', {'tficf': 2.0})])
    """
    if isinstance(value, Mapping) and any(known.startswith(f"{key}.") for known in known_keys()):
        for name, inner in value.items():
            yield from dotted(f"{key}.{name}", inner)
    else:
        yield key, value


def _set(tree: dict[str, Any], key: str, value: Any, said: str) -> str:
    """Change a tree in place; the key as it is called now."""
    old, (key, value) = key, new_name(key, value)
    if key != old:
        warn_of(old, key, said)
    *sections, leaf = key.split(".")
    for section in sections:
        tree = tree.setdefault(section, {})
        if not isinstance(tree, dict):
            raise ValueError(f"{said}: {section!r} is a value, not a section")
    if value is None:
        tree.pop(leaf, None)
    else:
        tree[leaf] = value
    return key


def _value(text: str) -> Any:
    """What is written after the sign of an override: TOML, or words as a shell leaves them.

    >>> _value("3"), _value("bert-base"), _value('["a", "b"]'), _value("[random, word]"), _value("[]")
    (3, 'bert-base', ['a', 'b'], ['random', 'word'], [])
    >>> _value("{test=validation, dev = dev}"), _value("{slot=1}")
    ({'test': 'validation', 'dev': 'dev'}, {'slot': 1})
    """
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        if inside := BARE_TABLE.fullmatch(text.strip()):
            pairs = (pair.partition("=") for pair in inside[1].split(","))
            return {key.strip(): _value(value.strip()) for key, _, value in pairs}
        inside = BARE_LIST.fullmatch(text.strip())
        return [word.strip().strip("\"'") for word in inside[1].split(",")] if inside else text


def explained(error: ValidationError, source: str, origin: Mapping[str, str], model: type[BaseModel] = Config) -> str:
    """Every mistake in settings on a line of its own.

    Args:
        error: what is wrong.
        source: what to call the tree that they stand in.
        origin: what changes of it are called, by key.
        model: that they are of.
    """
    return "\n".join(_explain(one, source, origin, known_keys(model)) for one in error.errors())


def _explain(detail: Any, source: str, origin: Mapping[str, str], known: list[str]) -> str:
    behind = zip(detail["loc"], ["", *detail["loc"]], strict=False)
    key = ".".join(str(part) for part, before in behind if part not in KINDS.get(str(before), ()))
    where = _blamed(key, detail["msg"], origin) or source
    if detail["type"] == "extra_forbidden":
        return f"{where}: unknown key {key!r}; {_instead(key, known)}"
    message = detail["msg"].removeprefix("Value error, ")
    said = isinstance(detail["input"], dict) or repr(detail["input"]) in message
    given = "" if said else f", got {detail['input']!r}"
    return f"{where}: {key + ': ' if key else ''}{message}{given}"


def _blamed(key: str, message: str, origin: Mapping[str, str]) -> str:
    """What changes of a tree a mistake comes from; empty: none, as far as can be seen.

    Args:
        key: where the mistake is; empty where settings of several sections do not go together.
        message: what it is.
        origin: what the changes are called, by key.
    """
    if key:
        return next((said for known, said in origin.items() if _inside(key, known) or _inside(known, key)), "")
    named = [said for known, said in origin.items() if "." in known and re.search(rf"{re.escape(known)}\b", message)]
    return ", ".join(named)


def _instead(key: str, known: list[str]) -> str:
    """What a key that is not among those known may have been meant for, or those that there are.

    >>> _instead("outer.fold", known_keys()), _instead("foo", known_keys())[:37]
    ("did you mean 'outer.folds'?", 'known here: cluster, credit, diagnose')
    """
    if key in RENAMED:
        return f"it is called {RENAMED[key]!r} now"
    section, _, leaf = key.rpartition(".")
    here = {k.removeprefix(f"{section}.").partition(".")[0] for k in known if not section or _inside(k, section)}
    if near := difflib.get_close_matches(leaf, sorted(here), n=1, cutoff=NEAR):
        return f"did you mean {(f'{section}.' if section else '') + near[0]!r}?"
    elsewhere = {k.rpartition(".")[2]: k for k in reversed(known)}  # of several the first, which is the more usual
    if near := difflib.get_close_matches(leaf, sorted(elsewhere), n=1, cutoff=NEARER):
        return f"did you mean {elsewhere[near[0]]!r}?"
    return f"known here: {', '.join(sorted(here))}" if here else "see `policylearn settings`"


def _inside(key: str, section: str) -> bool:
    return f"{key}.".startswith(f"{section}.")


def known_keys(model: type[BaseModel] = Config, prefix: str = "") -> list[str]:
    """All dotted keys a config file may set."""
    keys = []
    for name, field in model.model_fields.items():
        section = None if get_origin(field.annotation) is dict else section_of(field)
        keys += [prefix + name] if section is None else known_keys(section, f"{prefix}{name}.")
    return keys
