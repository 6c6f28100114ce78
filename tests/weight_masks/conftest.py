import numpy as np
import pytest

from policylearn.adapt import weight_mask
from policylearn.adapt.chosen import FrozenFeatures
from policylearn.problems.of_config import problem_of
from policylearn.weight_masks.task import learned_masks

SETTINGS = ("evaluate.weight_mask.epochs=2", "evaluate.weight_mask.learning_rate=0.02")


@pytest.fixture(scope="package")
def problem(tiny):
    return problem_of(tiny(*SETTINGS))


@pytest.fixture(scope="package")
def encoder(problem):
    """A frozen encoder; not to be changed."""
    return problem.fresh_model(0)


@pytest.fixture(scope="package")
def learned(problem, encoder):
    """A classifier under masks, as learned."""
    return weight_mask.fit(FrozenFeatures(problem, encoder), np.arange(60), seed=0).tuned


@pytest.fixture(scope="package")
def masks(problem, learned):
    """What of it is the task's."""
    return learned_masks(learned, problem.labels)


@pytest.fixture(scope="package")
def texts(problem):
    """input_ids and real [8, T] of dev examples of different lengths."""
    ids, real = problem.examples("dev").rows.batch(range(8), problem.tokenizer.pad_token_id)
    real = real.clone()
    real[::2, -3:] = False
    return ids, real
