"""Is it which words are masked more often, or that they are not all masked alike? Writes result.json and the table.

.venv/bin/python experiments/shuffled/run.py     # what is missing; may be interrupted. One thread, 120 trainings
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console

from policylearn import load_policy, save_policy
from policylearn.artefact import PolicyArtefact
from policylearn.config import load_study
from policylearn.evaluation.statistics import paired_difference
from policylearn.evaluation.study import run_study
from policylearn.learning.changes import LOGITS
from policylearn.learning.outcomes import occurrences
from policylearn.problems.of_config import problem_of
from policylearn.report.study import study_lines
from policylearn.report.write_up import asked_for, write_up

FOLDER, OUT = Path(__file__).parent, Path("runs/shuffled")
TASK, LEARNED = "trec6", "learned"
COPIES = ("shuffled, once", "shuffled, again")
BLOCK = 10
"""Types of about the same frequency, among which logits change places."""


def shuffle(logits: np.ndarray, frequency: np.ndarray, seed: int) -> np.ndarray:
    """Logits dealt out anew among neighbours in frequency: as unequal, and as frequent where they are high."""
    rng, found = np.random.default_rng(seed), logits.copy()
    order = np.argsort(-frequency, kind="stable")
    for first in range(0, len(order), BLOCK):
        block = order[first : first + BLOCK]
        found[block] = logits[rng.permutation(block)]
    return found


def table(compared: dict[str, Any]) -> list[str]:
    scores = {name: np.array(arm["scores"]) for name, arm in compared["tasks"][TASK]["arms"].items()}
    mean = np.mean([scores[name] for name in COPIES], axis=0)
    pairs = {
        f"{LEARNED} − the mean of the shuffled": paired_difference(scores[LEARNED], mean),
        "the mean of the shuffled − random": paired_difference(mean, scores["random"]),
    }
    return [*study_lines(compared), "", *(f"- {name}: {found.told(100)} points" for name, found in pairs.items())]


def main() -> None:
    asked_for(__doc__, (), flags=())
    torch.set_num_threads(1)
    study = load_study(FOLDER / "study.toml", [])
    task = study.tasks[TASK]
    problem = problem_of(study.config_of(TASK))
    paths = {}
    for seed, name in enumerate(COPIES):
        artefact = load_policy(task.policies[LEARNED])
        policy = artefact.policy
        logits = policy.learned()[LOGITS]
        moved = shuffle(logits.numpy(), occurrences(problem, policy), seed)
        policy.load_learned(policy.learned() | {LOGITS: torch.from_numpy(moved)})
        paths[name] = str(OUT / str(seed))
        save_policy(paths[name], PolicyArtefact(policy, artefact.tokenizer, provenance={}), f"# {name}\n")
    arms = task.model_copy(update={"policies": {**task.policies, **paths}})
    compared = run_study(study.model_copy(update={"tasks": {TASK: arms}}), OUT / "study", Console())
    write_up(FOLDER, compared, table(compared))


if __name__ == "__main__":
    main()
