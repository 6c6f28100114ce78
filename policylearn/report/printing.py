"""Plain lines on a console, and consoles that show a text as it is."""

import re
from typing import Any

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

COMMAND = r"(?<=:)\s+(?:policylearn|torchrun)\s.*"
"""At the end of a line."""


def new_console(**settings: Any) -> Console:
    """A console that makes no emoji of :b: and :100:, which a path may have in it."""
    return Console(emoji=False, **settings)


def print_line(console: Console, text: str, style: str | None = None) -> None:
    """One plain line, however long, at once: rich flushes, so that a log that is watched does not lag. On a terminal it
    is broken between words; a path without blanks, and a command, stay whole, to be copied."""
    console.print(Text(_between_words(console, text)), style=style, soft_wrap=True)


def print_to_copy(console: Console, text: str) -> None:
    """Lines of code, or places, as they are."""
    console.print(Text(text), soft_wrap=True)


def print_error(console: Console, message: str) -> None:
    """What went wrong, as a line is printed."""
    said = _between_words(console, f"error  {message}").removeprefix("error")
    console.print(Text.assemble(("error", "red"), said), soft_wrap=True)


def _between_words(console: Console, text: str) -> str:
    """The lines of a text, each in as many as a terminal takes for it; of a log the lines as they are."""
    if not console.is_terminal:
        return text
    return "\n".join(broken(line, console.width) for line in text.split("\n"))


def broken(line: str, width: int) -> str:
    """A line in several, broken between words. A word that is wider than a line by itself stays where it is, and a
    command that ends the line stays in one.

    >>> broken("policy  runs/a/long/path is one", 12).split("\\n"), broken("  one two three", 9).split("\\n")
    (['policy  runs/a/long/path', 'is one'], ['  one two', 'three'])
    >>> broken("See it again: policylearn reproduce runs/mine --rollout 3", 20).split("\\n")
    ['See it again: policylearn reproduce runs/mine --rollout 3']
    """
    lines = [""]
    for word in re.findall(rf"{COMMAND}|\s*\S+|\s+$", line):
        alone = word.lstrip()
        if lines[-1] and cell_len(lines[-1] + word) > width >= cell_len(alone):
            lines.append(alone)
        else:
            lines[-1] += word
    return "\n".join(lines)
