"""Every setting with its type, default and description, as a table for a terminal or a page of Markdown."""

import difflib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined
from rich.markup import escape
from rich.table import Table

from policylearn.config.experiment import Config
from policylearn.config.places import MARK
from policylearn.config.strict import section_of
from policylearn.config.study import StudyConfig
from policylearn.registry.registry import Registry

NAME = "NAME"
"""Stands in a key for a name that the user gives."""
PAGE = """# Settings

Every key that a config file or an override may set, with its type, default and description. This page is what
`policylearn settings --markdown` prints; `policylearn settings masking` shows one section in a terminal.

    policylearn train mine.toml inner.steps=64 evaluate.arms=[random,learned] model.tokenizer=
    policylearn train mine.toml 'masking.rate={kind="linear", rates=[0.3, 0.15]}'

Overrides come after the file: a value in TOML, a word or a list of words as they are, nothing to unset what the file
says. A table stands between single quotes, or the shell takes its braces apart. A *place* is a path or a name on the
Hub; a path in a file is looked up in the current folder, then in that of the file, one in an override in the current
folder.
"""


@dataclass(frozen=True)
class Setting:
    """One key; texts for people."""

    key: str
    kind: str
    default: str
    about: str


@dataclass(frozen=True)
class Section:
    """The settings of one section, and what it is for."""

    name: str
    about: str
    settings: tuple[Setting, ...]


def sections() -> list[Section]:
    """All sections of a config file in order, and those of a study."""
    return [*_sections(Config, ""), *_sections(StudyConfig, "", "study")]


def find_sections(name: str | None) -> list[Section]:
    """The section of a key, with this key alone; the sections of this name, with those inside of it; all where there is
    none.

    Raises:
        ValueError: there is no such section, and no such key.
    """
    known = sections()
    found = [replace(s, settings=(setting,)) for s in known for setting in s.settings if setting.key == name]
    found += [s for s in known if name is None or s.name == name or s.name.startswith(f"{name}.")]
    if not found:
        names = list(dict.fromkeys(s.name for s in known))
        near = difflib.get_close_matches(str(name), [*names, *(one.key for s in known for one in s.settings)], n=1)
        meant = f"did you mean {near[0]!r}? " if near else ""
        raise ValueError(f"no section or key {name!r}; {meant}there are {', '.join(names)}")
    return found


def settings_table(section: Section, width: int = 80) -> Table:
    """A section for a terminal of so many columns; of fewer than 80 keys are broken as well, so that nothing is cut."""
    table = Table(title=f"{escape(f'[{section.name}]')}  {escape(section.about)}", title_justify="left", expand=True)
    table.add_column("key", max_width=width // 4 if width < 80 else None, overflow="fold")
    for heading, width in (("type", 3), ("default", 2), ("", 6)):
        table.add_column(heading, ratio=width, min_width=5, overflow="fold")
    for setting in section.settings:
        table.add_row(*(escape(text) for text in (setting.key, setting.kind, setting.default, setting.about)))
    return table


def settings_page(found: list[Section]) -> str:
    """Sections as Markdown."""
    return "\n".join([PAGE, *(line for section in found for line in _lines(section))])


def _lines(section: Section) -> Iterator[str]:
    yield from (f"## {section.name}", "", section.about, "", "| key | type | default | |", "|---|---|---|---|")
    for s in section.settings:
        cells = [f"`{s.key}`", s.kind, f"`{s.default}`" if s.default else "", s.about]
        yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"
    yield ""


def _sections(model: type[BaseModel], prefix: str, title: str = "") -> Iterator[Section]:
    """The section of a model, and those inside of it."""
    own, inside = [], []
    for name, field in model.model_fields.items():
        key, section = f"{prefix}{name}", section_of(field)
        if section is None or _mixed(field):
            own.append(Setting(key, kind_of(field), default_of(field), field.description or ""))
        if section is None:
            inside += [one for table in _tables(field.annotation) for one in _sections(table, f"{key}.")]
        else:
            place = f"{key}.{NAME}." if get_origin(field.annotation) is dict else f"{key}."
            inside += list(_sections(section, place))
    if own:
        yield Section(title or prefix.rstrip(".") or "top", _sentence(model), tuple(own))
    yield from inside


def _tables(kind: Any) -> Iterator[type[BaseModel]]:
    """Those that a setting may be, among other things."""
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        yield kind
    elif get_origin(kind) in (Annotated, Union, UnionType):
        for part in get_args(kind):
            yield from _tables(part)


def _mixed(field: FieldInfo) -> bool:
    """Whether a field may be a section or something else, or holds several by name."""
    return get_origin(field.annotation) in (Union, UnionType, dict)


def kind_of(field: FieldInfo) -> str:
    """The type of a setting in words, with its bounds.

    >>> from policylearn.config import ClusterConfig, InnerConfig, MaskingConfig, ModelConfig
    >>> kind_of(InnerConfig.model_fields["warmup"]), kind_of(ModelConfig.model_fields["name"])
    ('number ≥ 0, < 1', 'place or unset')
    >>> kind_of(MaskingConfig.model_fields["design"]), "local" in kind_of(ClusterConfig.model_fields["backend"])
    ('systematic, independent or explore', True)
    """
    bounds = [
        f"{sign} {getattr(m, name):g}" for m in field.metadata for name, sign in BOUNDS.items() if hasattr(m, name)
    ]
    kind = "place" if MARK in field.metadata else _named(field.metadata) or _kind(field.annotation)
    bare, unset, _ = kind.partition(" or unset")
    return f"{bare} {', '.join(bounds)}".strip() + unset


BOUNDS = {"gt": ">", "ge": "≥", "lt": "<", "le": "≤"}
WORDS: dict[Any, str] = {
    str: "text",
    int: "whole number",
    float: "number",
    bool: "true or false",
    NoneType: "unset",
    Any: "anything",
}


def _kind(kind: Any) -> str:
    origin, parts = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return "place" if MARK in parts else _named(parts) or _kind(parts[0])
    if origin is Literal:
        return _either([str(part) for part in parts])
    if origin in (Union, UnionType):
        return _either([_kind(part) for part in parts])
    if origin is list:
        return f"list of {_kind(parts[0])}"
    if origin is tuple:
        return f"list of {len(parts)} {_kind(parts[0])}s"
    if origin is dict:
        return f"names with {_kind(parts[1])}"
    return WORDS.get(kind) or f"table ({', '.join(kind.model_fields)})"


def _named(marks: Iterable[Any]) -> str:
    """Of a setting that names a thing: what can be named. Nothing of another."""
    registries = (getattr(getattr(mark, "func", None), "__self__", None) for mark in marks)
    return next((_either(found.names()) for found in registries if isinstance(found, Registry)), "")


def _either(words: list[str]) -> str:
    return " or ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def default_of(field: FieldInfo) -> str:
    """The default as TOML has it, nearly; nothing where a setting is unset or must be set."""
    value = field.get_default(call_default_factory=True)
    if value is None or value is PydanticUndefined:
        return ""
    return json.dumps(value, ensure_ascii=False) if not isinstance(value, BaseModel) else ""


def _sentence(model: type[BaseModel]) -> str:
    """The first sentence of a section's docstring."""
    return " ".join((model.__doc__ or "").split("\n\n")[0].split())
