"""Every estimator's mean is its estimand: one text of six tokens, every mask tried, masks drawn as in training."""

from dataclasses import replace
from itertools import permutations, product

import pytest
import torch

from policylearn.config import InnerConfig, MaskingConfig
from policylearn.inner.window import Window
from policylearn.masking import IGNORED, MaskedBatch, at_leads, budget, designs, draw_mask, draw_units, room
from policylearn.metagrad.estimators import SoftMask, leave_one_out, mask_room, room_derivatives
from policylearn.metagrad.one_step import one_step
from policylearn.metagrad.replay import replay
from policylearn.metagrad.unroll import unroll

N, DRAWS, LIMIT = 6, 40_000, 4.5
PHI = torch.tensor([0.5, -0.2, 0.1, 0.9, -0.6, 0.3], dtype=torch.float64)
MASKS = torch.tensor(list(product([False, True], repeat=N)))
RATE = 0.02


def spent(phi: torch.Tensor) -> torch.Tensor:
    return budget(phi[None], torch.ones(1, N, dtype=torch.bool), rate=0.4)[0]


P = spent(PHI)
JACOBIAN = torch.autograd.functional.jacobian(spent, PHI)


def shown(batch: MaskedBatch) -> torch.Tensor:
    """[MASK], but the second position is left as it is and the third shows another token."""
    shown = torch.ones_like(batch.original)
    shown[:, 1], shown[:, 2] = batch.original[:, 1], 5
    return shown


def masked(bits: torch.Tensor) -> MaskedBatch:
    ids = torch.tensor([[7, 3, 9, 4, 4, 11]])
    batch = MaskedBatch(ids, ids, ids > 0, torch.where(bits[None], ids, IGNORED))
    return replace(batch, shown=torch.where(bits[None], shown(batch), ids))


class Tried:
    """Outer loss [64] after a step on each mask, and its derivatives [64, 2, 6] in w and h."""

    def __init__(self, problem) -> None:
        outer, gradients = [], []
        for bits in MASKS:
            model, optimizer = problem.copies()
            window = Window([masked(bits)], [RATE], SoftMask(shown))
            gradients += unroll(model, optimizer, window, problem.outer, "all")
            outer.append(problem.outer(model).detach())
        self.outer, self.gradients = torch.stack(outer), torch.stack(gradients)[:, :, 0]


@pytest.fixture(scope="module")
def tried(inner):
    return Tried(inner(warm=5))


def number(masks: torch.Tensor) -> torch.Tensor:
    """Rows of MASKS."""
    return (masks.long() * 2 ** torch.arange(N - 1, -1, -1)).sum(-1)


def chances(design: str, p: torch.Tensor) -> torch.Tensor:
    """Probability of every mask, [64], differentiable: for the systematic design by cutting the starts of all 720
    orders where a mask ends."""
    if design == "independent":
        return torch.where(MASKS, p, 1 - p).prod(1)
    orders = torch.tensor(list(permutations(range(N))))
    ends = p[orders].cumsum(1)
    edge = torch.zeros(len(orders), 1, dtype=p.dtype)
    cuts = torch.cat([edge, (-ends) % 1.0, edge + 1], 1).sort(1).values
    starts = (cuts[:, 1:] + cuts[:, :-1]).detach() / 2
    ticks = (ends.detach()[:, None] + starts[:, :, None]).floor()
    crossed = ticks.diff(dim=2, prepend=torch.zeros_like(ticks[:, :, :1]))
    masks = torch.zeros_like(crossed).scatter(2, orders[:, None].expand_as(crossed), crossed)
    found = torch.zeros(len(MASKS), dtype=p.dtype)
    return found.index_add(0, number(masks).flatten(), cuts.diff(dim=1).flatten() / len(orders))


def true_gradient(design: str, values: torch.Tensor) -> torch.Tensor:
    """∇ E[values], in p."""
    p = P.clone().requires_grad_()
    return torch.autograd.grad(chances(design, p) @ values, p)[0]


def drawn(design: str, seed: int = 0, draw: int = 0):
    """(masks [DRAWS, N], keys, index), as `draw_mask` draws them in training."""
    keys = torch.randint(-(2**62), 2**62, (DRAWS,), generator=torch.Generator().manual_seed(seed))
    index = torch.arange(N).expand(DRAWS, N)
    return draw_mask(design, P.expand(DRAWS, N), keys, index, draw, 3), keys, index


def largest_z(estimates: torch.Tensor, expected: torch.Tensor) -> float:
    """Of estimates [DRAWS, N] in p, carried to φ: how many standard errors the worst lies from what it should be."""
    there, wanted = estimates @ JACOBIAN, expected @ JACOBIAN
    return float(((there.mean(0) - wanted) / (there.std(0) / len(there) ** 0.5)).abs().max())


def scores(design: str, masks, keys, index, draws=(0,)) -> torch.Tensor:
    """∂ log P(masks) / ∂p, [DRAWS, N]; several masks per key for `explore`."""
    p = P.expand(DRAWS, N).clone().requires_grad_()
    rooms = [room(design, p, m, keys, index, draw, 3) for m, draw in zip(masks, draws, strict=True)]
    slopes = room_derivatives(rooms, [keys] * len(rooms))
    return torch.autograd.grad(sum((s * r).sum() for s, r in zip(slopes, rooms, strict=True)), p)[0]


@pytest.mark.parametrize("design", ["independent", "systematic", "explore"])
def test_credit_and_relaxed_have_the_means_they_claim(tried, design):
    """Σ E[∂L/∂w_i | i masked] ∂p_i, and E[∂L/∂h_i] ∂p_i for what is hidden; and the check finds a missing 1/p."""
    chance = chances(design, P)[:, None]
    weights, hidden = tried.gradients.unbind(1)
    predicting = (chance * MASKS * weights).sum(0) / (chance * MASKS).sum(0)
    hiding = (chance * hidden).sum(0)
    masks, *_ = drawn(design, draw=1)
    at = number(masks)
    credit, relaxed = masks / P * weights[at], masks / P * weights[at] + hidden[at]
    assert largest_z(credit, predicting) < LIMIT
    assert largest_z(relaxed, predicting + hiding) < LIMIT
    assert largest_z(masks * weights[at], predicting) > 2 * LIMIT
    assert largest_z(credit, predicting + hiding) > 2 * LIMIT


@pytest.mark.parametrize("design", ["independent", "systematic"])
def test_the_score_function_has_the_true_gradient_for_its_mean(tried, design):
    true = true_gradient(design, tried.outer)
    masks, keys, index = drawn(design)
    score = scores(design, [masks], keys, index)
    compared = torch.stack([leave_one_out(group) for group in tried.outer[number(masks)].view(-1, 2)]).view(-1, 1)
    estimates = (compared * score).view(-1, 2, N).mean(1)
    assert largest_z(estimates, true) < LIMIT
    # a mean over all, one's own loss included, would halve it with two samples
    assert largest_z(estimates / 2, true) > LIMIT + 1
    assert largest_z(score, torch.zeros(N, dtype=torch.float64)) < LIMIT


def test_masks_that_share_their_start_are_as_probable_as_together(tried):
    """Three masks of `explore` and a loss of all three: the product of their probabilities would be wrong."""
    several = [drawn("explore", draw=draw) for draw in range(3)]
    masks, keys, index = [m for m, *_ in several], *several[0][1:]
    centred = tried.outer - tried.outer.mean()
    loss = sum(centred[number(m)] for m in masks)[:, None] / 3
    true = true_gradient("systematic", tried.outer)
    together = scores("explore", masks, keys, index, range(3))
    apart = sum(scores("explore", [m], keys, index, [draw]) for draw, m in enumerate(masks))
    assert largest_z(loss * together, true) < LIMIT
    assert largest_z(loss * apart, true) > 2 * LIMIT


@pytest.mark.parametrize("design", ["independent", "systematic", "explore"])
def test_a_mask_stays_the_same_as_far_as_its_room_goes_and_no_further(design, monkeypatch):
    masks, keys, index = (x[:300] for x in drawn(design, draw=2))
    p = P.expand(300, N)
    space = room(design, p, masks, keys, index, 2, 3)
    assert (space >= 0).all()
    honest = designs.uniforms
    for side, sign in ((0, -1), (1, 1)):
        for share, same in ((0.999, True), (1.001, False)):
            move = sign * share * space[:, :, side]
            # where the numbers end, at 0 and 1, nothing more is to be moved
            offset = 2 / 3 if design == "explore" else 0.0
            numbers = honest(keys, index, designs.Stream.INCLUDE)
            if design != "independent":
                numbers = (honest(keys, index[:, :1] * 0, designs.Stream.START) + offset) % 1.0
            inside = ((numbers + move > 0) & (numbers + move < 1)).all(1)

            def moved(keys, index, stream, move=move):
                return honest(keys, index, stream) + move

            monkeypatch.setattr(designs, "uniforms", moved)
            again = draw_mask(design, p, keys, index, 2, 3)
            monkeypatch.setattr(designs, "uniforms", honest)
            assert ((again == masks).all(1) == same)[inside].all()


def test_units_are_drawn_and_scored_as_one():
    lead = torch.tensor([[0, 0, 2, 3, 3, 3]]).expand(500, -1)
    p = torch.tensor([0.4, 0.4, 0.9, 0.3, 0.3, 0.3], dtype=torch.float64).expand(500, -1)
    ids = torch.arange(1, N + 1).expand(500, -1)
    keys = torch.randint(-(2**62), 2**62, (500,), generator=torch.Generator().manual_seed(0))
    for design in ("independent", "systematic"):
        mask = draw_units(design, p, keys, torch.arange(N).expand(500, -1), lead)
        batch = MaskedBatch(ids, ids, ids > 0, torch.where(mask, ids, IGNORED), lead, keys=keys)
        length = mask_room(p, batch, MaskingConfig(design=design)).sum(2)
        if design == "independent":
            first = at_leads(torch.ones_like(mask), lead)
            torch.testing.assert_close(length[first], torch.where(mask, p, 1 - p)[first])
            assert (length[~first] == 1).all()
        else:
            assert ((length > 0) & (length <= 1)).all()


def test_a_text_that_is_there_twice_is_drawn_once():
    masks, keys, index = (x[:50] for x in drawn("independent"))
    p = P.expand(50, N)
    space = room("independent", p, masks, keys, index)
    (once,) = room_derivatives([space], [keys])
    first, second = room_derivatives([space, space], [keys, keys])
    torch.testing.assert_close(first + second, once)


def test_at_the_mask_the_soft_mask_is_the_hard_one(inner):
    problem = inner(warm=2)
    batch = masked(MASKS[0b010110])
    loss = SoftMask(shown)
    x = loss.inputs(batch, problem.head)
    plain = problem.model(batch.shown, batch.real, labels=batch.labels).mean()
    assert torch.equal(loss(problem.model, batch, x), plain)


def test_the_derivatives_of_the_soft_mask_are_those_of_numeric_differentiation(inner, relative_error):
    problem = inner(warm=5)
    batches = [masked(MASKS[0b010110]), masked(MASKS[0b101001])]

    class Shifted(SoftMask):
        def __init__(self, by) -> None:
            super().__init__(shown)
            self.by = by

        def inputs(self, batch, like):
            at = next(k for k, known in enumerate(batches) if known is batch)
            return super().inputs(batch, like) + self.by.get(at, 0.0)

    def after(loss):
        model, optimizer = problem.copies()
        gradients = replay(model, optimizer, Window(batches, [RATE, RATE], loss), problem.outer, "all")
        return gradients, problem.outer(model).item()

    exact, _ = after(SoftMask(shown))
    for k in range(2):
        direction = torch.randn(2, 1, N, dtype=torch.float64, generator=torch.Generator().manual_seed(k))
        values = []
        for by in (1e-5, -1e-5):
            values.append(after(Shifted({k: by * direction}))[1])
        numeric = torch.tensor([(values[0] - values[1]) / 2e-5])
        assert relative_error((exact[k] * direction).sum()[None], numeric) < 1e-6
        assert relative_error((exact[k] * direction)[1].sum()[None], numeric) > 1e-3


def test_one_step_sees_what_the_unrolled_step_sees_of_a_soft_mask(inner):
    problem = inner(warm=40, settings=InnerConfig(betas=(0.9, 0.999), eps=1e-6))
    window = Window([masked(MASKS[0b010110])], [1e-5], SoftMask(shown))
    fast = one_step(problem.model, problem.optimizer, window, problem.outer)[0]
    exact = unroll(*problem.copies(), window, problem.outer)[0]
    for part in range(2):
        assert torch.cosine_similarity(fast[part].flatten(), exact[part].flatten(), dim=0) > 0.97
    assert torch.cosine_similarity(fast[0].flatten(), exact[1].flatten(), dim=0) < 0.9
