import hashlib
import json
import os
import shutil

import pytest
import torch
from huggingface_hub.errors import LocalEntryNotFoundError
from transformers import AutoTokenizer, ByT5Tokenizer

from policylearn import load_policy, save_policy
from policylearn.artefact import PolicyArtefact, tokenizer_fingerprint
from policylearn.artefact.tokenizer import first_difference
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
    with pytest.raises(ValueError, match=rf"{name} is missing or (does not match|cannot be read).*; copy it again"):
        load_policy(folder)


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

    monkeypatch.setattr("policylearn.artefact.saving.os.replace", full)
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
        b'{"format": 2}',
        b"[" * 10_000,
        b'{"format": "one", "files": {}}',
        b'{"format": 2, "files": 7}',
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


@pytest.mark.parametrize(
    ("version", "advice"),
    [
        (1, "reads 2: export it again from its run, `policylearn export RUN --out DIR`"),
        (3, "reads up to 2: upgrade it, `pip install --upgrade policylearn`"),
    ],
)
def test_another_format_says_what_to_do(folder, version, advice):
    edit(folder / "manifest.json", lambda m: m.update(format=version, files="of another kind"))
    with pytest.raises(ValueError, match=f"has format {version}, this policylearn {advice}"):
        load_policy(folder)


@pytest.mark.parametrize("kind", ["../outside.txt", "tokenizer/../../outside.txt", "absolute"])
def test_a_manifest_that_points_out_of_the_folder_is_refused(folder, kind):
    outside = folder.parent / "outside.txt"
    outside.write_text("secret")
    name = str(outside) if kind == "absolute" else kind
    sign(folder, name)
    assert digest(folder / name) == digest(outside)
    with pytest.raises(ValueError, match=r"lists '.*outside\.txt', which is no part of a policy"):
        load_policy(folder)


def test_whole_files_that_make_no_policy(folder):
    (folder / "policy.safetensors").write_bytes(b"not a tensor file")
    sign(folder)
    with pytest.raises(ValueError, match=r"policy\.safetensors is damaged: it is no safetensors file"):
        load_policy(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("masking") and None, r"policy\.json is damaged: .* masking Field required"),
        (lambda s: s["masking"].update(rate=2.0), r"policy\.json is damaged: .* should be less than 1"),
        (
            lambda s: s["policy"].update(prior={}),
            r"tensor 'strengths' is torch\.float32 \[1\], not torch\.float32 \[0\]",
        ),
        (lambda s: s["policy"].update(prior={"difference": 7.0}), r"tensor 'strengths' holds what it never would"),
        (
            lambda s: s["policy"].update(network="table"),
            r"tensor 'network\.context\.bias' is missing, or is one too many",
        ),
        (
            lambda s: s["policy"].update(hidden=10**9),
            r"tensor 'network\.project\.weight' is .*, not .* \[1000000000, 7\]",
        ),
        (lambda s: s["policy"].update(invented_later=1), "invented_later Extra inputs are not permitted"),
    ],
    ids=["no masking", "rate", "prior", "strength", "network", "size", "unknown setting"],
)
def test_settings_that_do_not_fit_the_tensors(folder, change, message):
    edit(folder / "policy.json", change)
    sign(folder)
    with pytest.raises(ValueError, match=message):
        load_policy(folder)


CODE = "import pathlib\npathlib.Path({marker!r}).touch()\nclass Evil: pass\n"


def test_a_tokenizer_that_wants_to_run_code_is_refused(folder, tmp_path):
    (folder / "tokenizer" / "evil.py").write_text(CODE.format(marker=str(tmp_path / "ran")))
    auto = {"auto_map": {"AutoTokenizer": ["evil.Evil", None]}, "tokenizer_class": "Evil"}
    edit(folder / "tokenizer" / "tokenizer_config.json", lambda c: c.update(auto))
    sign(folder)
    with pytest.raises(ValueError, match="wants to run code that comes with it, which is never done"):
        load_policy(folder)
    sign(folder, "tokenizer/evil.py")
    with pytest.raises(ValueError, match=r"lists 'tokenizer/evil\.py', which is no part of a policy"):
        load_policy(folder)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("key", ["tokenizer_file", "vocab_file", "gguf_file", "name_or_path", "post_processor"])
def test_a_tokenizer_that_names_other_files_reads_its_own(folder, tokenizer, tmp_path, key):
    other_tokenizer(generic_words=31).save_pretrained(tmp_path / "other")
    for value in (str(tmp_path / "other" / "tokenizer.json"), str(tmp_path / "no such file")):
        edit(folder / "tokenizer" / "tokenizer_config.json", lambda c, v=value: c.update({key: v}))
        sign(folder)
        assert load_policy(folder).tokenizer.get_vocab() == tokenizer.get_vocab()


@pytest.mark.parametrize("name", ["policy.json", "tokenizer/tokenizer.json", "manifest.json"])
@pytest.mark.parametrize("kind", ["link", "folder link", "pipe", "folder", "device"])
def test_what_is_no_plain_file_of_the_folder_is_refused(folder, saved_policy, tmp_path, name, kind):
    path = folder / name
    path.unlink()
    if kind == "link":
        path.symlink_to(saved_policy / name)
    elif kind == "folder link":
        shutil.rmtree(folder / "tokenizer")
        (folder / "tokenizer").symlink_to(saved_policy / "tokenizer")
        shutil.copy(saved_policy / name, path) if "/" not in name else None
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    else:
        path.mkdir()
    with pytest.raises(ValueError, match=r"leads out of the folder|is no plain file|Is a directory"):
        load_policy(folder)


def template_of(tokens: dict, piece: str = "[CLS]") -> dict:
    single = [{"SpecialToken": {"id": piece, "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}]
    pair = [*single, {"Sequence": {"id": "B", "type_id": 1}}]
    return {"type": "TemplateProcessing", "single": single, "pair": pair, "special_tokens": tokens}


@pytest.mark.parametrize(
    "change",
    [
        lambda c: c | {"normalizer": {"type": "Precompiled", "precompiled_charsmap": "AAAA"}},
        lambda c: c | {"post_processor": template_of({"x": {"id": "x", "ids": [2], "tokens": ["x"]}})},
        lambda c: c | {"post_processor": template_of({"[CLS]": {"id": "[CLS]", "ids": [10**6], "tokens": ["[CLS]"]}})},
        lambda c: c | {"model": c["model"] | {"unk_token": "no such token"}},
        lambda c: c | {"model": c["model"] | {"type": "Unigram"}},
    ],
    ids=["panics when read", "panics when used", "id without a token", "unknown token is unknown", "model"],
)
def test_a_tokenizer_that_does_not_work_is_refused(folder, change):
    edit(folder / "tokenizer" / "tokenizer.json", change)
    sign(folder)
    with pytest.raises(ValueError, match=r"tokenizer\.json is damaged: it (makes no tokenizer|uses id 1000000)"):
        load_policy(folder)


@pytest.mark.parametrize(
    "settings",
    [
        {"padding_side": "up"},
        {"model_max_length": -1},
        {"model_max_length": "all"},
        {"model_input_names": ["attention_mask"]},
        {"mask_token": None},
        {"pad_token": 7},
        {"extra_special_tokens": [None]},
        {"mask_token": "[NEW]"},
    ],
    ids=str,
)
def test_settings_of_a_tokenizer_that_make_none(folder, settings):
    edit(folder / "tokenizer" / "tokenizer_config.json", lambda c: c.update(settings))
    sign(folder)
    with pytest.raises(ValueError, match=r"policy .*: tokenizer/tokenizer\.json is damaged: "):
        load_policy(folder)


@pytest.mark.parametrize("number", ["9" * 20, "-" + "9" * 25, "1e999", "NaN", "-Infinity", "9" * 5000])
def test_numbers_that_nothing_can_hold_are_refused(folder, number):
    path = folder / "policy.json"
    path.write_text(path.read_text().replace('"span_longest": 10', f'"span_longest": {number}'))
    sign(folder)
    with pytest.raises(ValueError, match=r"policy\.json is damaged: .*(too large|Exceeds)"):
        load_policy(folder)


def test_nothing_is_built_before_the_shapes_are_known_to_be_right(folder, monkeypatch):
    def build(*_):
        raise AssertionError("built")

    monkeypatch.setattr("policylearn.artefact.loading.MaskingPolicy", build)
    with pytest.raises(ValueError, match="is damaged: built"):
        load_policy(folder)  # ... as it is, if they are right
    edit(folder / "policy.json", lambda s: s["policy"].update(hidden=10**9))
    sign(folder)
    with pytest.raises(ValueError, match=r"'network\.project\.weight' is"):
        load_policy(folder)


def test_links_within_the_folder_are_followed(folder):
    (folder / "policy.json").rename(folder / "other.json")
    (folder / "policy.json").symlink_to("other.json")
    assert load_policy(folder).provenance == {"tokenizer": "planted"}


def test_a_file_larger_than_any_of_its_kind_is_not_read(folder):
    with (folder / "README.md").open("r+b") as file:
        file.truncate(1 << 40)  # a hole: it takes no room on the disk
    with pytest.raises(ValueError, match=r"README\.md has 1099511627776 bytes, at most 16777216 are read"):
        load_policy(folder)


def test_a_policy_of_no_more_than_its_files_say_gets_no_padding(folder):
    """A tokenizer.json may ask for texts to be padded to any length."""
    padding = {"strategy": {"Fixed": 10**9}, "direction": "Right", "pad_to_multiple_of": None, "pad_id": 0}
    change = {"padding": padding | {"pad_type_id": 0, "pad_token": "[PAD]"}}
    edit(folder / "tokenizer" / "tokenizer.json", lambda c: c.update(change))
    sign(folder)
    assert len(load_policy(folder).tokenizer("generic_001")["input_ids"]) == 3


def other_tokenizer(**settings):
    return planted_tokenizer(
        PlantedConfig(**{"class_words": 5, "distractor_words": 6, "generic_words": 30, **settings})
    )


def test_another_tokenizer_in_the_folder_is_noticed(folder):
    other_tokenizer(generic_words=31).save_pretrained(folder / "tokenizer")
    sign(folder)
    with pytest.raises(ValueError, match="the tokenizer in it is not the one the policy was learned with"):
        load_policy(folder)


def test_a_tokenizer_that_does_not_match_is_refused_with_the_first_differing_token(saved_policy, tokenizer):
    artefact = load_policy(saved_policy)
    artefact.check_tokenizer(other_tokenizer())
    size = len(tokenizer)
    larger, other, unmasked, special = (
        other_tokenizer(**s) for s in ({"generic_words": 31}, {"class_words": 6}, {}, {})
    )
    unmasked.mask_token = "[UNK]"
    special.add_special_tokens({"extra_special_tokens": ["class1_00"]})
    token = artefact.tokenizer.convert_ids_to_tokens
    for wrong, difference in (
        (larger, f"id {size}: the policy has nothing, this tokenizer 'generic_030'"),
        (other, "id 10: the policy has 'class1_00', this tokenizer 'class0_05'"),
        (unmasked, r"mask_token: the policy has '\[MASK\]', this tokenizer '\[UNK\]'"),
        (special, "id 10, 'class1_00': not special for the policy, special for this tokenizer"),
    ):
        message = rf"does not match.*learned with planted \({size} tokens\)\. {difference}\. Use the policy's own"
        with pytest.raises(ValueError, match=message):
            artefact.check_tokenizer(wrong)
    assert token(10) == "class1_00"


def test_other_libraries_read_the_tokenizer_in_the_folder(saved_policy, tokenizer):
    read = AutoTokenizer.from_pretrained(saved_policy / "tokenizer")
    assert read(TEXTS)["input_ids"] == tokenizer(TEXTS)["input_ids"]
    assert first_difference(tokenizer, read) is None


def test_settings_of_a_tokenizer_come_along(make_policy, tmp_path):
    own = other_tokenizer()
    own.model_max_length, own.padding_side, own.model_input_names = 77, "left", ["input_ids", "attention_mask"]
    own("generic_001", truncation=True, max_length=2, padding="max_length")  # is not to be remembered
    save_policy(tmp_path, PolicyArtefact(make_policy(), own), "card")
    loaded = load_policy(tmp_path).tokenizer
    assert (loaded.model_max_length, loaded.padding_side) == (77, "left")
    encoded = loaded(["generic_001 generic_002", "generic_001"], padding=True)
    assert list(encoded) == ["input_ids", "attention_mask"] and [len(row) for row in encoded["input_ids"]] == [4, 4]
    assert encoded["attention_mask"][1] == [0, 1, 1, 1]


def test_a_slow_tokenizer_is_not_saved(make_policy, tmp_path):
    with pytest.raises(ValueError, match="is not a fast tokenizer"):
        save_policy(tmp_path, PolicyArtefact(make_policy(), ByT5Tokenizer()), "card")
    assert not list(tmp_path.iterdir())


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
