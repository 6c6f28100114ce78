import runpy
import tomllib
from pathlib import Path

import pytest

from policylearn.arms.arms import check_arms
from policylearn.config import load_config, load_study
from policylearn.config.idle import idle_settings

FOLDER = Path(__file__).parents[2] / "configs"
FILES = sorted(FOLDER.glob("**/*.toml"))


def test_there_are_configs():
    assert {path.name for path in FILES} >= {"demo.toml", "acl_arc.toml", "chemprot.toml"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_config_loads_and_its_arms_are_known(path):
    check_arms(load_config(path))
    assert not idle_settings(load_config(path))


def test_the_demo_spells_out_the_defaults_but_for_its_rounds():
    shorter = load_config(None, ["learn.rounds=8"])
    written, defaults = tomllib.loads((FOLDER / "demo.toml").read_text(encoding="utf-8")), shorter.model_dump()
    for section, values in written.items():
        for key, value in values.items() if isinstance(values, dict) else ():
            assert defaults[section][key] == value, f"{section}.{key}"
    assert load_config(FOLDER / "demo.toml") == shorter


def test_one_s_own_task_has_the_recipe_that_won():
    """But for what belongs to the task, its data and the model."""
    own, won = (load_config(FOLDER / f"{name}.toml").model_dump() for name in ("own_task", "credits"))
    for section in ("policy", "masking", "inner", "outer", "credit", "learn"):
        assert own[section] == won[section], section
    assert own["evaluate"]["arms"] == won["evaluate"]["arms"]


def test_from_scratch_has_the_recipe_of_its_experiment(monkeypatch):
    """But for what it does not read: engine and windows of rounds, of which there are none."""
    monkeypatch.chdir(FOLDER.parent)  # the paths of studies are relative to it
    study = load_study("experiments/early/study.toml", [])
    given, learned = study.tasks["gentle"], runpy.run_path("experiments/early/run.py")["LEARNED"]
    tried = load_config(given.config, [*study.set, *given.set, *learned]).model_dump()
    recipe = load_config(FOLDER / "from_scratch.toml").model_dump()
    for section in ("model", "masking", "policy", "outer", "credit", "strength"):
        assert recipe[section] == tried[section], section
    for key in set(recipe["inner"]) - {"engine", "window", "every", "credit_batches"}:
        assert recipe["inner"][key] == tried["inner"][key], key
    assert recipe["learn"]["stages"] == tried["learn"]["stages"]
