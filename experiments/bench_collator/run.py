"""Time PolicyCollator against transformers' collator, whole calls; then write result.json and the table of README.md.

.venv/bin/python experiments/bench_collator/run.py            # ten minutes
.venv/bin/python experiments/bench_collator/run.py --quick    # within a minute; writes nothing

The last line printed is one JSON object of ratios: peer / ours for collators, and target / ours where there is no peer;
above 1 ours is faster, or within its target. One thread; times are CPU times of the process, medians of calls in turn.
"""

import argparse
import json
import os
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from policies import build_policy
from step import shares_of_a_step
from texts import Example, as_tensors, examples
from transformers import AutoTokenizer, DataCollatorForLanguageModeling, PreTrainedTokenizerBase

from policylearn import PolicyCollator
from policylearn.report.write_up import write_up

FOLDER = Path(__file__).parent
SHARED = FOLDER.parents[1] / "../shared"
MODEL, TEXTS = SHARED / "models/minilm-l6-mlm", SHARED / "data/corpora/corpus_acl_abstracts.jsonl.gz"
SHAPES = ((32, 64), (32, 128), (32, 512), (8, 8192))
WORDS = {(32, 64): None, (32, 128): None, (32, 512): 10.0, (8, 8192): 200.0}
"""How many times as fast whole words are to be."""
CONTEXT_MS, SHARE = 5.0, 0.02

Row = dict[str, float | str | None]
Collator = Callable[[Sequence[Example]], object]


def interleaved(calls: Sequence[Callable[[], object]], repeats: int) -> list[float]:
    """Median CPU milliseconds of each, run in turn, so that whatever slows the machine down hits all alike."""
    spent: list[list[float]] = [[] for _ in calls]
    for _ in range(repeats + 1):
        for call, times in zip(calls, spent, strict=True):
            start = time.process_time()
            call()
            times.append(1000 * (time.process_time() - start))
    return [statistics.median(times[1:]) for times in spent]


def row(name: str, target: float | None, ours_ms: float, peer_ms: float | None) -> Row:
    return {"row": name, "target": target, "ours_ms": ours_ms, "peer_ms": peer_ms}


def token_rows(tokenizer: PreTrainedTokenizerBase, shape: tuple[int, int], repeats: int) -> list[Row]:
    """Single tokens: uniform, and by tables of scores, against transformers' uniform coins."""
    kinds = {"uniform": 1.0, "table": 1 / 1.1, "table of words": None, "context": None}
    mine = [PolicyCollator(tokenizer, policy=build_policy(tokenizer, MODEL, TEXTS, kind)) for kind in kinds]
    theirs, texts, found = DataCollatorForLanguageModeling(tokenizer), examples(tokenizer, TEXTS, *shape), []
    bare = [{name: column for name, column in text.items() if name != "special_tokens_mask"} for text in texts]
    inputs = {"lists": bare, "lists, special mask": texts, "tensors": as_tensors(bare)}
    for way, given in inputs.items():
        calls = [lambda collate=collate, given=given: collate(given) for collate in (theirs, *mine)]
        peer, *times = interleaved(calls, repeats)
        name = f"{shape[0]}x{shape[1]}, {{}}, {way}"
        found += [row(name.format(kind), kinds[kind], ms, peer) for kind, ms in zip(kinds, times, strict=True)]
    return found


def word_rows(tokenizer: PreTrainedTokenizerBase, shape: tuple[int, int], repeats: int) -> list[Row]:
    """Whole words: transformers compares every pair of tokens of a row, and needs their offsets."""
    kinds, found = ("uniform", "table", "table of words"), []
    mine = [PolicyCollator(tokenizer, policy=build_policy(tokenizer, MODEL, TEXTS, kind, "word")) for kind in kinds]
    theirs = DataCollatorForLanguageModeling(tokenizer, whole_word_mask=True)
    texts = examples(tokenizer, TEXTS, *shape, offsets=True)
    for way, given in {"lists": texts, "tensors": as_tensors(texts)}.items():
        calls = [lambda collate=collate, given=given: collate(given) for collate in (theirs, *mine)]
        peer, *times = interleaved(calls, repeats)
        name = f"{shape[0]}x{shape[1]}, whole words, {{}}, {way}"
        found += [row(name.format(kind), WORDS[shape], ms, peer) for kind, ms in zip(kinds, times, strict=True)]
    return found


def context_row(tokenizer: PreTrainedTokenizerBase, repeats: int) -> Row:
    """A learned network over the context, alone: what a worker of a loader does."""
    collate = PolicyCollator(tokenizer, policy=build_policy(tokenizer, MODEL, TEXTS, "context"))
    texts = examples(tokenizer, TEXTS, 32, 128)
    [ours] = interleaved([lambda: collate(texts)], repeats)
    return row("32x128, context, alone", CONTEXT_MS, ours, None)


def ratio(found: Row) -> float:
    """Above 1: faster than the peer, or than the target where there is no peer."""
    over = found["peer_ms"] or found["target"]
    return float(over) / float(found["ours_ms"])


def table(result: dict) -> list[str]:
    lines = ["| what | ours | transformers | ratio | target |", "|---|---|---|---|---|"]
    for found in result["rows"]:
        peer, target = found["peer_ms"], found["target"]
        aim = "none" if target is None else f"{target:.2g} ms" if peer is None else f"{target:.3g}×"
        peer = "" if peer is None else f"{peer:.2f} ms"
        times = f"{ratio(found):.2f}×" if peer else ""
        lines.append(f"| {found['row']} | {found['ours_ms']:.2f} ms | {peer} | {times} | {aim} |")
    step = result["step"]
    where = " and ".join(f"{100 * share:.2f} % {place}" for place, share in step["shares"].items())
    said = f"A step of BERT-base on {step['rows']}x128 takes {step['seconds']:.1f} s; the loop waits for a 32x128 batch"
    return [*lines, "", f"{said} by context {where} of that."]


def measure(quick: bool) -> dict:
    torch.manual_seed(0)
    tokenizer, rows = AutoTokenizer.from_pretrained(MODEL), []
    for shape in SHAPES:
        long = shape[1] > 1000
        rows += token_rows(tokenizer, shape, (3 if long else 10) if quick else (15 if long else 100))
        rows += word_rows(tokenizer, shape, (1 if long else 4) if quick else (9 if long else 40))
    rows.append(context_row(tokenizer, 50 if quick else 500))
    collate = PolicyCollator(tokenizer, policy=build_policy(tokenizer, MODEL, TEXTS, "context"))
    texts = examples(tokenizer, TEXTS, 32, 128)
    step = shares_of_a_step(collate, texts, len(tokenizer), *((1, 2) if quick else (8, 3)))
    return {"threads": 1, "rows": rows, "step": step}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer repeats; writes nothing")
    options = parser.parse_args()
    if not MODEL.is_dir():
        sys.exit(f"{MODEL} is not there: it holds the tokenizer")
    torch.set_num_threads(1)
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    warnings.simplefilter("ignore")  # transformers: that whole words are all shown as [MASK]
    result = measure(options.quick)
    if not options.quick:
        write_up(FOLDER, result, table(result))
    print("\n".join(table(result)))
    ratios = {found["row"]: round(ratio(found), 2) for found in result["rows"]}
    shares = {f"a step, {place}": round(SHARE / share, 2) for place, share in result["step"]["shares"].items()}
    print(json.dumps(ratios | shares))


if __name__ == "__main__":
    main()
