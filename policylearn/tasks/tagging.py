"""Texts with a tag for every word: named entities, in the BIO scheme.

A word's tag is that of its first token (as in the examples of transformers) that is more than the mark of a beginning,
`▁` or `Ġ`; other tokens have none. What a text is to the other kinds, a word is here: features, losses and targets are
of words. Support, query and labelled subsets are counted in texts, which are what somebody labels.
"""

import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import PreTrainedTokenizerBase

from policylearn.config import Config, TaskConfig
from policylearn.data.overview import describe_tags
from policylearn.data.tags import load_tags
from policylearn.data.task import Task
from policylearn.data.tokens import CHUNK, TokenRows, chunks
from policylearn.masking.vocabulary import lone_mark
from policylearn.messages.watch import UNSEEN, Watch
from policylearn.models.chunks import Indices, in_chunks
from policylearn.tasks.classification import Classification
from policylearn.tasks.kind import Shown, TaskKind
from policylearn.tasks.labelled import Examples, Labelled, LabelledBatch, LabelWeights

RAREST = 1e-4
"""Share of words below which a tag is taken to be no rarer."""


@dataclass(frozen=True)
class TaggedExamples(Examples):
    """One split, tokenised: rows of N texts, and y [W], tags of all words that have a token, as class indices.

    Attributes:
        first: [N + 1]; the words of text i are `first[i]` to before `first[i + 1]`.
        at: [W], places of their first tokens in the row.
        lost: words that have no token, because their text was cut or because they are nothing to the tokenizer.
    """

    rows: TokenRows
    first: np.ndarray
    at: np.ndarray
    lost: int = 0

    def __len__(self) -> int:
        return len(self.rows)

    def contents(self) -> Iterator[bytes]:
        yield from (self.y.numpy().tobytes(), self.first.tobytes(), self.at.tobytes())

    def targets_of(self, picked: Indices) -> np.ndarray:
        return _runs(self.first, picked)

    def within(self, picked: Indices, places: Indices) -> np.ndarray:
        counts = np.diff(self.first)[np.asarray(picked, dtype=np.int64)]
        return _runs(np.concatenate([[0], counts.cumsum()]), places)

    def strata(self, picked: Indices, y: Tensor) -> np.ndarray:
        """[len(picked), C], which tags a text has."""
        found = np.zeros((len(picked), int(self.y.max()) + 1), dtype=np.int64)
        found[np.repeat(np.arange(len(picked)), np.diff(self.first)[np.asarray(picked, dtype=np.int64)]), y.numpy()] = 1
        return found

    def tokens_of(self, picked: Indices) -> Iterator[np.ndarray]:
        """First tokens of the words."""
        for row in picked:
            yield from self.rows[int(row)][self.at[self.first[row] : self.first[row + 1]], None]

    def measure(self, metric: Callable[..., float], predicted: np.ndarray) -> float:
        return metric(*(np.split(tags.copy(), self.first[1:-1]) for tags in (self.y.numpy(), predicted)))

    def marks(self, picked: Sequence[int], width: int) -> Tensor:
        """Which tokens are the first of a word, [len(picked), width] boolean."""
        found = torch.zeros(len(picked), width, dtype=torch.bool)
        for i, row in enumerate(picked):
            found[i, self.at[self.first[row] : self.first[row + 1]]] = True
        return found

    def outputs(self, model: Callable[..., Tensor], picked: Indices, pad_id: int, watch: Watch = UNSEEN) -> Tensor:
        """What a model says of the words of the picked texts, [words, ...]."""
        picked = np.asarray(picked, dtype=np.int64)

        def batch(rows: list[int]) -> tuple[Tensor, ...]:
            ids, real = self.rows.batch(rows, pad_id)
            return ids, real, self.marks(rows, ids.shape[1])

        lengths, sizes = (np.diff(ends)[picked] for ends in (self.rows.offsets, self.first))
        return in_chunks(lambda ids, real, at: model(ids, real, at=at), batch, picked, lengths, watch, sizes)


@dataclass(frozen=True)
class TaggedBatch(LabelledBatch):
    """Texts with tags: y [W] of the words, whose first tokens are at `at` [B, T], in row order."""

    at: Tensor

    @property
    def more(self) -> dict[str, Tensor]:
        return {"at": self.at}


class TagWeights(LabelWeights):
    """The loss Σ_w x_(text of w) · ℓ_w(θ) / W; x are the weights of the B texts, all 1."""

    def inputs(self, batch: LabelledBatch, like: Tensor) -> Tensor:
        """Ones [B]."""
        return like.new_ones(len(batch.input_ids))

    def __call__(self, model: Callable[..., Tensor], batch: LabelledBatch, x: Tensor) -> Tensor:
        assert isinstance(batch, TaggedBatch)
        text_of = batch.at.nonzero()[:, 0].to(x.device)
        losses = self.losses(model(batch.input_ids, batch.real, **batch.more), batch.y.to(x.device))
        return (x[text_of] * losses).sum() / max(1, len(losses))  # a part may have texts without a word that counts

    def parts(self, batch: LabelledBatch, x: Tensor, rows: int) -> Iterator[tuple[LabelledBatch, Tensor, float]]:
        """Texts with their weights, and their share of the words."""
        assert isinstance(batch, TaggedBatch)
        ends = [0, *batch.at.sum(1).cumsum(0).tolist()]
        for first in range(0, len(x), rows):
            last = min(first + rows, len(x))
            ids, real, at = (tensor[first:last] for tensor in (batch.input_ids, batch.real, batch.at))
            part = TaggedBatch(ids, real, batch.y[ends[first] : ends[last]], at)
            yield part, x[first:last], len(part.y) / max(1, len(batch.y))


class Tags(Classification):
    """The `Readout` of tags: logits [W, C] are those of the tags' shares in train, moved by `factor` times what a ridge
    regression predicts beyond; most words have the same tag.

    Args:
        labels: names of the tags.
    """

    def __init__(self, labels: Sequence[str]) -> None:
        super().__init__(len(labels))
        self.labels = np.array(labels, dtype=object)
        self.metrics = {"span_f1": self.span_f1, "accuracy": token_accuracy}

    def outputs(self, scores: Tensor, factor: float | Tensor, centre: Tensor) -> Tensor:
        return factor * scores + centre.to(scores).clamp(min=RAREST).log()

    def quality(self, outputs: Tensor, y: Tensor) -> float:
        """The share of the entropy of the tags that is explained; negative where their shares would do better."""
        shares = y.bincount(minlength=self.width).double() / len(y)
        return 1 - cross_entropy(outputs.double(), y).item() / max(torch.special.entr(shares).sum().item(), 1e-12)

    def span_f1(self, y: Sequence[np.ndarray], predicted: Sequence[np.ndarray]) -> float:
        """F1 of whole spans with their types, of all texts together, as `seqeval` and the CoNLL script count them."""
        from seqeval.metrics import f1_score  # here only: who tags nothing needs none

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of no spans at all, whose F1 is 0
            names = ([self.labels[tags].tolist() for tags in found] for found in (y, predicted))
            return float(f1_score(*names, zero_division=0))


def token_accuracy(y: Sequence[np.ndarray], predicted: Sequence[np.ndarray]) -> float:
    """Share of the words whose tag is right."""
    return float(np.mean(np.concatenate(y) == np.concatenate(predicted)))


class Tagging(Labelled):
    """The `Kind` of texts with a tag for every word."""

    def __init__(self, readout: Tags, metric: str, pad_id: int) -> None:
        super().__init__("tagging", readout, metric, pad_id)
        self.step_loss = TagWeights(readout.losses)

    def batch(self, split: Any, rows: Sequence[int]) -> TaggedBatch:
        """Some texts of a split."""
        ids, real = split.rows.batch(rows, self.pad_id)
        return TaggedBatch(ids, real, split.y[split.targets_of(rows)], split.marks(rows, ids.shape[1]))


def tokenize_words(
    texts: Iterable[Any], tags: Sequence[Sequence[int]], tokenizer: PreTrainedTokenizerBase, max_length: int
) -> TaggedExamples:
    """Texts of words, cut at `max_length` tokens, with class indices of their tags."""
    pieces, words, at, cut, blank, mark = [], [], [], 0, blank_before(tokenizer), lone_mark(tokenizer, of_bytes=True)
    for chunk in chunks(texts, CHUNK):
        spelt = [[word if i == 0 else blank + word for i, word in enumerate(text)] for text in chunk]
        encoded = tokenizer(spelt, is_split_into_words=True, truncation=True, max_length=max_length)
        for row, one in enumerate(encoded.encodings or []):
            cut += bool(one.overflowing)
            found = np.array([-1 if word is None else word for word in encoded.word_ids(row)], dtype=np.int64)
            ids = np.asarray(one.ids, dtype=np.int32)
            first = np.flatnonzero((found >= 0) & (found != np.concatenate([[-1], found[:-1]])))
            pieces.append(ids)
            words.append(found[first])
            at.append(first + ((ids == mark) & (found == np.append(found[1:], -1)))[first])
    flat = np.concatenate([np.zeros(0, dtype=np.int32), *pieces])
    rows = TokenRows(flat, np.cumsum([0, *map(len, pieces)]), cut=cut)
    y = [np.asarray(own)[of] for own, of in zip(tags, words, strict=True)]
    lost = sum(map(len, tags)) - sum(map(len, words))
    return TaggedExamples(
        rows, torch.from_numpy(np.concatenate(y)), np.cumsum([0, *map(len, y)]), np.concatenate(at), lost
    )


def blank_before(tokenizer: PreTrainedTokenizerBase) -> str:
    """What a word that is not the first begins with, to be the tokens that it is in a text: a blank for RoBERTa's
    tokenizer, to which words by themselves are one word."""
    apart = tokenizer(["a", "b"], is_split_into_words=True)["input_ids"]
    return "" if apart == tokenizer("a b")["input_ids"] else " "


def _runs(ends: np.ndarray, picked: Indices) -> np.ndarray:
    """The numbers from `ends[i]` to before `ends[i + 1]` for every i that is picked.

    >>> _runs(np.array([0, 2, 5]), [1, 0])
    array([2, 3, 4, 0, 1])
    """
    return np.concatenate([np.zeros(0, dtype=np.int64), *(np.arange(ends[i], ends[i + 1]) for i in picked)])


def _tokenized(
    config: Config, task: Task, split: str, tokenizer: PreTrainedTokenizerBase, shown: Shown
) -> TaggedExamples:
    found, number = task.splits[split], {label: i for i, label in enumerate(task.labels)}
    tags = [[number[tag] for tag in own] for own in found.labels]
    tokenized = tokenize_words(shown(found.texts), tags, tokenizer, config.model.max_length)
    if not len(tokenized.y):
        where = f"task.path {config.task.path}: split {split!r}"
        raise ValueError(f"{where}: no word is anything to the tokenizer: set model.tokenizer to another")
    return tokenized


def _build(
    config: TaskConfig, labels: list[str], tokenizer: PreTrainedTokenizerBase, train: Callable[[], Any]
) -> Tagging:
    if config.metric == "span_f1" and find_spec("seqeval") is None:
        raise ValueError(
            'task.metric "span_f1" is counted by seqeval, which is not here: pip install --use-pep517 seqeval, or '
            "set task.metric=accuracy"
        )
    return Tagging(Tags(labels), config.metric, tokenizer.pad_token_id)


KIND = TaskKind(("span_f1", "accuracy"), load_tags, describe_tags, _tokenized, _build)
