"""The plots of the report, each a pure function from plain data to inline SVG."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, ScalarFormatter

from policylearn.report.formats import as_number, loss_name, score
from policylearn.report.summary import LEARNED, Arm, Paired, arms, difference_text, paired
from policylearn.report.svg import FAINT, INK, PAPER, RULE, arm_ink, drawing, inline_svg, tidy

WIDTH_IN = 9.0
ROW_IN = 0.42
_STEPS = [1, 2, 5, 10]
# Panels below the dev curve, where the records have them: key → title.
PANELS = {"outer_loss": "outer loss", "entropy": "policy entropy", "reliability": "signal reliability"}


def comparison_plot(result: dict[str, Any]) -> str:
    """Left the arms' scores (a dot per seed, one seed's dots linked, mean ± sd), right learned − each arm.

    Empty string without any score.
    """
    shown = [arm for arm in arms(result) if math.isfinite(arm.mean)]
    if not shown:
        return ""
    gaps = {arm.name: paired(result, LEARNED, arm.name) for arm in shown}
    with drawing("comparison"):
        figure = Figure(figsize=(WIDTH_IN, 0.95 + ROW_IN * len(shown)), layout="constrained")
        if any(gaps.values()):
            left, right = figure.subplots(1, 2, sharey=True, width_ratios=(1.15, 1))
            _gaps(right, shown, gaps)
        else:
            left = figure.subplots()
        _scores(left, shown, result.get("metric") or "score")
        return inline_svg(figure, "Scores on fresh models per arm and seed, and paired differences")


def learning_plot(history: Sequence[dict[str, Any]], best_round: int | None = None) -> str:
    """Dev score per round against the baselines; below it outer loss, entropy and reliability if present.

    Rounds count from 1, as the progress bar counts them. Empty string without any round.
    """
    if not history:
        return ""
    panels = [key for key in PANELS if np.isfinite(_series(history, key)).any()]
    with drawing("learning"):
        figure = Figure(figsize=(WIDTH_IN, 4.9 if panels else 3.0), layout="constrained")
        top, *below = _axes(figure, len(panels))
        _dev(top, history, best_round)
        for axes, key in zip(below, panels, strict=True):
            _panel(axes, history, key)
        return inline_svg(figure, ", ".join(["Dev score", *(_title(history, key) for key in panels)]) + " per round")


def _axes(figure: Figure, panels: int) -> list[Axes]:
    grid = figure.add_gridspec(2 if panels else 1, max(1, panels), height_ratios=(1.5, 1) if panels else None)
    return [figure.add_subplot(grid[0, :])] + [figure.add_subplot(grid[1, i]) for i in range(panels)]


def _scores(axes: Axes, shown: list[Arm], metric: str) -> None:
    names = [arm.name for arm in shown]
    for seed in range(max(len(arm.scores) for arm in shown)):
        line = [arm.scores[seed] if seed < len(arm.scores) else math.nan for arm in shown]
        axes.plot(line, range(len(shown)), color=FAINT, linewidth=0.7, alpha=0.45, zorder=1)
    for row, arm in enumerate(shown):
        ink = arm_ink(arm.name, names)
        axes.plot(arm.scores, [row] * len(arm.scores), "o", color=ink, markersize=4, alpha=0.55, zorder=2)
        interval_mark(axes, row, arm.mean, arm.mean - arm.spread, arm.mean + arm.spread, ink)
        _number(axes, row, arm.mean, score(arm.mean))
    axes.set_yticks(range(len(shown)), [arm.label for arm in shown], color=INK)
    axes.set_title(f"{metric} (mean ± sd, one dot per seed)", pad=12)
    _rows(axes, len(shown), signs=False)


def _gaps(axes: Axes, shown: list[Arm], gaps: dict[str, Paired | None]) -> None:
    names = [arm.name for arm in shown]
    axes.axvline(0, color=FAINT, linewidth=0.9)
    for row, arm in enumerate(shown):
        gap = gaps[arm.name]
        if gap is None:
            continue
        ink = arm_ink(arm.name, names)
        axes.plot(gap.per_seed, [row] * len(gap.per_seed), "o", color=ink, markersize=4, alpha=0.55)
        interval_mark(axes, row, gap.mean, gap.low, gap.high, ink)
        _number(axes, row, gap.mean, difference_text(gap))
    bounded = any(gap and math.isfinite(gap.low) for gap in gaps.values())
    axes.set_title("learned − this arm, same seed" + " (95 % interval)" * bounded, pad=12)
    _rows(axes, len(shown), signs=True)


def _number(axes: Axes, row: int, at: float, text: str) -> None:
    """A number above its mark, which no line runs through."""
    paper = {"facecolor": PAPER, "edgecolor": "none", "pad": 1}
    axes.annotate(text, (at, row), (0, 8), textcoords="offset points", ha="center", bbox=paper)


def interval_mark(axes: Axes, row: int, middle: float, low: float, high: float, ink: str) -> None:
    """A mean as a dot, and a line from low to high where they are known."""
    if math.isfinite(low) and math.isfinite(high):
        axes.plot([low, high], [row, row], color=ink, linewidth=2.2, zorder=3)
    axes.plot([middle], [row], "o", color=ink, markersize=7.5, markeredgecolor=PAPER, zorder=4)


def _rows(axes: Axes, rows: int, signs: bool) -> None:
    axes.set_ylim(rows - 0.5, -0.75)
    axes.grid(axis="y", visible=False)
    axes.grid(axis="x")
    axes.spines["left"].set_visible(False)
    axes.margins(x=0.14)
    axes.xaxis.set_major_locator(MaxNLocator(7, steps=_STEPS))
    axes.xaxis.set_major_formatter(_ScoreTicks(signs))
    tidy(axes)


def _dev(axes: Axes, history: Sequence[dict[str, Any]], best_round: int | None) -> None:
    rounds, dev = _rounds(history), _series(history, "dev")
    names = baseline_names(history)
    for name in names:
        levels = _series([record.get("baselines") or {} for record in history], name)
        _level(axes, rounds, levels, arm_ink(name, names))
    for at, record in zip(rounds, history, strict=True):
        each = [as_number(value) for value in record.get("dev_scores") or []]
        axes.plot([at] * len(each), each, "o", color=arm_ink(LEARNED, []), markersize=2.5, alpha=0.35)
    axes.plot(rounds, dev, "-o", color=arm_ink(LEARNED, []), linewidth=1.8, markersize=3.5)
    _ring_best(axes, history, best_round)
    axes.set_title("dev score per round")
    _over_rounds(axes, rounds)


def baseline_names(history: Sequence[dict[str, Any]]) -> list[str]:
    """Names of all baselines in the records, in order of appearance."""
    return list(dict.fromkeys(name for record in history for name in record.get("baselines") or {}))


def _level(axes: Axes, rounds: list[int], levels: np.ndarray, ink: str) -> None:
    finite = levels[np.isfinite(levels)]
    if finite.size and np.ptp(finite) < 1e-12:
        axes.axhline(finite[0], color=ink, linewidth=1.3, linestyle=(0, (5, 2)))
    else:  # measured anew in every round
        axes.plot(rounds, levels, color=ink, linewidth=1.3, linestyle=(0, (5, 2)))


def _ring_best(axes: Axes, history: Sequence[dict[str, Any]], best_round: int | None) -> None:
    for at, record in zip(_rounds(history), history, strict=True):
        dev = as_number(record.get("dev"))
        if best_round is not None and at == best_round + 1 and math.isfinite(dev):
            (ring,) = axes.plot([at], [dev], "o", markersize=9, zorder=5)
            ring.set(markerfacecolor="none", markeredgecolor=INK, markeredgewidth=1.2)


def _panel(axes: Axes, history: Sequence[dict[str, Any]], key: str) -> None:
    rounds, values = _rounds(history), _series(history, key)
    known = np.isfinite(values)  # reliability need not be measured in every round
    axes.plot(np.array(rounds)[known], values[known], "-o", color=INK, linewidth=1.2, markersize=2)
    if key == "reliability":  # a correlation: what counts is how far it is from none
        axes.axhline(0, color=FAINT, linewidth=0.9)
    axes.set_title(_title(history, key))
    _over_rounds(axes, rounds)


def _title(history: Sequence[dict[str, Any]], key: str) -> str:
    return loss_name(history[-1]) if key == "outer_loss" else PANELS[key]


def _over_rounds(axes: Axes, rounds: list[int]) -> None:
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8, min_n_ticks=1))
    axes.yaxis.set_major_locator(MaxNLocator(7, steps=_STEPS))
    axes.yaxis.set_major_formatter(_ScoreTicks())
    axes.set_xlim(rounds[0] - 0.5, rounds[-1] + 0.5)
    axes.set_xlabel("round")
    axes.spines["bottom"].set_color(RULE)
    axes.spines["left"].set_visible(False)
    tidy(axes)


class _ScoreTicks(ScalarFormatter):
    """Ticks with as many decimals as their distance needs: .50 .55 .60, or with signs −.1 0 +.1."""

    def __init__(self, signs: bool = False) -> None:
        super().__init__(useOffset=False)
        self.signs = signs

    def __call__(self, x: float, pos: int | None = None) -> str:
        if abs(x) < 1e-9:
            return "0"
        text = re.sub(r"^(\W?)0\.", r"\1.", super().__call__(x, pos))
        return f"+{text}" if self.signs and x > 0 else text


def _rounds(history: Sequence[dict[str, Any]]) -> list[int]:
    return [int(record.get("round", place)) + 1 for place, record in enumerate(history)]


def _series(history: Sequence[dict[str, Any]], key: str) -> np.ndarray:
    return np.array([as_number(record.get(key)) for record in history])
