"""Configs and runs of earlier versions, in which some settings had another name."""

import json
import warnings

import pytest

from policylearn.commands.train import train
from policylearn.config import Config, changes, load_config, resolved_json
from policylearn.config.renamed import CREDITED

EARLIER = '[learn]\nmethod = "meta"\n[diagnose]\npoints = 2\nbatches = 7\nleast = 5\n'


def earlier(config: Config) -> dict:
    """The settings of a config as an earlier version wrote them."""
    found = json.loads(resolved_json(config))
    credit = found.pop("credit")
    found["diagnose"] |= {name: credit[name] for name in CREDITED}
    (stage,) = found["learn"].pop("stages")
    found["learn"]["method"] = {"rounds": "meta"}.get(stage, stage)
    return found


def test_a_file_of_an_earlier_version_means_what_it_meant_and_a_line_says_the_new_name(tmp_path):
    (tmp_path / "a.toml").write_text(EARLIER)
    with pytest.warns(FutureWarning) as said:
        config = load_config(tmp_path / "a.toml", ["diagnose.points=4", "diagnose.batches="])
    assert (config.credit.points, config.credit.batches, config.diagnose.least) == (4, 24, 5)
    assert config.learn.stages == ["rounds"]
    assert [str(line.message) for line in said] == [
        "learn.method is called learn.stages now",
        "diagnose.points is called credit.points now",
        "diagnose.batches is called credit.batches now",
    ]


def test_names_of_today_say_nothing():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load_config(None, ["learn.stages=[expected]", "policy.prior={}", "credit.points=2", "diagnose.least=2"])


@pytest.mark.parametrize("override", ["diagnose.points=0", "learn.method=magic"])
def test_what_is_wrong_is_told_under_the_name_of_today(override):
    with (
        pytest.warns(FutureWarning),
        pytest.raises(ValueError, match=rf"override {override}: (credit\.|learn\.stages)"),
    ):
        load_config(None, [override])


def test_both_names_at_once_are_refused(tmp_path):
    (tmp_path / "a.toml").write_text(EARLIER + "[credit]\npoints = 3\n")
    with (
        pytest.warns(FutureWarning),
        pytest.raises(ValueError, match=r"'diagnose\.points'; it is called 'credit\.points'"),
    ):
        load_config(tmp_path / "a.toml")


@pytest.mark.parametrize("stage", ["rounds", "supervised"])
def test_the_settings_of_an_earlier_run_are_known_again(tiny, stage):
    more = ("supervised.targets=importance", "policy.network=context") if stage == "supervised" else ()
    config = tiny(f"learn.stages=[{stage}]", "credit.points=2", "credit.examples=20", *more)
    assert Config.model_validate(earlier(config)) == config
    assert changes(earlier(config), config) == ""
    assert changes(earlier(config), tiny(f"learn.stages=[{stage}]", "credit.points=2", *more)) == (
        "credit.examples was 20, now None"
    )


def test_a_run_of_an_earlier_version_is_gone_on_with(tiny, tmp_path, quiet, finished):
    settings = ("learn.rounds=1", "evaluate.seeds=0")
    train(tiny(*settings), tmp_path / "run", quiet)
    exported = (tmp_path / "run" / "policy" / "policy.safetensors").read_bytes()
    (tmp_path / "run" / "result.json").unlink()
    (tmp_path / "run" / "config.json").write_text(json.dumps(earlier(tiny(*settings))))
    before = (tmp_path / "run" / "metrics.jsonl").read_text()
    train(tiny(*settings), tmp_path / "run", quiet)
    assert (tmp_path / "run" / "metrics.jsonl").read_text() == before  # the round was not run again
    assert (tmp_path / "run" / "policy" / "policy.safetensors").read_bytes() == exported
