"""matplotlib figures as inline SVG that takes its colours and its font from the page around it.

A plot drawn in fixed colours suits a light page or a dark one. So figures are drawn in stand-in colours, and
these become CSS (``currentColor``, ``var(--…)``) in the text of the SVG.
"""

from __future__ import annotations

import html
import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

INK, FAINT, RULE, PAPER = "#010101", "#010102", "#010103", "#010104"
_ARM_INKS = {"random": "#010111", "difference": "#010112", "learned": "#010113", "oracle": "#010114"}
_SPARE_INKS = ("#010121", "#010122", "#010123", "#010124")
_CSS = {
    INK: "currentColor",
    FAINT: "var(--faint)",
    RULE: "var(--rule)",
    PAPER: "var(--paper)",
    **{ink: f"var(--arm-{name})" for name, ink in _ARM_INKS.items()},
    **{ink: f"var(--arm-spare-{i})" for i, ink in enumerate(_SPARE_INKS)},
}
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",  # text stays text: the page's font, selectable, small
    "text.parse_math": False,  # names may have dollars
    "font.size": 9,
    "text.color": INK,
    "axes.labelcolor": FAINT,
    "axes.edgecolor": RULE,
    "axes.titlesize": 9,
    "axes.titlelocation": "left",
    "axes.titlecolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "grid.color": RULE,
    "grid.linewidth": 0.6,
    "xtick.color": RULE,
    "ytick.color": RULE,
    "xtick.labelcolor": FAINT,
    "ytick.labelcolor": FAINT,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "lines.solid_capstyle": "round",
}


def arm_ink(name: str, names: list[str]) -> str:
    """The stand-in colour of an arm; arms without one of their own share the spare ones, in order.

    >>> arm_ink("y", ["x", "y"]) == arm_ink("y", ["learned", "y"])
    False
    """
    if name in _ARM_INKS:
        return _ARM_INKS[name]
    spare = [other for other in names if other not in _ARM_INKS]
    return _SPARE_INKS[spare.index(name) % len(_SPARE_INKS)]


def arm_css(name: str, names: list[str]) -> str:
    """The same colour as CSS, for legends in the page.

    >>> arm_css("learned", ["x", "learned"]), arm_css("y", ["x", "y"])
    ('var(--arm-learned)', 'var(--arm-spare-1)')
    """
    return _CSS[arm_ink(name, names)]


@contextmanager
def drawing(salt: str) -> Iterator[None]:
    """The style of all plots; ids inside the SVG depend on `salt` alone (unlike per plot, alike per run)."""
    with mpl.rc_context({**_STYLE, "svg.hashsalt": salt}):
        yield


def inline_svg(figure: Figure, label: str) -> str:
    """The figure as an ``<svg>`` element that scales to its container; `label` describes it to the blind.

    To be called inside `drawing`.
    """
    file = io.StringIO()
    figure.savefig(file, format="svg")
    text = file.getvalue()
    text = re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)
    text = re.sub(r'<g id="[^"]*"', "<g", text)  # names of groups: unused, and alike in every figure
    text = re.sub(r"font: [^;\"]*", lambda found: _font_size(found.group()), text)
    for ink, css in _CSS.items():
        text = text.replace(ink, css)
    return _element(text, label)


def tidy(axes: Axes) -> None:
    """No tick marks: the grid lines are enough."""
    axes.tick_params(length=0)


def _font_size(css: str) -> str:
    size = re.search(r"[\d.]+px", css)
    return f"font-size: {size.group()}" if size else css


def _element(text: str, label: str) -> str:
    """Sizes and namespaces off the opening tag: the view box scales, and HTML needs no namespaces."""
    box = re.search(r'viewBox="[^"]*"', text)
    body = text[text.index(">") + 1 :].strip()
    return f'<svg {box.group() if box else ""} role="img" aria-label="{html.escape(label)}">\n{body}'
