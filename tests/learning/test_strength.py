"""Stage "strength": dev chooses how strongly scores are followed, or that they are not."""

import io
import json

import pytest
import torch
from rich.console import Console

from policylearn import load_policy
from policylearn.arms.arms import arm_policy, initial_policy
from policylearn.cluster.calls import Call, Result
from policylearn.cluster.pool import LocalPool
from policylearn.commands.train import train
from policylearn.inner.seeds import STRENGTH_SEED
from policylearn.learning import strength as stage
from policylearn.learning.learn import STAGES, Seen, how_to_see
from policylearn.learning.rounds import baseline_rollout
from policylearn.learning.strength import choose_factor, scale_strengths
from policylearn.problems.of_config import problem_of
from policylearn.report.console import RoundProgress
from policylearn.runs.run import Run
from policylearn.storage.folder import Storage

ALONE = ("learn.stages=[strength]", "policy.network=none", "strength.models=2", "evaluate.seeds=0")
AFTER = ("policy.prior={}", "learn.stages=[expected,strength,rounds]", "credit.points=1", "credit.batches=4")


def history(*by_seed):
    return [{"factors": dict(zip(("random", "× 0.5", "× 1"), found, strict=True))} for found in by_seed]


@pytest.mark.parametrize(
    ("found", "factor"),
    [
        ([(0.5, 0.7, 0.6), (0.5, 0.7, 0.6)], 0.5),
        ([(0.5, 0.6, 0.7), (0.6, 0.7, 0.8)], 1.0),
        ([(0.5, 0.4, 0.3), (0.5, 0.4, 0.3)], 0.0),
        ([(0.5, 0.4, 0.3), (0.5, 0.7, 0.3)], 0.0),  # ahead by .05 ± .15
        ([(0.5, 0.7, 0.7), (0.5, 0.7, 0.7)], 0.5),  # of equals the weakest
        ([(0.5, 0.9, 0.9)], 0.0),  # one seed tells nothing of others
    ],
)
def test_random_masks_stand_unless_they_are_beaten_by_more_than_a_standard_error(found, factor):
    assert choose_factor(history(*found)) == factor


def test_a_factor_multiplies_logits(tiny):
    problem = problem_of(tiny())
    policy = initial_policy(problem)
    ids, real = problem.domain.batch(range(4), problem.tokenizer.pad_token_id)
    with torch.no_grad():
        before, twice, none, turned = (scale_strengths(policy, factor)(ids, real) for factor in (1.0, 2.0, 0.0, -1.0))
    assert torch.equal(twice, 2 * before) and before.abs().max() > 0 and torch.equal(turned, -before)
    assert torch.equal(none, torch.zeros_like(none))
    random = arm_policy(problem, "random")
    assert torch.allclose(scale_strengths(policy, 0.0).probabilities(ids, real), random.probabilities(ids, real))


def run(config, folder):
    console = Console(file=io.StringIO(), width=400)
    train(config, folder, console)
    return console.file.getvalue()


@pytest.mark.parametrize("factor", [0.0, 2.0])
def test_a_run_keeps_what_dev_chose_and_says_so_everywhere(tiny, tmp_path, monkeypatch, told, factor):
    monkeypatch.setattr(stage, "choose_factor", lambda history: factor)
    monkeypatch.setattr("policylearn.learning.learn.choose_factor", lambda history: factor)
    settings = ("evaluate.seeds=1", "evaluate.arms=[random,learned]")
    out = run(tiny(*ALONE[:-1], *settings), tmp_path / "run")
    policy = load_policy(tmp_path / "run" / "policy").policy
    assert policy.config.prior == {"difference": 12.0 * factor}
    assert torch.equal(policy.strengths, torch.tensor([12.0 * factor]))
    said = "times 2: on dev" if factor else "times 0, which is random masks: on dev"
    for place, text in (told(tmp_path / "run") | {"console": out}).items():
        assert f"how strongly the prior is followed: {said}" in text, place
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["learned"] == bool(factor) and result["best_round"] is None
    assert result["exported"] == ("learned" if factor else "random")
    first = json.loads((tmp_path / "run" / "strength" / "metrics.jsonl").read_text().splitlines()[0])
    problem = problem_of(tiny(*ALONE))
    wanted = baseline_rollout(problem, scale_strengths(initial_policy(problem), 0.5), STRENGTH_SEED).metrics["dev"]
    assert first["factors"]["× 0.5"] == wanted and list(first["factors"]) == ["random", "× 0.5", "× 1", "× 2"]


def test_where_nothing_holds_learning_stops(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr("policylearn.learning.learn.choose_factor", lambda history: 0.0)
    monkeypatch.setattr(stage, "choose_factor", lambda history: 0.0)
    out = run(tiny(*AFTER, "strength.models=2", "evaluate.seeds=0", "learn.rounds=2"), tmp_path / "run")
    assert "expected credit of" in out and "; times 0, which is random masks" in out and "rounds of" not in out
    assert not (tmp_path / "run" / "metrics.jsonl").exists() or not (tmp_path / "run" / "metrics.jsonl").read_text()


def test_a_stopped_run_goes_on_after_the_models_that_it_has(tiny, tmp_path, monkeypatch, stopped_after_a_round):
    stopped_after_a_round(run, tiny(*ALONE), tmp_path / "run")
    seeds, work = [], stage.baseline_rollout

    def counted(problem, policy, seed):
        seeds.append(seed)
        return work(problem, policy, seed)

    monkeypatch.setattr(stage, "baseline_rollout", counted)
    run(tiny(*ALONE), tmp_path / "run")
    run(tiny(*ALONE), tmp_path / "other")
    assert seeds == [STRENGTH_SEED + 1] * 4 + [STRENGTH_SEED] * 4 + [STRENGTH_SEED + 1] * 4
    found, wanted = ((tmp_path / name / "policy" / "policy.safetensors").read_bytes() for name in ("run", "other"))
    assert found == wanted


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["strength.factors=[0.5,1.0]"], "ascend from 0"),
        (["strength.factors=[0.0,2.0,1.0]"], "ascend from 0"),
        (["strength.factors=[0.0,-2.0,1.0]"], "ascend from 0"),
        (["strength.factors=[0.0,1.0,1.0]"], "ascend from 0"),
        (["learn.stages=[strength]", "policy.prior={}"], "something to follow"),
        (["learn.stages=[rounds,strength]"], "in the order"),
        (["learn.stages=[strength]", "learn.start=a/policy"], "learn.start"),
    ],
)
def test_what_cannot_be_is_refused(tiny, settings, message):
    with pytest.raises(ValueError, match=message):
        tiny(*settings)


class Pooled(LocalPool):
    """A pool that gives what it is asked for."""

    def __init__(self):
        """No worker."""

    def results(self, results):
        yield from results


@pytest.mark.parametrize("seed", [STRENGTH_SEED, 1_000_000])
def test_models_of_strength_count_and_no_command_is_named_that_would_not_see_one_again(tiny, tmp_path, quiet, seed):
    run, failed = Run(Storage.at(tmp_path), tiny(*ALONE), quiet), Result(Call(0, baseline_rollout, (None, seed)))
    assert f"--baseline {seed}" in how_to_see(failed, run)
    for name in ("strength", "rounds"):
        with RoundProgress(1, 0, quiet, 4) as progress:
            (found,) = Seen(Pooled(), run, progress, STAGES[name]).results([failed])
            assert bool(found.advice) is (name == "rounds") and progress.completed == int(name == "strength")
