"""The command line on addresses instead of folders."""

import json
import re

import pytest

from policylearn.storage.folder import Storage


def test_every_command_takes_an_address(policylearn, tiny_toml, s3):
    run, copy, comparison = s3("run"), s3("copy"), s3("comparison")
    settings = (tiny_toml, "learn.rounds=2", "learn.rollouts=1")
    status, out, err = policylearn("train", *settings, "evaluate.seeds=0", "--out", run)
    assert (status, err) == (0, "")
    policy, report = (str(Storage.at(run) / name) for name in ("policy", "report.html"))
    assert f"report  {report}\npolicy  {policy}" in out
    assert f"{run} is finished" in policylearn("train", *settings, "evaluate.seeds=0", "--out", run)[1]
    status, out, _ = policylearn("export", run, "--out", copy, "--round", 1)
    assert (status, out.split()) == (0, ["policy", copy])
    assert policylearn("inspect", copy, "class0_01 generic_003")[0] == 0
    arms = ("evaluate.seeds=1", 'evaluate.arms=["random"]', "--policy", f"learned={policy}")
    status, out, _ = policylearn("evaluate", *settings, *arms, "--out", comparison)
    assert (status, f"result  {Storage.at(comparison) / 'result.json'}" in out) == (0, True)
    assert f"report  {Storage.at(comparison) / 'report.html'}" in out
    assert list(json.loads(Storage.at(comparison).read("result.json"))["arms"]) == ["random", "learned"]


def test_a_bucket_that_does_not_exist_is_one_message_and_status_1(policylearn, tiny_toml, s3):
    out = re.sub("//bucket", "//none", s3("run"))
    status, _, err = policylearn("train", tiny_toml, "--out", out)
    assert status == 1
    assert f"error  {Storage.at(out) / 'config.json'} cannot be reached or used: " in err
    assert "bucket does not exist" in err
    assert "Traceback" not in err


@pytest.mark.parametrize("command", ["train", "evaluate"])
def test_an_address_that_is_none_is_a_mistake(policylearn, tiny_toml, command):
    status, _, err = policylearn(command, tiny_toml, "--out", "s3://key:secret@bucket/run")
    assert status == 2
    assert err.startswith("error  a password in a s3:// address")
    assert "secret" not in err
