"""Several policies as one: of a domain, from policies of its tasks.

    logit_i = times · Σ_k logit_k,i / K

The gradient of a sum of outer losses is the sum of their gradients, so that of expected credits, which are a step along
it, each in its own standard deviations, the mean is the step for all tasks together. Where the K do not agree at all
its logits have 1 / √K of their spread, where they do, all of it.
"""

from collections.abc import Iterator, Mapping
from copy import deepcopy

import torch
from torch import Tensor

from policylearn.config import PolicyConfig
from policylearn.data.columns import COLUMN_SCORERS
from policylearn.masking.structure import STRUCTURES
from policylearn.policy.adaptive import AMLM
from policylearn.policy.networks import TypeTable
from policylearn.policy.patches import REGION
from policylearn.policy.policy import FIELD, MaskingPolicy
from policylearn.policy.scores import Scores, scorer_of

LEARNED = "learned"
"""The scorer that the table of a policy becomes."""
BY_EXAMPLE = {*COLUMN_SCORERS, AMLM, REGION, *STRUCTURES}
"""Scorers whose numbers come with a text or picture, by the scorer's name, and are not in a policy's table."""


def average_policies(policies: Mapping[str, MaskingPolicy], times: float = 1.0) -> MaskingPolicy:
    """The policy whose logits are the mean of those of several, exactly. A scorer `s` of the policy `name` is `name/s`
    in it, and what the policy's table has learned is `name/learned`.

    Args:
        policies: by name, over the same tokens, under the same masking settings, each of a table or no network.
        times: how strongly the mean is followed; K: the logits are added up.

    Raises:
        ValueError: there are fewer than two, their settings or tables of tokens differ, the network of one is no table,
            or a scorer of one takes numbers that come with a text or picture.
    """
    if len(policies) < 2:
        raise ValueError(f"a mean takes two policies or more, got {len(policies)}")
    if wrong := [name for name in policies if not name or "/" in name or ":" in name]:
        raise ValueError(f"the name {wrong[0]!r} of a policy stands before / in the names of its scorers: a plain one")
    first, *others = policies
    for name in others:
        _check_alike(first, policies[first], name, policies[name])
    lexicon = torch.cat([policy.scores.lexicon for policy in policies.values()]).unique()
    terms = [term for name, policy in policies.items() for term in _terms(name, policy, lexicon)]
    prior = {name: times * strength / len(policies) for name, strength, _ in terms}
    scores = {scorer_of(name): found for name, _, found in terms}
    config = PolicyConfig(prior=prior, network="none")
    return MaskingPolicy(config, scores, lexicon, torch.zeros(0, 0), deepcopy(policies[first].field))


def _check_alike(first: str, one: MaskingPolicy, name: str, other: MaskingPolicy) -> None:
    wanted, tables = one.masking.model_dump(), [policy.state_dict() for policy in (one, other)]
    for key, value in other.masking.model_dump().items():
        if value != wanted[key]:
            raise ValueError(
                f"{first} has masking.{key} = {wanted[key]!r}, {name} {value!r}: a mean takes policies that were "
                "learned under the same"
            )
    differ = [key for key, table in tables[0].items() if key.startswith(FIELD) and not table.equal(tables[1][key])]
    if differ:
        raise ValueError(f"{first} and {name} differ in {differ[0]!r}, what they see of an example or take for a unit")


def _terms(name: str, policy: MaskingPolicy, lexicon: Tensor) -> Iterator[tuple[str, float, Scores]]:
    """Scorer, strength and scores, of all that is added up in a policy."""
    if policy.network is not None and not isinstance(policy.network, TypeTable):
        raise ValueError(
            f'{name} has policy.network = "{policy.config.network}", whose logits are no table: average tables of it, '
            "policylearn export --form table"
        )
    strengths = (policy.strengths * policy.trust.exp()).tolist()
    for h, (scorer, strength) in enumerate(zip(policy.names, strengths, strict=True)):
        if scorer_of(scorer) in BY_EXAMPLE:
            raise ValueError(f"{name} takes numbers of {scorer!r} that come with an example: a mean has tables alone")
        yield f"{name}/{scorer}", strength, Scores(policy.scores.types[h], _words(policy, h, lexicon))
    if policy.network is not None:
        yield f"{name}/{LEARNED}", 1.0, Scores(policy.network.logits.detach())


def _words(policy: MaskingPolicy, scorer: int, lexicon: Tensor) -> Tensor | None:
    """Scores of the words of a larger lexicon, NaN where this policy does not know one."""
    own = policy.scores.lexicon
    if not len(own):
        return None
    words = policy.scores.words.new_full((len(lexicon),), torch.nan)
    return words.index_copy(0, torch.searchsorted(lexicon, own), policy.scores.words[scorer])
