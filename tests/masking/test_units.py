"""Words from token ids alone, held against the tokenizers' own; and units made of them."""

import gzip
import json
import tracemalloc
from functools import cache
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from policylearn.config import PlantedConfig
from policylearn.data.planted import domain_corpus, planted_tokenizer
from policylearn.masking.keys import example_keys, mix, positions
from policylearn.masking.units import (
    draw_units,
    leads,
    numbered_starts,
    sizes,
    span_starts,
    unit_probabilities,
    word_keys,
    word_starts,
)
from policylearn.masking.vocabulary import Vocabulary, mark_of, vocabulary

SHARED = Path(__file__).parents[3] / "shared"
SAMPLES = {  # every so many rows, so many texts
    "data/corpora/corpus_acl_abstracts.jsonl.gz": (60, 150),
    "data/corpora/corpus_pubmed_reviews.jsonl.gz": (60, 110),
    "data/tasks/hyperpartisan/train.jsonl.gz": (20, 12),
}
# Trained anew with the pipeline that each class of transformers sets up.
FAMILIES = [
    "BertTokenizer",
    "OpenAIGPTTokenizer",  # </w>
    "RobertaTokenizer",
    "GPTNeoXTokenizer",
    "DebertaV2Tokenizer",
    "AlbertTokenizer",
    "XLMRobertaTokenizer",
    "metaspace_bpe",
]
BYTE_LEVEL = {"RobertaTokenizer", "GPTNeoXTokenizer"}


@cache
def synthetic_texts() -> list[str]:
    """Invented words in several scripts, with the punctuation that tokenizers split in different ways."""
    rng = np.random.default_rng(0)
    alphabets = ["abcdefghijklmnop", "abcdefghijklmnopéüñç", "0123456789", "αβγδεζ", "中文字符日本語", "абвгд"]
    weights = [0.6, 0.2, 0.1, 0.04, 0.03, 0.03]
    words = ["".join(rng.choice(list(rng.choice(alphabets, p=weights)), rng.integers(1, 9))) for _ in range(2000)]
    ends = [*[""] * 12, ",", ".", "!", "'s", "n't", "'ll", ")", "…", "%", "😂", "-x", "’s", '"']
    starts = [*[""] * 12, "(", "“", '"', "$", "<", "#"]

    def word() -> str:
        return str(rng.choice(starts)) + words[min(int(rng.exponential(200)), 1999)] + str(rng.choice(ends))

    return [" ".join(word() for _ in range(60)) for _ in range(300)]


def real_texts() -> list[str]:
    texts = []
    for name, (step, count) in SAMPLES.items():
        with gzip.open(SHARED / name, "rt", encoding="utf-8") as lines:
            texts += [json.loads(line)["text"] for line in islice(lines, 0, step * count, step)]
    return texts


@pytest.fixture(scope="module")
def texts() -> list[str]:
    return real_texts() if SHARED.is_dir() else synthetic_texts()


def metaspace_bpe() -> PreTrainedTokenizerFast:
    """A backend no class of transformers sets up: BPE, and no mark on a text's first word."""
    backend = Tokenizer(models.BPE(unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    return PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="<unk>")


def trained(family: str, texts: list[str]) -> PreTrainedTokenizerFast:
    untrained = metaspace_bpe() if family == "metaspace_bpe" else getattr(transformers, family)()
    return untrained.train_new_from_iterator(texts[::2], 2000, show_progress=False)


def starts_of(tokenizer, text: str) -> tuple[list[bool], list[bool]]:
    """Where words start: as we see it, and as the tokenizer does."""
    encoding = tokenizer(text, add_special_tokens=False)
    ids = torch.tensor([encoding["input_ids"]])
    of = encoding.word_ids()
    ours = word_starts(ids, torch.ones_like(ids, dtype=torch.bool), vocabulary(tokenizer))[0]
    return ours.tolist(), [i == 0 or of[i] != of[i - 1] for i in range(len(of))]


def test_the_mark_of_words_is_found_without_writing_the_vocabulary_down():
    pieces = [("<unk>", 0.0), ("▁", -3.0), *((f"▁w{i}", -4.0) for i in range(20_000))]
    backend = Tokenizer(models.Unigram(pieces, unk_id=0))
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="<unk>")
    tracemalloc.start()
    assert mark_of(tokenizer) == "▁"
    assert tracemalloc.get_traced_memory()[1] < 100_000
    tracemalloc.stop()


def agreement(tokenizer, texts: list[str]) -> tuple[float, float]:
    """Share of the word starts found by either that both find: everywhere, and away from unknown tokens."""
    tables, unknown = vocabulary(tokenizer), tokenizer.unk_token_id
    found = []
    for encoding in tokenizer(texts, add_special_tokens=False, verbose=False).encodings:
        ids = torch.tensor([encoding.ids])
        ours = word_starts(ids, torch.ones_like(ids, dtype=torch.bool), tables)[0].numpy()
        theirs = np.diff(np.array(encoding.word_ids), prepend=-1) != 0
        apart = np.array(encoding.ids) != unknown
        apart[1:] &= apart[:-1]
        found.append(np.stack([ours & theirs, ours | theirs, apart]))
    both, either, apart = np.concatenate(found, axis=1)
    return both.sum() / either.sum(), (both & apart).sum() / (either & apart).sum()


@pytest.mark.parametrize("family", FAMILIES)
def test_words_are_those_of_the_tokenizer(family, texts):
    tokenizer = trained(family, texts)
    everywhere, known = agreement(tokenizer, texts)
    print(f"{family}: {everywhere:.6f} of word starts agree, {known:.6f} away from unknown tokens")
    assert everywhere >= 0.999  # what differs are characters not seen in training
    assert known == 1.0 or (family in BYTE_LEVEL and known >= 0.9995)


@pytest.mark.parametrize("family", ["BertTokenizer", "RobertaTokenizer", "XLMRobertaTokenizer"])
def test_words_of_many_scripts(family):
    texts = synthetic_texts()
    assert min(agreement(trained(family, texts), texts)) >= 0.999


@pytest.mark.skipif(not SHARED.is_dir(), reason=f"{SHARED} is not there: it holds a pretrained tokenizer")
def test_words_of_a_pretrained_tokenizer(texts):
    tokenizer = AutoTokenizer.from_pretrained(SHARED / "models/minilm-l6-mlm")
    tokenizer.backend_tokenizer.no_padding()
    tokenizer.backend_tokenizer.no_truncation()
    assert agreement(tokenizer, [*texts, "Tést: 日本語 'tis [unused1] 3.5μm 😂lol don't"]) == (1.0, 1.0)


def test_every_planted_token_is_a_word():
    config = PlantedConfig()
    ours, theirs = starts_of(planted_tokenizer(config), domain_corpus(config)[0])
    assert ours == theirs == [True] * len(ours)


def byte_level(*merges: tuple[str, str], **options: bool) -> PreTrainedTokenizerFast:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    pieces = [*alphabet, *dict.fromkeys(a + b for a, b in merges)]
    backend = Tokenizer(models.BPE({piece: i for i, piece in enumerate(pieces)}, list(merges)))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, **options)
    backend.post_processor = processors.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=backend)


BYTEWISE = byte_level(("ð", "Ł"), ("'", "s"), ("'", "t"))


@settings(max_examples=60)
@given(st.lists(st.text("abé中文한7,;☃😂", min_size=1), min_size=1).map(" ".join))
def test_characters_cut_into_bytes_stay_whole(text):
    ours, theirs = starts_of(BYTEWISE, text)
    assert ours == theirs


@pytest.mark.parametrize("text", ["don't", "it's's", "x't7", "'tis", "a's b", "(a)'s", "a\n\nb", "a   b", "'S"])
def test_contractions_and_white_space(text):
    ours, theirs = starts_of(byte_level(("'", "s"), ("'", "t"), ("Ġ", "Ġ")), text)
    assert ours == theirs


def test_white_space_in_full_is_approximate():
    """The bound that the docstring speaks of: should it begin to agree, the docstring is to say so."""
    ours, theirs = starts_of(byte_level(), "a\n\n\nb")
    assert ours != theirs


@pytest.mark.parametrize("family", ["BertTokenizer", "RobertaTokenizer", "AlbertTokenizer", "metaspace_bpe"])
def test_added_tokens_are_words_of_their_own(family):
    tokenizer = trained(family, synthetic_texts()[:100])
    tokenizer.add_tokens(["<gene>", "p53"])
    ours, theirs = starts_of(tokenizer, "abc <gene> de <gene>de p53<gene>fg,<gene>, ab")
    assert ours == theirs
    assert len(vocabulary(tokenizer).special) == len(tokenizer)


def test_unknown_and_special_tokens_are_words_of_their_own():
    tokenizer = trained("XLMRobertaTokenizer", synthetic_texts()[:100])
    ids = torch.tensor([tokenizer("abc ab☃ba")["input_ids"]])
    tables = vocabulary(tokenizer)
    alone = tables.special[ids]
    starts = word_starts(ids, torch.ones_like(alone), tables)
    assert (ids == tokenizer.unk_token_id).any() and ids[0, 0] == tokenizer.bos_token_id
    assert bool((sizes(leads(starts))[alone] == 1).all())


def test_a_tokenizer_that_counts_what_it_does_not_know_to_a_word_does_not_make_it_one():
    """Unigram's `word_ids` give <unk> the number of its neighbours."""
    tokenizer = trained("XLMRobertaTokenizer", synthetic_texts()[:100])
    found = tokenizer("abc ab☃ba")
    numbers = torch.tensor([[-1 if word is None else word for word in found.word_ids()]])
    ids = torch.tensor([found["input_ids"]])
    unknown = ids == tokenizer.unk_token_id
    assert (numbers[unknown] >= 0).all() and (numbers == numbers[unknown]).sum() > 1
    starts = numbered_starts(numbers, torch.ones_like(unknown), vocabulary(tokenizer).special[ids])
    assert (sizes(leads(starts))[unknown] == 1).all()
    behind = unknown.roll(1, 1)
    assert starts[behind].all()


def without_marks() -> PreTrainedTokenizerFast:
    tokenizer = byte_level()
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace(prepend_scheme="first")]
    )
    return tokenizer


@pytest.mark.parametrize(
    ("tokenizer", "found"),
    [
        (byte_level(use_regex=False), "BPE with pre-tokenizer ByteLevel"),
        (without_marks(), r"BPE with pre-tokenizer WhitespaceSplit \+ Metaspace"),
        (transformers.ByT5Tokenizer(), "ByT5Tokenizer, which is not a fast tokenizer"),
    ],
)
def test_what_leaves_no_mark_of_words_is_refused(tokenizer, found):
    with pytest.raises(ValueError, match=rf'{found}.*unit="token"'):
        vocabulary(tokenizer)


V = 12
TABLES = st.builds(
    lambda opens, first, last: Vocabulary(
        torch.arange(V) < 2, torch.tensor(opens), torch.tensor(first).to(torch.int8), torch.tensor(last).to(torch.int8)
    ),
    st.lists(st.booleans(), min_size=V, max_size=V),
    st.lists(st.integers(0, 4), min_size=V, max_size=V),
    st.lists(st.integers(-1, 5), min_size=V, max_size=V),
)
ROWS = st.lists(st.integers(0, V - 1), min_size=1, max_size=30).map(lambda row: torch.tensor([row]))


def padded(ids: torch.Tensor, left: int, right: int) -> tuple[torch.Tensor, torch.Tensor]:
    real = torch.nn.functional.pad(torch.ones_like(ids), (left, right)) > 0
    return torch.nn.functional.pad(ids, (left, right), value=3), real  # 3: also a real token


def spans_of(ids, real, tables, mean=3.0, longest=10):
    keys, index = example_keys(ids, real, seed=1), positions(real)
    starts = word_starts(ids, real, tables)
    return starts, span_starts(starts, real & ~tables.special[ids], keys, index, mean, longest)


@given(ROWS, TABLES, st.integers(0, 4), st.integers(0, 4))
def test_padding_changes_nothing(ids, tables, left, right):
    real = torch.ones_like(ids) > 0
    wide, wide_real = padded(ids, left, right)
    inside = slice(left, left + ids.shape[1])
    for narrow_starts, wide_starts in zip(spans_of(ids, real, tables), spans_of(wide, wide_real, tables), strict=True):
        assert torch.equal(wide_starts[:, inside], narrow_starts)
        lead, wide_lead = leads(narrow_starts), leads(wide_starts)
        assert torch.equal(wide_lead[:, inside] - left, lead)
        assert torch.equal(sizes(wide_lead)[:, inside], sizes(lead))
        assert torch.equal(word_keys(wide, wide_lead)[:, inside], word_keys(ids, lead))
        assert bool((sizes(wide_lead)[~wide_real] == 1).all())


@given(st.lists(st.booleans(), min_size=1, max_size=40))
def test_leads_and_sizes_partition_the_row(flags):
    starts = torch.tensor([[True, *flags]])
    lead = leads(starts)
    units = [len(run) for run in "".join("|x" if start else "x" for start in starts[0]).split("|")[1:]]
    assert starts.gather(1, lead).all()
    assert sizes(lead)[starts].tolist() == units
    assert int(sizes(lead).sum()) == starts.shape[1]


@given(st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=3), min_size=1, max_size=12))
def test_word_keys_are_equal_for_equal_pieces_only(words):
    ids = torch.tensor([[piece for word in words for piece in word]])
    starts = torch.tensor([[i == 0 for word in words for i in range(len(word))]])
    keys = word_keys(ids, leads(starts))
    assert bool((keys[~starts] == 0).all())
    assert len(set(keys[starts].tolist())) == len({tuple(word) for word in words})


def test_word_keys_do_not_collide():
    """All words of one piece, and a hundred thousand of two and of three out of a large vocabulary."""
    generator = torch.Generator().manual_seed(0)
    single = word_keys(torch.arange(250_000)[:, None], torch.zeros(250_000, 1, dtype=torch.long))[:, 0]
    found = [single]
    for length in (2, 3):
        words = torch.randint(0, 2000 if length == 2 else 250_000, (100_000, length), generator=generator).unique(dim=0)
        found.append(word_keys(words, torch.zeros_like(words))[:, 0])
    keys = torch.cat(found)
    assert len(keys.unique()) == len(keys)
    assert bool((keys != 0).all())


@given(ROWS, TABLES, st.floats(1.0, 20.0), st.integers(1, 5))
def test_spans_are_whole_words_of_eligible_tokens(ids, tables, mean, longest):
    ids, real = padded(ids, 1, 1)
    starts, spans = spans_of(ids, real, tables, mean, longest)
    lead = leads(spans)
    assert bool((starts | ~spans).all())  # a span begins where a word does
    apart = tables.special[ids] | ~real
    assert bool((sizes(lead)[apart] == 1).all())
    words = torch.zeros_like(lead).scatter_add(1, lead, starts.long())
    assert 1 <= int(words.max()) <= longest


def fit_of_geometric(lengths: np.ndarray, mean: float) -> float:
    """p-value of the lengths 1, 2, …, 7 and more under a geometric distribution of that mean."""
    q = 1 - 1 / mean
    expected = np.array([q**k / mean for k in range(7)] + [q**7])
    observed = np.bincount(np.minimum(lengths, 8), minlength=9)[1:]
    return float(chisquare(observed, expected * len(lengths)).pvalue)


@pytest.mark.parametrize("mean", [1.5, 3.8])
def test_span_lengths_are_geometric(mean):
    ids = torch.randint(2, 10_000, (40, 5_000), generator=torch.Generator().manual_seed(0))
    starts = torch.ones_like(ids, dtype=torch.bool)
    spans = span_starts(starts, starts, example_keys(ids, starts, 0), positions(starts), mean, longest=10_000)
    # The last span of a row is cut off by its end; in rows as long as these leaving it out shortens none of the rest.
    lengths = np.concatenate([np.diff(np.flatnonzero(row)) for row in spans.numpy()])
    assert fit_of_geometric(lengths, mean) > 1e-3
    assert fit_of_geometric(lengths, mean * 1.03) < 1e-6


@pytest.mark.parametrize("design", ["systematic", "independent"])
def test_what_cuts_spans_does_not_choose_among_them(design):
    """Coins that did both would choose the spans that begin where a coin is low."""
    keys, index = mix(torch.arange(1, 8_001)), torch.arange(12).expand(8_000, 12)
    starts = torch.ones_like(index, dtype=torch.bool)
    lead = leads(span_starts(starts, starts, keys, index, mean=3.0, longest=4))
    p = unit_probabilities(torch.zeros(starts.shape), starts, lead, 0.3, 0.9)
    hits = draw_units(design, p, keys, index, lead).sum(1).double()
    off = (hits - p.sum(1)).mean() / (hits - p.sum(1)).std() * len(keys) ** 0.5
    assert abs(off) < 4


def test_mean_one_and_longest_one_leave_words_alone():
    ids = torch.arange(2, 12)[None]
    starts = torch.tensor([[True, False] * 5])
    for mean, longest in [(1.0, 10), (50.0, 1)]:
        index = positions(torch.ones_like(ids))
        spans = span_starts(starts, ids > 0, example_keys(ids, ids > 0, 0), index, mean, longest)
        assert torch.equal(spans, starts)


def test_what_a_tokenizer_puts_about_a_text_is_special_though_it_is_named_nowhere():
    """As tokenizers of one's own are often saved: the template knows [CLS] and [SEP], and their roles do not."""
    pieces = ["[PAD]", "[UNK]", "[MASK]", "[CLS]", "[SEP]", "[X]", "a", "b"]
    own = Tokenizer(models.WordLevel({piece: i for i, piece in enumerate(pieces)}, unk_token="[UNK]"))
    own.pre_tokenizer = pre_tokenizers.Whitespace()
    own.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 3), ("[SEP]", 4)]
    )
    own.add_special_tokens(["[X]"])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=own, mask_token="[MASK]", pad_token="[PAD]", unk_token="[UNK]")
    assert 3 not in tokenizer.all_special_ids
    assert vocabulary(tokenizer).special.tolist() == [True] * 6 + [False] * 2
