"""Meta-learning that starts from an exported policy."""

import json

import pytest
import torch

from policylearn import load_policy
from policylearn.arms.arms import initial_policy
from policylearn.commands.reproduce import reproduce_rollout
from policylearn.commands.train import train
from policylearn.policy.policy import mask_tokens
from policylearn.problems.of_config import problem_of
from policylearn.runs.state import load_latest


@pytest.fixture(scope="module")
def started(supervised, learned_answers):
    """`started(…)`: a config of meta-learning that starts from the answers' policy, with overrides."""
    own = ("learn.stages=[rounds]", f"learn.start={learned_answers / 'policy'}", "learn.rounds=2", "learn.select=last")
    return lambda *overrides: supervised(*own, *overrides)


@pytest.fixture(scope="module")
def problem(started):
    return problem_of(started())


@pytest.fixture(scope="module")
def texts(problem):
    return problem.domain.batch(range(16), problem.tokenizer.pad_token_id)


def test_before_any_learning_it_is_the_policy_it_starts_from(problem, texts, learned_answers):
    policy, exported = initial_policy(problem).start_here(), load_policy(learned_answers / "policy").policy
    with torch.no_grad():
        p = exported.probabilities(*texts)
        assert torch.equal(policy.probabilities(*texts), p) and torch.equal(policy.prior_probabilities(*texts), p)
    assert (p - initial_policy(problem).prior_probabilities(*texts)).abs().max() > 0.1  # the scorers' prior is another
    one, other = (mask_tokens(x, *texts, seed=0, epoch=1) for x in (policy, exported))
    assert torch.equal(one.labels, other.labels) and torch.equal(one.lead, other.lead)


def test_it_is_pulled_towards_where_it_started(problem, texts):
    policy = initial_policy(problem).start_here()
    batch = mask_tokens(policy, *texts, seed=0, epoch=0)
    now, before = policy.reconsider(batch)
    torch.testing.assert_close(now.detach(), before, atol=1e-6, rtol=0)
    with torch.no_grad():
        policy.network.out.weight.add_(torch.randn(policy.network.out.weight.shape))
    moved, still = policy.reconsider(batch)
    assert (moved - now).abs().max() > 0.05 and torch.equal(still, before)
    assert not before.requires_grad and moved.requires_grad


def test_a_run_starts_there_learns_and_can_be_continued(started, tmp_path, quiet, learned_answers, monkeypatch):
    train(started(), tmp_path / "one", quiet)
    records = [json.loads(line) for line in (tmp_path / "one" / "metrics.jsonl").read_text().splitlines()]
    assert records[0]["kl"] == pytest.approx(0, abs=1e-9) and records[1]["kl"] > 0
    prior, start, last = (
        load_policy(f).policy.learned()
        for f in (tmp_path / "one" / "prior", learned_answers / "policy", tmp_path / "one" / "policy")
    )
    assert all(torch.equal(prior[name], start[name]) for name in start)
    assert any(not torch.equal(last[name], start[name]) for name in start)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        stop_after_a_round(patch)
        train(started(), tmp_path / "two", quiet)
    kl = reproduce_rollout(tmp_path / "two", 1_000_002)["kl"]
    train(started(), tmp_path / "two", quiet)
    states = [load_latest(tmp_path / name / "checkpoints")[0] for name in ("one", "two")]
    assert all(torch.equal(states[1].tensors[name], value) for name, value in states[0].tensors.items())
    assert kl > 0  # the rollout made again is pulled towards the start, not towards the scorers


def stop_after_a_round(patch):
    from policylearn.runs.run import Run

    original = Run.save_round

    def once(*arguments):
        original(*arguments)
        raise KeyboardInterrupt

    patch.setattr(Run, "save_round", once)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("policy.hidden=13", r"that policy has policy.hidden = 12, this config has 13; set it"),
        ("policy.prior={difference = 2.0}", r"policy.prior = {}, this config has {'difference': 2.0}"),
        ("planted.generic_words=13", "does not match the policy"),
        ("learn.start=/nowhere", "/nowhere' does not exist"),
    ],
)
def test_a_policy_of_other_settings_or_another_tokenizer_is_refused(started, override, message):
    with pytest.raises(ValueError, match=message):
        initial_policy(problem_of(started(override)))


def test_masking_settings_are_those_of_the_config(started):
    policy = initial_policy(problem_of(started("masking.rate=0.4", "masking.unit=word")))
    assert policy.masking.rate == 0.4 and policy.masking.unit == "word" and not policy.cuts_spans
