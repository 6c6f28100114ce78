"""Is a policy that was learned on a small model worth something to a larger one of the same vocabulary? On the planted
benchmark, from scratch. Writes result.json and README's table.

.venv/bin/python experiments/larger_model/run.py          # what is missing; may be stopped
.venv/bin/python experiments/larger_model/run.py --table  # from the runs there are, else from result.json
"""

import json
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from transformers import BertConfig, BertModel

from policylearn.commands.train import train
from policylearn.config import Config, load_config
from policylearn.evaluation.compare import evaluate_policies
from policylearn.evaluation.statistics import paired_difference
from policylearn.report.write_up import asked_for, write_up

FOLDER, RUNS = Path(__file__).parent, Path("runs/larger_model")
SMALL, LARGE = "small", "large"
SHAPES = {
    SMALL: "hidden_size=64, num_hidden_layers=1, num_attention_heads=2, intermediate_size=128, initializer_range=0.1",
    LARGE: "hidden_size=128, num_hidden_layers=2, num_attention_heads=4, intermediate_size=256, initializer_range=0.05",
}
TRAINING: dict[str, list[str]] = {SMALL: [], LARGE: ["inner.learning_rate=2e-3", "inner.schedule=linear"]}
"""Of each what it learns by: by the demo's settings the larger does not."""
ROUNDS = "learned in rounds on the small"
CREDITS = ["policy.prior={}", "policy.network=none", "learn.stages=[expected]", "evaluate.seeds=0"]
PAIRS = [(ROUNDS, "oracle"), ("learned on the large", "learned on the small")]
"""Differences beside those to random masks."""
ARMS = ["none", "random", "difference", "oracle"]
SEEDS = 10


def config_of(model: str, *more: str) -> Config:
    """The demo's, for a model of this size."""
    shape = f'model.architecture={{model_type="bert", {SHAPES[model]}}}'
    own = [shape, f"name={model}", "cluster.backend=local", f"evaluate.seeds={SEEDS}", *TRAINING[model]]
    return load_config("configs/demo.toml", [*own, f"evaluate.arms={json.dumps(ARMS)}", *more])


def learn(model: str) -> str:
    """Expected credits on a model of this size."""
    if not (RUNS / model / "policy").exists():
        train(config_of(model, *CREDITS, 'evaluate.arms=["random"]'), RUNS / model, Console())
    return str(RUNS / model / "policy")


def learn_in_rounds() -> str:
    """The demo's policy, on the small model."""
    if not (RUNS / "rounds" / "policy").exists():
        train(config_of(SMALL, "evaluate.seeds=0", 'evaluate.arms=["random"]'), RUNS / "rounds", Console())
    return str(RUNS / "rounds" / "policy")


def scores(model: str) -> dict[str, list[float]]:
    """Accuracy of fresh models of this size by arm, seed by seed: of the run here, or as it was written down."""
    if not (path := RUNS / f"compared-{model}" / "result.json").exists():
        return json.loads((FOLDER / "result.json").read_text("utf-8"))[model]
    return {arm: found["scores"] for arm, found in json.loads(path.read_text("utf-8"))["arms"].items()}


def table(found: dict[str, dict[str, list[float]]]) -> Iterator[str]:
    heads = [f"{model} models | − random" for model in found]
    yield f"| masks | {' | '.join(heads)} |"
    yield "|---" * (1 + 2 * len(found)) + "|"
    for arm in next(iter(found.values())):
        cells = [cell for by_arm in found.values() for cell in cells_of(arm, by_arm)]
        yield f"| {arm} | {' | '.join(cells)} |"
    yield ""
    for (after, before), (model, by_arm) in product(PAIRS, found.items()):
        yield f"- {model} models: {after} − {before} {paired_difference(by_arm[after], by_arm[before]).told(digits=3)}"
    small, large = (layers(shape) for shape in SHAPES.values())
    yield f"- parameters in layers: {small:,} and {large:,}, {large / small:.1f} times as many"


def layers(shape: str) -> int:
    """Parameters of a model of this shape, without embeddings and head."""
    given = {name: json.loads(value) for name, value in (part.split("=") for part in shape.split(", "))}
    return sum(parameter.numel() for parameter in BertModel(BertConfig(**given)).encoder.parameters())


def cells_of(arm: str, by_arm: dict[str, list[float]]) -> tuple[str, str]:
    mean = f"{sum(by_arm[arm]) / len(by_arm[arm]):.3f}"
    if arm == "random":
        return mean, ""
    return mean, paired_difference(by_arm[arm], by_arm["random"]).told(digits=3)


def main() -> None:
    given = asked_for(__doc__)
    torch.set_num_threads(1)
    for model in () if given.table else SHAPES:
        policies: dict[str, Any] = {f"learned on the {one}": learn(one) for one in SHAPES}
        policies[ROUNDS] = learn_in_rounds()
        evaluate_policies(config_of(model), str(RUNS / f"compared-{model}"), Console(), policies)
    found = {model: scores(model) for model in SHAPES}
    write_up(FOLDER, found, list(table(found)))


if __name__ == "__main__":
    main()
