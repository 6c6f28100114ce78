"""How much do the gradients of two masks of one text differ, by how much the masks do? Writes gradients.jsonl.

With g(m) the gradient of the mean loss of the τ masked of n tokens, σ² = ½ E‖g(m) - g(m')‖² over independent masks
and γ(h) = ½ E‖g(m) - g(m')‖² over masks that differ in h places, their covariance is σ² - γ(h). Were g the mean of what
each masked token gives by itself, whatever else is hidden, γ(h) would be h / (2τ (1 - τ/n)) · σ²: on a line through 0,
and the mean over disjoint masks that cover the text would have no variance at all.
"""

import itertools
from collections.abc import Iterator

import numpy as np
import torch
from settings import FOLDER, MODELS, config_of
from torch import Tensor

from policylearn.inner.masked_lm import mlm_loss
from policylearn.masking import IGNORED, MaskedBatch
from policylearn.models.model import InnerModel
from policylearn.problems.texts import TextProblem
from policylearn.report.write_up import append_line, read_lines

LINES = FOLDER / "gradients.jsonl"
TEXTS, PAIRS, MASKED, PARTS = 30, 2, 2, 6
"""Texts of twelve words or word pieces, of which two are masked: six disjoint masks cover them."""


def texts_of_length(problem: TextProblem, length: int, count: int) -> list[Tensor]:
    """So many of the domain, spread over it, that have as many tokens that may be masked."""
    rows = problem.domain
    fitting = [i for i in range(len(rows)) if len(rows[i]) == length + 2]  # [CLS] and [SEP]
    return [torch.from_numpy(rows[i].astype(np.int64)) for i in fitting[:: max(1, len(fitting) // count)][:count]]


def gradient(problem: TextProblem, model: InnerModel, ids: Tensor, places: np.ndarray) -> Tensor:
    """Of the loss of the tokens at some places of a text, all shown as [MASK]; float32, all layers."""
    labels = torch.full_like(ids, IGNORED)[None]
    labels[0, places + 1] = ids[places + 1]
    shown = ids[None].masked_fill(labels != IGNORED, problem.tokenizer.mask_token_id)
    parameters = [p for name, p in model.named_parameters() if ".layer." in name]
    batch = MaskedBatch(ids[None], shown, torch.ones_like(shown, dtype=torch.bool), labels)
    return torch.cat([g.flatten() for g in torch.autograd.grad(mlm_loss(model, batch), parameters)])


def pair(rng: np.random.Generator, distance: int) -> tuple[np.ndarray, np.ndarray]:
    """Places of two masks that differ in so many."""
    order, kept = rng.permutation(MASKED * PARTS), MASKED - distance // 2
    return order[:MASKED], np.concatenate([order[:kept], order[MASKED : 2 * MASKED - kept]])


def half_square(one: Tensor, other: Tensor) -> float:
    return float((one - other).square().sum()) / 2


def measured(problem: TextProblem, model: InnerModel, ids: Tensor, rng: np.random.Generator) -> dict[str, float]:
    """γ by distance, σ², and the variance of means over six masks, disjoint and independent, of one text."""

    def of(places: np.ndarray) -> Tensor:
        return gradient(problem, model, ids, places)

    def mean(disjoint: bool) -> Tensor:
        order = rng.permutation(MASKED * PARTS)
        apart = (rng.permutation(len(order))[:MASKED] for _ in range(PARTS))
        return torch.stack([of(p) for p in (np.split(order, PARTS) if disjoint else apart)]).mean(0)

    found = {
        f"distance {h}": np.mean([half_square(*map(of, pair(rng, h))) for _ in range(PAIRS)])
        for h in range(2, 2 * MASKED + 1, 2)
    }
    # Two random masks have 0, 1 or 2 places in common: their distances, weighted, give σ² from the same pairs.
    shares = {h: _share(h) for h in range(2, 2 * MASKED + 1, 2)}
    found["any two masks"] = sum(share * found[f"distance {h}"] for h, share in shares.items())
    for name, disjoint in (("six independent masks", False), ("six disjoint masks", True)):
        found[name] = np.mean([half_square(mean(disjoint), mean(disjoint)) for _ in range(PAIRS)])
    return {name: float(value) for name, value in found.items()}


def _share(distance: int) -> float:
    """How often two random masks differ in so many places."""
    places, mask = range(MASKED * PARTS), set(range(MASKED))
    others = [set(other) for other in itertools.combinations(places, MASKED)]
    return sum(len(mask ^ other) == distance for other in others) / len(others)


def between(problem: TextProblem, model: InnerModel, texts: list[Tensor], rng: np.random.Generator) -> float:
    """The same of two texts, each under one mask."""
    found = [gradient(problem, model, ids, rng.permutation(MASKED * PARTS)[:MASKED]) for ids in texts]
    return float(np.mean([half_square(a, b) for a, b in itertools.pairwise(found)]))


def measure(model: str) -> None:
    """All texts, at the start of a training."""
    if any(line["model"] == model for line in read_lines(LINES)):
        return
    problem, rng = TextProblem(config_of(model, "model.bf16=false")), np.random.default_rng(0)
    started = problem.fresh_model(0)
    if model == "from scratch":  # at random weights every gradient is one of the output bias
        from trainings import trained_under_random_masks

        started = trained_under_random_masks(problem, started, steps=300)
    texts = texts_of_length(problem, MASKED * PARTS, TEXTS)
    for number, ids in enumerate(texts):
        append_line(LINES, {"model": model, "text": number} | measured(problem, started, ids, rng))
    append_line(LINES, {"model": model, "text": None, "two texts": between(problem, started, texts, rng)})


def table() -> Iterator[str]:
    """As shares of that of any two random masks of a text; means over texts ± one standard error."""
    lines = read_lines(LINES)
    models = [m for m in MODELS if any(line["model"] == m and line["text"] is None for line in lines)]
    yield f"| half the mean square difference of the gradients of | {' | '.join(models)} | were tokens by themselves |"
    yield "|---" * (len(models) + 2) + "|"
    predicted = {f"distance {h}": h / (2 * MASKED * (1 - 1 / PARTS)) for h in range(2, 2 * MASKED + 1, 2)}
    predicted |= {"six independent masks": 1 / PARTS, "six disjoint masks": 0.0}
    for name, expected in predicted.items():
        cells = [_relative([x for x in lines if x["model"] == m and x["text"] is not None], name) for m in models]
        yield f"| {name} | {' | '.join(cells)} | {expected:.2f} |"
    shares = []
    for m in models:
        own = [x for x in lines if x["model"] == m]
        shares.append(f"{own[-1]['two texts'] / np.mean([x['any two masks'] for x in own[:-1]]):.2f}")
    yield f"| two texts, a mask each | {' | '.join(shares)} | |"


def _relative(lines: list[dict[str, float]], name: str) -> str:
    whole = np.mean([x["any two masks"] for x in lines])
    values = np.array([x[name] for x in lines]) / whole
    return f"{values.mean():.2f} ± {values.std(ddof=1) / len(values) ** 0.5:.2f}"
