"""How the work grows with the corpus, and with the vocabulary: generated texts, every row measured in a process of its
own. Writes result.json and README's tables.

.venv/bin/python experiments/bench_growth/run.py           # 100,000, a million and ten million texts; half an hour
.venv/bin/python experiments/bench_growth/run.py --quick   # 1,000 and 10,000, in two minutes; writes nothing

The last line printed is one JSON object of ratios.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event, Thread
from typing import Any

import numpy as np
from tokenizers import BertWordPieceTokenizer
from transformers import BertTokenizerFast

from policylearn import PolicyArtefact, PolicyCollator, save_policy
from policylearn.arms.policies import build_uniform
from policylearn.config import Config, PolicyConfig
from policylearn.credit.domain import domain_credits
from policylearn.data.corpora import open_corpus
from policylearn.policy.policy import MaskingPolicy, uniform_policy
from policylearn.policy.scores import Scores
from policylearn.problems.texts import TextProblem
from policylearn.report.write_up import write_up
from policylearn.scores.counting import count_corpus

FOLDER = Path(__file__).parent
SIZES, QUICK = (100_000, 1_000_000, 10_000_000), (1_000, 10_000)
VOCABULARIES = (30_000, 250_000)
WORDS, LENGTH, LABELS, BATCH = 30_000, 12, 400, 64
"""Words there are, and of a text; labelled texts; texts of a batch."""
SYLLABLES = [a + b for a in "bdfgklmnprstv" for b in "aeiou"]
SHAPE = {"model_type": "bert", "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
EVERY = 0.05
"""Seconds between two looks at the memory."""


def word(number: int) -> str:
    """Of two to four syllables, frequent ones shorter; every number has its own."""
    spelt, rest = list[str](), number
    while rest or len(spelt) < 2:
        rest, syllable = divmod(rest, len(SYLLABLES))
        spelt.append(SYLLABLES[syllable])
    return "".join(spelt)


def texts(count: int) -> Iterator[list[str]]:
    """Thousands of texts at a time, words by Zipf's law."""
    rng, known = np.random.default_rng(0), np.array([word(number) for number in range(WORDS)])
    share = 1 / np.arange(1, WORDS + 1)
    upto = np.cumsum(share / share.sum())
    for first in range(0, count, 1000):
        drawn = known[np.searchsorted(upto, rng.random((min(1000, count - first), LENGTH))).clip(max=WORDS - 1)]
        yield [" ".join(row) for row in drawn]


def prepare(folder: Path, sizes: tuple[int, ...]) -> None:
    """Corpora, a task that asks for a frequent word, and a tokenizer."""
    for count in sizes:
        with (folder / f"{count}.txt").open("w", encoding="utf-8") as file:
            file.writelines("\n".join(some) + "\n" for some in texts(count))
    rows = [text for some in texts(3 * LABELS) for text in some]
    for part, split in enumerate(("train", "dev", "test")):
        labelled = rows[part * LABELS : (part + 1) * LABELS]
        lines = [json.dumps({"text": text, "label": str(word(3) in text.split())}) for text in labelled]
        (folder / f"{split}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    pieces = BertWordPieceTokenizer()
    pieces.train_from_iterator((text for some in texts(20_000) for text in some), vocab_size=8_000, show_progress=False)
    BertTokenizerFast(tokenizer_object=pieces._tokenizer).save_pretrained(folder / "tokenizer")


def problem_of(folder: Path, count: int) -> TextProblem:
    given = {
        "model": {"tokenizer": str(folder / "tokenizer"), "architecture": SHAPE, "max_length": 32},
        "task": {"path": str(folder)},
        "domain": {"path": str(folder / f"{count}.txt")},
        "general": {"path": str(folder / f"{count}.txt")},
        "policy": {"prior": {}, "network": "none"},
        "inner": {"steps": 40, "batch_size": 16, "learning_rate": 1e-3, "start": 0.1},
        "credit": {"points": 2, "batches": 20, "resplits": 1},
        "cluster": {"backend": "local"},
    }
    return TextProblem(Config.model_validate(given))


def counting(folder: Path, count: int) -> dict[str, Any]:
    """One pass, as scorers of frequency need it."""
    problem = problem_of(folder, count)
    found = measured(lambda: count_corpus(open_corpus(problem.config, "domain"), problem.tokenizer, problem.vocabulary))
    return found | {"MB": (folder / f"{count}.txt").stat().st_size / 1e6}


def tokenising(folder: Path, count: int) -> dict[str, Any]:
    """Rows of token ids."""
    problem = problem_of(folder, count)
    found = measured(lambda: problem.domain)
    return found | {"bytes": 4 * len(problem.domain.flat) + 8 * len(problem.domain.offsets)}


def learning(folder: Path, count: int) -> dict[str, Any]:
    """Expected credits, the rows being there: trains along 40 steps and credits 1,280 texts, whatever the corpus."""
    problem = problem_of(folder, count)
    assert len(problem.domain) == count and len(problem.examples("train"))
    return measured(lambda: [*domain_credits(problem, build_uniform(problem))])


def vocabulary(folder: Path, size: int) -> dict[str, Any]:
    """A policy of a score for each of so many pieces: its export, and a collator from there to its first batch."""
    named = {name: i for i, name in enumerate(("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"))}
    names = named | {word(number): 5 + number for number in range(size - 5)}
    tokenizer = BertTokenizerFast(vocab=names)
    plain = uniform_policy(tokenizer)
    scores = {"credit": Scores(plain.scores.types.new_tensor(np.random.default_rng(0).normal(size=size)))}
    config = PolicyConfig(prior={"credit": 2.0}, network="none")
    policy = MaskingPolicy(config, scores, plain.scores.lexicon, plain.scores.types.new_zeros(0, 0), plain.field)
    place = folder / f"policy-{size}"
    found = measured(lambda: save_policy(place, PolicyArtefact(policy, tokenizer), "# A policy\n"))
    rows = [{"input_ids": tokenizer(text)["input_ids"]} for text in next(texts(BATCH))]
    files = sum(path.stat().st_size for path in place.rglob("*") if path.is_file())
    start = measured(lambda: PolicyCollator.from_pretrained(place)(rows))
    collator = PolicyCollator.from_pretrained(place)
    batch = measured(lambda: collator(rows))
    return found | {"MB": files / 1e6, "start": start["seconds"], "collator": start["MiB"], "batch": batch["seconds"]}


def measured(work: Callable[[], Any]) -> dict[str, Any]:
    """Seconds, and MiB that the process came to hold of its own meanwhile: mapped files not counted, which the system
    takes back when it needs to."""
    before, most, done = anonymous(), [0.0], Event()

    def watch() -> None:
        while not done.wait(EVERY):
            most[0] = max(most[0], anonymous())

    watcher, started = Thread(target=watch), time.monotonic()
    watcher.start()
    kept = work()
    seconds, most[0] = time.monotonic() - started, max(most[0], anonymous())
    done.set()
    watcher.join()
    del kept
    return {"seconds": seconds, "MiB": max(0.0, most[0] - before)}


def anonymous() -> float:
    """MiB of the process that are of no file."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) / 1024


STAGES = {stage.__name__: stage for stage in (counting, tokenising, learning, vocabulary)}


def apart(stage: str, folder: Path, size: int) -> dict[str, Any]:
    """In a process of its own, of one thread."""
    command = [sys.executable, __file__, "--stage", stage, str(folder), str(size)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment)
    found = json.loads(done.stdout.splitlines()[-1]) | {"stage": stage, "size": size}
    print(json.dumps(found), flush=True)
    return found


def tables(rows: list[dict[str, Any]]) -> Iterator[str]:
    of = {(row["stage"], row["size"]): row for row in rows}
    sizes = sorted(size for stage, size in of if stage == "counting")
    heads = ["texts of 12 words", "counting, s", "MB/s", "MiB", "tokenising, s", "µs a text", "MiB", "bytes a text"]
    yield f"| {' | '.join([*heads, 'credits, s', 'MiB'])} |"
    yield "|---" * 10 + "|"
    for size in sizes:
        count, rowed, learned = (of[stage, size] for stage in ("counting", "tokenising", "learning"))
        yield (
            f"| {size:,} | {count['seconds']:.1f} | {count['MB'] / count['seconds']:.1f} | {count['MiB']:.0f} "
            f"| {rowed['seconds']:.1f} | {1e6 * rowed['seconds'] / size:.0f} | {rowed['MiB']:.0f} "
            f"| {rowed['bytes'] / size:.0f} | {learned['seconds']:.1f} | {learned['MiB']:.0f} |"
        )
    heads = ["pieces of the vocabulary", "export, s", "MB on disk", "collator, to its first batch, s", "MiB"]
    yield from ("", f"| {' | '.join([*heads, 'a batch of 64 texts, ms'])} |")
    yield "|---" * 6 + "|"
    for size in sorted(size for stage, size in of if stage == "vocabulary"):
        row = of["vocabulary", size]
        yield (
            f"| {size:,} | {row['seconds']:.2f} | {row['MB']:.1f} | {row['start']:.2f} | {row['collator']:.0f} "
            f"| {1000 * row['batch']:.1f} |"
        )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--stage", nargs=3, metavar=("STAGE", "FOLDER", "SIZE"))
    given = parser.parse_args()
    if given.stage:
        stage, folder, size = given.stage
        return print(json.dumps(STAGES[stage](Path(folder), int(size))))
    sizes = QUICK if given.quick else SIZES
    with TemporaryDirectory() as temporary:
        folder = Path(temporary)
        prepare(folder, sizes)
        rows = [apart(stage, folder, size) for size in sizes for stage in ("counting", "tokenising", "learning")]
        rows += [apart("vocabulary", folder, size) for size in VOCABULARIES]
    if not given.quick:
        write_up(FOLDER, {"rows": rows}, list(tables(rows)))
    of = {
        (row["stage"], row["size"]): row["seconds"] / (row["size"] if row["stage"] != "learning" else 1) for row in rows
    }
    print(
        json.dumps(
            {stage: of[stage, sizes[-1]] / of[stage, sizes[0]] for stage in ("counting", "tokenising", "learning")}
        )
    )


if __name__ == "__main__":
    main()
