"""Tasks of the claim, and their label sets: 200 labelled rows to train on, 100 to choose by, and no more.

A label set is a folder that `task.path` takes: train, dev and test. What is still to be chosen gets one whose test
file holds further rows of dev, so that nothing can look at test by mistake.
"""

import gzip
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import torch

from policylearn.config import Config, load_config

FOLDER, OUT = Path(__file__).parent, Path("runs/claim")
SHARED = Path("../shared/data")
TRAIN, DEV, REST = 200, 100, 400
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
TASK = "task"
"""As the text to pretrain on: the task's own."""
FLOAT32 = range(10, 14)
"""Label sets that are computed in float32: a processor without bf16 takes many times as long with it."""


@dataclass(frozen=True)
class Task:
    """What of a config is a task's own.

    Attributes:
        metric: of its scores.
        length: tokens per text.
        corpora: text of its domain, besides its own.
        extra_tests: further test splits.
    """

    metric: str = "accuracy"
    length: int = 64
    corpora: tuple[str, ...] = ()
    extra_tests: tuple[str, ...] = ()


TASKS = {
    "trec6": Task(extra_tests=("test_noverlap",)),
    "pubmed_sections": Task(corpora=("corpus_pubmed_reviews",)),
    "scicite": Task("macro_f1", corpora=("corpus_acl_abstracts",)),
    "chemprot": Task(corpora=("corpus_pubmed_reviews",)),
    "hyperpartisan": Task(length=128),
}


def config_of(task: str, number: int, final: bool, text: str = TASK, settings: Sequence[str] = ()) -> Config:
    """The experiment of a task on one of its label sets.

    Args:
        task: its name.
        number: of the label set.
        final: whether its test rows are those of the task, or of dev.
        text: `TASK`, or the name of a corpus.
        settings: further overrides.
    """
    own, source = TASKS[task], SHARED / "tasks" / task
    domain = source / "train.jsonl.gz" if text == TASK else SHARED / "corpora" / f"{text}.jsonl.gz"
    labels = sorted({row["label"] for row in read_rows(source, "train")})
    given = [
        f"name={task}-{number}",
        *["model.name=../shared/models/minilm-l6-mlm", f"model.max_length={own.length}"],
        f"model.bf16={json.dumps(number not in FLOAT32)}",
        *[f"task.path={label_set(task, number, final)}", f"task.labels={json.dumps(labels)}"],
        *[f"task.metric={own.metric}", f"task.extra_tests={json.dumps(list(own.extra_tests) if final else [])}"],
        *[f"domain.path={domain}", f"general.path={SHARED}/corpora/corpus_wiki_featured.jsonl.gz"],
        *["inner.batch_size=16", 'evaluate.downstream=["finetune", "probe"]', "cluster.backend=local"],
        *settings,
    ]
    return load_config(None, given)


def label_set(task: str, number: int, final: bool) -> Path:
    """The folder of a label set, written where it is missing."""
    folder = OUT / ("final" if final else "choose") / f"{task}-{number}"
    if not (folder / "train.jsonl").exists():
        folder.mkdir(parents=True, exist_ok=True)
        source = SHARED / "tasks" / task
        train, dev, rest = deal(read_rows(source, "train"), read_rows(source, "dev"), [crc32(task.encode()), number])
        tests = (
            {name: read_rows(source, name) for name in ("test", *TASKS[task].extra_tests)} if final else {"test": rest}
        )
        for name, rows in {**tests, "dev": dev, "train": train}.items():  # train last: the folder is whole then
            lines = [json.dumps({"text": row["text"], "label": row["label"]}) + "\n" for row in rows]
            (folder / f"{name}.jsonl").write_text("".join(lines), encoding="utf-8")
    return folder


def read_rows(source: Path, split: str) -> list[dict[str, Any]]:
    """Of one split of a task."""
    with gzip.open(source / f"{split}.jsonl.gz", "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


Rows = list[dict[str, Any]]


def deal(train: Rows, dev: Rows, key: Sequence[int]) -> tuple[Rows, Rows, Rows]:
    """Rows to train on, to choose by, and the rest of dev, at most `REST`. A dev split too small for several label sets
    is all rest, and what is chosen by comes out of train. Texts to train on are nowhere else."""
    picked, others = draw(train, TRAIN, [*key, 0])
    known = {row["text"] for row in picked}
    others, dev = ([row for row in rows if row["text"] not in known] for rows in (others, dev))
    if len(dev) < 2 * DEV:
        return picked, draw(others, DEV, [*key, 1])[0], dev
    chosen, rest = draw(dev, DEV, [*key, 1])
    return picked, chosen, draw(rest, min(REST, len(rest)), [*key, 2])[0]


def draw(rows: Rows, size: int, key: Sequence[int]) -> tuple[Rows, Rows]:
    """So many rows, every class with its share to within a row, and the others: a systematic sample of rows ordered by
    class and, within a class, at random."""
    rng = np.random.default_rng(key)
    order = np.lexsort((rng.random(len(rows)), [row["label"] for row in rows]))
    at = np.floor((np.arange(size) + rng.random()) * len(rows) / size).astype(int)
    return [rows[i] for i in order[at]], [rows[i] for i in np.delete(order, at)]
