"""The stages of learning, one after the other: each a learner, driven by what it yields. After every round come the
best φ by dev, a checkpoint, progress and trackers."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any

from policylearn.cluster.calls import Result, Work
from policylearn.cluster.pool import Pool
from policylearn.config import Config, TrackConfig
from policylearn.credit.along import states
from policylearn.learning.choice import keep_best, out_of_patience
from policylearn.learning.expected import calls_of_point, expected
from policylearn.learning.learner import Learner
from policylearn.learning.lineage import FACTOR, Facts, are_noise, known_of
from policylearn.learning.outcomes import describe_outcomes, outcomes, trainings_of_round
from policylearn.learning.rounds import baseline_rollout, rollout_with, rounds
from policylearn.learning.strength import choose_factor, describe_choice, strength
from policylearn.learning.supervised.fit import passes, supervised
from policylearn.policy.policy import MaskingPolicy
from policylearn.problems.problem import Problem
from policylearn.report.console import RoundProgress
from policylearn.runs.layout import EXPECTED, OUTCOMES, STRENGTH
from policylearn.runs.run import Run
from policylearn.runs.state import State, select_prefix
from policylearn.runs.trackers import open_trackers
from policylearn.scores.credit import CREDIT


@dataclass(frozen=True)
class Stage:
    """A way of learning, as a run shows it.

    Attributes:
        learner: does it.
        total: rounds there will be, at most.
        units: calls of a round that are worth a step of the bar.
        names: what a round and a unit are called.
        aside: work whose calls are no units.
        advice: the command that runs a failed call again; empty: there is none.
        known: of a stage whose policy is kept in a folder of its own, what is known of it, from the state it ended in
            and what is known of the one before.
    """

    learner: Learner
    total: Callable[[Config], int]
    units: Callable[[Config, Problem], int] = lambda config, _: 1
    names: tuple[str, str] = ("round", "rollouts")
    aside: tuple[Work, ...] = ()
    advice: Callable[[Result, Run], str] = lambda result, run: ""
    known: Callable[[Problem, State, Facts], Facts] | None = None


def how_to_see(result: Result, run: Run) -> str:
    """The command that runs a failed rollout again, in one process."""
    options = {baseline_rollout: "--baseline", rollout_with: "--rollout"}
    if (option := options.get(result.call.work)) is None:
        return ""
    return f"See it again, in one process: policylearn reproduce {run.address} {option} {result.call.arguments[-1]}"


def _with_credit(problem: Problem, state: State, facts: Facts) -> Facts:
    """What the credits were measured from."""
    return known_of(problem, [CREDIT])


def _with_strength(problem: Problem, state: State, facts: Facts) -> Facts:
    """What is known, and what dev chose."""
    return {**facts, FACTOR: f"{choose_factor(state.history):.15g}", STRENGTH: describe_choice(state.history)}


def _with_outcomes(problem: Problem, state: State, facts: Facts) -> Facts:
    """What is known, and what the trainings came to."""
    return {**facts, OUTCOMES: describe_outcomes(state.history)}


STAGES = {
    EXPECTED: Stage(expected, states, calls_of_point, ("point", "parts"), known=_with_credit),
    STRENGTH: Stage(  # of which no advice: no command trains a model under one of its factors
        strength,
        lambda c: c.strength.models,
        lambda c, problem: len(c.strength.factors),
        ("seed", "models"),
        known=_with_strength,
    ),
    OUTCOMES: Stage(
        outcomes,
        lambda c: c.outcomes.rounds,
        lambda c, problem: trainings_of_round(c.outcomes),
        ("round", "trainings"),
        known=_with_outcomes,
    ),
    "rounds": Stage(
        rounds, lambda c: c.learn.rounds, lambda c, _: c.learn.rollouts, aside=(baseline_rollout,), advice=how_to_see
    ),
    "supervised": Stage(supervised, passes),
}


def learn(config: Config, problem: Problem, policy: MaskingPolicy, pool: Pool, run: Run) -> tuple[State, Facts]:
    """Learn a policy, in place, in the stages of the config. A finished round is on disk before the next one ends.

    On return `policy` is what the last stage came to, with the φ that `learn.select` asks for: of rounds the best on
    dev, which may be the first, run with what they started from. Of expected credits and outcomes dev is not asked;
    where it chooses random masks as their strength, learning stops. Of outcomes that are noise there is no strength to
    choose. A policy without anything to learn is left as it is by "rounds" and "supervised".

    Returns:
        the state that the last stage ended in (of those kept in a folder of their own a new one), and what the credits
        were measured from, how strength was chosen and what trainings came to, if they were.

    Raises:
        WorkFailed: a call fails wherever it is tried, or too many diverge; the rounds before are kept.
    """
    state: State = State()
    facts: Facts = {}
    _warn_of_what_is_in_vain(config, run)
    for name in config.learn.stages:
        stage = STAGES[name]
        if name == STRENGTH and are_noise(facts) and not policy.config.prior:
            run.warn("learn.stages: strength is left out, for outcomes are noise and there is nothing to follow")
        elif stage.known is not None:
            facts = _at_once(name, problem, policy, pool, run, facts)
            if float(facts.get(FACTOR, 1)) == 0:
                break
        elif policy.learned():
            state = run_stage(stage, config, problem, policy, pool, run, run.latest_state())
    return state, facts


def _warn_of_what_is_in_vain(config: Config, run: Run) -> None:
    if config.track.to and all(STAGES[name].known for name in config.learn.stages):
        kept = " and ".join(f"{stage}/metrics.jsonl" for stage in config.learn.stages)
        run.warn(f"track.to: nothing is shown there, for learn.stages has no rounds; see {kept}")
    if config.has_rounds and config.learn.select == "dev" and config.learn.rounds <= config.learn.lag + 1:
        run.warn(
            f"learn.rounds = {config.learn.rounds}: dev chooses among policies that rounds were run with, and all will "
            f'be run with the first: set more than {config.learn.lag + 1}, or learn.select = "last"'
        )


def _at_once(name: str, problem: Problem, policy: MaskingPolicy, pool: Pool, run: Run, facts: Facts) -> Facts:
    """A stage whose policy is kept in a folder of its own, or what an earlier call made of it; what is known of it."""
    stage = STAGES[name]
    assert stage.known is not None
    if (kept := run.kept_policy(name)) is None:
        untracked = run.config.model_copy(update={"track": TrackConfig()})  # trackers have the rounds' dev scores
        state = run_stage(stage, untracked, problem, policy, pool, run, run.latest_state(name))
        kept = run.keep_policy(name, policy, problem.own_tokenizer, dict(stage.known(problem, state, facts)))
    stages: list[str] = [*run.config.learn.stages]
    moved = OUTCOMES in stages[: stages.index(name) + 1]  # only there φ has
    policy.become(kept[0].start_here() if moved else kept[0])
    return kept[1]


def run_stage(
    stage: Stage, config: Config, problem: Problem, policy: MaskingPolicy, pool: Pool, run: Run, state: State
) -> State:
    """Drive a learner on from a state, to its end or until patience is over; `policy` then has the best φ."""
    total, units = stage.total(config), stage.units(config, problem)
    with (
        RoundProgress(total, state.round, run.console, units, names=stage.names) as progress,
        open_trackers(config, str(run.storage), state, run.console) as trackers,
    ):
        seen = Seen(pool, run, progress, stage)
        with closing(stage.learner(problem, policy, seen, state, config)) as states:
            while not out_of_patience(config.learn, state) and next(states, None):
                keep_best(state)
                run.save_round(state)
                progress.update(state.history[-1])
                trackers.update(state.history)
                pool.count_round()
    if state.best and config.learn.select == "dev":
        policy.load_learned(state.best)
    elif newest := select_prefix("phi.", state.tensors):  # of a run out of patience before, no learner has given it
        policy.load_learned(newest)
    return state


class Seen:
    """A pool whose results are counted as they come; what has failed says how it can be seen again, see `Stage`. The
    run begins with the first call: a learner that refuses before costs nothing."""

    def __init__(self, pool: Pool, run: Run, progress: RoundProgress, stage: Stage) -> None:
        self._run, self._progress, self._stage = run, progress, stage
        self._pool, self.share, self.drop = pool, pool.share, pool.drop
        self.alive, self.count_round = pool.alive, pool.count_round

    @property
    def lost(self) -> int:
        """See `Pool.lost`."""
        return self._pool.lost

    def submit(self, work: Work, calls: Sequence[Sequence[Any]]) -> list[int]:
        """See `Pool.submit`."""
        self._run.begin()
        return self._pool.submit(work, calls)

    def results(self, tickets: Sequence[int]) -> Iterator[Result]:
        """See `Pool.results`."""
        for result in self._pool.results(tickets):
            yield replace(result, advice=self._stage.advice(result, self._run))
            if result.call.work in self._stage.aside:
                self._progress.begin()
            else:
                self._progress.advance()
