"""Policies of several tasks as one, as the command line and Python have it."""

import pytest
import torch
from transformers import BertTokenizerFast

import policylearn as pl
from policylearn.policy.policy import uniform_policy


@pytest.fixture
def saved(make_policy, make_artefact, tmp_path):
    """Name → folder of a policy; they differ."""
    made = {}
    for seed, name in enumerate(("one", "other")):
        artefact = make_artefact(make_policy("table", ("credit",), seed, learned=True))
        artefact.provenance.update({"task": f"task-{name}", "model": "small", "learned": f"credit of {name}"})
        made[name] = pl.save_policy(tmp_path / name, artefact, card="# A policy\n")
    return made


def test_several_become_one(policylearn, saved, tmp_path):
    places = [f"{name}={folder}" for name, folder in saved.items()]
    status, out, _ = policylearn("average", *places, "--out", tmp_path / "both")
    assert (status, out.split()) == (0, ["policy", f"{tmp_path}/both"])
    both, given = pl.load_policy(tmp_path / "both"), [pl.load_policy(folder) for folder in saved.values()]
    ids = torch.arange(8, 24)[None]
    real = torch.ones_like(ids, dtype=torch.bool)
    torch.testing.assert_close(both.policy(ids, real), sum(x.policy(ids, real) for x in given) / 2)
    assert both.provenance["learned"] == "one: credit of one; other: credit of other"
    assert both.provenance["task"] == "one: task-one; other: task-other" and both.provenance["model"] == "small"
    assert "The mean of the logits of 2 policies: one, other." in both.card
    assert pl.average(saved).provenance == both.provenance
    status, out, _ = policylearn("inspect", tmp_path / "both", "class0_01 generic_003")
    assert status == 0 and "class0_01" in out


@pytest.mark.parametrize(
    ("facts", "collator"),
    [
        ({"for models": "encoder–decoders"}, "DenoisingCollator"),
        ({"objective": "masked_diffusion"}, "DiffusionCollator"),
        ({}, "PolicyCollator"),
    ],
)
def test_the_card_of_a_mean_names_the_collator_of_its_models(make_policy, make_artefact, facts, collator):
    given = {name: make_artefact(make_policy(seed=seed)) for seed, name in enumerate("ab")}
    for artefact in given.values():
        artefact.provenance.update(facts)
    assert f"collator = {collator}.from_pretrained" in pl.average(given).card


def test_a_mean_of_heuristics_is_an_arm_like_any_other(policylearn, tiny_toml, tmp_path):
    for scorer in ("idf", "tficf"):
        assert policylearn("score", tiny_toml, "--scorer", scorer, "--out", tmp_path / scorer)[0] == 0
    places = [f"{scorer}={tmp_path / scorer}" for scorer in ("idf", "tficf")]
    assert policylearn("average", *places, "--out", tmp_path / "both")[0] == 0
    settings = (tiny_toml, "evaluate.seeds=1", 'evaluate.arms=["random"]', "--out", tmp_path / "compared")
    status, out, err = policylearn("evaluate", *settings, "--policy", f"both={tmp_path / 'both'}")
    assert status == 0 and "both" in out, err


def test_what_is_said_of_policies_that_do_not_go_together(policylearn, saved, make_policy, tokenizer, tmp_path):
    def refused(*given) -> str:
        status, out, err = policylearn("average", *given, "--out", tmp_path / "both")
        assert status == 2 and not (tmp_path / "both").exists(), out + err
        return " ".join(err.removeprefix("error").split())

    one = f"one={saved['one']}"
    assert "policy 'one' is not of the form name=run" in refused("one")
    assert "a mean takes two policies or more, got 1" in refused(one)
    assert "two have one name" in refused(one, f"one={saved['other']}")
    assert "none' does not exist" in refused(one, f"other={tmp_path / 'none'}")
    words = {token: number for number, token in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "b"])}
    other = pl.PolicyArtefact(uniform_policy(BertTokenizerFast(vocab=words)), BertTokenizerFast(vocab=words))
    folder = pl.save_policy(tmp_path / "small", other, card="# A policy\n")
    assert "one and small are of different tokenizers" in refused(one, f"small={folder}")
