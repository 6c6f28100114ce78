import json

import datasets
import pytest

from policylearn.config import TaskConfig
from policylearn.data.task import load_task

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


def test_files_of_different_kinds_make_one_task(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    path = folder()
    (tmp_path / "dev.jsonl").unlink()
    (tmp_path / "dev.csv").write_text("text,label\n12,method\n")
    assert load_task(TaskConfig(path=path)).splits["dev"].texts == ["12"]


def test_extra_test_sets_are_read_and_checked(folder):
    path = folder(test_noverlap=GOOD[1:])
    assert len(load_task(TaskConfig(path=path, extra_tests=["test_noverlap"])).splits["test_noverlap"]) == 2
    with pytest.raises(ValueError, match="no file for split 'ood'"):
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
