"""Is it which words are masked more often, or that they are not all masked alike? Writes result.json and the table.

.venv/bin/python experiments/shuffled/run.py [TASK ...]     # what is missing; may be interrupted. One thread
"""

import json
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
from policylearn.masking.field import text_field
from policylearn.masking.units import word_keys
from policylearn.policy.policy import MaskingPolicy
from policylearn.problems.of_config import problem_of
from policylearn.problems.problem import Problem
from policylearn.report.study import study_lines
from policylearn.report.write_up import asked_for, write_up

FOLDER, OUT = Path(__file__).parent, Path("runs/shuffled")
COPIES = {"trec6": ("shuffled, once", "shuffled, again"), "gentle": ("shuffled, once",)}
"""Of the policy of every task."""
BLOCK = 10
"""Types, or words, of about the same frequency, whose values change places."""


def shuffle(values: np.ndarray, frequency: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Values dealt out anew among neighbours in frequency: as unequal, and as frequent where they are high."""
    found, order = values.copy(), np.argsort(-frequency, kind="stable")
    for first in range(0, len(order), BLOCK):
        block = order[first : first + BLOCK]
        found[block] = values[rng.permutation(block)]
    return found


def shuffle_policy(problem: Problem, policy: MaskingPolicy, seed: int) -> None:
    """The logits of types, or the scores of types and words, each among those that are as frequent; in place."""
    rng, types = np.random.default_rng(seed), occurrences(problem, policy)
    if LOGITS in (phi := policy.learned()):
        policy.load_learned(phi | {LOGITS: torch.from_numpy(shuffle(phi[LOGITS].numpy(), types, rng))})
    for found, frequency in (
        (policy.scores.types, types),
        (policy.scores.words, occurrences_of_words(problem, policy)),
    ):
        for row in found:  # a scorer each
            row[:] = torch.from_numpy(shuffle(row.numpy(), frequency, rng))


def occurrences_of_words(problem: Problem, policy: MaskingPolicy) -> np.ndarray:
    """How often each word of the policy's lexicon occurs in the domain."""
    lexicon = policy.scores.lexicon.numpy()
    total = np.zeros(len(lexicon))
    for rows in np.array_split(np.arange(len(problem.domain)), 50) if len(lexicon) else ():
        x, real = problem.domain.batch(rows, problem.pad_id)
        field = text_field(policy.field)
        keys = word_keys(field.types(x), field.words(x, real))[real].numpy()
        total += np.bincount(np.searchsorted(lexicon, keys[np.isin(keys, lexicon)]), minlength=len(lexicon))
    return total


def table(results: dict[str, Any]) -> list[str]:
    lines = []
    for task, compared in results.items():
        scores = {name: np.array(arm["scores"]) for name, arm in compared["tasks"][task]["arms"].items()}
        mean = np.mean([scores[name] for name in COPIES[task]], axis=0)
        (learned,) = scores.keys() - {"random", *COPIES[task]}
        pairs = {
            f"{learned} − {' and '.join(COPIES[task])}": paired_difference(scores[learned], mean),
            f"{' and '.join(COPIES[task])} − random": paired_difference(mean, scores["random"]),
        }
        lines += [f"**{task}**", "", *study_lines(compared), ""]
        lines += [*(f"- {name}: {found.told(100)} points" for name, found in pairs.items()), ""]
    return lines


def main() -> None:
    torch.set_num_threads(1)
    study, path = load_study(FOLDER / "study.toml", []), FOLDER / "result.json"
    results = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    for task in asked_for(__doc__, study.tasks, flags=()).names or study.tasks:
        given, paths = study.tasks[task], {}
        problem = problem_of(study.config_of(task))
        for seed, name in enumerate(COPIES[task]):
            artefact = load_policy(next(iter(given.policies.values())))
            shuffle_policy(problem, artefact.policy, seed)
            paths[name] = str(OUT / task / str(seed))
            save_policy(paths[name], PolicyArtefact(artefact.policy, artefact.tokenizer), f"# {name}\n")
        arms = given.model_copy(update={"policies": {**given.policies, **paths}})
        results[task] = run_study(study.model_copy(update={"tasks": {task: arms}}), OUT / "study", Console())
        write_up(FOLDER, results, table(results))


if __name__ == "__main__":
    main()
