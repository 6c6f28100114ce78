"""Names that people give may hold brackets, which are markup to rich."""

import io

import pytest
from rich.console import Console

from policylearn.config.reference import find_sections, settings_table
from policylearn.report.signal import validity_report
from policylearn.report.study import rows, study_table
from policylearn.report.study_page import render_study
from policylearn.report.tables import comparison_table
from policylearn.report.uses import use_in_words

FOUND = {"interval": [0.1, 0.2], "spearman": 0.3, "without_noise": 0.4}
VALIDITY = {"verdict": "", "loss": FOUND, "score": FOUND}


def shown(table) -> str:
    console = Console(file=io.StringIO(), width=200)
    console.print(table)
    return console.file.getvalue()


def test_brackets_in_names_are_shown():
    scores = {"random": {"scores": [0.5, 0.75], "seconds": [1, 1], "masked_tokens": [9, 9]}}
    extra = {"test [red]": {"random": [0.5, 0.5]}}
    result = {"metric": "accuracy", "seeds": [0, 1], "arms": scores, "extra": extra}
    assert "test [red]" in shown(comparison_table(result))
    study = {"name": "my [bold] study", "reference": "random", "baseline": "random", "sentences": []}
    told = shown(study_table(study | {"tasks": {"task [i]": result}, "pooled": {}}))
    assert "my [bold] study" in told and "task [i] (accuracy" in told


def study_of(**arms) -> dict:
    """On one task."""
    found = {name: {"scores": scores, "masked_tokens": [9, 9]} for name, scores in arms.items()}
    same = {"mean": 0.0, "low": 0.0, "high": 0.0, "holm": 1.0, "least": None}
    compared = {f"random - {name}": same for name in arms if name != "random"}
    made = {"model": "tiny", "remark": "a remark"}
    result = {"metric": "accuracy", "seeds": [0, 1], "arms": found, "comparisons": compared, "provenance": made}
    named = {"name": "mine", "reference": "random", "baseline": "", "sentences": [], "learned": []}
    return {**named, "tasks": {"mine": result}, "pooled": {name: same for name in arms if name != "random"}}


def test_seeds_that_do_not_differ_have_no_interval_in_a_study_either():
    study = study_of(random=[0.5, 0.5], none=[0.5, 0.5])
    assert rows(study)[1][:3] == ["no further pretraining", "50.0 (+0.0 [–])", "+0.0 [–]"]
    assert "nothing to judge chance by" in render_study(study)


def test_a_study_says_what_was_made_from_what_and_of_no_arm_that_it_lacks():
    page, without = (
        render_study(study_of(random=[0.5, 0.5], none=[0.5, 0.5])),
        render_study(study_of(random=[0.5, 0.6])),
    )
    assert "<dt>model</dt><dd>tiny</dd>" in page and page.count("a remark") == 1
    assert "is not trained at all" in page and "is not trained at all" not in without


def test_a_study_says_how_models_are_used_and_where_differently():
    study = study_of(random=[0.5, 0.5])
    assert "The task is learned" not in render_study(study)  # of a result from before this was kept
    one, other = (use_in_words({"evaluate": {"downstream": ["probe"], "labelled": n}}) for n in (200, None))
    same = study | {"tasks": {task: study["tasks"]["mine"] | {"use": one} for task in ("a", "b")}}
    assert f"The task is learned {one}, and scored on test." in render_study(same)
    same["tasks"]["b"]["use"] = other
    assert f"The task is learned {one} (a); {other} (b), and scored on test." in render_study(same)


def test_a_study_is_whole_on_a_terminal_of_80_columns():
    study = study_of(random=[0.5, 0.5], none=[0.5, 0.5])
    study["tasks"] |= {"another": study["tasks"]["mine"], "third": study["tasks"]["mine"]}
    console = Console(file=io.StringIO(), width=80)
    console.print(study_table(study))
    assert "…" not in console.file.getvalue()


def test_what_all_tasks_of_a_study_have_alike_is_told_once():
    study = study_of(random=[0.5, 0.5])
    other = {**study["tasks"]["mine"], "provenance": {"model": "tiny", "task": "b"}}
    page = render_study(study | {"tasks": {**study["tasks"], "other": other}})
    assert page.count("<dd>tiny</dd>") == 1 and page.count("<dd>b</dd>") == 1


@pytest.mark.parametrize(
    ("table", "words"),
    [
        (lambda: validity_report(VALIDITY), "loss score their dev outer .300 .400"),
        (lambda: settings_table(find_sections("scores.difference.anchor_ratio")[0], 40), "4. least as frequent text"),
    ],
)
def test_on_a_terminal_of_40_columns_no_column_is_cut(table, words):
    console = Console(file=io.StringIO(), width=40, color_system=None)
    console.print(table())
    assert {*words.split()} <= {*console.file.getvalue().split()}, console.file.getvalue()
