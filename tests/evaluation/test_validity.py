"""Whether predictions come true: of worlds where they do, do not, and do but are drowned in noise; and the command."""

import json
from shutil import copytree

import numpy as np
import pytest
import torch

from policylearn.adapt.outer import outer_problem
from policylearn.arms.arms import initial_policy
from policylearn.cluster.calls import WorkFailed
from policylearn.commands import validate as module
from policylearn.commands.validate import validate
from policylearn.config import ValidityConfig
from policylearn.evaluation.validity import (
    random_changes,
    rank_correlation,
    train_changed,
    validity,
    validity_verdict,
)
from policylearn.inner.seeds import VALIDITY_SEED
from policylearn.learning.changes import apply_change, halved_differences
from policylearn.learning.outcomes import LOGITS, expected_worth, occurrences
from policylearn.learning.rollout import rollout
from policylearn.problems.of_config import problem_of
from policylearn.report.signal import validity_report

SMALL = ("validity.changes=4", "validity.seeds=2", "validity.rollouts=2", "validity.draws=2")


def world(true: float, noise: float, changes: int = 60, repeats: int = 6):
    """Predictions and outcomes of changes whose effects agree as far as `true` says, seen through noise."""
    rng = np.random.default_rng(0)
    effect, other = rng.normal(size=(2, changes, 1))
    predictions = effect + noise * rng.normal(size=(changes, repeats))
    outcomes = true * effect + np.sqrt(1 - true**2) * other + noise * rng.normal(size=(changes, repeats))
    return predictions, outcomes


@pytest.mark.parametrize("true", [-1.0, 0.0, 0.6, 1.0])
def test_without_noise_the_correlation_is_that_of_the_effects(true):
    found = validity(*world(true, noise=0.0))
    assert found["spearman"] == pytest.approx(true, abs=0.2)
    assert found["of_predictions"] == found["of_outcomes"] == pytest.approx(1.0)
    assert found["interval"][0] <= found["spearman"] <= found["interval"][1]


def test_noise_hides_an_effect_and_is_taken_out_again():
    found = validity(*world(1.0, noise=2.0))
    assert found["spearman"] < 0.8 < found["without_noise"]


@pytest.mark.parametrize(("true", "words"), [(0.9, "come true"), (-0.9, "opposite"), (0.0, "not shown")])
def test_the_verdict_says_which_it_is(true, words):
    assert words in validity_verdict(validity(*world(true, noise=0.3)))


def test_rollouts_that_contradict_each_other_are_told():
    """Three of four are right, the last says the opposite: the interval, over changes, has no part in that."""
    effect = world(1.0, noise=0.0, repeats=1)[0]
    found = validity(effect * np.array([1.0, 1.0, 1.0, -1.0]), effect)
    assert found["alone"] == [1.0, 1.0, 1.0, -1.0]
    assert "single rollouts have from -1.00 to 1.00" in validity_verdict(found)
    assert "single" not in validity_verdict(validity(*world(0.9, noise=0.3)))


def test_where_outcomes_are_noise_it_says_what_to_raise():
    assert "raise validity.seeds" in validity_verdict(validity(*world(0.0, noise=9.0)))


def test_what_does_not_change_is_not_correlated():
    found = validity(np.zeros((5, 2)), np.arange(10.0).reshape(5, 2))
    assert found["spearman"] is None and found["interval"] == [None, None]
    assert "nothing is shown: raise validity.strength" in validity_verdict(found)


def test_differences_are_halved_between_both_signs():
    assert halved_differences([[3.0, 1.0]], [[1.0, 2.0]]).tolist() == [[1.0, -0.5]]


@pytest.mark.parametrize("network", ["table", "neighbours", "context"])
def test_changes_move_the_logits_of_what_occurs_as_far_as_is_asked(tiny, network):
    policy = initial_policy(problem_of(tiny(f"policy.network={network}")))
    types, config = torch.arange(6, policy.field.size), ValidityConfig(changes=3, strength=0.7)
    changes, phi = random_changes(policy, types, config), policy.learned()
    phi = {name: value.clone() for name, value in phi.items()}
    text = types[:, None]
    before = policy(text, text > 0)[:, 0].detach()
    for change in changes:
        policy.load_learned(apply_change(phi, change, 1.0))
        moved = policy(text, text > 0)[:, 0].detach() - before
        assert moved.square().mean().sqrt().item() == pytest.approx(0.7, rel=1e-3)
        policy.load_learned(phi)
    assert not torch.equal(*(torch.cat([x.flatten() for x in change.values()]) for change in changes[:2]))
    if network == "table":
        untouched = torch.ones_like(changes[0]["network.logits"], dtype=torch.bool)
        untouched[types] = False
        assert not changes[0]["network.logits"][untouched].any()


def test_a_policy_with_nothing_to_change_is_refused(tiny):
    with pytest.raises(ValueError, match=r"policy\.network"):
        random_changes(initial_policy(problem_of(tiny("policy.network=none"))), torch.arange(9), ValidityConfig())


def test_the_end_is_that_of_a_rollout(tiny):
    """Same masks, order and model: the dev score is that of the rollout with this seed."""
    problem = problem_of(tiny("validity.draws=2"))
    policy = initial_policy(problem)
    phi = {name: value.clone() for name, value in policy.learned().items()}
    found = train_changed(problem, policy, phi, VALIDITY_SEED)
    assert found.score == rollout(problem, policy, VALIDITY_SEED, differentiate=False).metrics["dev"]
    assert np.isfinite(found.loss) and found == train_changed(problem, policy, phi, VALIDITY_SEED)


def test_the_loss_is_the_mean_over_draws_of_labelled_examples_that_are_others(tiny, monkeypatch):
    problem, losses = problem_of(tiny("validity.draws=3")), []

    def kept(*arguments):
        tuning = outer_problem(*arguments)
        return lambda model: losses.append(tuning(model).item()) or torch.tensor(losses[-1])

    monkeypatch.setattr("policylearn.learning.changes.outer_problem", kept)
    policy = initial_policy(problem)
    found = train_changed(problem, policy, policy.learned(), VALIDITY_SEED)
    assert found.loss == pytest.approx(np.mean(losses)) and len({*losses}) == 3


def test_the_reliability_of_a_mean_counts_all_that_it_is_of():
    """Of three columns a half is one: the mean of all is as reliable as three of it."""
    predictions, _ = world(1.0, noise=1.0, repeats=3)
    one = rank_correlation(predictions[:, 0], predictions[:, 1])
    assert validity(predictions, predictions)["of_predictions"] == pytest.approx(3 * one / (1 + 2 * one))


def test_a_run_that_stops_goes_on_where_it_was(tiny, tmp_path, quiet, monkeypatch):
    config, seen = tiny(*SMALL), []

    def interrupted(*arguments):
        seen.append(arguments)
        if len(seen) > 5:
            raise RuntimeError("the machine went away")
        return train_changed(*arguments)

    whole = validate(config, tmp_path / "whole", quiet)
    with monkeypatch.context() as patch:
        patch.setattr(module, "train_changed", interrupted)
        with pytest.raises(WorkFailed):
            validate(config, tmp_path / "run", quiet)
    again = validate(config, tmp_path / "run", quiet)
    assert again == whole
    assert "11 to run" in quiet.file.getvalue() and "18 to run" in quiet.file.getvalue()
    assert len(whole["predicted"]) == len(whole["came"]) == 4
    problem = problem_of(config)
    policy = initial_policy(problem)
    changes = random_changes(policy, torch.from_numpy(problem.types_met()), config.validity)
    moved = np.stack([change[LOGITS].numpy() for change in changes]) * occurrences(problem, policy)
    assert whole["others"] == expected_worth(moved, np.array(whole["came"])).agreement


def test_a_finished_training_in_the_same_folder_is_not_taken_for_an_answer(policylearn, tiny_toml, finished, tmp_path):
    copytree(finished, tmp_path / "run")
    status, said, _ = policylearn("diagnose", tiny_toml, *SMALL, "--validity", tmp_path / "run")
    assert status == 0 and "what was predicted against" in said
    assert f"\nresult  {tmp_path}/run/validity/result.json\n" in said
    assert "Outcomes of the other changes foretell one by" in " ".join(said.split())
    assert json.loads((tmp_path / "run" / "validity" / "result.json").read_text())["verdict"] in " ".join(said.split())


def test_changes_that_make_a_training_diverge_are_left_out_and_said(tiny, tmp_path, quiet, monkeypatch):
    config, asked = tiny(*SMALL), []

    def diverging(problem, policy, phi, seed):
        asked.append(seed)
        if len(asked) in (1, 2):  # both trainings of the first change and sign
            raise FloatingPointError("the MLM loss became nan")
        return train_changed(problem, policy, phi, seed)

    with monkeypatch.context() as patch:
        patch.setattr(module, "train_changed", diverging)
        found = validate(config, tmp_path / "run", quiet)
        assert any(str(one).endswith("diverge: 1 change") for one in validity_report(found).renderables)
        assert found["diverged"] == [0] and len(found["predicted"]) == len(found["came"]) == 3
        asked.clear()
        patch.setattr(module, "LEAST", 4)
        with pytest.raises(WorkFailed, match=r"lower validity\.strength"):
            validate(config, tmp_path / "few", quiet)


def test_predictions_of_a_training_into_which_no_window_fits_are_refused(tiny, tmp_path, quiet):
    config = tiny(*SMALL, "learn.stages=[expected]", "inner.steps=6", "inner.window=6", "inner.every=6")
    with pytest.raises(ValueError, match=r"inner\.window = 6 .* does not fit"):
        validate(config, tmp_path / "run", quiet)
