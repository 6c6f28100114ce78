"""A study as one self-contained HTML page: the comparisons in words, intervals to look at, the table."""

from collections.abc import Collection, Mapping
from typing import Any

from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from policylearn.report.formats import scale_of
from policylearn.report.page import environment
from policylearn.report.plots import ROW_IN, WIDTH_IN, interval_mark
from policylearn.report.study import headings, intervals, metric_of, rows, unit_of
from policylearn.report.summary import LEARNED, NAMES, Paired, apart
from policylearn.report.svg import FAINT, INK, arm_ink, drawing, inline_svg, tidy


def render_study(study: Mapping[str, Any]) -> str:
    """The page as HTML, of what `evaluation.study.pool` found."""
    return (
        environment()
        .get_template("study.html")
        .render(
            title=f"policylearn: {study['name']}",
            sentences=study["sentences"],
            remarks=_remarks(study),
            apart=list(dict.fromkeys(arm for result in study["tasks"].values() for arm in apart(result))),
            untrained=any("none" in result["arms"] for result in study["tasks"].values()),
            use=_use(study),
            made=_made(study),
            reference=NAMES.get(study["reference"], study["reference"]),
            baseline=NAMES.get(study["baseline"], study["baseline"]),
            plot=Markup(interval_plot(study)),
            unit=unit_of(study),
            headings=headings(study),
            rows=rows(study),
        )
    )


def _remarks(study: Mapping[str, Any]) -> list[str]:
    """What a reader should know of the models of its tasks."""
    found = {task: result.get("provenance", {}).get("remark") for task, result in study["tasks"].items()}
    return [f"{task}: {remark}" for task, remark in found.items() if remark]


def _use(study: Mapping[str, Any]) -> str:
    """How the trained models are used, with the tasks it holds for if there are several ways; nothing of results that
    do not say."""
    tasks: dict[str, list[str]] = {}
    for task, result in study["tasks"].items():
        tasks.setdefault(result.get("use", ""), []).append(task)
    return "; ".join(f"{use} ({', '.join(names)})" if len(tasks) > 1 else use for use, names in tasks.items() if use)


def _made(study: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """What models of each task were made from and with, by name; nothing of results that do not say."""
    found = {task: result.get("provenance") or {} for task, result in study["tasks"].items()}
    facts = {task: {name: str(said[name]) for name in said if name != "remark"} for task, said in found.items()}
    shared = dict(set.intersection(*({*its.items()} for its in facts.values())))
    own = {task: {name: its[name] for name in its if name not in shared} for task, its in facts.items()}
    every = {name: value for its in facts.values() for name, value in its.items() if name in shared}
    return {task: its for task, its in {**own, "every task" if len(facts) > 1 else "": every}.items() if its}


def interval_plot(study: Mapping[str, Any]) -> str:
    """For every task a panel, all on one scale: every arm's difference to the reference with its 95 % interval; inline
    SVG."""
    drawn = {task: gaps for task, gaps in intervals(study).items() if gaps}
    if not drawn:
        return ""
    names = list(dict.fromkeys(arm for gaps in drawn.values() for arm in gaps))
    learned = study.get("learned", [])
    columns = min(len(drawn), 3)
    lines = -(-len(drawn) // columns)
    with drawing("study"):
        figure = Figure(figsize=(WIDTH_IN, lines * (0.8 + ROW_IN * 0.7 * len(names))), layout="constrained")
        grid = figure.subplots(lines, columns, sharex=True, sharey=True, squeeze=False)
        for axes, (task, gaps) in zip(grid.flat, drawn.items(), strict=False):
            _panel(axes, task, gaps, names, learned, scale_of(metric_of(study))[0])
        for axes in grid.flat[len(drawn) :]:
            axes.remove()
        return inline_svg(figure, "Differences of every arm to the reference per task, with 95 % intervals")


def _panel(
    axes: Axes, task: str, gaps: Mapping[str, Paired], names: list[str], learned: Collection[str], times: float
) -> None:
    axes.axvline(0, color=FAINT, linewidth=0.9)
    for row, name in enumerate(names):
        if gap := gaps.get(name):
            ink = arm_ink(LEARNED, []) if name in learned or LEARNED in name else INK
            interval_mark(axes, row, times * gap.mean, times * gap.low, times * gap.high, ink)
    axes.set_yticks(range(len(names)), [NAMES.get(name, name) for name in names], color=INK)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_title(task)
    axes.grid(axis="y", visible=False)
    axes.grid(axis="x")
    axes.spines["left"].set_visible(False)
    tidy(axes)
