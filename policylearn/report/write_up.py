"""An experiment's folder: run.py keeps what it finds line by line, and writes result.json and README.md's table."""

import argparse
import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

START, END = "<!-- table -->\n", "<!-- end of table -->\n"


def asked_for(doc: str | None, names: Iterable[str] = (), flags: Sequence[str] = ("table",)) -> argparse.Namespace:
    """What run.py is asked for: `names`, some of those given here or none, and flags; anything else ends the program
    before hours of work begin.

    Args:
        doc: of run.py, what `--help` shows.
    """
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    if known := list(names):
        parser.add_argument("names", nargs="*", metavar="name", help=f"of {', '.join(known)}")
    for flag in flags:
        parser.add_argument(f"--{flag}", action="store_true")
    given = parser.parse_args()
    for name in getattr(given, "names", ()):
        if name not in known:  # argparse's own choices, of as many as one likes, refuse none at all
            parser.error(f"{name}: there is {', '.join(known)}")
    return given


def read_lines(path: Path) -> list[dict[str, Any]]:
    """What has been kept so far; nothing where there is no file. A line that was not written to its end is none."""
    lines = path.read_text("utf-8").splitlines(keepends=True) if path.exists() else []
    return [json.loads(line) for line in lines if line.endswith("}\n")]


def append_line(path: Path, line: dict[str, Any]) -> None:
    """Keep one more, in one write, on the disk when this returns: whoever is stopped loses what it was at and no more,
    and others may write there as well."""
    content = (json.dumps(line) + "\n").encode()
    path.parent.mkdir(exist_ok=True)
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        size = os.fstat(file).st_size
        cut = size and os.pread(file, 1, size - 1) != b"\n"  # the disk was full
        if (written := os.write(file, b"\n" * bool(cut) + content)) < len(content):
            raise OSError(f"{path}: only {written} of {len(content)} bytes of a line could be written")
        os.fsync(file)
    finally:
        os.close(file)


def write_up(folder: Path, result: dict[str, Any], table: Sequence[str]) -> None:
    """Write result.json, and put the table between the two marks of README.md.

    Raises:
        ValueError: README.md lacks the marks, or there is no result, which would wipe out the table that stands there.
    """
    if not result:
        raise ValueError(f"{folder}: no result to write, as where runs lie elsewhere; the table stays as it is")
    readme = folder / "README.md"
    text = readme.read_text(encoding="utf-8")
    if START not in text or END not in text:
        raise ValueError(f"{readme} needs a line {START.strip()} and a line {END.strip()} around its table")
    (folder / "result.json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    before, after = text.partition(START)[0], text.partition(END)[2]
    readme.write_text(before + START + "\n".join(table) + "\n" + END + after, encoding="utf-8")
