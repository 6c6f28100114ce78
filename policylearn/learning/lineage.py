"""How a policy came about, in words that go along with it: what it started from, what was learned, what exported."""

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Literal

from policylearn.arms.policies import scores_of
from policylearn.artefact import load_policy
from policylearn.config import Config
from policylearn.learning.choice import DEV_ROUNDS, kept_the_first
from policylearn.learning.outcomes import NOISE
from policylearn.policy.scores import scorer_of
from policylearn.problems.problem import Problem
from policylearn.report.formats import plural
from policylearn.runs.layout import OUTCOMES, STRENGTH
from policylearn.runs.provenance import last_part
from policylearn.runs.state import State
from policylearn.scores.credit import CREDIT

PRIOR, LEARNED = "prior", "learned"
"""What the two facts are called, in the provenance of a policy."""
AVERAGED = f", averaged over up to {DEV_ROUNDS} rounds"
"""How dev chooses among rounds."""
FACTOR = "factor"
"""What dev's choice is called among the facts of a run, beside `STRENGTH`, the words for it."""
Exported = Literal["learned", "prior", "start", "random"]
"""What a run exports: what it has learned, its prior or the policy of `learn.start` as it is, or random masks."""
Facts = Mapping[str, str]
"""Scorer → what it has learned from, in words; or the lineage of a policy."""


def lineage(config: Config, state: State, known: Facts, credited: Facts = MappingProxyType({})) -> dict[str, str]:
    """What an exported policy started from, and what was learned.

    Args:
        config: of the run.
        state: that learning ended in; of a run without rounds, a new one.
        known: of `measured`, as it was when the prior was made.
        credited: the same of the credits of stage "expected", and what "strength" and "outcomes" have come to.

    >>> found = lineage(Config.model_validate({"learn": {"rounds": 0}}), State(), {})
    >>> found["prior"], found["learned"]
    ('12 · difference', 'nothing: the prior as it is; no rounds of learning')
    """
    return {PRIOR: prior_of(config, known), LEARNED: learned_of(config, state, known, credited)}


def measured(problem: Problem) -> dict[str, str]:
    """What there is to say of the prior of a problem: scorer → what of the task it has learned from; of the policy that
    `learn.start` names, its own lineage."""
    start = problem.config.learn.start
    if start is None:
        return known_of(problem, problem.config.policy.prior)
    facts = load_policy(start).provenance
    return {name: str(facts[name]) for name in (PRIOR, LEARNED) if name in facts}


def known_of(problem: Problem, names: Iterable[str]) -> dict[str, str]:
    """Scorer → what of the task it has learned from, of those that have."""
    scores = scores_of(problem, map(scorer_of, names))
    return {name: found.learned_from for name, found in scores.items() if found.learned_from}


def unchanged(prior: Mapping[str, float], known: Facts) -> dict[str, str]:
    """The lineage of scorers as they are.

    >>> unchanged({"idf": 8.0}, {})
    {'prior': '8 · idf', 'learned': 'nothing: the prior as it is'}
    """
    return {PRIOR: _sum_of(prior, known), LEARNED: _in_prior(known)}


def at_round(config: Config, number: int) -> str:
    """What was learned of the policy as it is after a round of a run, whatever was exported.

    >>> at_round(Config(), 1)
    'the policy after 1 round of 2 rollouts each'
    >>> at_round(Config.model_validate({"learn": {"stages": ["outcomes"]}}), 2)
    'the policy after 2 rounds of outcomes of whole trainings'
    """
    if "supervised" in config.learn.stages:
        return f"the policy after {_passes(config, number)}"
    before = "expected credits, and " if "expected" in config.learn.stages else ""
    if "rounds" not in config.learn.stages:
        return f"{before}the policy after {plural(number, 'round')} of outcomes of whole trainings"
    before += "outcomes of whole trainings, and " if OUTCOMES in config.learn.stages else ""
    return f"{before}the policy after {_rounds(config, number)}"


def _rounds(config: Config, number: int) -> str:
    return f"{plural(number, 'round')} of {plural(config.learn.rollouts, 'rollout')} each"


def _passes(config: Config, number: int) -> str:
    return f"{plural(number - 1, 'pass', 'passes')} over texts with known targets ({config.supervised.targets})"


def prior_of(config: Config, known: Facts) -> str:
    """What learning starts from.

    >>> prior_of(Config.model_validate({"policy": {"prior": {"credit": 2}}}), {"credit": "of 9 words"})
    '2 · credit; credit: of 9 words'
    """
    if config.learn.start is None:
        return _sum_of(config.policy.prior, known)
    inner = "; ".join(f"{name}: {said}" for name, said in known.items())
    return f"the policy {last_part(config.learn.start)}" + (f" ({inner})" if inner else "")


def _sum_of(prior: Mapping[str, float], known: Facts) -> str:
    terms = " + ".join(f"{strength:g} · {name}" for name, strength in prior.items())
    return "; ".join([terms or "uniform masks", *(f"{name}: {said}" for name, said in known.items())])


def learned_of(config: Config, state: State, known: Facts, credited: Facts = MappingProxyType({})) -> str:
    """What was learned, stage by stage, and which φ was exported.

    >>> config = Config.model_validate({"learn": {"stages": ["expected"]}})
    >>> learned_of(config, State(), {}, {"credit": "expected credit of 9 words"})
    '2 · credit: expected credit of 9 words; dev was not asked'
    >>> config = Config.model_validate({"learn": {"stages": ["strength"]}})
    >>> learned_of(config, State(), {}, {"strength": "times 2, by dev"})
    'how strongly the prior is followed: times 2, by dev'
    >>> config = Config.model_validate({"policy": {"network": "table"}, "learn": {"stages": ["outcomes", "strength"]}})
    >>> learned_of(config, State(), {}, {"outcomes": "outcomes of 9 trainings", "strength": "times 2, by dev"})
    'outcomes of 9 trainings; times 2, by dev'
    """
    stages, said = config.learn.stages, []
    if "expected" in stages:
        found = credited.get(CREDIT, "expected credit of words")
        said.append(f"{config.credit.strength:g} · {CREDIT}: {found}")
    for stage in (name for name in stages if name in {STRENGTH, OUTCOMES} & credited.keys()):
        first, more = ("how strongly the prior is followed: ", "") if stage == STRENGTH else ("", "then ")
        said.append(f"{more if said else first}{credited[stage]}")
    if said and state.history:
        return "; ".join([*said, f"then {_in_rounds(config, state)}"])
    if said:
        return "; ".join(said if STRENGTH in credited else [*said, "dev was not asked"])
    return _in_rounds(config, state) if state.history else _without_rounds(config, known)


def _in_rounds(config: Config, state: State) -> str:
    if "supervised" in config.learn.stages:
        return f"in {_passes(config, state.round)}; exported: {_exported(config, state, 'pass', 'passes')}"
    return f"in {_rounds(config, state.round)}; exported: {_exported(config, state, 'round', 'rounds')}"


def _in_prior(known: Facts) -> str:
    return f"in the prior, from the labels of train ({', '.join(known)})" if known else "nothing: the prior as it is"


def _without_rounds(config: Config, known: Facts) -> str:
    found = _in_prior(known) if config.learn.start is None else f"nothing beyond {_prior(config)}"
    if config.learn.rounds == 0:
        return f"{found}; no rounds of learning"
    return f'{found}; no rounds of learning, to which policy.network = "none" leaves nothing'


def _exported(config: Config, state: State, one: str, more: str) -> str:
    averaged = AVERAGED if "rounds" in config.learn.stages else ""
    if config.learn.select == "last":
        return f"the policy after the last {one}"
    if len(state.history) <= config.learn.behind + 1:
        return f"{_prior(config)}, with which every {one} was run, so that dev had no other to choose"
    if kept_the_first(config.learn, state):
        return f"{_prior(config)}, which no {one} beat on dev{averaged}"
    rounds = state.numbers["best_round"] - config.learn.behind
    return f"the policy after {plural(rounds, one, more)}, the best on dev{averaged}"


def _prior(config: Config) -> str:
    if OUTCOMES in config.learn.stages:
        return "the policy of these outcomes"
    if "expected" in config.learn.stages:
        return "the policy of these credits"
    if STRENGTH in config.learn.stages:
        return "the prior at that strength"
    return "the prior" if config.learn.start is None else "the policy it started from"


def exports_the_prior(config: Config, state: State, credited: Facts = MappingProxyType({})) -> bool:
    """Whether what is exported is the prior as it is, or the policy that `learn.start` names."""
    moved = OUTCOMES in credited and not are_noise(credited)
    if "expected" in config.learn.stages or moved or float(credited.get(FACTOR, 1)) != 1:
        return False
    return not state.history or (config.learn.select == "dev" and kept_the_first(config.learn, state))


def are_noise(credited: Facts) -> bool:
    """Whether outcomes of trainings were asked, and said nothing."""
    return credited.get(OUTCOMES, "").endswith(NOISE)


def kept_round(config: Config, state: State, credited: Facts = MappingProxyType({})) -> int | None:
    """The round whose φ was exported: -1 if that is the prior, None if φ is that after the last round, or there was no
    round after the stages before."""
    if exports_the_prior(config, state, credited):
        return -1
    return None if config.learn.select == "last" or not state.history else state.numbers.get("best_round")


def exported(config: Config, state: State, known: Facts, credited: Facts = MappingProxyType({})) -> Exported:
    """What stands behind the arm "learned". A prior that was learned from labels counts as learned."""
    if float(credited.get(FACTOR, 1)) == 0:
        return "random"
    if not exports_the_prior(config, state, credited):
        return "learned"
    if config.learn.start is not None:
        return "start"
    return "learned" if known else "prior"
