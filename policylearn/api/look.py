"""A look at the data before anything is learned, from Python."""

from collections.abc import Mapping
from os import PathLike
from tempfile import TemporaryDirectory
from typing import Any

from policylearn.api.results import Diagnosis
from policylearn.api.settings import Given, console_of, experiment
from policylearn.api.surroundings import undisturbed
from policylearn.commands.diagnose import diagnose as run_diagnosis
from policylearn.commands.opening import open_problem
from policylearn.commands.score import ScoredWord, scored_words
from policylearn.config import Config


@undisturbed
def diagnose(
    model: Any = None,
    task: Any = None,
    domain: Any = None,
    general: Any = None,
    *,
    tokenizer: Any = None,
    config: str | PathLike[str] | Config | None = None,
    settings: Mapping[str, Any] | None = None,
    quiet: bool = False,
) -> Diagnosis:
    """Do credits of one half of the data agree with those of the other, and how much data would it take?

    Args: as of `policylearn.learn`; nothing is kept.

    Raises:
        ValueError: bad input, with what to do.

    >>> from policylearn import diagnose
    >>> tiny = {"planted.documents": 80, "planted.train": 40, "planted.dev": 40, "planted.test": 40, "inner.steps": 4}
    >>> brief = {"credit.points": 1, "credit.batches": 6, "diagnose.least": 1, "diagnose.shuffles": 0}
    >>> found = diagnose(settings=tiny | brief | {"diagnose.draws": 10}, quiet=True)
    >>> found.interval[0] <= found.interval[1]
    True
    """
    console = console_of(quiet)
    with TemporaryDirectory(prefix="policylearn-") as folder:
        given = Given(model, task, domain, general, tokenizer, config, settings)
        return Diagnosis.of(run_diagnosis(experiment("diagnose", given, folder, console), console))


@undisturbed
def score(
    scorer: str,
    model: Any = None,
    task: Any = None,
    domain: Any = None,
    general: Any = None,
    *,
    tokenizer: Any = None,
    top: int = 20,
    config: str | PathLike[str] | Config | None = None,
    settings: Mapping[str, Any] | None = None,
    quiet: bool = False,
) -> list[ScoredWord]:
    """The words of the domain that a scorer ranks highest. `PolicyCollator.from_scorer` masks by it.

    Args:
        scorer: its name, "tficf" for one.
        model, task, domain, general, tokenizer, config, settings, quiet: as of `policylearn.learn`; what the scorer
            does not read need not be given, and nothing is kept.
        top: how many words.

    Raises:
        ValueError: the scorer is not known, or something it reads is missing.

    >>> from policylearn import score
    >>> [word.text for word in score("tficf", settings={"planted.documents": 400}, top=2, quiet=True)]
    ['generic_000', 'generic_001']
    """
    console = console_of(quiet)
    with TemporaryDirectory(prefix="policylearn-") as folder:
        config = experiment("score", Given(model, task, domain, general, tokenizer, config, settings), folder, console)
        return scored_words(open_problem(config, console), scorer, top)
