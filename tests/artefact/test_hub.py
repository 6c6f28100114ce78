"""Policies on a Hub of our own, through the real huggingface_hub: everything but the address is as it is out there."""

import json
import os
import shutil
import subprocess
import sys

import huggingface_hub.constants as constants
import pytest
import torch
from huggingface_hub import ModelCard

from policylearn import load_policy
from policylearn.artefact.card import model_card

from .hub_server import TOKEN, Repository, serving

IDS = torch.tensor([[2, 7, 9, 20, 30, 31, 40, 3]])
FILES = {
    *("manifest.json", "policy.json", "policy.safetensors", "README.md"),
    *("tokenizer/tokenizer.json", "tokenizer/tokenizer_config.json"),
}


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """A running Hub, an empty cache, and the right to write."""
    with serving() as hub:
        use(monkeypatch, hub, tmp_path)
        yield hub


def use(monkeypatch, hub, tmp_path) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", hub.url)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", hub.url + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_TOKEN", TOKEN)


def probabilities(artefact) -> torch.Tensor:
    return artefact.policy.probabilities(IDS, IDS > 0).detach()


def test_a_policy_goes_up_and_comes_down_the_same(hub, make_artefact):
    artefact = make_artefact()
    address = artefact.push_to_hub("lab/policy")
    assert address == f"{hub.url}/lab/policy/commit/{hub.repositories['lab/policy'].branches['main']}"
    assert hub.repositories["lab/policy"].commits[address.rpartition("/")[2]].keys() == {".gitattributes", *FILES}
    loaded = load_policy("lab/policy")
    assert torch.equal(probabilities(loaded), probabilities(artefact))
    assert loaded.tokenizer.get_vocab() == artefact.tokenizer.get_vocab()


def test_what_is_in_the_cache_is_not_fetched_again(hub, make_artefact):
    make_artefact().push_to_hub("lab/policy")
    load_policy("lab/policy")
    hub.asked.clear()
    load_policy("lab/policy")
    assert hub.asked == ["GET /api/models/lab/policy/revision/main"]


def test_only_the_files_of_a_policy_are_fetched(hub, make_artefact):
    make_artefact().push_to_hub("lab/policy")
    repository = hub.repositories["lab/policy"]
    repository.commit(
        "main", repository.commits[repository.branches["main"]] | {"evil.py": b"raise", "tokenizer/x.bin": b""}
    )
    load_policy("lab/policy")
    assert {line.partition(repository.branches["main"])[2][1:] for line in hub.asked if "/resolve/" in line} == FILES


def test_revisions_are_branches_tags_or_commits(hub, make_artefact, make_policy):
    first, second = (make_artefact(make_policy("table", learned=True, seed=seed)) for seed in (1, 2))
    commit = first.push_to_hub("lab/policy").rpartition("/")[2]
    second.push_to_hub("lab/policy", revision="better")
    assert torch.equal(probabilities(load_policy("lab/policy")), probabilities(first))
    assert torch.equal(probabilities(load_policy("lab/policy", "better")), probabilities(second))
    second.push_to_hub("lab/policy")
    assert torch.equal(probabilities(load_policy("lab/policy")), probabilities(second))
    assert torch.equal(probabilities(load_policy("lab/policy", revision=commit)), probabilities(first))
    with pytest.raises(
        ValueError, match=r"'lab/policy', revision 'worse', does not exist on the Hub: check the branch"
    ):
        load_policy("lab/policy", revision="worse")


def test_a_private_policy_is_for_those_who_may_see_it(hub, make_artefact, monkeypatch):
    make_artefact().push_to_hub("lab/secret", private=True)
    assert hub.repositories["lab/secret"].private
    monkeypatch.delenv("HF_TOKEN")
    message = (
        r"'lab/secret' is neither a folder nor on the Hub: check the name; if it is private, sign in with `hf auth"
    )
    with pytest.raises(ValueError, match=message):
        load_policy("lab/secret")
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    load_policy("lab/secret")


def test_names_that_lead_nowhere(hub):
    with pytest.raises(ValueError, match=r"'lab/none' is neither a folder nor on the Hub: check the name"):
        load_policy("lab/none")
    with pytest.raises(ValueError, match=r"'lab/a..b' is neither a folder nor a name the Hub allows"):
        load_policy("lab/a..b")


def test_a_repository_of_something_else(hub):
    hub.repositories["lab/bert"] = Repository()
    hub.repositories["lab/bert"].commit("main", {"config.json": b"{}", "README.md": b"# BERT"})
    with pytest.raises(ValueError, match=r"lab/bert has no manifest\.json: it is not a policy"):
        load_policy("lab/bert")


def test_uploading_without_the_right_to(hub, make_artefact, monkeypatch):
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(ValueError, match=r"'lab/policy': the Hub refuses: .*401.*sign in with `hf auth login` or set"):
        make_artefact().push_to_hub("lab/policy")
    assert not hub.repositories


def test_a_damaged_upload_is_noticed(hub, make_artefact):
    make_artefact().push_to_hub("lab/policy")
    repository = hub.repositories["lab/policy"]
    files = repository.commits[repository.branches["main"]]
    repository.commit("main", files | {"policy.safetensors": files["policy.safetensors"][:-1]})
    with pytest.raises(ValueError, match=r"policy lab/policy: policy\.safetensors is missing or does not match"):
        load_policy("lab/policy")


def test_the_cache_serves_when_the_hub_is_away(make_artefact, tmp_path, monkeypatch):
    with serving() as hub:
        use(monkeypatch, hub, tmp_path)
        make_artefact().push_to_hub("lab/policy")
        here = load_policy("lab/policy")
    assert torch.equal(probabilities(load_policy("lab/policy")), probabilities(here))
    with pytest.raises(
        ValueError, match=r"'lab/other' is no folder and not in the cache, and the Hub cannot be reached"
    ):
        load_policy("lab/other")
    shutil.rmtree(tmp_path / "cache")
    with pytest.raises(ValueError, match="cannot be reached: connect, or unset HF_HUB_OFFLINE"):
        load_policy("lab/policy")


SCRIPT = """
import json, sys
from policylearn import PolicyCollator
collator = PolicyCollator.from_pretrained("lab/policy")
batch = collator([{"input_ids": collator.tokenizer("class0_01 generic_003")["input_ids"]}])
print(json.dumps(batch["labels"].tolist()))
"""


@pytest.mark.long
def test_another_process_uses_it_online_and_then_offline(hub, make_artefact, tmp_path):
    make_artefact().push_to_hub("lab/policy")
    settings = os.environ | {"HF_ENDPOINT": hub.url, "HF_HUB_CACHE": str(tmp_path / "other"), "OMP_NUM_THREADS": "1"}
    seen = []
    for further in ({}, {"HF_HUB_OFFLINE": "1"}):
        before = len(hub.asked)
        command = [sys.executable, "-c", SCRIPT]
        done = subprocess.run(command, capture_output=True, text=True, env=settings | further)
        assert done.returncode == 0, done.stderr
        seen.append((json.loads(done.stdout), len(hub.asked) > before))
    assert seen == [(seen[0][0], True), (seen[0][0], False)]


# the card


def test_the_card_has_a_header_the_hub_finds_it_by(hub, make_artefact):
    make_artefact().push_to_hub("lab/policy", license="apache-2.0", base_model="org/bert", datasets=["org/abstracts"])
    repository = hub.repositories["lab/policy"]
    card = ModelCard(repository.commits[repository.branches["main"]]["README.md"].decode())
    header = card.data.to_dict()
    assert header["library_name"] == "policylearn" and "masking-policy" in header["tags"]
    assert (header["license"], header["base_model"], header["datasets"]) == (
        "apache-2.0",
        "org/bert",
        ["org/abstracts"],
    )
    assert 'PolicyCollator.from_pretrained("lab/policy")' in card.text
    assert "POST /api/validate-yaml" in hub.asked


def test_the_card_a_policy_came_with_goes_along(hub, make_artefact, tmp_path):
    artefact = make_artefact()
    artefact.push_to_hub("lab/policy", card='# About this\n\nfrom_pretrained("this folder")\n', license="mit")
    load_policy("lab/policy").push_to_hub("lab/copy")
    repository = hub.repositories["lab/copy"]
    card = repository.commits[repository.branches["main"]]["README.md"].decode()
    assert '# About this\n\nfrom_pretrained("lab/copy")\n' in card
    assert ModelCard(card).data.license == "mit"
    assert card.count("---\n") == 2


def test_a_card_names_what_has_a_name_on_the_hub_and_no_more():
    known = ModelCard(model_card("# P", {"model": "org/bert", "domain": "org/texts", "task": "planted"})).data
    assert (known.base_model, known.datasets, known.license) == ("org/bert", ["org/texts"], None)
    local = ModelCard(model_card("# P", {"model": "checkpoint", "domain": "corpus.jsonl"})).data.to_dict()
    assert local.keys() == {"library_name", "tags"}


def test_what_a_header_has_already_stays():
    written = "---\nlanguage: en\ntags:\n- chemistry\npipeline_tag: fill-mask\nlicense: mit\n---\n\n# Mine"
    data = ModelCard(model_card(written, {"model": "org/bert"})).data
    assert (data.language, data.pipeline_tag, data.license, data.base_model) == ("en", "fill-mask", "mit", "org/bert")
    assert "chemistry" in data.tags and "policylearn" in data.tags


def test_a_uri_has_no_revision():
    with pytest.raises(ValueError, match="is a URI, which has no revision 'v2'"):
        load_policy("s3://bucket/policy", revision="v2")
