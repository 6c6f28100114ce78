from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from policylearn.config import PlantedConfig
from policylearn.data.planted import planted_tokenizer
from policylearn.masking.units import leads, word_keys, word_starts
from policylearn.masking.vocabulary import vocabulary
from policylearn.scores import counting, reading
from policylearn.scores.counting import CorpusCounts, Tally, count_chunk, count_corpus, text_chunks
from policylearn.scores.lexicon import PIECES, Lexicon, keys_of

TRAINING = ["we parse the parser of a treebank; parsing parsers, treebanks' roles (don't)", "naïve über-grammars 12 3d"]
SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def wrapped(tokenizer: Tokenizer) -> PreTrainedTokenizerFast:
    ends = [("[CLS]", 2), ("[SEP]", 3)]
    tokenizer.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=ends)
    names = ["pad_token", "unk_token", "cls_token", "sep_token", "mask_token"]
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **dict(zip(names, SPECIALS, strict=True)))


def wordpiece() -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.BertPreTokenizer(), decoders.WordPiece()
    trainer = trainers.WordPieceTrainer(vocab_size=90, special_tokens=SPECIALS)
    tokenizer.train_from_iterator(TRAINING, trainer)
    return wrapped(tokenizer)


def byte_bpe() -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=300, special_tokens=SPECIALS, initial_alphabet=alphabet)
    tokenizer.train_from_iterator(TRAINING, trainer)
    return wrapped(tokenizer)


TOKENIZERS = {"wordpiece": wordpiece(), "bytes": byte_bpe(), "words": planted_tokenizer(PlantedConfig())}
WORDS = {
    "wordpiece": ["the", "parser", "treebanks", "Xy", "don't", "naïve", "[MASK]", "3d", "日本", "supergrammaticalised"],
    "words": ["class0_00", "class1_07", "generic_000", "generic_031", "distractor_03", "parser"],
}
WORDS["bytes"] = [*WORDS["wordpiece"], "🙂", "日", "l'été"]
kinds = pytest.mark.parametrize("kind", list(TOKENIZERS))


def corpus(kind: str, seed: int, texts: int = 40) -> list[str]:
    rng = np.random.default_rng(seed)
    weights = 1 / np.arange(1, len(WORDS[kind]) + 1)
    return [
        rng.choice([" ", "  ", ""])
        + " ".join(rng.choice(WORDS[kind], size=rng.integers(0, 9), p=weights / weights.sum()))
        for _ in range(texts)
    ]


def counted(kind: str, texts, **options) -> CorpusCounts:
    return count_corpus(texts, TOKENIZERS[kind], vocabulary(TOKENIZERS[kind]), **options)


def by_hand(kind: str, texts: list[str]) -> tuple[Counter, Counter, Counter, Counter, dict]:
    """Types, texts of types, words, texts of words, pieces of words: from rows as the collator sees them."""
    tokenizer, tables = TOKENIZERS[kind], vocabulary(TOKENIZERS[kind])
    types, type_texts, words, word_texts, pieces = Counter(), Counter(), Counter(), Counter(), {}
    for text in texts:
        ids = torch.tensor([tokenizer(text)["input_ids"]])
        plain = ids[0, 1:-1].tolist()
        lead = leads(word_starts(ids, torch.ones_like(ids, dtype=torch.bool), tables))
        keys = word_keys(ids, lead)
        found = [i for i in lead.unique().tolist() if not tables.special[ids[0, i]]]
        in_text = [keys[0, i].item() for i in found]
        pieces |= {keys[0, i].item(): ids[0, lead[0] == i].tolist() for i in found}
        types.update(plain), type_texts.update(set(plain)), words.update(in_text), word_texts.update(set(in_text))
    return types, type_texts, words, word_texts, pieces


def nonzero(counts: np.ndarray) -> dict[int, int]:
    return {int(i): int(counts[i]) for i in counts.nonzero()[0]}


def same(a: CorpusCounts, b: CorpusCounts) -> bool:
    numbers = (a.documents, a.total_words, a.missed) == (b.documents, b.total_words, b.missed)
    arrays = [(a.types, b.types), (a.type_documents, b.type_documents)]
    arrays += [(getattr(a.words, name), getattr(b.words, name)) for name in ("keys", "counts", "documents", "pieces")]
    return numbers and all(x.dtype == y.dtype and np.array_equal(x, y) for x, y in arrays)


@kinds
@settings(max_examples=12)
@given(seed=st.integers(0, 2**31))
def test_counts_are_those_of_the_rows_a_collator_sees(kind, seed):
    texts = corpus(kind, seed)
    found = counted(kind, (text for text in texts))
    types, type_texts, words, word_texts, pieces = by_hand(kind, texts)
    assert found.documents == len(texts)
    assert nonzero(found.types) == types and nonzero(found.type_documents) == type_texts
    assert found.total_words == words.total()
    short = [key for key in words if len(pieces[key]) <= PIECES]
    lexicon = found.words
    assert lexicon.keys.tolist() == sorted(short)
    assert lexicon.counts.tolist() == [words[key] for key in sorted(short)]
    assert lexicon.documents.tolist() == [word_texts[key] for key in sorted(short)]
    assert [[i for i in row if i >= 0] for row in lexicon.pieces.tolist()] == [pieces[key] for key in sorted(short)]
    assert np.array_equal(keys_of(lexicon.pieces), lexicon.keys)


@kinds
@pytest.mark.parametrize(("texts", "characters", "waiting"), [(1, 9**9, 1), (7, 9**9, 20), (99, 50, 1), (99, 9**9, 99)])
def test_chunks_and_merges_change_nothing(kind, monkeypatch, texts, characters, waiting):
    stream = corpus(kind, 1, texts=60)
    at_once = counted(kind, stream)
    monkeypatch.setattr(reading, "TEXTS", texts)
    monkeypatch.setattr(reading, "CHARACTERS", characters)
    monkeypatch.setattr(counting, "WAITING", waiting)
    monkeypatch.setattr(reading, "BLOCK", waiting)
    assert [text for chunk in text_chunks(stream) for text in chunk] == stream
    assert same(counted(kind, stream), at_once)


def test_long_words_are_words_but_in_no_lexicon():
    found = counted("bytes", ["the 日本日本 the"])
    assert found.total_words == 3 and found.words.texts(TOKENIZERS["bytes"]) == ["the", "the"]


@kinds
def test_only_some_words_are_counted_and_all_types(kind):
    texts = corpus(kind, 2)
    everything = counted(kind, texts)
    some = everything.words.keys[::2]
    found = counted(kind, texts, only=np.union1d(some, [17]))
    assert np.array_equal(found.words.keys, some)
    assert np.array_equal(found.words.counts, everything.words.counts[::2])
    assert np.array_equal(found.words.documents, everything.words.documents[::2])
    assert np.array_equal(found.types, everything.types) and found.total_words == everything.total_words
    assert len(counted(kind, texts, only=some[:0]).words) == 0


@settings(max_examples=25)
@given(seed=st.integers(0, 2**31), limit=st.integers(1, 60), size=st.integers(1, 20))
def test_beyond_the_limit_the_rarest_words_are_forgotten_within_the_bound(seed, limit, size):
    rng = np.random.default_rng(seed)
    tokenizer, tables = TOKENIZERS["words"], vocabulary(TOKENIZERS["words"])
    vocabulary_words = sorted(set(tokenizer.get_vocab()) - set(SPECIALS))
    weights = 1 / np.arange(1, len(vocabulary_words) + 1)
    drawn = rng.choice(vocabulary_words, size=(120, 8), p=weights / weights.sum())
    texts = [" ".join(row) for row in drawn]
    chunks = [texts[i : i + size] for i in range(0, len(texts), size)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(counting, "WAITING", 1)
        tally = Tally(len(tables.special), limit)
        for chunk in chunks:
            tally.add(count_chunk(chunk, tokenizer, tables))
    found, true = tally.total(), count_corpus(texts, tokenizer, tables)
    assert len(found.words) <= limit
    assert np.array_equal(found.types, true.types) and found.total_words == true.total_words
    if len(true.words) <= limit:
        assert same(found, true)
    row = true.words.find(found.words.keys)
    assert (row >= 0).all()
    for name in ("counts", "documents"):
        lost = getattr(true.words, name)[row] - getattr(found.words, name)
        assert (lost >= 0).all() and (lost <= found.missed).all()
    assert set(true.words.keys[true.words.counts > found.missed]) <= set(found.words.keys)


@pytest.mark.parametrize(
    ("stream", "kept", "missed"),
    [
        ("a b c a", "", 2),  # a may have been there before it is taken up again, and was
        ("aaa b c", "a", 2),
        (
            "aaa b c d",
            "",
            3,
        ),  # of a nothing is missing; d may have been there three times
    ],
)
def test_what_may_have_been_there_before_is_counted_where_words_are_forgotten(monkeypatch, stream, kept, missed):
    monkeypatch.setattr(counting, "WAITING", 1)
    tokenizer, tables = TOKENIZERS["words"], vocabulary(TOKENIZERS["words"])
    words = dict(zip("abcd", sorted(set(tokenizer.get_vocab()) - set(SPECIALS)), strict=False))
    tally = Tally(len(tables.special), limit=1)
    for chunk in stream.split():
        tally.add(count_chunk([" ".join(words[letter] for letter in chunk)], tokenizer, tables))
    found = tally.total()
    assert found.words.texts(tokenizer) == [words[letter] for letter in kept] and found.missed == missed


def test_a_frequent_word_survives_any_number_of_rare_ones(monkeypatch):
    monkeypatch.setattr(reading, "TEXTS", 10)
    monkeypatch.setattr(counting, "WAITING", 1)
    config = PlantedConfig(generic_words=900)
    tokenizer = planted_tokenizer(config)
    texts = [f"class0_00 generic_{i:03d}" for i in range(900)]
    found = count_corpus(texts, tokenizer, vocabulary(tokenizer), limit=30)
    assert found.words.most_frequent(1).texts(tokenizer) == ["class0_00"]
    assert found.words.counts.max() == 900 and 0 < found.missed <= 900 // 20


@kinds
@pytest.mark.parametrize("texts", [[], [""], ["", ""]])
def test_nothing_to_count(kind, texts):
    found = counted(kind, texts)
    assert found.documents == len(texts) and found.total_words == 0 and len(found.words) == 0
    assert found.types.sum() == found.type_documents.sum() == 0
    assert found.types.shape == (len(TOKENIZERS[kind]),)


def test_unknown_words_are_no_words():
    found = counted("words", ["parser treebank", "of"])
    assert found.types[TOKENIZERS["words"].unk_token_id] == 3 and found.total_words == 0 and len(found.words) == 0


@kinds
def test_words_are_readable(kind):
    texts = corpus(kind, 3)
    found = counted(kind, texts).words
    strings = found.texts(TOKENIZERS[kind])
    assert (len(strings) == len(found) and {"the", "parser"} <= set(strings)) or kind == "words"
    if kind == "words":
        assert set(strings) == {word for text in texts for word in text.split()} - {"parser"}


def test_a_corpus_is_never_held_at_once(monkeypatch):
    monkeypatch.setattr(reading, "TEXTS", 4)
    read, held = [], []
    original = counting.count_chunk
    monkeypatch.setattr(
        counting, "count_chunk", lambda chunk, *a: held.append((len(chunk), len(read))) or original(chunk, *a)
    )
    counted("words", (read.append(text) or text for text in corpus("words", 4, texts=50)))
    assert held[0] == (4, 4) and held[-1] == (2, 50) and len(held) == 13


@settings(max_examples=50)
@given(st.lists(st.integers(-50, 50), unique=True), st.lists(st.integers(-60, 60), min_size=1))
def test_find(words, wanted):
    keys = np.sort(np.array(words, dtype=np.int64))
    n = len(keys)
    lexicon = Lexicon(keys, np.arange(n), np.arange(n), np.zeros((n, PIECES), dtype=np.int32))
    found = lexicon.find(np.array(wanted))
    assert found.tolist() == [keys.tolist().index(key) if key in words else -1 for key in wanted]
    among = lexicon.among(np.unique(wanted))
    assert among.keys.tolist() == sorted(set(words) & set(wanted))


def test_the_most_frequent_words_in_order_of_keys():
    counts = np.array([5, 1, 7, 5, 2])
    lexicon = Lexicon(np.arange(5) - 2, counts, np.array([1, 1, 1, 3, 2]), np.zeros((5, PIECES), dtype=np.int32))
    assert lexicon.most_frequent(2).keys.tolist() == [-2, 0]
    assert lexicon.most_frequent(9, min_count=5).keys.tolist() == [-2, 0, 1]
    assert lexicon.most_frequent(9, min_count=8).keys.tolist() == []
