import json
import random
from collections import Counter

import pytest

from policylearn.config import TaskConfig
from policylearn.data.carve import carve
from policylearn.data.questions import read_questions
from policylearn.data.task import load_task

SHARES = {"dev": 0.15, "test": 0.15}


def some_rows(n=400, seed=0):
    draw = random.Random(seed)
    return [(f"text {draw.randrange(n)}", draw.choices("abc", [6, 3, 1])[0]) for _ in range(n)]


def sides(rows, shares=SHARES):
    """Split → its rows, in a fixed order."""
    texts, labels = zip(*rows, strict=True)
    return {name: sorted(rows[i] for i in found) for name, found in carve(texts, labels, shares).items()}


def test_every_row_is_on_one_side_and_texts_stay_together():
    rows = some_rows()
    found = sides(rows)
    assert sorted(row for part in found.values() for row in part) == sorted(rows)
    texts = [{text for text, _ in part} for part in found.values()]
    assert sum(map(len, texts)) == len(set.union(*texts))


def test_order_has_no_say():
    rows = some_rows()
    assert sides(rows) == sides(random.Random(1).sample(rows, len(rows)))


def test_labels_are_in_proportion():
    rows = [(f"text {i}", "aab"[i % 3]) for i in range(600)]
    found = sides(rows)
    assert {name: Counter(label for _, label in part) for name, part in found.items()} == {
        "train": {"a": 280, "b": 140},
        "dev": {"a": 60, "b": 30},
        "test": {"a": 60, "b": 30},
    }


def test_a_label_of_too_few_texts_stays_in_train():
    rows = [(f"text {i}", "ab"[i % 2]) for i in range(200)] + [("rare", "c"), ("rarer", "c")]
    found = sides(rows)
    assert [label for part in ("dev", "test") for _, label in found[part]].count("c") == 0
    assert ("rare", "c") in found["train"]


@pytest.mark.parametrize("n", [1, 9, 40])
def test_too_few_rows_are_refused_by_the_setting(n):
    with pytest.raises(
        ValueError, match=r"rows are too few to carve a split 'dev' .*give a file for it, or raise task.dev_share"
    ):
        carve([f"text {i}" for i in range(n)], ["a", "b"] * (n // 2) + ["a"] * (n % 2), SHARES)


@pytest.mark.parametrize("texts", [1, 5])
def test_rows_of_few_texts_are_asked_for_their_column(texts):
    with pytest.raises(ValueError, match=rf"200 rows have {texts} different texts, too few .* is task\.text the right"):
        carve([f"text {i % texts}" for i in range(200)], ["a"] * 200, SHARES)


def write(path, rows):
    path.write_text("".join(json.dumps({"text": text, "label": label}) + "\n" for text, label in rows))


def test_one_file_is_no_longer_three_splits(tmp_path):
    rows = [(f"text {i}", "ab"[i % 2]) for i in range(200)]
    write(tmp_path / "x.jsonl", rows)
    task = load_task(TaskConfig(path=str(tmp_path / "x.jsonl"), dev_share=0.1, test_share=0.2))
    assert {name: len(split) for name, split in task.splits.items()} == {"train": 140, "dev": 20, "test": 40}
    assert len({text for split in task.splits.values() for text in split.texts}) == 200
    assert task.carved is not None and task.carved.endswith(
        "x.jsonl has no dev and no test: of its 200 rows 20 for dev (task.dev_share) and 40 for test (task.test_share) "
        "are carved off, by a hash of their texts, labels in proportion"
    )
    write(tmp_path / "x.jsonl", rows[::-1])
    assert {
        text
        for text in load_task(TaskConfig(path=str(tmp_path / "x.jsonl"), dev_share=0.1, test_share=0.2))
        .splits["dev"]
        .texts
    } == set(task.splits["dev"].texts)


@pytest.mark.parametrize("missing", ["dev", "test"])
def test_a_split_that_is_not_there_is_carved_off_train(tmp_path, missing):
    for name in {"train", "dev", "test"} - {missing}:
        write(tmp_path / f"{name}.jsonl", [(f"{name} text {i}", "ab"[i % 2]) for i in range(100)])
    task = load_task(TaskConfig(path=str(tmp_path)))
    there = ({"dev", "test"} - {missing}).pop()
    assert {name: len(split) for name, split in task.splits.items()} == {"train": 84, missing: 16, there: 100}
    assert all(text.startswith("train") for text in task.splits[missing].texts)
    assert f"has no {missing}: of its 100 rows 16 for {missing} (task.{missing}_share) are carved" in str(task.carved)


def test_several_files_by_a_pattern_are_one_set_of_rows(tmp_path):
    for part in range(2):
        write(tmp_path / f"part{part}.jsonl", [(f"text {part} {i}", "ab"[i % 2]) for i in range(100)])
    assert sum(map(len, load_task(TaskConfig(path=f"{tmp_path}/part*.jsonl")).splits.values())) == 200


def test_a_label_is_checked_before_anything_is_carved(tmp_path):
    write(tmp_path / "x.jsonl", [*((f"text {i}", "ab"[i % 2]) for i in range(100)), ("odd", "c")])
    with pytest.raises(ValueError, match="row 100: label 'c' is not in the label set"):
        load_task(TaskConfig(path=str(tmp_path / "x.jsonl"), labels=["a", "b"]))


def test_questions_are_carved_too(tmp_path):
    rows = [{"text": f"question {i}", "answers": f"answer {i}"} for i in range(100)]
    (tmp_path / "x.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    task = read_questions(TaskConfig(path=str(tmp_path / "x.jsonl"), answers="answers", metric="likelihood"))
    assert {name: len(split) for name, split in task.splits.items()} == {"train": 70, "dev": 15, "test": 15}
    assert str(task.carved).endswith("are carved off, by a hash of their texts")


@pytest.mark.parametrize("text", ["", "[removed]"])
def test_a_text_of_many_rows_stays_in_train_and_fills_no_split(text):
    rows = [(text if i % 2 else f"text {i}", "ab"[i // 2 % 2]) for i in range(240)]
    found = sides(rows)
    assert not any(text == x for name in ("dev", "test") for x, _ in found[name])
    for name in ("dev", "test"):
        assert 10 <= len(found[name]) < 60 and {label for _, label in found[name]} == {"a", "b"}


def test_a_column_of_ids_or_amounts_is_asked_about():
    with pytest.raises(ValueError, match=r"240 rows have 240 different labels.*a column of ids\?.*regression"):
        carve([f"text {i}" for i in range(240)], [f"{i}" for i in range(240)], SHARES)
