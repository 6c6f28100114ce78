"""Policies over pictures: budget, designs and scores are those of texts."""

import pytest
import torch

from policylearn.config import MaskingConfig
from policylearn.masking.grid import Grid, region
from policylearn.masking.patches import PatchField, whole_rate
from policylearn.masking.structure import FIRM
from policylearn.policy.patches import (
    mask_patches,
    patch_field,
    patch_policy,
    random_patches,
)
from policylearn.policy.scores import Scores

GRID = Grid(12, 12, patch=3, channels=1)


def pictures(count=6):
    return torch.rand(count, 1, 12, 12, generator=torch.Generator().manual_seed(0))


def policy(strengths=None, **masking):
    field = PatchField(torch.linspace(0.2, 0.8, 4)[:, None].expand(4, 9), GRID, MaskingConfig(**masking))
    return patch_policy(field, {"bright": Scores(torch.arange(4.0))}, strengths or {"bright": 1.0})


@pytest.mark.parametrize("design", ["systematic", "explore"])
@pytest.mark.parametrize("rate", [0.15, 0.5, 0.6, 0.75, 0.85])
def test_every_picture_has_equally_many_hidden_patches_at_any_rate(rate, design):
    learned = policy(rate=rate, design=design)
    found = mask_patches(learned, pictures(), epoch=3)
    assert found.hidden() == round(float(whole_rate(rate, 16)) * 16)
    assert torch.allclose(found.p.sum(1), torch.tensor(float(found.hidden())).double())


def test_coins_give_unequal_numbers_which_some_models_do_not_take():
    found = mask_patches(policy(rate=0.5, design="independent"), pictures(60))
    with pytest.raises(ValueError, match="hidden, and this model needs"):
        found.noise()


def test_masks_have_their_probabilities_and_hide_bright_patches_more_often():
    learned, x = policy(rate=0.5), pictures()
    masks = torch.stack([mask_patches(learned, x, epoch=epoch).mask for epoch in range(400)]).float().mean(0)
    p = mask_patches(learned, x).p
    assert torch.allclose(masks.double(), p, atol=0.12)
    types = learned.field.types(GRID.patches(x))
    assert p[types == 3].mean() > 2 * p[types == 0].mean()


def test_a_mask_depends_on_the_picture_seed_and_epoch_alone():
    x = pictures()
    together = mask_patches(policy(), x).mask
    assert torch.equal(together[2:3], mask_patches(policy(), x[2:3]).mask)
    assert not torch.equal(together, mask_patches(policy(), x, seed=1).mask)
    assert not torch.equal(together, mask_patches(policy(), x, epoch=1).mask)


@pytest.mark.parametrize("name", ["block", "structured"])
def test_structures_spend_the_same_budget(name):
    field = PatchField(torch.zeros(1, GRID.depth), GRID, MaskingConfig(rate=0.75, p_max=1.0))
    found = mask_patches(patch_policy(field, {}, {name: FIRM}), pictures(40))
    assert found.hidden() == 12
    assert (found.p.sort(1, descending=True).values[:, :11] > 0.8).float().mean() > 0.9  # hardly left to chance
    assert not torch.equal(found.mask[0], found.mask[1])


def test_a_rate_may_have_a_schedule_or_be_drawn():
    moving = random_patches(GRID, MaskingConfig(rate={"kind": "linear", "rates": [0.25, 0.75]}))
    assert [mask_patches(moving, pictures(), progress=at).hidden() for at in (0.0, 0.5, 1.0)] == [4, 8, 12]
    drawn = random_patches(GRID, MaskingConfig(rate={"kind": "uniform", "low": 0.1, "high": 0.8}))
    assert len(set(mask_patches(drawn, pictures(40)).mask.sum(1).tolist())) > 5


def test_boxes_are_a_prior_that_comes_with_a_picture():
    boxes = torch.stack([region([[0, 0, 0.5, 0.5]], GRID), region([], GRID)])
    assert boxes.sum(1).tolist() == [4, 0]
    found = mask_patches(policy({"region": 15.0}, rate=0.25, p_max=1.0), pictures(2), columns={"region": boxes})
    assert found.mask[0].nonzero()[:, 0].tolist() == [0, 1, 4, 5]
    assert torch.allclose(found.p[1], torch.tensor(0.25).double())


def test_boxes_in_pixels_are_refused():
    with pytest.raises(ValueError, match="as shares of width and height"):
        region([[0, 0, 6, 6]], GRID)


def test_a_policy_over_texts_is_refused(make_policy):
    with pytest.raises(ValueError, match="over pictures, and the one given is over texts"):
        patch_field(make_policy().field)
