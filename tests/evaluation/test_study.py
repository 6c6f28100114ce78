import copy
import json
import shutil

import numpy as np
import pytest

from policylearn.config import is_study, load_config, load_study
from policylearn.config.data import metrics_of
from policylearn.evaluation.compare import evaluate_policies
from policylearn.evaluation.pooling import best_baseline, check_same_unit, pool_results, pooled
from policylearn.evaluation.study import FILES, run_study
from policylearn.evaluation.summary import summarise
from policylearn.evaluation.trial import Trial
from policylearn.registry.known import KINDS
from policylearn.report.formats import MISSING, SHARES, scale_of
from policylearn.report.study import intervals, study_lines, unit_of
from policylearn.report.study import rows as study_rows
from policylearn.report.study_page import interval_plot, render_study
from policylearn.report.svg import arm_css
from policylearn.runs.stop import INTERRUPTED

STUDY = """
name = "small"
arms = ["none", "random", "random-30"]
seeds = 2
set = ["inner.steps=3"]
[tasks.one]
config = "{config}"
[tasks.two]
config = "{config}"
set = ["planted.seed=5", "inner.steps=4"]
policies = {{ mine = "{policy}" }}
"""


@pytest.fixture
def study_file(tmp_path, tiny_toml, finished):
    path = tmp_path / "study.toml"
    path.write_text(STUDY.format(config=tiny_toml, policy=finished / "policy"), encoding="utf-8")
    return path


def test_a_study_is_known_by_its_tasks(study_file, tiny_toml):
    assert is_study(study_file) and not is_study(tiny_toml)


def test_every_task_has_the_arms_seeds_and_settings_of_the_study_and_its_own(study_file):
    study = load_study(study_file, ["inner.batch_size=4"])
    one, two = study.config_of("one"), study.config_of("two")
    assert one.evaluate.arms == ["none", "random", "random-30"] and two.evaluate.arms == [*one.evaluate.arms, "mine"]
    assert (one.inner.steps, two.inner.steps, two.planted.seed) == (3, 4, 5)
    assert one.evaluate.seeds == two.evaluate.seeds == 2
    assert one.inner.batch_size == two.inner.batch_size == 4


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('name = "small"', "", "study.toml: name: Field required"),
        ("seeds = 2", "sedes = 2", r"study.toml: unknown key 'sedes'; did you mean 'seeds'\?"),
        ('"random", ', "", r"study.toml: reference 'random' is not among the arms \['none', 'random-30'\]"),
        ("seeds = 2", "sedes = 2\nwhat = 1", r"'seeds'\?\n.*study.toml: unknown key 'what'"),
        ("tasks.one", 'tasks.""', "study.toml: task '' names a folder"),
        ("tasks.one", 'tasks."../one"', r"study.toml: task '../one' names a folder"),
        ("inner.steps=3", "inner.stepz=3", "override inner.stepz=3: unknown key 'inner.stepz'"),
        ('config = "', 'config = "nowhere', "config file nowhere.* does not exist"),
        ('"planted.seed=5"', '"evaluate.seeds=5"', r"evaluate\.seeds=5: a study has its own; set `seeds` in .*study"),
        ('set = ["inner.steps=3"]', 'set = "inner.steps=3"', r"study.toml: set: .*list"),
    ],
)
def test_mistakes_are_named_before_anything_runs(study_file, old, new, message):
    study_file.write_text(study_file.read_text().replace(old, new, 1))
    with pytest.raises(ValueError, match=message):
        load_study(study_file, [])


def test_what_a_study_says_itself_is_changed_from_the_command_line(study_file):
    study = load_study(study_file, ["seeds=3", "reference=none", "inner.batch_size=4"])
    assert (study.seeds, study.reference, study.config_of("one").inner.batch_size) == (3, "none", 4)


def test_a_study_is_no_config_of_one_task(study_file):
    with pytest.raises(ValueError, match=r"study\.toml is a study, of several tasks: `policylearn evaluate` compares"):
        load_config(study_file)


def test_an_error_in_the_unit_of_the_labels_is_told_in_it_and_averaged_with_nothing():
    errors = {arm: [-1.62, -1.58, -1.6] for arm in ("random", "learned")}
    found = study({"stars": result(**errors) | {"metric": "negative_rmse"}})
    assert any("| learned | −1.600 (+0.000" in line for line in study_lines(found))
    assert "in the unit of the labels (negative_rmse)" in render_study(found)
    assert "points" not in " ".join(found["sentences"])
    assert unit_of(found | {"tasks": {"stars": {"metric": "g_mean"}}}) == "in the unit of g_mean"
    check_same_unit({"stars": "negative_rmse"})
    with pytest.raises(ValueError, match=r"tasks\.stars: negative_rmse has a unit of its own, .* set task.metric"):
        check_same_unit({"topic": "accuracy", "stars": "negative_rmse"})


def test_names_may_have_dollars():
    arms = {"random": [0.1, 0.2, 0.3], r"$\frac$": [0.2, 0.3, 0.5], "from $5 to $10": [0.1, 0.1, 0.2]}
    assert "from $5 to $10" in render_study(study({"a": result(**arms)}))


def test_a_reference_that_masks_nothing_or_is_missing_leaves_gaps():
    trials = [Trial(arm, 0, 0.5, {}, 0.5, None, masked, 1.0) for arm, masked in (("none", 0), ("word", 9))]
    for reference in ("none", "random"):
        found = pool_results("small", {"one": summarise(trials, "accuracy")}, reference, [])
        assert [row[-1] for row in study_rows(found)] == [MISSING, MISSING]
        assert "nan" not in render_study(found)


def test_a_study_from_the_command_line(policylearn, study_file, tmp_path):
    arguments = ("evaluate", study_file, "cluster.workers=1", "--out", tmp_path / "out")
    status, said, _ = policylearn(*arguments)
    assert status == 0
    for part in ("task 2 of 2: two", "3 arms × 2 seeds = 6 trials; 6 to run", "no further pretraining", "could see"):
        assert part in said
    written = json.loads((tmp_path / "out" / "study.json").read_text())
    assert list(written["tasks"]) == ["one", "two"] and set(written["pooled"]) == {"none", "random-30"}
    assert (tmp_path / "out" / "two" / "trials.jsonl").read_text().count("\n") == 8
    status, said, _ = policylearn(*arguments)
    assert status == 0 and "4 arms × 2 seeds = 8 trials, 8 of them known\n" in said


def test_a_study_stopped_midway_leaves_the_earlier_one_whole_and_fresh_forgets_it(
    study_file, tmp_path, quiet, monkeypatch
):
    out = tmp_path / "out"
    run_study(load_study(study_file, ["seeds=1"]), out, quiet)
    before = [(out / name).read_bytes() for name in FILES]

    def stops(config, folder, *arguments):
        if folder.endswith("two"):
            raise KeyboardInterrupt
        return evaluate_policies(config, folder, *arguments)

    monkeypatch.setattr("policylearn.evaluation.study.evaluate_policies", stops)
    with pytest.raises(KeyboardInterrupt):
        run_study(load_study(study_file, []), out, quiet)
    assert [(out / name).read_bytes() for name in FILES] == before
    assert len(json.loads((out / "one" / "result.json").read_text())["seeds"]) == 2
    with pytest.raises(KeyboardInterrupt):
        run_study(load_study(study_file, []), out, quiet, fresh=True)
    assert sorted(path.name for path in out.iterdir()) == ["one", "two"]
    assert [path.name for path in (out / "two").iterdir()] == ["config.json"]  # nor would a call without fresh find it


@pytest.mark.parametrize("stop", ["check_study", "evaluate_policies", "no cluster", "another run"])
def test_a_study_forgets_nothing_before_trials_begin(study_file, tmp_path, quiet, monkeypatch, finished, stop):
    def stops(*arguments):
        raise ValueError("stopped")

    out = tmp_path / "out"
    run_study(load_study(study_file, ["seeds=1"]), out, quiet)
    if stop == "another run":
        shutil.copytree(finished, out / "two", dirs_exist_ok=True)
    elif stop == "no cluster":
        monkeypatch.setattr("policylearn.evaluation.compare.open_pool", stops)
    else:
        monkeypatch.setattr(f"policylearn.evaluation.study.{stop}", stops)
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    with pytest.raises(ValueError, match=r"stopped|/two is the folder of a run that learns"):
        run_study(load_study(study_file, []), out, quiet, fresh=True)
    assert before == {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}


def test_a_study_stopped_between_its_tasks_goes_on_without_fresh(study_file, tmp_path, policylearn, monkeypatch):
    def stops(config, folder, *arguments):
        if folder.endswith("two"):
            raise KeyboardInterrupt
        return evaluate_policies(config, folder, *arguments)

    monkeypatch.setattr("policylearn.evaluation.study.evaluate_policies", stops)
    status, _, err = policylearn("evaluate", study_file, "seeds=1", "--fresh", "--out", tmp_path / "out")
    assert status == INTERRUPTED and "Continue with the same command, without --fresh, and the same" in err


def test_a_study_does_not_go_into_the_folder_of_a_run(study_file, finished, quiet):
    before = (finished / "report.html").read_bytes()
    with pytest.raises(ValueError, match="is the folder of a run, and a study has a report of its own: choose another"):
        run_study(load_study(study_file, []), finished, quiet)
    assert (finished / "report.html").read_bytes() == before


@pytest.mark.parametrize("held", [{"report.html": "a thesis"}, {"study.json": "[]", "notes.txt": ""}])
def test_a_study_does_not_replace_what_is_of_no_study(study_file, tmp_path, quiet, held):
    for name, text in held.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=r"holds \['(report\.html|study\.json)'\] and no study: .* or take them away"):
        run_study(load_study(study_file, []), tmp_path, quiet)
    assert all((tmp_path / name).read_text() == text for name, text in held.items())


def test_a_study_whose_file_was_cut_short_goes_on(study_file, tmp_path, quiet):
    study = load_study(study_file, ["seeds=1"])
    before = run_study(study, tmp_path, quiet)
    file = tmp_path / "study.json"
    whole = file.read_text()
    for fresh in (False, True):
        file.write_text(whole[:20])
        assert run_study(study, tmp_path, quiet, fresh)["pooled"] == before["pooled"]


def test_policies_of_a_study_stand_in_its_file(policylearn, study_file, tmp_path):
    status, _, said = policylearn("evaluate", study_file, "--policy", "a=b", "--out", tmp_path / "out")
    assert status == 2 and "a study names policies in its file" in said


def result(**scores: list[float]) -> dict:
    arms = {a: {"scores": s, "masked_tokens": [100] * len(s), "equal_budget": True} for a, s in scores.items()}
    return {"metric": "accuracy", "seeds": [0, 1, 2], "arms": arms}


ONE = result(random=[0.5, 0.6, 0.7], tficf=[0.6, 0.65, 0.7], learned=[0.7, 0.7, 0.9])
TWO = result(random=[0.2, 0.3, 0.1], tficf=[0.1, 0.1, 0.1], learned=[0.3, 0.4, 0.3])
RESULTS = {"one": ONE, "two": TWO}


def study(results: dict) -> dict:
    return pool_results("s", results, "random", learned={"learned"})


def test_the_average_over_tasks_by_hand():
    found = pooled(RESULTS, "learned", "random")
    assert found.mean == pytest.approx(np.mean([np.mean([0.2, 0.1, 0.2]), np.mean([0.1, 0.1, 0.2])]))
    assert found.low < found.mean < found.high and found.p == 2 / 64


def test_learned_has_to_beat_the_best_arm_of_equal_budget_that_learned_nothing():
    assert best_baseline(RESULTS, learned={"learned"}) == "random"  # .4 on the mean, TF-ICF .375
    for equal, best in ((True, "random-30"), (False, "random")):
        found = {name: copy.deepcopy(r) for name, r in RESULTS.items()}
        for r in found.values():
            r["arms"]["random-30"] = {"scores": [0.9] * 3, "equal_budget": equal}
        assert best_baseline(found, learned={"learned"}) == best


def test_no_further_pretraining_is_not_of_equal_budget_and_is_compared_with_all_the_same():
    found = {name: copy.deepcopy(r) for name, r in RESULTS.items()}
    for r in found.values():
        r["arms"]["none"] = {"scores": [0.95, 0.94, 0.96], "masked_tokens": [0, 0, 0], "equal_budget": True}
    assert best_baseline(found, learned={"learned"}) == "random"
    told = study(found)
    assert "The best arm of equal budget that is neither a policy given nor an oracle is random." in render_study(told)
    assert any(line.startswith("learned is worse than none by") for line in told["sentences"])


def test_tasks_with_other_numbers_of_seeds_are_said_to_have_them():
    fewer = result(random=[0.2, 0.3], tficf=[0.1, 0.1], learned=[0.3, 0.4])
    assert " points over 2 to 3 seeds, averaged over 2 tasks" in study({"one": ONE, "two": fewer})["sentences"][0]


def test_what_is_wrong_with_the_last_task_is_found_before_the_first_is_trained_on(study_file, tmp_path, quiet):
    study_file.write_text(study_file.read_text().replace("/policy", "/nowhere"), encoding="utf-8")
    with pytest.raises(ValueError, match=r"tasks\.two: .*nowhere"):
        run_study(load_study(study_file, []), tmp_path / "out", quiet)
    assert not (tmp_path / "out").exists()


def test_the_comparison_in_words_and_as_a_table():
    found = study(RESULTS)
    assert json.loads(json.dumps(found)) == found
    assert found["learned"] == ["learned"]
    said = "learned beats random by 15.0 [8.5, 21.5] points over 3 seeds, averaged over 2 tasks; p, Holm: .062"
    assert found["sentences"] == [said]  # as the table has it
    assert found["pooled"]["learned"]["holm"] == pytest.approx(2 * 2 / 64)  # of two arms
    lines = study_lines(found)
    tasks = "one (accuracy, 3 seeds) | two (accuracy, 3 seeds)"
    assert lines[0] == f"| masks | {tasks} | − random | p, Holm | could see | tokens |"
    assert "| learned | 76.7 (+16.7) | 33.3 (+13.3) | +15.0 [8.5, 21.5] | .062 | 8.9 | 1.00× |" in lines
    drawn = intervals(found)
    assert list(drawn) == ["one", "two", "all tasks"] and drawn["one"]["learned"].mean == pytest.approx(1 / 6)


def test_one_task_alone_is_named(tmp_path):
    found = study({"one": ONE})
    assert " on one" in found["sentences"][0]
    assert "all tasks" not in intervals(found)


def test_the_page_shows_sentences_intervals_and_scores_and_needs_no_network():
    page = render_study(study(RESULTS))
    assert "learned beats random by 15.0 [8.5, 21.5] points over 3 seeds, averaged over 2 tasks; p, Holm: .062." in page
    assert page.count("<svg") == 1 and "all tasks" in page and "<td>76.7\n(+16.7)</td>" in page
    assert "http" not in page.replace("http-equiv", "")
    assert "nan" not in page.lower()


def test_arms_that_differ_in_more_than_masks_are_named():
    own = copy.deepcopy(ONE)
    said = "the same data order, steps and use of the trained model for every arm, other masks"
    assert f"{said}." in " ".join(render_study(study({"one": own})).split())
    own["arms"]["tficf"]["course"] = "labels 16"
    page = " ".join(render_study(study({"one": own, "two": ONE})).split())
    assert f"{said} (but for tficf, which differs in more than masks)." in page


def test_learned_arms_are_drawn_in_another_colour_whatever_their_name():
    plain, learned = (
        interval_plot(pool_results("s", RESULTS, "random", learned=names)) for names in ({"learned"}, {"tficf"})
    )
    colours = [plot.count(arm_css("learned", [])) for plot in (plain, learned)]
    assert colours[1] > colours[0] > 0


def test_a_page_of_one_arm_has_nothing_to_draw():
    alone = {"metric": "accuracy", "seeds": [0], "arms": {"random": ONE["arms"]["random"]}}
    found = study({"one": alone})
    assert interval_plot(found) == "" and "<svg" not in render_study(found)


def test_what_has_learned_may_be_what_others_are_compared_with():
    found = pool_results("s", RESULTS, "learned", learned={"learned"})
    assert "learned" not in found["pooled"] and all("learned" in sentence for sentence in found["sentences"])


def test_what_is_in_a_unit_that_is_not_known_is_told_as_it_is_and_averaged_with_nothing():
    assert scale_of("neg_mae") == (1.0, 3, "of neg_mae")
    with pytest.raises(ValueError, match="neg_mae has a unit of its own"):
        check_same_unit({"x": "accuracy", "y": "neg_mae"})
    check_same_unit({"y": "neg_mae"})


def test_metrics_of_ours_are_told_in_points_but_for_the_error_in_the_unit_of_the_labels():
    ours = {metric for kind in KINDS.members for metric in metrics_of(kind)}
    assert {metric for metric in ours if scale_of(metric)[2] != "points"} == {"negative_rmse"}
    assert set(SHARES) == ours - {"negative_rmse"}
