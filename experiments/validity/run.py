"""Do predictions of the policy gradient come true? Writes trials/TASK.jsonl as it goes, then result.json and the table.

.venv/bin/python experiments/validity/run.py planted     # every outcome and every estimator of a task that is missing
.venv/bin/python experiments/validity/run.py planted --others    # what outcomes tell of one another, from what is there
.venv/bin/python experiments/validity/run.py planted --along     # what credits foretell, state by state
.venv/bin/python experiments/validity/run.py --table     # the table, from what is there
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console

from policylearn.arms.arms import arm_policy, initial_policy
from policylearn.config import Config, load_config
from policylearn.credit.along import states, steps
from policylearn.credit.domain import DomainCredits, batches_of_point, standardised
from policylearn.evaluation.validity import (
    predict,
    predicted,
    random_changes,
    rank_correlation,
    train_changed,
    validity,
)
from policylearn.inner.seeds import VALIDITY_SEED
from policylearn.inner.trajectory import Trajectory
from policylearn.learning.changes import SIGNS, Change, apply_change, halved_differences
from policylearn.learning.outcomes import expected_worth, occurrences
from policylearn.learning.rollout import Surrogate, train_once
from policylearn.learning.windows import credits_over_window
from policylearn.masking import MaskedBatch
from policylearn.metagrad.estimators import advantages, credit_surrogate
from policylearn.metagrad.estimators.credit import expected_size
from policylearn.policy.policy import MaskingPolicy
from policylearn.problems.of_config import problem_of
from policylearn.problems.problem import Problem
from policylearn.registry.known import ESTIMATORS as KNOWN_ESTIMATORS
from policylearn.report.progress import TaskProgress
from policylearn.report.write_up import append_line, asked_for, read_lines, write_up

FOLDER, CONFIGS = Path(__file__).parent, Path("configs")
NAMES = {"loss": "outer loss", "score": "dev score"}
UNIFORM = ["policy.prior={}", 'cluster.backend="local"']

DIRECTIONS = {
    "planted": [],
    "planted-prior": ["difference", "oracle"],
    "trec6-scratch": ["difference", "saliency", "selective"],
    "trec6": ["difference", "saliency", "selective"],
    "fashion": [],
}
"""Arms towards which φ is changed as well; what is predicted of these is told by its sign, not counted in."""

PICTURES = "runs/patches/fashion"
PLANTED = ["validity.changes=32"]

TASKS: dict[str, tuple[str, list[str]]] = {
    "planted": ("demo.toml", [*PLANTED, "validity.seeds=12", "validity.rollouts=8"]),
    "planted-prior": (
        "demo.toml",
        ["policy.prior={difference = 4.0}", *PLANTED, "validity.seeds=6", "validity.rollouts=16"],
    ),
    "trec6-scratch": (
        "trec6.toml",
        [
            "model.name=",
            "model.tokenizer=../shared/models/minilm-l6-mlm",
            "model.bf16=false",
            "inner.steps=450",
            "inner.learning_rate=1e-3",
            "inner.engine=replay",
            'policy.network="table"',
            "scores.difference.embedding_model=../shared/models/minilm-l6-mlm",
            "validity.changes=24",
            "validity.seeds=4",
            "validity.rollouts=4",
        ],
    ),
    "trec6": (
        "trec6.toml",
        [
            "inner.steps=80",
            'policy.network="table"',
            "validity.changes=16",
            "validity.seeds=2",
            "validity.rollouts=3",
            "validity.draws=3",
        ],
    ),
    "fashion": (
        "pictures.toml",
        [
            *[f"{part}.path={PICTURES}/{part}.npz" for part in ("domain", "general")],
            f"task.path={PICTURES}",
            'policy.network="table"',
            "learn.stages=[rounds]",
            "outer.folds=4",
            "validity.changes=20",
            "validity.seeds=2",
            "validity.rollouts=2",
        ],
    ),
}
"""Config and overrides, under which fresh models are trained. Masks start uniform, those of `planted-prior` from
Difference-Masking; there is a logit for each token type. The pictures are those of experiments/patches, run before."""

EXPECTED = {
    "expected credit, next step": [],
    "expected credit, the end": ['credit.horizon="end"'],
}
"""What stage "expected" measures: a training is one rollout, with far more tokens than any of the others."""

ALONG = ["credit.points=30", "credit.batches=8", "credit.trainings=6"]
"""Of credits for the next step, asked state by state: what a training foretells early and late."""
BINS = 10

OTHERS = "outcomes of the other changes"
"""What stage "outcomes" goes by; predicted by no rollout."""

CONTROL = "loss × probability, K = 30"
"""At uniform masks that is `credit`, and left out."""

ESTIMATORS: dict[str, list[str]] = {
    "credit, K = 1": ["inner.window=1", "inner.every=5"],
    "credit, K = 8": ["inner.window=8", "inner.every=10"],
    "credit, K = 30": ["inner.window=30", "inner.every=30"],
    "credit, whole run": ["inner.window={whole}", "inner.every={steps}"],
    "credit, first window": ["inner.window=30", "inner.every={steps}"],
    "credit, second half": ["inner.window=30", "inner.every=30", "inner.start=0.5"],
    "credit, 4 folds": ["inner.window=30", "inner.every=30", "outer.folds=4"],
    "credit, all parameters": ["inner.window=30", "inner.every=30", 'outer.parameters="all"'],
    "credit, outer loss by fine-tuning": ["inner.window=30", "inner.every=30", 'outer.adaptation="finetune"'],
    "credit, whole run, all parameters": ["inner.window={whole}", "inner.every={steps}", 'outer.parameters="all"'],
    "credit, K = 30, not scaled": ["inner.window=30", "inner.every=30", "learn.estimator=not_scaled"],
    "relaxed, K = 30": ["inner.window=30", "inner.every=30", "learn.estimator=relaxed"],
    "relaxed, whole run": ["inner.window={whole}", "inner.every={steps}", "learn.estimator=relaxed"],
    "score function, 4 trainings": [
        "learn.estimator=score_function",
        "learn.samples=4",
        'masking.design="independent"',  # systematic draws have no slope where all probabilities are the same
    ],
    CONTROL: ["inner.window=30", "inner.every=30", "learn.estimator=loss_times_probability"],
    **EXPECTED,
}
"""What predicts: overrides of a task's config that change the gradient and not the training."""

WINDOWS = ["credit, K = 1", "credit, K = 30", "credit, whole run", "relaxed, K = 30", "relaxed, whole run"]
ASKED = {
    "fashion": ["credit, K = 1", "credit, K = 8", "credit, K = 30", "credit, whole run"],
    "trec6": ["credit, K = 1", "credit, K = 30", "credit, whole run"],  # a rollout takes minutes
    "planted-prior": [*WINDOWS, "credit, K = 30, not scaled", "score function, 4 trainings", CONTROL, *EXPECTED],
}
"""Of tasks for which not all are asked."""


def estimators_of(task: str) -> list[str]:
    return ASKED.get(task, [name for name in ESTIMATORS if name != CONTROL])


def by_window(surrogate_of: Callable[..., torch.Tensor]) -> Callable[..., list[Trajectory]]:
    """An estimator from (mask, ∂(outer loss)/∂w of its tokens, the same as advantages, p) → surrogate."""

    def estimate(trajectory: Trajectory) -> tuple[Sequence[MaskedBatch], list[Surrogate]]:
        batches, gradients = credits_over_window(trajectory, trajectory.objective)
        parts = zip(batches, gradients, advantages(gradients), strict=True)
        return batches, [partial(surrogate_of, batch.mask, g, a) for batch, g, a in parts]

    return partial(train_once, estimate=estimate)


@KNOWN_ESTIMATORS.register("not_scaled")
@by_window
def not_scaled(mask: torch.Tensor, gradient: torch.Tensor, advantage: torch.Tensor, p: torch.Tensor) -> torch.Tensor:
    """`credit` without its division by the spread of a window."""
    return credit_surrogate(p, mask, gradient)


@KNOWN_ESTIMATORS.register("loss_times_probability")
@by_window
def loss_times_probability(
    mask: torch.Tensor, gradient: torch.Tensor, advantage: torch.Tensor, p: torch.Tensor
) -> torch.Tensor:
    """The masked tokens' losses times their probabilities, as MLO-MAE (Guo et al., 2024) has it: not divided by the
    probability of being drawn, so that what is drawn often counts twice. A control; at uniform masks it is `credit`."""
    return (advantage * p[mask]).sum() / expected_size(p)


def config_of(task: str, estimator: str | None = None, more: Sequence[str] = ()) -> Config:
    name, overrides = TASKS[task]
    base = load_config(CONFIGS / name, [*UNIFORM, *overrides, "inner.start=0", *more])
    if estimator is None:
        return base
    whole = base.inner.steps
    own = [text.format(whole=whole - 1, steps=whole) for text in ESTIMATORS[estimator]]
    own += [f"credit.trainings={base.validity.rollouts}"] if estimator in EXPECTED else []
    return load_config(CONFIGS / name, [*UNIFORM, *overrides, "inner.start=0", "inner.engine=replay", *own])


def kept(task: str) -> dict[str, dict[str, Any]]:
    return {line["key"]: line for line in read_lines(FOLDER / "trials" / f"{task}.jsonl")}


def keep(task: str, line: dict[str, Any]) -> None:
    append_line(FOLDER / "trials" / f"{task}.jsonl", line)


def changes_of(task: str, problem: Problem, policy: MaskingPolicy) -> dict[str, Change]:
    """Random ones by number, and those of `DIRECTIONS` by the name of the arm that they go towards."""
    config = problem.config.validity
    types = torch.from_numpy(problem.types_met())
    changes = {str(number): change for number, change in enumerate(random_changes(policy, types, config))}
    return changes | {arm: _towards(problem, arm, types) for arm in DIRECTIONS[task]}


def _towards(problem: Problem, arm: str, types: torch.Tensor) -> Change:
    """Half of what an arm adds to the logits of uniform masks, less its mean over types."""
    towards = arm_policy(problem, arm)
    assert towards is not None
    with torch.no_grad():
        logits = towards(types[:, None], torch.ones_like(types[:, None], dtype=torch.bool))[:, 0]
    change = torch.zeros(len(problem.tokenizer))
    change[types] = (logits - logits.mean()) / 2
    return {"network.logits": change}


def run(task: str, console: Console) -> None:
    torch.set_num_threads(1)
    config, known = config_of(task), kept(task)
    problem = problem_of(config)
    policy = initial_policy(problem)
    changes = changes_of(task, problem, policy)
    phi = {name: value.clone() for name, value in policy.learned().items()}
    own = {
        name: problem_of(config_of(task, name), data=problem.data()) for name in estimators_of(task) if name in EXPECTED
    }
    credited = {name: DomainCredits(problem, policy) for name, problem in own.items()}
    seeds = range(max(config.validity.seeds, config.validity.rollouts))
    wanted = [key for keys in (_cheap, _dear) for seed in seeds for key in keys(task, changes, seed)]
    with TaskProgress(f"{task}: trainings", len(wanted), console, sum(key in known for key, *_ in wanted)) as progress:
        for key, name, sign, seed in wanted:
            if key in known:
                continue
            if name in EXPECTED:
                policy.load_learned(phi)
                found = _predicted(changes, partial(expected_gradient, credited[name], own[name].config, policy, seed))
            elif sign is None:
                found = _prediction(task, name, seed, problem, policy, phi, changes)
            else:
                found = vars(
                    train_changed(problem, policy, apply_change(phi, changes[name], sign), VALIDITY_SEED + seed)
                )
            keep(task, {"key": key, **found})
            progress.advance()


def complete_seeds(task: str, known: Mapping[str, Any]) -> list[int]:
    """Seeds of the models of which all random changes have both outcomes."""
    config = config_of(task).validity
    numbers = range(config.changes)
    wanted = {s: [f"{n} {sign:+.0f} {s}" for n in numbers for sign in SIGNS] for s in range(config.seeds)}
    return [seed for seed, keys in wanted.items() if all(key in known for key in keys)]


def came(known: Mapping[str, Any], names: Sequence[str], what: str, seeds: Sequence[int]) -> np.ndarray:
    """What became of changes, [M, S]."""
    above, below = ([[known[f"{n} {sign:+.0f} {s}"][what] for s in seeds] for n in names] for sign in SIGNS)
    return halved_differences(above, below)


def keep_others(task: str) -> None:
    """What stage "outcomes" would predict: of every change and model, from the outcomes of all other changes on all
    other models; and beside it what came of the same change on all other models."""
    known = kept(task)
    if len(seeds := complete_seeds(task, known)) < 2 or (key := f"outcomes {len(seeds)}") in known:
        return
    problem, numbers = problem_of(config_of(task)), [str(n) for n in range(config_of(task).validity.changes)]
    policy = initial_policy(problem)
    random = random_changes(policy, torch.from_numpy(problem.types_met()), problem.config.validity)
    moved = np.stack([change["network.logits"].numpy() for change in random]) * occurrences(problem, policy)
    found: dict[str, Any] = {"key": key}
    for what in NAMES:
        outcomes = came(known, numbers, what, seeds)
        elsewhere = [np.delete(outcomes, i, axis=1).mean(1) for i in range(len(seeds))]
        found[what] = {
            "predicted": _from_others(moved, outcomes.mean(1)).tolist(),
            "by others": [rank_correlation(_from_others(moved, x), outcomes[:, i]) for i, x in enumerate(elsewhere)],
            "by itself": [rank_correlation(x, outcomes[:, i]) for i, x in enumerate(elsewhere)],
        }
    keep(task, found)


def _from_others(moved: np.ndarray, outcomes: np.ndarray) -> np.ndarray:
    """Of every change, what all others predict, [M]."""
    others = [np.arange(len(moved)) != i for i in range(len(moved))]
    fits = [expected_worth(moved[k], outcomes[k]) for k in others]
    return np.array([fit.spread * (x @ fit.worth) for x, fit in zip(moved, fits, strict=True)])


def _cheap(task: str, changes: Iterable[str], seed: int) -> Iterator[tuple[str, str, float | None, int]]:
    """Of one seed the estimators that take no more than some trainings, which have no sign, and outcomes."""
    config = config_of(task).validity
    yield from ((f"{name} {seed}", name, None, seed) for name in EXPECTED if _is_asked(task, name, seed))
    if seed < config.seeds:
        yield from ((f"{name} {sign:+.0f} {seed}", name, sign, seed) for name in changes for sign in SIGNS)


def _dear(task: str, changes: Iterable[str], seed: int) -> Iterator[tuple[str, str, float | None, int]]:
    """Of one seed the other estimators."""
    names = (name for name in estimators_of(task) if name not in EXPECTED and _is_asked(task, name, seed))
    yield from ((f"{name} {seed}", name, None, seed) for name in names)


def _is_asked(task: str, name: str, seed: int) -> bool:
    return name in estimators_of(task) and seed < config_of(task).validity.rollouts


def _prediction(
    task: str,
    name: str,
    seed: int,
    problem: Problem,
    policy: MaskingPolicy,
    phi: dict[str, torch.Tensor],
    changes: dict[str, Change],
) -> dict[str, Any]:
    own = problem_of(config_of(task, name), data=problem.data())
    return _predicted(changes, lambda: predict(own, policy, phi, VALIDITY_SEED + 1_000 + seed).gradient)


def _predicted(changes: dict[str, Change], gradient_of: Callable[[], dict[str, torch.Tensor]]) -> dict[str, Any]:
    try:
        gradient = gradient_of()
    except FloatingPointError as error:  # a result, too: this estimator has no gradient here
        return {"diverged": str(error)}
    return {"predicted": {number: predicted(gradient, change) for number, change in changes.items()}}


def expected_gradient(
    along: DomainCredits, config: Config, policy: MaskingPolicy, training: int
) -> dict[str, torch.Tensor]:
    """The policy gradient that stage "expected" takes its step along, from the states of one training: credits, scaled
    state by state, of tokens that the policy itself has drawn. Each training has texts of its own to credit, and those
    of earlier ones are behind it."""
    points = config.credit.points
    return gradient_at(along, config, policy, range(training * points, (training + 1) * points))


def gradient_at(
    along: DomainCredits, config: Config, policy: MaskingPolicy, numbers: Iterable[int]
) -> dict[str, torch.Tensor]:
    """The same from the states of these numbers."""
    policy.zero_grad(set_to_none=True)
    for number in numbers:
        for ids, real, credits in standardised(along.credit(number, 0, batches_of_point(config))):
            mask = ~credits.isnan()
            p = policy.probabilities(ids, real)
            (-credit_surrogate(p, mask, credits[mask].to(p))).backward()  # credit is how much the loss falls
    return {name: p.grad.clone() for name, p in policy.named_parameters() if p.grad is not None}


def keep_along(task: str, console: Console) -> None:
    """What every state of every training predicts by itself."""
    known, config = kept(task), config_of(task, more=ALONG)
    problem, points = problem_of(config), config.credit.points
    policy = initial_policy(problem)
    changes, along = changes_of(task, problem, policy), DomainCredits(problem, policy)
    with TaskProgress(
        f"{task}: states", states(config), console, sum(key.startswith("along ") for key in known)
    ) as bar:
        for number in range(states(config)):
            if f"along {number}" not in known:
                found = _predicted(changes, partial(gradient_at, along, config, policy, [number]))
                where = {"training": number // points, "step": steps(config)[number % points]}
                keep(task, {"key": f"along {number}", **where, **found})
                bar.advance()


def analysed_along(task: str, numbers: Sequence[str], outcomes: np.ndarray) -> list[dict[str, Any]]:
    """Of every tenth of the training: what came correlated with what its states predict, all trainings together and
    each by itself, and predictions of two trainings with each other."""
    lines = [line for key, line in kept(task).items() if key.startswith("along ")]
    at = sorted({line["step"] for line in lines})
    trainings = sorted({line["training"] for line in lines if line["step"] == at[-1]})  # the last state: it is complete
    found = []
    for part in np.array_split(np.array(at), BINS) if trainings else ():
        of = {t: [x["predicted"] for x in lines if x["training"] == t and x["step"] in part] for t in trainings}
        x = np.array([[np.mean([one[number] for one in given]) for given in of.values()] for number in numbers])
        pairs = [rank_correlation(x[:, i], x[:, j]) for i, j in combinations(range(len(trainings)), 2)]
        alone = [rank_correlation(column, outcomes) for column in x.T]
        steps_of_it = [int(part[0]), int(part[-1])]
        together = rank_correlation(x.mean(1), outcomes)
        found.append({"steps": steps_of_it, "together": together, "alone": alone, "between": float(np.mean(pairs))})
    return found


def analysed(task: str) -> dict[str, Any]:
    config, known = config_of(task), kept(task)
    numbers, arms = [str(number) for number in range(config.validity.changes)], DIRECTIONS[task]
    seeds = complete_seeds(task, known)
    arms = [arm for arm in arms if all(f"{arm} {sign:+.0f} {s}" in known for sign in SIGNS for s in seeds)]
    planned = {"seeds": config.validity.seeds, "rollouts": config.validity.rollouts}
    found: dict[str, Any] = {"seeds": len(seeds), "changes": len(numbers), "planned": planned}
    further = {*range(config.validity.seeds)} - {*seeds}
    found |= {"unused": sum(f"{n} {sign:+.0f} {s}" in known for n in numbers for sign in SIGNS for s in further)}
    found |= {"estimators": {}, "arms": {}}
    for name in estimators_of(task) if seeds else ():
        rollouts = [known.get(f"{name} {seed}", {}) for seed in range(config.validity.rollouts)]
        if given := [line["predicted"] for line in rollouts if "predicted" in line]:
            x = np.array([[values[number] for values in given] for number in numbers])
            found["estimators"][name] = {
                "rollouts": len(given),
                "diverged": sum("diverged" in line for line in rollouts),
                "loss": validity(x, came(known, numbers, "loss", seeds)),
                "score": validity(x, -came(known, numbers, "score", seeds)),
                "arms": {arm: _in_sd([values[arm] for values in given], x.mean(1)) for arm in arms},
            }
    if others := known.get(f"outcomes {len(seeds)}"):
        found["others"] = others
        for what, sign in (("loss", 1), ("score", -1)):
            x = sign * np.array(others[what]["predicted"])[:, None]
            others[what] |= validity(x, sign * came(known, numbers, what, seeds))
    if seeds:
        found["along"] = analysed_along(task, numbers, came(known, numbers, "loss", seeds).mean(1))
    for arm in arms:
        loss, score = (came(known, [arm], what, seeds)[0] for what in ("loss", "score"))
        beside = came(known, numbers, "loss", seeds).mean(1)
        found["arms"][arm] = {"loss": _in_sd(loss, beside), "points": 100 * score.mean()}
    return found


def _in_sd(values: Sequence[float], others: np.ndarray) -> float:
    """Mean of values, in standard deviations of what random changes do."""
    return float(np.mean(values) / np.std(others))


def table(results: dict[str, Any]) -> list[str]:
    lines = []
    for task, found in results.items():
        if not (rows := found["estimators"]):
            continue
        arms = list(found["arms"])
        lines += [f"**{task}**: {found['changes']} changes, {_models(found)}", ""]
        head = [
            "what predicts",
            "rollouts",
            "outer loss",
            "of one alone",
            "without noise",
            "dev score",
            "own reliability",
        ]
        lines += ["| " + " | ".join([*head, *(f"towards {arm}" for arm in arms)]) + " |"]
        lines += ["|---" * (len(head) + len(arms)) + "|"]
        for name, row in rows.items():
            loss = row["loss"]
            rollouts = _of(row["rollouts"], found["planned"]["rollouts"])
            cells = [name, rollouts, _value(loss), _from_to(loss["alone"]), _or_dash(loss["without_noise"])]
            cells += [
                _value(row["score"]),
                _or_dash(loss["of_predictions"]),
                *(f"{row['arms'][arm]:+.1f}" for arm in arms),
            ]
            lines.append("| " + " | ".join(cells) + " |")
        if others := found.get("others"):
            cells = [OTHERS, "–", _value(others["loss"]), "–", "–", _value(others["score"]), "–", *("–" for _ in arms)]
            lines.append("| " + " | ".join(cells) + " |")
        if arms:
            cells = [f"{found['arms'][arm]['loss']:+.1f}" for arm in arms]
            lines.append("| **what came** |" + " |" * (len(head) - 1) + " " + " | ".join(cells) + " |")
        one = next(iter(rows.values()))
        reliable = [f"{_or_dash(one[of]['of_outcomes'])} ({what})" for of, what in NAMES.items()]
        lines += ["", f"Reliability of the outcomes: {', '.join(reliable)}."]
        for arm, towards in found["arms"].items():
            lines[-1] += f" Towards {arm}: {towards['points']:+.1f} points of dev score."
        if others:
            told = "; ".join(_by_others(others, what) for what in NAMES)
            lines += ["", f"What comes of a change on one model is foretold: {told}."]
        lines.append("")
        if along := found.get("along"):
            trainings = len(along[0]["alone"])
            lines += [f"**{task}**, credits for the next step along {trainings} trainings, outer loss", ""]
            lines += [
                "| after steps | together | of one training alone | one training with another |",
                "|---|---|---|---|",
            ]
            for x in along:
                cells = ["{} to {}".format(*x["steps"]), f"{x['together']:.2f}", _from_to(x["alone"])]
                lines.append(f"| {' | '.join(cells)} | {x['between']:.2f} |")
            lines.append("")
    return lines


def _by_others(found: dict[str, Any], what: str) -> str:
    """What stage "outcomes" would have foretold of one model, and the most that anything could."""
    others, itself = (np.mean(found[what][name]) for name in ("by others", "by itself"))
    return f"{NAMES[what]} {others:.2f} by other changes on the other models, {itself:.2f} by the same change on these"


def _models(found: dict[str, Any]) -> str:
    """How many models of each sign are used, and what of a further one is not."""
    used = f"{_of(found['seeds'], found['planned']['seeds'])} models of each sign"
    all_of_one = len(SIGNS) * found["changes"]
    return f"{used} ({found['unused']} of {all_of_one} outcomes of a further one unused)" if found["unused"] else used


def _of(done: int, planned: int) -> str:
    """Of what was planned, where that is more."""
    return f"{done} of {planned} planned" if done < planned else str(done)


def _value(found: dict[str, Any]) -> str:
    if found["spearman"] is None:
        return "–"
    return f"{found['spearman']:.2f} [{found['interval'][0]:.2f}, {found['interval'][1]:.2f}]"


def _from_to(values: Sequence[float]) -> str:
    return f"{min(values):.2f} to {max(values):.2f}"


def _or_dash(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def main() -> None:
    given = asked_for(__doc__, TASKS, flags=("table", "others", "along"))
    for task in given.names:
        if given.along:
            torch.set_num_threads(1)
            keep_along(task, Console())
        elif not given.others:
            run(task, Console())
        keep_others(task)
    results = {task: analysed(task) for task in TASKS if kept(task)}
    write_up(FOLDER, results, table(results))


if __name__ == "__main__":
    main()
