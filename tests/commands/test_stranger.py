"""A stranger's model in a whole run, a run where a policy is meant, and help that shows all that was written."""

import json
import re
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file

from policylearn import PolicyCollator, load_policy
from policylearn.cluster.calls import Failure
from policylearn.cluster.pool import LocalPool
from policylearn.commands.export import open_policy
from policylearn.problems.of_config import problem_of

SAID = "the MLM head was not in the checkpoint: it starts from random weights"


@pytest.fixture
def headless(tiny, tiny_problem, tmp_path):
    """A checkpoint of an encoder, with its tokenizer."""
    folder = tmp_path / "encoder"
    tiny_problem.fresh_model(0).mlm.save_pretrained(folder)
    tiny_problem.tokenizer.save_pretrained(folder)
    file = folder / "model.safetensors"
    weights = {name: t for name, t in load_file(file).items() if not name.startswith("cls.")}
    save_file(weights, file, metadata={"format": "pt"})
    return folder


def test_a_head_that_starts_at_random_is_said_wherever_results_are_read(policylearn, headless, tiny_toml, tmp_path):
    settings = (tiny_toml, f"model.name={headless}", "learn.rounds=1", "evaluate.arms=[random,learned]")
    out = tmp_path / "run"
    status, said, _ = policylearn("train", *settings, "--out", out)
    assert status == 0
    assert " ".join(said.split()).count(SAID) == 1
    assert SAID in json.loads((out / "result.json").read_text())["provenance"]["remark"]
    assert SAID in (out / "report.html").read_text()
    assert SAID in (out / "policy" / "README.md").read_text()
    assert SAID in load_policy(out).provenance["remark"]
    status, said, _ = policylearn("evaluate", *settings, "--policy", f"learned={out}", "--out", tmp_path / "again")
    assert status == 0
    assert SAID in said
    assert SAID in (tmp_path / "again" / "report.html").read_text()
    status, said, _ = policylearn("score", *settings, "--scorer", "loss", "--out", tmp_path / "loss")
    assert SAID in said
    assert SAID in (tmp_path / "loss" / "README.md").read_text()
    assert SAID not in policylearn("score", *settings, "--scorer", "tficf")[1]  # which asks no model


def test_of_a_whole_model_nothing_is_said(finished):
    assert "remark" not in json.loads((finished / "result.json").read_text())["provenance"]


def test_a_run_stands_for_its_policy_everywhere(policylearn, finished, tiny, tmp_path):
    wanted = load_policy(finished / "policy").policy.state_dict()
    tokenizer = load_policy(finished).tokenizer
    for found in (
        load_policy(finished).policy,
        open_policy(finished).policy,
        PolicyCollator.from_pretrained(finished, tokenizer=tokenizer).policy,
        load_policy(f"file://{finished}").policy,
    ):
        assert all(torch.equal(found.state_dict()[name], tensor) for name, tensor in wanted.items())
    from policylearn.arms.arms import initial_policy

    assert initial_policy(problem_of(tiny(f"learn.start={finished}"))) is not None
    assert policylearn("inspect", finished, "class0_01 generic_003")[0] == 0
    (tmp_path / "metrics.jsonl").write_text("")
    with pytest.raises(ValueError, match="is a run that has exported no policy yet"):
        load_policy(tmp_path)


def test_help_shows_what_stands_in_brackets(policylearn, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    assert "(a file with [tasks])" in " ".join(policylearn("evaluate", "--help")[1].split())


def test_words_in_brackets_are_shown_and_not_taken_for_markup(policylearn, tiny_toml, tmp_path):
    out = tmp_path / "[red]run"
    status, said, _ = policylearn("train", tiny_toml, "learn.rounds=1", "evaluate.seeds=0", "--out", out)
    assert status == 0
    assert f"{out}/report.html" in said


def test_bad_input_found_by_a_worker_is_no_stop_to_continue_from(tiny):
    def refuse(problem, number):
        raise ValueError("column 'x' is not there")

    pool = LocalPool(tiny())
    (result,) = pool.results(pool.submit(refuse, [(3,)]))
    assert result.failure == Failure("bad input", "column 'x' is not there")
    with pytest.raises(ValueError, match=r"refuse\(3\) failed: column 'x' is not there\nSee it"):
        replace(result, advice="See it").required()


def test_counts_are_called_counts(policylearn, tiny_toml):
    assert re.search(r"times in domain .* times in general", policylearn("score", tiny_toml, "--scorer", "oracle")[1])
