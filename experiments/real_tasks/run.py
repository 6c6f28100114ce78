"""Does a learned policy help on real tasks? Learns the policies, trains fresh models under every arm's masks, writes
result.json and the tables of README.md.

.venv/bin/python experiments/real_tasks/run.py                           # hours on one core; may be interrupted
.venv/bin/python experiments/real_tasks/run.py scratch trec6 acl_arc     # one study, some of its tasks
.venv/bin/python experiments/real_tasks/run.py --table                   # from the trials there are
"""

import json
from pathlib import Path

import torch
from rich.console import Console
from tables import FOLDER, OUT, STUDIES, write_tables
from tokenizer import make_tokenizer

from policylearn.artefact import load_policy, save_policy
from policylearn.commands.train import train
from policylearn.config import Config, StudyConfig, load_config, load_study
from policylearn.evaluation.study import run_study
from policylearn.report.write_up import asked_for
from policylearn.runs.run import Run

META = [
    # Differentiated exactly through windows of thirty steps.
    *["policy.network=table", "learn.rounds=10", "learn.learning_rate=0.3", "inner.engine=replay", "inner.window=30"],
    *["inner.every=100", "outer.support=400", "outer.query=800"],
]
CREDIT = [
    *["policy.prior={}", "policy.network=none", "learn.stages=[expected]", "credit.strength=1.0", "inner.start=0.1"],
]
LEARNED = {
    # Expected credits alone: one meta-gradient of all labels, early in the training, over very many tokens.
    "credit": [*CREDIT, "credit.points=1"],
    # The same, averaged over three states: early, in the middle, at the end.
    "path": [*CREDIT, "credit.points=3"],
    # The same from few labels.
    "path-200": [*CREDIT, "credit.points=3", "credit.examples=200", "credit.batches=60"],
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


def learn(study: StudyConfig, folder: Path) -> None:
    """A policy, where it is missing; the folder is named `<task it is learned on>-<kind>`."""
    if not (folder / "policy").exists():
        task, _, kind = folder.name.partition("-")
        if kind.endswith(TWICE):
            return strengthen(study, folder)
        amount = [f"credit.batches={AMOUNT.get(task, 100)}"]
        if folder.parent.name == "gpu":
            amount = [f"credit.batches={CREDITED[kind]}", "credit.batch_size=128", *GPU]
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


def recall(which: str, task: str, config: Config) -> None:
    """Trials that were made elsewhere, for the run of a task that has none."""
    kept = [FOLDER / "trials" / f"{study}-{task}.jsonl" for study in ("checkpoint", which)]
    with Run.open(OUT / which / "study" / task, config, Console(), compares=True) as run:
        if not run.trials():
            lines = [line for path in kept if path.exists() for line in path.read_text(encoding="utf-8").splitlines()]
            run.save_trials([json.loads(line) for line in dict.fromkeys(lines)])


def main() -> None:
    studies = {which: load_study(FOLDER / f"{which}.toml", GPU if which == "gpu" else []) for which in STUDIES}
    every = dict.fromkeys(task for study in studies.values() for task in study.tasks)
    given = asked_for(__doc__, [*STUDIES, *every])
    tasks = [name for name in given.names if name in every]
    for which in [] if given.table else [name for name in given.names if name in STUDIES] or STUDIES:
        study = studies[which]
        for task in [name for name in tasks if name in study.tasks] if tasks else study.tasks:
            prepare(study, task)
            recall(which, task, study.config_of(task))
            run_study(study.model_copy(update={"tasks": {task: study.tasks[task]}}), OUT / which / "study", Console())
    write_tables()


if __name__ == "__main__":
    main()
