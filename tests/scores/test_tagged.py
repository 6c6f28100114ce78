import gzip
import json
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import AutoTokenizer, BertConfig, BertForTokenClassification, PreTrainedTokenizerFast

from policylearn.config import ScoresConfig
from policylearn.masking.vocabulary import vocabulary
from policylearn.policy.scores import Scores
from policylearn.scores.sources import Sources
from policylearn.scores.tagged import column, entity, find_entities, load_recogniser, pos_column

SHARED = Path(__file__).parents[2].parent / "shared"
WORDS = ["the", "cell", "of", "a", "grow"]
TEXTS = ["the tumour of a cell", "tumour cell grow", "the tumours grow"]


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    names = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS, "tum", "##our", "##ours"]
    backend = Tokenizer(models.WordPiece({t: i for i, t in enumerate(names)}, unk_token="[UNK]"))
    backend.pre_tokenizer, backend.decoder = pre_tokenizers.WhitespaceSplit(), decoders.WordPiece()
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    special = dict(zip(["pad_token", "unk_token", "cls_token", "sep_token", "mask_token"], names[:5], strict=True))
    return PreTrainedTokenizerFast(tokenizer_object=backend, **special)


def nothing() -> Any:
    raise AssertionError("scores of a column need no model, no labels and no general text")


def make_sources(tokenizer, texts: list[str], columns: dict[str, list] | None = None, **config) -> Sources:
    def records(names):
        assert set(names) <= set(columns)
        return ((text, {n: columns[n][i] for n in columns}) for i, text in enumerate(texts))

    return Sources(
        ScoresConfig(word_count=1, **config),
        tokenizer,
        vocabulary(tokenizer),
        domain=lambda: iter(texts),
        general=nothing,
        records=records,
        model=nothing,
        labelled=nothing,
        domain_rows=nothing,
    )


def by_name(scores: Scores, sources: Sources) -> tuple[dict[str, float], dict[str, float]]:
    """Scores of types and of words."""
    tokens = sources.tokenizer.convert_ids_to_tokens(range(len(sources.tokenizer)))
    words = sources.lexicon.texts(sources.tokenizer)
    return dict(zip(tokens, scores.types.tolist(), strict=True)), dict(zip(words, scores.words.tolist(), strict=True))


def test_scores_are_means_over_occurrences(tokenizer):
    tags = [["O", "B", "I", "I", "I"], ["B", "O", "O"], ["O", "O", "B"]]
    sources = make_sources(tokenizer, TEXTS, {"tags": tags}, entity={"column": "tags"})
    types, words = by_name(entity(sources), sources)
    expected = {"the": 0, "tumour": 1, "tumours": 0, "of": 1, "a": 1, "cell": 0.5, "grow": 0.5}
    assert words == expected
    assert types == {w: expected[w] for w in WORDS} | {
        "tum": pytest.approx(2 / 3),
        "##our": 1,
        "##ours": 0,
    } | dict.fromkeys(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"], 0)


@pytest.mark.parametrize(
    ("scorer", "columns", "config", "expected"),
    [
        (
            pos_column,
            {"pos": [["DET", "NOUN", "ADP", "DET", "X"]]},
            {},
            {"the": 0, "tumour": 1, "of": 0, "a": 0, "cell": 0},
        ),
        (
            pos_column,
            {"upos": [["DET", "NOUN", "ADP", "DET", "X"]]},
            {"pos_column": {"name": "upos", "weights": {"X": -2, "DET": 0.5}}},
            {"the": 0.5, "tumour": 0, "of": 0, "a": 0.5, "cell": -2},
        ),
        (column, {"scores": [[1, -2, 3.5, 0, 9]]}, {}, {"the": 1, "tumour": -2, "of": 3.5, "a": 0, "cell": 9}),
        (
            column,
            {"mine": [[[4, 8, 3], [11, 15, 5]]]},
            {"column": {"name": "mine"}},
            {"the": 0, "tumour": 3, "of": 5, "a": 5, "cell": 0},
        ),
    ],
)
def test_every_scorer_reads_its_column(tokenizer, scorer: Callable, columns, config, expected):
    sources = make_sources(tokenizer, TEXTS[:1], columns, **config)
    types, words = by_name(scorer(sources), sources)
    assert words == expected
    assert types["##our"] == expected["tumour"] and types["grow"] == 0  # does not occur


def test_texts_of_which_nothing_is_known_do_not_count(tokenizer):
    sources = make_sources(
        tokenizer, TEXTS, {"tags": [["O", "B", "O", "O", "B"], None, None]}, entity={"column": "tags"}
    )
    types, words = by_name(entity(sources), sources)
    assert words["cell"] == 1 and types["cell"] == 1
    assert words["grow"] != words["grow"] and types["grow"] == 0  # NaN: the type's score stands for the word


def test_long_texts_are_read_to_the_end(tokenizer, monkeypatch):
    text = " ".join(["the cell of tumour"] * 60)
    values = [float(i) for i in range(240)]
    sources = make_sources(tokenizer, [text], {"scores": [values]})
    at_once = column(sources)
    assert by_name(at_once, sources)[1]["cell"] == sum(values[1::4]) / 60
    monkeypatch.setattr("policylearn.scores.tagged.ROW", 17)  # 15 tokens a row: words of one piece are not cut
    in_parts = column(sources)
    torch.testing.assert_close(in_parts.types, at_once.types)


def test_an_item_that_is_wrong_is_named(tokenizer):
    sources = make_sources(tokenizer, TEXTS[:2], {"tags": [["O"] * 5, ["O"] * 4]}, entity={"column": "tags"})
    with pytest.raises(ValueError, match=r"column 'tags', row 1: 4 items for 3 words"):
        entity(sources)


def test_entities_must_come_from_somewhere(tokenizer):
    with pytest.raises(ValueError, match=r"set scores\.entity\.column or scores\.entity\.model"):
        entity(make_sources(tokenizer, TEXTS))


@pytest.fixture(scope="module")
def recogniser(tokenizer, tmp_path_factory) -> Path:
    """A token classifier trained to tag the pieces of "tumour" and "tumours", saved."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    labels = {"id2label": {0: "O", 1: "I-X"}, "label2id": {"O": 0, "I-X": 1}, "max_position_embeddings": 24}
    model = BertForTokenClassification(BertConfig(vocab_size=len(tokenizer), **sizes, **labels))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    first = tokenizer.convert_tokens_to_ids("tum")
    for _ in range(60):
        ids = torch.randint(5, len(tokenizer), (32, 22))
        loss = model(input_ids=ids, labels=(ids >= first).long()).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 0.1
    folder = tmp_path_factory.mktemp("recogniser")
    model.eval().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def test_an_entity_model_finds_what_it_was_taught(recogniser, tokenizer):
    sources = make_sources(tokenizer, [*TEXTS, ""], entity={"model": str(recogniser)})
    types, words = by_name(entity(sources), sources)
    assert words == {word: float(word.startswith("tumour")) for word in words} and len(words) == 7
    assert types == {token: float(token.lstrip("#").startswith(("tum", "our"))) for token in types}


def test_an_entity_model_reads_texts_longer_than_it_can(recogniser):
    text = " ".join(["the cell of a"] * 30 + ["tumour grow"])
    (spans,) = find_entities([text], load_recogniser(str(recogniser)))
    assert {text[start:end] for start, end, _ in spans} == {"tumour"}


def test_an_entity_model_looks_at_no_more_texts_than_asked_for(recogniser, tokenizer):
    sources = make_sources(tokenizer, ["the cell", "a tumour"], entity={"model": str(recogniser)}, model_texts=1)
    types, words = by_name(entity(sources), sources)
    assert words["cell"] == 0 and words["tumour"] != words["tumour"] and types["tum"] == 0


def test_models_that_are_no_entity_models(recogniser, tokenizer, tmp_path):
    with pytest.raises(ValueError, match=r"scores\.entity\.model '\./none' does not exist"):
        load_recogniser("./none")
    with pytest.raises(ValueError, match=r"scores\.entity\.model .* cannot be loaded as a token classifier"):
        load_recogniser(str(tmp_path))
    model = BertForTokenClassification.from_pretrained(recogniser)
    model.config.id2label = {0: "LABEL_0", 1: "LABEL_1"}
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r'labels \[\'LABEL_0\', \'LABEL_1\'\]; one must be "O"'):
        load_recogniser(str(tmp_path))


@pytest.mark.skipif(not SHARED.is_dir(), reason=f"{SHARED} is not there: it holds real entity tags and a tokenizer")
def test_real_entities():
    tokenizer = AutoTokenizer.from_pretrained(SHARED / "models/minilm-l6-mlm")
    with gzip.open(SHARED / "data/ner/ner_ncbi_disease/train.jsonl.gz", "rt", encoding="utf-8") as lines:
        records = [json.loads(line) for line in islice(lines, 800)]
    columns = {"tags": [record["tags"] for record in records]}
    sources = make_sources(tokenizer, [record["text"] for record in records], columns, entity={"column": "tags"})
    types, words = by_name(entity(sources), sources)
    assert min(words[w] for w in ("cancer", "tumours", "syndrome")) > 0.5
    assert max(words[w] for w in ("the", "mutations", "gene", "was")) < 0.1
    assert types["cancer"] > 0.5 > types["the"] and max(types.values()) == 1 and types["zebra"] == 0
