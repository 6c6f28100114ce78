"""Pairs of texts, from the file to the score."""

import json

import numpy as np
import pytest
import torch
from transformers import AutoModelForTokenClassification, AutoTokenizer

from policylearn.adapt import finetune
from policylearn.adapt.chosen import FrozenFeatures
from policylearn.arms.arms import initial_policy
from policylearn.arms.policies import scores_of
from policylearn.config import TaskConfig
from policylearn.data.overview import describe_task
from policylearn.data.task import load_label_sets, load_numbers, load_task
from policylearn.evaluation.trial import run_trial
from policylearn.learning.rollout import rollout
from policylearn.problems.of_config import problem_of

DOWNSTREAM = 'evaluate.downstream=["probe", "finetune", "joint", "weight_mask"]'


@pytest.mark.parametrize(("read", "label"), [(load_task, "x"), (load_numbers, 0.5), (load_label_sets, ["x"])])
@pytest.mark.parametrize(
    ("text", "columns"),
    [("text", ("text", "text_pair")), (["text_pair", "text"], ("text_pair", "text")), (["text"], ("text",))],
)
def test_pairs_are_read_where_they_are_named_or_usual(tmp_path, read, label, text, columns):
    other = {"x": "y", 0.5: 1.5}[label] if not isinstance(label, list) else ["x", "y"]
    for split in ("train", "dev", "test"):
        rows = [{"text": f"a{i}", "text_pair": f"b{i}", "label": (label, other)[i % 2]} for i in range(4)]
        (tmp_path / f"{split}.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    task = read(TaskConfig(path=str(tmp_path), text=text))
    one = "a1" if len(columns) == 1 else tuple({"text": "a1", "text_pair": "b1"}[name] for name in columns)
    assert task.columns == columns and task.splits["dev"].texts[1] == one
    assert task.unread == (("text_pair",) if len(columns) == 1 else ())


def test_the_first_line_says_that_they_are_pairs(paired):
    task = load_task(TaskConfig(path=str(paired)))
    assert "200 / 60 / 60 pairs (text, text_pair), 2 labels: " in describe_task(task)[0]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"text": ["a", "a"]}, r"name one column, or the two of a pair"),
        ({"text": ["a", "b", "c"]}, r"name one column, or the two of a pair"),
        ({"text": ["a", "b"], "answers": "x", "path": "rows"}, r"task\.answers goes with one column of questions"),
    ],
)
def test_columns_that_make_no_pair_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        TaskConfig(**settings)


def test_a_pair_that_lacks_a_text_and_one_file_without_splits(tmp_path):
    rows = [{"text": f"a {i}", "text_pair": "b", "label": "xy"[i % 2]} for i in range(200)]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    task = load_task(TaskConfig(path=str(tmp_path / "rows.jsonl")))
    assert len(task.splits["train"]) == 140 and task.splits["test"].texts[0][1] == "b"
    del rows[3]["text_pair"]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    with pytest.raises(ValueError, match=r"row 3: no column 'text_pair'.*: set task\.text"):
        load_task(TaskConfig(path=str(tmp_path / "rows.jsonl")))


@pytest.mark.parametrize("adaptation", ["probe", "finetune", "weight_mask", "joint"])
def test_an_outer_loss_of_pairs_is_differentiated(of_pairs, adaptation):
    problem = problem_of(of_pairs(f"outer.adaptation={adaptation}", "inner.steps=4", "inner.window=2", "inner.every=2"))
    found = rollout(problem, initial_policy(problem), 0)
    assert sum(float(g.abs().sum()) for g in found.gradient.values()) > 0


def test_words_are_credited_and_dev_chooses(of_pairs):
    epochs = ("evaluate.finetune.epochs=2", "evaluate.joint.epochs=2", "evaluate.weight_mask.epochs=2")
    problem = problem_of(of_pairs(DOWNSTREAM, *epochs, "credit.points=1", "credit.trainings=2", "credit.batches=40"))
    assert scores_of(problem, ["credit"])["credit"].types.abs().max() > 0
    found = run_trial(problem, None, "none", 0)
    assert set(found.extra) == {"finetune", "joint", "weight_mask"} and 0 <= found.score <= 1


def test_which_text_a_word_is_of_is_told_to_the_model_here_and_on_workers(of_pairs):
    """Without, this model could not know: its positions hardly count, and it sees all words at once."""
    problem = problem_of(of_pairs("model.max_length=24"))
    there = problem_of(problem.config, data=problem.data())
    ids, real = problem.labelled("train").rows.batch(range(4), problem.tokenizer.pad_token_id)
    model = problem.fresh_model(0)
    told = model(ids, real)
    assert torch.equal(told, there.fresh_model(0)(ids, real))
    model.separator = None
    assert not torch.allclose(told, model(ids, real), atol=1e-2)


def test_what_is_cut_is_said(of_pairs):
    said = []
    problem_of(of_pairs("model.max_length=12"), tell=said.append).labelled("train")
    assert said[-1] == "task  200 of 200 train rows are longer than 12 tokens and cut: model.max_length"
    problem_of(of_pairs("model.max_length=20"), tell=said.append).labelled("train")
    assert "cut" not in said[-1]


def test_fine_tuning_learns_the_class_of_the_first_text_and_transformers_says_the_same(
    policylearn, tiny_toml, of_pairs, paired, tmp_path
):
    settings = ("evaluate.finetune.epochs=10", "evaluate.finetune.learning_rate=0.005")
    problem = problem_of(of_pairs(*settings))
    tuned = finetune.fit(FrozenFeatures(problem, problem.fresh_model(0)), np.arange(200), 0)
    assert tuned.dev > 0.7
    own = (f"task.path={paired}", f"domain.path={paired / 'domain.txt'}", f"model.tokenizer={paired / 'tokenizer'}")
    status, _, err = policylearn("adapt", tiny_toml, *own, *settings, "--out", tmp_path / "out", "--method", "finetune")
    assert status == 0, err
    folder = tmp_path / "out/model"
    assert "tokenizer(texts, second_texts, padding=True" in (folder / "README.md").read_text()
    test = load_task(problem.config.task).splits["test"]
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModelForTokenClassification.from_pretrained(folder)
    texts, second = map(list, zip(*test.texts, strict=True))
    batch = tokenizer(texts, second, padding=True, truncation=True, max_length=16, return_tensors="pt")
    weights = batch["attention_mask"][:, :, None]
    with torch.no_grad():
        logits = (model(**batch).logits * weights).sum(1) / weights.sum(1)
    right = np.mean([model.config.id2label[int(i)] == y for i, y in zip(logits.argmax(1), test.labels, strict=True)])
    assert right == pytest.approx(json.loads((tmp_path / "out/result.json").read_text())["test"])
