"""What a comparison is about to do, and how long it will take: said before it starts."""

import time

from policylearn.adaptation import extract
from policylearn.batches import masked_batches
from policylearn.config import EvaluateConfig, parts_of
from policylearn.evaluation.trial import Trial
from policylearn.inner.mlm import learning_rate, make_optimizer, plain_step
from policylearn.policy import MaskingPolicy
from policylearn.problem import Problem
from policylearn.report.formats import duration, plural

STEPS, TEXTS = 2, 32
BACKWARD = 3.0
"""A training step costs about so many times what looking at the same texts does."""


def plan_line(config: EvaluateConfig, wanted: int, missing: int, seconds: float, workers: int) -> str:
    """Trials, how many of them are known already, and the time the others will take.

    >>> plan_line(EvaluateConfig(arms=["random", "learned"], seeds=10), 20, 12, 30.0, 2)
    '2 arms × 10 seeds = 20 trials, 8 of them known; 12 to run, about 3 min 0 s on 2 workers'
    """
    arms, seeds, left = plural(len(config.arms), "arm"), plural(config.seeds, "seed"), missing * seconds / workers
    known = f", {wanted - missing} of them known" if wanted > missing else ""
    to_run = f"; {missing} to run, about {duration(left)} on {plural(workers, 'worker')}" if missing else ""
    return f"{arms} × {seeds} = {plural(wanted, 'trial')}{known}{to_run}"


def seconds_per_trial(problem: Problem, policy: MaskingPolicy, known: list[Trial]) -> float:
    """What earlier trials took on the mean; without any, a rehearsal of a few steps, multiplied."""
    trained = [trial.seconds for trial in known if trial.masked_tokens]
    return sum(trained) / len(trained) if trained else _rehearsed(problem, policy)


def _rehearsed(problem: Problem, policy: MaskingPolicy) -> float:
    config, model = problem.config, problem.fresh_model(0)
    batches, optimizer = masked_batches(problem, policy, 0), make_optimizer(model, config.inner)
    started = time.monotonic()
    for step in range(STEPS):
        rate = learning_rate(config.inner, step, STEPS)
        plain_step(model, optimizer, next(batches), rate, clip=config.inner.clip, rows=config.inner.micro_batch)
    per_step = (time.monotonic() - started) / STEPS
    started, dev = time.monotonic(), problem.labelled("dev")
    looked_at = dev.rows.spread(TEXTS)
    extract(model, dev, looked_at, problem.tokenizer.pad_token_id).detach()
    per_text = (time.monotonic() - started) / len(looked_at)
    return (config.evaluate.steps or config.inner.steps) * per_step + _texts_seen(problem) * per_text


def _texts_seen(problem: Problem) -> float:
    """Texts the downstream task looks at in one trial, those trained on counted as often as they cost."""
    data, config, probed, tuned = problem.data().examples, problem.config.evaluate, 0.0, 0.0
    train, others = len(data["train"]), sum(len(split) for name, split in data.items() if name != "train")
    for how, asked in map(parts_of, config.downstream):
        some = asked or config.labelled
        labelled, draws = (train, 1) if some is None else (min(train, some), config.subsets)
        if how == "probe":  # looks at a text once, however many subsets it is in
            probed = max(probed, min(train, labelled * draws) + others)
        else:
            epochs = (config.finetune if how == "finetune" else config.weight_mask).epochs
            tuned += draws * (epochs * (BACKWARD * labelled + len(data["dev"])) + others)
    return probed + tuned
