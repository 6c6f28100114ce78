"""Several masks of a text in one update: Fully-Explored masking as it was published, in trainings and in collators."""

from itertools import islice

import pytest
import torch

from policylearn import PolicyCollator
from policylearn.arms.arms import arm_policy
from policylearn.collator.clock import Repeats
from policylearn.config import MaskingConfig
from policylearn.inner.batches import masked_batches
from policylearn.inner.objectives import objective_of
from policylearn.policy.policy import uniform_policy
from policylearn.pretrain.training import arguments
from policylearn.problems.of_config import problem_of
from policylearn.runs.provenance import fingerprint

EXPLORE = {"rate": 0.2, "design": "explore", "draws": 5, "copies": 5}
TEXTS = [[2, *range(5 + i, 25 + i), 3] for i in range(3)]


def coverage(masks):
    """How often each place is masked, of masks [K, T]."""
    return masks.long().sum(0)


def explored(tiny, seed=3, **masking):
    problem = problem_of(tiny("inner.batch_size=10", 'masking.unit="token"'))
    policy = arm_policy(problem, "random").under(**{**EXPLORE, **masking})
    return problem, masked_batches(problem, policy, seed, objective_of(problem))


def test_the_copies_of_a_batch_share_what_there_is_to_mask_and_the_next_epoch_draws_anew(tiny):
    problem, batches = explored(tiny)
    epoch = len(problem.domain) // 2
    seen: dict[tuple, list] = {}
    for batch in islice(batches, 2 * epoch):
        assert len(batch.original) == 10 and torch.equal(batch.original[::5].repeat_interleave(5, 0), batch.original)
        for text in range(2):
            rows = slice(5 * text, 5 * text + 5)
            real, masks = batch.real[5 * text], batch.mask[rows]
            assert coverage(masks)[real].tolist()[1:-1] == [1] * (int(real.sum()) - 2)
            seen.setdefault(tuple(batch.original[5 * text].tolist()), []).append(masks)
    twice = [masks for masks in seen.values() if len(masks) > 1]
    assert twice and not any(torch.equal(first, second) for first, second, *_ in twice)


def test_copies_of_another_design_are_drawn_apart(tiny):
    _, batches = explored(tiny, design="systematic")
    counts = torch.cat([coverage(next(batches).mask[:5]) for _ in range(8)])
    assert counts.max() > 1


@pytest.mark.parametrize("told", ["epoch", "nothing", "stream", "generator"])
def test_a_collator_makes_the_copies_itself(tokenizer, told):
    collator = PolicyCollator(tokenizer, policy=uniform_policy(tokenizer, MaskingConfig(**EXPLORE)))
    if told in ("epoch", "stream"):
        collator.begin_training(Repeats.STREAM if told == "stream" else Repeats.NONE)
        collator.set_epoch(4)
    if told == "generator":
        collator.generator = torch.Generator().manual_seed(0)
    for _ in range(2):
        batch = collator([{"input_ids": ids} for ids in TEXTS])
        assert len(batch["labels"]) == 5 * len(TEXTS)
        for text in range(len(TEXTS)):
            masks = batch["labels"][5 * text : 5 * text + 5] != -100
            assert coverage(masks).tolist() == [0, *[1] * 20, 0]


def test_a_collator_has_them_of_packed_rows_too_and_refuses_what_is_put_together(tokenizer):
    collator = PolicyCollator(tokenizer, policy=uniform_policy(tokenizer, MaskingConfig(**EXPLORE)))
    row = {"input_ids": TEXTS[0] + TEXTS[1], "position_ids": [*range(22)] * 2}
    masks = collator([row])["labels"] != -100
    assert coverage(masks).tolist() == [0, *[1] * 20, 0] * 2
    with pytest.raises(ValueError, match=r"masking\.copies 5 of a batch that is put together"):
        collator({"input_ids": torch.tensor(TEXTS)})


def test_a_trainer_is_handed_fewer_texts_for_as_many_rows(tiny, tmp_path):
    config = tiny("pretrain.batch_size=20", "pretrain.micro_batch=10", "pretrain.epochs=2")
    found = arguments(config, rows=40, folder=tmp_path, copies=5)
    assert (found.per_device_train_batch_size, found.gradient_accumulation_steps, found.max_steps) == (2, 2, 20)
    with pytest.raises(ValueError, match=r"^masking\.copies 6 with batches of 20 rows .*, 18 rows for one$"):
        arguments(config, rows=40, folder=tmp_path, copies=6)
    with pytest.raises(ValueError, match=r"^masking\.copies 5"):
        next(masked_batches(*explored_at(tiny, 16)))


def explored_at(tiny, size):
    problem = problem_of(tiny(f"inner.batch_size={size}"))
    return problem, arm_policy(problem, "random").under(copies=5), 0, objective_of(problem)


def test_policies_without_copies_are_what_they_were(tokenizer):
    one, usual, several = (
        uniform_policy(tokenizer, MaskingConfig(**own)) for own in ({}, {"copies": 1}, {"copies": 2})
    )
    assert fingerprint(one) == fingerprint(usual) != fingerprint(several)


@pytest.mark.parametrize("own", ["masking.copies=5", "evaluate.custom.mine.masking={copies=5}"])
def test_batches_that_do_not_hold_as_many_copies_are_refused_with_the_config(tiny, own):
    with pytest.raises(ValueError, match=r"masking\.copies 5 with batches of 16 rows"):
        tiny("inner.batch_size=16", own)


@pytest.mark.parametrize("design", ["independent", "explore"])
def test_a_batch_that_straddles_two_epochs_gives_every_text_the_draw_of_its_own(tiny, design):
    problem = problem_of(tiny("inner.batch_size=24", 'masking.unit="token"'))
    policy = arm_policy(problem, "random").under(rate=0.5, design=design, draws=2)
    seen: dict[tuple, list] = {}
    unlike = {tuple(problem.domain[row].tolist()): row for row in range(len(problem.domain))}
    rows = problem.domain.take([*unlike.values()][:40])
    for batch in islice(masked_batches(problem, policy, 3, objective_of(problem), rows=rows), 3):  # of 24 texts
        for text, real, mask in zip(batch.original, batch.real, batch.mask, strict=True):
            seen.setdefault(tuple(text[real].tolist()), []).append(mask[real])
    pairs = [masks for masks in seen.values() if len(masks) == 2]
    assert len(pairs) == 32 and not any(torch.equal(a, b) for a, b in pairs)
    if design == "explore":  # each what the other is not
        assert all(bool((a & b).sum() == 0) for a, b in pairs)


def test_of_fewer_texts_than_a_batch_none_is_in_it_twice_under_one_mask(tiny):
    problem = problem_of(tiny("inner.batch_size=16"))
    rows = problem.domain.take(range(5))
    batch = next(masked_batches(problem, arm_policy(problem, "random"), 3, objective_of(problem), rows=rows))
    shown = {(tuple(a.tolist()), tuple(b.tolist())) for a, b in zip(batch.original, batch.mask, strict=True)}
    assert len(shown) > 12
