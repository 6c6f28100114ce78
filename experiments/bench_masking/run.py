"""Time masking against transformers' collator, then write result.json and the table of README.md.

.venv/bin/python experiments/bench_masking/run.py            # a few minutes
.venv/bin/python experiments/bench_masking/run.py --quick    # within a minute; writes nothing

The last line printed is one JSON object of ratios, peer / ours: above 1 ours is faster. Both sides get one thread, and
times are CPU times of the process: what else the machine does is not counted.
"""

import argparse
import json
import os
import statistics
import sys
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import torch
from scoring import difference_scoring, read, tficf_counting
from transformers import AutoTokenizer, DataCollatorForLanguageModeling, PreTrainedTokenizerBase

from policylearn.config import MaskingConfig, PolicyConfig
from policylearn.masking import TextField, vocabulary, word_keys
from policylearn.policy.policy import MaskingPolicy, mask_tokens
from policylearn.policy.scores import Scores
from policylearn.report.write_up import write_up

FOLDER = Path(__file__).parent
SHARED = FOLDER.parents[1] / "../shared"
MODEL, TEXTS = SHARED / "models/minilm-l6-mlm", SHARED / "data/corpora/corpus_acl_abstracts.jsonl.gz"
GENERAL = SHARED / "data/corpora/corpus_wiki_featured.jsonl.gz"
RATE = 0.15

KINDS = ("uniform", "types", "words")
"""Of policies, see `build_policy`."""

Row = dict[str, float | int | str]


def packed(tokenizer: PreTrainedTokenizerBase, rows: int, width: int) -> dict[str, torch.Tensor]:
    """Abstracts end to end in full rows [CLS] ... [SEP]: input_ids [B, T], special_tokens_mask, offset_mapping."""
    body = rows * (width - 2)
    texts = " ".join(read(TEXTS, body // 50 + 10))
    coded = tokenizer(texts, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
    assert len(coded["input_ids"]) >= body, "too few texts to fill the batch"
    ids = torch.tensor(coded["input_ids"][:body]).view(rows, -1)
    offsets = torch.tensor(coded["offset_mapping"][:body]).view(rows, -1, 2)
    special = torch.zeros(rows, width, dtype=torch.long)
    special[:, [0, -1]] = 1
    return {
        "input_ids": torch.nn.functional.pad(
            torch.nn.functional.pad(ids, (1, 0), value=tokenizer.cls_token_id), (0, 1), value=tokenizer.sep_token_id
        ),
        "special_tokens_mask": special,
        "offset_mapping": torch.nn.functional.pad(offsets, (0, 0, 1, 1)),
    }


def build_policy(tokenizer: PreTrainedTokenizerBase, unit: str, kind: str) -> MaskingPolicy:
    """ "uniform"; "types", a score per token type, spread as Difference-Masking's; "words", one per word as well. What
    masking costs does not depend on which type or word has which score."""
    tables = vocabulary(tokenizer)
    field = TextField(tables, MaskingConfig(unit=unit, rate=RATE))
    lexicon = known_words(tokenizer, field) if kind == "words" else torch.zeros(0, dtype=torch.int64)
    seeded = torch.Generator().manual_seed(0)
    scores, words = (torch.rand(size, generator=seeded) for size in (len(tables.special), len(lexicon)))
    config = PolicyConfig(prior={} if kind == "uniform" else {"difference": 12.0}, network="none")
    found = Scores(scores, words if kind == "words" else None)
    return MaskingPolicy(config, {"difference": found}, lexicon, torch.zeros(len(scores), 1), field)


def known_words(tokenizer: PreTrainedTokenizerBase, field: TextField) -> torch.Tensor:
    """Keys of the words of 300,000 tokens, the timed ones among them: some ten thousand."""
    ids = packed(tokenizer, 64, 4096)["input_ids"]
    keys = word_keys(ids, field.words(ids, torch.ones_like(ids, dtype=torch.bool))).unique()
    return keys[keys != 0]


def ours(policy: MaskingPolicy, batch: dict[str, torch.Tensor]) -> Callable[[], object]:
    real = torch.ones_like(batch["input_ids"], dtype=torch.bool)
    epochs = iter(range(1 << 62))
    return lambda: mask_tokens(policy, batch["input_ids"], real, 0, next(epochs))


def theirs(tokenizer: PreTrainedTokenizerBase, batch: dict[str, torch.Tensor], **given: bool) -> Callable[[], object]:
    """transformers' masking. It writes into its input, which is copied for it; the copy is part of the time
    (a hundredth of it)."""
    whole_words = given.get("whole_words", False)
    collator = DataCollatorForLanguageModeling(tokenizer, mlm_probability=RATE, whole_word_mask=whole_words)
    special = batch["special_tokens_mask"] if given.get("special", True) else None
    offsets = batch["offset_mapping"] if whole_words else None
    return lambda: collator.torch_mask_tokens(
        batch["input_ids"].clone(), special_tokens_mask=special, offset_mapping=offsets
    )


def interleaved(ours: Callable[[], object], theirs: Callable[[], object], repeats: int) -> tuple[float, float]:
    """Median CPU milliseconds of both, run in turn, so that a machine that heats up or throttles hits both alike."""
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(repeats + 1):
        for call, spent in zip((ours, theirs), times, strict=True):
            start = time.process_time()
            call()
            spent.append(1000 * (time.process_time() - start))
    mine, peer = (statistics.median(spent[1:]) for spent in times)
    return mine, peer


def row(name: str, target: str, ours_ms: float, peer_ms: float) -> Row:
    return {"row": name, "target": target, "ours_ms": ours_ms, "peer_ms": peer_ms, "ratio": peer_ms / ours_ms}


def token_masking(tokenizer: PreTrainedTokenizerBase, quick: bool) -> list[Row]:
    """32 × 512 against torch_mask_tokens, told which tokens are special and finding out by itself."""
    batch, found = packed(tokenizer, 32, 512), []
    for kind in KINDS:
        policy = build_policy(tokenizer, "token", kind)
        for way, special in (("given", True), ("computed", False)):
            mine, peer = ours(policy, batch), theirs(tokenizer, batch, special=special)
            name = f"token 32x512, {kind}, special mask {way}"
            found.append(row(name, "1×", *interleaved(mine, peer, 100 if quick else 500)))
    return found


def word_masking(tokenizer: PreTrainedTokenizerBase, quick: bool) -> list[Row]:
    """Whole words: transformers compares every pair of tokens of a row."""
    found = []
    for rows, width, target, repeats in ((32, 512, "20×", 5 if quick else 15), (8, 8192, "500×", 2 if quick else 11)):
        batch = packed(tokenizer, rows, width)
        for kind in KINDS:
            mine = ours(build_policy(tokenizer, "word", kind), batch)
            times = interleaved(mine, theirs(tokenizer, batch, whole_words=True), repeats)
            found.append(row(f"word {rows}x{width}, {kind}", target, *times))
    return found


def peak_bytes(call: Callable[[], object]) -> int:
    """Largest sum of live tensor memory that a call adds, in bytes, from the allocator's own events."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        call()
    changes = [e for e in profile.profiler.kineto_results.events() if e.name() == "[memory]"]
    live = peak = 0
    for event in sorted(changes, key=lambda e: e.start_ns()):
        live += event.nbytes()
        peak = max(peak, live)
    return peak


def word_memory(tokenizer: PreTrainedTokenizerBase) -> dict[str, float]:
    """Bytes of tensors at the peak per token, 8 rows of T, 2T, 4T tokens: constant if memory is linear."""
    policy, found = build_policy(tokenizer, "word", "types"), {}
    for width in (2048, 4096, 8192):
        call = ours(policy, packed(tokenizer, 8, width))
        call()
        found[f"8x{width}"] = peak_bytes(call) / (8 * width)
    return found


def peer_word_memory(tokenizer: PreTrainedTokenizerBase, width: int) -> float:
    """The same of transformers, which works in NumPy here, so by tracemalloc."""
    call = theirs(tokenizer, packed(tokenizer, 8, width), whole_words=True)
    tracemalloc.start()
    call()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak / (8 * width)


def duration(ms: float) -> str:
    """1.23 ms, 1.04 s, 72.00 s, 7.20 h."""
    scale, unit = (1, "ms") if ms < 1000 else (1000, "s") if ms < 3_600_000 else (3_600_000, "h")
    return f"{ms / scale:.2f} {unit}"


def table(result: dict) -> list[str]:
    lines = ["| what | ours | theirs | ratio | target |", "|---|---|---|---|---|"]
    lines += [
        f"| {r['row']} | {duration(r['ours_ms'])} | {duration(r['peer_ms'])} | {r['ratio']:.2f}× | {r['target']} |"
        for r in result["rows"]
    ]
    memory = ", ".join(f"{shape}: {count:.0f}" for shape, count in result["bytes_per_token"].items())
    peer = ", ".join(f"{shape}: {count:,.0f}" for shape, count in result["peer_bytes_per_token"].items())
    return [*lines, "", f"Peak memory of word masking, bytes per token: ours {memory}; transformers {peer}."]


def measure(quick: bool) -> dict:
    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(MODEL)
    rows = token_masking(tokenizer, quick) + word_masking(tokenizer, quick)
    rows += [row(*times) for times in difference_scoring(MODEL, TEXTS, tokenizer, quick)]
    rows += [row(*times) for times in tficf_counting(TEXTS, GENERAL, tokenizer, quick)]
    peer = {f"8x{width}": peer_word_memory(tokenizer, width) for width in ((2048,) if quick else (2048, 4096, 8192))}
    memory = word_memory(tokenizer)
    return {"threads": 1, "rows": rows, "bytes_per_token": memory, "peer_bytes_per_token": peer}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer repeats; writes nothing")
    options = parser.parse_args()
    if not MODEL.is_dir():
        sys.exit(f"{MODEL} is not there: it holds the tokenizer")
    torch.set_num_threads(1)
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    result = measure(options.quick)
    if not options.quick:
        write_up(FOLDER, result, table(result))
    print("\n".join(table(result)))
    print(json.dumps({r["row"]: round(float(r["ratio"]), 2) for r in result["rows"]}))


if __name__ == "__main__":
    main()
