"""Scores by the name of a scorer.

To add one, write a function of `Sources` in a file of this folder, and name it in `policylearn.registry.SCORERS`;
settings that it alone reads are a section of its name in `config.scores`. To bring one from another distribution, name
it in an entry point of the group `policylearn.scorers`. Its settings, if it has any, are a pydantic model in its
attribute `settings`: the section [scores.length] is checked by it.

    def length(sources: Sources) -> Scores:
        power = sources.config.of("length").power
        ...

    length.settings = LengthSettings
"""

from collections.abc import Callable
from typing import Any

from policylearn.policy.scores import Scores
from policylearn.registry import PICTURE_SCORERS, SCORERS
from policylearn.scores.pictures import PictureSources
from policylearn.scores.sources import Sources

Scorer = Callable[[Any], Scores]
READ_LABELS = ("credit", "saliency", "selective")
"""Those that have learned from the labels of the task, and say so in `Scores.learned_from`."""


def score(name: str, sources: Sources | PictureSources) -> Scores:
    """Scores by a scorer of this name, in float32.

    Raises:
        ValueError: there is no such scorer, it cannot be imported, or a score of a token type is NaN or infinite.
    """
    scorer: Scorer = (PICTURE_SCORERS if isinstance(sources, PictureSources) else SCORERS).get(name)
    return checked(name, scorer(sources))


def checked(name: str, found: Scores) -> Scores:
    """What a scorer has found, in float32. ValueError: a score of a token type is NaN or infinite."""
    if not found.finite():
        raise ValueError(f"scorer {name!r} gave a score that is NaN or infinite: check what it was made from")
    return Scores(found.types.float(), None if found.words is None else found.words.float(), found.learned_from)
