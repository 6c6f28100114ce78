"""Words with tags, as files have them."""

import json

import pytest

from policylearn.config import TaskConfig
from policylearn.data.kinds import inferred_kind
from policylearn.data.overview import describe_tags
from policylearn.data.tags import load_tags, words_of

TOKENS = {"tokens": ["Aspirin", "helps", "Ann"], "tags": ["B-Drug", "O", "O"]}
SPANS = {"text": "Aspirin helps Ann.", "spans": [{"start": 0, "end": 7, "label": "Drug"}]}


@pytest.fixture
def read(tmp_path):
    def load(*rows, **settings):
        for split in ("train", "dev", "test"):
            (tmp_path / f"{split}.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
        return load_tags(TaskConfig(path=str(tmp_path), kind="tagging", **settings))

    return load


def test_lists_and_spans_are_the_same_task(read):
    a, b = read(TOKENS, TOKENS), read(SPANS, SPANS)
    assert a.labels == b.labels == ["O", "B-Drug", "I-Drug"]
    assert a.splits["dev"].texts[0] == ("Aspirin", "helps", "Ann") == b.splits["dev"].texts[0][:3]
    assert b.splits["dev"].labels[0] == [*a.splits["dev"].labels[0], "O"]
    assert describe_tags(a)[0] == "task  2 / 2 / 2 rows, 6 words of train in 3 tags: O 66.7 %, B-Drug 33.3 %"


def test_spans_that_cut_words_are_said(read):
    """In bytes, for one."""
    text = "naïve Ann says"
    spans = [
        {"start": len(text[:at].encode()), "end": len(text[:to].encode()), "label": "x"} for at, to in ((0, 5), (6, 9))
    ]
    said = describe_tags(read({"text": text, "spans": spans}, SPANS))
    assert [line for line in said if "spans" in line] == [
        "task  2 of 3 spans of train begin or end inside a word or on white space: they are read as characters (not "
        "bytes) from 0, the end exclusive; a word is of the first that touches it"
    ]
    assert not any("spans" in line for line in describe_tags(read(SPANS, SPANS)))


def test_tags_that_are_numbers_and_columns_of_other_names(read):
    row = {"words": ["a", "b"], "ner": [0, 2]}
    task = read(row, row, text="words", label="ner", labels=["O", "B-x", "I-x"])
    assert task.splits["train"].labels[0] == ["O", "I-x"] and task.labels == ["O", "B-x", "I-x"]


def test_names_of_tags_are_of_the_scheme_too(read):
    with pytest.raises(ValueError, match=r"task\.labels: the tag 'Drug' is not O, or B- or I-"):
        read({"tokens": ["a", "b"], "tags": [0, 1]}, labels=["O", "Drug"])


def test_what_is_amiss_with_numbers_or_columns_of_tags_is_said(read):
    with pytest.raises(ValueError, match=r"the tag -100 is none, task\.labels names 0 to 1: take it out"):
        read({"tokens": ["a", "b"], "tags": [0, -100]}, labels=["O", "B-x"])
    with pytest.raises(ValueError, match=r"no column 'tags'; .* set task\.label=ner_tags"):
        read({"tokens": ["a", "b"], "ner_tags": [0, 1]})


@pytest.mark.parametrize(
    ("row", "kind"),
    [
        (TOKENS, "tagging"),
        (TOKENS | {"text": "Aspirin helps Ann"}, "tagging"),
        (TOKENS | {"tags": ["O"]}, "tagging"),
        ({"tokens": ["a", "b"], "ner_tags": [0, 1]}, "tagging"),
        ({"tokens": ["a", "b"], "label": "x"}, "classification"),
        (TOKENS | {"text": "a", "tags": ["x"]}, "classification"),
        (SPANS, "tagging"),
        (SPANS | {"label": "x"}, "classification"),
        (TOKENS | {"text": "a", "label": "x"}, "classification"),
        ({"text": "a", "label": ["x"]}, "multilabel"),
        ({"text": "a", "spans": "none"}, "classification"),
    ],
)
def test_a_task_of_tags_is_known_by_its_columns(row, kind):
    assert inferred_kind(TaskConfig(path="x"), [row])[0] == kind


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tags": ["O"]}, "row 1: 3 words with 1 tags"),
        ({"tokens": [], "tags": []}, "row 1: 0 words with 0 tags"),
        ({"tags": ["O", "Drug", "O"]}, "row 1: the tag 'Drug' is not O, or B- or I-"),
        ({"tags": ["O", 7, "O"]}, r"row 1: the tag 7 is a number: list .* task\.labels"),
        ({"tags": "O"}, "row 1: 'O' is no list of tags or spans"),
        ({"tokens": [1, 2, 3]}, "row 1, the list of words holds a int, not a text"),
        ({"tokens": 3}, "row 1: 3 is neither a list of words nor a text"),
    ],
)
def test_bad_lists_are_refused_with_their_row(read, change, message):
    with pytest.raises(ValueError, match=message):
        read(TOKENS, TOKENS | change)


@pytest.mark.parametrize(
    ("spans", "message"),
    [
        ([{"start": 0, "end": 99, "label": "x"}], "the span 0 to 99 holds no word of a text of 18 characters"),
        ([{"start": 7, "end": 8, "label": "x"}], "the span 7 to 8 holds no word"),
        ([{"start": 0, "end": 7, "label": "x"}, {"start": 3, "end": 13, "label": "y"}], "spans at 0 and 3 overlap"),
        ([[0, 7, "x"]], r"\[0, 7, 'x'\] is no span such as"),
    ],
)
def test_bad_spans_are_refused_with_their_row(read, spans, message):
    with pytest.raises(ValueError, match=f"row 1: .*{message}"):
        read(SPANS, SPANS | {"spans": spans})


def test_a_type_that_train_has_not_is_refused_and_can_be_listed(read, tmp_path):
    read(TOKENS)
    (tmp_path / "dev.jsonl").write_text(json.dumps(TOKENS | {"tags": ["B-Drug", "O", "B-Person"]}), encoding="utf-8")
    config = TaskConfig(path=str(tmp_path), kind="tagging")
    with pytest.raises(
        ValueError, match=r"split 'dev', row 0: the tag 'B-Person' is not in the label set .*task\.labels"
    ):
        load_tags(config)
    assert load_tags(config.model_copy(update={"labels": ["O", "B-Drug", "B-Person"]})).splits["dev"].labels[0][2]


def test_neighbouring_spans_are_two():
    words, tags = words_of("New York London", [(0, 8, "City"), (9, 15, "City")])
    assert list(zip(words, tags, strict=True)) == [("New", "B-City"), ("York", "I-City"), ("London", "B-City")]


def test_a_row_without_a_span_has_words_outside_of_any(read):
    nothing = {"text": "Nobody came.", "spans": []}
    assert read(SPANS, nothing, SPANS).splits["train"].labels[1] == ["O", "O", "O"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("हिन्दी में", ["हिन्दी", "में"]),
        ("cafe\u0301, naïve", ["cafe\u0301", ",", "naïve"]),
        ("می\u200cروم خانه", ["می\u200cروم", "خانه"]),
        ("👩\u200d🔬 works", ["👩\u200d🔬", "works"]),
        ("a-b", ["a", "-", "b"]),
        ("iPhone很好。", ["iPhone", "很", "好", "。"]),
        ("東京タワー", [*"東京タワー"]),
        ("กินข้าว 12", ["กิ", "น", "ข้", "า", "ว", "12"]),
    ],
)
def test_words_with_marks_and_joiners_stay_whole(text, words):
    assert words_of(text, [])[0] == words


@pytest.mark.parametrize("text", ["我昨天在北京看书", "Wnt3a binds.", "서울에서 만나요", "ฉันรักกรุงเทพ"])
def test_where_words_begin_says_nothing_of_spans(text):
    """Which are the answers of dev and test too."""
    for start in range(len(text)):
        for end in range(start + 1, len(text) + 1):
            words, tags = words_of(text, [(start, end, "x")])
            assert words == words_of(text, [])[0] and {*tags} <= {"O", "B-x", "I-x"} and tags.count("B-x") <= 1


def test_what_a_span_touches_is_its_word():
    assert words_of("他在北京。", [(2, 4, "City")])[1] == ["O", "O", "B-City", "I-City", "O"]
    assert words_of("서울에서 만나요", [(0, 2, "City")])[1] == ["B-City", "O"]


def test_half_a_surrogate_pair_in_a_text_with_spans_is_replaced(read):
    with pytest.warns(UserWarning, match=r"U\+FFFD is read in place"):
        task = read(SPANS | {"text": "Aspirin helps \ud83d Ann."})
    assert task.splits["train"].texts[0] == ("Aspirin", "helps", "\ufffd", "Ann", ".")


def test_a_task_of_one_tag_is_none(read):
    with pytest.raises(ValueError, match="no word of train has a tag but O"):
        read({"tokens": ["a"], "tags": ["O"]})


@pytest.mark.parametrize("split", ["dev", "test"])
def test_a_split_whose_tags_are_kept_back_is_refused(read, tmp_path, split):
    read(TOKENS, TOKENS)
    row = json.dumps({**TOKENS, "tags": ["O"] * len(TOKENS["tags"])})
    (tmp_path / f"{split}.jsonl").write_text(f"{row}\n{row}", encoding="utf-8")
    with pytest.raises(ValueError, match=f"no word of split '{split}' has a tag but O; .* kept back, name another"):
        load_tags(TaskConfig(path=str(tmp_path), kind="tagging"))
    task = load_tags(TaskConfig(path=str(tmp_path), kind="tagging", metric="accuracy"))
    assert f"no row of {split} has the label B-Drug" in " ".join(describe_tags(task))


def test_texts_without_spans_may_be_a_further_test(read, tmp_path):
    read(TOKENS, TOKENS)
    row = json.dumps({**TOKENS, "tags": ["O"] * len(TOKENS["tags"])})
    (tmp_path / "negatives.jsonl").write_text(row, encoding="utf-8")
    task = load_tags(TaskConfig(path=str(tmp_path), kind="tagging", extra_tests=["negatives"]))
    assert "no row of negatives has the label B-Drug" in " ".join(describe_tags(task))


def test_where_too_little_is_carved_for_a_span_the_share_is_named(tmp_path):
    rows = [{**TOKENS, "tokens": ["Aspirin", "helps", str(i)]} for i in range(300)]
    rows[1:] = [{**row, "tags": ["O"] * 3} for row in rows[1:]]
    (tmp_path / "train.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    with pytest.raises(ValueError, match=r"no word of split .* but O; it is carved off train: set task\.dev_share"):
        load_tags(TaskConfig(path=str(tmp_path), kind="tagging"))
