import gzip
import json
import sys

import datasets
import pyarrow
import pytest
from pyarrow import parquet

from policylearn.data.records import matching_files, read_records

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


@pytest.mark.parametrize("name", ["x.jsonl", "x.jsonl.gz", "x.csv", "x.txt", "x.parquet", "x.JSON", "x.tsv.gz"])
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


def test_a_column_within_a_column_is_told_to_be_none(tmp_path):
    path = write(tmp_path / "x.jsonl", as_lines([{"doc": {"text": "one"}}]))
    with pytest.raises(ValueError, match=r"it has \['doc'\]: a column within a column is not read; make it a column"):
        next(read_records(path, ("doc.text",), settings={"doc.text": "domain.text"}))


def test_a_column_missing_later_is_named_with_its_row(tmp_path):
    with pytest.raises(ValueError, match=r"row 2: no column 'label'; it has \['text'\]"):
        list(read_records(write(tmp_path / "x.jsonl", as_lines([*ROWS, {"text": "x"}])), ("label",)))


def test_a_null_is_not_taken_for_the_word_none(tmp_path):
    path = write(tmp_path / "x.jsonl", as_lines([*ROWS, {"text": None, "label": "a"}]))
    with pytest.raises(ValueError, match="row 2: column 'text' is null"):
        list(read_records(path, ("text",)))
    assert len(list(read_records(path, ("label",)))) == 3


@pytest.mark.parametrize(
    ("line", "complaint"), [("{text: 1}", "line 3 is not JSON: .*column"), ("[1]", "line 3 is not a JSON object but")]
)
def test_a_bad_line_is_named_with_its_number(tmp_path, line, complaint):
    path = write(tmp_path / "x.jsonl", as_lines(ROWS) + line)
    with pytest.raises(ValueError, match=f"task.path .*x.jsonl, {complaint}"):
        list(read_records(path, ("text",), key="task.path"))


def test_a_folder_in_place_of_a_file(tmp_path):
    with pytest.raises(ValueError, match=r"general.path .* is a folder; name one file in it"):
        next(read_records(str(tmp_path), ("text",), key="general.path"))
    write(tmp_path / "part-0.jsonl.gz", as_lines(ROWS))
    with pytest.raises(ValueError, match=rf"several by a pattern such as {tmp_path}/\*\.jsonl\.gz$"):
        next(read_records(str(tmp_path), ("text",), key="general.path"))


@pytest.mark.parametrize("name", ["dev", "validation", "valid", "val"])
def test_hub_data_sets_are_streamed_and_their_dev_split_has_any_usual_name(monkeypatch, name):
    asked = []
    monkeypatch.setattr(datasets, "load_dataset", lambda *a, **k: asked.append((*a, k)) or {"train": [], name: ROWS})
    where = {"configuration": "mrpc", "revision": "v1"}
    assert list(read_records("org/data", ("text",), split="dev", **where)) == ROWS
    assert asked == [("org/data", "mrpc", {"revision": "v1", "streaming": True})]


def test_a_split_that_a_hub_data_set_lacks_is_named_with_those_it_has(monkeypatch):
    monkeypatch.setattr(datasets, "load_dataset", lambda *a, **k: {"test": ROWS})
    with pytest.raises(ValueError, match=r"domain.path 'org/data' has no split 'train'; it has \['test'\]"):
        next(read_records("org/data", ("text",), key="domain.path"))


def fails(error):
    def raising(*args, **kwargs):
        raise error

    return raising


def test_a_hub_name_that_leads_nowhere(monkeypatch):
    monkeypatch.setattr(datasets, "load_dataset", fails(ConnectionError("no network")))
    with pytest.raises(ValueError, match=r"path 'org/data' is neither a file nor a Hub data set.*no network"):
        next(read_records("org/data", ("text",)))


def test_what_looks_like_a_configuration_is_said_how_to_set(monkeypatch):
    monkeypatch.setattr(datasets, "load_dataset", fails(ConnectionError("no such data set")))
    with pytest.raises(ValueError, match=r"set domain.path=glue domain.configuration=mrpc"):
        next(read_records("glue/mrpc", ("text",), key="domain.path"))
    monkeypatch.setattr(datasets, "load_dataset", fails(ValueError("Config name is missing. Pick one of ['cola']")))
    with pytest.raises(ValueError, match=r"Pick one of \['cola'\]; set domain.configuration"):
        next(read_records("org/glue", ("text",), key="domain.path"))


def test_the_reason_behind_an_error_of_datasets_is_said(monkeypatch):
    def rows():
        yield ROWS[0]
        try:
            raise OSError("disk full")
        except OSError as error:
            raise datasets.exceptions.DatasetGenerationError("An error occurred while generating") from error

    monkeypatch.setattr(datasets, "load_dataset", lambda *a, **k: {"train": rows()})
    with pytest.raises(ValueError, match=r"'org/data', split 'train' cannot be read: An error occurred .*: disk full"):
        list(read_records("org/data", ("text",)))


@pytest.mark.parametrize("saved", ["one", "several"])
def test_what_datasets_saved_to_disk_is_read(tmp_path, saved):
    rows = datasets.Dataset.from_list(ROWS)
    (rows if saved == "one" else datasets.DatasetDict(train=rows, other=rows.select([0]))).save_to_disk(tmp_path / "x")
    assert list(read_records(str(tmp_path / "x"), ("text", "label"))) == ROWS


@pytest.mark.parametrize(
    "saved", [lambda rows, place: rows.save_to_disk(place), lambda rows, place: rows.to_parquet(place)]
)
def test_classes_that_are_numbers_are_called_by_their_names(tmp_path, saved):
    kind = datasets.ClassLabel(names=["neg", "pos"])
    features = datasets.Features({"text": datasets.Value("string"), "label": kind, "tags": datasets.Sequence(kind)})
    rows = {"text": ["a", "b", "c"], "label": [1, 0, -1], "tags": [[0, 1], [], [1]]}
    saved(datasets.Dataset.from_dict(rows, features=features), tmp_path / "x.parquet")
    found = list(read_records(str(tmp_path / "x.parquet"), ("text",)))
    assert [row["label"] for row in found] == ["pos", "neg", None]
    assert [row["tags"] for row in found] == [["neg", "pos"], [], ["pos"]]
    with pytest.raises(ValueError, match="row 2: column 'label' is null"):
        list(read_records(str(tmp_path / "x.parquet"), ("label",)))


FEATURES = {"label": {"names": ["neg", "pos"], "_type": "ClassLabel"}}


def with_metadata(place, written, labels=(0, 1, 2)):
    """A file of Parquet in which some tool wrote so where `datasets` keeps its features."""
    table = pyarrow.table({"text": ["a", "b", "c"], "label": list(labels)})
    parquet.write_table(table.replace_schema_metadata({b"huggingface": written}), place)
    return str(place)


@pytest.mark.parametrize(
    "written",
    [b"no json", b"\xff", b"[]", b'{"info": null}', b'{"info": {"features": ["label"]}}']
    + [
        json.dumps({"info": {"features": {"label": kind}}}).encode()
        for kind in ("int64", None, [], {"feature": "int64"}, {"_type": "ClassLabel", "names": {"0": "neg"}})
    ],
)
def test_what_other_tools_write_where_classes_have_their_names_names_none(written, tmp_path):
    found = read_records(with_metadata(tmp_path / "x.parquet", written), ("label",))
    assert [row["label"] for row in found] == [0, 1, 2]


def test_a_class_without_a_name_is_refused_where_it_is(tmp_path):
    written = json.dumps({"info": {"features": {"x": "string", **FEATURES}}}).encode()
    place = with_metadata(tmp_path / "x.parquet", written)
    with pytest.raises(ValueError, match=r"x\.parquet, row 2: column 'label' holds class 2, but .* names for 2, \['n"):
        list(read_records(place, ("text",)))
    found = read_records(with_metadata(tmp_path / "x.parquet", written, (0, 1, -1)), ("text",))
    assert [row["label"] for row in found] == ["neg", "pos", None]


def test_json_lines_need_no_datasets_and_the_rest_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    assert list(read_records(write(tmp_path / "x.jsonl", as_lines(ROWS)), ("text",))) == ROWS
    assert list(read_records(write(tmp_path / "x.csv", "text\none\n"), ("text",))) == [{"text": "one"}]
    with pytest.raises(ValueError, match=r"needs `datasets`; pip install 'policylearn\[train\]'"):
        next(read_records("org/data", ("text",)))


NOT_TEXT = {
    "a list": ["First", "sentence"],
    "a dict": {"body": "x"},
    "a int": 3,
    "a bool": True,
    "a float": 1.5,
}


@pytest.mark.parametrize(("kind", "value"), NOT_TEXT.items(), ids=NOT_TEXT)
def test_a_text_that_is_none_is_refused_by_row_and_type(tmp_path, kind, value):
    path = write(tmp_path / "x.jsonl", as_lines([ROWS[0], {"text": value}]))
    with pytest.raises(
        ValueError, match=rf"x.jsonl, row 1: column 'text' holds {kind}, not a text: .*set task.text to"
    ):
        list(read_records(path, ("text",), settings={"text": "task.text"}, text="text"))


def test_bytes_and_nan_are_no_text_either(tmp_path):
    datasets.Dataset.from_dict({"text": [b"caf\xc3\xa9"]}).to_parquet(tmp_path / "x.parquet")
    with pytest.raises(ValueError, match="row 0: column 'text' holds a bytes, not a text"):
        list(read_records(str(tmp_path / "x.parquet"), ("text",), text="text"))
    path = write(tmp_path / "x.jsonl", '{"text": NaN}\n')
    with pytest.raises(ValueError, match="row 0: column 'text' is null"):
        list(read_records(path, ("text",), text="text"))


def test_half_a_surrogate_pair_is_replaced_and_that_is_said_once(tmp_path):
    path = write(tmp_path / "x.jsonl", '{"text": "a \\ud83d b"}\n{"text": "\\ude00 \\ud83d\\ude00"}\n')
    with pytest.warns(UserWarning, match=r"x.jsonl: U.FFFD is read in place") as said:
        found = [row["text"] for row in read_records(path, ("text",), text="text")]
    assert found == ["a \ufffd b", "\ufffd 😀"] and len({str(warning.message) for warning in said}) == 1


@pytest.mark.parametrize(
    ("columns", "settings", "advice"),
    [
        (["sentence", "target"], {"text": "task.text", "label": "task.label"}, "set task.text=sentence"),
        (["text", "target"], {"text": "task.text", "label": "task.label"}, "set task.label=target"),
        (["Text"], {"text": "general.text"}, "set general.text=Text"),
        (["sentence1", "sentence2"], {"text": "task.text"}, r"set task\.text=\[sentence1,sentence2\]"),
        (["sentence1", "sentence2"], {"text": "domain.text"}, "set domain.text=sentence1"),
        (["premise", "hypothesis"], {"a": "task.text", "b": "task.text"}, r"set task\.text=\[premise,hypothesis\]"),
        (["old", "new texts"], {"old": "task.text", "new text": "task.text"}, r"set task\.text=\[old,'new texts'\]"),
        (["Review Text", "text "], {"review_text": "task.text"}, "set task.text='text '"),
        (["headline"], {"headlin": "domain.text"}, "set domain.text=headline"),
        (["pos_tags"], {"pos_tag": "scores.pos_column.name"}, "set scores.pos_column.name=pos_tags"),
        (["x", "z"], {"text": "domain.text"}, "set domain.text to the one that is meant"),
        (["content"], {"text": "--column"}, "--column content"),
        (["content"], {"text": "column"}, "set column=content"),
    ],
)
def test_a_missing_column_says_which_setting_mends_it(tmp_path, columns, settings, advice):
    path = write(tmp_path / "x.jsonl", as_lines([dict.fromkeys(columns, "a")]))
    with pytest.raises(ValueError, match=rf"it has \[.*\]: {advice}$"):
        list(read_records(path, settings, settings=settings))


def test_a_row_of_very_many_columns_or_a_very_long_value_makes_no_long_message(tmp_path):
    path = write(tmp_path / "x.jsonl", as_lines([{f"column {i}": "x" for i in range(10_000)}]))
    with pytest.raises(ValueError, match="and 9,988 more") as caught:
        list(read_records(path, ("text",)))
    assert len(str(caught.value)) < 1000
    path = write(tmp_path / "y.jsonl", as_lines([{"text": ["O"] * 100_000}]))
    with pytest.raises(ValueError, match="holds a list") as caught:
        list(read_records(path, ("text",), text="text"))
    assert len(str(caught.value)) < 1000


def test_a_file_with_brackets_in_its_name_is_no_pattern(tmp_path):
    path = write(tmp_path / "data[1].jsonl", as_lines(ROWS))
    assert matching_files(path) == [path]
