"""Do policies learned from token targets find those of texts they have not seen? Writes result.json and README.md.

.venv/bin/python experiments/answer_spans/run.py            # some minutes; continues runs/answer_spans
.venv/bin/python experiments/answer_spans/run.py --quick    # one seed, one pass, on dev; writes nothing
"""

import argparse
import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from sklearn.metrics import roc_auc_score
from tables import table

from policylearn.arms.arms import arm_policy
from policylearn.artefact import load_policy
from policylearn.collator.distil import COLUMN, table_policy
from policylearn.commands.train import train
from policylearn.config import load_config
from policylearn.data.tokens import TokenRows
from policylearn.learning.supervised.coverage import BATCH, coverage
from policylearn.learning.supervised.targets import batch_of, token_targets
from policylearn.policy.policy import MaskingPolicy
from policylearn.problems.of_config import problem_of
from policylearn.problems.problem import Problem
from policylearn.report.write_up import write_up

FOLDER, RUNS = Path(__file__).parent, Path("runs/answer_spans")
SEEDS, DRAWS = (0, 1, 2), 16
TOKENS, WORDS = ("masking.unit=token",), ("masking.unit=word",)
CONTEXT = ("policy.network=context",)
NER = ("domain.path=../shared/data/ner/*/train.jsonl.gz", "domain.text=text", "scores.entity.column=tags")
TREC = ("supervised.targets=importance", "model.max_length=64", "scores.model_texts=300")
SETS = {
    "answers": {
        "baselines": {
            "random tokens": ("random", *TOKENS),
            "random words": ("random", *WORDS),
            "random spans (SpanBERT)": ("random", "masking.span_mean=3.8"),
            "entities of biomedical NER": ("entity", *TOKENS, *NER),
            "Difference-Masking": ("difference", *TOKENS),
        },
        "learned": {
            "learned, tokens, no context": (*CONTEXT, *TOKENS, "policy.kernel=1"),
            "learned, tokens": (*CONTEXT, *TOKENS),
            "learned, words": (*CONTEXT, *WORDS),
            "learned, words, from Difference-Masking": (*CONTEXT, *WORDS, "policy.prior={difference = 8.0}"),
            "learned, spans": (),
        },
    },
    "importance": {
        "baselines": {
            "random tokens": ("random", *TOKENS, *TREC),
            "random words": ("random", *WORDS, *TREC),
            "selective scorer (means of words)": ("selective", *WORDS, *TREC),
        },
        "learned": {
            "learned, tokens": (*CONTEXT, *TOKENS, *TREC),
            "learned, words": (*CONTEXT, *WORDS, *TREC),
        },
    },
}
"""Targets → arms: a scorer or setting with overrides of configs/answer_spans.toml, or the overrides of one learned."""


def main(quick: bool) -> None:
    result = {targets: dict(rows_of(targets, quick)) for targets in SETS}
    lines = [line for targets, rows in result.items() for line in table(targets, rows)]
    print(json.dumps(result) if quick else "\n".join(lines))
    if not quick:
        write_up(FOLDER, result, lines)


def rows_of(targets: str, quick: bool) -> Iterator[tuple[str, list[dict[str, float]]]]:
    """Arm → its measures, one per seed. Policies are all made before the split they are measured on is read."""
    arms = {name: [problem_and_arm(*how)] for name, how in SETS[targets]["baselines"].items()}
    for name, overrides in SETS[targets]["learned"].items():
        arms[name] = [learned(name, targets, overrides, seed, quick) for seed in SEEDS[: 1 if quick else None]]
    rows = held_out(arms["random tokens"][0][0], "dev" if quick else "test")
    for name, policies in arms.items():
        yield name, [measures(problem, policy, rows) for problem, policy in policies]
    problem, policy = arms["random tokens"][0]
    oracle = table_policy(policy, torch.zeros(len(policy.field.special)))
    yield "knows the targets", [measures(problem, oracle, rows, known=COLUMN)]


def problem_and_arm(arm: str, *overrides: str) -> tuple[Problem, MaskingPolicy]:
    """A policy that learns nothing."""
    problem = problem_of(load_config("configs/answer_spans.toml", list(overrides)))
    policy = arm_policy(problem, arm)
    assert policy is not None
    return problem, policy


def learned(
    name: str, targets: str, overrides: tuple[str, ...], seed: int, quick: bool
) -> tuple[Problem, MaskingPolicy]:
    """A policy learned on train, its epoch chosen by dev."""
    short = ("supervised.epochs=1",) if quick else ()
    config = load_config("configs/answer_spans.toml", [*overrides, *short, f"learn.seed={seed}"])
    out = RUNS / f"{'quick-' if quick else ''}{targets}-{name.removeprefix('learned, ').replace(', ', '-')}-{seed}"
    train(config, str(out).replace(" ", "-"), Console(), command="experiments/answer_spans/run.py")
    return problem_of(config), load_policy(Path(str(out).replace(" ", "-")) / "policy").policy


def held_out(problem: Problem, split: str) -> TokenRows:
    return token_targets(problem, [split])[split]


def measures(problem: Problem, policy: MaskingPolicy, rows: TokenRows, known: str | None = None) -> dict[str, Any]:
    """Coverage, and how well the policy's logits tell targets from other tokens."""
    pad_id = problem.tokenizer.pad_token_id
    found = asdict(coverage(policy, rows, pad_id, DRAWS, known))
    return found if known else found | {"auc": auc(policy, rows, pad_id)}


def auc(policy: MaskingPolicy, rows: TokenRows, pad_id: int) -> float:
    """Area under the ROC curve of p against targets, over all eligible tokens; p is comparable between texts of one
    rate."""
    p, wanted = [], []
    for picked in rows.by_length(BATCH):
        ids, real, numbers = batch_of(policy, rows, picked, pad_id)
        eligible = policy.eligible(ids, real)
        with torch.no_grad():
            p.append(policy.probabilities(ids, real)[eligible])
        wanted.append(numbers[eligible] > 0)
    return float(roc_auc_score(np.concatenate(wanted), np.concatenate(p)))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one seed, one pass, on dev; writes nothing")
    torch.set_num_threads(1)
    main(parser.parse_args().quick)
