import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import policylearn

PACKAGE = Path(policylearn.__file__).parent
HEAVY = ["ray", "higher", "datasets", "sklearn", "typer", "rich", "matplotlib"]

USE_A_POLICY = """
import json, sys
import policylearn.trainers
light = sorted(set({heavy}) & set(sys.modules)) + sorted({{"torch", "transformers"}} & set(sys.modules))
from policylearn import PolicyCollator
from policylearn.trainers import EpochCallback
collator = PolicyCollator.from_pretrained({folder!r})
batch = collator([{{"input_ids": collator.tokenizer("class0_01 generic_003")["input_ids"]}}])
assert (batch["labels"] != -100).any()
PolicyCollator.from_scorer("tficf", collator.tokenizer, ["class0_01 generic_001"], ["generic_001 generic_002"])
print(json.dumps([light, sorted({{*{heavy}, "pyarrow"}} & set(sys.modules))]))
"""


def imported_by(source: Path) -> set[str]:
    """Top-level names of all modules a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            found.add(node.module or "")
    return {name.partition(".")[0] for name in found}


IMPORTS = {str(path.relative_to(PACKAGE)): imported_by(path) for path in sorted(PACKAGE.rglob("*.py"))}


def importers(module: str) -> set[str]:
    return {name for name, modules in IMPORTS.items() if module in modules}


def test_using_a_policy_or_scores_of_texts_loads_nothing_that_only_learning_needs(saved_policy):
    script = USE_A_POLICY.format(heavy=HEAVY, folder=str(saved_policy))
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    after_import, after_use = json.loads(done.stdout.splitlines()[-1])
    assert after_import == [], "`import policylearn` alone should cost nothing"
    assert after_use == []


def test_ray_is_imported_under_cluster_only():
    assert importers("ray") and all(name.startswith("cluster/") for name in importers("ray"))


def test_higher_is_imported_in_one_file():
    assert importers("higher") == {"metagrad/unroll.py"}


def test_datasets_is_imported_in_one_file():
    assert importers("datasets") == {"data/hub.py"}


def test_file_systems_are_opened_and_used_in_two_files():
    assert importers("pyarrow") == {
        "storage/filesystem.py",
        "storage/folder.py",
        "data/formats.py",
    }  # Parquet, the last
    assert importers("fsspec") == {"storage/filesystem.py"}


def test_the_test_splits_are_opened_by_those_who_have_chosen():
    """A trial with its last line; and importance targets, which an experiment asks of test when all is learned."""
    found = {name for name in IMPORTS if ".tests()" in (PACKAGE / name).read_text(encoding="utf-8")}
    assert found == {"adapt/downstream.py", "learning/supervised/importance.py"}


def test_the_scan_sees_what_there_is_to_see(tmp_path):
    source = tmp_path / "x.py"
    source.write_text(
        "import ray.util as u\ndef f():\n    from higher.optim import X\nfrom .ray import y\n# import dask\n"
    )
    assert imported_by(source) == {"ray", "higher"}


@pytest.mark.parametrize("name", policylearn.__all__)
def test_public_names_are_there(name):
    assert getattr(policylearn, name).__name__ == name


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="has no attribute 'Collator'"):
        policylearn.Collator  # noqa: B018


@pytest.mark.parametrize("command", ["train", "pretrain", "evaluate", "score", "diagnose", "adapt"])
def test_a_wrong_key_is_told_before_what_a_command_needs_is_imported(command):
    """Which takes seconds, and settings none."""
    code = f"""
import sys
from policylearn.cli import main
sys.argv = ["policylearn", "{command}", "inner.stepz=3"]
try:
    main()
finally:
    print("imported:", *sorted({{"torch", "transformers", "ray"}} & set(sys.modules)))
"""
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert found.returncode == 2 and "did you mean 'inner.steps'?" in found.stderr
    assert found.stdout.strip() == "imported:"


def test_a_command_starts_without_what_is_needed_at_its_end_alone():
    """scikit-learn, which probes are fitted with, and matplotlib take a second each, of every worker too."""
    code = """
import sys
import policylearn.commands.train, policylearn.cluster.ray_worker
print(*sorted({"sklearn", "matplotlib", "pandas", "datasets"} & set(sys.modules)))
"""
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == ""
