"""How long trials take, said before: within a factor of 1.5, on a clock that counts what is computed."""

import io

import pytest
import torch
from rich.console import Console

from policylearn.arms.arms import arm_policy
from policylearn.cluster.pool import LocalPool
from policylearn.evaluation import plan, trial
from policylearn.evaluation.compare import compare, evaluate_policies
from policylearn.evaluation.plan import ExpectedTime, estimate, plan_line, workers_of
from policylearn.evaluation.trial import Trial, run_trial
from policylearn.models.model import InnerModel
from policylearn.problems.of_config import problem_of
from policylearn.registry.known import ADAPTATIONS
from policylearn.runs.run import Run

TOKENS = 1e5
"""A second, in tokens that go through a model; a way back counts as two more ways there."""


@pytest.fixture
def clock(monkeypatch):
    """Of what models compute, whatever machine this is."""
    now, forward = [0.0], InnerModel.forward

    def counted(self, input_ids, *arguments, **settings):
        now[0] += input_ids.numel() / TOKENS * (3 if torch.is_grad_enabled() else 1)
        return forward(self, input_ids, *arguments, **settings)

    monkeypatch.setattr(InnerModel, "forward", counted)
    for module in (plan, trial):
        monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    return now


SETTINGS = {
    "as it is": (),
    "more training": ("evaluate.steps=60", "inner.batch_size=16"),
    "few labels": ("evaluate.labelled=20", "evaluate.subsets=3"),
    "fine-tuned": ('evaluate.downstream=["finetune"]', "evaluate.finetune.epochs=3"),
    "masks of weights": ('evaluate.downstream=["weight_mask"]', "evaluate.weight_mask.epochs=2"),
}
LONGER = ("more training", "fine-tuned", "masks of weights")


@pytest.mark.parametrize("how", [pytest.param(name, marks=[pytest.mark.long] * (name in LONGER)) for name in SETTINGS])
def test_a_rehearsal_foretells_a_trial_within_a_factor_of_one_and_a_half(tiny, clock, how):
    problem = problem_of(tiny(*SETTINGS[how]))
    arms = {arm: arm_policy(problem, arm) for arm in ("random", "none", "difference", "live", "multitask")}
    problem.data()
    guess = estimate(problem, arms, list(arms), [])
    assert guess.guessed
    for seconds, (arm, policy) in zip(guess.seconds, arms.items(), strict=True):
        took = run_trial(problem, policy, arm, 0).seconds
        assert took / 1.5 <= seconds <= took * 1.5, arm
    random, none, _, live, multitask = guess.seconds
    assert none < random < multitask and random <= live  # which looks at labels where there are steps enough


def test_an_adaptation_of_others_takes_no_section_to_be_foretold(tiny):
    ADAPTATIONS.register("theirs")(ADAPTATIONS.get("probe"))
    ours, theirs = (problem_of(tiny(f"evaluate.downstream=[{how}]")) for how in ("probe", "theirs"))
    assert plan._texts_seen(theirs) == plan._texts_seen(ours)


def known(arm, seconds, masked_tokens=100):
    return Trial(arm, 0, 0.5, {}, 0.5, None, masked_tokens, seconds)


def test_trials_that_are_there_are_believed_arm_by_arm(tiny):
    problem = problem_of(tiny())
    arms = {"random": arm_policy(problem, "random"), "difference": arm_policy(problem, "random"), "none": None}
    found = [known("random", 10.0), known("random", 14.0), known("none", 1.0, 0)]
    left = estimate(problem, arms, ["random", "difference", "none", "none"], found)
    assert left == ExpectedTime([12.0, 12.0, 1.0, 1.0])


def test_live_masks_are_rehearsed_whatever_others_took(tiny):
    problem = problem_of(tiny("inner.steps=20"))
    arms = {arm: arm_policy(problem, arm) for arm in ("random", "live")}
    left = estimate(problem, arms, ["random", "live"], [known("random", 1e-6)])
    assert left.seconds[0] == 1e-6 < left.seconds[1] and left.guessed


def test_the_last_trials_are_waited_for_by_all_workers():
    assert ExpectedTime([10.0] * 3).together(2) == 20.0
    assert ExpectedTime([10.0] * 4).together(2) == 20.0
    assert ExpectedTime([]).together(2) == 0.0


def test_the_backend_in_this_process_has_one_worker(tiny):
    config = tiny("cluster.workers=4")
    assert workers_of(config.cluster) == 1
    assert plan_line(config.evaluate, 4, ExpectedTime([5.0] * 4), workers_of(config.cluster)).endswith(
        "20 s on 1 worker"
    )


def test_it_says_whether_it_is_a_guess(tiny, tmp_path):
    def said(seeds):
        console = Console(file=io.StringIO(), width=200)
        config = tiny('evaluate.arms=["random"]', f"evaluate.seeds={seeds}", "cluster.workers=3")
        evaluate_policies(config, tmp_path / "out", console, {})
        return next(line for line in console.file.getvalue().splitlines() if "to run" in line)

    assert said(1).endswith("on 1 worker (a guess from a few steps)")
    again = said(2)
    assert "1 of them known; 1 to run, about " in again and again.endswith("on 1 worker")


def test_trials_that_would_count_as_hung_are_said_to(tiny, tmp_path, quiet):
    config = tiny("cluster.backend=ray", "cluster.deadline=0.001", "evaluate.arms=[random]", "evaluate.seeds=1")
    problem, run = problem_of(config), Run.open(tmp_path, config, quiet, compares=True)
    compare(config, problem, {}, LocalPool(config, problem.data()), run)
    assert "and counts as hung after 0.0 s: raise cluster.deadline" in quiet.file.getvalue()
