from collections import Counter
from itertools import combinations, pairwise
from math import log
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from policylearn.config import ScoresConfig
from policylearn.config.scores import PmiConfig
from policylearn.data.records import read_records
from policylearn.masking import vocabulary
from policylearn.masking.collocations import join_collocations, ngram_keys
from policylearn.masking.units import leads, word_keys
from policylearn.scores.collocations import Collocations, find_collocations
from policylearn.scores.counting import count_corpus
from policylearn.scores.ngrams import NGrams, NGramTally, count_ngrams, merge
from policylearn.scores.pmi import mean_scores, pmi
from policylearn.scores.reading import read
from policylearn.scores.sources import Sources

SHARED = Path(__file__).parents[2].parent / "shared"
PIECES = ["[UNK]", "a", "b", "c", "##x", "d", "-", ".", "state", "of", "the", "art", "we", "are", "it", "is"]


def wordpiece() -> PreTrainedTokenizerFast:
    model = models.WordPiece({piece: i for i, piece in enumerate(PIECES)}, unk_token="[UNK]")
    backend = Tokenizer(model)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece(cleanup=False)
    return PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="[UNK]")


TOKENIZER = wordpiece()
VOCABULARY = vocabulary(TOKENIZER)
WORDS = st.sampled_from(["a", "a", "b", "b", "cx", "d", "-", ".", "?"])
"""cx is two pieces, ? is [UNK]."""
TEXTS = st.lists(st.lists(WORDS, max_size=12), min_size=2, max_size=8)
EXAMPLES = settings(max_examples=50)


def find(texts: list[str], count: int = 2, words: int = 4, **settings) -> tuple[Collocations, list[str]]:
    """The collocations of a few texts, and their strings in the order of their keys."""
    lexicon = count_corpus(texts, TOKENIZER, VOCABULARY).words
    config = PmiConfig(count=count, longest=words, collocations=settings.pop("most", 10_000))
    found = find_collocations(texts, TOKENIZER, VOCABULARY, lexicon, config, **settings)
    order = found.scores.argsort(descending=True, stable=True)
    strings = np.empty(len(found), dtype=object)
    strings[order.numpy()] = found.texts(lexicon, TOKENIZER)
    return found, strings.tolist()


def runs_by_hand(texts: list[list[str]], count: int, longest: int) -> list[Counter]:
    frequency = Counter(word for text in texts for word in text)
    breaks = {word for word in frequency if frequency[word] < count} | {".", "?"}
    tallies = [Counter() for _ in range(longest)]
    for text in texts:
        for n in range(1, longest + 1):
            windows = (tuple(text[i : i + n]) for i in range(len(text) - n + 1))
            tallies[n - 1].update(window for window in windows if not breaks & set(window))
    return tallies


def pmi_by_hand(run: tuple[str, ...], tallies: list[Counter]) -> float:
    def log_p(part: tuple[str, ...]) -> float:
        return log(tallies[len(part) - 1][part] / tallies[len(part) - 1].total())

    places = range(1, len(run))
    cuts = [(0, *cut, len(run)) for size in places for cut in combinations(places, size)]
    return log_p(run) - max(sum(log_p(run[i:j]) for i, j in pairwise(cut)) for cut in cuts)


def collocations_by_hand(texts: list[list[str]], count: int = 2, longest: int = 4) -> dict[str, float]:
    tallies = runs_by_hand(texts, count, longest)
    runs = [run for tally in tallies[1:] for run, n in tally.items() if n >= count and "-" not in (run[0], run[-1])]
    return {" ".join(run): pmi_by_hand(run, tallies) for run in runs}


@EXAMPLES
@given(TEXTS)
def test_scores_are_those_of_a_loop_over_all_segmentations(texts):
    expected = collocations_by_hand(texts)
    kept = {text: score for text, score in expected.items() if score > 1e-6}
    if not kept:
        return
    found, strings = find([" ".join(text) for text in texts])
    scores = dict(zip(strings, found.scores.tolist(), strict=True))
    for text in scores.keys() | kept.keys():  # where the score is 0 up to rounding, either may hold
        assert scores.get(text, 0.0) == pytest.approx(expected[text], abs=1e-5) or abs(expected[text]) < 1e-6
    counts = runs_by_hand(texts, 2, 4)
    assert all(counts[len(t.split()) - 1][tuple(t.split())] == n for t, n in zip(strings, found.counts, strict=True))


def best_by_hand(text: list[str], scores: dict[str, float]) -> list[float]:
    best = [0.0] * len(text)
    for n in range(2, 5):
        for i in range(len(text) - n + 1):
            for j in range(i, i + n):
                best[j] = max(best[j], scores.get(" ".join(text[i : i + n]), 0.0))
    return best


@EXAMPLES
@given(TEXTS)
def test_a_words_score_is_the_mean_of_the_best_collocation_it_stands_in(texts):
    if max(collocations_by_hand(texts).values(), default=0.0) < 1e-6:
        return
    lines = [" ".join(text) for text in texts]
    found, strings = find(lines)
    lexicon = count_corpus(lines, TOKENIZER, VOCABULARY).words
    scores = dict(zip(strings, found.scores.tolist(), strict=True))
    seen: dict[str, list[float]] = {}
    for text in texts:
        for word, best in zip(text, best_by_hand(text, scores), strict=True):
            seen.setdefault(word, []).append(best)
    means = {word: sum(values) / len(values) for word, values in seen.items()}
    result = mean_scores(lines, TOKENIZER, VOCABULARY, lexicon, found)
    for word, score in zip(lexicon.texts(TOKENIZER), result.words.tolist(), strict=True):
        assert score == pytest.approx(means[word] / max(means.values()), abs=1e-5)
    assert (
        result.types[PIECES.index("##x")]
        == result.types[PIECES.index("c")]
        == pytest.approx(means.get("cx", 0.0) / max(means.values()), abs=1e-5)
    )


@EXAMPLES
@given(TEXTS, st.randoms(use_true_random=False))
def test_the_order_of_texts_does_not_matter(texts, random):
    if max(collocations_by_hand(texts).values(), default=0.0) < 1e-6:
        return
    lines = [" ".join(text) for text in texts]
    one, _ = find(lines)
    random.shuffle(lines)
    other, _ = find(lines)
    assert all(torch.equal(getattr(one, name), getattr(other, name)) for name in vars(one))


def planted(rng: np.random.Generator, texts: int = 400) -> list[str]:
    """a, b, cx and d at random, except that "we are" always stand together."""
    words = np.array(["a", "b", "cx", "d", "we are"])
    return [" ".join(rng.choice(words, 10)) for _ in range(texts)]


def test_words_that_always_stand_together_are_the_best_collocation():
    found, strings = find(planted(np.random.default_rng(0)), count=10)
    scores = dict(zip(strings, found.scores.tolist(), strict=True))
    assert max(scores, key=scores.get) == "we are"
    # One in six words is "we": were it independent of "are", they would meet six times as seldom.
    assert scores.pop("we are") == pytest.approx(log(6), abs=0.1)
    # A longer run is no better than its best explanation.
    assert max(scores.values()) < 1.0
    _, best = find(planted(np.random.default_rng(0)), count=10, most=1)
    assert best == ["we are"]


def test_more_than_one_chunk_of_texts():
    found, strings = find(planted(np.random.default_rng(0), texts=2500), count=10)
    assert found.counts[strings.index("we are")] == sum(
        t.count("we are") for t in planted(np.random.default_rng(0), 2500)
    )


def test_hyphens_stand_inside_collocations_and_other_signs_end_them():
    _, strings = find(["state-of-the-art a", "state-of-the-art b", "it is. we are", "it is. we are"] * 20, words=7)
    assert "state - of - the - art" in strings
    assert not any(text.startswith("-") or text.endswith("-") or "." in text for text in strings)
    assert {"it is", "we are"} <= set(strings)


def test_the_table_joins_the_collocations_of_a_text():
    found, strings = find(["it is", "we are", "it is", "we are", "are a", "it b"])
    assert sorted(strings) == ["it is", "we are"] and found.longest == 2
    ids = torch.tensor([TOKENIZER("a it is . we are cx b")["input_ids"]])
    starts = VOCABULARY.opens[ids]
    eligible = torch.ones_like(starts)
    units = join_collocations(starts, word_keys(ids, leads(starts)), eligible, found.keys, found.longest)
    assert leads(units)[0].tolist() == [0, 1, 1, 3, 4, 4, 6, 6, 8]


@EXAMPLES
@given(TEXTS, st.integers(1, 6))
def test_counts_in_bounded_memory_are_too_low_by_a_known_number_at_most(texts, limit):
    rows = np.array([ord(word[0]) for text in texts for word in text])
    keys = word_keys(torch.from_numpy(rows)[None], torch.arange(len(rows))[None])[0]
    pairs = list(ngram_keys(keys, 2))[1].numpy()
    exact, tally = Counter(pairs.tolist()), NGramTally(2, limit)
    for i in range(len(pairs)):
        tally.add(merge([one(pairs[i : i + 1], rows[i : i + 2])]))
        tally.result()
    table = tally.result()
    assert len(table) <= limit and tally.total == len(pairs)
    for key, count in exact.items():
        assert count - tally.missed <= table.count(np.array([key]))[0] <= count


def one(keys: np.ndarray, words: np.ndarray) -> NGrams:
    return NGrams(keys, np.ones(1, dtype=np.int64), words[None].astype(np.int32))


def test_frequent_collocations_survive_a_small_memory():
    texts = planted(np.random.default_rng(0), texts=3000)
    found, strings = find(texts, count=10, limit=15)
    exact, names = find(texts, count=10)
    assert len(strings) < len(names)
    assert found.counts[strings.index("we are")] == exact.counts[names.index("we are")]


def test_a_corpus_without_collocations_is_named():
    with pytest.raises(ValueError, match=r"occurs 10 times.*lower scores\.pmi\.count"):
        find(["we are", "it is"], count=10)
    with pytest.raises(ValueError, match=r"domain\.path"):
        find([""], count=2)


def test_the_scorer_reads_the_domain_corpus():
    texts, nothing = planted(np.random.default_rng(0)), pytest.fail
    config, domain = ScoresConfig(words=3), lambda: iter(texts)
    sources = Sources(config, TOKENIZER, VOCABULARY, domain, nothing, nothing, nothing, nothing, nothing)
    scores = pmi(sources)
    assert scores.types.shape == (len(PIECES),) and scores.words.shape == (3,)
    best = {PIECES[i] for i in scores.types.argsort(descending=True)[:2]}
    assert best == {"we", "are"} and scores.types.max() == 1.0
    assert scores.types[PIECES.index("art")] == 0.0  # not seen


@pytest.fixture(scope="module")
def abstracts() -> list[str]:
    path = SHARED / "data/corpora/corpus_acl_abstracts.jsonl.gz"
    if not path.is_file():
        pytest.skip(f"{path} is not there")
    records = read_records(str(path), ("text",))
    return [record["text"] for record, _ in zip(records, range(3000), strict=False)]


def test_collocations_of_real_text_are_terms_of_the_field(abstracts):
    tokenizer = AutoTokenizer.from_pretrained(SHARED / "models/minilm-l6-mlm")
    tables = vocabulary(tokenizer)
    lexicon = count_corpus(abstracts, tokenizer, tables).words
    found = find_collocations(abstracts, tokenizer, tables, lexicon, PmiConfig(collocations=2000))
    strings = found.texts(lexicon, tokenizer)
    terms = {
        "machine translation",
        "named entity recognition",
        "word sense disambiguation",
        "natural language processing",
    }
    assert terms <= set(strings)
    assert not {"of the", "in the", "the model", "and the"} & set(strings)
    assert max(len(string.split()) for string in strings) == found.longest == 4
    assert found.counts.min() >= 10 and found.scores.min() > 1


def test_a_text_begins_a_word_where_pieces_carry_no_mark_of_it():
    backend = Tokenizer(models.BPE({"a": 0, "b": 1, "Ġ": 2}, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend)
    assert read(["ab", "ba"], tokenizer, vocabulary(tokenizer)).word.tolist() == [0, 0, 1, 1]


def test_reading_numbers_words_and_texts():
    reading = read(["a cx", "", "x-d"], TOKENIZER, VOCABULARY)
    assert [PIECES[i] for i in reading.ids] == ["a", "c", "##x", "[UNK]", "-", "d"]
    assert reading.document.tolist() == [0, 0, 0, 2, 2, 2]
    assert reading.word.tolist() == [0, 1, 1, 2, 3, 4] and reading.lead.tolist() == [0, 1, 3, 4, 5]
    assert len(count_ngrams([], TOKENIZER, VOCABULARY, count_corpus([], TOKENIZER, VOCABULARY).words, 3)) == 3
