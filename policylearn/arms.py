"""Policies by name: the one to be learned, and every arm it is compared with."""

from collections.abc import Iterable

from policylearn.config import Config, PolicyConfig
from policylearn.policy import MaskingPolicy, token_features
from policylearn.problem import Problem
from policylearn.scores import SCORERS

LEARNED, RANDOM, NONE = "learned", "random", "none"
ARM_STRENGTH = 8.0
"""Strength of a scorer that is an arm but no part of the configured prior."""


def initial_policy(problem: Problem) -> MaskingPolicy:
    """The policy before learning: its probabilities are those of the prior."""
    return _build(problem, problem.config.policy)


def arm_policy(problem: Problem, arm: str) -> MaskingPolicy | None:
    """A policy that learns nothing: "random", or the name of a scorer; None for "none", no further training.

    Raises:
        ValueError: the arm is not known.
    """
    if arm == NONE:
        return None
    prior = {} if arm == RANDOM else {arm: problem.config.policy.prior.get(arm, ARM_STRENGTH)}
    return _build(problem, PolicyConfig(prior=prior, network="none"))


def check_arms(config: Config, known: Iterable[str] = (LEARNED,)) -> None:
    """Refuse an unknown arm before anything is trained.

    Args:
        config: names the arms.
        known: arms that have, or will have, a policy of their own.

    Raises:
        ValueError: naming the arm and the known ones.
    """
    names = {RANDOM, NONE, *known, *SCORERS}
    for arm in config.evaluate.arms:
        if arm not in names:
            raise ValueError(f"evaluate.arms: unknown arm {arm!r}; known: {sorted(names)}")
    if "oracle" in config.evaluate.arms and config.domain.path != "planted":
        raise ValueError("evaluate.arms: the oracle is known on the planted benchmark only; take it out")


def _build(problem: Problem, config: PolicyConfig) -> MaskingPolicy:
    scores = problem.scores(config.prior)
    embedding = problem.input_embedding()
    features = token_features(embedding, scores, config.features)
    masking = problem.config.masking
    return MaskingPolicy(config, scores, features, problem.special, masking.rate, masking.p_max)
