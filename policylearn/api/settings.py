"""From what a caller gives to a config: a base, places, and settings by dotted name."""

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from rich.console import Console

from policylearn.api.inputs import Inputs
from policylearn.config import Config, config_of, dotted, tree_of
from policylearn.config.parts import check_travels, with_imports
from policylearn.config.recipe import RECIPE
from policylearn.config.unread import unread_by
from policylearn.data.kinds import with_kind
from policylearn.data.opened import open_task
from policylearn.data.picture_task import splits_of
from policylearn.data.task import Split
from policylearn.registry.known import KINDS
from policylearn.report.printing import new_console, print_line
from policylearn.runs.layout import INPUTS

HERE = {"cluster.backend": "local"}
"""What holds from Python unless it is set: this process works."""

KEPT = ", for workers and whatever machine sees it"


@dataclass(frozen=True)
class Given:
    """What a caller gives, as `policylearn.learn` describes it."""

    model: Any = None
    task: Any = None
    domain: Any = None
    general: Any = None
    tokenizer: Any = None
    config: str | os.PathLike[str] | Config | None = None
    settings: Mapping[str, Any] | None = None


def experiment(
    command: str,
    given: Given,
    out: str | os.PathLike[str],
    console: Console,
    more: Mapping[str, Any] = MappingProxyType({}),
    kept: str | None = None,
) -> Config:
    """The config of what is given; objects are written to `out`.

    Args:
        command: what is to be done with it, as the command line calls it.
        given: by a caller.
        out: folder of the run.
        console: where it is said.
        more: settings by dotted name, which hold unless the base or the caller says otherwise; so does `HERE`.
        kept: what to say of objects that are kept there; None: they are not.

    Raises:
        ValueError: a setting is wrong, as in `load_config`; or an object is none of those that can be given.
    """
    tree, source, own = _base(given.config), _source(given.config), one_by_one(given.settings)
    pictures = bool(_at(tree, own, "patches.words"))
    inputs = Inputs(out, pictures)
    places = _places(given, inputs, lambda section: str(_at(tree, own, f"{section}.text") or "text"))
    more = HERE | dict(more) | ({"name": Path(out).name} if "task" in inputs.written else {})
    defaults = {key: value for key, value in more.items() if _at(tree, own, key) is None}
    changes = [(key, value, source) for key, value in defaults.items()]
    changes += [(key, value, key.partition(".")[0]) for key, value in places.items()]
    changes += [(key, value, f"settings[{key!r}]") for key, value in own.items()]
    tell_unread(command, own, console)
    lacks_domain = given.task is not None and given.domain is None and _at(tree, own, "domain.path") is None
    if lacks_domain and pictures:
        place = _pictures_of_train(tree, changes, source)
        changes.append(("domain.path", place, "domain"))
        print_line(console, f"domain  none is given: the pictures of the task's train split, {place}")
    config = config_of(tree, changes, source)
    if lacks_domain and not pictures:
        train = _train_split(config)
        place = inputs.texts("domain", _plain_texts(train), config.domain.text)
        config = config_of(tree, [*changes, ("domain.path", place, "domain")], source)
        rows = f"the texts of the {len(train):,} rows of the task's train split"
        print_line(console, f"domain  none is given: {rows}, without labels")
    if inputs.written and kept is not None:
        print_line(console, f"inputs  {', '.join(inputs.written)} kept in {inputs.out}/{INPUTS}{kept}")
    return _with_parts(config)


def one_by_one(settings: Mapping[str, Any] | None) -> dict[str, Any]:
    """Settings by dotted name, those in tables of sections as well. ValueError: they are no mapping."""
    if settings is not None and not isinstance(settings, Mapping):
        raise ValueError(f"settings {settings!r:.80}: give them by dotted name, such as {{'inner.steps': 20}}")
    single = [one for key, value in (settings or {}).items() for one in dotted(key, value)]
    return {key: os.fspath(value) if isinstance(value, os.PathLike) else value for key, value in single}


def tell_unread(command: str, settings: Iterable[str], console: Console) -> None:
    """Say of which settings by dotted name nothing comes."""
    for line in unread_by(command, settings):
        print_line(console, line)


def console_of(quiet: bool) -> Console:
    """Where progress is shown; `quiet`: nowhere."""
    return new_console(quiet=quiet)


def changed(config: Config, settings: Mapping[str, Any]) -> Config:
    """A config with settings by dotted name; ValueError as in `load_config`."""
    tree = config.model_dump(mode="json", exclude_unset=True)
    given = [(key, value, f"settings[{key!r}]") for key, value in settings.items()]
    return _with_parts(config_of(tree, given, "the config"))


def _with_parts(config: Config) -> Config:
    config = with_imports(config)
    if config.cluster.backend != "local":
        check_travels(config)
    return config


def _base(config: str | os.PathLike[str] | Config | None) -> dict[str, Any]:
    if config is None:
        return RECIPE
    if isinstance(config, Config):
        return config.model_dump(mode="json", exclude_unset=True)
    return tree_of(Path(config))


def _source(config: Any) -> str:
    return "the default recipe" if config is None else "the config" if isinstance(config, Config) else str(config)


def _places(given: Given, inputs: Inputs, column: Callable[[str], str]) -> dict[str, Any]:
    found = {f"model.{key}": place for key, place in inputs.model(given.model, given.tokenizer).items()}
    if given.task is not None:
        found["task.path"] = inputs.task(given.task)
    for name, corpus in (("domain", given.domain), ("general", given.general)):
        if corpus is not None:
            found[f"{name}.path"] = inputs.texts(name, corpus, column(name))
    return found


def _at(tree: Mapping[str, Any], own: Mapping[str, Any], key: str) -> Any:
    """What the caller or the base says of a dotted key; None: nothing."""
    if key in own:
        return own[key]
    found: Any = tree
    for part in key.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found


def _pictures_of_train(tree: dict[str, Any], changes: list[tuple[str, Any, str]], source: str) -> str:
    """Where those of the task's train split are."""
    own = [(key, value, whose) for key, value, whose in changes if key.startswith("task.")]
    task = {"task": tree.get("task", {})}
    return splits_of(config_of(task, own, source).task)["train"]


def _train_split(config: Config) -> Split:
    opened = open_task(config.task)
    task, _ = with_kind(config.task, opened.head)
    train: Split = KINDS.get(task.kind).read(task, opened).splits["train"]
    if not hasattr(train, "texts"):
        raise ValueError(f"domain is not given, and a task of {task.kind} has no plain texts: give domain=...")
    return train


def _plain_texts(split: Split) -> list[str]:
    """The two of a pair one after the other; words with a tag each as one text."""
    return [part for text in split.plain or split.texts for part in ((text,) if isinstance(text, str) else text)]
