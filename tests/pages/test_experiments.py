"""Tables of experiments hold all that is known, also where a part of it is run here."""

import importlib.util
import json
import sys
from types import ModuleType

import pytest

from policylearn.registry.known import ESTIMATORS

from .blocks import REPOSITORY

HOURS = [
    *[
        "difference",
        "diffusion",
        "domain_policies",
        "explore",
        "forecast",
        "horizon",
        "kinds",
        "larger_model",
        "patches",
    ],
    *["planted", "proteins", "real_tasks", "second_step", "validity"],
]
SCORES_OF = {"patches": ["fashion", "test"], "second_step": ["trec6"]}


def run_of(name: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """experiments/NAME/run.py, as Python runs it: with its folder on the path."""
    folder = REPOSITORY / "experiments" / name
    files = {str(path) for path in folder.glob("*.py") if path.name != "run.py"}
    monkeypatch.syspath_prepend(folder)
    spec = importlib.util.spec_from_file_location(f"experiments_{name}", folder / "run.py")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    monkeypatch.setattr(ESTIMATORS, "members", dict(ESTIMATORS.members))  # some bring estimators of their own
    monkeypatch.setattr(ESTIMATORS, "origins", dict(ESTIMATORS.origins))
    spec.loader.exec_module(module)
    for beside in [known for known, found in sys.modules.items() if getattr(found, "__file__", None) in files]:
        del sys.modules[beside]  # other folders have files of these names
    return module


def test_a_later_arm_leaves_the_others_their_seeds(monkeypatch):
    difference = run_of("difference", monkeypatch)
    before, known = difference.complete(), difference.read_lines(difference.LINES)
    later = next(x for x in known if x["task"] == "acl_arc") | {"arm": "joint, words", "seed": 3}
    monkeypatch.setattr(difference, "read_lines", lambda path: [*known, later])
    after = difference.complete()
    assert after["acl_arc"].pop("joint, words").keys() == {0, 3}  # one alone, which is there, has no interval
    assert after == before
    assert difference.written(before) == json.loads((difference.FOLDER / "result.json").read_text("utf-8"))
    assert any("joint, words (seeds: 2)" in line for line in difference.table(difference.complete()))


def test_a_kind_that_is_run_here_leaves_the_others(monkeypatch, tmp_path):
    kinds, written = run_of("kinds", monkeypatch), {}
    monkeypatch.setattr(kinds, "RUNS", tmp_path)
    monkeypatch.setattr(kinds, "write_up", lambda folder, result, table: written.update(result))
    scores = {arm: [0.5, 0.6] for arm in ("random", "learned")}
    arms = {arm: {"scores": one} for arm, one in scores.items()}
    (tmp_path / "pairs").mkdir()
    result = {"metric": "accuracy", "arms": arms, "extra": {"finetune@200": scores}}
    (tmp_path / "pairs" / "result.json").write_text(json.dumps(result))
    monkeypatch.setattr(sys, "argv", ["run.py", "--table"])
    kinds.main()
    assert written["pairs"]["scores"]["probe@200"] == scores
    before = json.loads((kinds.FOLDER / "result.json").read_text("utf-8"))
    assert written.keys() == before.keys()
    assert written["tagging"] == before["tagging"]


@pytest.mark.parametrize("name", ["second_step", "patches"])
def test_a_seed_that_one_arm_lacks_is_left_out_of_all(name, monkeypatch):
    module = run_of(name, monkeypatch)
    read, given = module.read_lines, SCORES_OF[name]
    before = module.scores_by_arm(*given)

    def lacking(path):
        return [x for x in read(path) if (x["arm"], x["seed"]) != (module.RANDOM, 3)]

    monkeypatch.setattr(module, "read_lines", lacking)
    after = module.scores_by_arm(*given)
    assert after == {arm: scores[:3] + scores[4:] for arm, scores in before.items()}


def test_a_table_of_pictures_asks_for_no_pictures(monkeypatch, tmp_path):
    patches, written = run_of("patches", monkeypatch), {}
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(patches, "FASHION", tmp_path / "nowhere")
    monkeypatch.setattr(patches, "write_up", lambda folder, result, table: written.update(result))
    monkeypatch.setattr(sys, "argv", ["run.py", "--table"])
    patches.main()
    assert written == json.loads((patches.FOLDER / "result.json").read_text("utf-8"))


@pytest.mark.parametrize("name", HOURS)
def test_what_an_experiment_does_not_know_starts_nothing(name, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["run.py", "no-such-name"])
    with pytest.raises(SystemExit, match="2"):
        run_of(name, monkeypatch).main()
    assert "no-such-name" in capsys.readouterr().err
