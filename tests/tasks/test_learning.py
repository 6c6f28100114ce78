"""Closed-book questions as the outer task: what is read, the loss through every engine, the dev score, learning."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer

from policylearn.adapt import finetune
from policylearn.adapt.outer import dev_score, outer_problem
from policylearn.arms.arms import initial_policy
from policylearn.config import TaskConfig
from policylearn.data.questions import read_questions, tokenize_questions
from policylearn.learning.rollout import rollout
from policylearn.problems.of_config import problem_of
from policylearn.tasks.questions import answer_losses


def test_questions_are_read_with_answers_and_choices(problem, asked_rows):
    train, tokenizer = problem.labelled("train"), problem.tokenizer
    row = asked_rows["train"][0]
    assert len(train) == 40 and train.accepted[0] == row["answers"]
    assert tokenizer.decode(train.rows[0], skip_special_tokens=True) == row["question"]
    assert tokenizer.decode(train.answers[0], skip_special_tokens=True) == row["answers"][0]
    spelt = [tokenizer.decode(train.choices[int(i)], skip_special_tokens=True) for i in range(*train.first[:2])]
    assert spelt == row["choices"] and spelt[train.right[: len(spelt)].argmax()] == row["answers"][0]
    assert train.asked[: train.first[1] + 1].tolist() == [0] * int(train.first[1]) + [1]
    assert train.tokens([0]).tolist() == [3]  # begin, word, end


def test_the_test_split_is_sealed(problem):
    with pytest.raises(AssertionError, match="something was still to be chosen"):
        problem.labelled("test")
    assert len(problem.tests()["test"]) == 20


@pytest.mark.parametrize(
    ("row", "complaint"),
    [
        ({"question": "q", "answers": [], "choices": ["a"]}, r"split 'dev', row 0: no answer in column 'answers'"),
        ({"question": "q", "answers": ["b"], "choices": ["a"]}, r"row 0: none of the choices \['a'\] is an answer"),
        ({"question": "q", "answers": ["b"]}, "no column 'choices'"),
        (
            {"question": "q", "answers": [None], "choices": ["a"]},
            "row 0: column 'answers' holds a NoneType, not a text",
        ),
        ({"question": ["q"], "answers": ["b"], "choices": ["b"]}, "row 0: column 'question' holds a list, not a text"),
        (None, "split 'train' is empty"),
    ],
)
def test_what_is_wrong_with_a_row_is_said(tmp_path, row, complaint):
    good = {"question": "q", "answers": ["b"], "choices": ["a", "b"]}
    for split in ("train", "dev", "test"):
        (tmp_path / f"{split}.jsonl").write_text(json.dumps(good if split != "dev" else row) if row else "")
    config = TaskConfig(path=str(tmp_path), text="question", answers="answers", choices="choices", metric="choice")
    with pytest.raises(ValueError, match=complaint):
        read_questions(config)


@pytest.mark.parametrize(
    ("override", "complaint"),
    [
        ("outer.adaptation=probe", 'with outer.adaptation other than "finetune"'),
        ('evaluate.downstream=["probe"]', r'evaluate.downstream "probe": set it to \["finetune"\]'),
        ("task.metric=accuracy", "metric 'accuracy' with task.kind 'questions': set it to one of likelihood"),
        ("task.path=planted", "task.answers needs task.path"),
    ],
)
def test_settings_that_do_not_fit_questions_are_refused(asked, override, complaint):
    with pytest.raises(ValueError, match=complaint):
        asked(override)


def test_a_metric_of_answers_needs_answers():
    with pytest.raises(
        ValueError, match=r"metric 'exact_match' with task.kind 'classification': set it to one of accuracy"
    ):
        TaskConfig(metric="exact_match")
    with pytest.raises(ValueError, match=r"needs task.choices"):
        TaskConfig(path="x", answers="a", metric="choice")


def test_a_model_that_cannot_write_is_refused(asked):
    problem = problem_of(asked('model.architecture={model_type="bert", hidden_size=16, num_attention_heads=2}'))
    for used in (problem.check, lambda: problem.fresh_model(0)):
        with pytest.raises(ValueError, match=r"task.answers needs an encoder–decoder"):
            used()


def test_what_needs_classes_says_so(problem):
    with pytest.raises(ValueError, match=r"task.answers makes the task one of questions"):
        problem.examples("train")


def test_losses_of_answers_do_not_depend_on_chunks(problem, monkeypatch):
    model, train = problem.fresh_model(0), problem.labelled("train")
    whole = answer_losses(model, train, range(9), 0)
    monkeypatch.setattr("policylearn.models.chunks.CHUNK", 16)
    torch.testing.assert_close(answer_losses(model, train, range(9), 0), whole)


def test_the_outer_loss_is_that_of_query_answers_after_steps_on_support(problem):
    numbers = {}
    tuning, model = finetune.outer_loss(problem, range(8), range(8, 20), [0], numbers.update), problem.fresh_model(0)
    before = tuning.query(model).item()
    train, count = problem.labelled("train"), 12 * 3
    assert before == pytest.approx(answer_losses(model, train, range(8, 20), 0).sum().item() / count)
    assert numbers == {"outer_loss": before, "outer_accuracy": math.exp(-before)}
    kept = {name: p.clone() for name, p in model.named_parameters()}
    assert tuning(model).item() < before
    assert all(torch.equal(p, kept[name]) for name, p in model.named_parameters())


def test_dev_is_scored_by_likelihood_and_learning_to_answer_raises_it(asked):
    scores = [dev_score(p := problem_of(asked(f"outer.steps={n}")), p.fresh_model(0)) for n in (1, 30)]
    assert 0 < scores[0] < scores[1] < 1


SMOOTH = "inner.optimizer=sgd", "inner.learning_rate=0.002", "inner.credit_batches=1"


def credits_by(asked, engine, *how):
    problem = problem_of(asked(f"inner.engine={engine}", *SMOOTH, *how))
    found = rollout(problem, initial_policy(problem), seed=3)
    return found.gradient["network.logits"], found.metrics


def test_engines_agree_on_the_policy_gradient(asked, relative_error_of):
    exact, metrics = credits_by(asked, "replay")
    assert exact.norm() > 0 and 0 < metrics["outer_accuracy"] < 1 and 0 < metrics["dev"] < 1
    for engine, tolerance in (("unroll", 1e-3), ("finite_difference", 5e-2), ("one_step", 5e-2)):
        assert relative_error_of(credits_by(asked, engine)[0], exact) < tolerance
    assert relative_error_of(credits_by(asked, "replay", "outer.learning_rate=0.3")[0], exact) > 5e-2


@pytest.fixture
def relative_error_of():
    return lambda a, b: ((a - b).norm() / b.norm()).item()


@pytest.mark.parametrize("estimator", ["relaxed", "score_function"])
def test_other_estimators_take_the_same_path(asked, estimator):
    problem = problem_of(asked(f"learn.estimator={estimator}", "masking.design=independent", "learn.samples=2"))
    found = rollout(problem, initial_policy(problem), seed=0)
    assert sum(float(g.norm()) for g in found.gradient.values()) > 0


def test_support_and_query_are_drawn_anew(problem):
    model, losses = problem.fresh_model(0), []
    for key in ([0], [0], [1]):
        losses.append(outer_problem(problem, key, lambda **_: None)(model).item())
    assert losses[0] == losses[1] != losses[2]


SHARED = Path(__file__).parents[3] / "shared"


@pytest.mark.skipif(not (SHARED / "data" / "qa").is_dir(), reason="needs the shared data")
@pytest.mark.parametrize(("name", "choices"), [("qa_webquestions", None), ("qa_opentrivia", "choices")])
def test_real_questions_are_read(name, choices):
    path, tokenizer = str(SHARED / "data" / "qa" / name), SHARED / "models" / "minilm-l6-mlm"
    config = TaskConfig(path=path, text="question", answers="answers", choices=choices, metric="likelihood")
    dev = tokenize_questions(read_questions(config).splits["dev"], AutoTokenizer.from_pretrained(tokenizer), 64, 16)
    assert len(dev) > 100 and all(dev.accepted) and (dev.tokens(range(len(dev))) >= 3).all()
    assert len(dev.choices) == len(dev.right) == (dev.first[-1] if choices else 0)
    assert not choices or np.add.reduceat(dev.right, dev.first[:-1]).all()
