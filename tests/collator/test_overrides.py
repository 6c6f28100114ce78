"""Subclasses written for transformers' collator, with ours as the base class."""

import numpy as np
import pytest
import torch
from transformers import DataCollatorForLanguageModeling

from policylearn import PolicyCollator

TEXTS = [{"input_ids": [2, *range(5, 45), 3]}, {"input_ids": [2, 7, 8, 3]}]
BASES = pytest.mark.parametrize("base", [DataCollatorForLanguageModeling, PolicyCollator])


@BASES
def test_labels_edited_after_masking(base, tokenizer):
    class LargeOnly(base):
        def torch_mask_tokens(self, inputs, special_tokens_mask=None, offset_mapping=None):
            inputs, labels = super().torch_mask_tokens(
                inputs, special_tokens_mask=special_tokens_mask, offset_mapping=offset_mapping
            )
            labels[(labels >= 0) & (labels < 25)] = -100
            return inputs, labels

    labels = torch.cat([LargeOnly(tokenizer)(TEXTS)["labels"] for _ in range(20)])
    assert labels[labels != -100].min() >= 25 and (labels != -100).sum() > 20


@BASES
def test_masking_of_ones_own(base, tokenizer):
    """The way of most recipes: nothing of the base class is asked, the input is written into."""

    class Coins(base):
        def torch_mask_tokens(self, inputs, special_tokens_mask=None, offset_mapping=None):
            labels, chances = inputs.clone(), torch.full(inputs.shape, self.mlm_probability)
            chances.masked_fill_(special_tokens_mask.bool(), 0.0)
            hidden = torch.bernoulli(chances, generator=self.generator).bool()
            labels[~hidden] = -100
            inputs[hidden] = self.tokenizer.mask_token_id
            return inputs, labels

    given = [{**text, "special_tokens_mask": [1, *[0] * (len(text["input_ids"]) - 2), 1]} for text in TEXTS]
    ids = torch.tensor([TEXTS[0]["input_ids"]])
    batch = Coins(tokenizer, mlm_probability=0.5)(given)
    hidden = batch["input_ids"] == tokenizer.mask_token_id
    assert torch.equal(hidden, batch["labels"] != -100) and 10 < hidden[0].sum() < 30
    assert not hidden[:, 0].any() and not hidden[1, 3:].any()
    if base is PolicyCollator:  # what is special is known without the column too, and nobody's tensor is touched
        together = {"input_ids": ids.clone()}
        assert not (Coins(tokenizer, mlm_probability=0.8)(together)["input_ids"][0, [0, -1]] == 4).any()
        assert torch.equal(together["input_ids"], ids)


@BASES
@pytest.mark.parametrize("form", ["pt", "np"])
def test_a_generator_of_ones_own(base, tokenizer, form):
    class Ranked(base):
        asked = 0

        def create_rng(self):
            type(self).asked += 1
            self.generator = self.get_generator(self.seed + 1000)

    def drawn(seed):
        collator = Ranked(tokenizer, seed=seed, return_tensors=form)
        return [collator(TEXTS)["labels"].tolist() for _ in range(4)]

    first = drawn(3)
    assert Ranked.asked == 1 and drawn(3) == first != drawn(4)
    assert len({str(labels) for labels in first}) == 4


@BASES
def test_columns_added_after_the_call(base, tokenizer):
    class Counting(base):
        def torch_call(self, examples):
            batch = super().torch_call(examples)
            batch["masked"] = (batch["labels"] != -100).sum(1)
            return batch

    batch = Counting(tokenizer)(TEXTS)
    assert batch["masked"].shape == (2,)
    assert batch.to("cpu").input_ids.shape == (2, 42)  # a BatchEncoding, as theirs is


@BASES
def test_the_twin_in_numpy_is_asked_for_arrays(base, tokenizer):
    class First(base):
        def numpy_mask_tokens(self, inputs, special_tokens_mask=None, offset_mapping=None):
            assert isinstance(inputs, np.ndarray)
            labels = np.full_like(inputs, -100)
            labels[:, 1] = inputs[:, 1]
            return inputs, labels

    collator = First(tokenizer)
    assert (collator(TEXTS, return_tensors="np")["labels"][:, 2:] == -100).all()
    assert any((collator(TEXTS)["labels"][:, 2:] != -100).any() for _ in range(9))


def test_an_override_of_the_torch_way_leaves_the_numpy_way_alone(tokenizer):
    class Nothing(PolicyCollator):
        def torch_mask_tokens(self, inputs, special_tokens_mask=None, offset_mapping=None):
            raise AssertionError

    assert (Nothing(tokenizer)(TEXTS, return_tensors="np")["labels"] != -100).sum() == 7


def test_masking_by_hand(tokenizer):
    """The methods by themselves: special tokens are found, lists are taken for a mask."""
    collator, ids = PolicyCollator(tokenizer), torch.tensor([TEXTS[0]["input_ids"]])
    collator.set_epoch(0)
    seen, labels = collator.torch_mask_tokens(ids)
    assert (labels != -100).sum() == 6 and (labels[0, [0, -1]] == -100).all()
    for given in ([[1, *[0] * 40, 1]], torch.tensor([[1, *[0] * 40, 1]])):
        again, same = collator.torch_mask_tokens(ids, given)
        assert torch.equal(again, seen) and torch.equal(same, labels)
    array, same = collator.numpy_mask_tokens(ids.numpy())
    assert array.tolist() == seen.tolist() and same.tolist() == labels.tolist()


def test_scores_reach_an_override_that_takes_them(make_policy, tokenizer):
    class Watching(PolicyCollator):
        def torch_mask_tokens(self, inputs, special_tokens_mask=None, offset_mapping=None, **scores):
            seen.append(scores)
            return super().torch_mask_tokens(inputs, special_tokens_mask, **scores)

    seen: list[dict] = []
    collator = Watching(tokenizer, policy=make_policy("none", prior=("entity",), rate=0.2))
    collator([{"input_ids": [2, *range(5, 15), 3], "entity": [0.0] * 12}])
    assert seen[0]["entity"].tolist() == [[0.0] * 12]
