import pytest

from policylearn.problem import Problem

QUICK = ("credit.points=2", "credit.batches=3", "diagnose.shuffles=1", "diagnose.least=2", "diagnose.draws=50")


@pytest.fixture(scope="module")
def problem(tiny):
    return Problem(tiny(*QUICK))
