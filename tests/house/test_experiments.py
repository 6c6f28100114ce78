"""Experiments are run by hand and cost hours: that they call what there is must not be found out by them."""

import subprocess
import sys
from pathlib import Path

import pytest

EXPERIMENTS = Path(__file__).parents[2] / "experiments"
FOLDERS = sorted({path.parent for path in EXPERIMENTS.rglob("*.py")})


@pytest.mark.long
@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: str(folder.relative_to(EXPERIMENTS)))
def test_experiments_call_what_there_is(folder):
    """By mypy: no function is given arguments that it does not take, nothing is imported that is not there."""
    files = [path.name for path in sorted(folder.glob("*.py"))]
    config = EXPERIMENTS.parent / "pyproject.toml"
    command = [sys.executable, "-m", "mypy", "--config-file", str(config), "--no-error-summary", *files]
    said = subprocess.run(command, cwd=folder, capture_output=True, text=True).stdout.splitlines()
    wrong = ("[call-arg]", "[attr-defined]", "[name-defined]", "[misc]")
    assert not [line for line in said if line.endswith(wrong)]
