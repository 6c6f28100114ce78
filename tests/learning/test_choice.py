import pytest
import torch

from policylearn.config import LearnConfig
from policylearn.learning.choice import keep_best, kept_the_first, out_of_patience, smoothed_dev
from policylearn.runs.state import State


def state_after(*dev: float) -> State:
    return State(round=len(dev), history=[{"round": i, "dev": d} for i, d in enumerate(dev)])


def tried(state: State, phi: float, dev: float) -> State:
    """After one more round, with that φ."""
    state.history.append({"round": len(state.history), "dev": dev})
    state.tried = {"logits": torch.tensor([phi])}, dev
    keep_best(state)
    return state


def test_the_best_phi_is_kept_as_it_was():
    state = tried(State(), phi=1.0, dev=0.5)
    assert state.numbers == {"best_dev": 0.5, "best_round": 0}
    state.tried[0]["logits"] += 7.0  # φ moves on
    tried(state, phi=2.0, dev=0.4)
    assert state.numbers["best_round"] == 0 and state.best["logits"].tolist() == [1.0]
    tried(state, phi=3.0, dev=0.9)
    assert state.numbers == {"best_dev": 0.9, "best_round": 2} and state.best["logits"].tolist() == [3.0]


def test_an_equal_dev_score_does_not_replace_the_earlier_policy():
    assert tried(tried(State(), phi=1.0, dev=0.5), phi=2.0, dev=0.5).numbers["best_round"] == 0


def test_a_stage_without_dev_scores_keeps_no_best():
    state = State(round=3, history=[{"round": n} for n in range(3)])
    keep_best(state)
    assert not state.best and not state.numbers and not out_of_patience(LearnConfig(patience=1), state)


def test_the_first_rounds_and_those_that_phi_lags_behind_are_run_with_the_prior():
    state = state_after(0.1, 0.4, 0.5)
    for best, lag, prior in ((0, 0, True), (1, 0, False), (1, 1, True), (2, 1, False)):
        state.numbers["best_round"] = best
        assert kept_the_first(LearnConfig(lag=lag), state) is prior
    assert kept_the_first(LearnConfig(), State())


def test_dev_is_smoothed_over_the_last_three_rounds():
    assert smoothed_dev(state_after(0.1, 0.4, 0.5, 0.9).history) == pytest.approx(0.6)
    assert smoothed_dev(state_after(0.1).history) == pytest.approx(0.1)


def test_patience_counts_rounds_since_the_best():
    state = state_after(0.9, 0.1, 0.1)
    state.numbers["best_round"] = 0
    assert not out_of_patience(LearnConfig(), state)
    assert [out_of_patience(LearnConfig(patience=n), state) for n in (1, 2, 3)] == [True, True, False]
    assert not out_of_patience(LearnConfig(patience=1), State())
