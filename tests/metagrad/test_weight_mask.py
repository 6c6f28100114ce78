"""The gradient of the outer loss in θ, against numeric differentiation in double precision."""

import copy

import pytest
import torch
from torch.nn.functional import cross_entropy

from policylearn.adapt import weight_mask as module
from policylearn.adapt.ridge import ridge_head
from policylearn.adapt.weight_mask import MaskTuning
from policylearn.config import InnerConfig
from policylearn.metagrad.engines import engine
from policylearn.tasks.classification import Classification
from policylearn.tasks.labelled import LabelledBatch
from policylearn.weight_masks.masks import THRESHOLD, initial_scores
from policylearn.weight_masks.selection import maskable

RATE = 0.1


def tuning_of(problem, first_order: bool, steps: int = 3, head=None) -> MaskTuning:
    """Three texts after steps on two batches of three others, in turn."""
    ids, real, y = problem.ids, problem.real, problem.y
    batches = [LabelledBatch(ids[i : i + 3], real[i : i + 3], y[i : i + 3]) for i in (0, 3)]

    def ridge(features):
        return ridge_head(features(ids[:6], real[:6]), y[:6], Classification(3))

    def query(classifier):
        return cross_entropy(classifier(ids[6:], real[6:]), y[6:])

    def scores(model):
        return initial_scores(maskable(model, 0), 0.2, seed=1)

    chosen = [batches[k % 2] for k in range(steps)]
    return MaskTuning(chosen, RATE, scores, head or ridge, query, first_order)


def gradient(problem, tuning) -> torch.Tensor:
    found = torch.autograd.grad(tuning(problem.model), list(problem.model.parameters()), allow_unused=True)
    pairs = zip(found, problem.model.parameters(), strict=True)
    return torch.cat([(torch.zeros_like(p) if g is None else g).flatten() for g, p in pairs])


class Recorded:
    """In place of `binarise`: keeps the masks it gives; `straight`: gives them again, moved by what scores moved.

    M_k + (m_k - the scores that M_k was first made from) is the straight line that the gradient claims to follow.
    """

    def __init__(self) -> None:
        self.seen: list[tuple[torch.Tensor, torch.Tensor]] = []
        self.at: int | None = None

    def __call__(self, m: torch.Tensor) -> torch.Tensor:
        if self.at is None:
            hard = (m > THRESHOLD).to(m.dtype)
            self.seen.append((m.detach().clone(), hard))
            return hard + m - m.detach()
        self.at += 1
        scores, mask = self.seen[self.at - 1]
        return mask + (m - scores)


def numeric(problem, tuning, directions: torch.Tensor, recorded: Recorded | None = None, eps: float = 1e-6):
    """Slopes of the loss along directions in θ, by central differences."""
    parameters = list(problem.model.parameters())
    sizes = [p.numel() for p in parameters]
    if recorded:
        tuning(problem.model)

    def at(move: torch.Tensor) -> float:
        pieces = move.split(sizes)
        with torch.no_grad():
            for p, piece in zip(parameters, pieces, strict=True):
                p += piece.view_as(p)
        if recorded:
            recorded.at = 0
        value = tuning(problem.model).item()
        with torch.no_grad():
            for p, piece in zip(parameters, pieces, strict=True):
                p -= piece.view_as(p)
        return value

    return torch.tensor([(at(eps * d) - at(-eps * d)) / (2 * eps) for d in directions], dtype=torch.float64)


@pytest.fixture
def directions(problem):
    draw = torch.Generator().manual_seed(5)
    size = sum(p.numel() for p in problem.model.parameters())
    return torch.randn(12, size, generator=draw, dtype=torch.float64)


@pytest.fixture(params=["bert", "distilbert"])
def problem(inner, request):
    return inner(kind=request.param)


def close(found: torch.Tensor, expected: torch.Tensor) -> bool:
    return bool((found - expected).norm() < 1e-5 * expected.norm())


def test_straight_through_it_is_the_slope_of_the_straight_line(problem, directions, monkeypatch):
    found = gradient(problem, tuning_of(problem, first_order=False))
    without_scores = gradient(problem, tuning_of(problem, first_order=True))
    recorded = Recorded()
    monkeypatch.setattr(module, "binarise", recorded)
    expected = numeric(problem, tuning_of(problem, first_order=False), directions, recorded)
    assert close(directions @ found, expected)
    assert not close(directions @ without_scores, expected)  # the scores' share is really there


def test_with_constant_masks_it_is_the_slope_of_the_loss_itself(problem, directions):
    found = gradient(problem, tuning_of(problem, first_order=True))
    expected = numeric(problem, tuning_of(problem, first_order=True), directions)
    assert close(directions @ found, expected)

    def constant_head(features):
        weight, bias = ridge_head(features(problem.ids[:6], problem.real[:6]), problem.y[:6], Classification(3))
        return weight.detach(), bias.detach()

    for wrong in (tuning_of(problem, first_order=False), tuning_of(problem, first_order=True, head=constant_head)):
        assert not close(directions @ gradient(problem, wrong), expected)


def test_the_loss_by_hand(problem):
    """Masks multiplied into the weights of a copy; ∂ℓ/∂M = W ∘ ∂ℓ/∂(W ∘ M)."""
    tuning, names = tuning_of(problem, first_order=False), list(maskable(problem.model, 0))
    scores = {name: m.double() for name, m in tuning.scores(problem.model).items()}
    model, own = copy.deepcopy(problem.model), dict(problem.model.named_parameters())
    weights = [p for name, p in model.named_parameters() if name in names]

    def put_in_place():
        with torch.no_grad():
            for name, w in zip(names, weights, strict=True):
                w.copy_(own[name] * (scores[name] > 0.01))

    put_in_place()
    with torch.no_grad():
        weight, bias = tuning.head(model)
    for batch in tuning.batches:
        loss = cross_entropy(model(batch.input_ids, batch.real) @ weight.T + bias, batch.y)
        slopes = torch.autograd.grad(loss, weights)
        g = {name: own[name].detach() * slope for name, slope in zip(names, slopes, strict=True)}
        size = torch.cat([part.flatten() for part in g.values()]).square().mean().sqrt()
        scores = {name: m - RATE * g[name] / size for name, m in scores.items()}
        put_in_place()
    expected = tuning.query(lambda *text: model(*text) @ weight.T + bias).item()
    assert tuning(problem.model).item() == pytest.approx(expected, rel=1e-9)


def test_it_leaves_the_model_alone_and_steps_change_masks(problem):
    before = [p.detach().clone() for p in problem.model.parameters()]
    losses = [tuning_of(problem, first_order=False, steps=n)(problem.model).item() for n in (0, 1, 2)]
    assert len(set(losses)) == 3
    with torch.no_grad():
        assert tuning_of(problem, first_order=False, steps=2)(problem.model).item() == pytest.approx(losses[2])
    assert all(torch.equal(p, q) for p, q in zip(problem.model.parameters(), before, strict=True))
    assert all(p.grad is None for p in problem.model.parameters())


def test_steps_lower_the_loss_of_their_own_examples(inner):
    problem = inner()
    tuning = tuning_of(problem, first_order=True, steps=1)
    batch = tuning.batches[0]

    def after(steps: int) -> float:
        same = MaskTuning([batch] * steps, 0.02, tuning.scores, tuning.head, on_batch, True)
        return same(problem.model).item()

    def on_batch(classifier):
        return cross_entropy(classifier(batch.input_ids, batch.real), batch.y)

    assert after(10) < after(0)


SETTINGS = InnerConfig(eps=1e-3, betas=(0.9, 0.98))
RATES = [0.01, 0.02]


@pytest.mark.parametrize("kind", ["bert", "modernbert"])
@pytest.mark.parametrize("name", ["unroll", "replay", "finite_difference"])
def test_engines_differentiate_through_it(inner, relative_error, all_double, name, kind):
    """With constant masks as numeric differentiation does, in which no mask flips."""
    problem = inner(kind=kind, settings=SETTINGS, warm=2)
    batches, tuning = problem.batches(2, size=2), tuning_of(problem, first_order=True)
    expected = problem.numeric(batches, RATES, outer=tuning)
    model, optimizer = problem.copies()
    found = engine(name)(model, optimizer, problem.window(batches, RATES), tuning, "all")
    assert relative_error(torch.cat(found), expected) < (1e-2 if name == "finite_difference" else 1e-6)
    straight = engine("unroll")(
        *problem.copies(), problem.window(batches, RATES), tuning_of(problem, first_order=False), "all"
    )
    assert relative_error(torch.cat(straight), expected) > 2e-2


@pytest.mark.parametrize("name", ["replay", "finite_difference"])
def test_engines_agree_straight_through(inner, relative_error, name):
    problem = inner(settings=SETTINGS, warm=2)
    batches, tuning = problem.batches(2, size=2), tuning_of(problem, first_order=False)
    credits = {}
    for each in ("unroll", name):
        model, optimizer = problem.copies()
        credits[each] = torch.cat(engine(each)(model, optimizer, problem.window(batches, RATES), tuning, "all"))
    assert relative_error(credits[name], credits["unroll"]) < (1e-2 if name == "finite_difference" else 1e-8)


def test_fused_attention_does_not_stand_in_the_way(inner, relative_error):
    """`finite_difference` leaves models their fastest attention, which has no second derivative."""
    problem = inner(settings=SETTINGS, warm=2)
    expected = gradient(problem, tuning_of(problem, first_order=False))
    problem.model.mlm.set_attn_implementation("sdpa")
    assert relative_error(gradient(problem, tuning_of(problem, first_order=False)), expected) < 1e-8
