"""What a command is given, read; and the console that it answers on."""

import os
import sys
from io import TextIOWrapper

from rich.console import Console

from policylearn.config import Config, StudyConfig, is_study, load_config, load_study
from policylearn.config.loading import parsed
from policylearn.config.unread import unread_by
from policylearn.messages.speaker import speaks
from policylearn.report.printing import new_console, print_line

LOG_WIDTH = 120


def given_config(command: str, settings: list[str] | None, imports: list[str] | None = None) -> Config:
    """The first setting may be a file. Commands read it before they import what they need, which takes seconds: a wrong
    key is told at once, and so is one that the command does not read."""
    given = list(settings or [])
    path = given.pop(0) if given and _is_file(given[0]) else None
    config = load_config(path, given, imports or [])
    if speaks():
        for line in unread_by(command, [key for key, value in map(parsed, given) if value is not None]):
            print_line(plain_console(), line)
    return config


def given_study(settings: list[str] | None, imports: list[str] | None) -> StudyConfig | None:
    """The study that the first setting is a file of, if it is one."""
    path, *overrides = settings or [""]
    is_file = path and _is_file(path)
    return load_study(path, overrides, imports or []) if is_file and is_study(path) else None


def _is_file(setting: str) -> bool:
    """Whether a setting is one, and no override: the path of a file may have an = in it, as lr=0.1/config.toml has."""
    return "=" not in setting or os.path.isfile(setting)


def all_named(options: list[str], what: str, form: str) -> dict[str, str]:
    named = [_named(one, what, form) for one in options]
    if len(named) > len(found := dict(named)):
        raise ValueError(f"of these policies two have one name: {' '.join(options)}")
    return found


def _named(option: str, what: str, form: str) -> tuple[str, str]:
    name, equals, folder = option.partition("=")
    if not (name and equals and folder):
        raise ValueError(f"{what} {option!r} is not of the form {form}")
    return name, folder


def console_here() -> Console:
    """As `plain_console`; libraries print no progress of their own."""
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()  # of transformers, for every checkpoint it loads
    return plain_console()


def plain_console() -> Console:
    """A terminal as wide as it is; in logs and pipes wide enough for a table."""
    return new_console() if sys.stdout.isatty() else new_console(width=LOG_WIDTH)


def print_whatever_comes() -> None:
    """A sign that the encoding of a terminal has not must not stop a command."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")
