import gzip
import json
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from policylearn.config import ScoresConfig
from policylearn.data import tokens
from policylearn.data.columns import character_values, columns_of, read_columns
from policylearn.data.tokens import at_tokens, tokenize, tokenize_annotated

SHARED = Path(__file__).parents[2].parent / "shared"
CONFIG = ScoresConfig(entity={"column": "tags"}, column={"name": "own"})
ENTITY, POS, OWN = columns_of(["entity", "pos_column", "column"], CONFIG).values()
LETTERS = "abcdé"


@pytest.fixture(scope="module")
def pieces() -> PreTrainedTokenizerFast:
    """WordPiece that cuts every word into pieces of one or two letters."""
    stems = [a + b for a in LETTERS for b in ["", *LETTERS]]
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ".", *stems, *(f"##{stem}" for stem in stems)]
    backend = Tokenizer(models.WordPiece({t: i for i, t in enumerate(vocabulary)}, unk_token="[UNK]"))
    backend.normalizer = normalizers.Lowercase()
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    names = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    return PreTrainedTokenizerFast(tokenizer_object=backend, mask_token="[MASK]", **names)


texts = st.lists(st.text(alphabet=LETTERS + "A.", min_size=1, max_size=7), max_size=12).map("  ".join)


def numbers(text: str) -> list[float]:
    """A different number for every word."""
    return [float(i + 1) for i in range(len(text.split()))]


@settings(max_examples=60)
@given(texts=st.lists(texts, min_size=1, max_size=4), max_length=st.integers(4, 9), split=st.booleans())
def test_every_token_has_the_number_of_its_word_wherever_rows_are_cut(pieces, texts, max_length, split):
    records = [(text, {"own": numbers(text)}) for text in texts]
    rows = tokenize_annotated(read_columns(records, {"column": OWN}), pieces, max_length, split)
    plain = tokenize(texts, pieces, max_length, split)
    assert np.array_equal(rows.flat, plain.flat) and np.array_equal(rows.offsets, plain.offsets)
    values = rows.columns["column"]
    assert values.dtype == np.float32 and values.shape == rows.flat.shape
    special = rows.flat < 5
    assert (values[special] == 0).all()
    expected = [
        n
        for text in texts
        for n in [
            n
            for word, n in zip(text.split(), numbers(text), strict=True)
            for _ in pieces(word, add_special_tokens=False)["input_ids"]
        ][: None if split else max_length - 2]
    ]
    assert values[~special].tolist() == expected


def test_values_of_a_batch_stand_where_its_tokens_stand(pieces):
    records = [("ab cd", {"own": [1, 2]}), ("ab", {"own": [3]}), ("", {"own": []})]
    rows = tokenize_annotated(read_columns(records, {"column": OWN}), pieces, 9)
    ids, _ = rows.batch([1, 0, 2], 0)
    found = rows.values([1, 0, 2], ids.shape[1])["column"]
    assert found.dtype == torch.float32
    assert found.tolist() == [[0, 3, 0, 0], [0, 1, 2, 0], [0, 0, 0, 0]]
    taken = rows.take([2, 0])
    assert taken.values([1], 4)["column"].tolist() == [[0, 1, 2, 0]] and taken[0].tolist() == [2, 3]
    assert tokenize(["ab"], pieces, 9).values([0], 3) == {}


def test_a_long_text_is_looked_at_once_however_many_rows_it_becomes(pieces, monkeypatch):
    asked = []
    monkeypatch.setattr(tokens, "at_tokens", lambda *given: asked.append(given) or at_tokens(*given))
    records = [("ab cd " * 40, {"own": [1, 2] * 40}), ("ab", {"own": [3]})]
    rows = tokenize_annotated(read_columns(records, {"column": OWN}), pieces, 9, split=True)
    assert len(rows) > 10 and len(asked) == len(records)


def test_both_formats_say_the_same(pieces):
    text = "ab  cdé a."
    offsets = np.array(pieces(text, return_offsets_mapping=True)["offset_mapping"])
    tokens = pieces.convert_ids_to_tokens(pieces(text)["input_ids"])
    assert tokens == ["[CLS]", "ab", "cd", "##é", "a", ".", "[SEP]"]
    by_word = at_tokens(text, character_values(text, np.float32([0, 7, 2]), OWN, 0), offsets)
    assert by_word.tolist() == [0, 0, 7, 7, 2, 2, 0]
    by_span = at_tokens(text, character_values(text, [[4, 7, 7], [8, 10, 2.0]], OWN, 0), offsets)
    assert np.array_equal(by_word, by_span)
    # A span may cut a word, as entities do: the full stop is not in it.
    assert at_tokens(text, character_values(text, [[4, 9]], ENTITY, 0), offsets).tolist() == [0, 0, 1, 1, 1, 0, 0]


def test_the_space_before_a_token_is_not_what_it_is_judged_by():
    # Byte-level tokenizers with trim_offsets=False count the space to the token.
    found = at_tokens(
        "in Berlin ", character_values("in Berlin ", [[3, 9]], ENTITY, 0), np.array([[0, 2], [2, 9], [9, 10]])
    )
    assert found.tolist() == [0, 1, 0]


def test_items_become_numbers():
    assert [ENTITY.weigh(tag) for tag in ["O", "", None, 0, "B-Disease", "I", 3]] == [0, 0, 0, 0, 1, 1, 1]
    assert [POS.weigh(tag) for tag in ["NOUN", "DET", "VERB", ""]] == [1, 0, 1, 0]
    weighed = columns_of(["pos_column"], ScoresConfig(pos_column={"weights": {"X": 2.5}}))["pos_column"]
    assert [weighed.weigh("X"), weighed.weigh("NOUN")] == [2.5, 0]
    assert [OWN.weigh(item) for item in [2, -0.5]] == [2, -0.5]


def test_only_scorers_of_columns_have_one():
    assert list(columns_of(["difference", "column", "entity"], CONFIG)) == ["column", "entity"]
    assert columns_of(["entity"], ScoresConfig(entity={"model": "some/model"})) == {}


def test_null_is_not_known():
    assert np.isnan(character_values("ab", None, OWN, 0)).all()
    assert character_values("ab", [], ENTITY, 0).tolist() == [0, 0]  # known: no spans


@pytest.mark.parametrize(
    ("value", "column", "complaint"),
    [
        (["O"], ENTITY, r"column 'tags', row 3: 1 items for 2 words; expected one item for each word"),
        (["O"] * 3, ENTITY, r"3 items for 2 words"),
        ("O O", ENTITY, r"column 'tags', row 3: expected a list with an item per word.*got 'O O'"),
        ([{"start": 0}, "O"], ENTITY, r"item \{'start': 0\} is not a tag"),
        ([1, "2"], OWN, r"column 'own', row 3: item '2' is not a finite number"),
        ([1, None], OWN, r"item None is not a finite number"),
        ([1, float("nan")], OWN, r"item nan is not a finite number"),
        ([1, float("inf")], OWN, r"item inf is not a finite number"),
        ([[0, 2, "x"]], OWN, r"item 'x' is not a finite number"),
        (["NOUN", 3], POS, r"column 'pos', row 3: item 3 is not a part-of-speech tag"),
        ([[0, 2]], POS, r"item 1 is not a part-of-speech tag"),
        ([[0, 6]], ENTITY, r"column 'tags', row 3: span \[0, 6\] lies outside of the text, which has 5 characters"),
        ([[-1, 2]], ENTITY, r"span \[-1, 2\] lies outside"),
        ([[2, 2]], ENTITY, r"span \[2, 2\].*expected 0 <= start < end <= 5"),
        ([[0, 2], "O"], ENTITY, r"'O' is not a span"),
        ([[0, 2, 1, 1]], ENTITY, r"\[0, 2, 1, 1\] is not a span \[start, end\]"),
        ([[0.5, 2]], ENTITY, r"\[0.5, 2\] is not a span"),
    ],
)
def test_what_is_wrong_is_named_with_column_row_and_what_is_expected(value, column, complaint):
    with pytest.raises(ValueError, match=complaint):
        character_values("ab cd", value, column, 3)


def test_a_record_without_the_column():
    with pytest.raises(ValueError, match=r"domain row 1 has no column 'own'; it has \['tags'\]"):
        list(read_columns([("a", {"own": [1]}), ("a", {"tags": []})], {"column": OWN}))


@pytest.mark.skipif(not SHARED.is_dir(), reason=f"{SHARED} is not there: it holds real entity tags and a tokenizer")
@pytest.mark.parametrize("corpus", ["ner_ncbi_disease", "ner_bc5cdr"])
def test_real_entities_with_a_real_tokenizer(corpus):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(SHARED / "models/minilm-l6-mlm")
    with gzip.open(SHARED / f"data/ner/{corpus}/dev.jsonl.gz", "rt", encoding="utf-8") as lines:
        records = [(record["text"], record) for record in map(json.loads, islice(lines, 60))]
    rows = tokenize_annotated(read_columns(records, {"entity": ENTITY}), tokenizer, 32, split=True)
    # The reference: the data's own words, tokenised one by one.
    words = [(word, tag != "O") for _, r in records for word, tag in zip(r["tokens"], r["tags"], strict=True)]
    expected = [float(tag) for word, tag in words for _ in tokenizer(word, add_special_tokens=False)["input_ids"]]
    special = np.isin(rows.flat, tokenizer.all_special_ids)
    assert rows.columns["entity"][~special].tolist() == expected
    assert 0.02 < np.mean(expected) < 0.5


@pytest.mark.parametrize("kind", ["byte-level", "trimmed", "metaspace"])
def test_a_blank_that_is_a_token_is_of_the_word_that_it_begins(kind):
    """... to which no piece of the vocabulary joins it; line breaks, and blanks at an end, are of no word."""
    if kind == "metaspace":
        backend = Tokenizer(models.Unigram([("<unk>", 0.0), *((c, -1.0) for c in "▁abcdef")], unk_id=0))
        backend.pre_tokenizer = pre_tokenizers.Metaspace()
    else:
        letters = [*pre_tokenizers.ByteLevel.alphabet(), "<unk>"]
        backend = Tokenizer(models.BPE({c: i for i, c in enumerate(letters)}, [], unk_token="<unk>"))
        backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        if kind == "trimmed":  # as RoBERTa's, whose blanks are nothing to their offsets
            backend.post_processor = processors.ByteLevel(trim_offsets=True)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="<unk>")
    text = "ab cd  ef "
    rows = tokenize_annotated(read_columns([(text, {"own": [1, 2, 3]})], {"column": OWN}), tokenizer, 99)
    pieces = tokenizer.convert_ids_to_tokens(rows[0])
    found = list(zip(pieces, rows.columns["column"].tolist(), strict=True))
    blank = "▁" if kind == "metaspace" else "Ġ"
    first = [(blank, 1)] if kind == "metaspace" else []
    second = [(blank, 2), ("c", 2), ("d", 2), (blank, 0), (blank, 3), ("e", 3), ("f", 3), (blank, 0)]
    assert found == [*first, ("a", 1), ("b", 1), *second]
    broken = np.array([[0, 1], [1, 2], [2, 3]])
    assert at_tokens("a\nb", np.float32([1, 0, 2]), broken).tolist() == [1, 0, 2]
