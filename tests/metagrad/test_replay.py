import math
from dataclasses import dataclass, replace
from functools import cache
from weakref import WeakSet

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from policylearn.arms.arms import initial_policy
from policylearn.inner.masked_lm import MaskedLM
from policylearn.inner.window import Window
from policylearn.learning.rollout import rollout
from policylearn.masking import IGNORED, MaskedBatch
from policylearn.metagrad.replay import replay
from policylearn.metagrad.unroll import unroll
from policylearn.metagrad.walk import Walk
from policylearn.problems.of_config import problem_of

RATES = [0.01, 0.03, 0.02, 0.025, 0.015, 0.01, 0.005, 0.02, 0.03, 0.01, 0.02]
# (steps, leaf, slots): one leaf; several and a short one; every state recomputed from the start or one other
CUTS = [(1, 8, 7), (3, 8, 7), (3, 1, 1), (8, 3, 7), (8, 2, 1)]


def credits_of(engine, problem, batches, parameters, **settings) -> torch.Tensor:
    model, optimizer = problem.copies()
    rates = RATES[: len(batches)]
    window = problem.window(batches, rates)
    return torch.cat(engine(model, optimizer, window, problem.outer, parameters=parameters, **settings))


@cache
def unrolled(inner, tied: bool, warm: int, parameters: str, steps: int):
    """A problem, so many batches of it, and their credits by the reference."""
    problem = inner(tied=tied, warm=warm)
    batches = problem.batches(steps)
    return problem, batches, credits_of(unroll, problem, batches, parameters)


def assert_same_bits(model, optimizer, other, others_optimizer) -> None:
    for p, q in zip(model.parameters(), other.parameters(), strict=True):
        assert torch.equal(p, q)
        ours, theirs = optimizer.state.get(p, {}), others_optimizer.state.get(q, {})
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.mark.parametrize("cut", CUTS, ids=str)
@pytest.mark.parametrize("parameters", ["all", "matrices", "layers"])
@pytest.mark.parametrize("warm", [0, 5], ids=["fresh", "warm"])
@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
def test_credits_are_those_of_the_unrolled_steps(inner, relative_error, tied, warm, parameters, cut):
    steps, leaf, slots = cut
    problem, batches, expected = unrolled(inner, tied, warm, parameters, steps)
    credits = credits_of(replay, problem, batches, parameters, leaf=leaf, slots=slots)
    assert credits.shape == (sum(int(batch.mask.sum()) for batch in batches),)
    assert relative_error(credits, expected) < 1e-10


@pytest.mark.parametrize("leaf", [2, 8])
@pytest.mark.parametrize("warm", [0, 5], ids=["fresh", "warm"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["double", "single"])
def test_model_and_optimiser_end_where_plain_steps_take_them_to_the_bit(inner, warm, dtype, leaf):
    problem = inner(warm=warm, dtype=dtype)
    batches, following = problem.batches(5), problem.batches(1)
    model, optimizer = problem.after(batches, RATES[:5], [None] * 5)
    replay(problem.model, problem.optimizer, Window(batches, RATES[:5], MaskedLM()), problem.outer, leaf=leaf, slots=1)
    assert_same_bits(problem.model, problem.optimizer, model, optimizer)
    assert [group["lr"] for group in problem.optimizer.param_groups] == [RATES[4]] * 2
    assert all(p.grad is None for p in problem.model.parameters())
    problem.step(problem.model, problem.optimizer, following[0], 0.01)
    problem.step(model, optimizer, following[0], 0.01)
    assert_same_bits(problem.model, problem.optimizer, model, optimizer)


def test_how_a_window_is_cut_does_not_change_a_bit(inner):
    problem = inner(warm=2, dtype=torch.float32)
    batches = problem.batches(7)
    cuts = [(leaf, slots) for leaf in (1, 3, 16) for slots in (1, 7)]
    credits = [credits_of(replay, problem, batches, "matrices", leaf=leaf, slots=slots) for leaf, slots in cuts]
    assert all(torch.equal(found, credits[0]) for found in credits)


def test_states_kept_elsewhere_come_back_the_same(inner):
    problem = inner(dtype=torch.float32)
    batches = problem.batches(5)
    settings = {"leaf": 2, "slots": 2}
    here = credits_of(replay, problem, batches, "all", **settings)
    assert torch.equal(credits_of(replay, problem, batches, "all", store=torch.device("cpu"), **settings), here)


@pytest.mark.parametrize("masked", [[0, 5, 3], [4, 0, 3], [0, 0, 0]], ids=str)
def test_a_batch_without_masked_tokens_has_no_credits(inner, relative_error, masked):
    problem = inner(warm=2)
    batches = [_with_masks(batch, n) for batch, n in zip(problem.batches(3), masked, strict=True)]
    model, optimizer = problem.copies()
    found = replay(model, optimizer, Window(batches, RATES[:3], MaskedLM()), problem.outer)
    assert [len(credit) for credit in found] == masked
    if any(masked):
        assert relative_error(torch.cat(found), credits_of(unroll, problem, batches, "matrices")) < 1e-10


def _with_masks(batch: MaskedBatch, n: int) -> MaskedBatch:
    """The first n tokens of the second row masked."""
    labels = torch.full_like(batch.labels, IGNORED)
    labels[1, :n] = batch.original[1, :n]
    return replace(batch, labels=labels, shown=torch.where(labels == IGNORED, batch.original, 1))


def test_a_parameter_that_never_had_a_gradient_does_no_harm(inner, relative_error):
    """Token embeddings that occur nowhere have moments of exactly zero, where a square root has no slope."""
    problem = inner(tied=False, warm=1)
    unseen = problem.optimizer.state[problem.model.mlm.get_input_embeddings().weight]["exp_avg_sq"] == 0
    assert unseen.any()
    batches = problem.batches(3)
    expected = credits_of(unroll, problem, batches, "all")
    assert relative_error(credits_of(replay, problem, batches, "all"), expected) < 1e-10


def test_dropout_without_seeds_is_refused(inner):
    problem = inner()
    problem.model.train()
    with pytest.raises(ValueError, match=r"pass seeds, .* or call model\.eval\(\)"):
        replay(problem.model, problem.optimizer, Window(problem.batches(1), [0.01], MaskedLM()), problem.outer)


@pytest.mark.parametrize("adaptation", ["probe", "finetune"])
def test_a_rollout_has_the_policy_gradient_of_unrolled_windows(tiny, relative_error, adaptation):
    settings = ("inner.window=3", "inner.every=4", "inner.clip=0.3", f"outer.adaptation={adaptation}")
    found = {}
    for engine in ("unroll", "replay", "finite_difference"):
        problem = problem_of(tiny(*settings, f"inner.engine={engine}"))
        found[engine] = rollout(problem, initial_policy(problem), 5)
    for engine, error in (("replay", 1e-3), ("finite_difference", 2e-2)):
        metrics = {name: found[engine].metrics[name] for name in found["unroll"].metrics}
        assert metrics == pytest.approx(found["unroll"].metrics, rel=1e-4, abs=1e-6)
        for name, gradient in found["unroll"].gradient.items():
            assert gradient.norm() > 0
            assert relative_error(found[engine].gradient[name], gradient) < error
    assert 0 < found["finite_difference"].metrics["difference_error"] < 0.1


class Journal(Walk):
    """Moves a number about instead of a model, and notes what would be computed and kept."""

    def __init__(self, steps: int, leaf: int) -> None:
        super().__init__(None, None, range(steps), None, leaf=leaf)
        self.at, self.taken, self.alive, self.most = 0, [0] * steps, WeakSet(), 0

    def __post_init__(self) -> None:
        pass

    def gradients(self, k: int):
        self.taken[k] += 1
        return (k,)

    def step(self, k: int, gradients) -> None:
        assert self.at == k
        assert gradients == (k,)
        self.at += 1

    def state(self) -> "Kept":
        kept = Kept(self.at)
        self.alive.add(kept)
        self.most = max(self.most, len(self.alive))
        return kept

    def restore(self, state: "Kept") -> None:
        self.at = state.at

    def outer_adjoints(self) -> list:
        assert self.at == len(self.window)
        return []

    def back_over_step(self, k: int, gradients) -> int:
        assert self.at == k
        assert gradients == (k,)
        return k

    def back_over_gradient(self, k: int, directions, further: bool):
        raise NotImplementedError


@dataclass(eq=False)
class Kept:
    at: int


@given(steps=st.integers(1, 300), leaf=st.integers(1, 9), slots=st.integers(1, 8))
def test_a_window_is_walked_back_over_within_its_slots_and_repeats(steps, leaf, slots):
    """Every step once, from its own state, never with more states than allowed; and Griewank's binomial bound."""
    journal = Journal(steps, leaf)
    journal.walk_back(0, steps, journal.state(), slots)
    assert journal.credits == list(range(steps))[::-1]
    assert journal.most <= slots + 2
    leaves = math.ceil(steps / leaf)
    repeats = next(r for r in range(leaves + 1) if math.comb(slots + r, r) >= leaves)
    assert max(journal.taken) <= 1 + repeats


@pytest.mark.parametrize(("steps", "times"), [(8, 1), (64, 2), (288, 3)])
def test_what_the_documentation_says_of_the_default(steps, times):
    for window, most in ((steps, times), (steps + 1, times + 1)):
        journal = Journal(window, leaf=8)
        journal.walk_back(0, window, journal.state(), slots=7)
        assert max(journal.taken) == most
