import pytest

from policylearn.data.corpora import open_corpus


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
