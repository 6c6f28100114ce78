"""Which patches of pictures are worth masking: random, structured, heuristic and learned masks for a small ViTMAE from
scratch, paired seeds. Writes trials.jsonl as it goes, then result.json, the table of README.md and masks.png.

.venv/bin/python experiments/patches/run.py           # what is missing; may be stopped
.venv/bin/python experiments/patches/run.py --digits  # on scikit-learn's digits: minutes, to see that it works
.venv/bin/python experiments/patches/run.py --table   # from what there is
"""

import argparse
import gzip
import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from torch import Tensor

from policylearn.api.parts import estimator
from policylearn.arms.policies import build_policy, build_uniform, scores_of, sources_of, use_scores
from policylearn.config import Config, PolicyConfig
from policylearn.credit.sums import correlation
from policylearn.evaluation.pretraining import pretrain
from policylearn.evaluation.statistics import on_shared_seeds, paired_difference
from policylearn.evaluation.trial import run_trial
from policylearn.inner.trajectory import Trajectory
from policylearn.learning.rollout import rollout, train_once
from policylearn.learning.steps import apply_gradient, policy_optimizer
from policylearn.learning.windows import credits_over_window
from policylearn.masking.structure import FIRM
from policylearn.policy.policy import MaskingPolicy
from policylearn.policy.scores import Scores
from policylearn.problems.pictures import PictureProblem
from policylearn.report.console_watch import ConsoleWatch
from policylearn.report.pictures import sheet
from policylearn.report.write_up import append_line, read_lines, write_up
from policylearn.scores.patches import hard
from policylearn.scores.pictures import hidden_losses

FOLDER, FASHION = Path(__file__).parent, Path("/usr/share/datasets/fashion-mnist")
SEEDS, FIRST_SEED, LABELS, STRENGTH, ROUNDS = 10, 1000, 200, 2.0, 8
STEPS, ROLLOUT = {"fashion": 600, "digits": 60}, 200
"""Of a training, and of one within a round, at most."""
NONE, RANDOM, BLOCK, STRUCTURED, LOSS, DIFFERENCE, TIMES, UNBIASED, LEARNED = (
    "none",
    "random",
    "block",
    "structured",
    "loss",
    "Difference-Masking",
    "rounds, loss × p (MLO-MAE)",
    "rounds, unbiased",
    "expected credit",
)
ARMS = (NONE, RANDOM, BLOCK, STRUCTURED, LOSS, DIFFERENCE, TIMES, UNBIASED, LEARNED)
ALIKE = (0, 2, 3, 4, 6)
"""Classes of Fashion-MNIST that are the domain: T-shirts, pullovers, dresses, coats and shirts; others are general."""


def idx(name: str) -> np.ndarray:
    """An array in the format of MNIST."""
    data = gzip.decompress((FASHION / f"{name}.gz").read_bytes())
    shape = np.frombuffer(data, ">u4", data[3], 4)
    return np.frombuffer(data, np.uint8, offset=4 + 4 * data[3]).reshape(shape)


def fashion(kept: Path) -> None:
    """Domain, general pictures and the three splits, as files."""
    train, y = idx("train-images-idx3-ubyte"), idx("train-labels-idx1-ubyte")
    test, test_y = idx("t10k-images-idx3-ubyte"), idx("t10k-labels-idx1-ubyte")
    own, others = train[np.isin(y, ALIKE)], train[~np.isin(y, ALIKE)]
    own_y, picked = y[np.isin(y, ALIKE)], np.isin(test_y, ALIKE)
    write(kept, own[1000:9000], others[:8000], own, own_y, test[picked][:2000], test_y[picked][:2000])


def digits(kept: Path) -> None:
    """The same of digits below five, and those above as general."""
    from sklearn.datasets import load_digits

    found = load_digits()
    x, y = (found.images * 15.9375).astype(np.uint8), found.target
    own, own_y = x[y < 5], y[y < 5]
    write(kept, own[600:], x[y >= 5], own, own_y, own[400:600], own_y[400:600], dev=200)


def write(kept: Path, domain: Any, general: Any, own: Any, y: Any, test: Any, test_y: Any, dev: int = 500) -> None:
    kept.mkdir(parents=True, exist_ok=True)
    np.savez(kept / "domain.npz", image=domain)
    np.savez(kept / "general.npz", image=general)
    np.savez(kept / "train.npz", image=own[:LABELS], label=y[:LABELS])
    np.savez(kept / "dev.npz", image=own[LABELS : LABELS + dev], label=y[LABELS : LABELS + dev])
    np.savez(kept / "test.npz", image=test, label=test_y)


def config_of(name: str, kept: Path, **credit: Any) -> Config:
    small = {"hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 96}
    decoder = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4, "intermediate_size": 64}
    side, patch = (28, 4) if name == "fashion" else (8, 2)
    shape = {"model_type": "vit_mae", "image_size": side, "patch_size": patch, "num_channels": 1}
    shape |= small | {f"decoder_{key}": value for key, value in decoder.items()}
    given = {
        "name": name,
        "patches": {"words": 64 if name == "fashion" else 32, "zones": 3 if name == "fashion" else 1},
        "model": {"architecture": shape},
        "task": {"path": str(kept)},
        "domain": {"path": str(kept / "domain.npz")},
        "general": {"path": str(kept / "general.npz")},
        "masking": {"rate": 0.75, "p_max": 0.95},
        "scores": {"difference": {"anchors": 30, "anchor_ratio": 2.0, "anchor_count": 20}},
        "policy": {"prior": {}, "network": "none"},
        "inner": {"steps": STEPS[name], "learning_rate": 3e-3, "batch_size": 32},
        "outer": {"folds": 4},
        "credit": {"batches": 40, "resplits": 2, **credit},
        "learn": {"learning_rate": 0.3, "kl": 0.0},
        "evaluate": {"arms": ["random"], "downstream": ["probe"]},
        "cluster": {"backend": "local"},
    }
    given["inner"] |= {"engine": "one_step", "window": 1, "every": 60, "credit_batches": 8}
    return Config.model_validate(given)


@estimator("loss_times_p")
def by_loss_times_p(problem: PictureProblem, policy: MaskingPolicy, seed: int) -> list[Trajectory]:
    """As MLO-MAE (arXiv 2402.18128) has it: the loss of a hidden patch is multiplied by its probability, and what
    follows from hiding others instead is not seen."""

    def estimate(trajectory: Trajectory) -> Any:
        batches, gradients = credits_over_window(trajectory, trajectory.objective)
        scale = torch.cat(list(gradients)).square().mean().sqrt().clamp(min=1e-12)
        pairs = zip(batches, gradients, strict=True)
        return batches, [partial(loss_times_p, mask=batch.mask, gradient=g / scale) for batch, g in pairs]

    return train_once(problem, policy, seed, estimate)


def loss_times_p(p: Tensor, mask: Tensor, gradient: Tensor) -> Tensor:
    return (gradient * p[mask]).sum() / mask.sum()


def in_rounds(problem: PictureProblem, name: str) -> MaskingPolicy:
    """A table of visual words, moved by so many rollouts of an estimator; the last, for dev has no say in any arm."""
    policy = build_policy(problem, PolicyConfig(prior={}, network="table"))
    optimizer = policy_optimizer(policy, problem.config.learn)
    learn = problem.config.learn.model_copy(update={"estimator": name})
    inner = problem.config.inner.model_copy(update={"steps": min(ROLLOUT, problem.config.inner.steps)})
    before, problem.config = problem.config, problem.config.model_copy(update={"learn": learn, "inner": inner})
    for number in problem.watch(f"rounds of {name}", range(ROUNDS)):
        apply_gradient(policy, optimizer, rollout(problem, policy, seed=number).gradient)
    problem.config = before
    return policy


def standardised(problem: PictureProblem, scores: Scores) -> Scores:
    """Of mean 0 and variance 1 over the patches of the domain: every heuristic is followed equally strongly."""
    counts = torch.from_numpy(sources_of(problem).domain_counts).double()
    weights = counts / counts.sum()
    mean = (weights * scores.types.double()).sum()
    deviation = (weights * (scores.types.double() - mean).square()).sum().sqrt()
    return Scores(((scores.types.double() - mean) / deviation).float(), learned_from=scores.learned_from)


def of_scores(problem: PictureProblem, name: str, scores: Scores) -> MaskingPolicy:
    use_scores(problem, name, standardised(problem, scores))
    return build_policy(problem, PolicyConfig(prior={name: STRENGTH}, network="none"))


def policies(problem: PictureProblem) -> dict[str, MaskingPolicy | None]:
    """All arms."""
    uniform, firm = build_uniform(problem), {"p_max": 1.0}
    structures = {
        arm: build_policy(problem, PolicyConfig(prior={arm: FIRM}, network="none"), firm) for arm in (BLOCK, STRUCTURED)
    }
    trained = problem.fresh_model(0)
    pretrain(problem, trained, uniform, 0, problem.config.inner.steps)
    field = problem.field(problem.config.masking)
    losses = hard(field, hidden_losses(field, trained, problem.domain, problem.config.scores))
    return {
        NONE: None,
        RANDOM: uniform,
        **structures,
        LOSS: of_scores(problem, "loss", losses),
        DIFFERENCE: of_scores(problem, "difference", scores_of(problem, ["difference"])["difference"]),
        TIMES: in_rounds(problem, "loss_times_p"),
        UNBIASED: in_rounds(problem, "credit"),
        LEARNED: of_scores(problem, "credit", scores_of(problem, ["credit"])["credit"]),
    }


def reliability(name: str, kept: Path) -> float:
    """Correlation between the credits of visual words that two halves of the labels give."""
    found = []
    for half in (0, 1):
        problem = PictureProblem(config_of(name, kept))
        train = problem.examples("train")
        rows = np.arange(half, len(train), 2)
        problem._examples["train"] = type(train)(train.rows.take(rows), train.y[torch.from_numpy(rows)])
        found.append(scores_of(problem, ["credit"])["credit"].types.double().numpy())
    return correlation(*found)


def lines_of(name: str) -> Path:
    return FOLDER / f"trials-{name}.jsonl"


def kept_policies(problem: PictureProblem, kept: Path) -> dict[str, MaskingPolicy | None]:
    """All arms, learned once."""
    if not (path := kept / "policies.pt").exists():
        torch.save(policies(problem), path)
    return torch.load(path, weights_only=False)


def run(name: str, kept: Path, console: Console) -> None:
    torch.set_num_threads(1)
    problem = PictureProblem(config_of(name, kept), ConsoleWatch(console))
    arms, done = kept_policies(problem, kept), {(line["arm"], line["seed"]) for line in read_lines(lines_of(name))}
    for seed, arm in ((seed, arm) for seed in range(SEEDS) for arm in ARMS if (arm, seed) not in done):
        trial = run_trial(problem, arms[arm], arm, FIRST_SEED + seed)
        line = {"arm": arm, "seed": seed, "test": trial.score, "dev": trial.dev, "loss": trial.held_out_loss}
        append_line(lines_of(name), line)
        print(line, flush=True)
    if not (place := kept / "reliability.json").exists():
        place.write_text(json.dumps(reliability(name, kept)))
    x = problem.domain.batch(range(6))[0]
    shown = {arm: policy for arm, policy in arms.items() if policy is not None}
    (FOLDER / "masks.png").write_bytes(sheet(x, shown))


def scores_by_arm(name: str, what: str) -> dict[str, list[float]]:
    """On the seeds that all arms have."""
    known = read_lines(lines_of(name))
    return on_shared_seeds({arm: {x["seed"]: x[what] for x in known if x["arm"] == arm} for arm in ARMS})


def table(result: dict[str, Any]) -> Iterator[str]:
    test, loss = result["test"], result["loss"]
    reliability = "not measured" if result["reliability"] is None else f"{result['reliability']:.2f}"
    yield from (f"**{result['data']}**, {len(test[RANDOM])} seeds; reliability of credits {reliability}", "")
    yield "| masks | test accuracy | − random | − structured | reconstruction loss |"
    yield "|---|---|---|---|---|"
    for arm in ARMS:
        gaps = ("" if arm == base else gap(test[arm], test[base]) for base in (RANDOM, STRUCTURED))
        cells = [arm, f"{100 * np.mean(test[arm]):.1f}", *gaps, f"{np.mean(loss[arm]):.3f}"]
        yield f"| {' | '.join(cells)} |"


def gap(after: list[float], before: list[float]) -> str:
    """In points, with a 95 % interval."""
    return paired_difference(after, before).told(100)


def bring(name: str, kept: Path) -> None:
    """The pictures, once."""
    if name == "fashion" and not FASHION.is_dir():
        raise SystemExit(f"{FASHION} is not there: apt-get install dataset-fashion-mnist, or --digits")
    if not (kept / "test.npz").exists():
        (fashion if name == "fashion" else digits)(kept)


def known_reliability(name: str, kept: Path) -> float | None:
    """That which was measured here, or of Fashion-MNIST that which is written down."""
    if (place := kept / "reliability.json").exists():
        return json.loads(place.read_text())
    return json.loads((FOLDER / "result.json").read_text("utf-8"))["reliability"] if name == "fashion" else None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--digits", action="store_true", help="on scikit-learn's digits")
    parser.add_argument("--table", action="store_true", help="from what there is")
    given = parser.parse_args()
    name = "digits" if given.digits else "fashion"
    kept = Path("runs/patches") / name
    if not given.table:
        bring(name, kept)
        run(name, kept, Console())
    found: dict[str, Any] = {"data": name, "test": scores_by_arm(name, "test"), "loss": scores_by_arm(name, "loss")}
    found["reliability"] = known_reliability(name, kept)
    if (seeds := len(found["test"][RANDOM])) < 2:
        raise SystemExit(f"{seeds} seeds of all arms on {name}: a table takes two")
    if name == "fashion":
        write_up(FOLDER, found, list(table(found)))
    else:
        print("\n".join(table(found)))


if __name__ == "__main__":
    main()
