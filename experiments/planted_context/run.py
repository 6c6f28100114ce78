"""What tables and policies that read context learn on `planted-context`; writes result.json and the table of README.md.

.venv/bin/python experiments/planted_context/run.py    # may be interrupted; runs stay in runs/planted_context
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from scipy import stats

from policylearn.commands.train import train
from policylearn.config import load_config
from policylearn.evaluation.compare import evaluate_policies
from policylearn.evaluation.statistics import share_of_lead
from policylearn.report.write_up import write_up

FOLDER, RUNS, CONFIG = Path(__file__).parent, Path("runs/planted_context"), "configs/planted_context.toml"
FINAL = ["planted_context.seed=1", "learn.seed=1", "cluster.backend=local"]
"""Other documents and rollouts than those that settings were chosen on, which have the seeds 0."""
FIXED = ["random", "difference", "saliency", "selective", "oracle", "oracle-context"]
TABLE, NEIGHBOURS = "learned table", "learned neighbours"
LEARNED = {
    TABLE: ["policy.network=table", "learn.eps=1e-8", "learn.learning_rate=1.0"],
    NEIGHBOURS: [],
}
"""Each with the step that was best for it on the documents of tuning."""
TARGETS = {
    "table": (TABLE, "random", "oracle", 0.9),
    "context": (NEIGHBOURS, "oracle", "oracle-context", 0.8),
}
"""Which lead of a learned policy over a baseline is to be which share of an oracle's."""


def learned(name: str, settings: Sequence[str]) -> Path:
    """Folder of the policy that these settings learn; found again if that is done."""
    folder = RUNS / name.replace(" ", "_")
    train(load_config(CONFIG, [*FINAL, *settings, "evaluate.seeds=0"]), folder, Console())
    return folder / "policy"


def share(scores: Mapping[str, Sequence[float]], policy: str, base: str, best: str) -> dict[str, float]:
    """Share of the lead of `best` over `base` that a policy has."""
    return dict(zip(("mean", "low", "high"), share_of_lead(scores[policy], scores[best], scores[base]), strict=True))


def table(result: dict[str, Any]) -> list[str]:
    """One line per arm, then one per target."""
    random = result["arms"]["random"]["scores"]
    lines = ["| masks | test accuracy | − random |", "|---|---|---|"]
    for arm, found in result["arms"].items():
        scores, gains = np.array(found["scores"]), np.array(found["scores"]) - np.array(random)
        half = stats.t.ppf(0.975, len(gains) - 1) * gains.std(ddof=1) / len(gains) ** 0.5
        shown = "" if arm == "random" else f"{gains.mean():+.3f} [{gains.mean() - half:.3f}, {gains.mean() + half:.3f}]"
        lines.append(f"| {arm} | {scores.mean():.3f} ± {scores.std(ddof=1):.3f} | {shown} |")
    for name, (policy, base, best, target) in TARGETS.items():
        r = result["shares"][name]
        said = f"{r['mean']:.0%} [{r['low']:.0%}, {r['high']:.0%}]; target {target:.0%}"
        lines += ["", f"**{policy}** has, of the lead of {best} over {base}: {said}."]
    return lines


def main() -> None:
    folders = {name: learned(name, settings) for name, settings in LEARNED.items()}
    config = load_config(CONFIG, [*FINAL, f"evaluate.arms={FIXED}"])
    found = evaluate_policies(config, RUNS / "arms", Console(), folders)
    scores = {arm: one["scores"] for arm, one in found["arms"].items()}
    shares = {name: share(scores, policy, base, best) for name, (policy, base, best, _) in TARGETS.items()}
    result = {"arms": {arm: {"scores": values} for arm, values in scores.items()}, "shares": shares}
    write_up(FOLDER, result, table(result))


if __name__ == "__main__":
    main()
