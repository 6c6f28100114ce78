import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from torch.nn.functional import cosine_similarity
from transformers import BertConfig, BertForMaskedLM, PreTrainedTokenizerFast

from policylearn.config import ScoresConfig
from policylearn.config.scores import DifferenceConfig
from policylearn.masking.vocabulary import vocabulary
from policylearn.models.model import InnerModel
from policylearn.scores.anchors import find_anchors, named_anchors
from policylearn.scores.counting import count_corpus
from policylearn.scores.difference import anchor_similarity, nearest_anchor_similarity
from policylearn.scores.registry import score
from policylearn.scores.sources import Sources
from policylearn.scores.vectors import batches, from_encoder, from_inner_model, type_pieces, word_embedder

SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
PIECES = ["pars", "##er", "##ing", "tree", "##bank", "the", "3", "##d", "x", "cat", ",", "dog"]
# Typical of the domain: parser most, then treebank, then parsing (rare). "the" is a function word.
DOMAIN = ["the parser , treebank 3d"] * 20 + ["the Parser the the"] * 20 + ["parsing x x x"] * 2
GENERAL = ["the the the the cat"] * 100 + ["treebank dog"]


def tokenizer() -> PreTrainedTokenizerFast:
    pieces = {piece: i for i, piece in enumerate([*SPECIALS, *PIECES])}
    backend = Tokenizer(models.WordPiece(pieces, unk_token="[UNK]"))
    backend.normalizer = None
    backend.pre_tokenizer, backend.decoder = pre_tokenizers.BertPreTokenizer(), decoders.WordPiece()
    ends = [("[CLS]", 2), ("[SEP]", 3)]
    backend.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=ends)
    names = ["pad_token", "unk_token", "cls_token", "sep_token", "mask_token"]
    return PreTrainedTokenizerFast(tokenizer_object=backend, **dict(zip(names, SPECIALS, strict=True)))


TOKENIZER = tokenizer()
TABLES = vocabulary(TOKENIZER)


@pytest.fixture(scope="module")
def model() -> InnerModel:
    torch.manual_seed(0)
    shape = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    return InnerModel(BertForMaskedLM(BertConfig(vocab_size=len(TOKENIZER), initializer_range=0.5, **shape)).eval())


@pytest.fixture
def sources(model):
    def make(domain=DOMAIN, general=GENERAL, **config) -> Sources:
        settings = ScoresConfig(word_count=1, difference={"anchors": 9, "anchor_count": 1, **config})
        refused = dict.fromkeys(["records", "labelled", "domain_rows"], lambda *_: pytest.fail("not to be read"))
        return Sources(
            settings,
            TOKENIZER,
            TABLES,
            lambda: lowered(domain),
            lambda: lowered(general),
            model=lambda: model,
            **refused,
        )

    return make


def lowered(texts: list[str]) -> list[str]:
    return [text.lower() for text in texts]


def chosen(texts=DOMAIN, **config) -> list[str]:
    settings = DifferenceConfig(**{"anchors": 9, "anchor_count": 1, "anchor_ratio": 2.0, **config})
    domain = count_corpus(lowered(texts), TOKENIZER, TABLES)
    general = count_corpus(lowered(GENERAL), TOKENIZER, TABLES, domain.words.keys)
    found = find_anchors(domain, general, TOKENIZER, settings)
    spelt = [TOKENIZER.decode(row[row >= 0]) for row in found.pieces]
    assert spelt == found.texts
    return found.texts


def test_the_most_typical_words_come_first_in_one_piece_or_several():
    assert chosen() == ["parser", "treebank", "parsing"]
    assert chosen(anchors=2) == ["parser", "treebank"]


def test_a_frequent_word_of_any_text_is_no_anchor_although_its_tficf_is_high():
    assert chosen(anchor_ratio=0.0) == ["parser", "treebank", "the", "parsing"]


def test_rare_words_are_no_anchors():
    assert chosen(anchor_count=3) == ["parser", "treebank"]
    assert chosen(anchor_count=2) == chosen()  # "parsing" occurs as often as that


def test_by_icf_the_rarest_in_general_text_come_first_and_of_those_the_most_frequent_in_the_domain():
    assert chosen(anchor_order="icf") == ["parser", "parsing", "treebank"]
    assert chosen(anchor_order="icf", anchor_ratio=0.0) == ["parser", "parsing", "treebank", "the"]


def test_by_share_only_what_is_frequent_in_the_domain_is_an_anchor():
    assert chosen(anchor_order="icf", anchor_share=0.05) == ["parser", "treebank"]
    assert chosen(anchor_share=0.15) == ["parser"]


def test_anchors_have_two_letters():
    assert not {",", "x", "3d"} & set(chosen(anchor_ratio=0.0))


def test_where_no_word_has_two_letters_as_in_proteins_one_will_do():
    assert chosen(["x x , 3"] * 5) == ["x"]
    with pytest.raises(ValueError, match="none has a letter"):
        chosen([", 3"] * 5)


@pytest.mark.parametrize("settings", [{"anchor_count": 1000}, {"anchor_ratio": 1e9}])
def test_no_anchor_at_all_says_what_was_asked_for_and_what_to_check(settings):
    expected = r"none has a letter, occurs \d+ times and is .*domain.path.*scores.difference.anchor_count"
    with pytest.raises(ValueError, match=expected) as failure:
        chosen(**settings)
    assert all(str(value) in str(failure.value) for value in settings.values())


def test_words_that_read_the_same_are_one_anchor():
    """Byte-level BPE has one key for a word that begins a text and another for it after a space."""
    backend = Tokenizer(models.BPE({c: i for i, c in enumerate(pre_tokenizers.ByteLevel.alphabet())}, []))
    backend.pre_tokenizer, backend.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    other = PreTrainedTokenizerFast(tokenizer_object=backend)
    domain = count_corpus(["tree tree of", "tree"], other, vocabulary(other))
    assert len(domain.words) == 3
    general = count_corpus(["of of of of"], other, vocabulary(other))
    config = DifferenceConfig(anchor_count=1, anchor_ratio=2.0)
    assert find_anchors(domain, general, other, config).texts == ["tree"]
    assert len(named_anchors(["tree"], domain.words, other).pieces) == 1


def test_anchors_by_name(sources):
    found = sources(anchor_words=["treebank", "parser"]).anchors
    assert found.texts == ["treebank", "parser"]
    assert [TOKENIZER.decode(row[row >= 0]) for row in found.pieces] == ["treebank", "parser"]


@pytest.mark.parametrize(("name", "hint"), [("parsers", "did you mean parser,"), ("qqq", r"is domain\.path right")])
def test_an_anchor_that_is_no_word_of_the_domain(sources, name, hint):
    with pytest.raises(
        ValueError, match=rf"scores\.difference\.anchor_words: '{name}' is not a word of the domain corpus; {hint}"
    ):
        _ = sources(anchor_words=["parser", name]).anchors


@settings(max_examples=30)
@given(st.integers(0, 2**31), st.integers(1, 6))
def test_similarity_is_the_cosine_to_the_nearest_anchor(seed, k):
    random = torch.Generator().manual_seed(seed)
    vectors, ids = torch.randn(12, 4, generator=random), torch.randperm(12, generator=random)[:k]
    expected = cosine_similarity(vectors[:, None], vectors[None, ids], dim=2).amax(1)
    found = nearest_anchor_similarity(vectors, vectors[ids])
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(found[ids], torch.ones(k))
    # Lengths of vectors (frequent words have longer ones) must not count.
    scaled = vectors * torch.rand(12, 1, generator=random).add(0.1)
    torch.testing.assert_close(nearest_anchor_similarity(scaled, vectors[ids]), found)


def test_a_word_without_a_vector_is_like_nothing():
    assert nearest_anchor_similarity(torch.tensor([[0.0, 0.0], [1.0, 1.0]]), torch.ones(1, 2))[0] == 0


def words(*texts: str) -> np.ndarray:
    """Pieces of words, as a lexicon has them."""
    pieces = type_pieces(len(texts))
    for row, text in zip(pieces, texts, strict=True):
        ids = TOKENIZER(text, add_special_tokens=False)["input_ids"]
        row[: len(ids)] = ids
    return pieces


def test_batches_hold_every_word_once_and_short_words_first():
    pieces = words("parser", "the", "cat", "treebank", "dog")
    rows = list(batches(pieces, size=2))
    assert sorted(np.concatenate(rows).tolist()) == [0, 1, 2, 3, 4] and max(map(len, rows)) == 2
    assert [(pieces[r] >= 0).sum(1).tolist() for r in rows] == [[1, 1], [1, 2], [2]]


def test_input_embeddings_are_averaged_over_pieces(sources, model):
    table = model.mlm.get_input_embeddings().weight.detach()
    found = word_embedder(sources())(words("parser", "the"))
    ids = TOKENIZER("parser the", add_special_tokens=False)["input_ids"]
    torch.testing.assert_close(found, torch.stack([table[ids[:2]].mean(0), table[ids[2]]]))


def test_the_encoder_sees_a_word_alone_between_its_special_tokens(sources, model):
    found = word_embedder(sources(embedding="encoder"))(words("the", "parser", "treebank"))
    for vector, text in zip(found, ["the", "parser", "treebank"], strict=True):
        ids = torch.tensor([TOKENIZER(text)["input_ids"]])
        with torch.no_grad():
            torch.testing.assert_close(vector, model(ids, torch.ones_like(ids, dtype=torch.bool))[0])


def test_another_encoder_reads_words_as_strings(sources, model, tmp_path):
    """Here the same encoder from a folder, whose tokenizer finds the same pieces."""
    model.mlm.base_model.save_pretrained(tmp_path)
    TOKENIZER.save_pretrained(tmp_path)
    pieces = words("the", "parser", "treebank", "[PAD]")
    other = word_embedder(sources(embedding="encoder", embedding_model=str(tmp_path)))
    own = from_inner_model(model, TOKENIZER)
    torch.testing.assert_close(other(pieces), own(pieces), atol=1e-5, rtol=1e-4)


def test_another_encoder_reads_a_piece_without_its_mark(model):
    read = []

    def reader(texts, **settings):
        read.extend(texts)
        return TOKENIZER(texts, **settings)

    inside = type_pieces(len(TOKENIZER))[[TOKENIZER.get_vocab()["##bank"]]]
    from_encoder(model.mlm.base_model, reader, TOKENIZER)(inside)
    assert read == ["bank"]


def test_an_encoder_that_is_not_there(sources):
    with pytest.raises(ValueError, match=r"scores\.difference\.embedding_model './nowhere' does not exist"):
        word_embedder(sources(embedding="encoder", embedding_model="./nowhere"))


def test_an_encoder_that_would_not_be_used(sources):
    with pytest.raises(
        ValueError,
        match=r'scores\.difference\.embedding_model is used with scores\.difference\.embedding = "encoder" only',
    ):
        word_embedder(sources(embedding_model="./nowhere"))


@pytest.mark.parametrize("embedding", ["input", "encoder"])
def test_every_type_and_word_is_scored_by_its_nearest_anchor(sources, embedding):
    given_sources = sources(embedding=embedding, anchor_words=["parser", "cat"], domain=[*DOMAIN, "cat 3d"])
    found = score("difference", given_sources)
    embed, lexicon = word_embedder(given_sources), given_sources.lexicon
    anchors = embed(words("parser", "cat"))
    expected = nearest_anchor_similarity(embed(type_pieces(len(TOKENIZER))), anchors)
    torch.testing.assert_close(found.types, expected)
    torch.testing.assert_close(found.words, nearest_anchor_similarity(embed(lexicon.pieces), anchors))
    by_text = dict(zip(lexicon.texts(TOKENIZER), found.words.tolist(), strict=True))
    assert [by_text["parser"], by_text["cat"]] == pytest.approx([1, 1]) and 1 < len(by_text) == len(lexicon)
    assert by_text["the"] == found.types[TOKENIZER.get_vocab()["the"]].item()
    # A word is not its first piece.
    assert found.types[TOKENIZER.get_vocab()["pars"]] < 0.999


def test_batches_do_not_change_scores(model):
    embed, pieces = from_inner_model(model, TOKENIZER), type_pieces(len(TOKENIZER))
    at_once = anchor_similarity(pieces, words("parser"), embed)
    few = anchor_similarity(pieces, words("parser"), embed, batches(pieces, size=3))
    torch.testing.assert_close(few, at_once)


@pytest.mark.parametrize(
    ("template", "ends"),
    [("[CLS] $A", [("[CLS]", 2)]), ("$A [SEP] [CLS]", [("[SEP]", 3), ("[CLS]", 2)]), ("$A [SEP]", [("[SEP]", 3)])],
)
def test_a_word_stands_where_the_tokenizer_would_put_it(template, ends):
    own, seen = tokenizer(), []
    own.backend_tokenizer.post_processor = processors.TemplateProcessing(single=template, special_tokens=ends)

    class Sees(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(1))

        def forward(self, ids, real):
            seen.append(ids[0].tolist())
            return torch.zeros(len(ids), 2)

    from_inner_model(Sees(), own)(np.array([[own.convert_tokens_to_ids("tree"), -1]]))
    assert seen == [own("tree")["input_ids"]]
