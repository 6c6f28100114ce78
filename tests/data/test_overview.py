import json
from dataclasses import replace

import pytest

from policylearn.commands.diagnose import diagnose
from policylearn.commands.train import train
from policylearn.config import TaskConfig
from policylearn.data.overview import describe_label_sets, describe_questions, describe_task
from policylearn.data.questions import Question, QuestionTask, read_questions
from policylearn.data.task import Split, Task, load_task
from policylearn.problems.of_config import problem_of


def task(extra=(), **labels):
    splits = {name: Split([f"{name} {i}" for i in range(len(found))], list(found)) for name, found in labels.items()}
    return Task(splits | dict(extra), sorted(set(labels["train"])))


def test_a_task_in_one_line():
    found = task(train="a" * 60 + "b" * 30 + "c" * 10, dev="aabbc", test="abc")
    assert describe_task(found) == ["task  100 / 5 / 3 rows, 3 labels: a 60 %, b 30 %, c 10 %"]


def test_many_labels_are_cut_and_long_ones_shortened():
    labels = [f"label {i:02} " + "x" * 500 for i in range(40) for _ in range(5)]
    (line,) = describe_task(task(train=labels, dev=labels, test=labels))
    assert line.startswith("task  200 / 200 / 200 rows, 40 labels: label 00 x") and line.endswith(" … and 34 more")
    assert len(line) < 300


def test_extra_tests_are_named():
    found = task([("ood", Split(["o"], ["a"]))], train="a" * 9 + "b" * 9, dev="ab", test="ab")
    assert describe_task(found)[0] == "task  18 / 2 / 2 rows (ood 1), 2 labels: a 50 %, b 50 %"
    assert describe_task(found)[1] == "task  no row of ood has the label b"


def test_what_is_odd_is_said():
    found = task(train="a" * 9 + "A" * 9 + "c", dev="aAc", test="aA")
    found.splits["test"].texts[1] = "train 5"
    assert describe_task(found)[1:] == [
        "task  labels of fewer than 5 training rows: c 1",
        "task  the labels A and a differ in capitals only",
        "task  no row of test has the label c",
        "task  1 of 2 test rows repeat a training text",
    ]


@pytest.mark.parametrize("blank", ["nan", "NA", "None", "null"])
def test_a_label_that_may_be_a_missing_value_is_said(blank):
    found, said = task(train="a" * 9, dev="a", test="a"), f"{blank!r} is counted as a label: 9 rows of train"
    labels = ["a"] * 9 + [blank] * 9
    train = Split([f"text {i}" for i in range(18)], labels)
    assert any(said in line for line in describe_task(replace(found, splits=found.splits | {"train": train})))
    lists = {name: Split(split.texts, [[x] for x in split.labels]) for name, split in found.splits.items()}
    lists["train"] = Split(train.texts, [[label] for label in labels])
    assert any(said in line for line in describe_label_sets(replace(found, splits=lists)))
    assert not any("missing" in line for line in describe_task(found))


def test_labels_of_one_text_that_are_at_odds_are_said():
    found = task(train="a" * 9 + "b" * 9, dev="ab", test="ab")
    found.splits["train"].texts[:3], found.splits["train"].texts[9:11] = ["is it?"] * 3, ["is it?", "b"]
    assert describe_task(found)[1:] == ["task  texts of train whose rows differ in their label: 1, such as 'is it?'"]


def test_pairs_with_a_blank_text_are_said(tmp_path):
    for name, blank in (("train", 2), ("dev", 0), ("test", 1)):
        rows = [{"text": f"{name} {i}", "text_pair": " " * (i < blank) or "b", "label": i % 2} for i in range(12)]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = describe_task(load_task(TaskConfig(path=str(tmp_path))))
    assert found[1:] == [
        "task  2 of 12 train rows have a blank text_pair",
        "task  1 of 12 test rows have a blank text_pair",
    ]


def test_a_task_of_questions(tmp_path):
    rows = [{"text": f"question {i}", "answers": ["x", "y"], "choices": ["x", "z"]} for i in range(4)]
    for name in ("train", "dev", "test"):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows[:3]))
    config = TaskConfig(path=str(tmp_path), answers="answers", choices="choices", metric="choice")
    assert describe_questions(read_questions(config)) == [
        "task  3 / 3 / 3 questions, 2.0 accepted answers and 2.0 choices on average",
        "task  3 of 3 dev rows repeat a training text",
        "task  3 of 3 test rows repeat a training text",
        "task  3 of 3 test rows repeat a dev text",
    ]


def test_questions_of_a_single_choice_are_said():
    asked = [Question("q", ["x"], ["x"]), Question("r", ["x"], ["x", "y"])]
    found = describe_questions(QuestionTask({"train": asked[1:], "dev": asked[1:], "test": asked}))
    assert found[1] == "task  1 of 2 test questions have a single choice, which is always right"


def test_a_problem_tells_once_and_those_of_workers_do_not(tiny):
    said: list[str] = []
    problem = problem_of(tiny(), tell=said.append)
    data = problem.data()
    assert problem.examples("train") and len([line for line in said if " rows, " in line]) == 1
    problem_of(tiny(), data=data, tell=said.append).examples("dev")
    assert len([line for line in said if " rows, " in line]) == 1


def test_files_of_a_folder_that_are_of_no_split_are_named(tiny, tmp_path):
    for name in ("train", "dev", "test", "holdout", "evaluation", "extra"):
        rows = [{"text": f"class0_0{i}", "label": "ab"[i % 2]} for i in range(8)]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (tmp_path / "dataset_dict.json").write_text("{}")
    for name in ("eval", "run", "notes", "data"):
        (tmp_path / name).mkdir()
    for file in ("eval/rows.jsonl", "run/config.json", "run/rows.jsonl", "notes/read.me", "data/held.jsonl"):
        (tmp_path / file).write_text("{}")
    said: list[str] = []
    assert problem_of(tiny(f"task.path={tmp_path}", 'task.extra_tests=["extra"]'), tell=said.append).task
    unread = "['data/held.jsonl', 'evaluation.jsonl', 'holdout.jsonl', 'eval/']"
    assert said[0].splitlines()[-1] == f"task  files that are not read: {unread}"


@pytest.mark.parametrize("run", [train, None])
def test_a_run_starts_with_the_line(tiny, tmp_path, quiet, run):
    config = tiny("learn.rounds=1", "evaluate.seeds=0", "credit.batches=10", "credit.points=1")
    run(config, tmp_path, quiet) if run else diagnose(config, quiet)
    said = quiet.file.getvalue()
    assert said.count("task  60 / 40 / 40 rows, 2 labels: class") == 1


def test_a_column_that_is_not_read_is_named(tmp_path):
    """A second text, say, without which it is another task."""
    rows = [{"text": f"t{i}", "text_pair": "p", "label": "ab"[i % 2], **({"id": i} if i else {})} for i in range(6)]
    for split in ("train", "dev", "test"):
        (tmp_path / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    lines = describe_task(load_task(TaskConfig(path=str(tmp_path), text=["text"])))
    assert "task  columns that are not read: id, text_pair" in lines


def test_what_test_has_of_dev_is_said_and_a_text_of_many_rows():
    train = Split([*(f"text {i}" for i in range(60)), *["[removed]"] * 20], [*["x", "y"] * 30, *["x"] * 20])
    dev, test = Split(["a", "b", "text 1"], ["x", "y", "x"]), Split(["a", "b", "text 1"], ["x", "y", "x"])
    lines = describe_task(Task({"train": train, "dev": dev, "test": test}, ["x", "y"]))
    assert lines[1:] == [
        "task  1 of 3 dev rows repeat a training text",
        "task  1 of 3 test rows repeat a training text",
        "task  3 of 3 test rows repeat a dev text",
        "task  20 of 80 train rows have one and the same text, '[removed]'",
    ]
