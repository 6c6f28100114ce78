"""The tokenizer in a policy: read without running anything of it, and compared with another."""

import pytest
import torch
from transformers import AutoTokenizer, ByT5Tokenizer, PreTrainedTokenizerFast

from policylearn import PolicyCollator, load_policy, save_policy
from policylearn.artefact import PolicyArtefact, tokenizer_fingerprint
from policylearn.artefact.tokenizer import first_difference
from policylearn.config import PlantedConfig
from policylearn.data.planted import planted_tokenizer

from .editing import edit, sign

TEXTS = ["class0_01 generic_003 generic_000 distractor_02 class0_03", "generic_001", "generic_002 class1_00"]


def test_the_tokenizer_comes_along(saved_policy, tokenizer):
    loaded = load_policy(str(saved_policy)).tokenizer
    assert loaded(TEXTS)["input_ids"] == tokenizer(TEXTS)["input_ids"]
    assert (loaded.mask_token_id, loaded.pad_token_id) == (tokenizer.mask_token_id, tokenizer.pad_token_id)


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


def test_one_without_an_unknown_token_is_told_to_be_given_one(folder):
    edit(folder / "tokenizer" / "tokenizer.json", lambda c: c | {"model": c["model"] | {"unk_token": "none"}})
    sign(folder)
    with pytest.raises(ValueError, match=r"makes no tokenizer: .*UNK.*: give its model an unk_token that it holds"):
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


@pytest.mark.parametrize("marks", ["added", "a role taken away"])
def test_special_tokens_without_a_role_come_along(tmp_path, marks):
    own = other_tokenizer()
    if marks == "added":
        own.add_tokens(["[E1]", "[/E1]"], special_tokens=True)
    else:
        own.pad_token = own.unk_token
    policy = PolicyCollator(own).policy
    save_policy(tmp_path, PolicyArtefact(policy, own), "card")
    loaded = load_policy(tmp_path)
    special = loaded.policy.field.vocabulary.special
    assert torch.equal(special, policy.field.vocabulary.special) and special.sum() > len(set(own.all_special_ids))


def test_special_tokens_that_have_a_name_come_along(tokenizer, tmp_path):
    named = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer.backend_tokenizer,
        **{
            role: getattr(tokenizer, role)
            for role in ("pad_token", "unk_token", "cls_token", "sep_token", "mask_token")
        },
        extra_special_tokens={"entity_token": "class1_00"},
    )
    policy = PolicyCollator(named).policy
    save_policy(tmp_path, PolicyArtefact(policy, named), "card")
    loaded = load_policy(tmp_path)
    assert set(loaded.tokenizer.all_special_ids) == set(named.all_special_ids)
    loaded.check_tokenizer(named)
    PolicyCollator(named, policy=loaded)


@pytest.mark.parametrize("role", ["mask_token", "pad_token"])
def test_a_tokenizer_without_a_token_that_a_policy_needs_is_not_saved(make_policy, tmp_path, role):
    own = other_tokenizer()
    setattr(own, role, None)
    with pytest.raises(
        ValueError, match=f"no {role}, without which nobody could load the policy: set tokenizer.{role}"
    ):
        save_policy(tmp_path, PolicyArtefact(make_policy(), own), "card")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("settings", [{"generic_words": 31}, {"generic_words": 29}])
def test_a_tokenizer_that_is_not_the_policys_is_not_saved_with_it(make_policy, tmp_path, settings):
    with pytest.raises(ValueError, match=r"the policy is over 51 tokens.* give the one that the policy was"):
        save_policy(tmp_path, PolicyArtefact(make_policy(), other_tokenizer(**settings)), "card")


def test_a_tokenizer_that_would_be_read_as_another_is_not_saved(make_policy, tmp_path):
    own = other_tokenizer()
    vocabulary = own.get_vocab()
    own.get_vocab = lambda: vocabulary | {"class0_00": vocabulary["class1_00"], "class1_00": vocabulary["class0_00"]}
    with pytest.raises(ValueError, match="another when it is read again: id 5: the policy has 'class1_00', this token"):
        save_policy(tmp_path, PolicyArtefact(make_policy(), own), "card")


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
