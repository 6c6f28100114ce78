import pytest

from policylearn.problems.of_config import problem_of

QUICK = ("credit.points=2", "credit.batches=3", "diagnose.shuffles=1", "diagnose.least=2", "diagnose.draws=50")


@pytest.fixture(scope="module")
def problem(tiny):
    return problem_of(tiny(*QUICK))
