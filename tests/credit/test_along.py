"""What tokens are credited with: the outer loss one step later, or at the end of the training."""

import numpy as np
import pytest
import torch

from policylearn.arms.arms import initial_policy
from policylearn.arms.policies import build_uniform
from policylearn.cluster.pool import LocalPool
from policylearn.credit.along import (
    SETTLED,
    Viewpoint,
    credits_along,
    look_back,
    states,
    steps,
    tell_of_repeats,
)
from policylearn.credit.credits import masked_texts, take, train_to
from policylearn.credit.domain import DomainCredits, domain_credits, measured_under
from policylearn.credit.labels import cross_fitted
from policylearn.inner.seeds import TRAINING_SEED
from policylearn.inner.trajectory import Trajectory
from policylearn.inner.window import Window
from policylearn.learning.expected import expected
from policylearn.messages.watch import UNSEEN
from policylearn.metagrad.replay import Replay, replay
from policylearn.problems.of_config import problem_of
from policylearn.runs.provenance import fingerprint
from policylearn.runs.state import State

TO_THE_END = ("credit.horizon=end", "credit.points=3", "credit.batches=2", "inner.start=0.3", "inner.clip=0.5")
TWO = (*TO_THE_END, "credit.trainings=2", "policy.prior={}", "policy.network=none", "learn.stages=[expected]")


def of_train(problem):
    picked = np.arange(24)
    return cross_fitted(problem, picked, problem.examples("train").y[picked], folds=2, resplits=1, seed=0)


def test_a_token_that_was_trained_on_is_credited_with_what_the_engine_says_of_it(tiny):
    problem = problem_of(tiny(*TO_THE_END, "credit.trainings=2"))
    policy, loss, inner = build_uniform(problem), of_train(problem), problem.config.inner
    met = 0
    for seen in credits_along(problem, policy, {"all": loss}):
        at, trajectory = seen.trajectory.step, Trajectory.start(problem, policy, TRAINING_SEED + seen.training)
        if at == inner.steps:
            assert seen.from_end is None
            continue
        for _ in range(at):
            trajectory.take_step(next(trajectory.batches))
        batches, rates = trajectory.look_ahead(inner.steps - at)
        window = Window(batches, rates, trajectory.objective, inner.clip)
        (found,) = seen.credits(batches[:1], ["all"])
        model, optimizer = trajectory.model, trajectory.optimizer
        exact = replay(model, optimizer, window, loss, problem.config.outer.parameters)[0]
        torch.testing.assert_close(-torch.tensor(found.credits[:, 0]).float(), exact, rtol=1e-3, atol=1e-9)
        met += 1
    assert met == 2 * 2


def test_the_end_says_other_things_than_the_next_step(tiny):
    found = {}
    for horizon in ("step", "end"):
        problem = problem_of(tiny(*TO_THE_END, f"credit.horizon={horizon}"))
        found[horizon] = torch.cat([c[~c.isnan()] for _, _, c in domain_credits(problem, build_uniform(problem))])
    a, b = found.values()
    last = len(a) // 3
    assert torch.equal(a[-last:], b[-last:])  # at the very end there is but the next step
    assert torch.corrcoef(torch.stack([a[:last], b[:last]]))[0, 1] < 0.9


def test_every_training_is_another(tiny):
    problem = problem_of(tiny(*TWO))
    at, models = [], []
    for view in credits_along(problem, build_uniform(problem), {"all": of_train(problem)}):
        at.append(view.trajectory.step)
        models.append(next(view.trajectory.model.parameters()).detach().clone())
    assert at == 2 * steps(problem.config) and len(at) == states(problem.config)
    assert not torch.equal(models[2], models[5])
    assert "3 states of each of 2 trainings" in measured_under(problem) and "at its end" in measured_under(problem)


def test_stage_expected_credits_every_state_of_every_training(tiny):
    config = tiny(*TWO)
    problem, state = problem_of(config), State()
    policy = initial_policy(problem)
    with LocalPool(config) as pool:
        rounds = [dict(s.history[-1]) for s in expected(problem, policy, pool, state, config)]
    assert [r["step"] for r in rounds] == 2 * steps(config)
    alone = initial_policy(problem_of(tiny(*TWO, "learn.stages=[rounds]", "policy.prior={credit = 2.0}")))
    assert fingerprint(policy) == fingerprint(alone)


@pytest.mark.parametrize("horizon", ["step", "end"])
def test_a_schedule_that_ends_at_nothing_leaves_the_last_state_its_credits(tiny, horizon):
    problem = problem_of(
        tiny("inner.schedule=linear", f"credit.horizon={horizon}", "credit.points=2", "credit.batches=2")
    )
    policy = build_uniform(problem)
    seen = list(credits_along(problem, policy, {"all": of_train(problem)}))[-1]
    assert seen.trajectory.step == problem.config.inner.steps
    (found,) = seen.credits(take(masked_texts(problem, policy, np.arange(8), 0), 1), ["all"])
    assert np.abs(found.credits).max() > 0


def test_no_credit_is_taken_before_the_optimiser_knows_the_size_of_gradients(tiny):
    """After one step AdamW's direction is of those few weights whose only gradient was next to nothing."""
    problem = problem_of(tiny("inner.steps=20", "inner.start=0"))
    assert min(steps(problem.config)) == SETTLED
    shares = []
    for step in (1, SETTLED):
        trajectory = Trajectory.start(problem, build_uniform(problem), 0)
        train_to(trajectory, step)
        view = Viewpoint(trajectory, {"all": of_train(problem)}, UNSEEN)
        squares = torch.cat([g.flatten() for g in view.directions["all"].values()]).square()
        shares.append((squares.topk(10).values.sum() / squares.sum()).item())
    assert shares[0] > 2 * shares[1]


def test_credits_are_the_same_of_a_model_with_fused_attention(tiny):
    """As `finite_difference` has it, which needs no second derivatives; credits do."""
    found = []
    for engine in ("replay", "finite_difference"):
        problem = problem_of(tiny(*TO_THE_END, f"inner.engine={engine}"))
        found.append(torch.cat([c[~c.isnan()] for _, _, c in domain_credits(problem, build_uniform(problem))]))
    torch.testing.assert_close(*found, rtol=0.02, atol=0.02)


def test_on_the_way_back_are_the_masks_of_the_training_at_a_rate_with_a_schedule(tiny, monkeypatch):
    problem = problem_of(tiny(*TO_THE_END, "masking.rate={kind='linear', rates=[0.5, 0.1]}"))
    seen, policy = [], build_uniform(problem)

    class Sees(Replay):
        def __init__(self, model, optimizer, window, *more, **others):
            seen.extend(int(batch.mask.sum()) for batch in window.batches)
            super().__init__(model, optimizer, window, *more, **others)

    monkeypatch.setattr("policylearn.credit.along.Replay", Sees)
    list(look_back(problem, policy, 5, [1], of_train(problem), UNSEEN))
    trajectory, trained = Trajectory.start(problem, policy, 5), []
    for _ in range(problem.config.inner.steps):
        batch = next(trajectory.batches)
        trained.append(int(batch.mask.sum()))
        trajectory.take_step(batch)
    assert seen == trained[1:] and seen[-1] < seen[0]


@pytest.mark.parametrize(("points", "said"), [(6, "6 states of a training of 4 steps are 3 different ones"), (3, "")])
def test_it_is_said_where_there_are_fewer_states_than_are_asked_for(tiny, points, said):
    lines = []
    problem = problem_of(tiny("inner.steps=4", "inner.window=1", "inner.every=1", f"credit.points={points}"))
    problem.tell = lines.append
    tell_of_repeats(problem)
    assert len(lines) == bool(said) and said in "".join(lines)


def test_every_point_credits_the_texts_that_follow_those_of_the_one_before(tiny):
    problem = problem_of(tiny("credit.points=2", "credit.batches=1"))
    uniform = build_uniform(problem)
    along = DomainCredits(problem, uniform)
    found = [part for number in range(2) for part in along.credit(number, 0, 2)]
    texts = {tuple(ids[real].tolist()) for part in found for ids, real in zip(part.ids, part.real, strict=True)}
    assert len(found) == 4 and len(texts) == sum(len(part.ids) for part in found)  # none of the 80 comes again
