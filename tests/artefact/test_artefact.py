import json
import shutil

import pytest
import torch
from huggingface_hub.errors import LocalEntryNotFoundError

from policylearn import load_policy, save_policy
from policylearn.artefact import PolicyArtefact
from policylearn.config import MaskingConfig

from .editing import digest, edit

TEXTS = ["class0_01 generic_003 generic_000 distractor_02 class0_03", "generic_001", "generic_002 class1_00"]


def batch(artefact: PolicyArtefact) -> tuple[torch.Tensor, torch.Tensor]:
    encoded = artefact.tokenizer(TEXTS, padding=True, return_tensors="pt")
    return encoded["input_ids"], encoded["attention_mask"].bool()


def probabilities(artefact: PolicyArtefact) -> torch.Tensor:
    return artefact.policy.probabilities(*batch(artefact)).detach()


@pytest.mark.parametrize("network", ["none", "table", "context", "span"])
@pytest.mark.parametrize("prior", [(), ("tficf", "difference")])
def test_a_loaded_policy_gives_the_probabilities_of_the_saved_one_to_the_last_bit(
    make_policy, make_artefact, tmp_path, network, prior
):
    masking = {"rate": 0.3, "p_max": 0.8, "design": "explore", "draws": 3}
    policy = make_policy(network, prior, learned=True, masking=masking, hidden=8, kernel=3)
    saved = make_artefact(policy)
    loaded = load_policy(save_policy(tmp_path / "deep" / "down", saved, "card"))
    assert torch.equal(probabilities(loaded), probabilities(saved))
    # ... which are not those of its prior, lest a loader that forgets φ should pass.
    assert torch.equal(probabilities(loaded), loaded.policy.prior_probabilities(*batch(loaded))) == (network == "none")
    assert (loaded.policy.masking, loaded.policy.config) == (saved.policy.masking, saved.policy.config)
    assert (loaded.policy.masking.rate, loaded.policy.masking.p_max) == (0.3, 0.8) and not loaded.policy.training
    assert loaded.provenance == saved.provenance
    assert set(loaded.policy.learned()) == set(policy.learned())


def test_saving_twice_gives_the_same_bytes(make_artefact, tmp_path):
    one, other = (save_policy(tmp_path / name, make_artefact(), card="card") for name in ("one", "other"))
    assert (one / "manifest.json").read_bytes() == (other / "manifest.json").read_bytes()


def files(folder) -> dict:
    return {str(p.relative_to(folder)): p for p in folder.rglob("*") if p.is_file()}


def test_a_policy_is_not_saved_in_place_of_a_file(make_artefact, tmp_path):
    (tmp_path / "file").touch()
    for folder, said in (
        (tmp_path / "file", "file is a file: name a folder"),
        (tmp_path / "file" / "x", "cannot be wri"),
    ):
        with pytest.raises(ValueError, match=said):
            save_policy(folder, make_artefact(), "card")


def test_the_manifest_lists_every_other_file_with_its_digest(saved_policy):
    manifest = json.loads((saved_policy / "manifest.json").read_text())
    assert manifest["format"] == 2
    others = {name: digest(path) for name, path in files(saved_policy).items() if name != "manifest.json"}
    assert manifest["files"] == others
    assert {"policy.json", "policy.safetensors", "README.md", "tokenizer/tokenizer.json"} <= others.keys()


def test_settings_can_be_read_without_policylearn(saved_policy, tokenizer):
    settings = json.loads((saved_policy / "policy.json").read_text())
    assert settings["masking"]["rate"] == 0.15 and settings["masking"]["unit"] == "token"
    assert settings["tokenizer"]["size"] == len(tokenizer) and settings["tokenizer"]["mask_token"] == "[MASK]"
    assert settings["policy"]["network"] == "context" and settings["provenance"] == {"tokenizer": "planted"}
    assert (saved_policy / "README.md").read_text() == "# A policy\n"


def test_without_a_manifest_a_policy_was_not_written_to_the_end(folder):
    (folder / "manifest.json").unlink()
    with pytest.raises(ValueError, match=r"has no manifest\.json: it is not a policy, or was not written to the end"):
        load_policy(folder)


@pytest.mark.parametrize("place", range(6))
def test_writing_that_breaks_off_leaves_no_policy_behind(folder, make_artefact, monkeypatch, place):
    artefact, done = make_artefact(), []

    def full(*_):
        done.append(1)
        if len(done) > place:
            raise OSError("disk full")

    monkeypatch.setattr("policylearn.artefact.artefact.os.replace", full)
    with pytest.raises(OSError, match="disk full"):
        save_policy(folder, artefact, "card")
    with pytest.raises(ValueError, match="not written to the end"):
        load_policy(folder)


@pytest.mark.parametrize(
    ("version", "advice"),
    [
        (1, "reads 2: export it again from its run, `policylearn export RUN --out DIR`"),
        (4, "reads up to 3: upgrade it, `pip install --upgrade policylearn`"),
    ],
)
def test_another_format_says_what_to_do(folder, version, advice):
    edit(folder / "manifest.json", lambda m: m.update(format=version, files="of another kind"))
    with pytest.raises(ValueError, match=f"has format {version}, this policylearn {advice}"):
        load_policy(folder)


@pytest.mark.parametrize("source", ["/nonexistent/policy", "nonexistent", "./org/name", "a/b/c", "~/policy"])
def test_a_policy_that_does_not_exist(source):
    with pytest.raises(
        ValueError, match=r"does not exist.*; give a folder with a manifest\.json, or a Hub name org/name"
    ):
        load_policy(source)


def test_a_folder_of_something_else(tmp_path):
    with pytest.raises(ValueError, match="it is not a policy"):
        load_policy(tmp_path)


def test_a_hub_name_that_leads_nowhere(monkeypatch):
    def offline(*_, **__):
        raise LocalEntryNotFoundError("no network")

    monkeypatch.setattr("policylearn.artefact.hub.snapshot_download", offline)
    with pytest.raises(
        ValueError, match=r"'org/name' is no folder and not in the cache, and the Hub cannot be reached"
    ):
        load_policy("org/name")


def test_a_snapshot_of_the_hub_is_made_of_links_into_its_cache(saved_policy, tmp_path, monkeypatch):
    snapshot, blobs, asked = tmp_path / "snapshots" / "abc", tmp_path / "blobs", []
    for i, (name, path) in enumerate(sorted(files(saved_policy).items())):
        (snapshot / name).parent.mkdir(parents=True, exist_ok=True)
        blobs.mkdir(exist_ok=True)
        shutil.copy(path, blobs / str(i))
        (snapshot / name).symlink_to(blobs / str(i))

    def download(name, **settings):
        asked.append((name, set(settings["allow_patterns"])))
        return str(snapshot)

    monkeypatch.setattr("policylearn.artefact.hub.snapshot_download", download)
    assert torch.equal(probabilities(load_policy("org/name")), probabilities(load_policy(saved_policy)))
    own = {"tokenizer/tokenizer.json", "tokenizer/tokenizer_config.json"}
    wanted = {"policy.json", "policy.safetensors", "README.md", "manifest.json", *own}
    assert asked == [("org/name", wanted)]


def test_masking_settings_survive(make_artefact, tmp_path):
    settings = {"rate": 0.4, "p_max": 0.7, "design": "independent", "draws": 3, "mask_share": 0.5, "random_share": 0.5}
    loaded = load_policy(save_policy(tmp_path, make_artefact(**settings), "card"))
    assert loaded.policy.masking == MaskingConfig(**settings)
