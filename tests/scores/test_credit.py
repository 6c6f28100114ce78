from dataclasses import replace

import numpy as np
import pytest
import torch

from policylearn.arms.arms import arm_policy, initial_policy
from policylearn.arms.policies import sources_of
from policylearn.config import Config
from policylearn.credit.along import steps
from policylearn.credit.domain import domain_credits
from policylearn.problems.of_config import problem_of
from policylearn.scores.credit import credit, expected
from policylearn.scores.heuristic import scorer_policy
from policylearn.scores.occurrences import Means


def means_of(bins: np.ndarray, values: np.ndarray) -> Means:
    means = Means(int(bins.max()) + 1)
    means.add(torch.from_numpy(bins), torch.from_numpy(values))
    return means


def test_the_expectation_is_calibrated_and_closer_to_the_truth_than_the_mean():
    rng, deviation, noise = np.random.default_rng(0), 0.3, 1.0
    truth = deviation * rng.normal(size=2000)
    bins = np.repeat(np.arange(2000), rng.geometric(0.1, size=2000))
    means = means_of(bins, truth[bins] + noise * rng.normal(size=len(bins)))
    found = deviation * expected(means).numpy()
    raw = means().numpy()
    error = np.square(found - truth).mean()
    assert error < 0.8 * np.square(raw - truth).mean()
    assert error < 0.8 * np.square(truth).mean()  # than to say nothing
    slope = (found @ truth) / (found @ found)
    assert slope == pytest.approx(1.0, abs=0.1)  # neither too bold nor too timid


def test_where_bins_differ_by_chance_alone_nothing_is_said_of_them():
    rng = np.random.default_rng(1)
    bins = np.repeat(np.arange(300), 10)
    assert expected(means_of(bins, rng.normal(size=len(bins)))).abs().max() < 0.5
    one_value = torch.from_numpy(np.tile([1.0, -1.0], 1500))
    means = Means(300)
    means.add(torch.from_numpy(bins), one_value)  # all means alike, less than chance would have them differ
    assert expected(means).tolist() == [0.0] * 300


@pytest.fixture(scope="module")
def problem(tiny):
    return problem_of(tiny("policy.prior={credit = 1.0}", "credit.points=2", "credit.batches=6"))


def test_credits_stand_where_tokens_were_masked_and_are_standardised_at_every_point(problem):
    found = list(domain_credits(problem, arm_policy(problem, "random")))
    points = len(steps(problem.config))
    assert len(found) == points * 2 * problem.config.credit.batches
    for first in range(0, len(found), len(found) // points):
        values = torch.cat([credits.flatten() for _, _, credits in found[first : first + len(found) // points]])
        known = values[~values.isnan()]
        assert 0 < len(known) < 0.4 * len(values)
        assert known.mean().item() == pytest.approx(0.0, abs=1e-9)
        assert known.std(correction=0).item() == pytest.approx(1.0)
    ids, real, credits = found[0]
    assert not (~credits.isnan() & ~real).any()
    special = problem.vocabulary.special[ids]
    assert not (~credits.isnan() & special).any()


def test_it_is_said_where_words_differ_by_chance_alone(problem):
    def one_value(alternating: float):
        ids, real = problem.domain.batch(range(2), problem.tokenizer.pad_token_id)
        return ids, real, torch.full(ids.shape, alternating)

    told = sources_of(problem)
    alike = replace(told, credits=lambda: iter([one_value(1.0), one_value(-1.0)]))
    scores = credit(alike)
    assert not scores.types.any() and scores.learned_from.endswith(
        ": no more apart than chance lets them, so all are 0"
    )
    assert "chance" not in credit(told).learned_from


@pytest.mark.long
def test_on_the_planted_benchmark_a_policy_of_credits_masks_words_of_the_classes():
    """At late states of two trainings: of early ones, or of one, it is a matter of the seed."""
    inner, amount = {"steps": 300, "start": 0.7}, {"points": 2, "trainings": 2, "batches": 8}
    problem = problem_of(
        Config.model_validate({"policy": {"prior": {"credit": 1.0}}, "inner": inner, "credit": amount})
    )
    ids, real = problem.domain.batch(range(64), problem.tokenizer.pad_token_id)
    names = [problem.tokenizer.convert_ids_to_tokens(row.tolist()) for row in ids]
    useful = torch.tensor([[name.startswith("class") for name in row] for row in names])

    def share(policy) -> float:
        with torch.no_grad():
            p = policy.probabilities(ids, real)
        return float(p[useful].sum() / p.sum())

    assert share(initial_policy(problem)) > 1.2 * share(arm_policy(problem, "random"))


def test_without_a_task_there_is_no_credit(tokenizer):
    with pytest.raises(ValueError, match="measured on a task"):
        scorer_policy("credit", tokenizer, ["class0_01 generic_001"])
