"""Stage "outcomes": what whole trainings come to under changed masks, and which words it hangs on."""

import io
import json
import shutil
from typing import ClassVar

import numpy as np
import pytest
import torch
from rich.console import Console

from policylearn import load_policy
from policylearn.arms.arms import initial_policy
from policylearn.cluster.calls import WorkFailed
from policylearn.cluster.pool import LocalPool
from policylearn.commands.export import open_policy
from policylearn.commands.reproduce import reproduce_rollout
from policylearn.commands.train import train
from policylearn.config.idle import idle_settings
from policylearn.inner.seeds import OUTCOME_SEED, rollout_seeds
from policylearn.learning import outcomes as stage
from policylearn.learning.changes import SIGNS
from policylearn.learning.outcomes import (
    LOGITS,
    Fit,
    change_of,
    expected_worth,
    occurrences,
    train_under_change,
    whole_pairs,
)
from policylearn.problems.of_config import problem_of
from policylearn.runs.state import State

ALONE = (
    *("learn.stages=[outcomes]", "policy.prior={}", "policy.network=table", "evaluate.seeds=0"),
    *("outcomes.rounds=2", "outcomes.pairs=4", "outcomes.draws=1"),
    *("outcomes.change=2.0", "inner.learning_rate=0.01"),  # with which four pairs tell something
)


def drawn(pairs, types, seed=0):
    """Changes of types, of which the first ten are in every text and the others in one of a hundred."""
    coins = np.random.default_rng(seed).integers(2, size=(pairs, types)) * 2.0 - 1
    return coins * np.where(np.arange(types) < 10, 1.0, 0.01)


def test_outcomes_tell_which_types_they_hang_on():
    changes, worth = drawn(48, 400), np.zeros(400)
    worth[:3] = 1.0, -1.0, 0.5
    noise = np.random.default_rng(1).normal(size=48)
    fit = expected_worth(changes, 0.01 * (changes @ worth + 0.5 * noise))
    assert fit.worth[0] > 1 and fit.worth[1] < -1 and 0 < fit.worth[2] < fit.worth[0]
    assert np.abs(fit.worth[10:]).max() < 0.2 * fit.worth[0] and fit.agreement > 0.6
    more = expected_worth(changes, changes @ worth + 0.5 * noise)
    assert np.allclose(fit.worth, more.worth) and fit.agreement == pytest.approx(more.agreement)


def test_of_noise_little_is_made():
    found = [expected_worth(drawn(48, 400, s), np.random.default_rng(100 + s).normal(size=48)) for s in range(20)]
    moved = [np.abs(fit.worth).max() for fit in found]
    assert np.median(moved) == 0 and np.mean(moved) < 0.6
    assert abs(np.mean([fit.agreement for fit in found])) < 0.3


def test_what_others_predict_of_an_outcome_does_not_know_it():
    """By hand: leave one out, fit again at the same ratio."""
    changes, rng = drawn(12, 20), np.random.default_rng(2)
    outcomes = changes[:, :2].sum(1) + rng.normal(size=12)
    fit, kernel = expected_worth(changes, outcomes), changes @ changes.T
    kernel /= np.trace(kernel) / 12

    def predicted(ratio):
        kept = [np.arange(12) != i for i in range(12)]
        return [
            ratio * kernel[i, k] @ np.linalg.solve(ratio * kernel[np.ix_(k, k)] + np.eye(11), outcomes[k])
            for i, k in enumerate(kept)
        ]

    agreements = [np.corrcoef(predicted(ratio), outcomes)[0, 1] for ratio in stage.RATIOS]
    assert np.abs(np.array(agreements) - fit.agreement).min() < 1e-9


def test_occurrences_are_of_what_may_be_masked(tiny):
    problem = problem_of(tiny(*ALONE))
    found = occurrences(problem, initial_policy(problem))
    tokens = problem.domain.flat
    counted = np.bincount(tokens, minlength=len(found)) / len(problem.domain)
    counted[problem.tokenizer.all_special_ids] = 0
    assert np.allclose(found, counted) and found.sum() > 0


def run(config, folder):
    console = Console(file=io.StringIO(), width=400)
    train(config, folder, console)
    return console.file.getvalue()


def logits_of(folder):
    return load_policy(folder).policy.learned()[LOGITS]


def test_the_policy_is_moved_by_what_trainings_came_to(tiny, tmp_path, told):
    config = tiny(*ALONE, "outcomes.rounds=1")
    out = run(config, tmp_path / "run")
    problem = problem_of(config)
    policy = initial_policy(problem)
    phi = {name: value.clone() for name, value in policy.learned().items()}
    seeds = range(OUTCOME_SEED, OUTCOME_SEED + 4)
    found = [train_under_change(problem, policy, phi, seed, sign) for seed in seeds for sign in SIGNS]
    policy.load_learned(phi)
    changes = np.stack([change_of(problem, policy, seed)[LOGITS].numpy() for seed in seeds])
    fit = expected_worth(changes * occurrences(problem, policy), whole_pairs(found)[1])
    assert fit.worth.any()
    assert torch.allclose(logits_of(tmp_path / "run" / "policy"), -torch.from_numpy(fit.worth).float(), atol=1e-6)
    (record,) = (
        json.loads(line) for line in (tmp_path / "run" / "outcomes" / "metrics.jsonl").read_text().splitlines()
    )
    assert record["reliability"] == pytest.approx(fit.agreement) and record["pairs"] == 4 and record["dropped"] == 0
    assert record["dev"] == pytest.approx(np.mean([one.outcome.score for one in found]))
    for place, text in (told(tmp_path / "run") | {"console": out}).items():
        assert "outcomes of 8 whole trainings in 1 round" in text, place
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["exported"] == "learned" and result["best_round"] is None


def test_a_stopped_run_goes_on_after_the_rounds_that_it_has(tiny, tmp_path, monkeypatch, stopped_after_a_round):
    stopped_after_a_round(run, tiny(*ALONE), tmp_path / "run")
    seeds, work = [], stage.train_under_change

    def counted(problem, skeleton, phi, seed, sign):
        seeds.append(seed)
        return work(problem, skeleton, phi, seed, sign)

    monkeypatch.setattr(stage, "train_under_change", counted)
    run(tiny(*ALONE), tmp_path / "run")
    assert sorted(set(seeds)) == list(range(OUTCOME_SEED + 4, OUTCOME_SEED + 8)) and len(seeds) == 8
    run(tiny(*ALONE), tmp_path / "other")
    assert torch.equal(*(logits_of(tmp_path / name / "policy") for name in ("run", "other")))
    first, last = (open_policy(tmp_path / "other", number) for number in (1, 2))
    assert torch.equal(last.policy.learned()[LOGITS], logits_of(tmp_path / "other" / "policy"))
    assert not torch.equal(first.policy.learned()[LOGITS], last.policy.learned()[LOGITS])
    assert first.provenance["learned"] == "the policy after 1 round of outcomes of whole trainings"


def learned(config, pool=LocalPool):
    problem, state = problem_of(config), State()
    policy = initial_policy(problem)
    with pool(config, problem.data()) as opened:
        for _ in stage.outcomes(problem, policy, opened, state, config):
            pass
    return policy.learned()[LOGITS].clone(), state.history


def test_outcomes_of_all_rounds_are_taken_together(tiny):
    """By hand: trainings under the policy after the first round, regressed with those of the first."""
    config = tiny(*ALONE)
    problem = problem_of(config)
    policy, states = initial_policy(problem), []
    with LocalPool(config, problem.data()) as opened:
        for state in stage.outcomes(problem, policy, opened, State(), config):
            states.append((policy.learned()[LOGITS].clone(), state.history[-1]))
    (first, before), (last, record) = states
    shares, phi = occurrences(problem, policy), policy.learned() | {LOGITS: first}
    found = [train_under_change(problem, policy, phi, seed, sign) for seed, _ in record["outcomes"] for sign in SIGNS]
    assert np.array_equal(whole_pairs(found)[1], [loss for _, loss in record["outcomes"]])
    known = before["outcomes"] + record["outcomes"]
    changes = np.stack([change_of(problem, policy, seed)[LOGITS].numpy() for seed, _ in known])
    fit = expected_worth(changes * shares, np.array([loss for _, loss in known]))
    assert len(known) == 8 and fit.worth.any() and record["reliability"] == pytest.approx(fit.agreement)
    assert torch.allclose(last, -2 * torch.from_numpy(fit.worth).float(), atol=1e-6)


def test_another_learn_seed_trains_other_models(tiny):
    _, (record,) = learned(tiny(*ALONE, "outcomes.rounds=1", "learn.seed=3"))
    assert [seed for seed, _ in record["outcomes"]] == [OUTCOME_SEED + 3_000_000 + i for i in range(4)]


@pytest.mark.parametrize("factor", [0.0, 4.0])
def test_dev_may_choose_how_far_to_go(tiny, tmp_path, monkeypatch, told, factor):
    for where in ("strength", "learn"):
        monkeypatch.setattr(f"policylearn.learning.{where}.choose_factor", lambda history: factor)
    more = ("learn.stages=[outcomes,strength,rounds]", "strength.models=2", "strength.factors=[0,4]")
    settings = (*ALONE, *more, "outcomes.rounds=1", "learn.rounds=2", "learn.select=last")
    out, given = run(tiny(*settings), tmp_path / "run"), logits_of(tmp_path / "run" / "outcomes")
    assert given.any() and torch.equal(logits_of(tmp_path / "run" / "strength"), factor * given)
    for place, text in (told(tmp_path / "run") | {"console": out}).items():
        assert "outcomes of 8 whole trainings in 1 round" in text and f"; times {factor:g}" in text, place
    rounds = tmp_path / "run" / "metrics.jsonl"
    assert len(rounds.read_text().splitlines()) == 2 if factor else not rounds.exists() or not rounds.read_text()


def test_of_noise_nothing_is_learned_and_no_strength_chosen(tiny, tmp_path, monkeypatch):
    nothing = Fit(np.zeros(len(problem_of(tiny(*ALONE)).tokenizer)), 0.0, 0.0)
    monkeypatch.setattr(stage, "expected_worth", lambda changes, outcomes: nothing)
    settings = ("learn.stages=[outcomes,strength,rounds]", "learn.rounds=1", "learn.rollouts=1")
    out = run(tiny(*ALONE, *settings, "outcomes.rounds=1", "evaluate.seeds=1"), tmp_path / "run")
    assert "strength is left out, for outcomes are noise" in out and not (tmp_path / "run" / "strength").exists()
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["learned"] is False and result["exported"] == "prior"


def test_rounds_are_seen_again_from_the_strength_that_was_chosen(tiny, tmp_path, monkeypatch, stopped_after_a_round):
    """Not from the policy of outcomes as it was before."""
    for where in ("strength", "learn"):
        monkeypatch.setattr(f"policylearn.learning.{where}.choose_factor", lambda history: 4.0)
    more = ("strength.models=2", "strength.factors=[0,4]", "outcomes.rounds=1", "learn.rounds=1", "learn.rollouts=1")
    run(tiny(*ALONE, *more, "learn.stages=[outcomes,strength,rounds]"), tmp_path / "run")
    given, folder = [], tmp_path / "run"
    shutil.rmtree(folder / "checkpoints")
    monkeypatch.setattr(
        "policylearn.commands.reproduce.rollout_with", lambda problem, policy, phi, seed: given.append(phi) or Seen()
    )
    reproduce_rollout(folder, rollout_seeds(tiny(*ALONE, *more), 0)[0])
    assert torch.equal(given[0][LOGITS], 4 * logits_of(folder / "outcomes"))


class Seen:
    """What came of a rollout."""

    metrics: ClassVar = {}


def test_the_order_in_which_trainings_end_changes_nothing(tiny, backwards):
    config = tiny(*ALONE, "outcomes.rounds=1")
    logits, _ = learned(config)
    assert logits.any() and torch.equal(logits, learned(config, backwards)[0])


def test_a_pair_of_which_one_diverges_is_left_out(tiny, monkeypatch):
    work = stage.train_to_the_end

    def diverging(problem, policy, phi, seed, **options):
        if seed == OUTCOME_SEED + 1 and phi[LOGITS].sum() > 0:
            raise FloatingPointError("the loss is not finite")
        return work(problem, policy, phi, seed, **options)

    monkeypatch.setattr(stage, "train_to_the_end", diverging)
    config = tiny(*ALONE, "outcomes.rounds=1")
    problem = problem_of(config)
    change = change_of(problem, initial_policy(problem), OUTCOME_SEED + 1)[LOGITS]
    assert change.sum() != 0  # so that one sign of the two diverges
    _, (record,) = learned(config)
    assert (record["pairs"], record["dropped"]) == (3, 1)
    with pytest.raises(WorkFailed, match="trainings diverged"):
        learned(tiny(*ALONE, "outcomes.rounds=1", "learn.max_dropped=0"))


def test_where_one_of_every_pair_diverges_it_is_said(tiny, monkeypatch):
    work = stage.train_under_change

    def diverging(problem, skeleton, phi, seed, sign):
        if sign > 0:
            raise FloatingPointError("the loss is not finite")
        return work(problem, skeleton, phi, seed, sign)

    monkeypatch.setattr(stage, "train_under_change", diverging)
    with pytest.raises(WorkFailed, match=r"of every pair of trainings one diverged: lower inner\.learning_rate"):
        learned(tiny(*ALONE, "outcomes.rounds=1"))


def test_rounds_go_on_from_there_and_are_pulled_back_to_it(tiny, tmp_path, monkeypatch):
    given = []
    monkeypatch.setattr("policylearn.learning.rounds.deepcopy", lambda policy: given.append(policy.before()) or policy)
    config = tiny(*ALONE, "outcomes.rounds=1", "learn.stages=[outcomes,rounds]", "learn.rounds=1", "learn.select=last")
    out = run(config, tmp_path / "run")
    assert torch.equal(given[0].learned()[LOGITS], logits_of(tmp_path / "run" / "outcomes"))
    assert "then in 1 round" in out
    assert not torch.equal(logits_of(tmp_path / "run" / "policy"), logits_of(tmp_path / "run" / "outcomes"))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["policy.network=none"], 'set it to "table"'),
        (["policy.network=context"], 'set it to "table"'),
        (["learn.stages=[rounds,outcomes]"], "in the order"),
        (["learn.stages=[outcomes,rounds,strength]"], "in the order"),
        (["outcomes.pairs=3"], "outcomes.pairs"),
    ],
)
def test_what_cannot_be_is_refused(tiny, settings, message):
    with pytest.raises(ValueError, match=message):
        tiny(*ALONE, *settings)


def test_what_it_reads_is_not_said_to_do_nothing(tiny):
    said = " ".join(idle_settings(tiny(*ALONE, "learn.max_dropped=0.1", "learn.rollouts=9")))
    assert "learn.rollouts" in said and "max_dropped" not in said and "outcomes." not in said
    assert "outcomes.pairs" in " ".join(idle_settings(tiny("outcomes.pairs=9")))
