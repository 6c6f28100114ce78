"""Scores by the name of a scorer.

To add one, write a function of `Sources` in a file of this folder, and name it in `policylearn.registry.known.SCORERS`;
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

from torch import Tensor

from policylearn.config import Config
from policylearn.messages.quote import quote
from policylearn.policy.scores import Scores
from policylearn.registry.known import PICTURE_SCORERS, SCORERS
from policylearn.scores.pictures import PictureSources
from policylearn.scores.sources import Sources

Scorer = Callable[[Any], Scores]
LARGEST = 1e20
"""Of scores: far from where logits made of them would be of no use."""
READ_LABELS = ("credit", "saliency", "selective")
"""Those that have learned from the labels of the task, and say so in `Scores.learned_from`."""


def labels_read(scorer: str, config: Config, train: int) -> int:
    """How many of so many labels of train a scorer reads, at most; of others' it is not known, and 0."""
    if scorer not in READ_LABELS:
        return 0
    return config.credit.examples or train if scorer == "credit" else config.scores.model_texts


def score(name: str, sources: Sources | PictureSources) -> Scores:
    """Scores by a scorer of this name, in float32.

    Raises:
        ValueError: there is no such scorer, it cannot be imported, or what it gives are no scores of these sources, see
            `checked`.
    """
    scorer: Scorer = (PICTURE_SCORERS if isinstance(sources, PictureSources) else SCORERS).get(name)
    return checked(name, scorer(sources), sources)


def checked(name: str, found: Any, sources: Sources | PictureSources) -> Scores:
    """What a scorer has found, in float32.

    Raises:
        ValueError: it is no `Scores`, not of all token types or of all words of the lexicon, or a score is no real
            number, NaN (of a type), infinite or above `LARGEST`.
    """
    if not isinstance(found, Scores):
        raise ValueError(
            f"scorer {name!r} gave a {type(found).__name__}: have it return policylearn.Scores(types, words)"
        )
    if not isinstance(found.learned_from, str):
        raise ValueError(f"scorer {name!r} gave learned_from = {quote(found.learned_from)}: it is said in words")
    types = _real(name, "types", found.types, len(sources.vocabulary.special), "one for every token type")
    words = found.words
    if words is not None:
        words = _real(name, "words", words, len(sources.lexicon.keys), "one for every word of sources.lexicon")
    real = Scores(types, words, found.learned_from)
    if not real.finite() or max(_largest(types), 0.0 if words is None else _largest(words)) > LARGEST:
        raise ValueError(
            f"scorer {name!r} gave a score that is NaN or infinite, or above {LARGEST:.0e}: check what it was made from"
        )
    return real


def _real(name: str, what: str, scores: Any, size: int, why: str) -> Tensor:
    """Scores [size], which nothing is learned of, in float32."""
    given = f"a {type(scores).__name__}"
    if isinstance(scores, Tensor):
        if list(scores.shape) == [size] and not scores.is_complex():
            return scores.detach().cpu().float()
        given = f"{list(scores.shape)} of {scores.dtype}"
    raise ValueError(
        f"scorer {name!r} gave {what} that are {given}: have it give a tensor of {size} real numbers, {why}"
    )


def _largest(scores: Tensor) -> float:
    return float(scores.nan_to_num(nan=0.0).abs().max()) if len(scores) else 0.0
