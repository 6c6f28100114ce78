"""Stage "expected": the bits of the scorer `credit` in one process, however the work is cut; and what is said of it."""

import io
import json

import pytest
import torch
from rich.console import Console

from policylearn import load_policy
from policylearn.arms.arms import initial_policy
from policylearn.cluster.calls import WorkFailed
from policylearn.cluster.pool import LocalPool
from policylearn.commands.export import open_policy
from policylearn.commands.reproduce import reproduce_rollout
from policylearn.commands.train import train
from policylearn.config import Config, load_config
from policylearn.credit import along, outer
from policylearn.credit.credits import GROUP
from policylearn.inner.trajectory import Trajectory
from policylearn.learning import expected
from policylearn.learning.learn import learn
from policylearn.problems.of_config import problem_of
from policylearn.runs.provenance import fingerprint
from policylearn.runs.run import Run

SMALL = ("policy.prior={}", "credit.points=2", "credit.batches=6", "credit.strength=1.5", "evaluate.seeds=0")
ALONE = (*SMALL, "policy.network=none", "learn.stages=[expected]")
THEN_ROUNDS = (*SMALL, "learn.stages=[expected,rounds]", "learn.rounds=2")


def learned(config, folder, pool=None):
    console = Console(file=io.StringIO(), width=200)
    problem, run = problem_of(config, tell=lambda line: None), Run.open(folder, config, console)
    policy, _ = run.prior(lambda: initial_policy(problem), problem.tokenizer)
    learn(config, problem, policy, pool or LocalPool(config), run)
    return policy


@pytest.fixture(scope="module")
def alone(tiny, tmp_path_factory):
    """A finished run of nothing but expected credits."""
    folder, console = tmp_path_factory.mktemp("expected") / "run", Console(file=io.StringIO(), width=400)
    train(tiny(*ALONE, "evaluate.seeds=1", "evaluate.arms=[random,learned]"), folder, console)
    return folder, console.file.getvalue()


@pytest.fixture(scope="module")
def then_rounds(tiny, tmp_path_factory):
    folder = tmp_path_factory.mktemp("stages") / "run"
    train(tiny(*THEN_ROUNDS), folder, Console(file=io.StringIO()))
    return folder


def of_scorer(tiny):
    """The policy that has the scorer as its prior, measured in this process."""
    return initial_policy(problem_of(tiny(*ALONE, "learn.stages=[rounds]", "policy.prior={credit = 1.5}")))


def test_the_policy_is_that_of_the_scorer(alone, tiny):
    found, wanted = load_policy(alone[0] / "policy").policy, of_scorer(tiny)
    assert found.config == wanted.config and found.config.prior == {"credit": 1.5}
    assert fingerprint(found) == fingerprint(wanted)
    assert found.scores.words.nan_to_num().abs().max() > 0.1


@pytest.mark.parametrize("groups", [1, 2])
def test_neither_shares_nor_the_order_they_come_in_change_a_bit(alone, tiny, tmp_path, monkeypatch, backwards, groups):
    monkeypatch.setattr(expected, "SHARE", groups * GROUP)
    config = tiny(*ALONE)
    found = learned(config, tmp_path / "run", backwards(config))
    assert fingerprint(found) == fingerprint(load_policy(alone[0] / "policy").policy)


def test_parts_of_the_labels_add_up_in_their_own_order_wherever_they_were_computed(
    tiny, tmp_path, monkeypatch, backwards
):
    monkeypatch.setattr(outer, "PART", 200)
    monkeypatch.setattr(outer, "AT_ONCE", 60)
    config = tiny(*ALONE)
    assert len(expected.labelled_parts(problem_of(config))) > 2
    found = learned(config, tmp_path / "run", backwards(config))
    assert fingerprint(found) == fingerprint(of_scorer(tiny))


def test_the_bar_counts_every_call(tiny, tmp_path):
    config, calls = tiny(*ALONE), []

    class Counting(LocalPool):
        def submit(self, work, arguments):
            calls.extend(arguments)
            return super().submit(work, arguments)

    learned(config, tmp_path / "run", Counting(config))
    assert len(calls) == config.credit.points * expected.calls_of_point(config, problem_of(config))


def test_a_worker_trains_once_to_credit_all_its_shares(tiny, tmp_path, monkeypatch):
    starts, calls = [], []
    start, share = Trajectory.start.__func__, expected.credit_share

    def counted(*arguments, **named):
        starts.append(1)
        return start(*arguments, **named)

    def credit_share(*arguments):
        calls.append(1)
        return share(*arguments)

    monkeypatch.setattr(along.Trajectory, "start", classmethod(counted))
    monkeypatch.setattr(expected, "credit_share", credit_share)
    learned(tiny(*ALONE), tmp_path / "run")
    assert len(starts) == 1 and len(calls) == 4


def test_a_run_stopped_between_points_goes_on_from_the_sums_that_are_kept(
    alone, tiny, tmp_path, monkeypatch, stopped_after_a_round
):
    stopped_after_a_round(learned, tiny(*ALONE), tmp_path / "run")
    points, share = [], expected.credit_share

    def credit_share(problem, uniform, number, *batches):
        points.append(number)
        return share(problem, uniform, number, *batches)

    monkeypatch.setattr(expected, "credit_share", credit_share)
    found = learned(tiny(*ALONE), tmp_path / "run")
    assert set(points) == {1}
    assert fingerprint(found) == fingerprint(load_policy(alone[0] / "policy").policy)
    points.clear()
    assert fingerprint(learned(tiny(*ALONE), tmp_path / "run")) == fingerprint(found) and not points


def test_a_training_that_raised_is_not_gone_on_with(tiny, monkeypatch):
    problem = problem_of(tiny(*ALONE))
    uniform = expected.build_uniform(problem)
    with monkeypatch.context() as patch, pytest.raises(RuntimeError, match="memory"):
        patch.setattr(along, "outer_gradients", lambda *arguments: fail())
        expected.credit_share(problem, uniform, 0, 0, 2)
    again = expected.credit_share(problem, uniform, 0, 0, 2)
    fresh = expected.credit_share(problem_of(tiny(*ALONE)), uniform, 0, 0, 2)
    assert [part.credits.tolist() for part in again] == [part.credits.tolist() for part in fresh]


def fail():
    raise RuntimeError("out of memory")


def test_a_training_that_diverges_ends_the_run_with_what_to_do(tiny, tmp_path, monkeypatch):
    def diverge(*arguments):
        raise FloatingPointError("the inner MLM loss became nan")

    monkeypatch.setattr(along, "train_to", diverge)
    with pytest.raises(WorkFailed, match=r"(?s)1 of 1 parts diverged: lower inner.learning_rate.*became nan"):
        learned(tiny(*ALONE), tmp_path / "run")


def test_rounds_go_on_from_the_policy_of_the_credits(then_rounds, alone, tiny):
    kept = load_policy(then_rounds / "expected").policy
    assert torch.equal(kept.scores.words, load_policy(alone[0] / "policy").policy.scores.words)
    history = [json.loads(line) for line in (then_rounds / "metrics.jsonl").read_text().splitlines()]
    assert [line["round"] for line in history] == [0, 1]
    assert history[0]["baselines"]["credit"] == history[0]["dev"]  # the first round is run with it
    assert history[0]["baselines"]["random"] != history[0]["dev"]
    assert history[0]["kl"] == 0.0  # and pulled towards it
    exported = load_policy(then_rounds / "policy").policy
    assert exported.config.prior == {"credit": 1.5} and exported.config.network == "table"


def test_stages_that_were_stopped_continue_to_the_same_bits(then_rounds, tiny, tmp_path, quiet, monkeypatch):
    save, saves = Run.save_round, []

    def stop(run, state):
        save(run, state)
        saves.append(1)
        if len(saves) == 3:  # two points, a round
            raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Run, "save_round", stop)
        train(tiny(*THEN_ROUNDS), tmp_path / "run", quiet)
    dev = json.loads((tmp_path / "run" / "metrics.jsonl").read_text())["dev"]
    seed = 1_000_002  # the first of the round under way
    assert reproduce_rollout(tmp_path / "run", seed)["dev"] >= 0 and 0 <= dev <= 1
    train(tiny(*THEN_ROUNDS), tmp_path / "run", quiet)
    for name in ("expected/policy.safetensors", "policy/policy.safetensors"):
        assert (tmp_path / "run" / name).read_bytes() == (then_rounds / name).read_bytes()


def test_everything_says_what_was_learned_from_what(alone, then_rounds, tiny, told):
    folder, console = alone
    credited = f"under the labels of {tiny().planted.train} examples of train"
    for place, text in (told(folder) | {"console": console}).items():
        assert "1.5 · credit: expected credit of " in text and " masked tokens at 2 states of a training" in text, place
        assert f"{credited}; dev was not asked" in text and "uniform masks" in text, place
        assert "beat on dev" not in text and "nothing: the prior" not in text, place
    page = told(folder)["page"]
    assert "the learned policy scores" in page and "The policy is its prior as it is" not in page and ">change<" in page
    assert json.loads((folder / "result.json").read_text())["best_round"] is None
    for place, text in told(then_rounds).items():
        assert f"{credited}; then in 2 rounds of 2 rollouts each; exported: " in text, place
        assert "the best on dev" in text or "the policy of these credits, which no round beat on dev" in text, place


def test_a_round_of_a_run_says_that_it_came_after_credits(then_rounds):
    one = open_policy(then_rounds, 1)
    assert one.provenance["learned"] == "expected credits, and the policy after 1 round of 2 rollouts each"


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (["learn.stages=[rounds,expected]"], "in the order"),
        (["learn.stages=[rounds,rounds]"], "each once"),
        (["learn.stages=[expected,supervised]"], '"supervised" stands alone'),
        (["learn.stages=[]"], "at least 1 item"),
        (["learn.stages=[expected]", "learn.start=a/policy"], "learn.start"),
        (["learn.stages=[expected]", "policy.prior={credit = 1.0}"], "take it out of policy.prior"),
    ],
)
def test_stages_that_make_no_sense_are_refused(settings, said):
    with pytest.raises(ValueError, match="learn") as error:
        load_config(None, settings)
    assert said in str(error.value)


def test_questions_have_no_classes_to_credit_for():
    answers = {"task": {"path": "q", "answers": "answers", "metric": "likelihood"}, "outer": {"adaptation": "finetune"}}
    with pytest.raises(ValueError, match=r'learn\.stages "expected", which needs texts with classes'):
        Config.model_validate(answers | {"evaluate": {"downstream": ["finetune"]}, "learn": {"stages": ["expected"]}})
