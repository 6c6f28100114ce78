import hashlib
import json
import shutil

import pytest
import torch
from huggingface_hub.errors import LocalEntryNotFoundError

from policylearn import load_policy, save_policy
from policylearn.artefact import PolicyArtefact, tokenizer_fingerprint
from policylearn.config import MaskingConfig, PlantedConfig
from policylearn.data.planted import planted_tokenizer

TEXTS = ["class0_01 generic_003 generic_000 distractor_02 class0_03", "generic_001", "generic_002 class1_00"]


@pytest.fixture
def folder(saved_policy, tmp_path):
    """A copy of a saved policy, to be damaged."""
    return shutil.copytree(saved_policy, tmp_path / "policy")


def digest(path) -> dict:
    data = path.read_bytes()
    return {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}


def edit(path, change) -> None:
    """Rewrite a JSON file through a function of its content."""
    content = json.loads(path.read_text())
    path.write_text(json.dumps(change(content) or content))


def sign(folder, *extra: str) -> None:
    """Make the manifest match what the files hold now."""
    edit(folder / "manifest.json", lambda m: m["files"].update({n: digest(folder / n) for n in [*m["files"], *extra]}))


def batch(artefact: PolicyArtefact) -> tuple[torch.Tensor, torch.Tensor]:
    encoded = artefact.tokenizer(TEXTS, padding=True, return_tensors="pt")
    return encoded["input_ids"], encoded["attention_mask"].bool()


def probabilities(artefact: PolicyArtefact) -> torch.Tensor:
    return artefact.policy.probabilities(*batch(artefact)).detach()


@pytest.mark.parametrize("network", ["none", "table", "context"])
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


def test_the_tokenizer_comes_along(saved_policy, tokenizer):
    loaded = load_policy(str(saved_policy)).tokenizer
    assert loaded(TEXTS)["input_ids"] == tokenizer(TEXTS)["input_ids"]
    assert (loaded.mask_token_id, loaded.pad_token_id) == (tokenizer.mask_token_id, tokenizer.pad_token_id)


def test_saving_twice_gives_the_same_bytes(make_artefact, tmp_path):
    one, other = (save_policy(tmp_path / name, make_artefact(), card="card") for name in ("one", "other"))
    assert (one / "manifest.json").read_bytes() == (other / "manifest.json").read_bytes()


def files(folder) -> dict:
    return {str(p.relative_to(folder)): p for p in folder.rglob("*") if p.is_file()}


def test_the_manifest_lists_every_other_file_with_its_digest(saved_policy):
    manifest = json.loads((saved_policy / "manifest.json").read_text())
    assert manifest["format"] == 2
    others = {name: digest(path) for name, path in files(saved_policy).items() if name != "manifest.json"}
    assert manifest["files"] == others
    assert {"policy.json", "policy.safetensors", "README.md", "tokenizer/tokenizer.json"} <= others.keys()


def test_nothing_in_it_can_be_executed(saved_policy):
    for name, path in files(saved_policy).items():
        assert path.suffix in {".json", ".safetensors", ".md", ".txt"}, name
        # Neither a pickle nor a zip of pickles (which is what torch.save writes).
        assert path.read_bytes()[:2] not in {b"PK", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05"}, name


def test_settings_can_be_read_without_policylearn(saved_policy, tokenizer):
    settings = json.loads((saved_policy / "policy.json").read_text())
    assert settings["masking"]["rate"] == 0.15 and settings["masking"]["unit"] == "token"
    assert settings["tokenizer"]["size"] == len(tokenizer) and settings["tokenizer"]["mask_token"] == "[MASK]"
    assert settings["policy"]["network"] == "context" and settings["provenance"] == {"tokenizer": "planted"}
    assert (saved_policy / "README.md").read_text() == "# A policy\n"


@pytest.mark.parametrize("name", ["policy.safetensors", "policy.json", "tokenizer/tokenizer.json", "README.md"])
@pytest.mark.parametrize("damage", ["flip", "cut", "remove"])
def test_a_damaged_file_is_named(folder, name, damage):
    path = folder / name
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data if damage == "flip" else data[:-1])
    if damage == "remove":
        path.unlink()
    with pytest.raises(ValueError, match=rf"{name} is missing or does not match the manifest; copy it again"):
        load_policy(folder)


def test_without_a_manifest_a_policy_was_not_written_to_the_end(folder):
    (folder / "manifest.json").unlink()
    with pytest.raises(ValueError, match=r"has no manifest\.json: it is not a policy, or was not written to the end"):
        load_policy(folder)


def test_writing_that_breaks_off_leaves_no_policy_behind(folder, make_artefact, monkeypatch):
    artefact = make_artefact()

    def full(*_):
        raise OSError("disk full")

    monkeypatch.setattr(artefact.tokenizer, "save_pretrained", full)
    with pytest.raises(OSError, match="disk full"):
        save_policy(folder, artefact, "card")
    with pytest.raises(ValueError, match="not written to the end"):
        load_policy(folder)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"{}",
        b'{"format": 1}',
        b'{"format": "one", "files": {}}',
        b'{"format": 1, "files": 7}',
        b"\xff",
    ],
)
def test_a_damaged_manifest_is_named(folder, content):
    (folder / "manifest.json").write_bytes(content)
    with pytest.raises(ValueError, match=r"manifest\.json is damaged"):
        load_policy(folder)


@pytest.mark.parametrize("name", ["policy.safetensors", "policy.json"])
def test_a_manifest_that_leaves_out_what_is_needed(folder, name):
    edit(folder / "manifest.json", lambda m: m["files"].pop(name) and None)
    with pytest.raises(ValueError, match=f"{name} is missing or does not match the manifest"):
        load_policy(folder)


@pytest.mark.parametrize(("version", "advice"), [(1, "reads 2: export it again"), (3, "reads up to 2: upgrade it")])
def test_another_format_says_what_to_do(folder, version, advice):
    edit(folder / "manifest.json", lambda m: m.update(format=version))
    with pytest.raises(ValueError, match=f"has format {version}, this policylearn {advice}"):
        load_policy(folder)


@pytest.mark.parametrize("kind", ["../outside.txt", "tokenizer/../../outside.txt", "absolute"])
def test_a_manifest_that_points_out_of_the_folder_is_refused(folder, kind):
    outside = folder.parent / "outside.txt"
    outside.write_text("secret")
    name = str(outside) if kind == "absolute" else kind
    sign(folder, name)
    assert digest(folder / name) == digest(outside)
    with pytest.raises(ValueError, match=r"outside\.txt is missing or does not match the manifest"):
        load_policy(folder)


def test_whole_files_that_make_no_policy(folder):
    (folder / "policy.safetensors").write_bytes(b"not a tensor file")
    sign(folder)
    with pytest.raises(ValueError, match="cannot be read although its files are whole"):
        load_policy(folder)


@pytest.mark.parametrize(
    "change",
    [
        lambda s: s.pop("masking") and None,
        lambda s: s["masking"].update(rate=2.0),
        lambda s: s["policy"].update(prior={}),
        lambda s: s["policy"].update(network="table"),
        lambda s: s["policy"].update(invented_later=1),
    ],
    ids=["no masking", "rate", "prior", "network", "unknown setting"],
)
def test_settings_that_do_not_fit_the_tensors(folder, change):
    edit(folder / "policy.json", change)
    sign(folder)
    with pytest.raises(ValueError, match="cannot be read although its files are whole"):
        load_policy(folder)


def test_a_tokenizer_that_wants_to_run_code_is_refused(folder):
    (folder / "tokenizer" / "evil.py").write_text("raise SystemExit('executed')")
    auto = {"auto_map": {"AutoTokenizer": ["evil.Evil", None]}, "tokenizer_class": "Evil"}
    edit(folder / "tokenizer" / "tokenizer_config.json", lambda c: c.update(auto))
    sign(folder, "tokenizer/evil.py")
    with pytest.raises(ValueError, match="cannot be read although its files are whole"):
        load_policy(folder)


def other_tokenizer(**settings):
    return planted_tokenizer(
        PlantedConfig(**{"class_words": 5, "distractor_words": 6, "generic_words": 30, **settings})
    )


def test_another_tokenizer_in_the_folder_is_noticed(folder):
    other_tokenizer(generic_words=31).save_pretrained(folder / "tokenizer")
    sign(folder)
    with pytest.raises(ValueError, match="the tokenizer in it is not the one the policy was learned with"):
        load_policy(folder)


def test_a_tokenizer_that_does_not_match_is_refused_and_the_right_one_named(saved_policy, tokenizer):
    artefact = load_policy(saved_policy)
    artefact.check_tokenizer(other_tokenizer())
    for other in (other_tokenizer(generic_words=31), other_tokenizer(class_words=6, distractor_words=4)):
        with pytest.raises(ValueError, match=rf"does not match.*learned with planted \({len(tokenizer)} tokens\)"):
            artefact.check_tokenizer(other)


def test_fingerprints_see_order_and_special_tokens(tokenizer):
    swapped, unmasked = other_tokenizer(), other_tokenizer()
    assert tokenizer_fingerprint(swapped) == tokenizer_fingerprint(tokenizer)
    unmasked.add_special_tokens({"mask_token": "generic_000"})
    vocabulary = tokenizer.get_vocab()
    vocabulary["class0_00"], vocabulary["class1_00"] = vocabulary["class1_00"], vocabulary["class0_00"]
    swapped.get_vocab = lambda: vocabulary
    assert len({tokenizer_fingerprint(t) for t in (tokenizer, swapped, unmasked)}) == 3


@pytest.mark.parametrize("source", ["/nonexistent/policy", "nonexistent", "./org/name", "a/b/c", "~/policy"])
def test_a_policy_that_does_not_exist(source):
    with pytest.raises(
        ValueError, match=r"does not exist; give a folder with a manifest\.json, or a Hub name org/name"
    ):
        load_policy(source)


def test_a_folder_of_something_else(tmp_path):
    with pytest.raises(ValueError, match="it is not a policy"):
        load_policy(tmp_path)


def test_a_hub_name_that_leads_nowhere(monkeypatch):
    def offline(*_, **__):
        raise LocalEntryNotFoundError("no network")

    monkeypatch.setattr("policylearn.artefact.snapshot_download", offline)
    with pytest.raises(ValueError, match=r"'org/name' is neither a folder nor to be had from the Hub: no network"):
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

    monkeypatch.setattr("policylearn.artefact.snapshot_download", download)
    assert torch.equal(probabilities(load_policy("org/name")), probabilities(load_policy(saved_policy)))
    wanted = {"policy.json", "policy.safetensors", "README.md", "manifest.json", "tokenizer/*"}
    assert asked == [("org/name", wanted)]


def test_masking_settings_survive(make_artefact, tmp_path):
    settings = {"rate": 0.4, "p_max": 0.7, "design": "independent", "draws": 3, "mask_share": 0.5, "random_share": 0.5}
    loaded = load_policy(save_policy(tmp_path, make_artefact(**settings), "card"))
    assert loaded.policy.masking == MaskingConfig(**settings)
