"""A learned policy made cheap to use: as one logit per token id, or as a column of a data set that was scored once.

Both go together: the table is a policy whose only scorer is called "policy", and a collator that meets a column of
that name uses the column's values, which are exact, in place of the table's.
"""

import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from policylearn.artefact.artefact import PolicyArtefact
from policylearn.collator.examples import PROTECTED, check_scores, protected_positions, seen_positions
from policylearn.collator.packing import OFFSETS, Documents, documents_of
from policylearn.collator.padding import Batch, Padding, assemble
from policylearn.config import PolicyConfig
from policylearn.data.tokens import CHUNK, chunks, tokenize
from policylearn.masking.field import text_field
from policylearn.messages.watch import UNSEEN, Watch
from policylearn.policy.policy import MaskingPolicy
from policylearn.policy.scores import RANK, Scores, scorer_of
from policylearn.report.formats import plural

COLUMN, TEXT_SCORE = "policy", "text_score"
TELLING = frozenset({"attention_mask", "position_ids", "seq_idx", PROTECTED, *OFFSETS})
"""Columns that tell where texts are, and what of them may be masked."""
BATCH = 32
MAX_LENGTH = 512
IMPORTED_IN = os.getpid()
EVERY, MOST = 10, 1000
"""Every tenth row is held out for measuring fidelity, a thousand at most."""


@dataclass(frozen=True)
class Fidelity:
    """How far a table does what its policy does, on texts, or parts of long ones, that it was not made from.

    Attributes:
        overlap: Σ min(p, q) / Σ p over all tokens, p and q the inclusion probabilities of policy and table.
        rank_correlation: Spearman's of p and q within a text, the mean over texts.
        texts: how many were looked at.
    """

    overlap: float
    rank_correlation: float
    texts: int

    def __str__(self) -> str:
        return (
            f"{100 * self.overlap:.1f} % of the policy's masks, rank correlation {self.rank_correlation:.3f} "
            f"({plural(self.texts, 'held-out text')})"
        )


@dataclass(frozen=True)
class Distilled:
    """A policy as a table, and how faithful it is."""

    artefact: PolicyArtefact
    fidelity: Fidelity


def to_table(
    artefact: PolicyArtefact, texts: Iterable[str], max_length: int = MAX_LENGTH, watch: Watch = UNSEEN
) -> Distilled:
    """A policy whose scores per token id are the mean logits of this one over a corpus.

    Exact if the policy has a table of its own, and scores of types only. An id that is not seen in the texts has the
    logit it has as a text by itself, or the mean of all that were seen where the prior goes by rank within the text.

    Args:
        artefact: the policy.
        texts: of the domain, two rows of tokens at least; every tenth is held out for measuring fidelity.
        max_length: tokens per row; longer texts go on in further ones.
        watch: shows how far it is.

    Returns:
        the table as an artefact, and its fidelity.

    Raises:
        ValueError: fewer than two rows have a token that may be masked, or the policy cuts texts into spans.
    """
    policy = artefact.policy
    _check_units(policy)
    size = policy.field.size
    sums, counts = torch.zeros(size, dtype=torch.float64), torch.zeros(size, dtype=torch.int64)
    held: list[Tensor] = []
    for batch in chunks(
        _but_held_out(_rows(artefact, watch("mean logits over texts", texts), max_length), held), BATCH
    ):
        ids, real = _ids(batch)
        with torch.no_grad():
            logits = policy(ids, real)
        sums.index_add_(0, ids[real], logits[real].double())
        counts += ids[real].bincount(minlength=size)
    if not counts.sum():
        raise ValueError(
            "a table needs at least two texts (of a text file: lines) with a token that may be masked: give it more of "
            "the domain"
        )
    logits = torch.where(counts > 0, sums / counts, _alone(policy, float(sums.sum() / counts.sum()))).float()
    table = table_policy(policy, logits)
    provenance = artefact.provenance | {
        "form": "a table of mean logits per token id, in place of the policy told of here"
    }
    return Distilled(
        PolicyArtefact(table, artefact.tokenizer, provenance, artefact.card),
        fidelity(policy, table, watch("fidelity on held-out texts", held)),
    )


def _check_units(policy: MaskingPolicy) -> None:
    if policy.cuts_spans:
        raise ValueError(
            'a policy of policy.network "span" with masking.unit "span" cuts texts as no score per token can say: use '
            "it as it is, or mask tokens or words with it"
        )


def _rows(artefact: PolicyArtefact, texts: Iterable[str], max_length: int) -> Iterator[Tensor]:
    """Token ids [T] of the rows that have anything to mask."""
    special = text_field(artefact.policy.field).special
    for example in tokenized(artefact, texts, max_length):
        row = torch.tensor(example["input_ids"])
        if row.numel() and not bool(special[row].all()):
            yield row


def tokenized(artefact: PolicyArtefact, texts: Iterable[str], max_length: int) -> Iterator[dict[str, list[int]]]:
    """Examples with `input_ids`, special tokens included; a text that is longer goes on in further ones."""
    for chunk in chunks(texts, CHUNK):
        rows = tokenize(chunk, artefact.speaks, max_length, split=True)
        yield from ({"input_ids": rows[i].tolist()} for i in range(len(rows)))


def _but_held_out(rows: Iterable[Tensor], held: list[Tensor]) -> Iterator[Tensor]:
    """All rows but those that are held out, which go to `held`."""
    for place, row in enumerate(rows):
        if place % EVERY == 0 and len(held) < MOST:
            held.append(row)
        else:
            yield row


def _ids(rows: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Rows of token ids [T] as one batch, and where they are real, [B, T] both; no id is padding by itself."""
    batch, real = assemble([{"input_ids": row} for row in rows], Padding(0, telling=False))
    return batch["input_ids"], real


def _alone(policy: MaskingPolicy, mean: float) -> Tensor:
    """Logit of every type as a text by itself, [V] float64."""
    if any(name.endswith(RANK) for name in policy.names):  # alone, every type is the first of its text
        return torch.full((policy.field.size,), mean, dtype=torch.float64)
    ids = torch.arange(policy.field.size)[:, None]
    with torch.no_grad():
        return policy(ids, torch.ones_like(ids, dtype=torch.bool))[:, 0].double()


def table_policy(policy: MaskingPolicy, logits: Tensor) -> MaskingPolicy:
    """The policy that has these logits per token id, [V], and masks as another one does."""
    config = PolicyConfig(prior={COLUMN: 1.0}, network="none")
    words, features = torch.zeros(0, dtype=torch.int64), torch.zeros(0, 0)
    return MaskingPolicy(config, {COLUMN: Scores(logits)}, words, features, policy.field).eval()


def fidelity(policy: MaskingPolicy, table: MaskingPolicy, rows: Iterable[Tensor]) -> Fidelity:
    """How far a table does what a policy does on texts, token ids [T] each."""
    shared, spent, correlations = 0.0, 0.0, []
    for row in rows:
        ids, real = _ids([row])
        eligible = policy.eligible(ids, real)
        with torch.no_grad():
            p, q = (each.probabilities(ids, real)[eligible] for each in (policy, table))
        shared, spent = shared + float(p.minimum(q).sum()), spent + float(p.sum())
        correlations.append(spearman(p, q))
    return Fidelity(shared / spent, sum(correlations) / len(correlations), len(correlations))


def spearman(p: Tensor, q: Tensor) -> float:
    """Rank correlation of p and q, [n] each; values that are the same to rounding share their mean rank.

    Where one of them is constant there are no ranks to compare: 1 if both are, else 0.

    >>> p = torch.tensor([0.1, 0.2, 0.4])
    >>> spearman(p, p**2), spearman(p, -p), spearman(p, torch.ones(3)), spearman(torch.ones(3), torch.ones(3))
    (1.0, -1.0, 0.0, 1.0)
    """
    ranks = torch.stack([_ranks(p), _ranks(q)])
    centred = ranks - ranks.mean(1, keepdim=True)
    sizes = centred.norm(dim=1)
    if not bool(sizes.all()):
        return float(not bool(sizes.any()))
    return round(float(centred[0] @ centred[1] / sizes.prod()), 9)


def _ranks(values: Tensor) -> Tensor:
    values = values.double().round(decimals=9)
    ordered = values.sort().values
    return (torch.searchsorted(ordered, values) + torch.searchsorted(ordered, values, right=True)).double()


def annotate(artefact: PolicyArtefact, dataset: Any, batch_size: int = BATCH, **options: Any) -> Any:
    """A data set with the policy's logits as a column "policy", a list of one float per token.

    Where the policy has scores, there is `MaskingPolicy.text_scores` as well, "text_score", null where nothing may be
    masked: the higher, the more a masked token is worth there, by which texts may be chosen. Collators leave it out.

    A collator whose policy is a table (`to_table`) masks such examples as the policy itself would. Score columns that
    the policy knows are used where the examples have them; and padding, packed documents and protected tokens are what
    they are to a collator, but for `own_labels` and `words`, of which nothing is known here.

    Args:
        artefact: the policy.
        dataset: a `datasets.Dataset`, or examples with `input_ids`, special tokens included.
        batch_size: examples scored at once.
        options: of `datasets.Dataset.map`, such as num_proc.

    Returns:
        a data set of the same kind; for an iterable of examples, an iterator over copies of them.

    Raises:
        ValueError: an example has no `input_ids`, or the policy cuts texts into spans.
    """
    _check_units(artefact.policy)
    own = Padding.of(artefact.speaks)
    padding = replace(own, token=own.token or 0, side="right", multiple=None)
    if hasattr(dataset, "map"):
        score = _Column(artefact.policy, padding)
        return dataset.map(score, batched=True, batch_size=batch_size, **options)
    return _annotated(_Column(artefact.policy, padding), dataset, batch_size)


@dataclass(frozen=True)
class _Column:
    """Columns of a batch of examples → those that are new; what `datasets.Dataset.map` can send to processes."""

    policy: MaskingPolicy
    padding: Padding

    def __call__(self, batch: Mapping[str, list]) -> dict[str, list]:
        if os.getpid() != IMPORTED_IN:  # a fork of it waits for ever for the threads that it had, as in data loaders
            torch.set_num_threads(1)
        names = list(batch)
        return self.of([dict(zip(names, row, strict=True)) for row in zip(*batch.values(), strict=True)])

    def of(self, examples: list[Mapping[str, Any]]) -> dict[str, list]:
        """Of `columns_of`."""
        return columns_of(self.policy, examples, self.padding)


def _annotated(score: _Column, examples: Iterable[Mapping[str, Any]], size: int) -> Iterator[dict[str, Any]]:
    for chunk in chunks(examples, size):
        found = score.of(chunk)
        for example, *new in zip(chunk, *found.values(), strict=True):
            yield {**example, **dict(zip(found, new, strict=True))}


def columns_of(policy: MaskingPolicy, examples: list[Mapping[str, Any]], padding: Padding) -> dict[str, list]:
    """The columns of `annotate` for some examples, padded on the right; logits of every token are float32."""
    if any("input_ids" not in example for example in examples):
        raise ValueError(f"an example has no input_ids, but {sorted(examples[0])}: tokenise the data set first")
    known = sorted({scorer_of(name) for name in policy.names} & set(examples[0]))
    check_scores(examples, known)
    names = {"input_ids", *known, *TELLING} & examples[0].keys()
    rows = [{name: value for name, value in example.items() if name in names} for example in examples]
    batch, real = assemble(rows, padding)
    columns = {name: batch[name].float() for name in known}
    ids, seen = _seen(policy, batch, real, padding.token or 0)
    logits = _logits(policy, documents_of(batch, real), ids, seen, columns)
    found = {COLUMN: [row[: len(example["input_ids"])].tolist() for row, example in zip(logits, rows, strict=True)]}
    if policy.names:
        scores = policy.text_scores(ids, seen, columns).tolist()
        found[TEXT_SCORE] = [None if math.isnan(score) else score for score in scores]
    return found


def _seen(policy: MaskingPolicy, batch: Batch, real: Tensor, padding: int) -> tuple[Tensor, Tensor]:
    """Token ids, and what of them the policy is to see, [B, T] each."""
    ids, special = batch["input_ids"], text_field(policy.field).special
    protected = protected_positions(ids, real, special, batch.get(PROTECTED))
    ids = ids.masked_fill(~real, padding)
    return ids, seen_positions(ids, protected, special, padding)


def _logits(
    policy: MaskingPolicy, documents: Documents | None, ids: Tensor, seen: Tensor, columns: dict[str, Tensor]
) -> Tensor:
    """[B, T], of every document as if it stood alone."""
    with torch.no_grad():
        if documents is None:
            return policy(ids, seen, columns)
        columns = {name: documents.rows(column) for name, column in columns.items()}
        logits = policy(documents.rows(ids), documents.rows(seen, False), columns)
        return documents.back(logits, torch.zeros(ids.shape))
