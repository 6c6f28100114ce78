"""Policies handed over by the command line, and looked at: from runs, folders, and the Hub."""

import json
import re
from itertools import islice
from shutil import copytree, ignore_patterns

import datasets
import pytest
import torch

from policylearn import PolicyCollator, load_policy, save_policy
from policylearn.collator.distil import annotate
from policylearn.commands.export import export, open_policy
from policylearn.data.planted import domain_corpus
from policylearn.runs.contents import contents_of

TEXT = "class0_01 generic_003 distractor_02"


@pytest.fixture
def refuses(policylearn):
    def call(*arguments) -> str:
        status, out, err = policylearn(*arguments)
        assert status == 2 and "Traceback" not in out + err, out + err
        return " ".join(err.removeprefix("error").split())

    return call


@pytest.fixture
def corpus(tiny, tmp_path):
    path = tmp_path / "corpus.jsonl"
    lines = [json.dumps({"body": text}) + "\n" for text in domain_corpus(tiny().planted)]
    path.write_text("".join(lines[:60]), encoding="utf-8")
    return path


def tensors_equal(one, other) -> bool:
    one, other = one.policy.state_dict(), other.policy.state_dict()
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


# export


def test_a_policy_is_opened_from_a_run_or_from_its_folder(finished):
    assert tensors_equal(open_policy(finished), open_policy(finished / "policy"))
    first, last = open_policy(finished, 1), open_policy(finished, 3)
    assert not tensors_equal(first, last)
    assert first.card.count("---\n") == 2 and "The policy after round 1 of a run" in first.card.split("---\n")[2]
    with pytest.raises(ValueError, match="is no run that has exported a policy: it has no round 1; leave out --round"):
        open_policy(finished / "policy", 1)


def test_a_run_that_learned_in_closed_form_has_no_round(finished, tmp_path):
    copytree(finished, run := tmp_path / "run", ignore=ignore_patterns("checkpoints"))
    config = json.loads((run / "config.json").read_text()) | {"learn": {"stages": ["expected"]}}
    (run / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=r"learned in no rounds \(learn\.stages = \['expected'\]\): leave out --round"):
        open_policy(run, 2)


def test_an_exported_policy_can_be_exported_again(policylearn, finished, tmp_path):
    for source in (finished, finished / "policy", f"file://{finished}"):
        status, out, _ = policylearn("export", source, "--out", tmp_path / "copy")
        assert (status, out.split()) == (0, ["policy", f"{tmp_path}/copy"])
        copy = load_policy(tmp_path / "copy")
        assert tensors_equal(copy, load_policy(finished / "policy"))
        assert "What it likes to mask" in copy.card


def test_no_policy_is_put_where_a_run_is(refuses, finished, tmp_path):
    said = f"--out {finished} is the folder of a run, which has its policy in {finished}/policy: name another folder"
    for form in ("policy", "table", "annotated"):
        assert refuses("export", finished, "--out", finished, "--form", form) == said
    assert refuses("average", f"a={finished}", f"b={finished}", "--out", finished) == said
    assert not (finished / "manifest.json").exists()


@pytest.mark.parametrize("part", ["policy", "prior"])
def test_a_policy_of_a_run_is_replaced_by_none_but_its_own(refuses, finished, tiny_toml, tmp_path, monkeypatch, part):
    (tmp_path / "link").symlink_to(finished / part)
    before = (finished / part / "manifest.json").read_bytes()
    monkeypatch.chdir(finished)
    for out in (finished / part, tmp_path / "link", part, f"file://{finished}/{part}"):
        for command in (("export", finished), ("average", f"a={finished}", f"b={finished}")):
            said = refuses(*command, "--out", out)
            assert said.startswith(f"--out {out} is a part of the run in ") and said.endswith("name another folder")
    assert "is a part of the run" in refuses("score", tiny_toml, "--out", finished / part)
    assert (finished / part / "manifest.json").read_bytes() == before


def test_no_policy_is_put_where_something_else_is(policylearn, refuses, finished, tmp_path):
    (tmp_path / "README.md").write_text("my notes")
    (tmp_path / "manifest.json").write_text("{}")
    said = f"--out {tmp_path} holds ['README.md', 'manifest.json'] and no policy: name an empty folder, or another"
    for form in ("policy", "table", "annotated"):
        assert refuses("export", finished, "--out", tmp_path, "--form", form) == said
    assert refuses("average", f"a={finished}", f"b={finished}", "--out", tmp_path) == said
    assert (tmp_path / "README.md").read_text() == "my notes"
    for _ in range(2):  # an earlier policy is replaced
        assert policylearn("export", finished, "--out", tmp_path / "policy")[0] == 0


def test_the_table_of_a_run_uses_its_corpus(policylearn, finished, tmp_path):
    status, out, _ = policylearn("export", finished, "--form", "table", "--out", tmp_path / "table")
    assert status == 0
    overlap, correlation = re.search(
        r"fidelity  ([\d.]+) % of the policy's masks, rank correlation ([\d.]+)", out
    ).groups()
    assert float(overlap) > 95 and float(correlation) > 0.95
    table = load_policy(tmp_path / "table")
    assert table.policy.names == ["policy"]
    assert (
        f"A table of mean logits per token id, in place of the policy described below. It does {overlap}" in table.card
    )


def test_a_corpus_that_has_changed_is_told(policylearn, finished, corpus, tmp_path):
    run = copytree(finished, tmp_path / "run", ignore=ignore_patterns("checkpoints"))
    config = json.loads((run / "config.json").read_text())
    config["domain"] |= {"path": str(corpus), "text": "body"}
    (run / "config.json").write_text(json.dumps(config))
    as_now, as_before = (contents_of(str(corpus), follows=follows) for follows in (True, False))
    for held, told in ((as_now, False), (as_before, False), ("of another file", True)):
        (run / "contents.json").write_text(json.dumps({"domain.path": held}))
        status, out, err = policylearn("export", run, "--form", "annotated", "--out", tmp_path / f"out{told}")
        assert status == 0, err
        assert ("domain.path: changed since the run began, and this is of what is there now" in out) == told


def test_a_corpus_by_file(policylearn, refuses, finished, corpus, tmp_path):
    settings = ("export", finished / "policy", "--form", "table", "--out", tmp_path / "table")
    assert "is no run, which would know its corpus: name texts of the domain, --corpus FILE" in refuses(*settings)
    assert "no column 'text'; it has ['body']" in refuses(*settings, "--corpus", corpus)
    assert "none.jsonl does not exist" in refuses(*settings, "--corpus", "./none.jsonl")
    status, out, _ = policylearn(*settings, "--corpus", corpus, "--column", "body")
    assert status == 0 and "(6 held-out texts)" in out


@pytest.mark.parametrize("option", [("--corpus", "x.txt"), ("--column", "body"), ("--max-length", 8)])
def test_options_of_another_form_are_refused(refuses, finished, option, tmp_path):
    said = refuses("export", finished, "--out", tmp_path / "copy", *option)
    assert said.startswith(f"{option[0]} is for --form table or annotated") and not (tmp_path / "copy").exists()


def test_a_column_of_no_file_is_refused(refuses, finished, tmp_path):
    said = refuses("export", finished, "--out", tmp_path / "copy", "--form", "table", "--column", "body")
    assert said.startswith("--column body is that of a file: name it, --corpus FILE")


def test_the_annotated_form_masks_as_the_policy_does(policylearn, make_artefact, corpus, tmp_path):
    """From the lines that are printed, run as they are."""
    save_policy(tmp_path / "policy", make_artefact(), "# A policy\n")
    settings = ("--form", "annotated", "--corpus", corpus, "--column", "body", "--max-length", 8)
    status, out, _ = policylearn("export", tmp_path / "policy", "--out", tmp_path / "out", *settings)
    assert status == 0
    place, usage = {}, out[out.index("from datasets") :]
    exec(usage, place)  # what a user would copy
    dataset, collator = place["dataset"], place["collator"]
    assert isinstance(dataset, datasets.Dataset) and set(dataset.column_names) == {"input_ids", "policy", "text_score"}
    assert f"({len(dataset):,})" in out and max(map(len, dataset["input_ids"])) == 8
    artefact = load_policy(tmp_path / "policy")
    itself = PolicyCollator(artefact.tokenizer, policy=artefact.policy)
    different = 0
    for start in range(0, 40, 8):
        rows = [dataset[i] for i in range(start, start + 8)]
        for each in (itself, collator):
            each.set_epoch(1)
        wanted, found = itself([{"input_ids": row["input_ids"]} for row in rows]), collator(rows)
        assert torch.equal(found["labels"], wanted["labels"])
        by_table = collator([{"input_ids": row["input_ids"]} for row in rows])
        different += int((by_table["labels"] != wanted["labels"]).any())
    assert different  # without the column the table is on its own


def test_texts_without_a_token_are_left_out_and_long_ones_go_on(policylearn, make_artefact, corpus, tmp_path):
    """One text of very many tokens is enough for a table: it is held out by rows."""
    save_policy(tmp_path / "policy", make_artefact(), "# A policy\n")
    words = " ".join(json.loads(line)["body"] for line in corpus.read_text("utf-8").splitlines())
    path = tmp_path / "one.txt"
    path.write_text(f"{words}\n\n   \n", encoding="utf-8")
    settings = ("--form", "annotated", "--corpus", path, "--max-length", 8)
    status, out, err = policylearn("export", tmp_path / "policy", "--out", tmp_path / "out", *settings)
    assert status == 0, err
    rows = [json.loads(line) for line in (tmp_path / "out" / "examples.jsonl").read_text("utf-8").splitlines()]
    assert f"({len(rows):,}, without 2 that hold no token)" in out
    assert len(rows) > 60 and min(len(row["input_ids"]) for row in rows) > 2


def test_an_annotated_data_set_that_is_stopped_leaves_the_earlier_one(finished, tmp_path, monkeypatch):
    export(finished, tmp_path / "out", "annotated")
    before = {path: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()}

    def stopped(*arguments):
        yield from islice(annotate(*arguments), 30)
        raise KeyboardInterrupt

    monkeypatch.setattr("policylearn.commands.export.annotate", stopped)
    for out in ("out", "new"):
        with pytest.raises(KeyboardInterrupt):
            export(finished, tmp_path / out, "annotated")
    assert {path: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()} == before
    assert not [*(tmp_path / "new").iterdir()]


def test_an_annotated_data_set_is_written_to_this_machine(refuses, finished):
    message = refuses("export", finished, "--form", "annotated", "--out", "s3://bucket/out")
    assert "--out s3://bucket/out: an annotated data set is written to a folder on this machine" in message


def test_export_takes_names_on_the_hub(finished, tmp_path, monkeypatch):
    monkeypatch.setattr("policylearn.artefact.hub.snapshot_download", lambda *_, **__: str(finished / "policy"))
    assert tensors_equal(load_policy(export("lab/policy", tmp_path / "copy").policy), load_policy(finished / "policy"))


# inspect


def test_several_texts_and_a_file_of_them(policylearn, differing, tmp_path):
    (tmp_path / "texts.txt").write_text("generic_001 class1_02\n\n  \nclass1_01\n", encoding="utf-8")
    status, out, _ = policylearn("inspect", differing, TEXT, "generic_000", "--file", tmp_path / "texts.txt")
    assert status == 0
    assert [line for line in out.splitlines() if line in ("prior", "learned")] == ["prior", "learned"] * 4
    assert all(out.count(word) == 2 for word in ["class0_01", "generic_000", "class1_02", "class1_01"])


def test_inspect_writes_a_page(policylearn, saved_policy, tmp_path):
    page = tmp_path / "new" / "page.html"
    status, out, _ = policylearn("inspect", saved_policy, TEXT, "--html", page)
    assert (status, out.split()) == (0, ["page", str(page)])
    html = page.read_text(encoding="utf-8")
    assert all(html.count(f">{word}</span>") == 2 for word in TEXT.split())
    assert ">prior</h3>" in html and "<dt>rate</dt><dd>0.15</dd>" in html and "prefers-color-scheme: dark" in html
    assert not re.search(r"(?:src|href|url)\s*[=(]", html), "nothing is loaded from elsewhere"


def test_a_policy_that_learned_nothing_is_shown_once(policylearn, make_artefact, make_policy, tmp_path):
    save_policy(tmp_path / "policy", make_artefact(make_policy("none")), "card")
    policylearn("inspect", tmp_path / "policy", "<b> generic_001", "generic_002", "--html", tmp_path / "page.html")
    html = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert html.count(">generic_002</span>") == 1 and ">prior</h3>" not in html
    assert "<dt>learned</dt><dd>nothing</dd>" in html


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ([], "no text to inspect: give one or more, or a file of them with --file"),
        ([""], "text 1 is empty"),
        ([TEXT, "  \n"], "text 2 is empty"),
        (["xyz zzz"], "text 1, 'xyz zzz', has no token that may be masked: its tokens are [CLS] [UNK] [UNK] [SEP]"),
        (["--file", "none.txt"], "--file none.txt cannot be read"),
    ],
)
def test_texts_with_nothing_to_show(refuses, finished, texts, message):
    assert message in refuses("inspect", finished, *texts)


def test_a_file_of_blank_lines(refuses, finished, tmp_path):
    (tmp_path / "texts.txt").write_text("\n \n", encoding="utf-8")
    assert "holds no text: one a line is expected" in refuses("inspect", finished, "--file", tmp_path / "texts.txt")
