import csv
import gzip
import json
import tracemalloc
from itertools import islice

import pyarrow
import pytest
from pyarrow import parquet

from policylearn.data.formats import ENDINGS, PARQUET, format_of, read_file

ROWS = [{"text": "one, two", "label": "01"}, {"text": 'say "three"', "label": "NA"}]
LINES = "".join(json.dumps(row) + "\n" for row in ROWS)
CSV = 'text,label\n"one, two",01\n"say ""three""",NA\n'
CONTENT = {
    ".jsonl": LINES,
    ".json": json.dumps(ROWS, indent=1),
    ".csv": CSV,
    ".tsv": 'text\tlabel\none, two\t01\n"say ""three"""\tNA\n',
    ".txt": 'one, two\nsay "three"\n',
}


def write(path, content: str | bytes):
    raw = content.encode() if isinstance(content, str) else content
    path.write_bytes(gzip.compress(raw) if path.suffix.lower() == ".gz" else raw)
    return path


def read(path):
    return list(read_file(path, "domain.path"))


@pytest.mark.parametrize("mark", ["", "\ufeff"], ids=["plain", "BOM"])
@pytest.mark.parametrize("ending", [ending for ending in ENDINGS if ending != PARQUET])
@pytest.mark.parametrize("case", [str, str.upper])
def test_the_same_records_from_every_format(tmp_path, ending, case, mark):
    path = write(tmp_path / f"x{case(ending)}", mark + CONTENT[format_of(tmp_path / f"x{ending}")])
    expected = [{"text": row["text"]} for row in ROWS] if ".txt" in ending else ROWS
    assert read(path) == expected


def test_parquet_is_read_with_its_types(tmp_path):
    rows = [{"text": "a", "label": 1.0, "tags": ["x"]}, {"text": "b", "label": None, "tags": None}]
    parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "x.Parquet")
    assert read(tmp_path / "x.Parquet") == rows


@pytest.mark.parametrize(
    "content",
    [
        LINES,
        "\n" + LINES,
        json.dumps(ROWS),
        json.dumps({"data": ROWS}),
        json.dumps({"v": 1, "data": ROWS}, indent=2),
        json.dumps({"v": 1, "data": ROWS}) + "\n\n",
    ],
    ids=["lines", "blank line first", "array", "data", "data among others", "the same in one line"],
)
def test_json_in_all_its_shapes(tmp_path, content):
    assert read(write(tmp_path / "x.json", content)) == ROWS


@pytest.mark.parametrize("rows", [[{"text": "a", "data": ROWS}] * 2, [{"text": "a", "data": [1, 2]}]])
def test_records_may_have_a_column_called_data(tmp_path, rows):
    assert read(write(tmp_path / "x.json", "\n".join(map(json.dumps, rows)))) == rows


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("x.json", '{"a": 1,\n "b": 2}', r"x.json is an object of \['a', 'b'\]; expected an array of objects"),
        ("x.json", "[1, 2]", "x.json, item 0 is not a JSON object but 1"),
        ("x.json", "[{]", "x.json is not JSON: "),
        ("x.json", '{"a": 1}\n{"a": 2', "x.json, line 2 is not JSON: "),
        ("x.jsonl", "[1]\n", "x.jsonl, line 1 is not a JSON object but"),
        ("x.csv", "text,label\na,x\nb,y,z\n", r"x.csv, line 3: 3 cells, but 2 columns \['text', 'label'\]"),
        ("x.csv", "text,label\na\n", "x.csv, line 2: 1 cells, but 2 columns"),
        ("x.csv", 'text,label\n"a,x\nb,y\n', "x.csv, line 3: unexpected end of data; is a quotation mark left open"),
        ("x.csv", "", "x.csv is empty: its first line names the columns"),
        ("x.csv", "text;label\na;x\n", "columns are separated by ';'; expected commas in .csv, tabs in .tsv"),
        ("x.csv", "text,text\na,x\n", "more than one column is named 'text'"),
        ("x.tsv", 'text\tlabel\n"a\tx\n"b\ty\n', "x.tsv, line 3: .*is a quotation mark left open"),
        ("x.tsv", 'text\tlabel\n"a\tx\nb"\ty\n', "x.tsv, line 3: a line break within the cell"),
        ("x.xlsx", "", "x.xlsx: the ending is not known; name it one of .jsonl, .jsonl.gz, .json"),
        ("x.parquet", "no", "x.parquet cannot be read as Parquet: "),
    ],
)
def test_what_is_wrong_with_a_file_is_said_with_the_line(tmp_path, name, content, complaint):
    with pytest.raises(ValueError, match=f"^domain.path .*{complaint}"):
        read(write(tmp_path / name, content))


@pytest.mark.parametrize(("encoding", "known"), [("latin-1", "latin1"), ("utf-16", "utf-16")])
@pytest.mark.parametrize("name", ["x.txt", "x.csv", "x.jsonl", "x.txt.gz", "x.json"])
def test_another_encoding_is_said_with_the_line_and_how_to_convert_it(tmp_path, name, encoding, known):
    line = 1 if encoding == "utf-16" else 3
    content = ("text\n" + "a\nü\n" if "json" not in name else '{"text": 1}\n{"text": 1}\n{"text": "ü"}\n').encode(
        encoding
    )
    with pytest.raises(ValueError, match=rf"{name}, line {line}: byte 0x.. is not UTF-8.*iconv -f {known} -t utf-8"):
        read(write(tmp_path / name, content))


@pytest.mark.parametrize("content", [LINES.encode(), gzip.compress(LINES.encode() * 999)[:90]], ids=["no gzip", "cut"])
def test_a_damaged_file_is_named(tmp_path, content):
    (tmp_path / "x.jsonl.gz").write_bytes(content)
    with pytest.raises(ValueError, match=r"x.jsonl.gz cannot be read, or is damaged"):
        read(tmp_path / "x.jsonl.gz")


@pytest.mark.parametrize("ending", [".jsonl", ".json", ".csv", ".tsv", ".txt"])
def test_files_are_streamed(tmp_path, ending):
    path = tmp_path / f"x{ending}"
    with path.open("w", newline="") as file:
        if "json" in ending:
            file.writelines(json.dumps({"text": "word " * 100}) + "\n" for _ in range(20_000))
        else:
            csv.writer(file).writerows([["text"], *([f"{i} " + "word " * 100] for i in range(20_000))])
    tracemalloc.start()
    assert len(list(islice(read_file(path, "path"), 3))) == 3
    assert sum(1 for _ in read_file(path, "path")) >= 20_000
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < path.stat().st_size / 10


def test_a_text_may_be_longer_than_the_csv_module_expects(tmp_path):
    assert len(read(write(tmp_path / "x.csv", "text\n" + "a" * 200_000 + "\n"))[0]["text"]) == 200_000


def test_columns_of_one_name_are_refused_in_parquet_too(tmp_path):
    table = pyarrow.table([["a", "b"], ["x", "y"], ["p", "q"]], names=["text", "label", "label"])
    parquet.write_table(table, tmp_path / "x.parquet")
    with pytest.raises(ValueError, match=r"x\.parquet: more than one column is named 'label'; rename all but one"):
        list(read_file(tmp_path / "x.parquet", "task.path"))
