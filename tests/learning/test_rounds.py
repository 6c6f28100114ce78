"""The outer loop: gradients that lag, rollouts that diverge, and failures that can be seen again."""

import io
import json

import pytest
import torch
from rich.console import Console

from policylearn.arms.arms import initial_policy
from policylearn.cluster.calls import WorkFailed
from policylearn.cluster.pool import LocalPool
from policylearn.commands.reproduce import reproduce, reproduce_baseline, reproduce_rollout, reproduce_trial
from policylearn.learning.learn import learn
from policylearn.learning.lineage import kept_round
from policylearn.learning.rollout import rollout
from policylearn.learning.versions import add_version, older_versions, recalled_versions, version_of
from policylearn.problems.of_config import problem_of
from policylearn.report.console import RoundProgress
from policylearn.runs.run import Run

TWO = ("learn.rounds=4", "learn.rollouts=2", "inner.steps=5", "evaluate.seeds=0")


def learned(config, folder, console, pool=None):
    problem, run = problem_of(config), Run.open(folder, config, console)
    policy, _ = run.prior(lambda: initial_policy(problem), problem.tokenizer)
    state, _ = learn(config, problem, policy, pool or LocalPool(config), run)
    return state, policy


def same(a, b) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def diverging(monkeypatch, *seeds, error=FloatingPointError):
    def sometimes(problem, policy, seed, differentiate=True):
        if seed in seeds and differentiate:
            raise error("the inner MLM loss became nan")
        return rollout(problem, policy, seed, differentiate)

    monkeypatch.setattr("policylearn.learning.rounds.rollout", sometimes)


def test_each_round_is_run_with_the_phi_of_lag_rounds_before(tiny, tmp_path, quiet, monkeypatch):
    """Of round n: φ after n - 2 rounds; the first three rounds all have the φ of the start."""
    used = {}

    def watched(problem, policy, seed, differentiate=True):
        if differentiate:
            used[seed] = {name: value.clone() for name, value in policy.learned().items()}
        return rollout(problem, policy, seed, differentiate)

    monkeypatch.setattr("policylearn.learning.rounds.rollout", watched)
    config = tiny(*TWO, "learn.lag=2", "learn.rollouts=1", "learn.rounds=5")
    state, _ = learned(config, tmp_path / "run", quiet)
    phi = [used[1_000_000 + number] for number in range(5)]
    assert same(phi[0], phi[1]) and same(phi[1], phi[2])
    assert not same(phi[2], phi[3]) and not same(phi[3], phi[4])
    monkeypatch.undo()
    one = tiny(*TWO, "learn.rollouts=1", "learn.rounds=1", "learn.select=last")
    assert same(phi[3], learned(one, tmp_path / "one", quiet)[1].learned())
    assert len(state.history) == 5


@pytest.mark.parametrize(
    "settings, said",
    [
        (("learn.rounds=1",), True),
        (("learn.rounds=2", "learn.lag=1"), True),
        (("learn.rounds=2",), False),
        (("learn.rounds=1", "learn.select=last"), False),
    ],
)
def test_it_is_said_before_they_are_run_that_all_rounds_will_try_the_same(tiny, tmp_path, settings, said):
    console = Console(file=io.StringIO(), width=400)
    config = tiny(*TWO, "learn.rollouts=1", *settings)
    state, policy = learned(config, tmp_path / "run", console)
    assert ("set more than" in console.file.getvalue()) == said
    if said:
        assert same(policy.learned(), initial_policy(problem_of(config)).learned()) and kept_round(config, state) == -1


def test_a_lag_gives_the_same_bits_in_any_order_and_after_an_interruption(
    tiny, tmp_path, quiet, monkeypatch, backwards
):
    config = tiny(*TWO, "learn.lag=1")
    whole, _ = learned(config, tmp_path / "whole", quiet)
    other, _ = learned(config, tmp_path / "other", quiet, backwards(config))
    assert same(whole.tensors, other.tensors)
    assert whole.best.keys() and same(whole.best, other.best)
    assert not same(whole.tensors, learned(tiny(*TWO), tmp_path / "none", quiet)[0].tensors)

    saves, save = [], Run.save_round

    def stop_after_two(run, state):
        save(run, state)
        saves.append(1)
        if len(saves) == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Run, "save_round", stop_after_two)
        learned(config, tmp_path / "cut", quiet)
    assert same(learned(config, tmp_path / "cut", quiet)[0].tensors, whole.tensors)


def test_a_round_is_timed_from_when_the_baseline_is_done(tiny, tmp_path, quiet, monkeypatch):
    calls = []
    for name in ("begin", "advance"):
        monkeypatch.setattr(RoundProgress, name, lambda progress, name=name: calls.append(name))
    learned(tiny(*TWO, "learn.rounds=1"), tmp_path / "run", quiet)
    assert calls == ["begin"] + ["begin"] * 2 + ["advance"] * 2


def test_versions_survive_being_written_down():
    phi = [{"a": torch.full((2,), float(n))} for n in range(5)]
    versions = {}
    for number in range(5):
        versions = add_version(versions, number, phi[number], lag=2)
    assert list(versions) == [2, 3, 4]
    back = add_version(recalled_versions(older_versions(versions)), 4, phi[4], lag=2)
    assert {n: v["a"][0].item() for n, v in back.items()} == {2: 2.0, 3: 3.0, 4: 4.0}
    assert version_of(back, 5, lag=2)["a"][0] == 3
    phi[4]["a"] += 1
    assert versions[4]["a"][0] == 4  # a copy


def test_rollouts_that_diverge_are_left_out_and_counted(tiny, tmp_path, quiet, monkeypatch):
    diverging(monkeypatch, 1_000_003)  # the second rollout of the second round
    state, _ = learned(tiny(*TWO), tmp_path / "run", quiet)
    assert [line["dropped"] for line in state.history] == [0, 1, 0, 0]
    assert [len(line["dev_scores"]) for line in state.history] == [2, 1, 2, 2]


@pytest.mark.parametrize("share, seeds", [(0.4, (1_000_003,)), (1.0, (1_000_002, 1_000_003))])
def test_too_many_that_diverge_end_the_run(tiny, tmp_path, quiet, monkeypatch, share, seeds):
    """More than the share allowed; or all of them, whatever is allowed."""
    diverging(monkeypatch, *seeds)
    with pytest.raises(WorkFailed, match=rf"(?s){len(seeds)} of 2 rollouts diverged: lower inner.learning_rate.*nan"):
        learned(tiny(*TWO, f"learn.max_dropped={share}"), tmp_path / "run", quiet)


def test_a_failure_names_seed_traceback_and_a_command_that_shows_it_again(tiny, tmp_path, quiet, monkeypatch):
    config = tiny(*TWO)
    with monkeypatch.context() as patch:
        diverging(patch, 1_000_002, error=KeyError)
        with pytest.raises(WorkFailed) as failed:
            learned(config, tmp_path / "run", quiet)
    said = str(failed.value)
    assert "rollout_with(1000002) failed: KeyError" in said
    assert "in sometimes" in said
    assert f"policylearn reproduce {tmp_path}/run --rollout 1000002" in said
    alone = reproduce_rollout(tmp_path / "run", 1_000_002)
    state, _ = learned(config, tmp_path / "run", quiet)
    with pytest.raises(ValueError, match=r"--rollout 1000002 is no rollout .*: all rounds are finished"):
        reproduce_rollout(tmp_path / "run", 1_000_002)
    assert alone["dev"] == state.history[1]["dev_scores"][0]  # with the φ of that round, not that of the start


def test_a_failed_baseline_names_a_command_that_repeats_the_baseline(tiny, tmp_path, quiet, monkeypatch):
    def sometimes(problem, policy, seed, differentiate=True):
        if seed == 1_000_001 and not differentiate:
            raise KeyError("x")
        return rollout(problem, policy, seed, differentiate)

    config = tiny(*TWO)
    with monkeypatch.context() as patch:
        patch.setattr("policylearn.learning.rounds.rollout", sometimes)
        with pytest.raises(WorkFailed) as failed:
            learned(config, tmp_path / "run", quiet)
        assert "baseline_rollout(1000001) failed: KeyError" in str(failed.value)
        assert f"policylearn reproduce {tmp_path}/run --baseline 1000001" in str(failed.value)
        with pytest.raises(KeyError):
            reproduce_baseline(tmp_path / "run", 1_000_001)
        assert "credited_batches" in reproduce_rollout(tmp_path / "run", 1_000_001)  # which did not fail
    state, _ = learned(config, tmp_path / "run", quiet)
    alone = [reproduce_baseline(tmp_path / "run", seed)["dev"] for seed in (1_000_000, 1_000_001)]
    assert sum(alone) / 2 == state.numbers["random"]
    with pytest.raises(ValueError, match=r"--baseline 1000002 is no .*: those are 1000000 to 1000001"):
        reproduce_baseline(tmp_path / "run", 1_000_002)


def test_a_trial_is_reproduced_to_the_last_digit(finished):

    lines = [json.loads(line) for line in (finished / "trials.jsonl").read_text().splitlines()]
    for arm in ("learned", "difference"):
        known = next(line for line in lines if (line["arm"], line["seed"]) == (arm, 1))
        again = reproduce_trial(finished, arm, 1)
        assert (again.score, again.dev, again.masked_tokens) == (known["score"], known["dev"], known["masked_tokens"])


def test_an_arm_that_a_run_has_not_is_refused_by_those_that_it_has(finished):
    with pytest.raises(ValueError, match=r"--trial lerned 0: .* has no such arm; it has .*'learned'"):
        reproduce_trial(finished, "lerned", 0)


def test_reproducing_needs_a_run(tmp_path):
    with pytest.raises(ValueError, match="holds no run of policylearn"):
        reproduce_rollout(tmp_path, 1)


def test_reproducing_needs_a_run_and_not_a_model(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "bert"}', encoding="utf-8")
    with pytest.raises(ValueError, match="holds no run of policylearn"):
        reproduce_trial(tmp_path, "none", 0)


def test_what_cannot_be_run_again_is_said(tiny, tmp_path, quiet):
    Run.open(tmp_path, tiny(*TWO), quiet)
    with pytest.raises(ValueError, match="stopped before its first round: there is none to run again"):
        reproduce_rollout(tmp_path, 1_000_000)
    known = json.loads((tmp_path / "config.json").read_text())
    known["inner"]["warp"] = 9
    (tmp_path / "config.json").write_text(json.dumps(known))
    with pytest.raises(ValueError, match=r"config\.json: unknown key 'inner\.warp'"):
        reproduce_rollout(tmp_path, 1_000_000)


@pytest.mark.parametrize("again", [reproduce_rollout, reproduce_baseline])
def test_a_run_without_rounds_has_no_rollout(tiny, tmp_path, again):
    config = tiny('learn.stages=["expected", "strength"]', "policy.prior={}")
    (tmp_path / "config.json").write_text(config.model_dump_json(), encoding="utf-8")
    with pytest.raises(ValueError, match=r"no rounds of rollouts, its learn\.stages are .* --trial"):
        again(tmp_path, 1_000_000)


def test_reproducing_takes_one_of_three(finished):
    for asked in ((None, None, None), (1, 1, None), (1, None, ("random", 0)), (None, 1, ("random", 0))):
        with pytest.raises(ValueError, match="takes one of --rollout SEED, --baseline SEED and --trial ARM SEED"):
            reproduce(finished, *asked)
    assert reproduce(finished, baseline=1_000_000) == reproduce_baseline(finished, 1_000_000)


def test_a_run_that_was_out_of_patience_goes_on_with_what_it_learned(tiny, tmp_path, quiet, monkeypatch):
    monkeypatch.setattr("policylearn.learning.rounds.smoothed_dev", lambda history: 0.5)  # never better than round 0
    config = tiny(*TWO, "learn.rounds=9", "learn.patience=1", "learn.select=last")
    state, policy = learned(config, tmp_path / "run", quiet)
    assert state.round == 2
    again, resumed = learned(config, tmp_path / "run", quiet)
    assert again.round == 2 and same(policy.learned(), resumed.learned())
    assert not same(policy.learned(), initial_policy(problem_of(config)).learned())
