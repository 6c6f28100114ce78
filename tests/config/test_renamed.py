"""Old names of settings go on working, wherever they stand, and one line says the new one."""

import json
import warnings

import pytest

from policylearn.commands.train import train
from policylearn.config import Config, changes, load_config, resolved_json
from policylearn.config.renamed import RENAMED, VALUES, rename

CREDITED = ("points", "batches", "batch_size", "examples", "folds", "resplits")
OLD = """
[scores]
words = 7
anchors = 20
column = "own"
pos_column = "upos"
pos_weights = { X = 2.0 }
entity_model = "model.bin"
"""


def test_every_new_name_is_one_and_no_old_one_is():
    tree = json.loads(resolved_json(Config()))
    for old, new in RENAMED.items():
        section, _, leaf = new.rpartition(".")
        assert leaf in reach(tree, section)
        assert old not in resolved_json(Config())
        assert not isinstance(reach(tree, old), int | float | str)


def reach(tree, key):
    for part in key.split("."):
        tree = tree.get(part) if isinstance(tree, dict) else None
    return tree


def test_a_file_of_old_names_reads_as_one_of_new_ones(tmp_path):
    path = tmp_path / "old.toml"
    path.write_text(OLD)
    (tmp_path / "model.bin").write_text("")
    with pytest.warns(FutureWarning) as said:
        config = load_config(path, ["scores.anchors=30", "scores.difference.anchor_count=5", "scores.pos_column="])
    new = tmp_path / "new.toml"
    new.write_text(
        "[scores]\nwords = 7\n[scores.difference]\nanchors = 30\nanchor_count = 5\n[scores.column]\nname = 'own'\n"
        "[scores.pos_column]\nweights = {X = 2.0}\n[scores.entity]\nmodel = 'model.bin'\n"
    )
    with warnings.catch_warnings(action="error"):
        assert load_config(new) == config
    assert config.scores.entity.model == f"{tmp_path}/model.bin"  # a place is one under either name
    lines = [str(one.message) for one in said]
    assert f"{path}: scores.anchors is called scores.difference.anchors now" in lines
    assert "override scores.anchors=30: scores.anchors is called scores.difference.anchors now" in lines
    assert len(lines) == 7 and all("\n" not in line for line in lines)


def test_what_is_wrong_with_a_value_is_said_of_the_line_as_it_was_given(tmp_path):
    with pytest.warns(FutureWarning), pytest.raises(ValueError) as error:
        load_config(None, ["scores.anchors=0"])
    assert str(error.value).startswith("override scores.anchors=0: scores.difference.anchors: Input should be greater")


def test_a_setting_under_both_names_is_not_guessed(tmp_path):
    path = tmp_path / "both.toml"
    path.write_text("[scores]\nanchors = 3\n[scores.difference]\nanchors = 4\n")
    with pytest.raises(ValueError, match=r"unknown key 'scores\.anchors'; it is called 'scores\.difference\.anchors'"):
        load_config(path)


def test_what_an_earlier_version_left_is_the_same_run_today():
    config = load_config(None, ["scores.difference.anchors=20", "scores.column.name=own", "scores.amlm.every=9"])
    left = json.loads(resolved_json(config))
    for old, new in RENAMED.items():
        if not old.startswith("scores."):
            continue
        section, leaf = new.rsplit(".", 1)
        left.setdefault("old", {})[old] = reach(left, section)[leaf]
    left["scores"] = {k: v for k, v in left["scores"].items() if not isinstance(v, dict)}
    left["scores"] |= {old.removeprefix("scores."): value for old, value in left.pop("old").items()}
    with warnings.catch_warnings(action="error"):
        assert Config.model_validate_json(json.dumps(left)) == config and changes(left, config) == ""
    other = load_config(None, ["scores.difference.anchors=20", "scores.column.name=own"])
    assert changes(left, other) == "scores.amlm.every was 9, now 200"


def test_a_value_may_be_another_and_a_section_that_is_empty_goes(monkeypatch):
    monkeypatch.setitem(RENAMED, "diagnose.method", "learn.stages")
    monkeypatch.setitem(VALUES, "diagnose.method", lambda method: [method])
    tree = {"diagnose": {"method": "meta"}, "learn": {"rounds": 3}}
    assert rename(tree) == {"learn": {"rounds": 3, "stages": ["meta"]}}
    assert tree == {"diagnose": {"method": "meta"}, "learn": {"rounds": 3}}


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
    lines = [str(line.message).partition(": ")[2] for line in said]
    assert set(lines) == {
        "learn.method is called learn.stages now",
        "diagnose.points is called credit.points now",
        "diagnose.batches is called credit.batches now",
    }


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
        pytest.raises(ValueError, match=r"unknown key 'diagnose\.points'"),
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
