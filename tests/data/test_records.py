import gzip
import json
import sys

import datasets
import pytest

from policylearn.data.records import SUFFIXES, find_split, read_records

ROWS = [{"text": "one, two", "label": "a"}, {"text": 'say "three"', "label": "b"}]


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


def as_lines(rows: list[dict]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def write(path, text: str):
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return str(path)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("x.jsonl", as_lines(ROWS)),
        ("x.jsonl", "\n" + as_lines(ROWS).replace("\n", "\n\n")),
        ("x.jsonl", as_lines(ROWS).strip()),
        ("x.jsonl.gz", as_lines(ROWS)),
        ("x.csv", 'text,label\n"one, two",a\n"say ""three""",b\n'),
    ],
    ids=["jsonl", "blank lines", "no last newline", "jsonl.gz", "csv"],
)
def test_the_same_records_from_any_file(tmp_path, name, text):
    assert list(read_records(write(tmp_path / name, text), ("text", "label"))) == ROWS


def test_a_text_file_is_one_record_per_line(tmp_path):
    assert list(read_records(write(tmp_path / "x.txt", "one\ntwo\n"), ("text",))) == [{"text": "one"}, {"text": "two"}]


def test_words_that_pandas_takes_for_missing_stay_words(tmp_path):
    path = write(tmp_path / "x.csv", "text,label\nNA,None\nnull,7\n")
    assert [tuple(row.values()) for row in read_records(path, ("text", "label"))] == [("NA", "None"), ("null", "7")]


def test_lines_are_read_as_they_are_asked_for(tmp_path):
    records = read_records(write(tmp_path / "x.jsonl", as_lines(ROWS) + "not JSON\n"), ("text",))
    assert [next(records), next(records)] == ROWS
    with pytest.raises(ValueError, match="line 3 is not JSON"):
        next(records)


@pytest.mark.parametrize("name", ["x.jsonl", "x.jsonl.gz", "x.csv", "x.txt", "x.parquet"])
def test_a_missing_file_is_named_with_its_setting(tmp_path, name):
    with pytest.raises(ValueError, match=rf"domain.path .*{name} does not exist"):
        next(read_records(str(tmp_path / name), ("text",), key="domain.path"))


def test_a_relative_file_that_is_not_there_is_not_looked_for_on_the_hub():
    for source in ("corpora/nothing.jsonl", "./nothing"):
        with pytest.raises(ValueError, match="does not exist"):
            next(read_records(source, ("text",)))


@pytest.mark.parametrize(("name", "text"), [("x.jsonl", as_lines(ROWS)), ("x.csv", "text,label\none,a\n")])
def test_a_missing_column_is_named_with_those_there_are(tmp_path, name, text):
    with pytest.raises(ValueError, match=r"row 0: no column 'abstract'; it has \['label', 'text'\]"):
        next(read_records(write(tmp_path / name, text), ("text", "abstract")))


def test_a_column_missing_later_is_named_with_its_row(tmp_path):
    with pytest.raises(ValueError, match=r"row 2: no column 'label'; it has \['text'\]"):
        list(read_records(write(tmp_path / "x.jsonl", as_lines([*ROWS, {"text": "x"}])), ("label",)))


def test_a_null_is_not_taken_for_the_word_none(tmp_path):
    path = write(tmp_path / "x.jsonl", as_lines([*ROWS, {"text": None, "label": "a"}]))
    with pytest.raises(ValueError, match="row 2: column 'text' is null"):
        list(read_records(path, ("text",)))
    assert len(list(read_records(path, ("label",)))) == 3


@pytest.mark.parametrize(
    ("line", "complaint"), [("{text: 1}", "line 3 is not JSON: .*column"), ("[1]", "line 3 is not a JSON object")]
)
def test_a_bad_line_is_named_with_its_number(tmp_path, line, complaint):
    path = write(tmp_path / "x.jsonl", as_lines(ROWS) + line)
    with pytest.raises(ValueError, match=f"task.path .*x.jsonl, {complaint}"):
        list(read_records(path, ("text",), key="task.path"))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("x.jsonl.gz", as_lines(ROWS).encode()),
        ("x.jsonl.gz", gzip.compress(as_lines(ROWS * 999).encode())[:90]),
        ("x.jsonl", '{"text": "ü"}'.encode("latin-1")),
    ],
    ids=["not gzip", "cut off", "not UTF-8"],
)
def test_a_damaged_file_is_named(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=f"{name} is damaged or not in UTF-8"):
        list(read_records(str(tmp_path / name), ("text",)))


def test_a_folder_in_place_of_a_file(tmp_path):
    with pytest.raises(ValueError, match=r"general.path .* is a folder; name one file in it"):
        next(read_records(str(tmp_path), ("text",), key="general.path"))


def test_hub_data_sets_are_streamed_and_their_dev_split_is_called_validation(monkeypatch):
    asked = []
    monkeypatch.setattr(datasets, "load_dataset", lambda *a, **k: asked.append((*a, k)) or iter(ROWS))
    assert list(read_records("org/data", ("text",), split="dev")) == ROWS
    assert asked == [("org/data", {"split": "validation", "streaming": True})]


def test_a_hub_name_that_leads_nowhere(monkeypatch):
    def unreachable(*args, **kwargs):
        raise ConnectionError("no network")

    monkeypatch.setattr(datasets, "load_dataset", unreachable)
    with pytest.raises(ValueError, match=r"path 'org/data' is neither a file nor a Hub data set.*no network"):
        next(read_records("org/data", ("text",)))


def test_json_lines_need_no_datasets_and_the_rest_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    assert list(read_records(write(tmp_path / "x.jsonl", as_lines(ROWS)), ("text",))) == ROWS
    with pytest.raises(ValueError, match=r"needs `datasets`; pip install 'policylearn\[train\]'"):
        next(read_records(write(tmp_path / "x.csv", "text\none\n"), ("text",)))


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_split_files_are_found_by_any_known_ending(tmp_path, suffix):
    path = write(tmp_path / f"dev{suffix}", "")
    assert find_split(str(tmp_path), "dev") == path


def test_a_missing_split_file_says_what_was_looked_for(tmp_path):
    write(tmp_path / "train.jsonl", "")
    with pytest.raises(ValueError, match=r"no file for split 'dev'; looked for dev with .*\.jsonl\.gz.*\.csv"):
        find_split(str(tmp_path), "dev")
