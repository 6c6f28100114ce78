"""Policies by name: the one to be learned, and every arm it is compared with."""

from collections.abc import Iterable

import torch

from policylearn.config import Config, PolicyConfig
from policylearn.masking import Segmenter
from policylearn.networks import token_features
from policylearn.policy import MaskingPolicy
from policylearn.problem import Problem
from policylearn.scores.adaptive import AMLM
from policylearn.scores.registry import SCORERS
from policylearn.scores.table import RANK, scorer_of

LEARNED, RANDOM, NONE = "learned", "random", "none"
ARM_STRENGTH = 8.0
"""Strength of a scorer that is an arm but no part of the configured prior. Those whose scores are logarithms of weights
(ranks, adaptive weights) have strength 1: p goes as the weight."""


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
    strength = problem.config.policy.prior.get(arm, default_strength(arm))
    prior = {} if arm == RANDOM else {arm: strength}
    return _build(problem, PolicyConfig(prior=prior, network="none"))


def default_strength(arm: str) -> float:
    """Of a scorer that has no strength of its own."""
    return 1.0 if arm.endswith(RANK) or arm == AMLM else ARM_STRENGTH


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
        if scorer_of(arm) not in names:
            raise ValueError(f"evaluate.arms: unknown arm {arm!r}; known: {sorted(names)}")
    if "oracle" in config.evaluate.arms and config.domain.path != "planted":
        raise ValueError("evaluate.arms: the oracle is known on the planted benchmark only; take it out")


def _build(problem: Problem, config: PolicyConfig) -> MaskingPolicy:
    scores = problem.scores(scorer_of(name) for name in config.prior)
    needs_lexicon = any(found.words is not None for found in scores.values())
    lexicon = torch.from_numpy(problem.sources.lexicon.keys) if needs_lexicon else torch.zeros(0, dtype=torch.int64)
    types = {name: found.types for name, found in scores.items()}
    features = token_features(problem.input_embedding(), types, config.features)
    return MaskingPolicy(config, scores, lexicon, features, segmenter(problem))


def segmenter(problem: Problem) -> Segmenter:
    """The tables by which texts are cut into the configured unit."""
    masking = problem.config.masking
    if masking.unit != "collocation":
        return Segmenter(problem.vocabulary, masking)
    found = problem.sources.collocations
    return Segmenter(problem.vocabulary, masking, found.keys, found.longest)
