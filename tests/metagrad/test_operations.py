"""How many operations a step starts: what a small model waits for on a GPU."""

import subprocess
import sys
from pathlib import Path

import pytest

MOST = {"plain": 800, "finite_difference": 3_500, "replay": 5_000}
"""Per inner step; a plain one has 1,300 where an optimiser goes over parameters one by one."""


@pytest.mark.long
def test_engines_start_no_more_operations_than_they_need():
    script = Path(__file__).parents[2] / "experiments" / "bench_metagrad" / "operations.py"
    done = subprocess.run([sys.executable, str(script), *MOST], capture_output=True, text=True, check=True)
    counts = {name: int(count.replace(",", "")) for name, count in map(str.split, done.stdout.splitlines())}
    assert {name: counts[name] for name in MOST if not counts[name] <= MOST[name]} == {}
