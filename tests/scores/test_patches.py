"""Scores of visual words, on squares that are black, half white or white."""

import numpy as np
import pytest
import torch

from policylearn.config import MaskingConfig, ScoresConfig
from policylearn.data.pictures import PatchRows
from policylearn.masking.grid import Grid
from policylearn.masking.patches import PatchField
from policylearn.masking.visual_words import visual_words
from policylearn.messages.watch import Watch
from policylearn.scores import patches
from policylearn.scores.pictures import BATCH, PictureSources

GRID = Grid(4, 4, patch=2, channels=1)
BLACK, HALF, WHITE = torch.tensor([[0.0, 0, 0, 0], [1, 1, 0, 0], [1, 1, 1, 1]])
FIELD = PatchField(torch.stack([BLACK, HALF, WHITE]), GRID, MaskingConfig())


def squares(*rows):
    return torch.stack([torch.stack(row) for row in rows])


DOMAIN = squares(*[[BLACK, BLACK, WHITE, WHITE]] * 20)
GENERAL = squares(*[[BLACK, BLACK, HALF, HALF]] * 20)


def test_visual_words_are_the_kinds_of_patches_there_are():
    found = visual_words(torch.cat([DOMAIN, GENERAL]), count=8)
    assert found.sort(0).values.sum(1).tolist() == [0.0, 2.0, 4.0]  # of eight asked for, as many as there are


def test_types_are_counted_over_batches():
    assert patches.counts(FIELD, [DOMAIN, GENERAL]).tolist() == [80, 40, 40]
    assert patches.counts(FIELD, [DOMAIN]).tolist() == [40, 0, 40]


def test_what_the_domain_alone_has_is_its_anchor_and_scores_highest():
    domain, general = (patches.counts(FIELD, [x]) for x in (DOMAIN, GENERAL))
    assert patches.anchors(domain, general, most=5).tolist() == [2]
    for scores in (patches.by_tficf(domain, general), patches.difference(FIELD, domain, general)):
        assert scores.types.argmax() == 2 and scores.types[2] == pytest.approx(1.0)
    near = patches.difference(FIELD, domain, general).types
    assert near[1] > near[0]  # half white is nearer to white than black is, seen from the mean of general pictures


def test_a_domain_like_all_pictures_has_no_anchor():
    same = np.array([40, 0, 40])
    with pytest.raises(ValueError, match="no visual word of the domain can be an anchor"):
        patches.anchors(same, same, most=5)


def test_hard_patches_score_by_their_loss_and_unseen_ones_have_the_mean():
    losses = [(torch.tensor([0] * 50 + [2] * 50), torch.tensor([1.0] * 50 + [3.0] * 50))]
    found = patches.hard(FIELD, losses).types
    assert found[2] == 1.0 and found[0] < found[1] < found[2]


def test_pictures_are_numbers_no_sooner_than_they_are_counted(monkeypatch):
    grid = Grid(4, 4, patch=2, channels=1)
    rows, made = PatchRows(np.zeros((3 * BATCH, 1, 4, 4), np.uint8), grid), []
    field = PatchField(torch.zeros(1, grid.depth), grid, MaskingConfig())
    batch = PatchRows.batch
    monkeypatch.setattr(PatchRows, "batch", lambda own, part: made.append(len(part)) or batch(own, part))

    class Looking(Watch):
        def __call__(self, work, items, **how):
            assert len(items) == 3  # of which it is said how far it is
            for count, item in enumerate(items):
                assert made == [BATCH] * count
                yield item

    sources = PictureSources(ScoresConfig(), field, None, [], lambda: rows, lambda: rows, None, Looking())
    assert sources.domain_counts.tolist() == [3 * BATCH * 4]
