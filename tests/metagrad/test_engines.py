"""Every engine against numeric differentiation, over optimisers, adaptations and architectures."""

from dataclasses import dataclass
from functools import cache

import pytest
import torch
from torch.nn.functional import cosine_similarity

from policylearn.config import InnerConfig
from policylearn.inner.mlm import learning_rate
from policylearn.inner.probe import outer_loss
from policylearn.metagrad.engines import engine

ADAMW = {"eps": 1e-3, "betas": (0.9, 0.98)}  # so large an eps makes the first steps smooth
SGD = {"optimizer": "sgd", "momentum": 0.8}
TUNE_SGD, TUNE_ADAMW = InnerConfig(**SGD, weight_decay=0.0), InnerConfig(**ADAMW, weight_decay=0.0)


@dataclass(frozen=True)
class Case:
    kind: str
    settings: InnerConfig
    warm: int = 0
    adaptation: str = "smooth"
    seeds: tuple[int, ...] | None = None
    tuning: InnerConfig = TUNE_SGD

    def __str__(self) -> str:
        state = f"warm{self.warm}" if self.warm else "fresh"
        return f"{self.kind}-{self.settings.optimizer}-{state}-{self.adaptation}"


def settings(**fields) -> InnerConfig:
    return InnerConfig(**{"learning_rate": 0.03, "warmup": 0.4, **fields})


CASES = [
    Case("bert", settings(**ADAMW, weight_decay=0.1)),
    Case("bert", settings(**ADAMW, schedule="linear", clip=0.5), warm=3, adaptation="probe"),
    Case("bert", settings(**SGD, weight_decay=0.2, clip=0.5), warm=2, adaptation="finetune", tuning=TUNE_ADAMW),
    Case("bert", settings(**ADAMW), warm=2, seeds=(11, 7, 5)),
    Case("roberta", settings(**ADAMW, weight_decay=0.1, clip=0.5), adaptation="finetune"),
    Case("distilbert", settings(**SGD, weight_decay=0.2, clip=0.5, schedule="cosine")),
    Case("modernbert", settings(optimizer="sgd", momentum=0.0, schedule="linear"), warm=2, adaptation="finetune"),
    Case("electra", settings(**ADAMW, schedule="cosine", weight_decay=0.1), warm=2),
    Case("deberta-v2", settings(**SGD, weight_decay=0.2), warm=2, adaptation="finetune"),
]
STEPS = 3
EXACT, NEARLY = ("unroll", "replay"), "finite_difference"


class Setting:
    """One case made concrete: a problem, its batches, rates and outer loss."""

    def __init__(self, inner, case: Case, **changes) -> None:
        given = {"warm": case.warm, "settings": case.settings, "kind": case.kind, "seeds": case.seeds}
        self.problem = inner(**{**given, **changes})
        self.batches = self.problem.batches(STEPS, size=1)
        self.rates = [learning_rate(case.settings, step, STEPS) for step in range(STEPS)]
        self.outer = self._outer(case)

    def _outer(self, case: Case):
        problem = self.problem
        if case.adaptation == "finetune":
            return problem.tuning(case.tuning, [0.05, 0.02] if case.tuning is TUNE_SGD else [0.01, 0.02])
        if case.adaptation == "smooth":
            return problem.outer

        def probe(features):
            x = features(problem.ids, problem.real)
            return outer_loss(x[:6], problem.y[:6], x[6:], problem.y[6:].flip(0), 3).loss

        return probe

    def numeric(self) -> torch.Tensor:
        # What the probe chooses anew each time is found to few digits only, so it takes a longer step.
        eps = 1e-5 if self.outer == self.problem.outer else 1e-3
        return self.problem.numeric(self.batches, self.rates, outer=self.outer, eps=eps)

    def credits(self, name: str, attention: str = "eager") -> torch.Tensor:
        model, optimizer = self.problem.copies()
        model.mlm.set_attn_implementation(attention)
        window = self.problem.window(self.batches, self.rates)
        return torch.cat(engine(name)(model, optimizer, window, self.outer, parameters="all"))


@cache
def expected(inner, case: Case) -> tuple[Setting, torch.Tensor]:
    setting = Setting(inner, case)
    return setting, setting.numeric()


def agrees(name: str, found: torch.Tensor, numeric: torch.Tensor) -> bool:
    """Whether credits are those of numeric differentiation, to what the engine promises."""
    error = (found - numeric).norm() / numeric.norm()
    if name in EXACT:
        return bool(error <= 1e-6)
    return bool(error <= 1e-2 and cosine_similarity(found, numeric, dim=0) >= 0.999)


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("name", [*EXACT, NEARLY])
def test_credits_are_the_derivatives_of_the_outer_loss(inner, name, case):
    setting, numeric = expected(inner, case)
    assert numeric.norm() > 1e-4
    assert agrees(name, setting.credits(name), numeric)
