"""Which tokens to hide from a masked-diffusion language model: a small one, from scratch on reviews of PubMed, for its
last steps, at equal forward passes, paired seeds. Writes trials.jsonl as it goes, then result.json and README's table.

.venv/bin/python experiments/diffusion/run.py          # what is missing; may be stopped
.venv/bin/python experiments/diffusion/run.py --table  # from what there is
"""

import gzip
import json
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from tokenizers import BertWordPieceTokenizer
from torch import Tensor
from transformers import BertTokenizerFast

from policylearn.adapt.downstream import FrozenFeatures, score
from policylearn.arms.policies import build_policy, build_uniform
from policylearn.config import Config, PolicyConfig
from policylearn.data.tokens import TokenRows, tokenize
from policylearn.evaluation.statistics import on_shared_seeds, paired_difference
from policylearn.inner.steps import learning_rate, make_optimizer
from policylearn.models.model import InnerModel
from policylearn.policy.diffusion import Diffused, diffuse
from policylearn.policy.policy import MaskingPolicy
from policylearn.problems.of_config import problem_of
from policylearn.problems.problem import Problem
from policylearn.report.console_watch import ConsoleWatch
from policylearn.report.write_up import append_line, asked_for, read_lines, write_up

FOLDER, KEPT = Path(__file__).parent, Path("runs/diffusion")
LINES = FOLDER / "trials.jsonl"
DATA = Path("../shared/data")
CORPUS, GENERAL = DATA / "corpora/corpus_pubmed_reviews.jsonl.gz", DATA / "corpora/corpus_wiki_featured.jsonl.gz"
TASK = DATA / "tasks/pubmed_sections"
SEEDS, FIRST_SEED, LABELS, HELD_OUT, DRAWS = 10, 1000, 200, 512, 4
START_STEPS, STEPS, ROWS, FLOOR = 4000, 300, 32, 0.1
PIECES, LENGTH = 1024, 64
STRENGTH = 1.0
"""Of every score, logits per standard deviation over the tokens of the domain."""
UNIFORM, NONE = "uniform", "none"
SCORERS = {"idf": "idf", "loss": "loss", "difference": "Difference-Masking", "credit": "learned (expected credit)"}
ARMS: dict[str, dict[str, Any]] = {
    NONE: {"steps": 0},
    UNIFORM: {},
    f"{UNIFORM}, complement": {"complement": True},
    **{f"{name}, 1 / p": {"scorer": scorer} for scorer, name in SCORERS.items()},
    **{f"{name}, 1 / t": {"scorer": scorer, "weighting": "rate"} for scorer, name in SCORERS.items()},
    "idf, 1 / p, complement": {"scorer": "idf", "complement": True},
}
"""Arm → what of `run_one` differs. Under the uniform policy the two weightings are one."""


def read(path: Path) -> list[dict[str, Any]]:
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def write(name: str, rows: list[dict[str, Any]]) -> None:
    (KEPT / name).write_text("\n".join(map(json.dumps, rows)) + "\n", encoding="utf-8")


def prepare() -> None:
    """Texts to read and to hold out, a task of so few labels that policy and probe share, and a tokenizer."""
    (KEPT / "task").mkdir(parents=True, exist_ok=True)
    texts = [{"text": row["text"]} for row in read(CORPUS)]
    write("held_out.jsonl", texts[:HELD_OUT])
    write("domain.jsonl", texts[HELD_OUT:])
    train = read(TASK / "train.jsonl.gz")
    picked = np.random.default_rng(0).permutation(len(train))[:LABELS]
    write("task/train.jsonl", [train[row] for row in picked])
    for split in ("dev", "test"):
        write(f"task/{split}.jsonl", read(TASK / f"{split}.jsonl.gz"))
    pieces = BertWordPieceTokenizer(lowercase=True)
    words = (row["text"] for row in texts[HELD_OUT:])
    pieces.train_from_iterator(words, vocab_size=PIECES, limit_alphabet=60, show_progress=False)
    BertTokenizerFast(tokenizer_object=pieces._tokenizer, do_lower_case=True).save_pretrained(KEPT / "tokenizer")


SHAPE = {"hidden_size": 128, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 256}
SCRATCH = {"model_type": "modernbert", **SHAPE, "pad_token_id": 0}
SCRATCH |= {f"{name}_token_id": None for name in ("bos", "eos", "cls", "sep")}
START: dict[str, Any] = {"name": str(KEPT / "start")}


def config(model: dict[str, Any], learning_rate: float) -> Config:
    """Texts of 64 tokens."""
    given = {
        "name": "diffusion",
        "model": {"max_length": LENGTH, "bf16": True, **model},
        "task": {"path": str(KEPT / "task")},
        "domain": {"path": str(KEPT / "domain.jsonl")},
        "general": {"path": str(GENERAL)},
        "policy": {"prior": {}, "network": "none"},
        "inner": {
            "objective": "masked_diffusion",
            "steps": STEPS,
            "batch_size": ROWS,
            "learning_rate": learning_rate,
            "warmup": 0.1,
            "schedule": "linear",
            "engine": "one_step",
            "window": 1,
            "every": 60,
        },
        "evaluate": {"arms": ["random"], "downstream": ["probe"]},
        "cluster": {"backend": "local"},
    }
    return Config.model_validate(given)


def batches(problem: Problem, seed: int, rows: int) -> Iterator[tuple[int, Tensor, Tensor]]:
    """Epoch, token ids and what is no padding, in an order of this seed."""
    rng, queue, epoch = np.random.default_rng([seed, 0]), list[int](), -1
    while True:
        while len(queue) < rows:
            queue += rng.permutation(len(problem.domain)).tolist()
            epoch += 1
        picked, queue = queue[:rows], queue[rows:]
        yield epoch, *problem.domain.batch(picked, problem.pad_id)


def loss_of(problem: Problem, model: InnerModel, ids: Tensor, real: Tensor, hidden: Diffused, weighting: Any) -> Tensor:
    """Σ w · CE / n of a batch."""
    mask_id: Any = problem.tokenizer.mask_token_id
    losses = model(hidden.show(ids, mask_id), real, labels=hidden.labels(ids))
    return (hidden.weights(weighting)[hidden.mask] * losses).sum() / (hidden.p > 0).sum()


def trained(
    problem: Problem,
    policy: MaskingPolicy,
    seed: int,
    steps: int = STEPS,
    weighting: str = "inclusion",
    complement: bool = False,
) -> InnerModel:
    """A fresh model after so many steps of as many rows; with complements, which are rows, of half as many texts."""
    model, settings = problem.fresh_model(seed), problem.config.inner
    optimizer, rows = make_optimizer(model, settings), ROWS // 2 if complement else ROWS
    for step, (epoch, ids, real) in enumerate(islice(batches(problem, seed, rows), steps)):
        hidden = diffuse(policy, ids, real, seed, epoch, floor=FLOOR)
        if complement:
            hidden, ids, real = hidden.with_complements(), ids.repeat_interleave(2, 0), real.repeat_interleave(2, 0)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(settings, step, steps)
        optimizer.zero_grad()
        loss_of(problem, model, ids, real, hidden, weighting).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    return model


def start() -> None:
    """The model that all arms start from, of 0.6 M parameters, trained under the uniform policy."""
    problem = problem_of(config({"tokenizer": str(KEPT / "tokenizer"), "architecture": SCRATCH}, 1e-3))
    model = trained(problem, build_uniform(problem), 0, START_STEPS)
    problem.tokenizer.save_pretrained(KEPT / "start")
    model.mlm.save_pretrained(KEPT / "start")


def held_out_rows(problem: Problem) -> TokenRows:
    return tokenize((line["text"] for line in read_lines(KEPT / "held_out.jsonl")), problem.tokenizer, LENGTH)


def bound(problem: Problem, model: InnerModel, rows: TokenRows) -> float:
    """Of -log P per token in nats, on texts that were not read: masks of the uniform policy, the same for all arms."""
    uniform, found = build_uniform(problem), list[float]()
    for draw in range(DRAWS):
        for first in range(0, len(rows), 64):
            ids, real = rows.batch(range(first, min(first + 64, len(rows))), problem.pad_id)
            with torch.no_grad():
                hidden = diffuse(uniform, ids, real, 0, draw)
                found.append(float(loss_of(problem, model, ids, real, hidden, "inclusion")))
    return float(np.mean(found))


def policies(problem: Problem) -> dict[str, MaskingPolicy]:
    """By scorer. "loss" and Difference-Masking ask the model that all arms start from, credits are measured along a
    training like that of an arm, which no arm pays for."""
    found = {UNIFORM: build_uniform(problem)}
    rows = problem.domain.take(problem.domain.spread(1000))
    ids, real = rows.batch(range(len(rows)), problem.pad_id)
    for scorer in SCORERS:
        policy = build_policy(problem, PolicyConfig(prior={scorer: 1.0}, network="none"))
        with torch.no_grad():
            deviation = float(policy(ids, real)[policy.eligible(ids, real)].std())
        strength = STRENGTH / deviation if deviation > 0 else 0.0  # credits that differ by chance alone are all 0
        found[scorer] = build_policy(problem, PolicyConfig(prior={scorer: strength}, network="none"))
        print(f"{scorer}: deviation {deviation:.3g} over tokens, followed {strength:.3g} times", flush=True)
    return found


def kept_policies(problem: Problem) -> dict[str, MaskingPolicy]:
    """All, made once."""
    if not (path := KEPT / "policies.pt").exists():
        torch.save(policies(problem), path)
    return torch.load(path, weights_only=False)


def run_missing(seeds: int) -> None:
    """Every trial that is not there; may be stopped."""
    torch.set_num_threads(1)
    if not (KEPT / "start").exists():
        prepare()
        start()
    watch, done = ConsoleWatch(Console()), {(x["arm"], x["seed"]) for x in read_lines(LINES)}
    problem = problem_of(config(START, 5e-4), watch)
    policy_of, rows = kept_policies(problem), held_out_rows(problem)
    for seed, arm in ((seed, arm) for seed in range(seeds) for arm in ARMS if (arm, seed) not in done):
        line = {"arm": arm, "seed": seed} | run_one(problem, policy_of, rows, FIRST_SEED + seed, **ARMS[arm])
        append_line(LINES, line)
        print(line, flush=True)


def run_one(
    problem: Problem,
    policy_of: dict[str, MaskingPolicy],
    rows: TokenRows,
    seed: int,
    scorer: str = UNIFORM,
    **settings: Any,
) -> dict[str, Any]:
    """The bound, and the task by a probe of the labels; test is read once."""
    started = time.time()
    model = trained(problem, policy_of[scorer], seed, **settings).eval()
    found = score(FrozenFeatures(problem, model), problem.config.evaluate.downstream, seed)["probe"]
    numbers = {"bound": bound(problem, model, rows), "test": found.test, "dev": found.dev}
    return numbers | {"seconds": round(time.time() - started, 1)}


def table(result: dict[str, Any]) -> Iterator[str]:
    bounds, test = result["bound"], result["test"]
    yield from (f"{result['seeds']} seeds; {LABELS} labels; {STEPS} updates of {ROWS} rows", "")
    yield "| what is hidden, weights | bound, nats a token | − uniform | test accuracy | − uniform | − none |"
    yield "|---|---|---|---|---|---|"
    for arm in ARMS:
        cells = [arm, f"{np.mean(bounds[arm]):.3f}", gap(bounds[arm], bounds[UNIFORM], 1, 3)]
        cells += [f"{100 * np.mean(test[arm]):.1f}", *(gap(test[arm], test[base], 100, 1) for base in (UNIFORM, NONE))]
        yield f"| {' | '.join(cells)} |"
    trained = [test[arm] for arm in ARMS if arm != NONE]
    mean = gap(list(np.mean(trained, axis=0)), test[NONE], 100, 1)
    yield from ("", f"Test accuracy, the mean of the {len(trained)} trained arms − none: {mean}")


def gap(own: list[float], base: list[float], scale: float, digits: int) -> str:
    """Paired by seed, with a 95 % interval."""
    return "" if own is base else paired_difference(own, base).told(scale, digits)


def main() -> None:
    if not asked_for(__doc__).table:
        run_missing(SEEDS)
    own = read_lines(LINES)
    found = {
        what: on_shared_seeds({arm: {x["seed"]: x[what] for x in own if x["arm"] == arm} for arm in ARMS})
        for what in ("bound", "test", "dev")
    }
    if (seeds := len(found["test"][UNIFORM])) < 2:
        raise SystemExit(f"{seeds} seeds of all arms: a table takes two")
    result: dict[str, Any] = {"seeds": seeds, **found}
    write_up(FOLDER, result, list(table(result)))


if __name__ == "__main__":
    main()
