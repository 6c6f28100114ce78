import json

import datasets
import pytest
import torch

from policylearn import PolicyCollator, load_policy, save_policy
from policylearn.arms.arms import arm_policy
from policylearn.data.planted import domain_corpus, general_corpus
from policylearn.scores.heuristic import scorer_policy


@pytest.fixture(scope="module")
def corpora(tiny):
    return {"corpus": list(domain_corpus(tiny().planted)), "general": list(general_corpus(tiny().planted))}


@pytest.fixture(scope="module")
def mlm(tiny_problem):
    return tiny_problem.fresh_model(0).mlm


def states(policy) -> dict[str, torch.Tensor]:
    return {name: tensor.nan_to_num(nan=-9.0) for name, tensor in policy.state_dict().items()}


@pytest.mark.parametrize(
    ("scorer", "needs"),
    [
        ("uniform", []),
        ("idf", ["corpus"]),
        ("pmi", ["corpus"]),
        ("informative", ["corpus"]),
        ("tficf", ["corpus", "general"]),
        ("tficf:rank", ["corpus", "general"]),
        ("difference", ["corpus", "general", "model"]),
        ("loss", ["corpus", "model"]),
    ],
)
def test_a_scorer_gives_the_policy_that_a_run_would_compare_with(tiny_problem, corpora, mlm, scorer, needs):
    have = corpora | {"model": mlm}
    given = {name: have[name] for name in needs}
    settings = tiny_problem.config.scores.model_dump()
    found = scorer_policy(scorer, tiny_problem.tokenizer, **given, strength=None, settings=settings)
    wanted = arm_policy(tiny_problem, scorer)
    if scorer == "difference":  # the prior of the config names a strength of its own
        strength = tiny_problem.config.policy.prior["difference"]
        found = scorer_policy(scorer, tiny_problem.tokenizer, **given, strength=strength, settings=settings)
    assert states(found.policy).keys() == states(wanted).keys()
    for name, tensor in states(wanted).items():
        assert torch.allclose(states(found.policy)[name].double(), tensor.double(), atol=1e-6), name
    for left_out in needs:
        rest = {name: value for name, value in given.items() if name != left_out}
        with pytest.raises(ValueError, match=rf"scorer '{scorer.split(':')[0]}.*' reads .*: give it as {left_out}=…"):
            scorer_policy(scorer, tiny_problem.tokenizer, **rest, settings=settings)


def test_a_corpus_may_be_a_list_an_iterator_a_file_or_a_column(tiny_problem, corpora, tmp_path):
    texts, general = corpora["corpus"], corpora["general"]
    lines = "".join(json.dumps({"body": text}) + "\n" for text in texts)
    (tmp_path / "a.jsonl").write_text(lines)
    (tmp_path / "a.txt").write_text("\n".join(texts))
    wanted = states(scorer_policy("tficf", tiny_problem.tokenizer, texts, general).policy)
    column = datasets.Dataset.from_dict({"text": texts})["text"]
    for corpus, name in (
        (iter(texts), "text"),
        (column, "text"),
        (tmp_path / "a.jsonl", "body"),
        (str(tmp_path / "*.jsonl"), "body"),
        (tmp_path / "a.txt", "text"),
    ):
        general = general if name == "text" else [{"body": t}["body"] for t in general]
        found = scorer_policy("tficf", tiny_problem.tokenizer, corpus, general, column=name)
        assert all(torch.equal(states(found.policy)[key], tensor) for key, tensor in wanted.items())


def test_old_names_of_settings_go_on_working(tiny_problem):
    with pytest.warns(FutureWarning, match=r"^settings: scores\.collocation_count is called scores\.pmi\.count now$"):
        found = scorer_policy(
            "pmi", tiny_problem.tokenizer, ["generic_001 generic_002"] * 9, settings={"collocation_count": 2}
        )
    assert found.policy.scores.words.nan_to_num(0.0).any()


@pytest.mark.parametrize("unit", ["token", "word", "span", "collocation"])
def test_masking_settings_are_those_given(tiny_problem, corpora, unit, tmp_path):
    masking = {"unit": unit, "rate": 0.3, "design": "independent"}
    artefact = scorer_policy(
        "tficf", tiny_problem.tokenizer, **corpora, masking=masking, settings={"pmi": {"count": 2}}
    )
    loaded = load_policy(save_policy(tmp_path, artefact, "card"))
    assert loaded.policy.masking.unit == unit and loaded.policy.masking.rate == 0.3
    assert loaded.provenance["scorer"] == "tficf"
    collator = PolicyCollator(loaded.tokenizer, policy=loaded.policy)
    batch = collator([{"input_ids": loaded.tokenizer(text)["input_ids"]} for text in corpora["corpus"][:20]])
    assert 0.1 < float((batch["labels"] != -100).float().mean()) < 0.5


def test_a_model_may_be_a_path(tiny_problem, corpora, mlm, tmp_path):
    mlm.save_pretrained(tmp_path)
    one, other = (
        scorer_policy("loss", tiny_problem.tokenizer, corpora["corpus"], model=m) for m in (mlm, str(tmp_path))
    )
    assert torch.allclose(one.policy.scores.types, other.policy.scores.types, atol=1e-6)


def test_what_cannot_be_had_from_texts(tiny_problem, corpora, mlm):
    given = corpora | {"model": mlm}
    for scorer, message in (
        (
            "selective",
            "'selective' learns from labelled examples, .* write a config, and export it with `policyl",
        ),
        ("saliency", "scorer 'saliency' learns from labelled examples"),
        ("pos_column", "scorer 'pos_column' reads the column pos of a corpus"),
        ("amlm", "'amlm' follows the mistakes of the model in training"),
        ("amlm:rank", "'amlm' follows the mistakes of the model in training"),
        ("bert", r"unknown scorer 'bert'; known: .*'amlm'"),
    ):
        with pytest.raises(ValueError, match=message):
            scorer_policy(scorer, tiny_problem.tokenizer, **given)


def test_mistakes_of_users(tiny_problem, corpora, tmp_path):
    texts = corpora["corpus"]
    with pytest.raises(
        ValueError, match=r"corpus, item 0 holds a dict, not a text: .*; give strings, a file, or a column"
    ):
        scorer_policy("idf", tiny_problem.tokenizer, [{"text": "generic_001"}])
    with pytest.raises(ValueError, match=r"corpus .*none\.jsonl does not exist"):
        scorer_policy("idf", tiny_problem.tokenizer, tmp_path / "none.jsonl")
    with pytest.raises(ValueError, match="Extra inputs are not permitted"):
        scorer_policy("idf", tiny_problem.tokenizer, texts, masking={"rates": 0.3})
    with pytest.raises(ValueError, match="the domain corpus holds no word"):
        scorer_policy("idf", tiny_problem.tokenizer, [])


def test_a_collator_straight_from_a_scorer(tokenizer):
    corpus, general = ["class0_01 generic_001 generic_002"] * 4, ["generic_001 generic_002"] * 4
    collator = PolicyCollator.from_scorer("tficf", tokenizer, corpus, general, mlm_probability=0.3, seed=5)
    batch = collator([{"input_ids": tokenizer(corpus[0])["input_ids"]}])
    favourite = tokenizer.convert_tokens_to_ids("class0_01")
    assert batch["labels"].tolist()[0].count(-100) == 4 and favourite in batch["labels"]
    with pytest.raises(ValueError, match="general"):
        PolicyCollator.from_scorer("tficf", tokenizer, corpus)
