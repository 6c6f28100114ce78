import json

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from policylearn.arms.policies import scores_of
from policylearn.problems.of_config import problem_of
from policylearn.problems.problem import Problem
from policylearn.problems.texts import TextProblem


def weights(model) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def test_two_problems_of_one_config_are_the_same(tiny, tiny_problem):
    twin = problem_of(tiny())
    assert (tiny_problem.domain.flat == twin.domain.flat).all()
    assert tiny_problem.labels == twin.labels == ["class0", "class1"]
    assert torch.equal(tiny_problem.examples("train").y, twin.examples("train").y)
    for name, scores in scores_of(tiny_problem, ["difference", "tficf", "oracle"]).items():
        assert torch.equal(scores.types, scores_of(twin, [name])[name].types)


def test_a_problem_of_another_kind_has_to_bring_all_its_members(tiny):
    class Half(TextProblem):
        domain = Problem.domain
        kind = Problem.kind

    with pytest.raises(TypeError, match=r"abstract methods '?domain'?, '?kind"):
        Half(tiny())


def test_a_fresh_model_depends_on_the_seed_alone_and_is_nobody_elses(tiny_problem):
    model = tiny_problem.fresh_model(3)
    before = weights(model)
    assert not torch.equal(before, weights(tiny_problem.fresh_model(4)))
    with torch.no_grad():
        next(model.parameters()).zero_()
    assert torch.equal(before, weights(tiny_problem.fresh_model(3)))


def test_a_checkpoint_is_loaded_once_and_copied(tiny, tiny_problem, tmp_path):
    tiny_problem.fresh_model(0).mlm.save_pretrained(tmp_path)
    tiny_problem.tokenizer.save_pretrained(tmp_path)
    problem = problem_of(tiny(f"model.name='{tmp_path}'"))
    model, other = problem.fresh_model(1), problem.fresh_model(2)
    assert torch.equal(weights(model), weights(tiny_problem.fresh_model(0)))
    with torch.no_grad():
        next(model.parameters()).zero_()
    assert torch.equal(weights(other), weights(tiny_problem.fresh_model(0)))


def test_a_checkpoint_that_is_another_where_a_worker_is_is_refused(tiny, tiny_problem, tmp_path):
    tiny_problem.fresh_model(0).mlm.save_pretrained(tmp_path)
    tiny_problem.tokenizer.save_pretrained(tmp_path)
    config = tiny(f"model.name='{tmp_path}'")
    data = problem_of(config).data()
    assert torch.equal(weights(problem_of(config, data=data).fresh_model(0)), weights(tiny_problem.fresh_model(0)))
    tiny_problem.fresh_model(1).mlm.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=f"^model.name {tmp_path} is another model on .*model.revision"):
        problem_of(config, data=data).fresh_model(0)
    problem_of(config).fresh_model(0)


def test_texts_of_nothing_to_mask_are_left_out(tiny, tmp_path):
    path = tmp_path / "corpus.jsonl"
    path.write_text('{"text": ""}\n{"text": "class0_00 class0_01"}\n{"text": " "}\n', encoding="utf-8")
    assert len(problem_of(tiny(f"domain.path='{path}'")).domain) == 1


def test_nothing_is_found_wrong_with_the_planted_benchmark(tiny_problem):
    tiny_problem.check()


def test_a_problem_of_what_was_read_opens_no_file(tiny, tmp_path):
    problem = problem_of(tiny())
    for split, rows in problem._task.splits.items():
        found = [json.dumps({"text": t, "label": y}) for t, y in zip(rows.texts, rows.labels, strict=True)]
        (tmp_path / f"{split}.jsonl").write_text("\n".join(found), encoding="utf-8")
    problem.tokenizer.save_pretrained(tmp_path / "tokenizer")
    config = tiny(f"task.path={tmp_path}", f"model.tokenizer={tmp_path / 'tokenizer'}")
    data = problem_of(config).data()
    for split in ("train", "dev", "test"):
        (tmp_path / f"{split}.jsonl").unlink()
    elsewhere = problem_of(config, data=data)
    assert elsewhere.task.metric == "accuracy" and elsewhere.kind.readout.width == 2
    assert elsewhere.fresh_model(0).separator is None


@pytest.fixture
def own(tiny, tiny_problem, tmp_path):
    """Rows of one's own under the tokenizer of the planted ones; `own(texts, …)`: of these texts."""
    tiny_problem.tokenizer.save_pretrained(tmp_path / "tokenizer")

    def problem(texts, *more, tell=lambda lines: None):
        for split in ("train", "dev", "test"):
            rows = [{"text": text, "label": "xy"[i % 2]} for i, text in enumerate(texts)]
            (tmp_path / f"{split}.jsonl").write_text("\n".join(map(json.dumps, rows)))
        return problem_of(tiny(f"task.path={tmp_path}", f"model.tokenizer={tmp_path / 'tokenizer'}", *more), tell=tell)

    return problem


def test_types_are_called_by_what_their_bytes_say(own, tmp_path):
    """But for what was added, which is not spelt in bytes."""
    pieces = ["[UNK]", "[P]", "[M]", "ĠcafÃ©", "Ã", "Ġwho"]
    backend = Tokenizer(models.WordLevel({piece: i for i, piece in enumerate(pieces)}, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel()
    roles = {"unk_token": "[UNK]", "pad_token": "[P]", "mask_token": "[M]"}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, **roles)
    tokenizer.add_tokens(["ciné"])
    tokenizer.save_pretrained(tmp_path / "bytes")
    names = own(["who"] * 5, f"model.tokenizer={tmp_path / 'bytes'}").names_of_types()
    assert names == ["[UNK]", "[P]", "[M]", "Ġcafé", "\\xc3", "Ġwho", "ciné"]


def test_rows_of_nothing_that_the_tokenizer_knows_are_said(own, tmp_path):
    texts, said = ["class0_01", "\u200b", "who", "class0_02"] * 5, list[str]()
    own(texts, tell=said.append).check_task()
    assert "task  10 of 20 train rows hold no token that the tokenizer knows" in said
    (tmp_path / "domain.txt").write_text("\n".join(texts))
    assert len(own(texts, f"domain.path={tmp_path / 'domain.txt'}", tell=said.append).domain) == 10
    assert "domain  10 of 20 texts hold no token that the tokenizer knows and are left out" in said
    with pytest.raises(ValueError, match=r"20 of 20 train rows hold no token that the tokenizer knows: set model\.tok"):
        own(["who", "what"] * 10).check_task()


def test_the_mark_of_a_word_that_is_not_known_says_nothing(own, tmp_path):
    """As Metaspace has it: unknown letters are `▁` and [UNK]."""
    pieces = [("[UNK]", 0.0), ("▁", -3.0), ("▁who", -2.0), ("who", -2.0), *((f"[{x}]", -9.0) for x in "PM")]
    backend = Tokenizer(models.Unigram(pieces, unk_id=0))
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    special = {"unk_token": "[UNK]", "pad_token": "[P]", "mask_token": "[M]"}
    PreTrainedTokenizerFast(tokenizer_object=backend, **special).save_pretrained(tmp_path / "pieces")
    texts, said = ["who", "สวั", "สวั who", "สวั สวั"] * 5, list[str]()
    (tmp_path / "domain.txt").write_text("\n".join(texts))
    settings = (f"domain.path={tmp_path / 'domain.txt'}", f"model.tokenizer={tmp_path / 'pieces'}")
    assert len(own(texts, *settings, tell=said.append).domain) == 10
    assert "domain  10 of 20 texts hold no token that the tokenizer knows and are left out" in said


def test_marks_of_a_model_that_are_written_in_texts_are_said(own, tmp_path):
    texts, said = (
        ["class0_01", "class0_02 [MASK] class0_03", "[PAD] [SEP] class0_01", "class0_01 what"] * 5,
        list[str](),
    )
    own(texts, tell=said.append).check_task()
    ours = "10 of 20 have [MASK] written in them, which the tokenizer takes for its own"
    assert f"task  {ours}: train" in said and f"task  {ours}: test" in said
    (tmp_path / "domain.txt").write_text("\n".join(texts))
    assert len(own(texts, f"domain.path={tmp_path / 'domain.txt'}", tell=said.append).domain) == 20
    assert f"domain  {ours}" in said


@pytest.mark.parametrize("first", ["domain", "test"])
def test_test_texts_that_stand_in_the_domain_are_said(own, tmp_path, monkeypatch, first):
    monkeypatch.setattr("policylearn.data.alike.CHUNK", 4)
    texts, said = [f"class0_0{i} class0_0{j}" for i in range(1, 6) for j in range(1, 6)], list[str]()
    (tmp_path / "domain.txt").write_text("\n".join([*texts[3:13], "class0_01 class0_02 class0_03"]))
    problem = own(texts, f"domain.path={tmp_path / 'domain.txt'}", tell=said.append)
    (problem.check_task if first == "test" else lambda: problem.domain)()
    (problem.check_task if first == "domain" else lambda: problem.domain)()
    assert "domain  10 of 25 test texts are in it too: pretraining sees them, without labels" in said
    assert sum("are in it too" in line for line in said) == 1


def test_data_of_the_benchmark_beside_data_of_ones_own_are_said(own, tmp_path):
    said = list[str]()
    own(["class0_01", "class0_02"] * 10, tell=said.append).check_task()
    assert "domain  texts of the planted benchmark, and the task is none of it: set domain.path" in said
    (tmp_path / "domain.txt").write_text("class0_01\n" * 9)
    said.clear()
    own(["class0_01", "class0_02"] * 10, f"domain.path={tmp_path / 'domain.txt'}", tell=said.append).check()
    assert not any(line.startswith("domain  texts") for line in said)
    assert "general  texts of the planted benchmark, for scorers that compare: set general.path" in said


def test_what_there_is_less_of_than_is_asked_for_is_said(tiny):
    told = list[str]()
    problem_of(tiny("outer.support=59", "inner.batch_size=500"), tell=told.append).check()
    assert "outer.support  59 is cut to 30, half of the labelled examples of train" in told
    assert any(line.startswith("inner.batch_size  500, and domain.path has ") for line in told)
    told.clear()
    problem_of(tiny("outer.support=20", "outer.query=10", "inner.batch_size=8"), tell=told.append).check()
    assert not any(line.startswith(("outer.", "inner.")) for line in told)


@pytest.mark.parametrize("stage", ["rounds", "outcomes"])
def test_more_folds_than_labelled_examples_are_refused_at_once(tiny, stage):
    settings = ("policy.prior={}", "outer.folds=70", "outer.support=40", "outer.query=40")
    with pytest.raises(ValueError, match=r"70, and train has 60 labelled examples: lower outer\.folds"):
        problem_of(tiny(*settings, f"learn.stages=[{stage}]")).check()
    problem_of(tiny(*settings, "learn.stages=[expected]")).check()
