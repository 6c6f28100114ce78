"""The mistakes of published masking code, each with a test of its name. None of them stops a run; each bends what it
reports."""

from itertools import islice

import pytest
import torch

from policylearn.arms.arms import arm_policy
from policylearn.collator.policy_collator import PolicyCollator
from policylearn.evaluation.trial import run_trial
from policylearn.inner.batches import masked_batches
from policylearn.inner.masked_lm import MaskedLM
from policylearn.learning.rollout import rollout
from policylearn.policy.policy import mask_tokens
from policylearn.problems.of_config import problem_of
from policylearn.problems.texts import TextProblem

DESIGNS = ["systematic", "independent", "explore"]
UNITS = ["token", "word", "span"]


def masks(policy, ids, epoch=0):
    return mask_tokens(policy, ids, torch.ones_like(ids, dtype=torch.bool), 0, epoch).mask


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("design", DESIGNS)
def test_word_keyed_positions(make_policy, design, unit):
    """Positions kept in a dictionary by word: earlier repeats of a word can never be masked."""
    policy = make_policy(masking={"design": design, "unit": unit})
    ids = torch.tensor([[2, 20, 21, 20, 22, 20, 3]])
    seen = sum(masks(policy, ids, epoch).int() for epoch in range(200))[0]
    assert (seen[[1, 3, 5]] > 0).all()


@pytest.mark.parametrize("unit", UNITS)
def test_integer_instead_of_boolean_mask_indexing(make_policy, unit):
    """labels[mask] with a mask of integers reads rows 0 and 1 again and again, and ignores the mask."""
    policy = make_policy(masking={"unit": unit})
    ids = torch.randint(5, 40, (8, 30), generator=torch.Generator().manual_seed(0))
    batch = mask_tokens(policy, ids, torch.ones_like(ids, dtype=torch.bool), 0, 0)
    assert batch.mask.dtype == torch.bool
    assert torch.equal(batch.labels[batch.mask], ids[batch.mask])
    assert torch.equal(batch.shown[~batch.mask], ids[~batch.mask])
    assert (batch.mask.sum(1) > 0).all()


def test_minus_one_instead_of_minus_100_labels(make_policy, tokenizer):
    """Cross-entropy ignores -100; with -1 it fails, or a model's own loss counts every unmasked token."""
    collator = PolicyCollator(tokenizer, policy=make_policy())
    labels = collator([{"input_ids": [2, 20, 21, 22, 3]}, {"input_ids": [2, 20, 3]}])["labels"]
    unmasked = labels[labels < 0]
    assert len(unmasked) and (unmasked == torch.nn.CrossEntropyLoss().ignore_index).all()


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("design", DESIGNS)
def test_special_tokens_maskable(make_policy, tokenizer, design, unit):
    """... even to a policy that wants nothing else, wherever they stand."""
    policy = make_policy("none", rate=0.4, masking={"design": design, "unit": unit})
    special = torch.tensor(tokenizer.all_special_ids)
    policy.scores.types[:, special] = 100.0
    ids = torch.randint(0, len(tokenizer), (64, 20), generator=torch.Generator().manual_seed(0))
    masked = ids[masks(policy, ids)]
    assert len(masked) and not torch.isin(masked, special).any()


@pytest.mark.parametrize("unit", UNITS)
def test_zero_logit_as_padding(make_policy, unit):
    """A logit of exactly 0 is a score like any other; padding is known by the attention mask alone."""
    policy = make_policy("none", masking={"unit": unit})
    policy.scores.types.zero_()
    ids = torch.tensor([[2, 20, 21, 22, 23, 24, 25, 0, 0]])
    real = ids != 0
    assert (policy(ids, real) == 0).all()
    p = policy.probabilities(ids, real)
    assert (p[0, 1:7] > 0).all() and (p[0, 7:] == 0).all()
    assert float(p.sum()) > 1 - 1e-6


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("design", DESIGNS)
def test_masks_frozen_across_epochs(make_policy, design, unit):
    """Text masked once and for all: a quarter of the words is never predicted, the rest again and again."""
    policy = make_policy("none", prior=(), masking={"design": design, "unit": unit, "span_mean": 2.0})
    ids = torch.randint(5, 40, (4, 40), generator=torch.Generator().manual_seed(0))
    epochs = [masks(policy, ids, epoch) for epoch in range(40)]
    assert len({str(mask.tolist()) for mask in epochs}) == 40
    assert (sum(mask.int() for mask in epochs) > 0).float().mean() > 0.98


@pytest.mark.parametrize("design", ["systematic", "explore"])
def test_unequal_mask_counts_between_arms(tiny, design):
    """An arm that masks more tokens learns more: all arms mask equally many in every single batch."""
    problem = problem_of(tiny(f"masking.design={design}"))
    counts = []
    for arm in ("random", "difference", "difference:rank", "tficf", "oracle"):
        batches = islice(masked_batches(problem, arm_policy(problem, arm), 3, MaskedLM()), 12)
        counts.append([int(batch.mask.sum()) for batch in batches])
    assert all(other == counts[0] for other in counts) and min(counts[0]) > 0


class TestUnread(TextProblem):
    """A problem whose test labels are all wrong, and which tells when test is read."""

    __test__ = False
    read = 0

    def tests(self):
        self.read += 1
        return {
            name: type(found)(found.rows, (found.y + 1) % len(self.labels)) for name, found in super().tests().items()
        }


def test_selection_on_test(tiny):
    """Checkpoints and settings chosen by the split that is reported: here learning never opens test, and a trial
    opens it once, when everything is chosen."""
    problem, other = problem_of(tiny()), TestUnread(tiny())
    policy = arm_policy(other, "difference")
    rollout(other, policy, seed=0)
    assert other.read == 0
    honest, wrong = (run_trial(p, policy, "difference", seed=0) for p in (problem, other))
    assert other.read == 1
    assert (wrong.dev, wrong.mlm_loss) == (honest.dev, honest.mlm_loss)
    assert wrong.score == pytest.approx(1 - honest.score)
