import json

import pyarrow
import pytest
from pyarrow import parquet

from policylearn.config import TaskConfig
from policylearn.data.labels import classes_of
from policylearn.data.task import load_label_sets, load_numbers, load_task

GOOD = [("we parse text", "method"), ("we cite them", "background"), ("and again", "method")]


@pytest.fixture
def folder(tmp_path):
    """Writes a task folder; splits given override the good ones."""

    def make(**splits):
        for name, rows in {"train": GOOD, "dev": GOOD, "test": GOOD[:1], **splits}.items():
            lines = [json.dumps({"text": text, "label": label}) for text, label in rows]
            (tmp_path / f"{name}.jsonl").write_text("\n".join(lines))
        return str(tmp_path)

    return make


def test_splits_and_labels_are_read_in_order(folder):
    task = load_task(TaskConfig(path=folder()))
    assert set(task.splits) == {"train", "dev", "test"} and task.labels == ["background", "method"]
    assert task.splits["train"].texts == [text for text, _ in GOOD]
    assert task.splits["dev"].labels == ["method", "background", "method"] and len(task.splits["test"]) == 1


def test_the_label_set_can_be_given_in_an_order_of_ones_own(folder):
    labels = ["method", "background", "never seen"]
    assert load_task(TaskConfig(path=folder(), labels=labels)).labels == labels


def test_other_columns_and_labels_that_are_numbers(folder, tmp_path):
    for name in ("train", "dev", "test"):
        (tmp_path / f"{name}.jsonl").write_text('{"body": "a", "y": 1}\n{"body": "b", "y": 0}\n')
    task = load_task(TaskConfig(path=str(tmp_path), text="body", label="y"))
    assert task.labels == ["0", "1"] and task.splits["train"].labels == ["1", "0"]


@pytest.mark.parametrize(("load", "of"), [(load_task, lambda n: n), (load_label_sets, lambda n: [n])])
def test_whole_numbers_are_in_their_order(load, of, tmp_path):
    for name in ("train", "dev", "test"):
        rows = [json.dumps({"text": f"a {n}", "label": of(n)}) for n in (10, 2, -1, 1)]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(rows))
    assert load(TaskConfig(path=str(tmp_path))).labels == ["-1", "1", "2", "10"]


def test_files_of_different_kinds_make_one_task(folder, tmp_path):
    path = folder()
    (tmp_path / "dev.jsonl").unlink()
    (tmp_path / "dev.csv").write_text("text,label\n12,method\n")
    assert load_task(TaskConfig(path=path)).splits["dev"].texts == ["12"]


def test_extra_test_sets_are_read_and_checked(folder):
    path = folder(test_noverlap=GOOD[1:])
    assert len(load_task(TaskConfig(path=path, extra_tests=["test_noverlap"])).splits["test_noverlap"]) == 2
    with pytest.raises(ValueError, match="has no split 'ood'"):
        load_task(TaskConfig(path=path, extra_tests=["ood"]))


@pytest.mark.parametrize("name", ["train", "dev", "test"])
def test_an_empty_split_is_named(folder, name):
    path = folder(**{name: []})
    with pytest.raises(ValueError, match=f"task.path .*: split '{name}' is empty"):
        load_task(TaskConfig(path=path))


@pytest.mark.parametrize("name", ["dev", "test"])
def test_a_label_outside_the_label_set_is_named_with_its_row_and_the_set(folder, name):
    path = folder(**{name: [*GOOD, ("oops", "methud")]})
    complaint = rf"split '{name}', row 3: label 'methud' is not in the label set \['background', 'method'\]"
    with pytest.raises(ValueError, match=complaint):
        load_task(TaskConfig(path=path))


def test_train_too_is_held_to_a_given_label_set(folder):
    with pytest.raises(ValueError, match=r"split 'train', row 1: label 'background'.*or set task\.labels"):
        load_task(TaskConfig(path=folder(), labels=["method", "other"]))


@pytest.mark.parametrize("label", ["", None])
def test_a_row_without_a_label_is_no_class_of_its_own(folder, label):
    path = folder(train=[*GOOD, ("unlabelled", label)])
    with pytest.raises(ValueError, match=r"row 3: (label ''|column 'label' is null)"):
        load_task(TaskConfig(path=path))


def test_a_single_label_is_no_task(folder):
    one = [GOOD[0]]
    path = folder(train=one, dev=one, test=one)
    with pytest.raises(ValueError, match=r"at least two labels, train has \['method'\]"):
        load_task(TaskConfig(path=path))


def test_a_missing_column_is_named(folder):
    with pytest.raises(ValueError, match=r"no column 'sentence'; it has \['label', 'text'\]"):
        load_task(TaskConfig(path=folder(), text="sentence"))


def csv_task(folder, train, dev):
    for name, content in {"train": train, "dev": dev, "test": dev}.items():
        (folder / f"{name}.csv").write_text("text,label\n" + "".join(f"{text},{label}\n" for text, label in content))
    return load_task(TaskConfig(path=str(folder)))


@pytest.mark.parametrize(
    ("train", "dev", "labels"),
    [
        (["01", "02"], ["01", "02"], ["01", "02"]),
        (["0", "1"], ["0.0", "1.0"], ["0", "1"]),
        (["NA", "null"], ["NA"], ["NA", "null"]),
        (["True", "False"], ["True"], ["False", "True"]),
    ],
)
def test_labels_of_a_csv_are_what_they_are_spelt(tmp_path, train, dev, labels):
    task = csv_task(tmp_path, [("007", label) for label in train], [("1.50", label) for label in dev])
    assert task.labels == labels and set(task.splits["dev"].labels) <= set(labels)
    assert task.splits["train"].texts[0] == "007" and task.splits["dev"].texts[0] == "1.50"


def test_an_error_is_about_the_label_that_is_wrong(tmp_path):
    with pytest.raises(ValueError, match=r"split 'dev', row 1: label '02a' is not in the label set \['01', '02'\]"):
        csv_task(tmp_path, [("a", "01"), ("b", "02")], [("a", "01"), ("c", "02a")])


def test_whole_numbers_beside_a_gap_are_the_same_classes(tmp_path):
    """pandas makes floats of a column of whole numbers if one is missing."""
    for name, labels in {"train": [0, 1], "dev": [0.0, 1.0], "test": [1, 0]}.items():
        parquet.write_table(pyarrow.table({"text": ["a", "b"], "label": labels}), tmp_path / f"{name}.parquet")
    task = load_task(TaskConfig(path=str(tmp_path)))
    assert task.labels == ["0", "1"] and task.splits["dev"].labels == ["0", "1"]
    parquet.write_table(pyarrow.table({"text": ["a", "b"], "label": [1.0, None]}), tmp_path / "dev.parquet")
    with pytest.raises(ValueError, match="split 'dev', row 1: column 'label' is null; fill it or drop the row"):
        load_task(TaskConfig(path=str(tmp_path)))


@pytest.mark.parametrize(
    ("label", "kind"),
    [(["x", "y"], "a list"), ({"a": 1}, "a dict"), (["O"] * 100_000, "a list"), (3.5, "the number 3.5")],
    ids=["list", "mapping", "tags", "rating"],
)
def test_a_label_that_is_none_is_refused_by_row_and_type(folder, label, kind):
    path = folder(train=[*GOOD, ("odd", label)])
    with pytest.raises(
        ValueError, match=f"split 'train', row 3: the label is {kind}.*hold one class per row"
    ) as caught:
        load_task(TaskConfig(path=path))
    assert len(str(caught.value)) < 500


def test_not_a_number_is_no_label(folder, tmp_path):
    path = folder()
    (tmp_path / "dev.jsonl").write_text('{"text": "a", "label": NaN}\n')
    with pytest.raises(ValueError, match="split 'dev', row 0: column 'label' is null"):
        load_task(TaskConfig(path=path))


def test_ratings_that_are_meant_as_classes_can_be_listed(folder):
    rows = [("a", 3.5), ("b", "4.0")]
    task = load_task(TaskConfig(path=folder(train=rows, dev=rows, test=rows), labels=["3.5", "4.0"]))
    assert task.labels == ["3.5", "4"] and task.splits["train"].labels == ["3.5", "4"]


def test_labels_that_differ_in_blanks_only_are_refused(folder):
    with pytest.raises(ValueError, match="the labels 'method' and 'method ' differ in blanks only"):
        load_task(TaskConfig(path=folder(train=[*GOOD, ("again", "method ")])))


@pytest.mark.parametrize("text", [["a", "b"], {"body": "x"}, 3, True, float("nan")])
def test_a_text_that_is_none_is_refused(folder, text):
    complaint = "split 'dev', row 1: column 'text' (holds a .*, not a text: .*set task.text|is null)"
    with pytest.raises(ValueError, match=complaint):
        load_task(TaskConfig(path=folder(dev=[GOOD[0], (text, "method")])))


def test_half_a_surrogate_pair_in_a_label_too_is_replaced(folder):
    rows = [("a", "x\ud83d"), ("b", "y")]
    assert load_task(TaskConfig(path=folder(train=rows, dev=rows, test=rows))).labels == ["x\ufffd", "y"]


@pytest.mark.parametrize("pair", [("caf\u00e9", "cafe\u0301"), ("tea", "te\u200ba")])
def test_labels_that_look_alike_are_refused(tmp_path, pair):
    rows = [{"text": f"text {i}", "label": pair[i % 2]} for i in range(200)]
    (tmp_path / "all.jsonl").write_text("\n".join(map(json.dumps, rows)))
    with pytest.raises(ValueError, match=r"the labels '.*\\u?.*' look alike and are different characters"):
        load_task(TaskConfig(path=str(tmp_path / "all.jsonl")))


@pytest.mark.parametrize("load", [load_task, load_label_sets])
def test_a_class_is_named_once(tmp_path, load):
    label = "x" if load is load_task else ["x"]
    (tmp_path / "all.jsonl").write_text("\n".join(json.dumps({"text": f"{i}", "label": label}) for i in range(99)))
    with pytest.raises(ValueError, match=r"task\.labels names 'x' twice"):
        load(TaskConfig(path=str(tmp_path / "all.jsonl"), labels=["x", "y", "x"]))


@pytest.mark.parametrize("label", [[1, 0, 0], [0.0, 1.0, 0.0], ["1", "0", "1"], [True, False, False], [0.1, 0.2, 0.7]])
def test_a_number_for_each_class_is_no_list_of_classes(label):
    with pytest.raises(ValueError, match=r"row 0: .* looks like a number for each class"):
        classes_of(label, "row 0")


def test_a_blank_in_a_list_is_no_class():
    with pytest.raises(ValueError, match="row 0: the label '' in a list is blank"):
        classes_of(["joy", ""], "row 0")


@pytest.mark.parametrize("first", [1.7e9, 1e200])
def test_numbers_that_single_precision_cannot_tell_apart_are_refused(tmp_path, first):
    rows = [{"text": f"text {i}", "label": first * (1 + i / 1e9)} for i in range(100)]
    (tmp_path / "all.jsonl").write_text("\n".join(map(json.dumps, rows)))
    with pytest.raises(ValueError, match=r"single precision cannot tell them apart: subtract their mean"):
        load_numbers(TaskConfig(path=str(tmp_path / "all.jsonl"), kind="regression"))


def test_numbers_beyond_all_others_are_none(tmp_path):
    rows = [{"text": f"text {i}", "label": 10**400 + i} for i in range(100)]
    (tmp_path / "all.jsonl").write_text("\n".join(map(json.dumps, rows)))
    with pytest.raises(ValueError, match=r"row 0: the label 1000.* is no number"):
        load_numbers(TaskConfig(path=str(tmp_path / "all.jsonl"), kind="regression"))
    with pytest.raises(ValueError, match=r"path ~/none\.csv does not exist; ~ is for the shell to write out, .*: /"):
        load_task(TaskConfig(path="~/none.csv"))


@pytest.mark.parametrize("twice", [{"splits": {"dev": "test"}}, {"extra_tests": ["dev"]}, {"extra_tests": ["a", "a"]}])
def test_a_split_is_used_once(twice):
    with pytest.raises(ValueError, match=r"is used twice by task\.splits or task\.extra_tests"):
        TaskConfig(path="x", **twice)


def test_hidden_files_of_a_split_are_not_read(tmp_path):
    for split in ("train", "dev", "test"):
        (tmp_path / split).mkdir()
        for name in ("part.jsonl", ".hidden.jsonl", "._part.jsonl"):
            rows = [{"text": f"{split} {i}", "label": "ab"[i % 2]} for i in range(4)]
            (tmp_path / split / name).write_text("\n".join(map(json.dumps, rows)) if name[0] != "." else "\0")
    assert len(load_task(TaskConfig(path=str(tmp_path))).splits["train"]) == 4
