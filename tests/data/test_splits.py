import json
import shutil

import datasets
import pytest

from policylearn.config import TaskConfig, load_config
from policylearn.data.corpora import open_corpus
from policylearn.data.formats import ENDINGS
from policylearn.data.splits import find_split, rows_of
from policylearn.data.task import load_task
from policylearn.registry.known import KINDS

ROWS = [{"text": f"text {i}", "label": "ab"[i % 2]} for i in range(8)]


def write(path, rows=ROWS):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("name", ["dev", "validation", "valid", "val", "Dev"])
def test_split_files_are_found_by_any_known_ending_and_usual_name(tmp_path, name, ending):
    (tmp_path / f"{name}{ending}").write_text("")
    (tmp_path / "development.jsonl").write_text("")
    assert find_split(str(tmp_path), "dev") == [tmp_path / f"{name}{ending}"]


@pytest.mark.parametrize("place", ["", "data/"])
@pytest.mark.parametrize(
    "pattern", ["train-{:05}-of-00002.jsonl", "train/part{}.jsonl", "train/train-{:05}-of-00002.json"]
)
def test_shards_are_one_split_in_their_order(tmp_path, place, pattern):
    for number in (1, 0):
        write(tmp_path / place / pattern.format(number), ROWS[4 * number : 4 * number + 4])
    assert list(rows_of(find_split(str(tmp_path), "train"), "task.path")) == ROWS


def test_a_shard_that_is_missing_is_noticed(tmp_path):
    for number in (0, 2):
        write(tmp_path / f"train-{number:05}-of-00003.jsonl")
    with pytest.raises(ValueError, match=r"2 of the 3 shards .*train-… are there"):
        find_split(str(tmp_path), "train")


def test_two_files_for_one_split_are_not_chosen_from(tmp_path):
    write(tmp_path / "dev.jsonl")
    write(tmp_path / "validation.jsonl")
    with pytest.raises(ValueError, match=r"several files for one split, \['dev.jsonl', 'validation.jsonl'\]: keep one"):
        find_split(str(tmp_path), "dev")


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("*.jsonl", ["train", "test"]),
        ("*/*.jsonl", ["train/a", "validation/a", "b/a"]),
        ("*.jsonl", ["train-en", "test-en"]),
        ("*.jsonl", ["en_Train_1", "en_Train_2", "en_dev_1"]),
        ("*.jsonl", ["train", "train_dev"]),
        ("*/x/*.jsonl", ["train/x/1", "test/x/1"]),
        ("*/*.jsonl", ["train-v2/1", "test-v2/1"]),
        ("**/*.jsonl", ["a/train", "test"]),
        ("**/*.jsonl", ["train/a/1", "test/1"]),
    ],
)
def test_a_pattern_of_several_splits_is_refused(tmp_path, pattern, names):
    for name in names:
        write(tmp_path / f"{name}.jsonl", ROWS)
    with pytest.raises(ValueError, match=r"matches files of several splits, .*: name the folder that they are in"):
        load_task(TaskConfig(path=f"{tmp_path}/{pattern}"))


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("*/train.jsonl", ["en/train", "de/train"]),
        ("*/train.jsonl", ["dev/train", "prod/train"]),
        ("test/train/*.jsonl", ["test/train/dev_1", "test/train/dev_2"]),
        ("*.jsonl", ["latest", "training", "contest", "devices", "values"]),
        ("*.jsonl", ["train-test-1", "train-test-2"]),
        ("**/*.jsonl", ["train/en/1", "train/1"]),  # below a folder that is itself called after a test
    ],
)
def test_files_of_one_split_are_one_set_whatever_else_they_are_called(tmp_path, pattern, names):
    for name in names:
        write(tmp_path / f"{name}.jsonl", [{"text": f"{name} {i}", "label": "ab"[i % 2]} for i in range(40)])
    task = load_task(TaskConfig(path=f"{tmp_path}/{pattern}"))
    assert sum(map(len, task.splits.values())) == 40 * len(names)


def test_a_corpus_may_have_files_of_any_names(tmp_path):
    for name in ("test_results", "train_notes"):
        write(tmp_path / f"{name}.jsonl", ROWS)
    assert len(list(open_corpus(load_config(None, [f"general.path={tmp_path}/*.jsonl"]), "general"))) == 16


def test_a_pattern_of_parts_is_one_set(tmp_path):
    for number in range(5):
        rows = [{"text": f"{number} {i}", "label": "ab"[i % 2]} for i in range(40)]
        write(tmp_path / f"train/train-{number}-of-5.jsonl", rows)
    assert sum(map(len, load_task(TaskConfig(path=f"{tmp_path}/train/*.jsonl")).splits.values())) == 200


def test_a_missing_split_says_what_was_looked_for(tmp_path):
    with pytest.raises(
        ValueError, match=r"supervised.path .* has no split 'dev'; .* dev or validation or .*\.jsonl\.gz.*\.csv"
    ):
        find_split(str(tmp_path), "dev", "supervised.path")


def hub(monkeypatch, asked=None, **splits):
    def load(name, configuration, revision, streaming):
        if asked is not None:
            asked.append((name, configuration, revision))
        return {split: rows if hasattr(rows, "features") else iter(rows) for split, rows in splits.items()}

    monkeypatch.setattr(datasets, "load_dataset", load)


def test_a_hub_data_set_is_a_task_asked_for_once(monkeypatch):
    asked = []
    hub(monkeypatch, asked, train=ROWS, validation=ROWS[:3], test=ROWS[:2])
    task = load_task(TaskConfig(path="org/data", configuration="mrpc", revision="v1"))
    assert {name: len(split) for name, split in task.splits.items()} == {"train": 8, "dev": 3, "test": 2}
    assert asked == [("org/data", "mrpc", "v1")] and task.carved is None


def test_minus_one_of_a_class_label_is_no_class(monkeypatch):
    features = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["a", "b"])})
    rows = {"text": [f"text {i}" for i in range(6)], "label": [0, 1, -1] * 2}
    hub(monkeypatch, train=datasets.Dataset.from_dict(rows, features=features), validation=ROWS, test=ROWS)
    with pytest.raises(
        ValueError, match=r"'train', row 2: column 'label' is null; .* has labels in task.splits \(-1 of a ClassLabel"
    ):
        load_task(TaskConfig(path="org/data"))


def test_another_split_can_stand_for_one(monkeypatch):
    many = [{"text": f"text {i}", "label": "ab"[i % 2]} for i in range(100)]
    hub(monkeypatch, train=many, validation=ROWS[:3], test=[{"text": "a", "label": -1}])
    with pytest.raises(
        ValueError, match=r"label '-1' is not in the label set .*kept back, name another with task.splits"
    ):
        load_task(TaskConfig(path="org/data"))
    hub(monkeypatch, train=many, validation=ROWS[:3], test=[{"text": "a", "label": -1}])
    task = load_task(TaskConfig(path="org/data", splits={"test": "validation"}))
    assert {name: len(split) for name, split in task.splits.items()} == {"train": 84, "dev": 16, "test": 3}
    with pytest.raises(ValueError, match=r"task.splits: .*org/data has no split 'ood'"):
        load_task(TaskConfig(path="org/data", splits={"test": "ood"}))


@pytest.mark.parametrize("names", [("train", "validation", "test"), ("train", "dev", "test")])
def test_what_datasets_saved_to_disk_is_a_task(tmp_path, names):
    rows = datasets.Dataset.from_list(ROWS)
    datasets.DatasetDict(dict.fromkeys(names, rows)).save_to_disk(tmp_path / "x")
    assert load_task(TaskConfig(path=str(tmp_path / "x"))).splits["dev"].texts == [row["text"] for row in ROWS]
    shutil.copytree(tmp_path / "x" / "train", tmp_path / "one")
    with pytest.raises(ValueError, match="8 rows are too few to carve a split 'dev' off them"):
        load_task(TaskConfig(path=str(tmp_path / "one")))


TAGGED = ("tagging", ["O", "B-PER", "I-PER"], {"tokens": ["Ann", "Lee", "ran"], "tags": [1, 2, 0]})
SINGLE = ("classification", ["no", "yes"], {"text": "a text", "label": 1})


@pytest.mark.parametrize(("kind", "names", "row"), [TAGGED, SINGLE])
def test_classes_by_number_are_called_by_their_names(tmp_path, monkeypatch, kind, names, row):
    string, number = datasets.Value("string"), datasets.ClassLabel(names=names)
    listed = {"tokens": datasets.List(string), "tags": datasets.List(number)}
    features = {name: (listed | {"text": string, "label": number})[name] for name in row}
    rows = {name: [value] * 7 + [0 if name == "label" else value] for name, value in row.items()}
    split = datasets.Dataset.from_dict(rows, features=datasets.Features(features))
    saved = {"train": split, "dev": split.with_format("numpy"), "test": split}
    datasets.DatasetDict(saved).save_to_disk(tmp_path / "x")
    assert KINDS.get(kind).read(TaskConfig(path=str(tmp_path / "x"))).labels == names
    hub(monkeypatch, **dict.fromkeys(("train", "dev", "test"), split.to_iterable_dataset()))
    assert KINDS.get(kind).read(TaskConfig(path="org/data")).labels == names


def test_a_hub_data_set_of_one_split_is_carved_if_it_is_called_train(monkeypatch):
    many = [{"text": f"text {i}", "label": "ab"[i % 2]} for i in range(100)]
    hub(monkeypatch, train=many)
    assert {n: len(split) for n, split in load_task(TaskConfig(path="o/d")).splits.items()} == {
        "train": 68,
        "dev": 16,
        "test": 16,
    }
    hub(monkeypatch, full=many)
    with pytest.raises(ValueError, match=r"'o/d' has no split 'train'; it has \['full'\]; name one with task.splits"):
        load_task(TaskConfig(path="o/d"))
    hub(monkeypatch, full=many)
    task = load_task(TaskConfig(path="o/d", splits={"train": "full"}))
    assert sum(map(len, task.splits.values())) == 100 and task.carved


def test_an_extra_test_by_a_name_of_dev_is_not_dev_as_well(tmp_path):
    for split in ("train", "validation", "test"):
        rows = [json.dumps({"text": f"{split} {i}", "label": "ab"[i % 2]}) + "\n" for i in range(100)]
        (tmp_path / f"{split}.jsonl").write_text("".join(rows))
    task = load_task(TaskConfig(path=str(tmp_path), extra_tests=["validation"]))
    assert task.splits["validation"].texts[0] == "validation 0" and "dev" in task.carved
    assert all(text.startswith("train") for text in task.splits["dev"].texts)
