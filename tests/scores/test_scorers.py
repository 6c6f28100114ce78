import pytest
import torch

from policylearn.config import PlantedConfig, ScoresConfig
from policylearn.data.planted import domain_corpus, general_corpus, planted_tokenizer
from policylearn.masking import special_table
from policylearn.scores import SCORERS, Sources, score_types, scorer

PLANTED = PlantedConfig(documents=400)


@pytest.fixture
def sources() -> Sources:
    """The planted corpora; word vectors say only whether two types are the same."""
    tokenizer = planted_tokenizer(PLANTED)
    return Sources(
        ScoresConfig(),
        tokenizer,
        lambda: domain_corpus(PLANTED),
        lambda: general_corpus(PLANTED),
        lambda: torch.eye(len(tokenizer)),
        special_table(tokenizer.all_special_ids, len(tokenizer)),
    )


def kinds(sources: Sources, ids: list[int]) -> set[str]:
    return {token.rstrip("0123456789").rstrip("_0123456789") for token in sources.tokenizer.convert_ids_to_tokens(ids)}


def test_difference_masking_finds_all_domain_words_and_no_others(sources):
    """... distractors included, which is what a learned policy has to improve on."""
    scores = score_types("difference", sources)
    assert kinds(sources, (scores > 0.5).nonzero().flatten().tolist()) == {"class", "distractor"}
    assert kinds(sources, (scores < 0.5).nonzero().flatten().tolist()) >= {"generic", "[MASK]"}
    assert int((scores > 0.5).sum()) == ScoresConfig().anchors


def test_tficf_puts_domain_words_above_all_but_the_most_frequent_generic_ones(sources):
    """... which is why anchors ask for a ratio of frequencies as well."""
    scores = score_types("tficf", sources)
    assert float(scores.max()) == 1.0 and scores.dtype == torch.float32
    assert sources.tokenizer.convert_ids_to_tokens(int(scores.argmax())) == "generic_000"
    generic = [i for word, i in sources.tokenizer.get_vocab().items() if word > "generic_020"]
    assert float(scores[generic].max()) < float(scores[sources.anchors].min())


def test_the_oracle_knows_class_words(sources):
    scores = score_types("oracle", sources)
    assert kinds(sources, scores.nonzero().flatten().tolist()) == {"class"}


def test_the_oracle_is_silent_about_other_vocabularies(sources, monkeypatch):
    monkeypatch.setattr(sources.tokenizer, "convert_ids_to_tokens", lambda ids: ["word"] * len(ids))
    with pytest.raises(ValueError, match=r"planted benchmark only: take it out of evaluate\.arms"):
        score_types("oracle", sources)


def test_corpora_are_counted_once_and_shown_while_they_are(sources):
    shown = []
    sources.watch = lambda work, texts: shown.append(work) or texts
    for name in ("difference", "tficf", "difference"):
        score_types(name, sources)
    assert shown == ["counting the domain corpus", "counting the general corpus"]


def test_an_unknown_scorer_is_named_with_the_known_ones(sources):
    with pytest.raises(ValueError, match=r"'entropy'; known: \['difference', 'oracle', 'tficf'\]"):
        score_types("entropy", sources)


def test_a_scorer_of_ones_own(sources, monkeypatch):
    monkeypatch.setattr("policylearn.scores.SCORERS", dict(SCORERS))
    scorer("length")(lambda sources: torch.arange(len(sources.tokenizer)))
    try:
        assert score_types("length", sources).dtype == torch.float32
    finally:
        SCORERS.pop("length", None)
