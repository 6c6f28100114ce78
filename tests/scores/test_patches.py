"""Scores of visual words, on squares that are black, half white or white."""

import numpy as np
import pytest
import torch

from policylearn.config import MaskingConfig
from policylearn.masking.grid import Grid
from policylearn.masking.patches import PatchField
from policylearn.masking.visual_words import visual_words
from policylearn.scores import patches

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
