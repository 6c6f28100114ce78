"""What scorers read of a problem of pictures, and the scorers of its visual words."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from policylearn.config import MaskingConfig, ScoresConfig
from policylearn.config.scores import DifferenceConfig
from policylearn.data.pictures import PatchRows
from policylearn.masking.corruption import IGNORED
from policylearn.masking.patches import PatchField
from policylearn.masking.vocabulary import Vocabulary
from policylearn.messages.watch import UNSEEN, Watch
from policylearn.models.model import InnerModel
from policylearn.policy.patches import draw_patches, random_patches
from policylearn.policy.scores import Scores
from policylearn.scores import patches
from policylearn.scores.lexicon import Lexicon

BATCH = 64


@dataclass
class PictureSources:
    """What scorers of visual words read.

    Attributes:
        config: scorer settings.
        field: of the pictures, V types.
        vocabulary: its tables.
        names: what people call each type.
        domain, general: functions that give pictures.
        model: function that loads θ₀.
        watch: shows how far long work is.
        credits, credited: as of `Sources`.
    """

    config: ScoresConfig
    field: PatchField
    vocabulary: Vocabulary
    names: list[str]
    domain: Callable[[], PatchRows]
    general: Callable[[], PatchRows]
    model: Callable[[], InnerModel]
    watch: Watch = UNSEEN
    credits: Callable[[], Iterator[tuple[Tensor, Tensor, Tensor]]] | None = None
    credited: Callable[[], str] = lambda: ""

    @property
    def lexicon(self) -> Lexicon:
        """Words of several patches: there are none."""
        return Lexicon.empty()

    @cached_property
    def domain_counts(self) -> np.ndarray:
        """Occurrences of every type in the domain, [V]."""
        return self._count("domain", self.domain())

    @cached_property
    def general_counts(self) -> np.ndarray:
        """The same of general pictures."""
        return self._count("general", self.general())

    @property
    def type_counts(self) -> tuple[np.ndarray, np.ndarray]:
        """Both."""
        return self.domain_counts, self.general_counts

    @property
    def anchor_texts(self) -> list[str]:
        """The anchors of Difference-Masking as people call them, most typical first."""
        return [self.names[kind] for kind in patches.anchors(*self.type_counts, **_limits(self.config.difference))]

    def _count(self, corpus: str, rows: PatchRows) -> np.ndarray:
        parts = self.watch(f"counting visual words of the {corpus} pictures", cuts(rows, len(rows)))
        return patches.counts(self.field, (rows.batch(part)[0] for part in parts))


def cuts(rows: PatchRows, most: int) -> list[np.ndarray]:
    """Numbers of pictures, evenly spaced, in parts of which a batch is made: at once they would be large."""
    picked = rows.spread(most)
    return [picked[first : first + BATCH] for first in range(0, len(picked), BATCH)]


def by_tficf(sources: PictureSources) -> Scores:
    """How typical of the domain types are, see `tficf`; the largest score is 1."""
    return patches.by_tficf(sources.domain_counts, sources.general_counts)


def difference(sources: PictureSources) -> Scores:
    """Similarity to the nearest anchor, see `patches.difference`."""
    return patches.difference(sources.field, *sources.type_counts, **_limits(sources.config.difference))


def _limits(config: DifferenceConfig) -> dict[str, Any]:
    """Of `patches.anchors`."""
    return {"most": config.anchors, "ratio": config.anchor_ratio, "least": config.anchor_count}


def loss(sources: PictureSources) -> Scores:
    """What patches of every type cost θ₀, see `patches.hard`; of `scores.model_texts` pictures of the domain."""
    return patches.hard(sources.field, hidden_losses(sources.field, sources.model(), sources.domain(), sources.config))


def hidden_losses(
    field: PatchField, model: InnerModel, rows: PatchRows, config: ScoresConfig
) -> Iterator[tuple[Tensor, Tensor]]:
    """Types [M] of patches that were hidden at random, at the rate of the field, and what they cost a model, [M]."""
    policy = random_patches(field.grid, MaskingConfig(rate=field.masking.usual_rate, p_max=1.0))
    for part in cuts(rows, config.model_texts):
        x, _ = rows.batch(part)
        batch = draw_patches(policy, x, torch.ones(x.shape[:2], dtype=torch.bool), seed=0, epoch=0)
        with torch.no_grad():
            labels = torch.where(batch.mask, field.types(x), IGNORED)
            yield labels[batch.mask], model(x, batch.real, labels=labels).cpu()


def region(sources: PictureSources) -> Scores:
    """All alike: scores are those of the boxes that come with a picture, see `masking.grid.region`.

    Raises:
        ValueError: no picture of the domain has any.
    """
    if sources.domain().regions is None:
        raise ValueError("scorer 'region' reads boxes: give domain.path a column, or an array, of the name 'region'")
    return drawn(sources)


def drawn(sources: PictureSources) -> Scores:
    """All alike: what is drawn for every mask, see `masking.structure`, stands in for it."""
    return Scores(torch.zeros(sources.field.size))
