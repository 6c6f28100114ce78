"""Old names of settings go on working, wherever they stand, and one line says the new one."""

import json
import warnings

import pytest

from policylearn.config import Config, changes, load_config, resolved_json
from policylearn.config.renamed import RENAMED, VALUES, rename

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
        assert reach(tree, new) is not None or new.endswith(("_words", "_model", ".column", ".model"))  # unset
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
    with pytest.raises(ValueError, match=r"unknown key 'scores\.anchors'; did you mean 'scores\.difference\.anchors'"):
        load_config(path)


def test_what_an_earlier_version_left_is_the_same_run_today():
    config = load_config(None, ["scores.difference.anchors=20", "scores.column.name=own", "scores.amlm.every=9"])
    left = json.loads(resolved_json(config))
    for old, new in RENAMED.items():
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
