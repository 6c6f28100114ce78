"""Does a learned policy help on real tasks? Learns the policies, trains fresh models under every arm's masks, writes
result.json and the tables of README.md.

.venv/bin/python experiments/real_tasks/run.py                           # hours on one core; may be interrupted
.venv/bin/python experiments/real_tasks/run.py scratch trec6 acl_arc     # one study, some of its tasks
.venv/bin/python experiments/real_tasks/run.py --table                   # from the trials there are
"""

import gzip
import json
import sys
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from tokenizers import BertWordPieceTokenizer
from transformers import BertTokenizerFast

from policylearn.artefact import load_policy, save_policy
from policylearn.config import Config, StudyConfig, load_config, load_study
from policylearn.evaluation.pooling import pool
from policylearn.evaluation.study import run_study
from policylearn.evaluation.summary import summarise
from policylearn.evaluation.trial import Trial
from policylearn.experiment import write_up
from policylearn.report.study import study_lines
from policylearn.report.study_page import render_study
from policylearn.run import Run
from policylearn.train import train

FOLDER, OUT = Path(__file__).parent, Path("runs/real_tasks")
STUDIES = {
    "checkpoint": "a pretrained checkpoint",
    "gpu": "a pretrained checkpoint, all arms, on a GPU",
    "few": "a pretrained checkpoint, policies of 200 labels",
    "scratch": "a small encoder from scratch",
}
META = [
    # Differentiated exactly through windows of thirty steps.
    *["policy.network=table", "learn.rounds=10", "learn.learning_rate=0.3", "inner.engine=replay", "inner.window=30"],
    *["inner.every=100", "outer.support=400", "outer.query=800"],
]
CREDIT = ["policy.prior={credit=1.0}", "policy.network=none", "learn.rounds=0", "inner.start=0.1"]
LEARNED = {
    # The scorer `credit` alone: one meta-gradient of all labels, early in the training, over very many tokens.
    "credit": [*CREDIT, "diagnose.points=1"],
    # The same, averaged over three states: early, in the middle, at the end.
    "path": [*CREDIT, "diagnose.points=3"],
    # The same from few labels.
    "path-200": [*CREDIT, "diagnose.points=3", "diagnose.examples=200", "diagnose.batches=60"],
    "learned": ["policy.prior={saliency=8.0}", *META],
    "learned-difference": ["policy.prior={difference=8.0}", *META],
}
ALONE = ["evaluate.seeds=0", 'evaluate.arms=["random"]']
TWICE = "-2"
"""Ends the name of a policy that is another one at twice the strength."""
AMOUNT = {"trec6": 300}
"""Batches credited, where texts are short; else 100."""
CREDITED = {"credit": 120, "path": 40}
"""Batches credited of 128 texts each, by the policies that are learned on a GPU."""
GPU = ["cluster.gpus=1"] if torch.cuda.is_available() else []
PIECES = 6000
VIEWS = {
    "200 labelled examples": None,
    "all labels": "probe",
    "all labels, test rows that repeat no training text": "probe, test_noverlap",
}
"""Name → which of the scores of a trial; None: the first."""


def learn(study: StudyConfig, folder: Path) -> None:
    """A policy, where it is missing; the folder is named `<task it is learned on>-<kind>`."""
    if not (folder / "policy").exists():
        task, _, kind = folder.name.partition("-")
        if kind.endswith(TWICE):
            return strengthen(study, folder)
        amount = [f"diagnose.batches={AMOUNT.get(task, 100)}"]
        if folder.parent.name == "gpu":
            amount = [f"diagnose.batches={CREDITED[kind]}", "diagnose.batch_size=128", *GPU]
        given = [*study.set, *study.tasks[task].set, *ALONE, *amount, *LEARNED[kind]]
        train(load_config(study.tasks[task].config, given), folder, Console())


def strengthen(study: StudyConfig, folder: Path) -> None:
    """The policy without TWICE in its name, its prior at twice the strength."""
    origin = folder.with_name(folder.name.removesuffix(TWICE))
    learn(study, origin)
    artefact = load_policy(origin / "policy")
    policy = artefact.policy
    twice = {name: 2 * strength for name, strength in policy.config.prior.items()}
    policy.config = policy.config.model_copy(update={"prior": twice})
    policy.strengths.data *= 2
    save_policy(folder / "policy", artefact, card=f"Twice as strong as {origin.name}.\n")


def prepare(study: StudyConfig, task: str) -> None:
    """Tokenizer and policies of a task, where they are missing."""
    config = study.config_of(task)
    if config.model.name is None:
        make_tokenizer(config)
    for policy in study.tasks[task].policies.values():
        learn(study, Path(policy).parent)


def make_tokenizer(config: Config) -> None:
    """WordPiece over the training texts."""
    folder = Path(str(config.model.tokenizer))
    if folder.exists():
        return
    with gzip.open(config.domain.path, "rt", encoding="utf-8") as lines:
        texts = [json.loads(line)["text"] for line in lines]
    pieces = BertWordPieceTokenizer(lowercase=True)
    pieces.train_from_iterator(texts, vocab_size=PIECES, min_frequency=2, show_progress=False)
    BertTokenizerFast(tokenizer_object=pieces._tokenizer, do_lower_case=True).save_pretrained(folder)


def recall(which: str, task: str, config: Config) -> None:
    """Trials that were made elsewhere, for the run of a task that has none."""
    kept = [FOLDER / "trials" / f"{study}-{task}.jsonl" for study in ("checkpoint", which)]
    with Run.open(OUT / which / "study" / task, config, Console(), free=Config.model_fields) as run:
        if not run.trials():
            lines = [line for path in kept if path.exists() for line in path.read_text(encoding="utf-8").splitlines()]
            run.save_trials([json.loads(line) for line in dict.fromkeys(lines)])


def keep_trials() -> None:
    """Into trials/, whether or not their task is finished."""
    for path in OUT.glob("*/study/*/trials.jsonl"):
        kept = FOLDER / "trials" / f"{path.parents[2].name}-{path.parent.name}.jsonl"
        kept.parent.mkdir(exist_ok=True)
        kept.write_text(path.read_text(encoding="utf-8"), encoding="utf-8")


def finished(which: str) -> dict[str, Any]:
    """Task → its comparison, of the tasks that are done, in the order of the study: here, or by result.json."""
    tasks = load_study(FOLDER / f"{which}.toml", []).tasks
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
        found[name] = pool(f"{study.name}, {name}", view, study.reference, [*LEARNED, "transferred"])
        lines += [f"{name}:", "", *study_lines(found[name]), ""]
        if method is None:
            (OUT / which).mkdir(parents=True, exist_ok=True)
            (OUT / which / "report.html").write_text(render_study(found[name]), encoding="utf-8")
    return found, lines


def write_tables() -> None:
    """Of the tasks that are done."""
    keep_trials()
    made = {which: tables(which) for which in STUDIES if finished(which)}
    result = {which: found for which, (found, _) in made.items()}
    write_up(FOLDER, result, [line for _, lines in made.values() for line in lines])


if __name__ == "__main__":
    names = [name for name in sys.argv[1:] if name in STUDIES] or list(STUDIES)
    for which in [] if "--table" in sys.argv else names:
        study = load_study(FOLDER / f"{which}.toml", [])
        for task in [name for name in sys.argv[1:] if name not in STUDIES] or study.tasks:
            prepare(study, task)
            recall(which, task, study.config_of(task))
            run_study(study.model_copy(update={"tasks": {task: study.tasks[task]}}), OUT / which / "study", Console())
    write_tables()
