"""Pictures as fields of patches: cut, typed, hidden; and masks with a structure."""

import pytest
import torch

from policylearn.config import MaskingConfig
from policylearn.masking import IGNORED
from policylearn.masking.grid import Grid
from policylearn.masking.patches import MaskedPatches, PatchField, whole_rate
from policylearn.masking.structure import STRUCTURES

GRID = Grid(12, 12, patch=3, channels=3)
FILMS = Grid(12, 12, patch=3, channels=3, frames=4, tubelet=2)


def pictures(count=4, grid=GRID):
    draw = torch.Generator().manual_seed(0)
    size = (grid.channels, grid.height, grid.width)
    return torch.rand(count, *(size if grid.frames == 1 else (grid.frames, *size)), generator=draw)


def field(zones=1, **masking):
    codebook = torch.linspace(0, 1, 5)[:, None].expand(5, GRID.depth)
    return PatchField(codebook, GRID, MaskingConfig(**masking), zones)


@pytest.mark.parametrize("grid", [GRID, FILMS, Grid(6, 12, patch=2, channels=1)])
def test_cutting_into_patches_loses_nothing(grid):
    found = pictures(grid=grid)
    assert grid.patches(found).shape == (4, grid.count, grid.depth)
    assert torch.equal(grid.pixels(grid.patches(found)), found)


def test_patches_are_those_that_vit_mae_restores():
    from transformers import ViTMAEConfig, ViTMAEForPreTraining

    tiny = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    tiny |= {f"decoder_{name}": value for name, value in tiny.items()}
    model = ViTMAEForPreTraining(ViTMAEConfig(image_size=12, patch_size=3, **tiny))
    assert torch.equal(model.patchify(pictures()), GRID.patches(pictures()))


@pytest.mark.parametrize(
    ("size", "said"),
    [((3, 12, 15), "3 × 12 × 15 and not 3 × 12 × 12"), ((1, 12, 12), "1 × 12 × 12 and not 3 × 12 × 12")],
)
def test_pictures_of_another_size_or_number_of_channels_are_refused(size, said):
    with pytest.raises(ValueError, match=f"pictures are {said}"):
        GRID.patches(torch.zeros(2, *size))


@pytest.mark.parametrize("patch", [0, 5, 24])
def test_a_patch_size_that_does_not_divide_is_refused(patch):
    with pytest.raises(ValueError, match=f"patches.size {patch} does not divide pictures of 12 × 12: set it to one of"):
        Grid(12, 12, patch)


def test_types_are_nearest_centroids_and_zones_tell_places_apart():
    x = GRID.patches(pictures())
    brute = torch.cdist(x, field().codebook[None]).argmin(2)
    assert torch.equal(field().types(x), brute)
    zoned = field(zones=2)
    assert zoned.size == 20
    assert torch.equal(zoned.types(x) // 4, brute) and torch.equal(zoned.types(x) % 4, GRID.zones(2).expand(4, -1))
    assert GRID.zones(2).reshape(4, 4).tolist() == [[0, 0, 1, 1]] * 2 + [[2, 2, 3, 3]] * 2


def test_keys_are_of_the_pixels_seed_and_epoch():
    x, real = GRID.patches((pictures() * 255).round() / 255), torch.ones(4, 16, dtype=torch.bool)
    keys = [field().keys(*given) for given in ((x, real, 0, 0), (x + 1e-6, real, 0, 0))]
    assert torch.equal(*keys)
    others = [field().keys(*given) for given in ((x, real, 1, 0), (x, real, 0, 1), (x.flip(2), real, 0, 0))]
    assert all((keys[0] != other).all() for other in others) and len(set(keys[0].tolist())) == 4


def test_what_is_hidden_is_labelled_and_black():
    x = GRID.patches(pictures())
    mask = torch.rand(4, 16, generator=torch.Generator().manual_seed(1)) < 0.5
    shown, labels = field().hide(x, mask, torch.arange(4), torch.arange(16))
    assert (shown[mask] == 0).all() and torch.equal(shown[~mask], x[~mask])
    assert torch.equal(labels, MaskedPatches(mask.double(), mask, field().types(x)).labels())
    assert torch.equal(labels == IGNORED, ~mask)


def test_units_of_texts_are_refused():
    with pytest.raises(ValueError, match='"word" is of texts'):
        field(unit="word")


@pytest.mark.parametrize("ratio", [0.05, 0.15, 0.5, 0.6, 0.75, 0.9, 0.99])
@pytest.mark.parametrize("patches", [4, 16, 49, 196])
def test_rates_are_rounded_as_vit_mae_rounds_its_mask_ratio(ratio, patches):
    kept = min(max(int(patches * (1 - ratio)), 1), patches - 1)
    assert float(whole_rate(ratio, patches)) * patches == pytest.approx(patches - kept)


def test_noise_keeps_what_is_not_hidden_and_needs_equal_numbers():
    mask = torch.tensor([[True, False, True], [False, True, True]])
    found = MaskedPatches(mask.double(), mask, mask.long())
    assert torch.equal(found.noise().argsort(1)[:, 1:].sort(1).values, mask.nonzero()[:, 1].reshape(2, 2))
    uneven = MaskedPatches(mask.double(), mask & torch.tensor([True, True, False]), mask.long())
    assert uneven.hidden() == 1
    with pytest.raises(ValueError, match="from 1 to 2 patches of a picture are hidden"):
        MaskedPatches(mask.double(), mask & torch.tensor([[True] * 3, [True, True, False]]), mask.long()).noise()


@pytest.mark.parametrize("name", STRUCTURES)
def test_structured_scores_are_of_the_keys_and_the_same_for_all_times_of_a_film(name):
    keys = torch.arange(200) * 7919
    scores = STRUCTURES[name](keys, FILMS)
    assert scores.shape == (200, 32) and torch.equal(scores[:, :16], scores[:, 16:])
    assert torch.equal(STRUCTURES[name](keys[:1], FILMS)[0], scores[0]) and not torch.equal(scores[0], scores[1])


def neighbours_alike(scores: torch.Tensor, side: int, apart: int) -> float:
    """Correlation of the scores of patches so far from each other in a row."""
    rows = scores.reshape(len(scores), side, side)
    return float(torch.corrcoef(torch.stack([rows[:, :, apart:].flatten(), rows[:, :, :-apart].flatten()]))[0, 1])


def test_green_noise_has_neither_low_nor_high_frequencies_and_a_block_is_one():
    keys, grid = torch.arange(300) * 7919, Grid(32, 32, patch=2, channels=1)
    green = STRUCTURES["structured"](keys, grid)
    assert neighbours_alike(green, 16, 1) > 0.3 and neighbours_alike(green, 16, 3) < -0.05
    top = STRUCTURES["block"](keys, grid).topk(64, 1).indices
    mask = torch.zeros(300, 256).scatter(1, top, 1.0)
    assert neighbours_alike(mask, 16, 1) > 0.75
    height, width = (mask.reshape(-1, 16, 16).amax(d).sum(1) for d in (2, 1))
    assert (height * width <= 64 * 1.6).all() and (height / width).max() > 2 and (width / height).max() > 2
