"""Where scorers are registered by name. `scores.scorers` holds those of this package, which register themselves here.

To add one, write a function of `Sources` in a file of this folder, register it, and import the file in `scorers`:

    @scorer("idf")
    def idf(sources: Sources) -> Scores: ...
"""

from collections.abc import Callable

from policylearn.policy.scores import Scores
from policylearn.scores.sources import Sources

Scorer = Callable[[Sources], Scores]
SCORERS: dict[str, Scorer] = {}
READ_LABELS = ("credit", "saliency", "selective")
"""Those that have learned from the labels of the task, and say so in `Scores.learned_from`."""


def scorer(name: str) -> Callable[[Scorer], Scorer]:
    """Register a scorer under a name."""

    def register(function: Scorer) -> Scorer:
        assert name not in SCORERS, f"two scorers are called {name}"
        SCORERS[name] = function
        return function

    return register


def score(name: str, sources: Sources) -> Scores:
    """Scores by a registered scorer, in float32.

    Raises:
        ValueError: the name is not registered, or a score of a token type is NaN or infinite.
    """
    if name not in SCORERS:
        raise ValueError(f"unknown scorer {name!r}; known: {sorted(SCORERS)}")
    return checked(name, SCORERS[name](sources))


def checked(name: str, found: Scores) -> Scores:
    """What a scorer has found, in float32. ValueError: a score of a token type is NaN or infinite."""
    if not found.finite():
        raise ValueError(f"scorer {name!r} gave a score that is NaN or infinite: check what it was made from")
    return Scores(found.types.float(), None if found.words is None else found.words.float(), found.learned_from)
