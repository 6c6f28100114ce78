"""Markdown pages taken apart: blocks of code, commands, links, headings."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
FOLLOWED = ("README.md", "configs/pretrain/README.md", "configs/trainers/README.md", "configs/cluster/README.md")
"""Pages that are followed from top to bottom, in this order: later ones use what earlier ones made."""
EXPERIMENTS = sorted(str(path.relative_to(REPOSITORY)) for path in REPOSITORY.glob("experiments/*/README.md"))
FENCED = re.compile(r"^( *)```([a-z]*)[^\n]*\n(.*?)\n\1```$", re.MULTILINE | re.DOTALL)
INDENTED = re.compile(r"\n\n((?: {4}[^\n]*\S[^\n]*\n)+)")
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")


@dataclass(frozen=True)
class Block:
    """Some code of a page: the line it begins at, from 1, and its language, "" where none is given."""

    line: int
    language: str
    text: str


def text_of(page: str) -> str:
    """A page, by its path in the repository."""
    return (REPOSITORY / page).read_text(encoding="utf-8")


def fenced(page: str) -> list[Block]:
    """Blocks between fences, without the indentation of the list they may stand in.

    >>> fenced("a\\n```bash\\nls\\n```\\n")
    [Block(line=3, language='bash', text='ls')]
    """
    return [
        Block(page.count("\n", 0, found.start(3)) + 1, found[2], re.sub(rf"(?m)^{found[1]}", "", found[3]))
        for found in FENCED.finditer(page)
    ]


def indented(page: str) -> list[Block]:
    """Blocks that are set off by four spaces, outside lists; all of them are commands.

    >>> indented("a\\n\\n    ls\\n    cd\\n\\nb\\n")
    [Block(line=3, language='bash', text='ls\\ncd')]
    """
    return [
        Block(page.count("\n", 0, found.start(1)) + 1, "bash", re.sub("(?m)^ {4}", "", found[1]).rstrip("\n"))
        for found in INDENTED.finditer(page)
    ]


def commands(text: str) -> Iterator[list[str]]:
    """The words of every command, comments apart, lines that go on joined.

    >>> list(commands("ls -l  # all\\ncat 'a b' \\\\\\n  c"))
    [['ls', '-l'], ['cat', 'a b', 'c']]
    """
    for line in text.replace("\\\n", " ").splitlines():
        if words := shlex.split(line, comments=True):
            yield words


def links(page: str) -> list[str]:
    """Where links and pictures lead."""
    return LINK.findall(re.sub(r"\[`[^`]*`\]", "[]", FENCED.sub("", page)))


def anchors(page: str) -> set[str]:
    """What a link may name behind `#`: headings as GitHub writes them.

    >>> sorted(anchors("# One bit per weight, and task\\n## Does it help?\\n"))
    ['does-it-help', 'one-bit-per-weight-and-task']
    """
    headings = re.findall(r"^#{1,6} +(.+?)\s*$", FENCED.sub("", page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
