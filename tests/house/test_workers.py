"""Tests that run on several workers of pytest-xdist."""

import pytest


def test_the_tests_of_a_file_stay_on_one_worker(request):
    """A version of pytest passed over groups: what a file shares was made twice, two clusters started at a time."""
    if not hasattr(request.config, "workerinput") or not request.config.getvalue("loadgroup"):
        pytest.skip("one worker has all tests, or they are not grouped")
    assert request.node.nodeid.endswith("test_workers.py")  # the group, behind an @
