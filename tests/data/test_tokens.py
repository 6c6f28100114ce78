import errno
import io
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from policylearn.data.tokens import TokenRows, chunks, tokenize


@settings(max_examples=50)
@given(st.lists(st.lists(st.integers(1, 99), max_size=8), min_size=1, max_size=8), st.data())
def test_a_batch_holds_the_rows_asked_for_and_padding(rows, data):
    stored = TokenRows(np.array([t for row in rows for t in row], dtype=np.int32), np.cumsum([0, *map(len, rows)]))
    assert len(stored) == len(rows)
    picked = data.draw(st.lists(st.integers(0, len(rows) - 1), min_size=1, max_size=5))
    ids, real = stored.batch(picked, pad_id=100)
    assert ids.dtype == torch.int64 and real.dtype == torch.bool
    assert [ids[i][real[i]].tolist() for i in range(len(picked))] == [rows[row] for row in picked]
    assert (ids[~real] == 100).all() and ids.shape == (len(picked), max(len(rows[row]) for row in picked))


@pytest.fixture
def texts(tokenizer) -> list[str]:
    words = sorted(w for w in tokenizer.get_vocab() if not w.startswith("["))
    rng = np.random.default_rng(0)
    return [" ".join(rng.choice(words, size=n)) for n in (3, 8, 9, 30, 0, 16, 1)]


def tokens(tokenizer, row: np.ndarray) -> str:
    return " ".join(tokenizer.convert_ids_to_tokens(row.tolist()))


def test_cutting_keeps_one_row_per_text_and_its_beginning(texts, tokenizer):
    rows = tokenize(texts, tokenizer, max_length=10)
    assert len(rows) == len(texts) and max(len(rows[i]) for i in range(len(rows))) == 10
    for i, text in enumerate(texts):
        assert tokens(tokenizer, rows[i]).split() == ["[CLS]", *text.split()[:8], "[SEP]"]


def test_splitting_loses_nothing(texts, tokenizer):
    rows = tokenize(texts, tokenizer, max_length=10, split=True)
    pieces = [tokens(tokenizer, rows[i]).split() for i in range(len(rows))]
    assert all(p[0] == "[CLS]" and p[-1] == "[SEP]" and len(p) <= 10 for p in pieces)
    assert [w for piece in pieces for w in piece[1:-1]] == " ".join(texts).split()
    assert [len(piece) - 2 for piece in pieces] == [3, 8, 8, 1, 8, 8, 8, 6, 0, 8, 8, 1]


@pytest.mark.parametrize("split", [True, False])
def test_chunks_leave_no_trace(texts, tokenizer, monkeypatch, split):
    at_once = tokenize(texts, tokenizer, 10, split)
    monkeypatch.setattr("policylearn.data.tokens.CHUNK", 2)
    streamed = tokenize(iter(texts), tokenizer, 10, split)
    assert np.array_equal(at_once.flat, streamed.flat) and np.array_equal(at_once.offsets, streamed.offsets)


def test_no_texts_are_no_rows(tokenizer):
    assert len(tokenize([], tokenizer, 10)) == 0


def test_chunks_are_drawn_one_at_a_time():
    stream = iter("abcde")
    assert next(chunks(stream, 2)) == ["a", "b"] and next(stream) == "c"
    assert list(chunks("abcde", 2)) == [["a", "b"], ["c", "d"], ["e"]] and list(chunks("", 2)) == []


def test_a_large_corpus_waits_in_a_file_and_is_the_same(texts, tokenizer, monkeypatch):
    monkeypatch.setattr("policylearn.data.tokens.CHUNK", 2)
    in_memory = tokenize(texts, tokenizer, 10, split=True)
    monkeypatch.setattr("policylearn.data.gathered.LIMIT", 100)
    on_disk = tokenize(texts, tokenizer, 10, split=True)
    assert isinstance(on_disk.flat.base, np.memmap) and in_memory.flat.base is None
    assert np.array_equal(in_memory.flat, on_disk.flat) and np.array_equal(in_memory.offsets, on_disk.offsets)
    apart: list[pickle.PickleBuffer] = []
    sent = pickle.loads(pickle.dumps(on_disk, protocol=5, buffer_callback=apart.append), buffers=apart)
    assert len(apart) == 2  # as Ray sends them: ids and offsets, which workers share
    assert np.array_equal(sent.flat, in_memory.flat) and list(sent.contents()) == list(in_memory.contents())


def test_rows_that_hold_some_tokens_are_found_whatever_the_chunks(monkeypatch):
    rows = [[0, 1], [], [0, 2, 1], [3], [1, 1], [0, 3]]
    stored = TokenRows(np.array([t for row in rows for t in row], dtype=np.int32), np.cumsum([0, *map(len, rows)]))
    for size in (1, 2, 100):
        monkeypatch.setattr("policylearn.data.tokens.CHUNK", size)
        assert stored.holding(np.array([False, False, True, True])).tolist() == [2, 3, 5]
        assert stored.holding(np.array([True, True, False, False]), more_than=1).tolist() == [0, 2, 4]


def test_no_room_for_a_large_corpus_is_said_with_what_mends_it(texts, tokenizer, monkeypatch):
    class Full(io.BytesIO):
        def write(self, part):
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("policylearn.data.gathered.LIMIT", 100)
    monkeypatch.setattr("policylearn.data.gathered.TemporaryFile", lambda prefix: Full())
    with pytest.raises(
        ValueError, match=r"takes 0 MiB and more in .*: No space left on device; set TMPDIR to a folder"
    ):
        tokenize(texts, tokenizer, 10, split=True)
