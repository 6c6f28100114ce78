import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from .blocks import REPOSITORY


@pytest.fixture(scope="session")
def clone(tmp_path_factory) -> Path:
    """What a fresh clone would hold, with the changes that are not committed yet."""
    folder = tmp_path_factory.mktemp("clone")
    for name in subprocess.check_output(["git", "ls-files"], cwd=REPOSITORY, text=True).splitlines():
        if (REPOSITORY / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(REPOSITORY / name, folder / name)
    return folder


@pytest.fixture(scope="session")
def follow():
    """`follow(folder, steps, NAME="value", …)`: how each step ended, in a process that starts in `folder`, with such
    environment variables; see follow.py."""
    return followed


def followed(folder: Path, steps: list[dict], **environment: str) -> list[str]:
    """How each step ended, in a process that starts in `folder`."""
    places = [folder / name for name in ("steps.json", "outcomes.json")]
    places[0].write_text(json.dumps(steps), encoding="utf-8")
    home = {"HOME": str(folder / "home"), "HF_HOME": str(folder / "home" / "hf"), "PYTHONPATH": str(folder)}
    told = {**os.environ, **home, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", **environment}
    command = [sys.executable, str(Path(__file__).parent / "follow.py"), *map(str, places)]
    done = subprocess.run(command, cwd=folder, env=told, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    print(done.stdout)
    return json.loads(places[1].read_text(encoding="utf-8"))
