import os
import subprocess
import sys

import pytest

from policylearn.artefact.heatmaps import inspect_texts
from policylearn.collator.policy_collator import PolicyCollator
from policylearn.commands.export import export
from policylearn.commands.inspect import read_texts
from policylearn.scores.heuristic import scorer_policy

CUT = "class0_01 \ud83d generic_001"


def test_halves_of_surrogate_pairs_in_lists_of_texts(tokenizer):
    with pytest.warns(UserWarning, match=r"corpus: U.FFFD is read in place"):
        PolicyCollator.from_scorer("idf", tokenizer, ["class0_01 generic_002", CUT])


def test_and_in_the_file_of_an_export(saved_policy, tmp_path):
    (tmp_path / "x.jsonl").write_text('{"text": "class0_01 \\ud83d"}\n{"text": "generic_001"}\n')
    with pytest.warns(UserWarning, match=r"--corpus .*x.jsonl: U.FFFD is read in place"):
        export(saved_policy, tmp_path / "table", form="table", corpus=str(tmp_path / "x.jsonl"))


@pytest.mark.parametrize("value", ['["a", "b"]', "3", "true"])
def test_an_export_refuses_what_is_no_text(saved_policy, tmp_path, value):
    (tmp_path / "x.jsonl").write_text(f'{{"text": {value}}}\n')
    with pytest.raises(
        ValueError, match=r"--corpus .*x.jsonl, row 0: column 'text' holds a .*, not a text: .*set --column"
    ):
        export(saved_policy, tmp_path / "table", form="table", corpus=str(tmp_path / "x.jsonl"))


def test_from_scorer_refuses_it_in_a_file(tokenizer, tmp_path):
    (tmp_path / "x.jsonl").write_text('{"text": "a"}\n{"text": {"body": "x"}}\n')
    with pytest.raises(ValueError, match=r"corpus .*x.jsonl, row 1: column 'text' holds a dict, not a text"):
        PolicyCollator.from_scorer("idf", tokenizer, str(tmp_path / "x.jsonl"))
    with pytest.raises(ValueError, match=r"no column 'body'; it has \['text'\]: set column=text"):
        scorer_policy("idf", tokenizer, str(tmp_path / "x.jsonl"), column="body")


def test_inspected_texts(make_artefact):
    with pytest.warns(UserWarning, match=r"the texts given: U.FFFD"):
        inspect_texts((made := make_artefact()).policy, made.tokenizer, [CUT])


def test_texts_to_inspect_are_lines_and_nothing_else_ends_them(tmp_path):
    (tmp_path / "x.txt").write_text("\ufeffone\ftwo\u2028three\n\nfour\n", encoding="utf-8")
    assert read_texts(str(tmp_path / "x.txt")) == ["one\ftwo\u2028three", "four"]
    (tmp_path / "x.txt").write_bytes(b"a\ncaf\xe9\n")
    with pytest.raises(ValueError, match=r"--file .*x.txt, line 2: byte 0xe9 is not UTF-8"):
        read_texts(str(tmp_path / "x.txt"))


def test_texts_that_were_typed_under_a_c_locale(saved_policy):
    """In UTF-8 and in Latin-1."""
    environment = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONIOENCODING": "utf-8", "OMP_NUM_THREADS": "1"}
    command = [
        sys.executable,
        "-m",
        "policylearn",
        "inspect",
        str(saved_policy),
        b"class0_01 caf\xc3\xa9",
        b"class0_02 caf\xe9",
    ]
    done = subprocess.run(command, capture_output=True, env=environment)
    assert done.returncode == 0, done.stderr.decode()
    assert b"class0_01" in done.stdout and b"class0_02" in done.stdout
