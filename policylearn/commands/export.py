"""A policy handed over: as it is, as a table over token ids, or as a data set that it has scored."""

import json
import os
from collections.abc import Callable, Iterable, Iterator, Set
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from policylearn.artefact import CARD, MANIFEST, PolicyArtefact, load_policy, save_policy
from policylearn.artefact.card import with_note
from policylearn.collator.distil import COLUMN, MAX_LENGTH, Fidelity, annotate, to_table, tokenized
from policylearn.commands.choices import Form
from policylearn.data.corpora import open_corpus
from policylearn.data.records import matching_files, read_records
from policylearn.learning.lineage import LEARNED, at_round
from policylearn.masking.field import text_field
from policylearn.messages.watch import UNSEEN, Watch
from policylearn.runs.contents import contents_of, known_contents
from policylearn.runs.layout import CHECKPOINTS, OUTCOMES, POLICY
from policylearn.runs.reading import config_for_its_files, kept_config
from policylearn.runs.state import load_round, select_prefix
from policylearn.runs.taking import check_takes_policy
from policylearn.storage.filesystem import PENDING
from policylearn.storage.folder import Storage, files_below

EXAMPLES = "examples.jsonl"
"""What `out` holds of an annotated data set, beside the policy."""
TEXT = "text"
"""Column of a corpus by file."""
USAGE = """from datasets import load_dataset
from policylearn import PolicyCollator
dataset = load_dataset("json", data_files="{path}", split="train")  # dataset.sort("text_score"): worth reading last
collator = PolicyCollator.from_pretrained("{policy}")
# With transformers' Trainer: TrainingArguments(..., remove_unused_columns=False), or it drops the column "policy"."""


@dataclass(frozen=True)
class Exported:
    """What was written.

    Attributes:
        policy: where.
        fidelity: of a table; None for the policy as it is.
        examples: file of the annotated data set, and how many it has.
        left_out: texts that have no token, or special ones alone.
        changed: whether the texts of the run are others than when it began.
    """

    policy: str
    fidelity: Fidelity | None = None
    examples: tuple[str, int] | None = None
    left_out: int = 0
    changed: bool = False

    def lines(self) -> list[str]:
        """What to tell whoever asked for it."""
        said = [f"policy    {self.policy}"]
        if self.changed:
            said.append("texts     domain.path: changed since the run began, and this is of what is there now")
        if self.fidelity is not None:
            said.append(f"fidelity  {self.fidelity}")
        if self.examples is not None:
            path, count = self.examples
            without = f", without {self.left_out:,} that hold no token" if self.left_out else ""
            said += [
                f"examples  {path} ({count:,}{without})",
                "",
                *USAGE.format(path=path, policy=self.policy).splitlines(),
            ]
        return said


def open_policy(source: str | os.PathLike[str], number: int | None = None) -> PolicyArtefact:
    """The policy of a run, of a folder or URI, or of a name on the Hub.

    Args:
        source: where it is.
        number: of a run's round, to have φ as it was after it; of one without rounds of rollouts, of outcomes.

    Raises:
        ValueError: there is no policy, the run has exported none yet or learned in no rounds, or that round's
            checkpoint is not kept.
        StorageFailed: the place cannot be reached.
    """
    run = _run(source)
    if run is None and number is not None:
        raise ValueError(f"{source} is no run that has exported a policy: it has no round {number}; leave out --round")
    artefact = load_policy(str(run / POLICY) if run else source)
    if run is None or number is None:
        return artefact
    checkpoints = next((kept for kept in (run / CHECKPOINTS, run / OUTCOMES / CHECKPOINTS) if kept.names()), None)
    if checkpoints is None:
        stages = kept_config(run).learn.stages
        raise ValueError(f"{source} learned in no rounds (learn.stages = {stages}): leave out --round")
    artefact.policy.load_learned(select_prefix("phi.", load_round(checkpoints, number).tensors))
    note = f"The policy after round {number} of a run; its final policy was described thus:"
    learned = {LEARNED: at_round(kept_config(run), number)}
    return replace(artefact, provenance=artefact.provenance | learned, card=with_note(artefact.card, note))


def _run(source: str | os.PathLike[str]) -> Storage | None:
    """The run directory that `source` is, if it has exported a policy."""
    if "://" not in str(source) and not Path(source).is_dir():
        return None
    place = Storage.at(source)
    return place if place.is_file(f"{POLICY}/{MANIFEST}") else None


def export(
    source: str | os.PathLike[str],
    out: str | os.PathLike[str],
    form: Form = "policy",
    number: int | None = None,
    corpus: str | None = None,
    column: str = TEXT,
    max_length: int = MAX_LENGTH,
    watch: Watch = UNSEEN,
) -> Exported:
    """Write a policy to a folder or URI of its own.

    Args:
        source, number: as in `open_policy`.
        out: where to; an annotated data set goes to a folder on this machine.
        form: the policy as it is, as a table over token ids, or as a table with a data set it has scored.
        corpus: file of texts of the domain; None: that of the run.
        column: of the text in the file.
        max_length: tokens per example, special tokens included; longer texts go on in further examples.
        watch: shows how far it is.

    Raises:
        ValueError: as in `open_policy`; `out` is a run; a corpus is needed and not given; or one is given, or how to
            read it, and nothing of the form is made of texts.
        StorageFailed: one of the places cannot be reached.
    """
    if form == "annotated" and "://" in str(out):
        raise ValueError(f"--out {out}: an annotated data set is written to a folder on this machine; give a path")
    _check_used(form, corpus, column, max_length)
    check_takes_policy(out, (POLICY, EXAMPLES) if form == "annotated" else ())
    artefact = open_policy(source, number)
    if form == "policy":
        return Exported(write_policy(artefact, out))
    if artefact.tokenizer is None:
        raise ValueError(
            f"--form {form} is of texts, and {source} is over pictures: leave it out, there is no other form"
        )
    texts, changed = _texts(source, corpus, column), corpus is None and _has_changed(source)
    found = to_table(artefact, texts(), max_length, watch)
    note = f"A table of mean logits per token id, in place of the policy described below. It does {found.fidelity}."
    table = replace(found.artefact, card=with_note(artefact.card, note))
    if form == "table":
        return Exported(write_policy(table, out), found.fidelity, changed=changed)
    path, special = Path(out) / EXAMPLES, set(text_field(artefact.policy.field).special.nonzero()[:, 0].tolist())
    rows = tokenized(artefact, watch("scoring texts", texts()), max_length)
    with _appearing(path) as pending:
        count, left_out = write_examples(pending, annotate(artefact, rows), special)
        policy = write_policy(table, Path(out) / POLICY)
    return Exported(policy, found.fidelity, (str(path), count), left_out, changed)


def _check_used(form: Form, corpus: str | None, column: str, max_length: int) -> None:
    """Refuse what has no effect; the policy as it is needs no texts."""
    given = {"--corpus": corpus is not None, "--column": column != TEXT, "--max-length": max_length != MAX_LENGTH}
    if form == "policy" and any(given.values()):
        unused = next(option for option in given if given[option])
        raise ValueError(f"{unused} is for --form table or annotated: choose one, or leave it out")
    if given["--column"] and not given["--corpus"]:
        raise ValueError(f"--column {column} is that of a file: name it, --corpus FILE")


def write_policy(artefact: PolicyArtefact, out: str | os.PathLike[str]) -> str:
    """Save a policy with the card it has, at a path or URI."""
    target = Storage.at(out)
    with TemporaryDirectory(prefix="policylearn-") as local:
        target.write_all(files_below(save_policy(local, artefact, artefact.card)), MANIFEST, [CARD])
    return str(target)


def _texts(source: str | os.PathLike[str], corpus: str | None, column: str) -> Callable[[], Iterator[str]]:
    """A function that opens a stream of texts."""
    if corpus is not None:
        return partial(_read, matching_files(corpus, "--corpus"), column)
    run = _run(source)
    if run is None:
        raise ValueError(f"{source} is no run, which would know its corpus: name texts of the domain, --corpus FILE")
    return lambda: open_corpus(config_for_its_files(run), "domain")


def _has_changed(run: str | os.PathLike[str]) -> bool:
    """Whether its domain is another than when it began, as far as that is known."""
    storage = Storage.at(run)
    before, path = known_contents(storage).get("domain.path"), kept_config(storage).domain.path
    now = {contents_of(path, follows=follows) for follows in (True, False)}  # earlier runs followed no links
    return before is not None and None not in now and before not in now


def _read(files: Iterable[str], column: str) -> Iterator[str]:
    named = {column: "--column"}
    for file in files:
        yield from (row[column] for row in read_records(file, named, key="--corpus", settings=named, text=column))


@contextmanager
def _appearing(path: Path) -> Iterator[Path]:
    """A file to be written beside its place, where it appears when it is whole: a part of a data set looks like one."""
    pending = path.with_name(path.name + PENDING)
    try:
        yield pending
        pending.replace(path)
    finally:
        pending.unlink(missing_ok=True)


def write_examples(path: Path, examples: Iterable[dict], special: Set[int]) -> tuple[int, int]:
    """Write examples as JSON lines, but for those of special tokens alone, of which there is nothing to predict.

    Returns:
        how many were written, and how many were not.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    count = left_out = 0
    with path.open("w", encoding="utf-8") as lines:
        for example in examples:
            if special >= set(example["input_ids"]):
                left_out += 1
                continue
            # nine digits are what float32 has
            logits = [float(f"{logit:.9g}") for logit in example[COLUMN]]
            lines.write(json.dumps(example | {COLUMN: logits}) + "\n")
            count += 1
    return count, left_out
