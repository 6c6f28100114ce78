"""Texts read from a file: one a line, whatever else breaks lines elsewhere."""

import pytest

from policylearn.commands.inspect import NETWORK_IN_WORDS, facts, read_texts
from policylearn.registry.known import NETWORKS


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_text_ends_where_its_line_does_and_nowhere_else(tmp_path, end):
    texts = ["one\x0ctwo", "three\u2028four\u2029five", "six\x85seven\x0b\x1c\x1d\x1eeight", " nine\rten "]
    path = tmp_path / "texts.txt"
    path.write_bytes((end + end.join([*texts, "", "  "]) + end).encode())
    assert read_texts(str(path)) == texts


def test_the_mark_of_an_encoding_is_no_text(tmp_path):
    path = tmp_path / "texts.txt"
    path.write_bytes("\ufeffone\ntwo".encode())
    assert read_texts(str(path)) == ["one", "two"]


@pytest.mark.parametrize(
    ("content", "message"), [(b"\n \n", "holds no text"), (b"\xe9t\xe9\n", "line 1: byte 0xe9 is not UTF-8")]
)
def test_a_file_without_texts_is_refused(tmp_path, content, message):
    path = tmp_path / "texts.txt"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_texts(str(path))


def test_rows_that_are_taken_for_texts_are_said(policylearn, finished, tmp_path):
    for name in ("texts.csv", "texts.txt"):
        (tmp_path / name).write_text("generic_001 , label\nclass0_01 generic_003 , 1\n")
        status, out, said = policylearn("inspect", finished, "--file", tmp_path / name)
        assert status == 0, said
        assert ("is read line by line, with all its columns" in out) == name.endswith("csv")


@pytest.mark.parametrize("network", NETWORKS.names())
def test_facts_of_every_network(make_policy, make_artefact, network):
    masking = {"design": "explore", "draws": 3, "copies": 3}
    found = facts(make_artefact(make_policy(network, masking=masking)))
    assert found["design"] == "explore, 3 draws, 3 copies of a text in a batch"
    assert found["network"] == ("none" if network == "none" else NETWORK_IN_WORDS[network])
