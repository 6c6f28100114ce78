"""Plain lines on a console, and consoles that show a text as it is."""

from typing import Any

from rich.console import Console
from rich.text import Text


def new_console(**settings: Any) -> Console:
    """A console that makes no emoji of :b: and :100:, which a path may have in it."""
    return Console(emoji=False, **settings)


def print_line(console: Console, text: str, style: str | None = None) -> None:
    """One plain line, however long, at once: rich flushes, so that a log that is watched does not lag."""
    console.print(Text(text), style=style, soft_wrap=True)
