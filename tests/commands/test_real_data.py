"""The whole path on a slice of real data: a pretrained encoder, ACL-ARC, two corpora, two Ray workers."""

import gzip
import json
from itertools import islice
from pathlib import Path

import pytest
import torch
from rich.console import Console
from transformers import AutoTokenizer

from policylearn import PolicyCollator
from policylearn.commands.train import train
from policylearn.config import Config, load_config

REPOSITORY = Path(__file__).parents[2]
SHARED = REPOSITORY.parent / "shared"
ROWS = {"train": 90, "dev": 30, "test": 30, "test_noverlap": 30}
SLICE = [
    "domain.limit=200",
    "general.limit=20",
    "scores.difference.anchor_count=5",
    "scores.difference.embedding=input",
    "model.bf16=false",  # a processor without takes many times as long with it
    "model.max_length=32",
    "inner.steps=3",
    "inner.batch_size=4",
    "inner.start=0.3",
    "inner.every=2",
    "inner.credit_batches=2",
    "outer.support=12",
    "outer.query=12",
    "learn.rounds=2",
    "learn.rollouts=2",
    "cluster.workers=2",
    "evaluate.seeds=1",
    "evaluate.steps=2",
]

pytestmark = pytest.mark.skipif(
    not SHARED.is_dir(), reason=f"{SHARED} is not there: it holds the encoder and texts of configs/acl_arc.toml"
)


def copy_rows(source: Path, target: Path, rows: int) -> None:
    with gzip.open(source, "rt", encoding="utf-8") as lines, gzip.open(target, "wt", encoding="utf-8") as copy:
        copy.writelines(islice(lines, rows))


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> tuple[Config, Path]:
    """A finished run on the slice: its config and folder."""
    folder = tmp_path_factory.mktemp("acl_arc")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(REPOSITORY)  # the paths in configs/ are relative to it
        patch.delenv("RAY_ADDRESS", raising=False)
        for split, rows in ROWS.items():
            copy_rows(SHARED / f"data/tasks/acl_arc/{split}.jsonl.gz", folder / f"{split}.jsonl.gz", rows)
        config = load_config("configs/acl_arc.toml", [*SLICE, f"task.path='{folder}'"])
        train(config, folder / "run", Console(quiet=True))
    return config, folder / "run"


def test_the_run_is_complete(run):
    _, folder = run
    left = {path.name for path in folder.iterdir()}
    assert {"config.json", "metrics.jsonl", "checkpoints", "policy", "result.json", "report.html"} <= left
    history = [json.loads(line) for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [record["round"] for record in history] == [0, 1]
    assert history[0]["kl"] == 0.0 < history[1]["kl"]  # the prior, then what one round learned
    for record in history:
        assert record["workers"] == len(record["dev_scores"]) == 2
        assert record["gradient_norm"] > 0
        assert record["mlm_loss"] < 9  # a model that knew nothing would have log 30522 = 10.3


def test_arms_are_compared_on_both_test_sets(run):
    config, folder = run
    result = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    assert list(result["arms"]) == config.evaluate.arms
    assert result["metric"] == "macro_f1"
    assert result["extra"].keys() == {"test_noverlap"}
    masked = {arm: values["masked_tokens"] for arm, values in result["arms"].items()}
    assert masked.pop("none") == [0]
    assert len({tuple(counts) for counts in masked.values()}) == 1
    assert masked["learned"][0] > 0


def test_the_prior_prefers_words_of_the_domain_to_pieces_and_function_words(run):
    _, folder = run
    collator = PolicyCollator.from_pretrained(folder / "prior")
    values = collator.policy.scores.types[0]
    scores = {token: values[i].item() for token, i in collator.tokenizer.get_vocab().items()}
    words, common = ("translation", "semantic", "linguistic", "grammar"), ("the", "of", "and", "in", "is")
    assert min(scores[word] for word in words) > max(scores[word] for word in common)


def test_the_exported_policy_masks_real_text(run):
    config, folder = run
    tokenizer = AutoTokenizer.from_pretrained(REPOSITORY / config.model.name)
    collator = PolicyCollator.from_pretrained(folder / "policy", tokenizer=tokenizer)
    assert collator.policy.learned()["network.out.weight"].abs().max() > 0  # it has moved
    text = "We use the Stanford parser to extract dependency relations from the training corpus ."
    batch = collator([tokenizer(text), tokenizer("This is short .")])
    assert batch["input_ids"].shape == batch["labels"].shape == batch["attention_mask"].shape
    masked = (batch["labels"] != -100).sum(1)
    assert masked[0] in (2, 3)  # 15 % of 15 or so
    assert masked[1] == 1  # but never none
    assert torch.equal(batch["input_ids"][batch["labels"] == -100], original(tokenizer, text)[batch["labels"] == -100])


def original(tokenizer, text: str) -> torch.Tensor:
    return tokenizer([text, "This is short ."], padding=True, return_tensors="pt")["input_ids"]
