"""Policies by name: the one to be learned, and every arm it is compared with."""

import math
import os
from collections.abc import Collection, Iterable, Mapping
from types import MappingProxyType
from typing import Any

import torch

from policylearn.arms.course import course_of
from policylearn.arms.policies import build_field, build_policy
from policylearn.artefact import PolicyArtefact, load_policy
from policylearn.config import BENCHMARKS, PLANTED_ONLY, Config, MaskingConfig, PolicyConfig, RateSchedule, parts_of
from policylearn.credit.live import LIVE, live_policy
from policylearn.inner.causal_lm import check_looks_back
from policylearn.masking.patches import PatchField, in_short, scale_of
from policylearn.masking.structure import FIRM, STRUCTURES
from policylearn.policy.adaptive import default_strength
from policylearn.policy.patches import REGION, patch_field
from policylearn.policy.policy import MaskingPolicy
from policylearn.policy.scores import scorer_of
from policylearn.problems.pictures import PictureProblem
from policylearn.problems.problem import Problem
from policylearn.registry.known import PICTURE_SCORERS, SCORERS
from policylearn.scores.credit import CREDIT
from policylearn.scores.registry import labels_read

LEARNED, RANDOM, NONE = "learned", "random", "none"
SETTINGS: dict[str, dict[str, Any]] = {
    RANDOM: {},
    "random-30": {"rate": 0.3},
    "random-40": {"rate": 0.4},
    "random-30-15": {"rate": {"kind": "linear", "rates": [0.3, 0.15]}},
    "random-rate": {"rate": {"kind": "uniform", "low": 0.05, "high": 0.25, "per": "batch"}},
    "word": {"unit": "word"},
    "span": {"unit": "span"},
    "explore": {"design": "explore"},
    "causal-first": {},
    "multitask": {},
    "labels-only": {},
}
"""Arms that know nothing of the text: what of the masking settings is theirs. Rates as in Wettig et al. (EACL 2023) and
Yang et al. (ACL 2023), or drawn for every batch (R²MAE, Dong et al., NeurIPS 2025), here with a mean of 15 %; spans of
SpanBERT, disjoint masks of Fully-Explored masking (Zheng et al., 2020)."""
SELECT = "select"
"""Random masks, in the texts that expected credit chooses."""
LIVE_STRENGTH = 2.0
"""In standard deviations of the tokens of a batch; what `experiments/live` has tried."""


def initial_policy(problem: Problem) -> MaskingPolicy:
    """The policy before learning: its probabilities are those of the prior, or of the policy `learn.start` names.

    Raises:
        ValueError: that policy is of another tokenizer, or other settings.
    """
    start = problem.config.learn.start
    return build_policy(problem, problem.config.policy) if start is None else _loaded(problem, start)


def _loaded(problem: Problem, source: str) -> MaskingPolicy:
    """An exported policy, under the masking settings of the problem."""
    policy, wanted = given_policy(problem, source), problem.config.policy.model_dump()
    for key, given in policy.config.model_dump().items():
        if given != wanted[key]:
            raise ValueError(
                f"learn.start {source}: that policy has policy.{key} = {given!r}, this config has {wanted[key]!r}; "
                "set it to what that policy has"
            )
    field = build_field(problem)
    if isinstance(field, PatchField) and not _same_words(patch_field(policy.field), field):
        raise ValueError(
            f"learn.start {source}: its visual words are not those of the pictures of domain.path, and what it has "
            "learned is of its own: start from a policy over these pictures, with its patches.words and "
            "patches.zones, or unset learn.start"
        )
    policy.field = field
    return policy


def _same_words(one: PatchField, other: PatchField) -> bool:
    """Whether types mean the same, to within what libraries differ by in finding them."""
    if one.zones != other.zones or one.codebook.shape != other.codebook.shape:
        return False
    return torch.allclose(one.codebook, other.codebook, rtol=1e-3, atol=1e-3)


def given_policy(problem: Problem, source: str | os.PathLike[str]) -> MaskingPolicy:
    """An exported policy, whose numbers on tokens the domain of the problem will bring along, if it is not read yet.

    Raises:
        ValueError: it cannot be loaded, or does not go with the problem.
    """
    artefact = load_policy(source)
    check_fits(problem, artefact)
    problem.given.update(map(scorer_of, artefact.policy.names))
    return artefact.policy


def check_fits(problem: Problem, artefact: PolicyArtefact) -> None:
    """Refuse a policy that was learned with another tokenizer, over pictures that are cut or scaled otherwise, or of
    boxes where pictures have none.

    Raises:
        ValueError: saying in what they differ.
    """
    if not isinstance(problem, PictureProblem):
        artefact.check_tokenizer(problem.tokenizer)
        return
    field, patches = patch_field(artefact.policy.field), problem.config.patches
    if field.grid != problem.grid:
        raise ValueError(f"the policy is over pictures of {field.grid}, those of the model are of {problem.grid}")
    if not field.scale.equal(scale_of(patches.mean, patches.std, field.grid.channels).to(field.scale)):
        mean, std = field.scale.tolist()
        raise ValueError(
            f"the policy was learned with patches.mean = {in_short(mean)} and patches.std = {in_short(std)}, this "
            f"config has {in_short(patches.mean)} and {in_short(patches.std)}: set them to those of the policy"
        )
    if REGION in map(scorer_of, artefact.policy.names) and problem.domain.regions is None:
        raise ValueError(f"the policy goes by boxes: give domain.path {problem.config.domain.path} an array {REGION!r}")


def arm_policy(problem: Problem, arm: str) -> MaskingPolicy | None:
    """A policy that learns nothing: one of `SETTINGS` or `evaluate.custom`, or the name of a scorer; None for "none",
    no further training.

    Raises:
        ValueError: the arm is not known, its settings are out of range, the model cannot have a causal phase, or the
            task has no head to train.
    """
    if arm == NONE:
        return None
    course = course_of(problem.config, arm)
    if course.causal:
        check_looks_back(problem.fresh_model(0))
    if course.labels and problem.kind.readout is None:
        raise ValueError(f"evaluate.arms: {arm!r} trains a head, and {problem.kind.name} have none: take it out")
    if arm in problem.config.evaluate.custom:
        own, have = problem.config.evaluate.custom[arm], len(problem.labelled("train"))
        if own.labels > have:
            raise ValueError(
                f"evaluate.custom.{arm}.labels {own.labels} in every step, and train has {have:,}: set it to fewer"
            )
        return build_policy(problem, PolicyConfig(prior=own.prior, network="none"), own.masking)
    if arm == SELECT:
        return build_policy(problem, PolicyConfig(prior={CREDIT: 0.0}, network="none"))
    if arm == LIVE:
        return live_policy(problem, build_field(problem), LIVE_STRENGTH)
    if arm in SETTINGS:
        return build_policy(problem, PolicyConfig(prior={}, network="none"), SETTINGS[arm])
    drawn = problem.config.patches.words and arm in STRUCTURES
    strength = problem.config.policy.prior.get(arm, FIRM if drawn else default_strength(arm))
    return build_policy(problem, PolicyConfig(prior={arm: strength}, network="none"), {"p_max": 1.0} if drawn else {})


def other_budgets(config: Config, policies: Mapping[str, MaskingPolicy] = MappingProxyType({})) -> dict[str, str]:
    """Arms that do not mask exactly as many tokens as random masks do, and why: "none", "rate", "drawn" (the rate, of
    the same mean), "units", "design", "texts" (others, which may be longer or shorter) or "causal" (as many tokens are
    read, and in a causal phase all are predicted).

    Args:
        config: names the arms.
        policies: those that were given, which bring masking settings of their own.
    """
    found = {arm: _other_budget(_settings_of(config, arm, policies), config) for arm in config.evaluate.arms}
    courses = {arm: course_of(config, arm) for arm in config.evaluate.arms}  # by name, whoever gives the policy
    found |= {arm: "texts" for arm, course in courses.items() if course.texts < 1}
    found |= {arm: "causal" for arm, course in courses.items() if course.causal}
    found |= {arm: "none" for arm, course in courses.items() if not course.mlm_weight}
    found |= {arm: "none" for arm in config.evaluate.arms if arm == NONE and arm not in policies}
    return {arm: why for arm, why in found.items() if why}


def more_labels(config: Config, train: int, given: Collection[str] = ()) -> str:
    """Which arms take more labels of train than the classifier has, in words; empty: none do. Scorers that other
    packages bring are not known to.

    Args:
        config: names the arms.
        train: how many labels there are.
        given: arms whose policies were exported earlier, of whose labels nobody knows here.
    """
    has = min(some or config.evaluate.labelled or train for _, some in map(parts_of, config.evaluate.downstream))
    arms, said = [arm for arm in config.evaluate.arms if arm not in given], list[str]()
    read = {arm: min(train, most) for arm in arms if (most := _labels_read(config, arm, train)) > has}
    for count in sorted({*read.values()} - {has}):
        those = ", ".join(arm for arm in read if read[arm] == count)
        said.append(f"{those}: labels from {'all ' if count == train else ''}{count:,} of train")
    return f"{'; '.join(said)}, where the classifier has {has:,}" if said and has < train else ""


def _labels_read(config: Config, arm: str, train: int) -> int:
    """How many labels of train an arm reads, at most."""
    credited = config.credit.examples or train
    course, own = course_of(config, arm), config.evaluate.custom.get(arm)
    names = config.policy.prior if arm == LEARNED else own.prior if own else [arm]
    read = [0, *(labels_read(scorer_of(name), config, train) for name in names)]
    if arm == LEARNED:
        by_stage = {"expected": credited, "strength": train, "outcomes": train}
        by_stage |= {"rounds": train} if config.has_rounds else {}
        by_stage |= {"supervised": train} if config.supervised.targets == "importance" else {}
        return max(*read, 0, *(by_stage.get(stage, 0) for stage in config.learn.stages))
    read += [credited] if arm == SELECT or course.live else []
    return max(*read, train if course.labels else 0)


def _settings_of(config: Config, arm: str, policies: Mapping[str, MaskingPolicy]) -> MaskingConfig:
    if arm in policies:
        return policies[arm].masking
    own = config.evaluate.custom[arm].masking if arm in config.evaluate.custom else SETTINGS.get(arm, {})
    return MaskingConfig.model_validate(config.masking.model_dump() | own)


def _other_budget(own: MaskingConfig, config: Config) -> str:
    usual = config.masking
    if own.rate != usual.rate and config.inner.objective == "masked_lm":
        moving = any(isinstance(masking.rate, RateSchedule) for masking in (own, usual))
        return "rate" if moving or not math.isclose(own.usual_rate, usual.usual_rate) else "drawn"
    if own.unit != "token":
        return "units"
    if own.copies != usual.copies:  # of a text, in the place of others
        return "texts"
    # Where a coin is tossed per token, no two arms come to the same number.
    return "design" if own.design != usual.design or own.design == "independent" else ""


def check_arms(config: Config, known: Iterable[str] = (LEARNED,)) -> None:
    """Refuse an unknown arm before anything is trained.

    Args:
        config: names the arms.
        known: arms that have, or will have, a policy of their own.

    Raises:
        ValueError: naming the arm and the known ones; or there is none to be compared.
    """
    if config.evaluate.seeds and not config.evaluate.arms:
        raise ValueError(
            'evaluate.arms is empty: name what to compare, such as ["random", "learned"], or skip it, evaluate.seeds=0'
        )
    scorers, plain = (PICTURE_SCORERS, {RANDOM}) if config.patches.words else (SCORERS, {SELECT, LIVE, *SETTINGS})
    if taken := {NONE, RANDOM, LEARNED, *plain, *known, *scorers.names()} & config.evaluate.custom.keys():
        raise ValueError(f"evaluate.custom: {min(taken)!r} is the name of another arm, give yours one of its own")
    names = {NONE, *plain, *config.evaluate.custom, *known, *scorers.names()}
    for arm in config.evaluate.arms:
        if arm not in names and scorer_of(arm) not in scorers:
            raise ValueError(f"evaluate.arms: unknown arm {arm!r}; known: {sorted(names)}")
        if scorer_of(arm) in PLANTED_ONLY and config.domain.path not in BENCHMARKS:
            raise ValueError(f"evaluate.arms: {arm!r} is known on the planted benchmark only; take it out")
        own_masking = config.evaluate.custom[arm].masking if arm in config.evaluate.custom else SETTINGS.get(arm, {})
        if config.inner.objective != "masked_lm" and arm == LIVE:
            raise ValueError(f'evaluate.arms: "{LIVE}" needs inner.objective = "masked_lm"; take it out')
        if config.inner.micro_batch is not None and course_of(config, arm).labels:
            raise ValueError(f"evaluate.arms: {arm!r} sees labels, whose steps are not cut: unset inner.micro_batch")
        if config.inner.objective != "masked_lm" and ("rate" in own_masking or own_masking.get("design") == "explore"):
            raise ValueError(
                f'evaluate.arms: {arm!r} has its own rate or design = "explore", which does not go with '
                f'inner.objective = "{config.inner.objective}"; take it out'
            )
