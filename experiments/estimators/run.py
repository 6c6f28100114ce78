"""Bias, variance and cost of every estimator under every design, by trying all masks; writes result.json and README.md.

.venv/bin/python experiments/estimators/run.py            # some minutes
.venv/bin/python experiments/estimators/run.py --quick    # one text in one setting; writes nothing
"""

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch
from designs import Pieces, independent, systematic
from torch import Tensor
from torch.nn.functional import cosine_similarity
from toy import WORDS, Toy, build

from policylearn.masking import budget
from policylearn.metagrad.estimators import leave_one_out
from policylearn.report.write_up import write_up

FOLDER = Path(__file__).parent
RATE, DRAWS, MASKS, SETS, TEXTS = 1 / 3, 3, 12, 5_000, 5
"""Two of six words are masked; `explore` draws three masks that cover the text; every estimate spends twelve masks."""
SETTINGS = {
    "8 texts": dict(texts=8, rate=0.001, warm=200, mask_share=0.8),
    "8 texts, [MASK] only, rate × 5": dict(texts=8, rate=0.005, warm=200, mask_share=1.0),
    "alone, [MASK] only": dict(texts=1, rate=0.001, warm=200, mask_share=1.0),
}
Row = dict[str, str | float]


def credit(toy: Toy, p: Tensor) -> Tensor:
    """[64, 6], the slope in p that each mask reports."""
    return toy.masks / p * toy.weights


def centred(toy: Toy, p: Tensor) -> Tensor:
    """`credit` less the mean of the masked words, as `advantages` has it, in a window of this text alone."""
    mean = (toy.masks * toy.weights).sum(1, keepdim=True) / toy.masks.sum(1, keepdim=True).clamp(min=1)
    return toy.masks / p * (toy.weights - mean)


def relaxed(toy: Toy, p: Tensor) -> Tensor:
    return toy.masks / p * toy.weights + toy.hidden


def straight_through(toy: Toy, p: Tensor) -> Tensor:
    """`relaxed` with a straight-through w, which speaks for words that are not masked, too."""
    return toy.weights + toy.hidden


def undivided(toy: Toy, p: Tensor) -> Tensor:
    """`relaxed` without the division by p."""
    return toy.masks * toy.weights + toy.hidden


SLOPES: dict[str, Callable[[Toy, Tensor], Tensor]] = {
    "credit": credit,
    "credit, centred": centred,
    "relaxed": relaxed,
    "relaxed, w straight-through": straight_through,
    "relaxed, without 1/p": undivided,
}


def from_slopes(slopes: Tensor, pieces: Pieces, jacobian: Tensor) -> tuple[Tensor, float]:
    """Mean [6] of an estimate and its total variance when it spends MASKS masks, both exact."""
    estimates = slopes[pieces.draws].mean(1) @ jacobian
    mean = pieces.chance @ estimates
    variance = pieces.chance @ (estimates - mean).square().sum(1)
    return mean, float(variance) * pieces.draws.shape[1] / MASKS


def from_scores(toy: Toy, pieces: Pieces, jacobian: Tensor) -> tuple[Tensor, float]:
    """The same of `score_function`: the mean exactly, the variance from SETS sets of trainings."""
    losses, scores = toy.outer[pieces.draws].mean(1), pieces.score @ jacobian
    mean = (pieces.chance * losses) @ scores
    samples = MASKS // pieces.draws.shape[1]
    drawn = torch.multinomial(pieces.chance, SETS * samples, replacement=True, generator=seeded()).view(SETS, samples)
    advantages = torch.stack([leave_one_out(row) for row in losses[drawn]])
    estimates = (advantages[:, :, None] * scores[drawn]).mean(1)
    return mean, float((estimates - mean).square().sum(1).mean())


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def truth(toy: Toy, design: Callable[[Tensor], Pieces], phi: Tensor, by: float = 1e-5) -> Tensor:
    """∇ E[outer loss] in φ, [6], by central differences: where E has a kink, the mean of its two slopes."""

    def expected(phi: Tensor) -> Tensor:
        pieces = design(spent(phi))
        return pieces.chance @ toy.outer[pieces.draws].mean(1)

    return torch.stack([(expected(phi + step) - expected(phi - step)) / (2 * by) for step in by * torch.eye(WORDS)])


def rows_of(setting: str, toy: Toy, name: str, phi: Tensor) -> list[Row]:
    p = spent(phi)
    jacobian = torch.autograd.functional.jacobian(spent, phi)
    designs = {"independent": independent(p), "systematic": systematic(p), "explore": systematic(p, DRAWS)}
    found = []
    for design, pieces in designs.items():
        true = truth(toy, independent if design == "independent" else systematic, phi)
        estimates = {kind: from_slopes(slope(toy, p), pieces, jacobian) for kind, slope in SLOPES.items()}
        estimates["score_function"] = from_scores(toy, pieces, jacobian)
        for kind, (mean, variance) in estimates.items():
            found.append(
                {
                    "setting": setting,
                    "p": name,
                    "estimator": kind,
                    "design": design,
                    "bias": float((mean - true).norm() / true.norm()),
                    "cosine": float(cosine_similarity(mean, true, dim=0, eps=0.0)),
                    "variance": variance / float(true.norm()) ** 2,
                    "masks": MASKS * variance / float(mean.norm()) ** 2,
                    "ms_per_mask": 1000 * toy.seconds[kind != "score_function"],
                }
            )
    return found


def spent(phi: Tensor) -> Tensor:
    return budget(phi[None], torch.ones(1, WORDS, dtype=torch.bool), RATE)[0]


def measure(quick: bool) -> dict:
    torch.set_default_dtype(torch.float64)
    unequal = 0.5 * torch.randn(WORDS, generator=seeded())
    rows = []
    for setting in list(SETTINGS)[: 1 if quick else None]:
        toys = [toy_of(setting, number) for number in range(1 if quick else TEXTS)]
        for name, phi in (("unequal", unequal), ("equal", torch.zeros(WORDS))):
            rows += medians([rows_of(setting, toy, name, phi) for toy in toys])
    return {"masks": MASKS, "draws": DRAWS, "p": {"unequal": spent(unequal).tolist()}, "rows": rows}


def toy_of(setting: str, number: int) -> Toy:
    """Built in single precision, as everywhere else, but for its inner model."""
    torch.set_default_dtype(torch.float32)
    toy = build(number, **SETTINGS[setting])
    torch.set_default_dtype(torch.float64)
    return toy


def medians(tables: list[list[Row]]) -> list[Row]:
    """The rows of several texts as one table."""
    return [
        {name: value if isinstance(value, str) else median(row[name] for row in rows) for name, value in first.items()}
        for first, *_ in zip(*tables, strict=True)
        for rows in [[row for table in tables for row in table if named(row) == named(first)]]
    ]


def named(row: Row) -> tuple:
    return row["estimator"], row["design"]


def table(result: dict) -> list[str]:
    lines = []
    for setting in SETTINGS:
        for kind in ("unequal", "equal"):
            rows = [r for r in result["rows"] if (r["setting"], r["p"]) == (setting, kind)]
            if rows:
                lines += ["", f"**{setting}; {kind} p**", ""]
                lines += ["| estimator | design | bias | cosine | variance | masks | ms per mask |"]
                lines += ["|---|---|---|---|---|---|---|"]
                lines += [line(r) for r in rows]
    return lines


def line(r: Row) -> str:
    masks = f"{r['masks']:.1f}" if r["masks"] < 1e6 else "no signal"
    numbers = f"{r['bias']:.2f} | {r['cosine']:.3f} | {r['variance']:.3f} | {masks} | {r['ms_per_mask']:.0f}"
    return f"| {r['estimator']} | {r['design']} | {numbers} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one text in one setting; writes nothing")
    options = parser.parse_args()
    torch.set_num_threads(1)
    result = measure(options.quick)
    print("\n".join(table(result)))
    if not options.quick:
        write_up(FOLDER, result, table(result))
    print(
        json.dumps(
            {f"{r['estimator']}, {r['design']}, {r['p']}": round(float(r["variance"]), 3) for r in result["rows"]}
        )
    )


if __name__ == "__main__":
    main()
