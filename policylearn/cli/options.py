"""Arguments and options that several commands have, and what they refuse."""

import re
from pathlib import Path
from typing import Annotated

import typer

from policylearn.config.places import file_above

Settings = Annotated[
    list[str] | None,
    typer.Argument(help="TOML file and/or overrides such as inner.steps=64; nothing: the planted benchmark"),
]
Imports = Annotated[
    list[str] | None,
    typer.Option("--import", help="module that brings parts of your own, to workers too; repeatable", metavar="MODULE"),
]
Out = Annotated[str, typer.Option(help="run directory: a path, or s3://bucket/run and the like")]


def here(place: str | None) -> str | None:
    """Refuse an address such as s3://bucket/x, of which a path makes the folder s3:, and no name, of which it makes
    the current folder."""
    if place is not None and re.match(r"[a-z][a-z0-9+.-]+:/", place):
        raise ValueError(f"{place} is no path: what this command writes goes to this machine; give a file or folder")
    if place == "":
        raise ValueError("the name of a folder is empty: give a path, . for the folder that you are in")
    return place


def a_file(path: Path | None) -> Path | None:
    """Refuse a folder, or what lies below a file, before anything is computed that could not be written."""
    if path is not None and here(str(path)) and path.is_dir():
        raise ValueError(f"{path} is a folder: name a file in it")
    if path is not None and (above := file_above(path)):
        raise ValueError(f"{path} cannot be written: {above} is a file")
    return path
