"""The table of an experiment's page is replaced by a result, and never by none."""

import pytest

from policylearn.report.write_up import END, START, append_line, read_lines, write_up


def test_a_table_stays_where_there_is_no_result(tmp_path):
    page = tmp_path / "README.md"
    page.write_text(f"# Page\n{START}old\n{END}after\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"no result to write"):
        write_up(tmp_path, {}, [])
    assert "old" in page.read_text(encoding="utf-8") and not (tmp_path / "result.json").exists()
    write_up(tmp_path, {"a": 1}, ["new"])
    assert page.read_text(encoding="utf-8") == f"# Page\n{START}new\n{END}after\n"


def test_what_is_kept_is_read_again_line_by_line(tmp_path):
    path = tmp_path / "trials" / "one.jsonl"
    assert read_lines(path) == []
    for number in range(3):
        append_line(path, {"seed": number, "arm": "größer"})
    assert [line["seed"] for line in read_lines(path)] == [0, 1, 2]
    with path.open("ab") as file:
        file.write(b'{"seed": 3, "ar')
    assert len(read_lines(path)) == 3
    append_line(path, {"seed": 4})
    assert [line["seed"] for line in read_lines(path)] == [0, 1, 2, 4]
    assert path.read_bytes().count(b"\n") == 5 and read_lines(path)[0]["arm"] == "größer"
