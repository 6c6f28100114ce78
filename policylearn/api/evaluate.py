"""Arms compared on fresh models, from Python."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

from policylearn.api.inputs import Inputs, withdrawn_if_refused
from policylearn.api.results import Comparison, from_anywhere
from policylearn.api.settings import KEPT, Given, changed, console_of, experiment, one_by_one
from policylearn.api.surroundings import undisturbed
from policylearn.artefact import PolicyArtefact
from policylearn.config import Config, EvaluateConfig
from policylearn.evaluation.compare import evaluate_policies

ARMS, SEEDS = "evaluate.arms", "evaluate.seeds"
Policy = str | os.PathLike[str] | PolicyArtefact
"""An exported policy: a run, a folder, a URI, a name on the Hub, or what `load_policy` gives."""


@undisturbed
def evaluate(
    policies: Policy | Mapping[str, Policy] | None = None,
    arms: Sequence[str] | None = None,
    seeds: int | None = None,
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
        arms: others by name: "random", "none", scorers such as "difference"; None: `evaluate.arms` of the settings or
            the config (a run's config.json names all), or else "random".
        seeds: how many models of each arm, paired; None: `evaluate.seeds` of the settings or the config, or else 5.
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
    chosen = with_chosen(settings, arms, seeds)
    given = Given(model, task, domain, general, tokenizer, config, chosen)
    with withdrawn_if_refused(out):
        found, inputs = experiment("evaluate", given, out, console_of(quiet), {ARMS: ["random"]}, KEPT), Inputs(out)
        if not found.evaluate.seeds and SEEDS not in chosen:  # of a run that compared nothing
            found = changed(found, {SEEDS: EvaluateConfig().seeds})
        return compare_arms(found, {arm: inputs.policy(arm, one) for arm, one in named.items()}, out, quiet)


def with_chosen(settings: Mapping[str, Any] | None, arms: Sequence[str] | None, seeds: int | None) -> dict[str, Any]:
    """Settings by dotted name, with arms and seeds that are arguments. ValueError: both name them, or arms are one
    string."""
    own = one_by_one(settings)
    given = {ARMS: None if arms is None else names_of(arms), SEEDS: seeds}
    given = {key: value for key, value in given.items() if value is not None}
    if twice := own.keys() & given.keys():
        raise ValueError(f"{min(twice)} is given twice, as an argument and in settings: take one out")
    return own | given


def names_of(arms: Sequence[str]) -> list[str]:
    """Arms as a list. ValueError: they are one string, which is a sequence of letters."""
    if isinstance(arms, str):
        raise ValueError(f"arms {arms!r:.80}: give a list of names, such as [{arms!r:.80}]")
    return list(arms)


def compare_arms(
    config: Config, policies: Mapping[str, str], out: str | os.PathLike[str], quiet: bool = False
) -> Comparison:
    """The comparison of a config."""
    return Comparison.of(evaluate_policies(config, out, console_of(quiet), policies), from_anywhere(out))
