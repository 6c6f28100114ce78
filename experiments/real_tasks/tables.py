"""Trials → result.json, the tables of README.md and a page per study."""

import json
from collections import Counter
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from policylearn.arms.arms import other_budgets
from policylearn.config import load_study
from policylearn.evaluation.pooling import pool_results
from policylearn.evaluation.statistics import pooled_difference
from policylearn.evaluation.summary import summarise
from policylearn.evaluation.trial import Trial
from policylearn.report.study import study_lines
from policylearn.report.study_page import render_study
from policylearn.report.write_up import write_up

FOLDER, OUT = Path(__file__).parent, Path("runs/real_tasks")
STUDIES = {
    "gpu": "a pretrained checkpoint, on a GPU",
    "few": "a pretrained checkpoint, policies of 200 labels",
    "finetune": "a pretrained checkpoint, fine-tuned from 200 labels",
    "checkpoint": "a pretrained checkpoint, on a CPU",
    "scratch": "a small encoder from scratch",
}
LEARNED = ("credit", "path", "path-2", "path-4", "few", "transferred", "learned", "learned-difference")
STEPS = ("credit", "path", "path-2")
"""Three states of the training instead of one; then twice the strength."""
BEST = "path-2"
"""Beside which arms of few seeds are shown, on the same seeds."""
VIEWS = {
    "200 labelled examples": None,
    "all labels": "probe",
    "all labels, test rows that repeat no training text": "probe, test_noverlap",
}
"""Name → which of the scores of a trial; None: the first."""
SHARED = {"few": ["checkpoint"], "finetune": []}
"""Studies that are read from trials/, and which other trials are theirs too."""
MOST = 0.8
"""Arms with at least this share of the seeds that most arms have are compared, on the seeds they all have."""


def trials_of(which: str, task: str) -> list[Trial]:
    """Those in trials/, the last of an arm and a seed; what is run on a CPU shares those of `checkpoint`."""
    paths = [FOLDER / "trials" / f"{name}-{task}.jsonl" for name in dict.fromkeys([*SHARED.get(which, []), which])]
    lines = [line for path in paths if path.exists() for line in path.read_text(encoding="utf-8").splitlines()]
    arms = load_study(FOLDER / f"{which}.toml", []).config_of(task).evaluate.arms
    found = {(trial.arm, trial.seed): trial for line in lines if (trial := Trial(**json.loads(line))).arm in arms}
    return list(found.values())


def keep_trials() -> None:
    """Into trials/, whether or not their task is finished, also those of worker.py; those of `checkpoint` once."""
    for path in sorted(OUT.glob("claimed/*/*/*.json")):
        kept, line = FOLDER / "trials" / f"{path.parents[1].name}-{path.parent.name}.jsonl", path.read_text("utf-8")
        before = kept.read_text(encoding="utf-8") if kept.exists() else ""
        kept.write_text(before if line in before else before + line, encoding="utf-8")
    for path in sorted(OUT.glob("*/study/*/trials.jsonl")):
        which, task = path.parents[2].name, path.parent.name
        first = FOLDER / "trials" / f"checkpoint-{task}.jsonl"
        known = first.read_text(encoding="utf-8").splitlines() if first.exists() and which != "checkpoint" else []
        lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line not in known]
        (FOLDER / "trials" / f"{which}-{task}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


def often(trials: list[Trial]) -> list[str]:
    """Arms with most of the seeds."""
    counts = Counter(trial.arm for trial in trials)
    return [arm for arm, count in counts.items() if count >= MOST * max(counts.values())]


def compared(which: str, task: str) -> dict[str, Any] | None:
    """The comparison of the trials in trials/, in the order of the study; None: there are none."""
    trials, config = trials_of(which, task), load_study(FOLDER / f"{which}.toml", []).config_of(task)
    arms = often(trials)
    seeds = set.intersection(*({t.seed for t in trials if t.arm == arm} for arm in arms)) if arms else set()
    picked = [t for arm in config.evaluate.arms if arm in arms for t in trials if t.arm == arm and t.seed in seeds]
    return summarise(picked, config.task.metric, other_budgets(config)) if picked else None


def finished(which: str) -> dict[str, Any]:
    """Task → its comparison, of the tasks that are done, in the order of the study: here, or by result.json."""
    tasks = load_study(FOLDER / f"{which}.toml", []).tasks
    if which in ("gpu", *SHARED):
        return {task: found for task in tasks if (found := compared(which, task))}
    written = json.loads((FOLDER / "result.json").read_text(encoding="utf-8"))
    before = next(iter(written[which].values()))["tasks"] if which in written else {}
    paths = {task: OUT / which / "study" / task / "result.json" for task in tasks}
    here = {task: json.loads(path.read_text(encoding="utf-8")) for task, path in paths.items() if path.exists()}
    return {task: found for task in tasks if (found := here.get(task, before.get(task)))}


def scored_by(result: dict[str, Any], method: str) -> dict[str, Any]:
    """The same comparison with the scores of another way to use the model."""
    trials = [
        Trial(arm, seed, result["extra"][method][arm][i], {}, found["dev"][i], None, found["masked_tokens"][i], 0.0)
        for arm, found in result["arms"].items()
        for i, seed in enumerate(result["seeds"])
    ]
    return summarise(trials, result["metric"])


def tables(which: str) -> tuple[dict[str, Any], list[str]]:
    """The tables of a study, and what they were made from."""
    study, results = load_study(FOLDER / f"{which}.toml", []), finished(which)
    found, lines = {}, [f"**{STUDIES[which]}**", ""]
    for name, method in VIEWS.items():
        known = {task: result for task, result in results.items() if method is None or method in result["extra"]}
        view = {task: scored_by(result, method) if method else result for task, result in known.items()}
        if not view:
            continue
        found[name] = pool_results(f"{study.name}, {name}", view, study.reference, LEARNED)
        lines += [f"{name}:", "", *study_lines(found[name]), ""]
        if method is None:
            lines += [
                *steps_lines(results),
                dev_line(results, study.reference),
                "",
                *rest_lines(which, study.reference),
            ]
            (OUT / which).mkdir(parents=True, exist_ok=True)
            (OUT / which / "report.html").write_text(render_study(found[name]), encoding="utf-8")
    return found, lines


def steps_lines(results: dict[str, Any]) -> list[str]:
    """What each step from `credit` to `path-2` is worth, on the mean of tasks that have all three."""
    arms = [result["arms"] for result in results.values()]
    if not all(arm in found for found in arms for arm in STEPS):
        return []
    told = []
    for before, after in pairwise(STEPS):
        gaps = [np.subtract(found[after]["scores"], found[before]["scores"]) for found in arms]
        told.append(f"{after} − {before} {pooled_difference(gaps).told(100)}")
    return [f"Step by step: {'; '.join(told)}", ""]


def dev_line(results: dict[str, Any], reference: str) -> str:
    """What dev says of the learned policies, by which one may be chosen."""
    shared = [arm for arm in LEARNED if all(arm in r["arms"] and reference in r["arms"] for r in results.values())]
    arms = [result["arms"] for result in results.values()]
    gaps = {arm: np.mean([gap(found[arm]["dev"], found[reference]["dev"]) for found in arms]) for arm in shared}
    return f"On dev, − {reference}: " + ", ".join(f"{arm} {value:+.1f}" for arm, value in gaps.items())


def gap(after: Iterable[float], before: Iterable[float]) -> float:
    """Mean difference in points."""
    return 100 * float(np.mean(np.subtract(list(after), list(before))))


def rest_lines(which: str, reference: str) -> list[str]:
    """Arms that were run on few seeds: their mean difference to the reference, that of `BEST` on these seeds, how many,
    and their masked tokens as a multiple of the reference's."""
    tasks = load_study(FOLDER / f"{which}.toml", []).tasks
    trials = {task: trials_of(which, task) for task in tasks}
    rare = dict.fromkeys(t.arm for found in trials.values() if found for t in found if t.arm not in often(found))
    if not rare:
        return []
    rows = [[f"masks, few seeds (beside {BEST} on them)", *tasks, "tokens"], ["---"] * (2 + len(tasks))]
    rows += [
        [arm, *(few_cell(found, arm, reference) for found in trials.values()), tokens_cell(trials, arm, reference)]
        for arm in rare
    ]
    return [*(f"| {' | '.join(row)} |" for row in rows), ""]


def few_cell(trials: list[Trial], arm: str, reference: str) -> str:
    """Mean difference over the seeds that both and `BEST` have, that of `BEST`, and their number."""
    scores = {name: {t.seed: t.score for t in trials if t.arm == name} for name in (arm, BEST, reference)}
    seeds = sorted(set.intersection(*(set(own) for own in scores.values())))
    if not seeds:
        return ""
    own, best, base = ([of[seed] for seed in seeds] for of in scores.values())
    return f"{gap(own, base):+.1f} ({gap(best, base):+.1f}; {len(seeds)})"


def tokens_cell(trials: dict[str, list[Trial]], arm: str, reference: str) -> str:
    """Masked tokens as a multiple of the reference's on the same seeds: the least and the most of all tasks."""
    ratios = []
    for found in trials.values():
        own, base = ({t.seed: t.masked_tokens for t in found if t.arm == name} for name in (arm, reference))
        ratios += [own[seed] / base[seed] for seed in own.keys() & base.keys()]
    least, most = (f"{share:.2f}×" for share in (min(ratios), max(ratios)))
    return least if least == most else f"{least} to {most}"


def write_tables() -> None:
    """Of the tasks that are done."""
    keep_trials()
    made = {which: tables(which) for which in STUDIES if finished(which)}
    result = {which: found for which, (found, _) in made.items()}
    write_up(FOLDER, result, [line for _, lines in made.values() for line in lines])
