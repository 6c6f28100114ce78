"""Arms compared on fresh models, from Python."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

from policylearn.api.inputs import Inputs, withdrawn_if_refused
from policylearn.api.results import Comparison
from policylearn.api.settings import KEPT, Given, changed, console_of, experiment
from policylearn.api.surroundings import undisturbed
from policylearn.artefact import PolicyArtefact
from policylearn.config import Config
from policylearn.evaluation.compare import evaluate_policies

Policy = str | os.PathLike[str] | PolicyArtefact
"""An exported policy: a run, a folder, a URI, a name on the Hub, or what `load_policy` gives."""


@undisturbed
def evaluate(
    policies: Policy | Mapping[str, Policy] | None = None,
    arms: Sequence[str] = ("random",),
    seeds: int = 5,
    *,
    model: Any = None,
    task: Any = None,
    domain: Any = None,
    general: Any = None,
    tokenizer: Any = None,
    out: str | os.PathLike[str] = "runs/evaluate",
    config: str | os.PathLike[str] | Config | None = None,
    settings: Mapping[str, Any] | None = None,
    quiet: bool = False,
) -> Comparison:
    """Train fresh models under each arm's masks, and score them on test. What `out` holds is not run again.

    Args:
        policies: one policy, which is the arm "learned", or several by arm.
        arms: others by name: "random", "none", scorers such as "difference"; see `evaluate.arms` of the settings.
        seeds: how many models of each arm, paired.
        model, task, domain, general, tokenizer, config, settings, quiet: as of `policylearn.learn`.
        out: folder or URI of the comparison.

    Raises:
        ValueError: bad input, with what to do.

    >>> from tempfile import mkdtemp
    >>> from policylearn import evaluate
    >>> tiny = {"planted.documents": 80, "planted.train": 40, "planted.dev": 40, "planted.test": 40, "inner.steps": 4}
    >>> found = evaluate(arms=["random", "oracle"], seeds=2, out=mkdtemp(), settings=tiny, quiet=True)
    >>> found.metric, {arm: len(scores) for arm, scores in found.scores.items()}
    ('accuracy', {'random': 2, 'oracle': 2})
    >>> found.differences["oracle - random"]["mean"] == found.mean("oracle") - found.mean("random")
    True
    """
    named = {} if policies is None else policies if isinstance(policies, Mapping) else {"learned": policies}
    chosen = {**(settings or {}), "evaluate.arms": names_of(arms), "evaluate.seeds": seeds}
    given = Given(model, task, domain, general, tokenizer, config, chosen)
    with withdrawn_if_refused(out):
        found, inputs = experiment(given, out, console_of(quiet), kept=KEPT), Inputs(out)
        return compare_arms(found, {}, {arm: inputs.policy(arm, one) for arm, one in named.items()}, out, quiet)


def names_of(arms: Sequence[str]) -> list[str]:
    """Arms as a list. ValueError: they are one string, which is a sequence of letters."""
    if isinstance(arms, str):
        raise ValueError(f"arms {arms!r:.80}: give a list of names, such as [{arms!r:.80}]")
    return list(arms)


def compare_arms(
    config: Config,
    settings: Mapping[str, Any],
    policies: Mapping[str, str],
    out: str | os.PathLike[str],
    quiet: bool = False,
) -> Comparison:
    """The comparison of a config, changed by settings by dotted name."""
    result = evaluate_policies(changed(config, settings), out, console_of(quiet), policies)
    return Comparison.of(result, str(out))
