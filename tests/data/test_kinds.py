"""The kind of a task, as its rows have it."""

import csv
import io
import json

import pytest

from policylearn.config import Config, TaskConfig, changes, load_config
from policylearn.data.kinds import inferred_kind, with_kind
from policylearn.data.opened import open_task
from policylearn.evaluation.identity import evidence_key
from policylearn.problems.of_config import problem_of
from policylearn.registry.known import KINDS

CASES = {
    "names": (["spam", "ham"], {}, "classification", "a label each"),
    "two numbers": ([0, 1], {}, "classification", "a label each"),
    "truth": ([True, False, True], {}, "classification", "a label each"),
    "stars": ([1, 2, 5], {}, "classification", "if they are amounts, set task.kind"),
    "stars of a table": (["1", "2", "5.0"], {}, "classification", "if they are amounts, set task.kind"),
    "lists": ([["a"], [], ["b"]], {}, "multilabel", "lists of labels"),
    "lists of a table": (['["a"]', "[]", '["a", "b"]'], {}, "multilabel", "lists of labels"),
    "lists as pandas writes them": (["['a']", "[]", "['a', 'b']"], {}, "multilabel", "lists of labels"),
    "lists of a table with an empty cell": (['["a"]', "", '["a", "b"]'], {}, "multilabel", "lists of labels"),
    "ratings": ([5.0, 3.8, 4.0], {}, "regression", "numbers with fractions"),
    "ratings of a table": (["5", "3.8"], {}, "regression", "numbers with fractions"),
    "ratings that are listed as classes": ([3.5, 4.0], {"labels": ["3.5", "4.0"]}, "classification", "a label each"),
    "some that are no numbers": ([3.5, "n/a"], {}, "classification", "a label each"),
    "some that are no lists": ([["a"], "b"], {}, "classification", "a label each"),
    "a bracket": (["[a", "[b"], {}, "classification", "a label each"),
    "not there": ([None, None], {}, "classification", "a label each"),
}


WORDS, TAGS = ["Wnt", "binds", "it's", 'a "name"'], ["B-Gene", "O", "O", "I-Gene"]
SPANS = [{"start": 0, "end": 3, "label": "Gene"}]
TABLES = {
    "classification": [{"text": f"[{i}] a, b", "label": "ab"[i % 2]} for i in range(200)],
    "classification of pairs": [{"text": "['a']", "text_pair": f"b{i}", "label": "ab"[i % 2]} for i in range(200)],
    "regression": [{"text": f"a{i}", "label": i / 2} for i in range(200)],
    "multilabel": [{"text": f"a{i}", "labels": ["it's", 'a "b"'][: i % 3]} for i in range(200)],
    "tagging": [{"tokens": [f"a{i}", *WORDS], "tags": ["O", *TAGS]} for i in range(200)],
    "tagging by spans": [{"text": f"Wnt binds {i}", "spans": SPANS} for i in range(200)],
}


def table(rows, write):
    out = io.StringIO()
    writer = csv.DictWriter(out, list(rows[0]))
    writer.writeheader()
    writer.writerows({k: write(v) if isinstance(v, list) else v for k, v in row.items()} for row in rows)
    return out.getvalue()


FORMS = {"jsonl": lambda rows, _: "\n".join(map(json.dumps, rows)), "csv": table}


@pytest.mark.parametrize("case", CASES)
def test_the_kind_is_that_of_the_labels_and_what_is_in_doubt_are_classes(case):
    labels, settings, kind, why = CASES[case]
    found = inferred_kind(TaskConfig(path="x", **settings), [{"text": "a", "label": label} for label in labels])
    assert found[0] == kind and why in found[1]


@pytest.mark.parametrize("write", [str, json.dumps], ids=["pandas", "json"])
@pytest.mark.parametrize("rows", TABLES.values(), ids=TABLES)
def test_a_table_says_the_same_as_lines_of_json(tmp_path, rows, write):
    read = {}
    for form in ("jsonl", "csv"):
        (path := tmp_path / f"rows.{form}").write_text(FORMS[form](rows, write), encoding="utf-8")
        config = TaskConfig(path=str(path))
        opened = open_task(config)
        settings, why = with_kind(config, opened.head)
        task = KINDS.get(settings.kind).read(settings, opened)
        read[form] = settings.kind, settings.label, why, task.labels, task.columns, *task.splits.values()
    assert read["csv"] == read["jsonl"]
    assert read["csv"][0] == next(name for name in TABLES if TABLES[name] is rows).split()[0]


def test_a_config_has_a_kind_once_its_rows_are_read_and_is_the_same_as_one_that_names_it(tiny, tmp_path):
    for split in ("train", "dev", "test"):
        rows = [json.dumps({"text": f"generic_{i:03}", "label": i / 2}) for i in range(12)]
        (tmp_path / f"{split}.jsonl").write_text("\n".join(rows), encoding="utf-8")
    problem_of(tiny()).tokenizer.save_pretrained(tmp_path / "tokenizer")
    own, said = (f"task.path={tmp_path}", f"model.tokenizer={tmp_path / 'tokenizer'}"), []
    problem = problem_of(tiny(*own), tell=said.append)
    assert problem.config.task.kind == problem.config.task.metric == "auto"
    assert problem.kind.name == problem.task.kind == "regression" and problem.task.metric == "pearson"
    assert said[0].startswith(
        "task  regression, inferred: numbers with fractions\ntask  12 / 12 / 12 rows, a number each"
    )
    named = problem_of(tiny(*own, "task.kind=regression"), tell=said.append)
    assert evidence_key(named) == evidence_key(problem) == evidence_key(problem_of(tiny(*own), data=problem.data()))
    assert said[-1].startswith("task  regression\n")
    wrong = problem_of(tiny(*own, "task.metric=accuracy"))
    with pytest.raises(
        ValueError, match=r"^metric 'accuracy' with task\.kind 'regression': .*the kind is inferred \(num"
    ):
        wrong.check_task()


def test_a_run_from_before_kinds_were_inferred_goes_on():
    old = json.loads(Config(task={"path": "x", "kind": "classification"}).model_dump_json())
    assert old["task"]["metric"] == "accuracy"
    now = load_config(None, ["task.path=x"])
    assert changes(old, now) == "" != changes(old | {"task": old["task"] | {"metric": "mcc"}}, now)
    assert Config.model_validate(old).task.kind == "classification" and Config().task.kind == "classification"
