"""What all kinds of task have in common, and all readouts."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import policylearn as pl
from policylearn.adapt.chosen import Adaptation, Chosen
from policylearn.adapt.finetune import Classifier, head_of
from policylearn.adapt.probe import readout_of
from policylearn.adapt.ridge import probe_loss, ridge_head
from policylearn.config import TaskConfig
from policylearn.evaluation.trial import run_trial
from policylearn.problems.of_config import problem_of
from policylearn.registry.known import ADAPTATIONS, KINDS
from policylearn.tasks.classification import Classification
from policylearn.tasks.regression import Regression


@pytest.fixture(params=list(KINDS.members))
def of_kind(request, tiny, labelled, counted, of_tags, asked):
    """A tiny problem of each kind."""
    kinds = {"classification": tiny, "multilabel": labelled, "regression": counted, "tagging": of_tags}
    kinds["questions"] = asked
    problem = problem_of(kinds[request.param]())
    assert problem.kind.name == request.param
    return problem


@pytest.fixture
def tuned(of_kind):
    """Its model, with a head if there is one."""
    model = of_kind.fresh_model(0)
    return model if of_kind.kind.readout is None else Classifier(model, *head_of(of_kind, range(20), model))


def test_there_is_one_loss_whoever_asks_and_it_reaches_the_model(of_kind, tuned):
    kind, train, rows = of_kind.kind, of_kind.labelled("train"), list(range(8))
    batch = kind.batch(train, rows)
    x = kind.step_loss.inputs(batch, next(tuned.parameters()))
    loss, (query, quality) = kind.training_loss(tuned, train, rows), kind.query_loss(tuned, train, rows)
    torch.testing.assert_close(kind.step_loss(tuned, batch, x), loss)
    torch.testing.assert_close(query, loss)
    parts = sum(share * kind.step_loss(tuned, *part) for *part, share in kind.step_loss.parts(batch, x, 3))
    torch.testing.assert_close(parts, loss)
    assert loss.item() > 0 and quality <= 1
    gradients = torch.autograd.grad(loss, list(tuned.parameters()), allow_unused=True)
    assert sum(bool(g.abs().sum() > 0) for g in gradients if g is not None) > 5


def test_steps_against_the_loss_raise_the_score_to_nearly_its_best(of_kind, tuned):
    kind, train = of_kind.kind, of_kind.labelled("train")
    before, optimizer = kind.score(tuned, train), torch.optim.Adam(tuned.parameters(), lr=0.02)
    for _ in range(60):
        optimizer.zero_grad()
        kind.training_loss(tuned, train, list(range(len(train)))).backward()
        optimizer.step()
    assert before + 0.05 < kind.score(tuned, train) <= 1 and kind.score(tuned, train) > 0.9


def test_every_metric_can_be_had_and_the_first_is_that_of_a_config_which_names_none(of_kind, tuned):
    given, (first, *others) = of_kind.task.model_dump(), KINDS.get(of_kind.task.kind).metrics
    assert TaskConfig(**{key: value for key, value in given.items() if key != "metric"}).metric == first
    for metric in (first, *others):
        task = TaskConfig.model_validate(given | {"metric": metric})
        problem = problem_of(of_kind.config, data=replace(of_kind.data(), task=task))
        assert problem.kind.score(tuned, of_kind.labelled("dev")) <= 1
    with pytest.raises(ValueError, match=f"metric 'bleu' with task.kind '{task.kind}': set it to one of {first}, "):
        TaskConfig(**given | {"metric": "bleu"})


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (float("nan"), "gave nan of type float: a score is a finite number"),
        (float("-inf"), "gave -inf of type float"),
        (None, "gave None of type NoneType"),
        ("0.5", "gave '0.5' of type str"),
        (1j, "gave 1j of type complex"),
        (np.ones(2), "of type ndarray"),
        (torch.ones(1), "of type Tensor"),
        (ZeroDivisionError("no texts"), "fails: ZeroDivisionError: no texts"),
    ],
)
def test_a_metric_of_others_that_gives_no_number_is_named_before_anything_is_trained(tiny, found, said):
    @pl.metric("theirs", kind="classification")
    def theirs(y, predicted):
        if isinstance(found, Exception):
            raise found
        return found

    problem = problem_of(tiny("task.metric=theirs"))
    for ask in (problem.check_task, lambda: run_trial(problem, None, "none", 0)):
        with pytest.raises(ValueError, match=rf"^task\.metric 'theirs' .*{said}"):
            ask()


@pytest.mark.parametrize("number", [np.float32, np.array, torch.tensor])
def test_a_metric_may_give_a_number_of_numpy_or_torch(tiny, number):
    pl.metric("theirs", kind="classification")(lambda y, predicted: number((y == predicted).mean()))
    assert type(run_trial(problem_of(tiny("task.metric=theirs")), None, "none", 0).dev) is float


@pytest.mark.parametrize("kind", ["classification", "multilabel", "regression", "tagging"])
def test_what_a_metric_is_first_asked_for_is_what_it_is_given_later(kind, tiny, labelled, counted, of_tags):
    config = {"classification": tiny, "multilabel": labelled, "regression": counted, "tagging": of_tags}[kind]
    given = []
    pl.metric("theirs", kind=kind)(lambda y, predicted: given.append((y, predicted)) or 0.5)
    problem = problem_of(config("task.metric=theirs"))
    problem.check_task()
    run_trial(problem, None, "none", 0)
    for y, predicted in given:
        assert type(y) is type(predicted) and len(y) == len(predicted)
        assert [np.shape(own) for own in y] == [np.shape(own) for own in predicted]
        assert {own.dtype.kind for own in y} == {own.dtype.kind for own in predicted}


@pytest.mark.parametrize("kind", ["classification", "multilabel", "regression", "tagging"])
def test_a_metric_that_changes_what_it_is_given_changes_no_labels(kind, tiny, labelled, counted, of_tags):
    config = {"classification": tiny, "multilabel": labelled, "regression": counted, "tagging": of_tags}[kind]

    @pl.metric("theirs", kind=kind)
    def theirs(y, predicted):
        for own in (*y, *predicted) if kind == "tagging" else (y, predicted):
            own[:] = 0
        return 0.5

    problem = problem_of(config("task.metric=theirs"))
    before = {split: problem.examples(split).y.clone() for split in ("train", "dev")}
    problem.check_task()
    run_trial(problem, None, "none", 0)
    assert all(y.any() and torch.equal(problem.examples(split).y, y) for split, y in before.items())


def test_what_an_adaptation_of_others_gives_is_a_number(tiny):
    ADAPTATIONS.register("theirs")(Adaptation(len, lambda *_: Chosen(float("nan"), lambda split: 0.5)))
    with pytest.raises(ValueError, match="adaptation 'theirs' gave nan of type float"):
        run_trial(problem_of(tiny("evaluate.downstream=[theirs]")), None, "none", 0)


def test_a_kind_of_others_without_a_head_is_not_probed_for(asked, monkeypatch):
    monkeypatch.setattr(KINDS, "members", KINDS.members | {"theirs": KINDS.get("questions")})
    task = asked().task.model_copy(update={"kind": "theirs"})
    problem = problem_of(asked().model_copy(update={"task": task}))
    for ask in (readout_of, lambda problem: problem.examples("train")):
        with pytest.raises(ValueError, match=r'task\.kind "theirs" has no.*: set outer\.adaptation .* to "finetune"'):
            ask(problem)


def readouts():
    draw = torch.Generator().manual_seed(0)
    return [
        (Classification(3), torch.arange(60) % 3),
        (Regression(torch.linspace(-40, 25, 60)), torch.linspace(-40, 25, 60)[torch.randperm(60, generator=draw)]),
    ]


@pytest.mark.parametrize(("readout", "y"), readouts())
def test_every_readout_says_that_right_outputs_are_best(readout, y):
    right = 9 * readout.targets(y) if readout.width > 1 else readout.targets(y)
    wrong = right[torch.randperm(len(y), generator=torch.Generator().manual_seed(1))]
    assert right.shape == (60, readout.width)
    assert readout.loss(right, y) < readout.loss(wrong, y)
    torch.testing.assert_close(readout.losses(right, y).mean(), readout.loss(right, y))
    assert readout.quality(right, y) == pytest.approx(1.0) and readout.quality(wrong, y) < 0.9
    for metric in readout.metrics.values():
        best, worse = (metric(y.numpy(), readout.predictions(outputs).numpy()) for outputs in (right, wrong))
        assert best > worse and best == pytest.approx(metric(y.numpy(), y.numpy()), abs=1e-4)


@pytest.mark.parametrize(("readout", "y"), readouts())
def test_a_probe_and_a_head_find_what_is_in_the_features(readout, y):
    draw = torch.Generator().manual_seed(2)
    targets = readout.targets(y)
    x = 3 + targets @ torch.randn(readout.width, 8, generator=draw) + 0.1 * torch.randn(60, 8, generator=draw)
    x.requires_grad_()
    fit = probe_loss(x[:40], y[:40], x[40:], y[40:], readout)
    weight, bias = ridge_head(x[:40], y[:40], readout)
    outputs = x[40:] @ weight.T + bias
    assert min(fit.quality, readout.quality(outputs, y[40:])) > 0.9
    for loss in (fit.loss, readout.loss(outputs, y[40:])):
        (slope,) = torch.autograd.grad(loss, x, retain_graph=True)
        assert slope.abs().sum() > 0
