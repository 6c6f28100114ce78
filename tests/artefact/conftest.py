import shutil

import pytest


@pytest.fixture
def folder(saved_policy, tmp_path):
    """A copy of a saved policy, to be damaged."""
    return shutil.copytree(saved_policy, tmp_path / "policy")
