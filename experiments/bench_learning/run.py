"""What learning a policy costs, and where the time of a trial goes, beside an earlier commit: result.json, README.md.

.venv/bin/python experiments/bench_learning/run.py            # half an hour, on an idle machine
.venv/bin/python experiments/bench_learning/run.py --quick    # within a minute; writes nothing

The last line printed is one JSON object of ratios.
"""

import argparse
import gzip
import json
import os
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from io import BytesIO
from itertools import cycle, islice
from pathlib import Path
from typing import Any

from usage import Usage, usage_of

from policylearn.report.write_up import write_up

FOLDER = Path(__file__).parent
REPOSITORY = FOLDER.parents[1]
SHARED = REPOSITORY.parent / "shared"
BEFORE, NOW = "before", "now"
CONFIG = ["configs/credits.toml", f"model.name={SHARED / 'models/minilm-l6-mlm'}", "task.metric=accuracy"]
CORPORA = SHARED / "data/corpora"
PLANTED = ["configs/demo.toml", "policy.prior={}", "policy.network=none", "learn.stages=[expected]", "credit.batches=8"]
LABELS = 11_000
DOWNSTREAM = ['evaluate.downstream=["probe", "probe@200", "finetune@200"]', "evaluate.subsets=2"]
NAMES = {"short": "4,914 questions, as many labels", "many": "11,000 labels of 54 tokens, one state"}
TRIAL, START = "trial", "start"
COMMANDS = {"`policylearn --help`": ["--help"], "a wrong key, told": ["train", "configs/demo.toml", "inner.stepz=3"]}
TIMES = 5
"""Of these short commands, whose median counts."""


def cases(folder: Path) -> dict[str, list[str]]:
    """What is learned from, by name."""
    general = f"general.path={CORPORA / 'corpus_wiki_featured.jsonl.gz'}"
    trec, many = SHARED / "data/tasks/trec6", repeated(SHARED / "data/tasks/pubmed_sections", folder)
    short = [*CONFIG, general, f"task.path={trec}", f"domain.path={trec / 'train.jsonl.gz'}"]
    domain = [f"domain.path={CORPORA / 'corpus_pubmed_reviews.jsonl.gz'}", "domain.limit=5000"]
    return {
        "short": short,
        "many": [*CONFIG, general, f"task.path={many}", "task.extra_tests=[]", *domain, "credit.points=1"],
    }


def repeated(task: Path, folder: Path) -> Path:
    """The same task with as many rows of train as `LABELS` says, again and again those that there are."""
    found = folder / task.name
    found.mkdir()
    for split in ("train", "dev", "test"):
        with gzip.open(task / f"{split}.jsonl.gz", "rt", encoding="utf-8") as file:
            rows = [{key: row[key] for key in ("text", "label")} for row in map(json.loads, file)]
        many = islice(cycle(rows), LABELS) if split == "train" else rows
        (found / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in many), encoding="utf-8")
    return found


def trees(commit: str, folder: Path) -> dict[str, Path]:
    """The code as it is and as it was."""
    archive = subprocess.run(["git", "archive", commit], cwd=REPOSITORY, check=True, capture_output=True).stdout
    with tarfile.open(fileobj=BytesIO(archive)) as files:
        files.extractall(folder / BEFORE, filter="data")
    return {BEFORE: folder / BEFORE, NOW: REPOSITORY}


def learning(tree: Path, overrides: list[str], out: Path) -> dict[str, Any]:
    """Of the whole command."""
    command = [sys.executable, "-m", "policylearn", "train", *overrides, "evaluate.seeds=0", f"--out={out}"]
    found = usage_of(command, tree, at(tree))
    print(json.dumps(vars(found) | {"said": None}), flush=True)
    return vars(found) | {"said": said(found)}


def said(found: Usage) -> dict[str, float | None]:
    """When the command first said anything, what the task is, and that part of the work was done."""
    first = min(found.said.values(), default=None)
    workers, progress = found.until("are being started"), found.until("point ")
    return {"anything": first, "the task": found.until("task  "), "workers": workers, "progress": progress}


def starting(tree: Path) -> dict[str, float]:
    """Seconds, by the clock, of commands that have nothing to do."""
    found = {}
    for name, words in COMMANDS.items():
        times = []
        for _ in range(TIMES):
            started = time.monotonic()
            subprocess.run([sys.executable, "-m", "policylearn", *words], cwd=tree, env=at(tree), capture_output=True)
            times.append(time.monotonic() - started)
        found[name] = statistics.median(times)
    return found


def trial(tree: Path, overrides: list[str], trials: int) -> dict[str, float]:
    command = [sys.executable, str(FOLDER / "trial.py"), str(trials), *overrides, "cluster.backend=local", *DOWNSTREAM]
    done = subprocess.run(command, cwd=tree, env=at(tree), check=True, capture_output=True, text=True)
    print(done.stdout, flush=True)
    return json.loads(done.stdout.splitlines()[-1])


def at(tree: Path) -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(tree), "RAY_ADDRESS": ""}


def measured(commit: str, quick: bool, wanted: list[str]) -> dict[str, Any]:
    """Of the cases that are wanted, and of a trial if it is."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        asked = {"short": PLANTED} if quick else cases(folder)
        found: dict[str, Any] = {}
        for when, tree in trees(commit, folder).items():
            for case in wanted:
                out = found.setdefault(case, {})
                if case == TRIAL:
                    out[when] = trial(tree, asked["short"], 1 if quick else 3)
                elif case == START:
                    out[when] = starting(tree)
                elif case in asked:
                    out[when] = learning(tree, asked[case], folder / f"{when}-{case}")
        return {case: of_case for case, of_case in found.items() if of_case}


SAID = {"the task": "the task", "workers": "that workers are being started", "progress": "progress"}
ROWS = {
    "cpu": "processor seconds of all processes",
    "wall": "seconds until the policy is there",
    "largest": "MiB, the largest process",
    "together": "MiB, all processes together",
}


def tables(result: dict[str, Any]) -> list[str]:
    """Of what was measured."""
    learned = {case: result[case] for case in NAMES if case in result}
    lines = ["| | " + " | ".join(f"{NAMES[case]}: {BEFORE} | {NOW} | ratio" for case in learned) + " |"]
    lines += ["|---" * (1 + 3 * len(learned)) + "|"]
    for key, label in ROWS.items():
        cells = [
            f"{c[BEFORE][key]:,.0f} | {c[NOW][key]:,.0f} | {c[NOW][key] / c[BEFORE][key]:.2f}" for c in learned.values()
        ]
        lines.append(f"| {label} | {' | '.join(cells)} |")
    for key in ("the task", "workers", "progress"):
        cells = [f"{shown(c[BEFORE]['said'].get(key))} | {shown(c[NOW]['said'].get(key))} | " for c in learned.values()]
        lines.append(f"| seconds until it says {SAID[key]} | {' | '.join(cells)} |")
    if START in result:
        was, now = (result[START][when] for when in (BEFORE, NOW))
        lines += ["", f"| seconds | {BEFORE} | {NOW} |", "|---|---|---|"]
        lines += [f"| {name} | {was[name]:.2f} | {now[name]:.2f} |" for name in COMMANDS]
    if TRIAL not in result:
        return lines
    was, now = (result[TRIAL][when] for when in (BEFORE, NOW))
    lines += ["", f"| a trial of TREC-6, processor seconds | {BEFORE} | {NOW} |", "|---|---|---|"]
    for part in sorted(was | now, key=lambda part: -was.get(part, 0.0)):
        lines.append(f"| {part} | {was.get(part, 0.0):.2f} | {now.get(part, 0.0):.2f} |")
    return [*lines, f"| together | {sum(was.values()):.2f} | {sum(now.values()):.2f} |"]


def shown(seconds: float | None) -> str:
    return "–" if seconds is None else f"{seconds:.1f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="the planted benchmark; writes nothing")
    parser.add_argument("--commit", default="11cea76", help="what it is compared with")
    parser.add_argument(
        "--only", nargs="+", choices=[*NAMES, TRIAL, START], default=[*NAMES, TRIAL, START], help="the others stay"
    )
    given, kept = parser.parse_args(), FOLDER / "result.json"
    result = measured(given.commit, given.quick, given.only)
    if not given.quick:
        known = json.loads(kept.read_text(encoding="utf-8")) if kept.exists() else {}
        write_up(FOLDER, known | result, tables(known | result))
    print(json.dumps(ratios(result)))


def ratios(result: dict[str, Any]) -> dict[str, float]:
    """Of what it is now to what it was before."""
    found = {}
    for case, of_case in result.items():
        was, now = of_case[BEFORE], of_case[NOW]
        if case in (TRIAL, START):
            found[case] = sum(now.values()) / sum(was.values())
        else:
            found |= {f"{case} {key}": now[key] / was[key] for key in ("cpu", "largest")}
    return found


if __name__ == "__main__":
    main()
