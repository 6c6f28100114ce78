"""A study on several tasks as a person reads it: a table, in the terminal and in Markdown, and a plot of intervals."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from rich.markup import escape
from rich.table import Table

from policylearn.report.formats import MISSING, as_number, fixed, plural, scale_of, score
from policylearn.report.summary import NAMES, Paired, paired
from policylearn.report.tables import plain_table


def study_table(study: Mapping[str, Any]) -> Table:
    """One line per arm: mean score on every task, and the difference to the reference averaged over all, in points."""
    table = plain_table(f"{study['name']}: {unit_of(study)}, difference to {study['reference']} [95 %]")
    for number, heading in enumerate(headings(study)):
        table.add_column(escape(heading), justify="right" if number else "left", no_wrap=not number, overflow="fold")
    for row in rows(study):
        table.add_row(*map(escape, row))
    return table


def study_lines(study: Mapping[str, Any]) -> list[str]:
    """The same as Markdown, and the comparisons in words."""
    heading = headings(study)
    lines = [f"| {' | '.join(row)} |" for row in (heading, ["---"] * len(heading), *rows(study))]
    return [*lines, "", *(f"- {sentence}" for sentence in study["sentences"])]


def headings(study: Mapping[str, Any]) -> list[str]:
    """Of the table."""
    tasks = [f"{name} ({r['metric']}, {plural(len(r['seeds']), 'seed')})" for name, r in study["tasks"].items()]
    return ["masks", *tasks, f"− {study['reference']}", "p, Holm", "could see", "tokens"]


def rows(study: Mapping[str, Any]) -> list[list[str]]:
    """Cells of the table, an arm per row; an arm that some task lacks has gaps."""
    names = dict.fromkeys(arm for result in study["tasks"].values() for arm in result["arms"])
    return [
        [
            NAMES.get(arm, arm),
            *(_cell(r, arm, study["reference"]) for r in study["tasks"].values()),
            *_pooled(study, arm),
        ]
        for arm in names
    ]


def _cell(result: dict[str, Any], arm: str, reference: str) -> str:
    """Mean score, and its difference to the reference with its interval."""
    if arm not in result["arms"]:
        return MISSING
    times, digits, _ = scale_of(result["metric"])
    mean, gap = fixed(times * np.mean(result["arms"][arm]["scores"]), digits), paired(result, arm, reference)
    return f"{mean} ({_difference(gap, result['metric'])})" if gap else mean


def _difference(gap: Paired, metric: str) -> str:
    """
    >>> _difference(Paired(0.013, -0.004, 0.03, []), "accuracy"), _difference(Paired(-0.02, math.nan, math.nan, []), "")
    ('+1.3 [−0.4, 3.0]', '−2.0')
    >>> _difference(Paired(0.01, 0.01, 0.01, []), "accuracy")
    '+1.0 [–]'
    """
    times, digits, _ = scale_of(metric)
    ends = ", ".join(fixed(times * end, digits) for end in (gap.low, gap.high) if math.isfinite(end))
    interval = f" [{MISSING if gap.same else ends}]" if ends else ""
    return fixed(times * gap.mean, digits, "+") + interval


def _pooled(study: Mapping[str, Any], arm: str) -> list[str]:
    tokens, found = _tokens(study, arm), study["pooled"].get(arm)
    if found is None:
        return ["", "", "", tokens]
    p, least = (as_number(found[key]) for key in ("holm", "least"))
    times, digits, _ = scale_of(metric := metric_of(study))
    seen = MISSING if math.isnan(least) else fixed(times * least, digits)
    return [_difference(pooled_gap(found), metric), score(p), seen, tokens]


def unit_of(study: Mapping[str, Any]) -> str:
    """Of its scores and differences, in words."""
    metric = metric_of(study)
    if scale_of(metric)[2] == "points":
        return "points of 100"
    return f"in the unit of the labels ({metric})" if metric == "negative_rmse" else f"in the unit of {metric}"


def metric_of(study: Mapping[str, Any]) -> str:
    """Of its tasks, or of the first: all are told alike, see `evaluation.pooling.check_same_unit`."""
    return str(next(iter(study["tasks"].values()))["metric"])


def pooled_gap(found: Mapping[str, Any]) -> Paired:
    """A difference averaged over tasks, as study.json has it."""
    mean, low, high = (as_number(found[key]) for key in ("mean", "low", "high"))
    return Paired(mean, low, high, per_seed=[])


def _tokens(study: Mapping[str, Any], arm: str) -> str:
    """Masked tokens, as a multiple of the reference's; a gap where that is not there or masks nothing."""
    masked = [
        {name: np.mean(result["arms"][name]["masked_tokens"]) for name in (arm, study["reference"])}
        for result in study["tasks"].values()
        if {arm, study["reference"]} <= result["arms"].keys()
    ]
    shares = [found[arm] / found[study["reference"]] for found in masked if found[study["reference"]]]
    return f"{np.mean(shares):.2f}×" if shares else MISSING


def intervals(study: Mapping[str, Any]) -> dict[str, dict[str, Paired]]:
    """What is drawn: task → arm → its difference to the reference; the average over the tasks last."""
    reference, drawn = study["reference"], {}
    for task, result in study["tasks"].items():
        gaps = {arm: paired(result, arm, reference) for arm in result["arms"]}
        drawn[task] = {arm: gap for arm, gap in gaps.items() if gap}
    if len(drawn) > 1:
        drawn["all tasks"] = {arm: pooled_gap(found) for arm, found in study["pooled"].items()}
    return drawn
