"""What both halves of the experiment share: two models on the questions of TREC-6, and masks of six parts."""

from pathlib import Path

from policylearn.config import Config, load_config

FOLDER = Path(__file__).parent
DATA, CHECKPOINT, DRAWS = "../shared/data/tasks/trec6", "../shared/models/minilm-l6-mlm", 6
SMALL = ["model_type=bert", "hidden_size=128", "num_hidden_layers=2", "num_attention_heads=2", "intermediate_size=256"]
MODELS = {
    "continued": [f"model.name={CHECKPOINT}", "model.bf16=true", "inner.learning_rate=1e-4"],
    "from scratch": [
        f"model.tokenizer={CHECKPOINT}",
        *(f"model.architecture.{setting}" for setting in SMALL),
        "inner.learning_rate=1e-3",
    ],
}


def config_of(model: str, *given: str) -> Config:
    """Texts of at most 48 tokens; batches of twelve rows, which are two texts six times over."""
    data = [f"task.path={DATA}", f"domain.path={DATA}/train.jsonl.gz", "task.metric=accuracy", "model.max_length=48"]
    rest = ["inner.batch_size=12", "masking.p_max=0.95", "cluster.backend=local", "policy.prior={}"]
    rest += ['evaluate.downstream=["probe@200"]']
    return load_config(None, [*data, *rest, "policy.network=none", *MODELS[model], *given])
