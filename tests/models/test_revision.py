"""A revision of a model on the Hub: of its weights and of its tokenizer, as its name is of both."""

import json
import os
import subprocess
import sys

import pytest

from policylearn.config import load_config
from policylearn.evaluation.identity import evidence_key
from policylearn.problems.of_config import problem_of
from policylearn.runs.provenance import provenance

SCRIPT = """
import sys
from policylearn.config import load_config
from policylearn.problems.of_config import problem_of
for settings in ([], ["model.revision=old"]):
    problem = problem_of(load_config(sys.argv[1], ["model.name=org/bert", *settings]))
    print(problem.fresh_model(0).mlm.config.intermediate_size, problem.tokenizer.model_max_length)
"""


@pytest.fixture
def hub(tiny_problem, tiny, tmp_path):
    """A cache of the Hub with the branches main and old of org/bert, which differ in width and tokenizer."""
    repository = tmp_path / "hub" / "models--org--bert"
    (repository / "refs").mkdir(parents=True)
    for number, (branch, width) in enumerate({"main": 32, "old": 24}.items()):
        sha = str(number) * 40
        (repository / "refs" / branch).write_text(sha)
        folder = repository / "snapshots" / sha
        model = problem_of(tiny(f"model.architecture.intermediate_size={width}")).fresh_model(0).mlm
        model.save_pretrained(folder)
        tiny_problem.tokenizer.save_pretrained(folder)
        settings = json.loads((folder / "tokenizer_config.json").read_text())
        (folder / "tokenizer_config.json").write_text(json.dumps(settings | {"model_max_length": 10 * width}))
    return tmp_path / "hub"


@pytest.mark.long
def test_weights_and_tokenizer_are_those_of_the_revision(hub, tiny_toml):
    environment = {**os.environ, "HF_HUB_CACHE": str(hub), "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-c", SCRIPT, str(tiny_toml)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.stdout.split("\n")[:2] == ["32 320", "24 240"], done.stderr


def test_a_folder_has_none(tiny_problem, tiny, tmp_path):
    tiny_problem.fresh_model(0).mlm.save_pretrained(tmp_path)
    tiny_problem.tokenizer.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"is a folder, which has no revision 'v1': unset model\.revision"):
        _ = problem_of(tiny(f"model.name={tmp_path}", "model.revision=v1")).tokenizer


def test_it_is_kept_with_results_and_no_part_of_a_trial(tiny, tiny_problem, tmp_path):
    config = tiny("model.revision=v1")
    assert provenance(config)["revision"] == "v1"
    assert "revision" not in provenance(load_config(None))
    assert evidence_key(problem_of(config)) == evidence_key(tiny_problem)
