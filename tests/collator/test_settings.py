"""Fields that may change while training, state that is nobody else's, and what is refused."""

import copy
import dataclasses
import pickle
import random

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast

from policylearn import DenoisingCollator, DiffusionCollator, JointCollator, PolicyCollator, load_policy
from policylearn.policy.policy import uniform_policy

TEXT = {"input_ids": [2, *range(5, 45), 3]}


def masked(batch) -> int:
    return int((batch["labels"] != -100).sum())


def test_settings_may_change_at_any_time(tokenizer):
    collator, counts = PolicyCollator(tokenizer), []
    for rate in (None, 0.4, 0.1, None):
        collator.mlm_probability = rate
        counts.append(masked(collator([TEXT])))
    assert counts == [6, 16, 4, 6]
    collator.mlm_probability, collator.mask_replace_prob, collator.random_replace_prob = 0.8, 1.0, 0.0
    assert (collator([TEXT])["input_ids"] == tokenizer.mask_token_id).sum() == 32
    collator.mask_replace_prob, collator.random_replace_prob = 0.0, 0.0
    assert collator([TEXT])["input_ids"][0].tolist() == TEXT["input_ids"]
    collator.mlm_probability = 1.5
    with pytest.raises(ValueError, match=r"mlm_probability 1\.5 must lie between 0 and 0\.9"):
        collator([TEXT])


def test_the_policy_may_change_at_any_time(tokenizer, make_policy, make_artefact):
    first, second = (make_policy(learned=True, seed=seed, rate=0.3) for seed in (0, 1))
    for kind in (PolicyCollator, DenoisingCollator, DiffusionCollator):
        collator, wanted = kind(tokenizer, policy=first), kind(tokenizer, policy=second)
        collator.set_epoch(0), wanted.set_epoch(0)
        before = collator([TEXT])["input_ids"].tolist()
        for given in (second, make_artefact(second)):
            collator.policy = given
            assert collator([TEXT])["input_ids"].tolist() == wanted([TEXT])["input_ids"].tolist() != before
            assert copy.deepcopy(collator)([TEXT])["input_ids"].tolist() == wanted([TEXT])["input_ids"].tolist()
        collator.policy = "org/name"
        with pytest.raises(ValueError, match="policy 'org/name' is no policy"):
            collator([TEXT])


def test_the_policy_that_is_set_later_is_put_under_the_settings(tokenizer, make_policy):
    collator = PolicyCollator(tokenizer, mlm_probability=0.4)
    collator.policy = make_policy(rate=0.1)
    assert masked(collator([TEXT])) == 16
    collator.policy = make_policy(rate=0.1, p_max=0.3)
    with pytest.raises(ValueError, match=r"mlm_probability 0\.4 must lie between 0 and 0\.3"):
        collator([TEXT])


LATER = [
    (DiffusionCollator, {"mlm_probability": 0.5}, "mlm_probability is given"),
    (DiffusionCollator, {"weighting": "incl"}, "weighting 'incl': take one of inclusion, rate"),
    (DiffusionCollator, {"floor": 2.0}, r"floor 2\.0 must lie between 0 and 1"),
    (DiffusionCollator, {"floor": "a"}, "floor 'a' must lie between 0 and 1"),
    (DiffusionCollator, {"complement": "no"}, "complement 'no' is neither True nor False"),
    (DiffusionCollator, {"mlm": False}, "mlm=False hides nothing"),
    (DenoisingCollator, {"style": "infiling"}, "style 'infiling': take one of tokens, infilling, sentinels"),
    (DenoisingCollator, {"style": "sentinels"}, "the tokenizer has no <extra_id_0>"),
    (PolicyCollator, {"mlm_probability": 0.95}, r"mlm_probability 0\.95 must lie between"),
    (PolicyCollator, {"tokenizer": "bert-base-uncased"}, "tokenizer 'bert-base-uncased' is a name"),
]


@pytest.mark.parametrize(("kind", "fields", "said"), LATER)
def test_what_is_refused_at_first_is_refused_later(tokenizer, kind, fields, said):
    if "tokenizer" not in fields:
        with pytest.raises(ValueError, match=said):
            kind(tokenizer, **fields)
    collator = kind(tokenizer)
    vars(collator).update(fields)
    with pytest.raises(ValueError, match=said):
        collator([TEXT])


def test_whole_words(wordpiece):
    text = wordpiece("babebibo fafefi gagegigo mamemimo dadedi nanenino kakekiko")
    words = torch.tensor([-1 if word is None else word for word in text.word_ids()])
    cut = {}
    for whole in (True, False, None):
        collator, split = PolicyCollator(wordpiece, whole_word_mask=whole, mlm_probability=0.4), 0
        for _ in range(20):
            mask = (collator([text])["labels"] != -100)[0]
            split += sum(0 < mask[words == word].sum() < (words == word).sum() for word in range(7))
        cut[whole] = split
    assert cut[True] == 0 and cut[False] > 20 and cut[None] > 20  # the policy's own unit is a token


def test_a_seed_is_another_draw(tokenizer):
    def first(seed):
        return PolicyCollator(tokenizer, seed=seed)([TEXT])["labels"].tolist()

    assert first(None) == first(0) != first(1) != first(2)


def test_no_global_random_state_is_read_or_changed(collator, examples):
    collator.set_epoch(0)
    seen = []
    for seed in (0, 1):
        random.seed(seed), np.random.seed(seed), torch.manual_seed(seed)
        before = random.getstate(), str(np.random.get_state()), torch.get_rng_state().tolist()
        seen.append(collator(examples)["input_ids"])
        PolicyCollator(collator.tokenizer, seed=3)(examples, return_tensors="np")
        assert before == (random.getstate(), str(np.random.get_state()), torch.get_rng_state().tolist())
    assert torch.equal(*seen)


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda c: pickle.loads(pickle.dumps(c))])
def test_copies_agree_and_go_their_own_way(collator, examples, copied):
    collator.set_epoch(1)
    collator.set_progress(0.5)
    collator(examples)
    other = copied(collator)
    assert torch.equal(other(examples)["labels"], collator(examples)["labels"])
    other.set_epoch(2)
    changed = collator(examples)["labels"]
    assert torch.equal(changed, copied(collator)(examples)["labels"])
    assert not torch.equal(changed, other(examples)["labels"])


def test_a_collator_that_replaces_another_has_been_told_nothing(collator, examples):
    collator.set_epoch(1)
    other = dataclasses.replace(collator)
    assert not torch.equal(other(examples)["labels"], other(examples)["labels"])  # every batch is an epoch of its own
    other.set_epoch(1)
    assert torch.equal(other(examples)["labels"], collator(examples)["labels"])


def test_what_a_collator_carries_to_a_worker_is_its_policy_alone(collator, examples):
    fresh = len(pickle.dumps(collator))
    collator(examples)
    assert len(pickle.dumps(collator)) < fresh + 200


WRONG = {
    "no examples": ([], "the batch is empty"),
    "no tokens": ([TEXT, {"text": "a"}], r"example 1 of the batch has columns \['text'\] but no list of token ids"),
    "no tokens in a batch": ({"text": ["a"]}, r"the batch has columns \['text'\] but no 'input_ids'"),
    "a list of numbers": ([5, 6], "example 0 .* no list of token ids"),
    "nested tokens": ([{"input_ids": [[5, 6]]}], r"input_ids.*"),
    "a batch per example": ([{"input_ids": torch.ones(1, 3)}], r"input_ids of shape \[1, 3\]: give a row"),
    "no token": ([TEXT, [2, 99, 3]], r"row 1 of the batch holds token id 99, the policy knows ids from 0 to 50"),
    "a negative id": ([TEXT, [2, -7, 3]], "row 1 of the batch holds token id -7"),
    "other columns": ([TEXT, TEXT | {"x": 1}], r"example 1 of the batch has columns \['input_ids', 'x'\], example 0"),
    "ragged": ([TEXT | {"x": [1]}, TEXT | {"x": [1, 2]}], "column 'x' is neither as long as the tokens nor of one"),
    "ragged inside": ([TEXT | {"x": [[1], [2, 3]]}], "column 'x' holds what is no array of numbers"),
    "words": ([TEXT | {"x": ["a"] * 42}], "column 'x' holds what is no array of numbers.*drop it"),
    "mask of a batch": (
        {"input_ids": torch.ones(2, 4).long(), "attention_mask": torch.ones(2, 3)},
        r"attention_mask has shape \[2, 3\], input_ids \[2, 4\]: give one number per token",
    ),
    "mask of an example": ([TEXT | {"attention_mask": [1]}], r"attention_mask has shape \[1, 1\], input_ids \[1, 42\]"),
    "special mask": ([TEXT | {"special_tokens_mask": [0]}], r"special_tokens_mask has shape \[1, 1\]"),
    "mask to be added": (
        [TEXT | {"attention_mask": [0.0] * 40 + [-1e9] * 2}],
        r"attention_mask holds -1e\+09: give 1 for tokens and 0 for padding",
    ),
    "mask of a batch to be added": (
        {"input_ids": torch.ones(2, 4).long(), "attention_mask": torch.full((2, 4), -torch.inf)},
        "attention_mask holds -inf: give 1 for tokens and 0 for padding",
    ),
    "mask of nothing": ([TEXT | {"attention_mask": [1.0] * 41 + [float("nan")]}], "attention_mask holds nan: give 1"),
    "negative special mask": (
        [TEXT | {"special_tokens_mask": [0] * 41 + [-1]}],
        "special_tokens_mask holds -1: give 1 where nothing may be masked and 0 elsewhere",
    ),
    "mask of pairs": (
        [TEXT | {"attention_mask": [[1] * 42] * 42}, {"input_ids": [2, 3], "attention_mask": [[1] * 2] * 2}],
        "attention_mask of an example holds a row of numbers for each token: give one number per token",
    ),
    "spelt ids": ([TEXT, {"input_ids": ["2", "7", "3"]}], "input_ids holds .* which are no token ids: tokenize"),
    "spelt ids alone": ([{"input_ids": ["7", "7"]}], r"input_ids holds \['7', '7'\], which are no token ids: tokenize"),
    "spelt mask": ([TEXT | {"attention_mask": ["1"] * 42}], "column 'attention_mask' holds what is no array"),
    "truths": ([[True, False]], "input_ids holds True and False, which are no token ids: tokenize"),
    "truths of a batch": ({"input_ids": torch.ones(2, 4).bool()}, "input_ids holds True and False"),
    "a fraction of a batch": ({"input_ids": torch.tensor([[2, 5.5, 3]])}, r"input_ids holds 5\.5, which is no"),
    "nothing, then a number": (
        [TEXT | {"x": None}, TEXT | {"x": 1}],
        "column 'x' holds None in example 0 of the batch",
    ),
    "a number, then nothing": (
        [TEXT | {"x": 1}, TEXT | {"x": None}],
        "column 'x' holds None in example 1 of the batch",
    ),
    "nothing in a row of numbers": (
        [TEXT | {"x": [1] * 42}] + [TEXT | {"x": None}] * 9,
        r"column 'x' holds None in example 1, 2, 3, 4, 5, … of the batch and numbers in others: fill it, or drop it",
    ),
    "a word and a number": ([TEXT | {"x": 1}, TEXT | {"x": "one"}], "column 'x' holds 'one' in example 1 of the batch"),
    "nothing in a batch": (
        {"input_ids": torch.tensor([[2, 5, 3]] * 2), "x": [None, 1]},
        "column 'x' holds None in example 0 of the batch and numbers in others",
    ),
    "positions of pictures": (
        {"input_ids": torch.tensor([[2, 5, 3]] * 2), "position_ids": torch.zeros(3, 2, 3).long()},
        r"position_ids has shape \[3, 2, 3\], input_ids \[2, 3\]: give one number per token, or say where documents",
    ),
    "numbers of other documents": (
        {"input_ids": torch.tensor([[2, 5, 3]] * 2), "seq_idx": torch.zeros(3, 3).long()},
        r"seq_idx has shape \[3, 3\], input_ids \[2, 3\]: give one number",
    ),
    "ends of rows": (
        {"input_ids": torch.tensor([[2, 5, 3]] * 2), "cu_seqlens": [[0, 2, 3], [0, 2]]},
        r"cu_seqlens must rise from 0 to the 3 tokens of row 1, got \[0, 2\]",
    ),
    "ends of too few rows": (
        {"input_ids": torch.tensor([[2, 5, 3]] * 2), "cu_seqlens": [[0, 3]]},
        "cu_seqlens has 1 rows, the batch 2: give where documents end for each",
    ),
    "ends": (
        {"input_ids": torch.arange(5, 9), "cu_seqlens": torch.tensor([0, 2])},
        r"cu_seqlens must rise from 0 to the 4 tokens of the batch, got \[0, 2\]",
    ),
}


@pytest.mark.parametrize(("examples", "message"), WRONG.values(), ids=WRONG)
@pytest.mark.parametrize("form", ["pt", "np"])
def test_examples_that_cannot_be_masked(tokenizer, examples, message, form):
    with pytest.raises(ValueError, match=message):
        PolicyCollator(tokenizer, return_tensors=form)(examples)


def test_a_column_of_nothing_or_of_words_stays_as_it_is(tokenizer):
    rows = [TEXT | {"nothing": None, "name": "a"}, TEXT | {"nothing": None, "name": None}]
    batch = PolicyCollator(tokenizer)(rows)
    assert batch["nothing"] == [None, None] and batch["name"] == ["a", None]


def words_without_marks() -> PreTrainedTokenizerFast:
    """WordPiece with nothing before the pieces inside a word."""
    pieces = {piece: i for i, piece in enumerate(["[UNK]", "[MASK]", "[PAD]", "a", "b"])}
    model = models.WordPiece(pieces, unk_token="[UNK]", continuing_subword_prefix="")
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(model), mask_token="[MASK]", pad_token="[PAD]", unk_token="[UNK]"
    )


@pytest.mark.parametrize("rate", [0, 1, -0.1, 0.95])
def test_rates_out_of_range(tokenizer, rate):
    with pytest.raises(ValueError, match=f"mlm_probability {rate} must lie between 0 and 0.9"):
        PolicyCollator(tokenizer, mlm_probability=rate)


WRONG_TYPES = {
    "mlm": [None, "yes", 2],
    "whole_word_mask": ["yes", "False", 0.5],
    "vary_repeats": ["no"],
    "mlm_probability": ["0.15", True, [0.1], float("nan")],
    "mask_replace_prob": ["1", None.__class__],
    "random_replace_prob": [{}],
    "pad_to_multiple_of": [0, -8, 8.0, "8", True],
    "seed": ["a", -1, 1.5, False, 2**63],
    "return_tensors": ["tf", None, 3],
    "policy": ["org/name", {}],
}


@pytest.mark.parametrize("kind", [PolicyCollator, DenoisingCollator])
@pytest.mark.parametrize(("name", "value"), [(name, value) for name in WRONG_TYPES for value in WRONG_TYPES[name]])
def test_settings_of_a_wrong_type_are_refused_by_name(tokenizer, kind, name, value):
    with pytest.raises(ValueError, match=f"^{name} ") as refused:
        kind(tokenizer, **{name: value})
    assert len(str(refused.value)) < 300


@pytest.mark.parametrize("kind", [PolicyCollator, JointCollator])
def test_mlm_has_no_place_behind_a_policy(make_artefact, tokenizer, kind):
    with pytest.raises(ValueError, match=f"mlm has no place .* {kind.__name__}"):
        kind(make_artefact(), tokenizer, mlm=False)
    assert not kind(make_artefact(), mlm=False).mlm


def test_a_collator_of_ones_own_may_have_its_tokenizer_second(tokenizer):
    class Named(PolicyCollator):
        def __init__(self, name, tokenizer, **fields):
            super().__init__(tokenizer, **fields)
            self.name = name

    assert not Named("mine", tokenizer, mlm=False).mlm


def test_a_token_that_becomes_special_later_is_not_masked_without_a_word(tokenizer):
    own = copy.deepcopy(tokenizer)
    collator = PolicyCollator(own)
    collator([TEXT])
    own.add_special_tokens({"additional_special_tokens": [own.convert_ids_to_tokens(20)]})
    with pytest.raises(ValueError, match="id 20 is special to the tokenizer alone"):
        collator([TEXT])


def test_a_setting_that_becomes_wrong_is_refused_when_it_counts(tokenizer):
    collator = PolicyCollator(tokenizer)
    collator.pad_to_multiple_of = 0
    with pytest.raises(ValueError, match="pad_to_multiple_of 0 must be a whole number from 1 to"):
        collator([TEXT])


@pytest.mark.parametrize("epoch", [None, "a", float("nan"), float("inf"), 1.5, -1])
def test_an_epoch_that_is_none(tokenizer, epoch):
    with pytest.raises(ValueError, match="is no whole number from 0 on: tell the one that begins"):
        PolicyCollator(tokenizer).set_epoch(epoch)


@pytest.mark.parametrize("progress", [None, "a", float("nan"), float("inf"), 2.0, -0.1])
def test_progress_that_is_none(tokenizer, progress):
    with pytest.raises(ValueError, match="is no share from 0 to 1: tell how much of training is done"):
        PolicyCollator(tokenizer).set_progress(progress)


def test_whole_numbers_and_shares_of_any_type_are_taken(tokenizer):
    collator, plain = PolicyCollator(tokenizer), PolicyCollator(tokenizer)
    collator.set_epoch(np.int64(3))
    collator.set_progress(np.float32(0.5))
    plain.set_epoch(3.0)
    plain.set_progress(sum([0.1] * 10) + 1e-9)
    assert torch.equal(collator([TEXT])["labels"], plain([TEXT])["labels"])


def test_rows_of_one_row_each(tokenizer):
    """A tokenizer with return_tensors gives them."""
    row = {"input_ids": torch.tensor([TEXT["input_ids"]])}
    with pytest.raises(ValueError, match=r"input_ids of shape \[1, \d+\]: give a row of token ids per example"):
        PolicyCollator(tokenizer)([row, row])


@pytest.mark.parametrize("made", [list, np.array, torch.tensor])
def test_token_ids_are_whole_numbers(tokenizer, made):
    """As data frames have them, whole ones are; 5.5 would have been the token 5."""
    row = {"input_ids": made([2.0, 5.0, 6.0, 3.0])}
    whole = PolicyCollator(tokenizer)([{"input_ids": [2, 5, 6, 3]}])["labels"]
    assert torch.equal(PolicyCollator(tokenizer)([row])["labels"], whole)
    for first in (2.0, 2):  # whole numbers before it hide nothing
        with pytest.raises(ValueError, match=r"input_ids holds 5\.5, which is no token id"):
            PolicyCollator(tokenizer)([{"input_ids": made([first, 5.5, 6.0, 3.0])}])


def test_masks_may_be_numbers_of_any_kind(tokenizer):
    """What is not 0 marks a token, of whatever type and size, and comes out as it came."""
    wanted = PolicyCollator(tokenizer)([TEXT | {"special_tokens_mask": [0] * 41 + [1]}])["labels"]
    for one, mark in ((True, True), (1.0, 300), (1, 255), (np.int64(1), 1.0)):
        given = TEXT | {"special_tokens_mask": [0] * 41 + [mark], "attention_mask": [one] * 42}
        found = PolicyCollator(tokenizer)([given])
        assert torch.equal(found["labels"], wanted)
        assert found["attention_mask"].dtype == (torch.float32 if isinstance(one, float) else torch.int64)


def test_what_numpy_calls_a_number_or_a_truth_is_one(tokenizer):
    numbers = {"mlm_probability": np.float32(0.5), "pad_to_multiple_of": np.int64(8), "seed": np.int64(3)}
    given = PolicyCollator(tokenizer, whole_word_mask=np.bool_(True), mlm=1, **numbers)([TEXT])
    plain = PolicyCollator(tokenizer, whole_word_mask=True, mlm_probability=0.5, pad_to_multiple_of=8, seed=3)([TEXT])
    assert all(torch.equal(given[name], plain[name]) for name in plain)


@pytest.mark.parametrize("kind", [PolicyCollator, DenoisingCollator])
@pytest.mark.parametrize(
    ("given", "message"),
    [("bert-base-uncased", r"'bert-base-uncased' is a name: give the tokenizer itself, AutoTokenizer"), (3, "a int")],
)
def test_what_is_no_tokenizer(kind, given, message):
    with pytest.raises(ValueError, match=f"^tokenizer .*{message}"):
        kind(given)


def test_shares_out_of_range(tokenizer):
    with pytest.raises(ValueError, match=r"mask_replace_prob 1\.2 must lie between 0 and 1"):
        PolicyCollator(tokenizer, mask_replace_prob=1.2)
    with pytest.raises(ValueError, match=r"mask_replace_prob 0\.95 \+ random_replace_prob 0\.1 must not exceed 1"):
        PolicyCollator(tokenizer, mask_replace_prob=0.95)
    with pytest.raises(ValueError, match="must not exceed 1"):
        PolicyCollator(tokenizer, mask_replace_prob=0.8, random_replace_prob=0.3)


def test_whole_words_of_a_tokenizer_that_does_not_mark_them():
    tokenizer = words_without_marks()
    PolicyCollator(tokenizer)
    with pytest.raises(ValueError, match=r"no mark of words .* whole_word_mask=False"):
        PolicyCollator(tokenizer, whole_word_mask=True)


def test_no_padding_token(tokenizer):
    bare = copy.deepcopy(tokenizer)
    bare.pad_token = None
    collator = PolicyCollator(bare)
    assert masked(collator([TEXT, TEXT])) == 12
    with pytest.raises(ValueError, match=r"differ in length.*set tokenizer\.pad_token"):
        collator([TEXT, [2, 7, 3]])


def test_a_policy_in_the_place_of_mlm_is_not_overlooked(tokenizer, make_policy):
    with pytest.raises(ValueError, match="policy by name, PolicyCollator"):
        PolicyCollator(tokenizer, make_policy())


@pytest.mark.parametrize(
    ("given", "message"), [("gpt2", "^tokenizer 'gpt2' is a name: give the tokenizer"), (3, "^tokenizer is a int")]
)
def test_what_comes_with_a_policy_is_a_tokenizer_wherever_it_is_given(saved_policy, given, message):
    for make in (
        lambda: PolicyCollator(load_policy(saved_policy), given),
        lambda: PolicyCollator.from_pretrained(saved_policy, given),
        lambda: PolicyCollator.from_scorer("idf", given, ["a text"]),
    ):
        with pytest.raises(ValueError, match=message):
            make()


def test_a_place_of_a_policy_is_no_policy(tokenizer):
    with pytest.raises(ValueError, match=r"^'runs/mine' is no policy that is loaded.*from_pretrained"):
        PolicyCollator("runs/mine", tokenizer)


def test_behind_a_policy_nothing_or_a_switch_is_its_own_tokenizer(saved_policy):
    policy = load_policy(saved_policy)
    assert PolicyCollator(policy).mlm is True and PolicyCollator(policy, False).mlm is False
    assert PolicyCollator(policy, None).tokenizer is policy.tokenizer


def test_a_mask_token_that_is_padding_is_refused_where_anything_is_masked(tokenizer):
    both = copy.deepcopy(tokenizer)
    both.pad_token = both.mask_token
    with pytest.raises(ValueError, match=r"the tokenizer has one token, '\[MASK\]', for masking and padding"):
        PolicyCollator(both)
    assert PolicyCollator(both, mlm=False)([[2, 7, 3]])["labels"].shape == (1, 3)


def of_ids(*names: str, mask: str = "[MASK]", special: tuple[str, ...] = ()) -> PreTrainedTokenizerFast:
    """A tokenizer of these words, in order of their ids."""
    backend = Tokenizer(models.WordLevel({name: i for i, name in enumerate(names)}, unk_token="[UNK]"))
    roles = {"pad_token": "[PAD]", "unk_token": "[UNK]", "mask_token": mask}
    return PreTrainedTokenizerFast(tokenizer_object=backend, **roles, extra_special_tokens=list(special))


NAMES = ("[PAD]", "[UNK]", "[MASK]", "a", "b", "c")
ANOTHERS = {
    "smaller": (of_ids(*NAMES[:-1]), "the tokenizer has 5 tokens, the policy knows 6"),
    "larger": (of_ids(*NAMES, "d"), "the tokenizer has 7 tokens, the policy knows 6"),
    "another mask": (of_ids(*NAMES, mask="c"), "the tokenizer masks with id 5, the policy with 2"),
    "another special": (of_ids(*NAMES, special=("b",)), "id 4 is special to the tokenizer alone"),
}


@pytest.mark.parametrize("kind", [PolicyCollator, DenoisingCollator, DiffusionCollator])
@pytest.mark.parametrize(("other", "message"), ANOTHERS.values(), ids=ANOTHERS)
def test_a_tokenizer_that_is_not_the_policys(kind, other, message):
    own = of_ids(*NAMES)
    policy = uniform_policy(own)
    with pytest.raises(ValueError, match=message):
        kind(other, policy=policy)
    collator = kind(own, policy=policy)
    collator.tokenizer = other
    with pytest.raises(ValueError, match=message):
        collator([[3, 4, 3]])


def test_a_tokenizer_to_which_tokens_were_added_goes_with_a_policy_made_of_it():
    own = of_ids(*NAMES)
    own.add_tokens(["d"])
    collator = PolicyCollator(own, policy=uniform_policy(own))
    assert masked(collator([[3, 4, 6]])) == 1
    own.add_tokens(["e"])
    with pytest.raises(ValueError, match="the tokenizer has 8 tokens, the policy knows 7"):
        collator([[3, 4, 6]])
