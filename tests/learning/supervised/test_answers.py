import json
from pathlib import Path

import pytest

from policylearn.config import SupervisedConfig, load_config
from policylearn.learning.supervised.answers import TARGET, answer_texts, numbered, planted_texts

SQUAD = Path(__file__).parents[4] / "shared" / "data" / "qa" / "qa_squad_dev_part"
ROW = {"context": "He met Ann Lee in May 1999.", "answers": ["Ann Lee"], "answer_start": [7], "is_impossible": False}


def written(folder, *rows, name="train") -> SupervisedConfig:
    lines = "".join(json.dumps(ROW | row) + "\n" for row in rows)
    (folder / f"{name}.jsonl").write_text(lines, encoding="utf-8")
    return SupervisedConfig(path=str(folder))


def targets(config) -> list[tuple[str, list[str]]]:
    """Every text with what stands in it under each number."""
    found = []
    for text, columns in answer_texts(config, "train"):
        numbers = columns[TARGET].astype(int).tolist()
        spans = ["".join(c for c, n in zip(text, numbers, strict=True) if n == k) for k in range(1, max(numbers) + 1)]
        found.append((text, spans))
    return found


def test_questions_about_a_text_are_joined_and_those_without_an_answer_left_out(tmp_path):
    config = written(
        tmp_path,
        {},
        {"answers": ["May 1999", "in May", "1999"], "answer_start": [18, 15, 22]},  # three annotators
        {"answers": ["Lee"], "answer_start": [11], "is_impossible": True},
        {"context": "Nobody came.", "answers": [], "answer_start": []},
        {"context": "It rained.", "answers": ["rained"], "answer_start": [3]},
    )
    assert targets(config) == [(ROW["context"], ["Ann Lee", "in May 1999"]), ("It rained.", ["rained"])]


def test_columns_have_the_names_that_are_set(tmp_path):
    rows = [{"passage": "Rome fell.", "spans": ["Rome"], "at": [0]}]
    (tmp_path / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    config = SupervisedConfig(path=str(tmp_path), text="passage", answers="spans", answer_start="at", impossible=None)
    assert targets(config) == [("Rome fell.", ["Rome"])]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"answer_start": [8]}, r"train, row 1: the answer 'Ann Lee' does not stand at character 8 of its text"),
        ({"answer_start": [-20]}, "does not stand at character -20"),
        ({"answers": [""]}, "the answer '' does not stand"),
        ({"answers": ["Ann", "Lee"]}, "train, row 1: 2 answers, and 1 places of them"),
        ({"is_impossible": "perhaps"}, "column 'is_impossible' holds 'perhaps', which is neither true nor false"),
        ({"context": ["He met", "Ann Lee"]}, r"row 1: column 'context' holds a list, not a text: .*supervised.text"),
        ({"answers": "Ann Lee"}, "train, row 1: column 'answers' holds a str, not a list"),
        ({"answer_start": ["7"]}, "the answer 'Ann Lee' does not stand at character '7'"),
        ({"answers": [None]}, "the answer None does not stand"),
        ({"answer_start": [7.5]}, r"the answer 'Ann Lee' does not stand at character 7\.5"),
        ({"answer_start": [True]}, "the answer 'Ann Lee' does not stand at character True"),
        ({"answers": {"text": ["Ann Lee"], "answer_start": [8]}}, "'Ann Lee' does not stand at character 8"),
        ({"answers": {"text": ["Ann Lee"]}}, "column 'answers' holds a dict, not a list"),
    ],
)
def test_what_is_wrong_with_a_row_is_said(tmp_path, row, message):
    with pytest.raises(ValueError, match=message):
        answer_texts(written(tmp_path, {}, row), "train")


def test_words_say_too_whether_there_is_an_answer(tmp_path):
    """Of a column of strings "False" would be true."""
    assert len(targets(written(tmp_path, {"is_impossible": "False"}, {"is_impossible": "True", "context": "x"}))) == 1


SQUADS = {
    "of the Hub": {"text": ["Ann Lee", "May"], "answer_start": [7, 18]},
    "of its own file": [{"text": "Ann Lee", "answer_start": 7}, {"text": "May", "answer_start": 18.0}],
}


@pytest.mark.parametrize("answers", SQUADS.values(), ids=SQUADS)
@pytest.mark.parametrize("more", [{}, {"is_impossible": None}, {"is_impossible": False}])
def test_answers_as_squad_has_them(tmp_path, answers, more):
    """As the closed-book task takes them, with nothing beside them that its first version has not."""
    nothing = [] if isinstance(answers, list) else {"text": [], "answer_start": []}
    rows = [{"context": ROW["context"], "answers": answers}, {"context": "It rained.", "answers": nothing}]
    (tmp_path / "train.jsonl").write_text("".join(json.dumps(row | more) + "\n" for row in rows), encoding="utf-8")
    assert targets(SupervisedConfig(path=str(tmp_path))) == [(ROW["context"], ["Ann Lee", "May"])]


def test_starts_may_be_fractions_that_are_none(tmp_path):
    assert targets(written(tmp_path, {"answer_start": [7.0]})) == [(ROW["context"], ["Ann Lee"])]


def test_a_column_of_ones_own_name_has_to_be_there(tmp_path):
    config = written(tmp_path, {}).model_copy(update={"impossible": "unanswerable"})
    with pytest.raises(ValueError, match=r"no column 'unanswerable'.*set supervised\.impossible"):
        answer_texts(config, "train")


def test_shards_and_usual_names_are_found(tmp_path):
    written(tmp_path, {}, name="validation-00000-of-00001")
    assert len(answer_texts(SupervisedConfig(path=str(tmp_path)), "dev")) == 1
    with pytest.raises(ValueError, match=r"supervised.path .* has no split 'train'"):
        answer_texts(SupervisedConfig(path=str(tmp_path)), "train")


def test_a_missing_column_says_which_setting_mends_it(tmp_path):
    (tmp_path / "train.jsonl").write_text(json.dumps({"passage": "x", "answers": [], "starts": []}))
    with pytest.raises(ValueError, match=r"no column 'context'.*: set supervised.text to the one that is meant"):
        answer_texts(SupervisedConfig(path=str(tmp_path)), "train")


def test_a_split_without_answers_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no row of train has an answer"):
        answer_texts(written(tmp_path, {"is_impossible": True}), "train")


def test_answers_that_touch_are_two_and_those_that_overlap_one():
    assert numbered(6, [(0, 2), (2, 4), (3, 5)]).tolist() == [1, 1, 2, 2, 2, 0]
    assert numbered(6, [(0, 6), (1, 2), (4, 5)]).tolist() == [1] * 6


@pytest.mark.skipif(not SQUAD.is_dir(), reason="the data are not here")
def test_real_questions():
    texts = answer_texts(SupervisedConfig(path=str(SQUAD)), "train")
    assert len(texts) == 401
    assert sum(columns[TARGET].max() for _, columns in texts) > 1500


@pytest.mark.parametrize(
    ("benchmark", "message"),
    [
        ("planted", '"planted" is a benchmark without questions; "planted-facts" has some'),
        ("planted-facts", '"planted-facts" has other words than task.path "planted"'),
    ],
)
def test_a_benchmark_that_asks_nothing_or_is_not_that_of_the_task_is_refused(benchmark, message):
    with pytest.raises(ValueError, match=message):
        planted_texts(load_config(None, [f"supervised.path={benchmark}"]), "train")
