"""All scorers of this package: whoever asks for one by name imports from here, so that each is registered."""

from policylearn.scores import (  # noqa: F401
    credit,
    difference,
    frequency,
    informative,
    loss,
    planted,
    pmi,
    saliency,
    selective,
    tagged,
)
from policylearn.scores.registry import READ_LABELS, SCORERS, Scorer, checked, score, scorer

__all__ = ["READ_LABELS", "SCORERS", "Scorer", "checked", "score", "scorer"]
