from dataclasses import replace

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from policylearn.config import ModelConfig, PlantedConfig, ScoresConfig
from policylearn.data.planted import domain_corpus, general_corpus, planted_tokenizer
from policylearn.masking.vocabulary import vocabulary
from policylearn.models.loading import load_model
from policylearn.models.model import InnerModel
from policylearn.policy.scores import Scores
from policylearn.registry.known import SCORERS
from policylearn.scores.registry import score
from policylearn.scores.sources import Sources

PLANTED = PlantedConfig(documents=400)


def orthogonal_model(size: int) -> InnerModel:
    """Its input embeddings say only whether two types are the same."""
    shape = {"hidden_size": size, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8}
    config = ModelConfig(architecture={"model_type": "bert", **shape})
    model = load_model(config, size, 0, 0, "eager")
    model.mlm.get_input_embeddings().weight.data = torch.eye(size)
    return model


@pytest.fixture
def sources() -> Sources:
    """The planted corpora."""
    tokenizer = planted_tokenizer(PLANTED)
    refused = dict.fromkeys(["records", "labelled", "domain_rows"], lambda *_: pytest.fail("not to be read"))
    return Sources(
        ScoresConfig(),
        tokenizer,
        vocabulary(tokenizer),
        lambda: domain_corpus(PLANTED),
        lambda: general_corpus(PLANTED),
        model=lambda: orthogonal_model(len(tokenizer)),
        **refused,
    )


def kinds(sources: Sources, ids: list[int]) -> set[str]:
    return {token.rstrip("0123456789").rstrip("_0123456789") for token in sources.tokenizer.convert_ids_to_tokens(ids)}


def assert_words_are_types(sources: Sources, scores: Scores) -> None:
    """Every planted word is one token."""
    ids = torch.from_numpy(sources.lexicon.pieces[:, 0]).long()
    torch.testing.assert_close(scores.words, scores.types[ids])


def test_difference_masking_finds_all_domain_words_and_no_others(sources):
    """... distractors included, which is what a learned policy has to improve on."""
    scores = score("difference", sources)
    assert kinds(sources, (scores.types > 0.5).nonzero().flatten().tolist()) == {"class", "distractor"}
    assert kinds(sources, (scores.types < 0.5).nonzero().flatten().tolist()) >= {"generic", "[MASK]"}
    assert int((scores.types > 0.5).sum()) == ScoresConfig().difference.anchors
    assert_words_are_types(sources, scores)
    assert {text.rstrip("0123456789_") for text in sources.anchor_texts} == {"class", "distractor"}


def test_tficf_puts_domain_words_above_all_but_the_most_frequent_generic_ones(sources):
    """... which is why anchors ask for a ratio of frequencies as well."""
    scores = score("tficf", sources)
    assert float(scores.types.max()) == 1.0 and scores.types.dtype == torch.float32
    assert sources.tokenizer.convert_ids_to_tokens(int(scores.types.argmax())) == "generic_000"
    generic = [i for word, i in sources.tokenizer.get_vocab().items() if word > "generic_020"]
    anchors = torch.from_numpy(sources.anchors.pieces[:, 0]).long()
    assert float(scores.types[generic].max()) < float(scores.types[anchors].min())
    assert_words_are_types(sources, scores)


def test_idf_goes_from_frequent_words_to_rare_ones(sources):
    scores, ids = score("idf", sources), sources.tokenizer.get_vocab()
    assert 0 <= scores.types[ids["generic_000"]] < scores.types[ids["class0_00"]] < 1
    assert scores.types[sources.tokenizer.all_special_ids].abs().max() == 0
    assert float(scores.types.max()) == 1.0
    assert_words_are_types(sources, scores)


def test_an_unseen_type_is_the_rarest(sources):
    sources.domain = lambda: ["class0_00 generic_000", "generic_000"]
    scores, ids = score("idf", sources), sources.tokenizer.get_vocab()
    found = [scores.types[ids[word]].item() for word in ("generic_000", "class0_00", "class0_01")]
    assert found == [0, pytest.approx(torch.tensor(3 / 2).log() / torch.tensor(3.0).log()), 1]


def test_uniform_knows_nothing(sources):
    scores = score("uniform", sources)
    assert scores.types.shape == (len(sources.tokenizer),) and not scores.types.any() and scores.words is None


@pytest.mark.parametrize("name", ["tficf", "idf", "difference"])
@pytest.mark.parametrize("texts", [[], [""], ["the cat", "sat"]], ids=["nothing", "empty", "unknown"])
def test_a_corpus_that_has_nothing_to_do_with_the_vocabulary(sources, name, texts):
    sources.domain = lambda: texts
    with pytest.raises(
        ValueError, match=r"the domain corpus holds no word .*domain\.path, domain\.text and model\.tok"
    ):
        score(name, sources)


@pytest.mark.parametrize("name", ["tficf", "difference"])
def test_a_general_corpus_that_has_nothing_to_do_with_the_vocabulary(sources, name):
    sources.general = lambda: ["the cat"]
    with pytest.raises(ValueError, match=r"the general corpus holds no word .*general\.path"):
        score(name, sources)


def test_corpora_of_one_word(sources):
    sources.domain = sources.general = lambda: ["generic_000"] * 5
    assert not score("tficf", sources).types.any()


def test_unknown_words_and_special_tokens_have_no_part_in_tficf(sources):
    plain = score("tficf", sources).types
    texts = [text + " of the [MASK]" * 9 for text in domain_corpus(PLANTED)]
    again = Sources(**{**vars_of(sources), "domain": lambda: texts})
    torch.testing.assert_close(score("tficf", again).types, plain)


def vars_of(sources: Sources) -> dict:
    return {name: getattr(sources, name) for name in Sources.__dataclass_fields__}


def test_the_oracle_knows_class_words(sources):
    scores = score("oracle", sources)
    assert kinds(sources, scores.types.nonzero().flatten().tolist()) == {"class"}


def test_the_oracle_is_silent_about_other_vocabularies(sources, monkeypatch):
    monkeypatch.setattr(sources.tokenizer, "convert_ids_to_tokens", lambda ids: ["word"] * len(ids))
    with pytest.raises(ValueError, match=r"known on the planted benchmark only"):
        score("oracle", sources)


def test_corpora_are_counted_once_and_shown_while_they_are(sources):
    shown = []
    sources.watch = lambda work, texts, *known: shown.append(work) or texts
    for name in ("difference", "tficf", "difference", "idf"):
        score(name, sources)
    assert shown == ["counting texts of the domain corpus", "counting texts of the general corpus"]


def test_an_unknown_scorer_is_named_with_the_known_ones(sources):
    with pytest.raises(ValueError, match=r"'entropy'; known: \[.*'difference', .*'oracle', .*'tficf', 'uniform'\]"):
        score("entropy", sources)


def test_a_scorer_of_ones_own(sources):
    SCORERS.register("length")(lambda sources: Scores(torch.arange(len(sources.tokenizer))))
    assert score("length", sources).types.dtype == torch.float32
    with pytest.raises(ValueError, match="there is a scorer 'idf' already"):
        SCORERS.register("idf")(lambda sources: Scores(torch.zeros(1)))


SHAPE = "have it give a tensor of {size} real numbers"
BAD = "gave a score that is NaN or infinite, or above 1e.20"


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda types, words: Scores(types[3:]), r"gave types that are \[{short}\] of torch.float32: " + SHAPE),
        (lambda types, words: Scores(torch.cat([types, types])), SHAPE),
        (lambda types, words: Scores(types[:, None]), rf"\[{{size}}, 1\] of torch.float32: {SHAPE}"),
        (lambda types, words: Scores(types[0]), rf"\[\] of torch.float32: {SHAPE}"),
        (lambda types, words: Scores(types.to(torch.complex64)), f"of torch.complex64: {SHAPE}"),
        (lambda types, words: Scores(types.tolist()), f"types that are a list: {SHAPE}"),
        (lambda types, words: Scores(types.numpy()), f"types that are a ndarray: {SHAPE}"),
        (lambda types, words: Scores(types, words[1:]), "gave words that are .* for every word of sources.lexicon"),
        (lambda types, words: Scores(types, torch.cat([words, words])), "gave words that are"),
        (lambda types, words: Scores(types, [1.0]), "gave words that are a list"),
        (lambda types, words: types, r"gave a Tensor: have it return policylearn\.Scores"),
        (lambda types, words: None, r"gave a NoneType: have it return policylearn\.Scores"),
        (lambda types, words: Scores(types, None, 3), "gave learned_from = 3: it is said in words"),
        (lambda types, words: Scores(types / 0), BAD),
        (lambda types, words: Scores(types.double() + 1e300), BAD),
        (lambda types, words: Scores(types + 1e30), BAD),
        (lambda types, words: Scores(types, words + torch.inf), BAD),
        (lambda types, words: Scores(types, words - 1e30), BAD),
    ],
)
def test_what_are_no_scores_of_these_types_and_words_is_refused_by_the_name_of_the_scorer(sources, make, said):
    size = len(sources.tokenizer)
    SCORERS.register("theirs")(lambda sources: make(torch.zeros(size), torch.zeros(len(sources.lexicon.keys))))
    with pytest.raises(ValueError, match="^scorer 'theirs' .*" + said.format(size=size, short=size - 3)):
        score("theirs", sources)


def test_scores_that_were_learned_are_taken_as_they_are_and_words_may_be_unknown(sources):
    types = torch.arange(float(len(sources.tokenizer)), requires_grad=True)
    words = torch.full((len(sources.lexicon.keys),), torch.nan)
    SCORERS.register("theirs")(lambda sources: Scores(types * 1.0, words))
    found = score("theirs", sources)
    assert not found.types.requires_grad and torch.equal(found.types, types) and found.words.isnan().all()


def test_the_mark_before_words_that_are_not_known_is_no_word(sources):
    """Metaspace makes `▁` and <unk> of each: however typical they are of the domain, they say nothing of a text."""
    backend = Tokenizer(models.Unigram([("<unk>", 0.0), ("▁", -3.0), *((f"▁{w}", -1.0) for w in "abc")], unk_id=0))
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    foreign = PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="<unk>")
    texts = {"domain": lambda: ["a b 我", "a 们 c", "喜 欢 a"] * 20, "general": lambda: ["b c", "c b a"] * 20}
    sources = replace(sources, tokenizer=foreign, vocabulary=vocabulary(foreign), **texts)
    marked = sources.vocabulary.special.clone()
    marked[foreign.convert_tokens_to_ids("▁")] = True
    assert foreign.tokenize("a 我") == ["▁a", "▁", "我"] and marked.sum() == 2
    assert not marked[sources.lexicon.pieces[:, 0]].any() and len(sources.lexicon) == 3
    for name in ("tficf", "idf"):
        scores = score(name, sources)
        assert not scores.types[marked].any() and scores.types.max() == 1 and scores.words.max() > 0
    known = replace(sources, domain=lambda: ["a b", "a c", "a"] * 20)
    assert sources.domain_counts.total_words == known.domain_counts.total_words == 100
    torch.testing.assert_close(score("tficf", sources).words, score("tficf", known).words)
    assert replace(sources, domain=lambda: ["a 我 们 喜 欢"]).domain_counts.too_long == ""
    for name in ("tficf", "idf"):
        with pytest.raises(ValueError, match="the domain corpus holds no word the tokenizer knows"):
            score(name, replace(sources, domain=lambda: ["我 们", "喜 欢"]))


@pytest.mark.parametrize("name", ["difference", "pmi", "informative"])
def test_where_whole_texts_are_words_the_scorers_of_words_say_so(sources, name):
    """Of a script without blanks, where only they begin a word to the tokenizer; its mend is not a lower count."""
    backend = Tokenizer(models.Unigram([("<unk>", 0.0), *((c, -1.0) for c in "▁我们喜欢学习")], unk_id=0))
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="<unk>")
    texts = {corpus: lambda: ["我们喜欢学习我们学习", "学习我们喜欢我们喜欢"] * 20 for corpus in ("domain", "general")}
    sources = replace(sources, tokenizer=tokenizer, vocabulary=vocabulary(tokenizer), **texts)
    with pytest.raises(ValueError, match=r"Of its 40 words 40 have more than 8 pieces.* put blanks between its words"):
        score(name, sources)
