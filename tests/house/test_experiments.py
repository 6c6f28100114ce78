"""Experiments are run by hand and cost hours: that they call what there is must not be found out by them."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = sorted({path.parent for path in (ROOT / "experiments").rglob("*.py")})


@pytest.mark.long
@pytest.mark.timeout(900)
def test_experiments_call_what_there_is(tmp_path):
    """By mypy, a folder after the other: nothing of the package is imported that is not there, and no function is given
    arguments that it does not take, or fewer."""
    shared = ["--config-file", str(ROOT / "pyproject.toml"), "--cache-dir", str(tmp_path), "--no-error-summary"]
    wrong = []
    for folder in FOLDERS:
        command = [sys.executable, "-m", "mypy", *shared, *sorted(path.name for path in folder.glob("*.py"))]
        said = subprocess.run(command, cwd=folder, capture_output=True, text=True).stdout.splitlines()
        wrong += [f"{folder.name}/{x}" for x in said if x.endswith("[call-arg]") or 'Module "policylearn' in x]
    assert len(FOLDERS) > 30 and not wrong
