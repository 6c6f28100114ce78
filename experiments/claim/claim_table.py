"""What stage two has found, as a table."""

from collections.abc import Collection, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np
from arms import STRENGTHS, Comparison

from policylearn.evaluation.statistics import holm, pooled_difference, sentence
from policylearn.evaluation.trial import Trial

LEARNED = "learned"
MEASURES = {"fine-tuned": None, "probe": "probe"}
"""Which score of a trial; None: the first."""

Scores = dict[str, dict[str, dict[int, float]]]
"""Task → arm → run → score."""


SHARED = ("trec6", 0)
"""The run that has the order of texts and the masks of the training from which its policies took their credits, see
"Changes"."""


def with_choice(trials: Sequence[Trial]) -> list[Trial]:
    """And, for every run that has all policies of `STRENGTHS`, the one dev chooses: the weakest of equals."""
    runs = sorted({t.seed for t in trials})
    tried = {seed: [t for arm in STRENGTHS for t in trials if (t.arm, t.seed) == (arm, seed)] for seed in runs}
    chosen = [max(found, key=lambda t: t.dev) for found in tried.values() if len(found) == len(STRENGTHS)]
    return [*trials, *(replace(t, arm=LEARNED) for t in chosen)]


def scores_of(trials: dict[str, list[Trial]], extra: str | None) -> Scores:
    """By task, arm and run."""
    found: Scores = {}
    for task, rows in trials.items():
        for t in with_choice(rows):
            found.setdefault(task, {}).setdefault(t.arm, {})[t.seed] = t.extra[extra] if extra else t.score
    return found


def gaps(scores: Scores, after: str, before: str) -> list[np.ndarray]:
    """Paired differences, task by task, of the runs that both arms have; tasks without two such runs are left out."""
    pairs = [
        np.array([arms[after][run] - arms[before][run] for run in sorted(arms[after].keys() & arms[before].keys())])
        for arms in scores.values()
        if after in arms and before in arms
    ]
    return [pair for pair in pairs if len(pair) > 1]


def complete(scores: Scores, arms_of_all: Sequence[str]) -> Scores:
    """Of the runs that have every arm; a task without two of them is left out."""
    wanted, kept = {*arms_of_all, LEARNED}, {}
    for task, arms in scores.items():
        runs = set.intersection(*(set(arms.get(arm, {})) for arm in wanted))
        if len(runs) > 1:
            kept[task] = {arm: {run: arms[arm][run] for run in runs} for arm in wanted}
    return kept


def without_run(scores: Scores, task: str, run: int) -> Scores:
    """All but one run of a task."""
    rest = {arm: {n: x for n, x in found.items() if n != run} for arm, found in scores.get(task, {}).items()}
    return scores | ({task: rest} if rest else {})


def best_other(scores: Scores, arms_of_all: Sequence[str]) -> str:
    """The arm that learned nothing and is highest on the mean over tasks: by these very scores, which favours it."""
    others = [arm for arm in arms_of_all if arm not in STRENGTHS]
    return max(others, key=lambda arm: np.mean([np.mean(list(arms[arm].values())) for arms in scores.values()]))


def claim_table(
    trials: dict[str, list[Trial]], comparison: Comparison, primary: Collection[str]
) -> tuple[dict[str, Any], list[str]]:
    """Differences to random masks by task and on the mean, and the comparison that was written down before, of the
    tasks that say something of masks."""
    result: dict[str, Any] = {}
    lines = [f"**{comparison.title}**", ""]
    for measure, extra in MEASURES.items():
        scores = scores_of(trials, extra)
        rows = [[*row(scores, arm), p] for arm, p in corrected(scores, comparison).items()]
        lines += [f"{measure}, − random:", "", *as_table(["masks", *scores, "mean over tasks", "p, Holm"], rows), ""]
        for arm in comparison.later:
            if pairs := gaps({task: found for task, found in scores.items() if task in primary}, LEARNED, arm):
                lines += [f"- {measure}: {sentence(LEARNED, arm, pooled_difference(pairs))}, of the runs both have", ""]
        if not (ended := complete({t: found for t, found in scores.items() if t in primary}, comparison.arms)):
            lines += [f"- {measure}: less than two runs have all arms; which one to compare with is not known yet", ""]
            continue
        other = best_other(ended, comparison.arms)
        difference = pooled_difference(gaps(ended, LEARNED, other))
        result[measure] = {"best other": other, "learned − best other": asdict(difference), "tasks": list(ended)}
        lines += [f"- {measure}: {sentence(LEARNED, other, difference)}, on the mean of {', '.join(ended)}", ""]
        if SHARED[1] in comparison.runs:
            apart = without_run(ended, *SHARED)
            beside = ", ".join(f"{points(gaps(apart, LEARNED, arm))} above {arm}" for arm in (other, "random"))
            lines += [f"- {measure}, without run {SHARED[1]} of {SHARED[0]}: {LEARNED} is {beside}", ""]
    return result, lines


def corrected(scores: Scores, comparison: Comparison) -> dict[str, str]:
    """Arm → p of its mean difference to random masks, corrected for the number of arms; nothing where there is none."""
    arms = (*comparison.arms, *comparison.later, LEARNED)
    found = {arm: gaps(scores, arm, "random") for arm in arms if arm != "random"}
    p = holm({arm: d.p for arm, pairs in found.items() if pairs and (d := pooled_difference(pairs)).p is not None})
    return {arm: f"{p[arm]:.3f}".lstrip("0") if arm in p else "" for arm in arms}


def row(scores: Scores, arm: str) -> list[str]:
    """One arm: its mean and difference to random masks on every task, and the mean difference."""
    cells = [arm, *(cell(scores, task, arm) for task in scores)]
    found = gaps(scores, arm, "random") if arm != "random" else []
    return [*cells, points(found) if found else ""]


def cell(scores: Scores, task: str, arm: str) -> str:
    """Mean score and difference to random masks, of the runs that both have, and how many these are."""
    known = {run: score for run, score in scores[task].get(arm, {}).items() if run in scores[task].get("random", {})}
    if not known:
        return ""
    found = gaps({task: scores[task]}, arm, "random") if arm != "random" else []
    return f"{100 * np.mean(list(known.values())):.1f}" + (f" ({points(found)}, {len(found[0])})" if found else "")


def points(found: list[np.ndarray]) -> str:
    """A mean difference with its interval."""
    return pooled_difference(found).told(100)


def as_table(head: list[str], rows: list[list[str]]) -> list[str]:
    """In Markdown."""
    return [f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows)]
