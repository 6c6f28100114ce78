from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import BertConfig, BertForMaskedLM, PreTrainedTokenizerFast

from policylearn.config import ScoresConfig
from policylearn.data.tokens import tokenize
from policylearn.masking.vocabulary import vocabulary
from policylearn.models.model import InnerModel
from policylearn.scores.classifier import fit_classifier
from policylearn.scores.occurrences import PRIOR
from policylearn.scores.selective import Texts, important_words, moved_together, selective, stop_words, words_of
from policylearn.scores.sources import Sources

SIGNS = ("splend##id", "dread##ful")  # words of two pieces
STOPS = ["the", "of", "and"]
FILLERS = [f"{a}{b}" for a in ("ma", "bo", "ri", "lu") for b in ("##ba", "##ne", "##ko", "")]


def text_of(words: list[str]) -> str:
    return " ".join(words).replace("##", "")


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    pieces = {piece for word in [*SIGNS, *FILLERS] for piece in word.replace("##", " ##").split()}
    names = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *STOPS, "THE", *sorted(pieces)]
    backend = Tokenizer(models.WordPiece({t: i for i, t in enumerate(names)}, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    backend.decoder = decoders.WordPiece()
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    special = dict(zip(["pad_token", "unk_token", "cls_token", "sep_token", "mask_token"], names[:5], strict=True))
    return PreTrainedTokenizerFast(tokenizer_object=backend, **special)


@pytest.fixture(scope="module")
def texts() -> tuple[list[str], torch.Tensor]:
    """Filler and stop words round one sign of the class."""
    rng, found = np.random.default_rng(0), []
    y = rng.integers(2, size=200)
    for label in y:
        words = list(rng.choice(FILLERS + STOPS, size=rng.integers(5, 10)))
        words[rng.integers(len(words))] = SIGNS[label]
        found.append(text_of(words))
    return found, torch.from_numpy(y)


@pytest.fixture(scope="module")
def sources(tokenizer, texts) -> Sources:
    torch.manual_seed(1)
    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 48}
    config = BertConfig(vocab_size=len(tokenizer), max_position_embeddings=24, initializer_range=0.1, **sizes)
    model = InnerModel(BertForMaskedLM(config).eval())
    rows = tokenize(texts[0], tokenizer, 24)
    return Sources(
        ScoresConfig(word_count=1, selective={"delta": 0.02}),
        tokenizer,
        vocabulary(tokenizer),
        domain=lambda: texts[0],
        general=lambda: texts[0],
        records=lambda columns: ((text, {}) for text in texts[0]),
        model=lambda: model,
        labelled=lambda: (rows, texts[1]),
        domain_rows=lambda: rows,
    )


@pytest.fixture(scope="module")
def classifier(sources):
    return fit_classifier(sources.model(), *sources.labelled(), 0)


@pytest.fixture(scope="module")
def prepared(sources) -> Texts:
    rows, y = sources.labelled()
    return words_of(sources, *rows.batch(range(len(rows)), 0), y)


def one_by_one(classifier, tokenizer, text: str, y: int, delta: float) -> list[bool]:
    """The reference: one text, word by word, in strings; important per word."""

    def probability(words: list[str]) -> float:
        ids = torch.tensor([tokenizer(" ".join(words))["input_ids"]])
        with torch.no_grad():
            return classifier(ids, torch.ones_like(ids, dtype=torch.bool))[0, y].exp().item()

    buffer: list[str] = []
    important = []
    for word in text.split():
        test = word.lower() not in STOPS
        important.append(test and probability([*buffer, word]) > probability(text.split()) - delta)
        if not important[-1]:
            buffer.append(word)
    return important


def test_all_texts_at_once_give_what_one_text_at_a_time_gives(classifier, prepared, tokenizer, texts):
    important = important_words(classifier, prepared, delta=0.02)
    shares = []
    for i, text in enumerate(texts[0]):
        expected = one_by_one(classifier, tokenizer, text, int(texts[1][i]), 0.02)
        per_token = [e for word, e in zip(text.split(), expected, strict=True) for _ in tokenizer.tokenize(word)]
        size = len(per_token) + 2
        assert important[i, :size].tolist() == [False, *per_token, False], text
        assert not important[i, size:].any()
        shares.append(np.mean(expected))
    assert 0.05 < np.mean(shares) < 0.6


def test_batches_leave_no_trace(classifier, prepared, monkeypatch):
    at_once = important_words(classifier, prepared, delta=0.02)
    monkeypatch.setattr("policylearn.scores.selective.BATCH", 7)
    assert torch.equal(important_words(classifier, prepared, delta=0.02), at_once)


def test_the_whole_word_is_important_or_none_of_it(classifier, prepared):
    important = important_words(classifier, prepared, delta=0.02)
    assert torch.equal(important, important.gather(1, prepared.lead))
    assert important[prepared.ids == 3].sum() == 0 and important[~prepared.real].sum() == 0


def test_with_the_widest_margin_every_word_but_stop_words_is_important(classifier, prepared):
    important = important_words(classifier, prepared, delta=1.0)
    tested = prepared.tested.gather(1, prepared.lead)
    assert torch.equal(important, tested)
    assert not important_words(classifier, prepared, delta=-1.0).any()


def test_stop_words_are_known_by_how_they_are_spelt(sources, tokenizer):
    ids, real = tokenize(["the maba THE dreadful of", "boko"], tokenizer, 24).batch([0, 1], 0)
    lead = words_of(sources, ids, real, torch.tensor([0, 1])).lead
    found = stop_words(tokenizer, ids, lead)
    spelt = [tokenizer.convert_ids_to_tokens(i) for i in ids[found].tolist()]
    assert spelt == ["the", "THE", "of"]


def test_the_score_is_the_share_of_occurrences_found_important(sources, classifier, prepared):
    scores = selective(sources)
    important = important_words(classifier, prepared, delta=0.02)
    usual, overall = [], important[prepared.real & ~prepared.frame].double().mean()
    for v in range(5, len(sources.tokenizer)):
        here = important[prepared.real & (prepared.ids == v)].double()
        if len(here):
            usual.append((here.sum() + PRIOR * overall) / (len(here) + PRIOR))
            torch.testing.assert_close(scores.types[v], usual[-1])
    assert scores.types[0] == pytest.approx(float(torch.stack(usual).mean()))
    names = sources.lexicon.texts(sources.tokenizer)
    share = dict(zip(names, scores.words.tolist(), strict=True))
    assert len(share) == len(SIGNS) + len(FILLERS) + len(STOPS)
    assert max(share[word] for word in STOPS) < min(share[text_of([sign])] for sign in SIGNS) / 3
    fillers = [share[text_of([word])] for word in FILLERS]
    assert min(share[text_of([sign])] for sign in SIGNS) > 2 * np.mean(fillers)


def test_words_of_the_domain_that_no_labelled_text_has_are_not_known(sources, texts):
    rows, y = sources.labelled()
    few = replace(sources, labelled=lambda: (rows.take(range(6)), y[:6]))
    names, words = few.lexicon.texts(few.tokenizer), selective(few).words
    said = {word for text in texts[0][:6] for word in text.split()}
    assert {n for n, score in zip(names, words.tolist(), strict=True) if score == score} == said
    assert torch.isfinite(selective(few).types).all()


@settings(max_examples=40)
@given(st.lists(st.lists(st.booleans(), min_size=5, max_size=5), min_size=1, max_size=4))
def test_given_tokens_move_together_in_order(given_rows):
    given_rows = torch.tensor(given_rows)
    given_rows[:, 0] = True
    ids = torch.arange(given_rows.numel()).reshape(given_rows.shape)
    compact, real = moved_together(ids, given_rows)
    assert [row[here].tolist() for row, here in zip(compact, real, strict=True)] == [
        row[here].tolist() for row, here in zip(ids, given_rows, strict=True)
    ]
    assert compact.shape[1] == int(given_rows.sum(1).max())
