"""The scripts of configs/, as they are run, cells and all."""

import csv
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from policylearn.config import PlantedConfig
from policylearn.data.planted import planted_task, planted_tokenizer

from ..conftest import tiny_bert

CONFIGS = Path(__file__).parents[2] / "configs"
WORDS = PlantedConfig(train=120, documents=60)


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    """A table of labelled texts and a model in a folder."""
    folder = tmp_path_factory.mktemp("practitioner")
    rows = planted_task(WORDS).splits["train"]
    with open(folder / "task.csv", "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["text", "label"], *zip(rows.texts, rows.labels, strict=True)])
    tokenizer = planted_tokenizer(WORDS)
    tokenizer.save_pretrained(folder / "model")
    tiny_bert(len(tokenizer)).save_pretrained(folder / "model")
    return [str(folder / "task.csv"), str(folder / "model")]


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("researcher", r"middling\*? +\.\d+ ±"),
        pytest.param(
            "practitioner",
            r"learned\*? +\.\d+ ±[\s\S]*policylearn pretrain runs/mine/config\.json --policy runs/mine",
            marks=pytest.mark.long,  # its calls are tested one by one
        ),
        pytest.param("cluster", r"\{'random': \[.*\], 'learned': \[", marks=pytest.mark.long),
    ],
)
def test_a_script_runs(script, said, given, tmp_path):
    words = [*(given if script == "practitioner" else []), "runs/mine"]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(CONFIGS / f"{script}.py"), *words]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(said, done.stdout), done.stdout


@pytest.mark.parametrize("script", ["researcher", "practitioner", "cluster"])
def test_a_script_is_cells(script):
    cells = (CONFIGS / f"{script}.py").read_text(encoding="utf-8").split("\n# %% ")
    assert len(cells) >= 4 and len(cells[0].splitlines()) <= 6


@pytest.mark.parametrize("words", [["-f", "kernel-1.json"], ["--f=kernel-1.json"]])
@pytest.mark.parametrize("script", ["researcher", "practitioner", "cluster"])
def test_in_a_notebook_what_its_kernel_was_started_with_is_nothing_given(script, words, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["ipykernel_launcher.py", *words])
    monkeypatch.setitem(sys.modules, "ipykernel", sys)
    beginning, known = re.split(r"(?m)(?<=OUT = )(.*)$", (CONFIGS / f"{script}.py").read_text(encoding="utf-8"))[:2], {}
    exec("".join(beginning), known)
    assert known["OUT"] == f"runs/{script}" and known.get("CSV", "my/task.csv") == "my/task.csv"
