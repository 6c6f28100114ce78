"""However documents come, each is masked as if it stood alone."""

import copy
from itertools import accumulate, chain, pairwise

import numpy as np
import pytest
import torch
from datasets import Dataset
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import BatchEncoding

from policylearn import PolicyCollator
from policylearn.collator.packing import documents_of
from policylearn.collator.padding import Padding
from policylearn.config import MaskingConfig
from policylearn.policy.policy import mask_tokens, uniform_policy

PAD, CLS, SEP = 0, 2, 3
BODIES = st.lists(st.lists(st.integers(5, 50), max_size=18), min_size=1, max_size=5)
LONG = list(range(20, 30))
"""Stands in every batch, so that there is something to mask."""


def documents(bodies: list[list[int]]) -> list[list[int]]:
    return [[CLS, *body, SEP] for body in [*bodies, LONG]]


def padded(docs, width, side="right", fill=PAD):
    blank = [[fill] * (width - len(doc)) for doc in docs]
    return [[*gap, *doc] if side == "left" else [*doc, *gap] for gap, doc in zip(blank, docs, strict=True)]


def ones(docs):
    return [[1] * len(doc) for doc in docs]


def widest(docs, spare=0):
    return max(map(len, docs)) + spare


# -- forms: collator, documents → batch, with as many rows as documents -----------------------------------------------


def as_rows(convert, **columns):
    return lambda docs: [{"input_ids": convert(doc), **columns} for doc in docs]


def already_padded(side, mask):
    def rows(docs):
        ids, real = (padded(x, widest(docs, spare=3), side) for x in (docs, ones(docs)))
        return [{"input_ids": i} | ({"attention_mask": r} if mask else {}) for i, r in zip(ids, real, strict=True)]

    return rows


def together(convert, mask):
    def batch(docs):
        ids, real = (convert(padded(x, widest(docs, spare=2), "left")) for x in (docs, ones(docs)))
        return {"input_ids": ids} | ({"attention_mask": real} if mask else {})

    return batch


ROWS = {
    "lists": as_rows(list),
    "tuples": as_rows(tuple),
    "tensors": as_rows(torch.tensor),
    "short tensors": as_rows(lambda doc: torch.tensor(doc, dtype=torch.int32)),
    "arrays": as_rows(np.array),
    "arrays without a sign": as_rows(lambda doc: np.array(doc, dtype=np.uint16)),
    "a batch without signs": together(lambda rows: np.array(rows, dtype=np.uint32), mask=True),
    "with foreign columns": as_rows(list, name="a", weight=0.5, vector=[1.0, 2.0, 3.0]),
    "lists of ids": lambda docs: docs,
    "tensors of ids": lambda docs: [torch.tensor(doc) for doc in docs],
    "encodings": lambda docs: [BatchEncoding({"input_ids": doc}) for doc in docs],
    "an encoding": lambda docs: BatchEncoding({"input_ids": docs, "attention_mask": ones(docs)}),
    "rows of a data set": lambda docs: list(Dataset.from_dict({"input_ids": docs})),
    "rows of a data set in torch": lambda docs: list(Dataset.from_dict({"input_ids": docs}).with_format("torch")),
    "a slice of a data set": lambda docs: Dataset.from_dict({"input_ids": docs})[:],
    "padded right": already_padded("right", mask=True),
    "padded left": already_padded("left", mask=True),
    "padded right, no mask": already_padded("right", mask=False),
    "padded left, no mask": already_padded("left", mask=False),
    "a batch of tensors": together(torch.tensor, mask=True),
    "a batch of tensors, no mask": together(torch.tensor, mask=False),
    "a batch of arrays": together(np.array, mask=True),
}


def joined(docs):
    return list(chain.from_iterable(docs))


def numbers(docs, first=0):
    return [n for n, doc in enumerate(docs, start=first) for _ in doc]


def ends(docs):
    return list(accumulate(map(len, docs), initial=0))


def places(docs):
    return [i for doc in docs for i in range(len(doc))]


PACKED = {
    "position_ids": places,
    "seq_idx": numbers,
    "attention_mask": lambda docs: numbers(docs, first=1),
    "cu_seqlens": ends,
    "cu_seq_lens_q": ends,
}
"""Column → what it says of documents end to end."""


@pytest.fixture(scope="module")
def collators(tokenizer, wordpiece, make_policy) -> dict[str, PolicyCollator]:
    found = {
        "context": PolicyCollator(tokenizer, policy=make_policy("context", learned=True), seed=2),
        "words": PolicyCollator(wordpiece, whole_word_mask=True, mlm_probability=0.3),
        "cut": PolicyCollator(tokenizer, policy=make_policy("span", learned=True, masking={"unit": "span"}), seed=1),
        "spans": PolicyCollator(wordpiece, policy=uniform_policy(wordpiece, MaskingConfig(unit="span"))),
    }
    for collator in found.values():
        collator.set_epoch(3)
    return found


KINDS = st.sampled_from(["context", "words", "cut", "spans"])


def alone(collator, doc) -> tuple[list[int], list[int]]:
    """What the policy itself makes of one document: what is shown, and labels."""
    ids = torch.tensor([doc])
    policy, seed = collator._overrides.under(vars(collator)), collator.seed or 0
    masked = mask_tokens(policy.train(), ids, ids >= 0, seed, epoch=3)
    policy.eval()
    return masked.shown[0].tolist(), masked.labels[0].tolist()


def assert_rows(collator, batch, docs):
    assert len(batch["input_ids"]) == len(docs)
    rows = zip(*(batch[name] for name in ("input_ids", "labels", "attention_mask")), docs, strict=True)
    for shown, labels, real, doc in rows:
        real = real.bool()
        assert (shown[real].tolist(), labels[real].tolist()) == alone(collator, doc)
        assert (labels[~real] == -100).all() and (shown[~real] == PAD).all()


@pytest.mark.parametrize("form", ROWS)
@settings(max_examples=12)
@given(KINDS, BODIES)
def test_a_document_per_row(collators, form, kind, bodies):
    docs = documents(bodies)
    assert_rows(collators[kind], collators[kind](ROWS[form](docs)), docs)


@pytest.mark.parametrize(("side", "multiple"), [("left", None), ("left", 16), ("right", 16)])
@settings(max_examples=12)
@given(KINDS, BODIES)
def test_padding_of_its_own(collators, side, multiple, kind, bodies):
    collator, docs = collators[kind], documents(bodies)
    before = collator.tokenizer.padding_side
    collator.tokenizer.padding_side, collator.pad_to_multiple_of = side, multiple
    try:
        batch = collator(ROWS["lists"](docs))
    finally:
        collator.tokenizer.padding_side, collator.pad_to_multiple_of = before, None
    assert_rows(collator, batch, docs)
    assert batch["input_ids"].shape[1] == (widest(docs) if multiple is None else -(-widest(docs) // 16) * 16)
    assert bool(batch["attention_mask"][:, 0 if side == "right" else -1].all())


def assert_packed(collator, shown, labels, docs):
    expected = [alone(collator, doc) for doc in docs]
    for (start, end), (tokens, marks) in zip(pairwise(ends(docs)), expected, strict=True):
        assert (shown[start:end].tolist(), labels[start:end].tolist()) == (tokens, marks)
    assert (labels[ends(docs)[-1] :] == -100).all()


@pytest.mark.parametrize("column", PACKED)
@settings(max_examples=12)
@given(KINDS, BODIES, st.booleans())
def test_documents_end_to_end_in_a_row_of_a_batch(collators, column, kind, bodies, as_list):
    collator, docs = collators[kind], documents(bodies)
    row = {"input_ids": joined(docs), column: PACKED[column](docs)}
    batch = {name: value if name.startswith("cu_") else [value] for name, value in row.items()}
    if not as_list:
        batch = {name: torch.tensor(value) for name, value in batch.items()}
    masked = collator(batch)
    assert_packed(collator, masked["input_ids"][0], masked["labels"][0], docs)
    assert torch.equal(torch.as_tensor(batch[column]), masked[column])
    # With an attention mask models would look from one document to the next.
    assert ("attention_mask" in masked) == (column == "attention_mask")


@pytest.mark.parametrize("column", PACKED)
@settings(max_examples=12)
@given(KINDS, BODIES, st.integers(1, 3), st.booleans(), st.booleans())
def test_padding_between_documents(collators, column, kind, bodies, gap, leads, marked):
    """Each is masked as if it stood alone, whether padding follows the document before it or leads its own."""
    collator, docs = collators[kind], documents(bodies)
    blank = [PAD] * gap
    wide = [[*blank, *doc] if leads else [*doc, *blank] for doc in docs]
    ids, told = torch.tensor([joined(wide)]), torch.tensor(PACKED[column](wide))
    real = ids != PAD
    if column == "attention_mask":
        told = told * real[0]
    batch = {"input_ids": ids, column: told if column.startswith("cu_") else told[None]}
    masked = collator(({"attention_mask": real} if marked else {}) | batch)
    assert_packed(collator, masked["input_ids"][real], masked["labels"][real], docs)
    assert (masked["labels"][~real] == -100).all()


@settings(max_examples=12)
@given(KINDS, BODIES, st.integers(0, 9))
def test_a_row_whose_first_document_goes_on_from_another_row(collators, kind, bodies, first):
    collator, docs = collators[kind], documents([LONG, *bodies])
    positions = [first + i for i in places(docs[:1])] + places(docs[1:])
    batch = collator([{"input_ids": joined(docs), "position_ids": positions}])
    assert_packed(collator, batch["input_ids"][0], batch["labels"][0], docs)


@pytest.mark.parametrize("positions", [[0, 1, 2, 3, 100, 101, 102], [5, 6, 7, 8, 9, 10, 11], [2, 3, 4, 5, 6, 7, 9]])
def test_positions_that_rise_are_of_one_text(collators, positions):
    text = [2, 20, 21, 22, 23, 24, 3]
    batch = collators["context"]([{"input_ids": text, "position_ids": positions}])
    assert (batch["input_ids"][0].tolist(), batch["labels"][0].tolist()) == alone(collators["context"], text)
    assert batch["attention_mask"].all()


@pytest.mark.parametrize("positions", [[0] * 7, [0, 0, 1, 1, 2, 2, 3], [6, 5, 4, 3, 2, 1, 0], [0, 1, 2, 3, 2, 3, 4]])
def test_positions_that_tell_nothing_of_documents(collators, positions):
    row = {"input_ids": [2, 20, 21, 22, 23, 24, 3], "position_ids": positions}
    with pytest.raises(ValueError, match=r"position_ids of row 1 neither rise nor begin anew.* column seq_idx"):
        collators["context"]([row | {"position_ids": list(range(7))}, row])
    batch = collators["context"]([row | {"seq_idx": [0] * 7}])
    assert batch["labels"][0].tolist() == alone(collators["context"], row["input_ids"])[1]


RAGGED = {
    "lists": list,
    "tensors": lambda rows: [torch.tensor(row, dtype=torch.int32) for row in rows],
    "arrays": lambda rows: [np.array(row) for row in rows],
}


@pytest.mark.parametrize("column", ["cu_seqlens", "cu_seq_lens_q"])
@pytest.mark.parametrize("form", RAGGED)
@settings(max_examples=12)
@given(KINDS, BODIES, st.booleans(), st.sampled_from(["left", "right"]))
def test_where_the_documents_of_each_row_end(collators, form, column, kind, bodies, padding_ends, side):
    """As ModernBERT's own training packs them, and `max_seqlen` beside it; padding counted as a document, or not."""
    collator, rows = collators[kind], (documents(bodies), documents([*bodies[:1], [7, 8, 9]]))
    width = max(ends(docs)[-1] for docs in rows) + 1
    given = [ends(docs) for docs in rows]
    if padding_ends and side == "right":
        given = [[*row, width] for row in given]
    batch = {
        "input_ids": torch.tensor(padded([joined(docs) for docs in rows], width, side)),
        column: RAGGED[form](given),
        "max_seqlen": [max(map(len, docs)) for docs in rows],
    }
    masked = collator(batch)
    for shown, labels, docs in zip(masked["input_ids"], masked["labels"], rows, strict=True):
        start = width - ends(docs)[-1] if side == "left" else 0
        assert_packed(collator, shown[start:], labels[start:], docs)
    assert [row.tolist() for row in masked[column]] == given and "attention_mask" not in masked
    assert masked["max_seqlen"].tolist() == batch["max_seqlen"]


def test_where_the_documents_of_each_row_end_in_numpy(collators):
    docs = documents([[7, 8, 9]])
    rows = [{"input_ids": joined(docs), "cu_seqlens": ends(docs)}, {"input_ids": docs[0], "cu_seqlens": [0, 5]}]
    batch = collators["context"](rows, return_tensors="np")
    assert [type(row) for row in batch["cu_seqlens"]] == [np.ndarray] * 2


@settings(max_examples=12)
@given(KINDS, BODIES, st.sampled_from(["left", "right"]))
def test_examples_that_say_where_their_documents_end(collators, kind, bodies, side):
    collator, rows = collators[kind], (documents(bodies), documents([*bodies[:1], [7, 8, 9]]))
    before, collator.tokenizer.padding_side = collator.tokenizer.padding_side, side
    try:
        batch = collator([{"input_ids": joined(docs), "cu_seqlens": ends(docs)} for docs in rows])
    finally:
        collator.tokenizer.padding_side = before
    for shown, labels, docs in zip(batch["input_ids"], batch["labels"], rows, strict=True):
        start = len(shown) - ends(docs)[-1] if side == "left" else 0
        assert_packed(collator, shown[start:], labels[start:], docs)


class Steps(TorchDispatchMode):
    """Counts what torch is asked to do."""

    count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.count += 1
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize("column", ["position_ids", "seq_idx", "attention_mask"])
def test_documents_are_found_in_all_rows_at_once(column):
    def steps(rows):
        told, real = torch.tensor([PACKED[column]([[2, 5, 3], [2, 3]])] * rows), torch.ones(rows, 5, dtype=torch.bool)
        with Steps() as counted:
            assert documents_of({column: told}, real).real.sum(1).tolist() == [3, 2] * rows
        return counted.count

    assert steps(2) == steps(50)


@pytest.mark.parametrize("column", ["position_ids", "seq_idx", "attention_mask"])
@settings(max_examples=12)
@given(KINDS, BODIES)
def test_packed_rows_as_examples_of_unequal_length(collators, column, kind, bodies):
    collator, rows = collators[kind], (documents(bodies), documents([*bodies[:1], [7, 8, 9]]))
    batch = collator([{"input_ids": joined(docs), column: PACKED[column](docs)} for docs in rows])
    for shown, labels, docs in zip(batch["input_ids"], batch["labels"], rows, strict=True):
        assert_packed(collator, shown, labels, docs)


@pytest.mark.parametrize("column", PACKED)
@settings(max_examples=12)
@given(KINDS, BODIES)
def test_documents_end_to_end_without_rows(collators, column, kind, bodies):
    collator, docs = collators[kind], documents(bodies)
    flat = {"input_ids": joined(docs), column: PACKED[column](docs)}
    batch = collator({name: torch.tensor(value) for name, value in flat.items()} | {"max_length_q": 20})
    assert batch["input_ids"].shape == batch["labels"].shape == (ends(docs)[-1],)
    assert_packed(collator, batch["input_ids"], batch["labels"], docs)
    assert batch[column].tolist() == flat[column] and batch["max_length_q"] == 20


def test_scores_of_packed_documents_stay_with_their_tokens(make_policy, tokenizer):
    collator = PolicyCollator(tokenizer, policy=make_policy("none", prior=("entity",), rate=0.2))
    first, second = [0.0, *([0.0] * 8 + [50.0] * 2) * 2, 0.0], [0.0, 50.0, *[0.0] * 4, 0.0]
    row = {"input_ids": [2, *range(5, 25), 3, 2, *range(5, 10), 3], "entity": first + second}
    batch = collator([row | {"position_ids": [*range(22), *range(7)]}])
    assert "entity" not in batch
    assert (batch["labels"][0] != -100).nonzero().flatten().tolist() == [9, 10, 19, 20, 23]


@pytest.mark.parametrize("kind", ["context", "words", "cut", "spans"])
def test_numpy_is_the_same(collators, kind):
    docs = documents([[7, 8, 9, 10], [], [11] * 12])
    rows = [{"input_ids": doc, "name": "x", "index": i} for i, doc in enumerate(docs)]
    torch_batch, numpy_batch = collators[kind](rows), collators[kind](rows, return_tensors="np")
    assert torch_batch.keys() == numpy_batch.keys() and numpy_batch["name"] == ["x"] * 4
    for name in numpy_batch.keys() - {"name"}:
        assert isinstance(numpy_batch[name], np.ndarray) and numpy_batch[name].dtype == np.int64
        assert numpy_batch[name].tolist() == torch_batch[name].tolist()


@pytest.mark.parametrize("network", ["none", "context"])
def test_whatever_stands_in_padding_is_no_text(make_policy, tokenizer, network):
    collator, text = (
        PolicyCollator(tokenizer, policy=make_policy(network, learned=network != "none")),
        [CLS, *LONG, SEP],
    )
    collator.set_epoch(0)
    alone = collator([text])["labels"]
    for filler in (PAD, CLS, SEP, tokenizer.unk_token_id, 7):
        ids, real = torch.tensor([text + [filler] * 3]), torch.tensor([[1] * 12 + [0] * 3])
        batch = collator({"input_ids": ids, "attention_mask": real})
        assert torch.equal(batch["labels"][:, :12], alone) and torch.equal(batch["input_ids"][:, 12:], ids[:, 12:])


@pytest.mark.parametrize("role", ["bos", "eos", "sep", "cls", "unk"])
def test_a_padding_token_that_stands_for_something_else_tells_nothing(tokenizer, role):
    assert Padding.of(tokenizer).telling
    other = copy.deepcopy(tokenizer)
    setattr(other, f"{role}_token", other.pad_token)
    batch = PolicyCollator(other)([[PAD, 20, 21, PAD], [PAD, 20, 21, 22, 23, PAD]])
    assert batch["attention_mask"].tolist() == [[1, 1, 1, 1, 0, 0], [1] * 6]
