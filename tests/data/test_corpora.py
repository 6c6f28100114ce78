import json

import datasets
import pytest

from policylearn.data.corpora import open_corpus, open_records


@pytest.mark.parametrize("which", ["domain", "general"])
def test_a_limit_reads_only_so_many_documents(tiny, which):
    everything = list(open_corpus(tiny(), which))
    assert list(open_corpus(tiny(f"{which}.limit=7"), which)) == everything[:7]


def test_a_corpus_may_be_several_files(tiny, tmp_path):
    for name, word in [("b", "class0_00"), ("a", "class1_01")]:
        (tmp_path / f"{name}.jsonl").write_text(f'{{"text": "{word}"}}\n', encoding="utf-8")
    assert list(open_corpus(tiny(f"domain.path='{tmp_path}/*.jsonl'"), "domain")) == ["class1_01", "class0_00"]
    with pytest.raises(ValueError, match=r"domain\.path .*/\*\.csv matches no file"):
        list(open_corpus(tiny(f"domain.path='{tmp_path}/*.csv'"), "domain"))


@pytest.mark.parametrize("which", ["domain", "general"])
@pytest.mark.parametrize("value", [["a", "b"], {"body": "x"}, 3, True])
def test_a_corpus_of_what_is_no_text_is_refused(tiny, tmp_path, which, value):
    (tmp_path / "x.jsonl").write_text(json.dumps({"text": value}))
    with pytest.raises(ValueError, match=rf"{which}.path .*x.jsonl, row 0: column 'text' holds .*set {which}.text to"):
        list(open_corpus(tiny(f"{which}.path='{tmp_path}/x.jsonl'"), which))


def test_scores_may_be_null_but_their_column_must_be_there(tiny, tmp_path):
    (tmp_path / "x.jsonl").write_text('{"text": "a", "pos": null, "mine": []}\n')
    config = tiny(f"domain.path='{tmp_path}/x.jsonl'", "scores.column.name=own")
    assert [record["pos"] for _, record in open_records(config, "domain", ["pos"])] == [None]
    with pytest.raises(
        ValueError, match=r"no column 'own'; it has \['mine', 'pos', 'text'\]: set scores.column.name to"
    ):
        list(open_records(config, "domain", ["own"]))


def test_a_corpus_on_the_hub_has_a_configuration_and_a_revision(tiny, monkeypatch):
    asked = []
    monkeypatch.setattr(datasets, "load_dataset", lambda *a, **k: asked.append((*a, k)) or {"train": [{"text": "a"}]})
    config = tiny("domain.path=org/data", "domain.configuration=en", "domain.revision=v1")
    assert list(open_corpus(config, "domain")) == ["a"]
    assert asked == [("org/data", "en", {"revision": "v1", "streaming": True})]
