"""The ACL-ARC config from end to end, on a slice of the real data with the real model, for a few steps."""

import gzip
import json
from itertools import islice
from pathlib import Path

import pytest
from rich.console import Console

from policylearn.collator import PolicyCollator
from policylearn.config import load_config
from policylearn.train import train

ROOT = Path(__file__).parent.parent
SHARED = ROOT.parent / "shared"
ROWS = {"train": 120, "dev": 40, "test": 40, "test_noverlap": 40}

pytestmark = pytest.mark.skipif(not SHARED.is_dir(), reason=f"the real data is not there: {SHARED} is absent")


@pytest.fixture
def task(tmp_path):
    """The first rows of every split."""
    folder = tmp_path / "acl_arc"
    folder.mkdir()
    for split, rows in ROWS.items():
        with gzip.open(SHARED / f"data/tasks/acl_arc/{split}.jsonl.gz", "rt") as lines:
            (folder / f"{split}.jsonl").write_text("".join(islice(lines, rows)))
    return folder


def test_acl_arc_for_a_few_steps(tmp_path, task, monkeypatch):
    monkeypatch.chdir(ROOT)  # where the paths of the config start
    # Single quotes: a TOML literal string, whatever the path holds.
    small = [
        f"task.path='{task}'",
        "task.labels=['Background','CompareOrContrast','Extends','Future','Motivation','Uses']",
        "domain.limit=200",
        "general.limit=20",
        "scores.embedding=input",
        "model.max_length=32",
        "inner.steps=3",
        "inner.batch_size=4",
        "inner.start=0.4",
        "inner.every=2",
        "inner.credit_batches=2",
        "outer.support=24",
        "outer.query=24",
        "learn.rounds=2",
        "evaluate.arms=['random','learned']",
        "evaluate.seeds=1",
        "evaluate.steps=2",
    ]
    config = load_config("configs/acl_arc.toml", small)
    assert config.cluster.backend == "ray" and config.cluster.workers == 2
    out = tmp_path / "run"

    result = train(config, out, Console(quiet=True))

    assert result["metric"] == "macro_f1"
    assert set(result["extra"]["test_noverlap"]) == {"random", "learned"}
    masked = {arm: values["masked_tokens"] for arm, values in result["arms"].items()}
    assert masked["random"] == masked["learned"] and masked["random"][0] > 0
    history = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert [record["round"] for record in history] == [0, 1]
    assert all(record["gradient_norm"] > 0 for record in history)
    assert history[0]["kl"] == 0.0 < history[1]["kl"]  # the prior, then what one round learned

    collator = PolicyCollator.from_pretrained(out / "policy")
    batch = collator([{"input_ids": collator.tokenizer("We follow the parser of Charniak.")["input_ids"]}])
    assert (batch["labels"] != -100).sum() == 1
