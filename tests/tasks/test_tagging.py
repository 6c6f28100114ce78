"""Words with a tag each, from the file to the score."""

import json
import shutil

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    AutoModelForTokenClassification,
    AutoTokenizer,
    PreTrainedTokenizerFast,
    RobertaConfig,
    RobertaForTokenClassification,
    RobertaTokenizer,
)

from policylearn.adapt import finetune
from policylearn.adapt.chosen import FrozenFeatures
from policylearn.arms.arms import initial_policy
from policylearn.arms.policies import scores_of
from policylearn.credit.labels import made_up
from policylearn.evaluation.trial import run_trial
from policylearn.learning.rollout import rollout
from policylearn.models import chunks
from policylearn.problems.of_config import problem_of
from policylearn.tasks import tagging
from policylearn.tasks.tagging import Tagging, Tags, tokenize_words
from policylearn.weight_masks.plain import save_plain

WORDS = [("maba", "bokonu", "the"), ("le",), ("boko",) * 9]
TAGS = [[0, 1, 2], [3], [4] * 9]


def test_the_first_token_of_a_word_has_its_tag_and_what_is_cut_is_counted(wordpiece):
    found = tokenize_words(WORDS, TAGS, wordpiece, max_length=8)
    by_text = [found.rows[i][found.at[found.first[i] : found.first[i + 1]]] for i in range(3)]
    names = [wordpiece.convert_ids_to_tokens(ids.tolist()) for ids in by_text]
    assert names == [["ma", "bo", "[UNK]"], ["le"], ["bo"] * 3] and found.y.tolist() == [0, 1, 2, 3, 4, 4, 4]
    assert (found.rows.cut, found.lost, len(found)) == (1, 6, 3)
    ids, _ = found.rows.batch([2, 0], 0)
    assert (ids[found.marks([2, 0], 8)] == torch.from_numpy(np.concatenate([by_text[2], by_text[0]]))).all()
    assert found.targets_of([2, 0]).tolist() == [4, 5, 6, 0, 1, 2]
    assert found.within([2, 0], [1]).tolist() == [3, 4, 5]
    assert found.strata([1, 0], found.y[found.targets_of([1, 0])]).tolist() == [[0, 0, 0, 1, 0], [1, 1, 1, 0, 0]]


def test_words_of_a_tokenizer_of_bytes_are_those_of_the_text():
    letters = {letter: 5 + i for i, letter in enumerate("Ġabc")}
    tokenizer = RobertaTokenizer(vocab={"<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": 3, "<mask>": 4, **letters}, merges=[])
    found = tokenize_words([("ab", "c", "a")], [[0, 1, 0]], tokenizer, 20)
    assert found.rows[0].tolist() == tokenizer("ab c a")["input_ids"]
    assert found.at.tolist() == [1, 4, 6]  # a blank that is a token by itself has no tag


def test_no_tag_is_of_the_mark_of_a_beginning_alone():
    """... which many words would share: of Chinese, where none has a piece with it. It is one's all the same where
    there is no other token."""
    backend = Tokenizer(models.Unigram([("<unk>", 0.0), *((c, -1.0) for c in ("▁", "▁a", "我", "们", "b"))], unk_id=0))
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="<unk>")
    found = tokenize_words([("a", "我", "们", "啊", "b", " ")], [[0, 1, 2, 3, 4, 5]], tokenizer, 20)
    assert tokenizer.convert_ids_to_tokens(found.rows[0][found.at]) == ["▁a", "我", "们", "<unk>", "b", "▁"]
    assert found.y.tolist() == [0, 1, 2, 3, 4, 5] and found.lost == 0


def test_the_card_of_a_tagger_reads_words_as_they_were_learned(tmp_path):
    letters = {letter: 5 + i for i, letter in enumerate("Ġabc.")}
    tokenizer = RobertaTokenizer(vocab={"<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": 3, "<mask>": 4, **letters}, merges=[])
    torch.manual_seed(0)
    shape = {"vocab_size": 10, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "pad_token_id": 1}
    labels = {i: f"B-{i}" for i in range(8)}
    model = RobertaForTokenClassification(RobertaConfig(**shape, initializer_range=2.0, id2label=labels)).eval()
    save_plain(tmp_path, model, tokenizer, 20, words=True)
    words = ("ab", ".", "c", "a", "b", ".")
    found = tokenize_words([words], [[0] * 6], tokenizer, 20)
    with torch.no_grad():
        best = model(torch.from_numpy(found.rows[0]).long()[None]).logits[0].argmax(1)[found.at]
    assert as_the_card_says(tmp_path, "ab. c a b.") == [
        (w, labels[i]) for w, i in zip(words, best.tolist(), strict=True)
    ]


def as_the_card_says(folder, text):
    given = {"folder": folder, "text": text}
    exec((folder / "README.md").read_text().split("```")[1].removeprefix("python\n"), given)
    return given["tags"]


def test_features_are_those_of_the_words_in_whatever_chunks(of_tags, monkeypatch):
    problem = problem_of(of_tags())
    train, model, pad = problem.labelled("train"), problem.fresh_model(0), problem.tokenizer.pad_token_id
    at_once = train.outputs(model, range(30), pad)
    monkeypatch.setattr(chunks, "CHUNK", 40)
    torch.testing.assert_close(train.outputs(model, range(30), pad), at_once)
    ids, real = train.rows.batch([7], pad)
    words = model.encode(ids, real)[0, train.at[train.first[7] : train.first[8]]]
    torch.testing.assert_close(at_once[train.targets_of([7])], words)
    backwards = FrozenFeatures(problem, model)(train, np.array([9, 7]))
    np.testing.assert_allclose(backwards[-len(words) :], words.detach(), rtol=1e-4, atol=1e-5)


def test_parts_of_a_batch_sum_up_to_its_loss_though_one_has_no_word(wordpiece):
    found = tokenize_words([("maba", "le"), (" ",), ("le",)], [[0, 1], [0], [1]], wordpiece, max_length=8)
    assert np.diff(found.first).tolist() == [2, 0, 1]
    kind, x = Tagging(Tags(["O", "B-x"]), "accuracy", 0), torch.ones(3)
    batch = kind.batch(found, [0, 1, 2])

    def says(ids, real, at):
        return torch.stack([ids[at], -ids[at]], 1) / 10

    parts = [share * kind.step_loss(says, part, own) for part, own, share in kind.step_loss.parts(batch, x, rows=1)]
    assert sum(parts) == pytest.approx(kind.step_loss(says, batch, x).item())


def test_a_split_whose_words_are_nothing_to_the_tokenizer_is_refused(tiny, named, tmp_path):
    shutil.copytree(named, tmp_path, dirs_exist_ok=True)
    (tmp_path / "dev.jsonl").write_text(json.dumps({"tokens": [" "], "tags": ["B-class0"]}), encoding="utf-8")
    settings = (f"task.path={tmp_path}", f"model.tokenizer={tmp_path / 'tokenizer'}", "policy.prior={}")
    with pytest.raises(ValueError, match=r"split 'dev': no word is anything to the tokenizer: set model\.tokenizer"):
        problem_of(tiny(*settings)).labelled("dev")


def test_spans_are_right_as_wholes():
    readout = Tags(["O", "B-x", "I-x"])
    y, predicted = [np.array([1, 2, 0, 1]), np.array([0, 0])], [np.array([1, 0, 0, 1]), np.array([0, 1])]
    assert readout.span_f1(y, predicted) == pytest.approx(2 * 1 / (2 + 3))  # of 2 and 3 spans one is the same
    assert readout.metrics["accuracy"](y, predicted) == pytest.approx(4 / 6)
    assert readout.span_f1(y, [0 * found for found in y]) == 0


def test_shares_alone_explain_nothing_and_the_factor_is_at_its_best():
    draw = torch.Generator().manual_seed(0)
    scores = torch.randn(600, 2, generator=draw)
    y = (torch.rand(600, generator=draw) < (2 * (scores[:, 1] - scores[:, 0]) - 2).sigmoid()).long()
    readout, centre = Tags(["O", "B-x"]), torch.tensor([1 - y.float().mean(), y.float().mean()])
    assert readout.quality(readout.outputs(0 * scores, 1.0, centre), y) == pytest.approx(0, abs=1e-5)
    loss, factor = readout.fit_factor(scores, y, centre)
    assert loss < min(readout.loss(readout.outputs(scores, factor * by, centre), y).item() for by in (0.9, 1.1))


@pytest.mark.parametrize("adaptation", ["probe", "finetune", "weight_mask", "joint"])
def test_an_outer_loss_of_tags_is_differentiated(of_tags, adaptation):
    problem = problem_of(of_tags(f"outer.adaptation={adaptation}", "inner.steps=4", "inner.window=2", "inner.every=2"))
    found = rollout(problem, initial_policy(problem), 0)
    assert sum(float(g.abs().sum()) for g in found.gradient.values()) > 0
    assert np.isfinite(found.metrics["outer_loss"])


def test_words_are_credited_dev_chooses_and_texts_are_what_is_labelled(of_tags):
    downstream = 'evaluate.downstream=["probe@10", "finetune@10", "joint@10", "weight_mask@10"]'
    epochs = [f"evaluate.{how}.epochs=1" for how in ("finetune", "joint", "weight_mask")]
    problem = problem_of(of_tags(downstream, *epochs, "outer.folds=2", "credit.points=1", "credit.batches=2"))
    assert scores_of(problem, ["credit"])["credit"].types.abs().max() > 0
    found = run_trial(problem, None, "none", 0)
    assert set(found.extra) == {"finetune@10", "joint@10", "weight_mask@10"} and 0 <= found.score <= 1
    train, picked = problem.examples("train"), np.arange(9)
    y = train.y[train.targets_of(picked)]
    other = made_up(problem, picked, y, seed=0)
    assert other.bincount().tolist() == y.bincount().tolist() and not torch.equal(other, y)


def test_without_seqeval_it_is_said_what_to_install(of_tags, monkeypatch):
    monkeypatch.setattr(tagging, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"pip install --use-pep517 seqeval, or set task\.metric=accuracy"):
        assert problem_of(of_tags()).kind
    assert problem_of(of_tags("task.kind=tagging", "task.metric=accuracy")).kind.name == "tagging"


def test_fine_tuning_learns_tags_and_a_plain_model_says_the_same(policylearn, tiny_toml, of_tags, named, tmp_path):
    settings = ("evaluate.finetune.epochs=8", "evaluate.finetune.learning_rate=0.01")
    problem = problem_of(of_tags(*settings))
    tuned = finetune.fit(FrozenFeatures(problem, problem.fresh_model(0)), np.arange(80), 0)
    assert tuned.dev > 0.8
    own = (f"task.path={named}", f"model.tokenizer={named / 'tokenizer'}", "policy.prior={}", *settings)
    status, _, err = policylearn("adapt", tiny_toml, *own, "--out", tmp_path / "out", "--method", "finetune")
    assert status == 0, err
    folder = tmp_path / "out/model"
    model, tokenizer = AutoModelForTokenClassification.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    rows = [json.loads(line) for line in (named / "test.jsonl").read_text().splitlines()]
    found = []
    for row in rows:
        encoded = tokenizer(row["tokens"], is_split_into_words=True, return_tensors="pt")
        with torch.no_grad():
            best = model(encoded["input_ids"]).logits[0].argmax(1).tolist()
        first = [encoded.word_ids().index(word) for word in range(len(row["tokens"]))]
        found.append(np.array([best[place] for place in first]))
        named = [
            (word, model.config.id2label[tag]) for word, tag in zip(row["tokens"], found[-1].tolist(), strict=True)
        ]
        assert as_the_card_says(folder, " ".join(row["tokens"])) == named
    right = [np.array([model.config.label2id[tag] for tag in row["tags"]]) for row in rows]
    score = Tags(problem.labels).span_f1(right, found)
    assert score == pytest.approx(json.loads((tmp_path / "out/result.json").read_text())["test"], abs=1e-6)
