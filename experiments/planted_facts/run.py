"""What masking policies for question answering are worth on `planted-facts`; writes result.json and README.md's tables.

.venv/bin/python experiments/planted_facts/run.py          # what is missing; may be interrupted, see runs/planted_facts
.venv/bin/python experiments/planted_facts/run.py --table  # from the comparisons there are
"""

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console

from policylearn.adapt.chosen import FrozenFeatures
from policylearn.adapt.finetune import fit
from policylearn.arms.arms import arm_policy
from policylearn.artefact import load_policy
from policylearn.commands.train import train
from policylearn.config import ATTRIBUTES, Config, load_config
from policylearn.evaluation.compare import evaluate_policies
from policylearn.evaluation.pretraining import pretrain
from policylearn.evaluation.statistics import paired_difference, share_of_lead
from policylearn.problems.of_config import problem_of
from policylearn.problems.problem import Problem
from policylearn.report.write_up import write_up

FOLDER, RUNS, CONFIG = Path(__file__).parent, Path("runs/planted_facts"), "configs/planted_facts.toml"
FINAL = ["planted_facts.seed=1", "learn.seed=1", "cluster.backend=local"]
"""Other facts and rollouts than those that settings were chosen on, which have the seeds 0."""
ASKED = {
    "the same": ["birthplace", "profession", "employer", "prize"],
    "all others": ["spouse", "instrument", "language", "death"],
}
"""What the questions of a comparison ask for. Policies are learned from the first."""
SEEDS = {"the same": 10, "all others": 5}
ARMS = {"random": "random", "entity": "entities", "oracle-context": "oracle"}
"""Names of scorers, and what they are called here."""
SUPERVISED, META, MORE = "supervised", "meta-learned", "meta-learned, 72 rollouts"
FOLDERS = {SUPERVISED: RUNS / "supervised", META: RUNS / "meta-learned", MORE: RUNS / "more_rollouts"}
LEARNED = {arm: folder / "policy" for arm, folder in FOLDERS.items()}
STRANGERS = [
    f"planted_facts.asked={json.dumps(ATTRIBUTES)}",
    *["planted_facts.first=200", "planted_facts.train=160", "planted_facts.dev=20", "planted_facts.test=20"],
    *["masking.rate=0.15", "inner.steps=800", "evaluate.finetune.epochs=8"],
]
"""Other people, and questions about everything that is said of them."""
ROUNDS = [
    *['learn.stages=["rounds"]', "learn.rounds=8", "learn.rollouts=3", "learn.learning_rate=1.0", "learn.eps=5e-4"],
    *["learn.select=last", "inner.steps=160", "inner.learning_rate=2e-3", "inner.engine=one_step", "inner.window=1"],
    *["inner.start=0.125", "inner.every=40", "inner.credit_batches=32", "outer.support=64", "outer.query=416"],
    *["outer.steps=4", "outer.learning_rate=0.1"],
]
MORE_ROUNDS = [*ROUNDS, "learn.rollouts=9"]


def config_of(*settings: str) -> Config:
    return load_config(CONFIG, [*FINAL, *settings])


def able() -> Path:
    """Folder of a model that has read about strangers and answers questions about them: rollouts start from it, since
    one that cannot answer anything says nothing of what a fact is worth. It knows nobody whom the domain is about."""
    folder = RUNS / "able"
    if not folder.exists():
        problem = problem_of(config_of(*STRANGERS))
        model = problem.fresh_model(0)
        pretrain(problem, model, arm_policy(problem, "entity"), 0, problem.config.inner.steps)
        chosen = fit(FrozenFeatures(problem, model), np.arange(len(problem.labelled("train"))), 0)
        print(f"the model answers {chosen.dev:.0%} of the questions about strangers of dev")
        chosen.tuned.mlm.save_pretrained(folder)
        problem.tokenizer.save_pretrained(folder)
    return folder


def learn() -> None:
    """All policies; found again if that is done."""
    able_to_answer = f"model.name={able()}"
    settings = {SUPERVISED: [], META: [able_to_answer, *ROUNDS], MORE: [able_to_answer, *MORE_ROUNDS]}
    for arm, folder in FOLDERS.items():
        train(config_of(*settings[arm], "evaluate.seeds=0"), folder, Console())


def comparison(asked: str) -> Config:
    """Of all arms, on questions that ask for these attributes."""
    arms = f"evaluate.arms={json.dumps([*ARMS])}"
    return config_of(f"planted_facts.asked={json.dumps(ASKED[asked])}", arms, f"evaluate.seeds={SEEDS[asked]}")


def place(asked: str) -> Path:
    """Folder of the comparison."""
    return RUNS / asked.replace(" ", "_")


def found(asked: str) -> dict[str, dict[str, Any]]:
    """By arm exact match on test, a number per seed, and what its masks are spent on."""
    scores = json.loads((place(asked) / "result.json").read_text())["arms"]
    shares = spent(problem_of(comparison(asked)))
    return {ARMS.get(arm, arm): {"scores": one["scores"], **shares[arm]} for arm, one in scores.items()}


def spent(problem: Problem) -> dict[str, dict[str, float]]:
    """By arm the shares of its masks that values have which are asked for, and others."""
    every = range(len(problem.domain))
    ids, real = problem.domain.batch(every, problem.tokenizer.pad_token_id)
    columns = problem.domain.values(every, ids.shape[1])
    useful, value = columns["oracle-context"] > 0, columns["entity"] > 0
    arms = {arm: arm_policy(problem, arm) for arm in ARMS} | {
        arm: load_policy(at).policy for arm, at in LEARNED.items()
    }
    with torch.no_grad():
        p = {arm: policy.probabilities(ids, real, columns=columns) for arm, policy in arms.items() if policy}
    parts = {"asked": useful, "never": value & ~useful}
    return {arm: {name: float(x[part].sum() / x.sum()) for name, part in parts.items()} for arm, x in p.items()}


def table(results: dict[str, dict[str, dict[str, Any]]]) -> Iterator[str]:
    """A table for each set of questions; of every arm the share of the oracle's lead over random masks."""
    for asked, arms in results.items():
        learned, seeds = "" if asked == "the same" else "; policies learned from others", len(arms["random"]["scores"])
        yield from (f"Questions ask for {', '.join(ASKED[asked])}{learned} ({seeds} seeds):", "")
        yield "| masks | on asked values | on others | exact match | − random | − entities | of the oracle's lead |"
        yield "|---" * 7 + "|"
        for arm, one in arms.items():
            mine, (random, entities, best) = one["scores"], (arms[name]["scores"] for name in ARMS.values())
            cells = [
                arm,
                f"{one['asked']:.0%}",
                f"{one['never']:.0%}",
                f"{np.mean(mine):.3f} ± {np.std(mine, ddof=1):.3f}",
            ]
            cells += ["" if mine is base else difference(mine, base) for base in (random, entities)]
            share = "" if mine is random or mine is best else shown_share(*share_of_lead(mine, best, random))
            yield f"| {' | '.join(cells)} | {share} |"
        yield ""


def difference(after: Sequence[float], before: Sequence[float]) -> str:
    """Of two arms on the same seeds, with its 95 % interval."""
    gap = paired_difference(after, before)
    return f"{gap.mean:+.3f} [{gap.low:.3f}, {gap.high:.3f}]"


def shown_share(share: float, low: float, high: float) -> str:
    return f"{share:.0%} [{low:.0%}, {high:.0%}]"


def main(arguments: Sequence[str]) -> None:
    torch.set_num_threads(1)
    if "--table" not in arguments:
        learn()
        for asked in ASKED:
            evaluate_policies(comparison(asked), place(asked), Console(), LEARNED)
    before = json.loads((FOLDER / "result.json").read_text("utf-8"))
    here = {asked: found(asked) for asked in ASKED if (place(asked) / "result.json").exists()}
    results = {asked: result for asked in ASKED if (result := here.get(asked, before.get(asked)))}
    write_up(FOLDER, results, list(table(results)))


if __name__ == "__main__":
    main(sys.argv[1:])
