"""What calls from Python give back: plain values, which show themselves in a terminal and in a notebook."""

import html
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from policylearn.messages.quote import some
from policylearn.report.console import comparison_table
from policylearn.report.printing import new_console
from policylearn.report.signal import signal_report

WIDTH = 120
"""Columns of a table as text."""


def from_anywhere(out: str | os.PathLike[str]) -> str:
    """A folder by its absolute path, for whoever has gone to another since; a URI as it is."""
    return str(out) if "://" in str(out) else os.path.abspath(out)


@dataclass(frozen=True, repr=False)
class Comparison:
    """Fresh models trained under each arm's masks, scored on test.

    Attributes:
        metric: its name.
        scores: arm → the score of every seed, in order.
        differences: "b - a" → {"mean", "low", "high", "p", …} of the paired differences, low and high of 95 %.
        sentences: what that shows.
        out: the run's folder, as an absolute path, or URI.
        result: all of result.json.
    """

    metric: str
    scores: Mapping[str, Sequence[float]]
    differences: Mapping[str, Mapping[str, Any]]
    sentences: Sequence[str]
    out: str
    result: Mapping[str, Any] = field(compare=False)

    @classmethod
    def of(cls, result: dict[str, Any], out: str) -> "Comparison":
        """Of what stands in result.json."""
        scores = {arm: found["scores"] for arm, found in result["arms"].items()}
        sentences = result.get("sentences", [])
        return cls(result["metric"], scores, result["comparisons"], sentences, out, result)

    def mean(self, arm: str) -> float:
        """The mean score of an arm; ValueError: there is no such arm."""
        if arm not in self.scores:
            raise ValueError(f"no arm {arm!r} was compared: {some(self.scores)}")
        return sum(self.scores[arm]) / len(self.scores[arm])

    def __repr__(self) -> str:
        return "\n".join([as_text(comparison_table(dict(self.result))), *self.sentences])


@dataclass(frozen=True, repr=False)
class Diagnosis:
    """Whether a signal can be seen in the labels of a task, before anything is learned.

    Attributes:
        verdict: in words.
        reliability: of credits of word types, of all data together: 0 is noise, 1 is perfect.
        interval: of it, 95 %.
        help, hurt: the words whose prediction helps the task most and least.
        result: all that was found, as `policylearn diagnose --out` writes it.
    """

    verdict: str
    reliability: float
    interval: tuple[float, float]
    help: Sequence[str]
    hurt: Sequence[str]
    result: Mapping[str, Any] = field(compare=False)

    @classmethod
    def of(cls, result: dict[str, Any]) -> "Diagnosis":
        """Of what `policylearn diagnose` finds."""
        low, high = result["interval"]
        words = result["words"]
        return cls(result["verdict"], result["reliability"], (low, high), words["help"], words["hurt"], result)

    def __repr__(self) -> str:
        return as_text(signal_report(dict(self.result)))


@dataclass(frozen=True)
class Page:
    """A report: shown as it is in a notebook, by its place elsewhere.

    Attributes:
        place: where the page lies.
        html: the page, which needs nothing beside it.
    """

    place: str
    html: str = field(repr=False)

    def _repr_html_(self) -> str:
        frame = 'width="100%" height="600" style="border:0"'
        return f'<iframe {frame} srcdoc="{html.escape(self.html)}"></iframe>'


def as_text(shown: Any) -> str:
    """What rich would print, as plain lines."""
    console = new_console(width=WIDTH, color_system=None, force_jupyter=False)
    with console.capture() as said:
        console.print(shown)
    return "\n".join(line.rstrip() for line in said.get().splitlines()).strip("\n")
