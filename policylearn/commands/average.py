"""Policies of several tasks as one of their domain."""

import math
import os
from collections.abc import Mapping
from numbers import Real
from typing import Any

from policylearn.artefact import PolicyArtefact
from policylearn.artefact.card import plain_card, use_known
from policylearn.artefact.tokenizer import first_difference
from policylearn.commands.export import open_policy
from policylearn.learning.lineage import LEARNED, PRIOR
from policylearn.policy.average import average_policies

TOLD = ("task", "domain", PRIOR, LEARNED)
"""Facts that are told of every policy where they differ."""


def average(sources: Mapping[str, str | os.PathLike[str] | PolicyArtefact], times: float = 1.0) -> PolicyArtefact:
    """The policy whose logits are the mean of those of several: of expected credits, the step for all their tasks
    together.

    Args:
        sources: policies by name; each is one, or a run, folder, URI or Hub name of one.
        times: how strongly the mean is followed.

    Raises:
        ValueError: what is given is none of these, or they are of different tokenizers; or as in `average_policies` and
            `open_policy`.
        StorageFailed: the place of one cannot be reached.
    """
    if not isinstance(sources, Mapping):
        raise ValueError(f"the policies are a {type(sources).__name__}: give them by name, such as {{'a': …, 'b': …}}")
    for name, source in sources.items():
        if not isinstance(source, str | os.PathLike | PolicyArtefact):
            raise ValueError(f"policy {name!r} is a {type(source).__name__}: give a folder, or what load_policy gives")
    if isinstance(times, bool) or not isinstance(times, Real) or not 0 < times < math.inf:
        raise ValueError(f"times {times!r:.80}: how strongly the mean is followed is a number above 0")
    given = {name: x if isinstance(x, PolicyArtefact) else open_policy(x) for name, x in sources.items()}
    first, *others = given.items()
    for name, artefact in others:
        _check_same_types(*first, name, artefact)
    policy = average_policies({name: artefact.policy for name, artefact in given.items()}, times)
    tokenizer, facts = first[1].tokenizer, _facts({name: artefact.provenance for name, artefact in given.items()})
    followed = f", {times:g} times" * (times != 1)
    about = f"The mean of the logits of {len(given)} policies{followed}: {', '.join(given)}."
    card = plain_card("Masking policy: a mean", about, facts, use_known(facts, pictures=tokenizer is None))
    return PolicyArtefact(policy, tokenizer, facts, card)


def _check_same_types(first: str, one: PolicyArtefact, name: str, other: PolicyArtefact) -> None:
    if (one.tokenizer is None) != (other.tokenizer is None):
        raise ValueError(f"of {first} and {name} one is over texts and one over pictures: a mean takes either")
    if other.tokenizer is not None and (difference := first_difference(one.speaks, other.tokenizer)):
        raise ValueError(f"{first} and {name} are of different tokenizers, a mean takes policies of one. {difference}")


def _facts(known: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """What all have in common, and of what each has of its own what it is from, started from and learned."""
    first, *others = known.values()
    shared = {key: value for key, value in first.items() if all(other.get(key) == value for other in others)}
    apart = [key for key in TOLD if key not in shared]
    said = {key: "; ".join(f"{name}: {facts[key]}" for name, facts in known.items() if key in facts) for key in apart}
    return shared | {key: value for key, value in said.items() if value}
