"""Every engine against numeric differentiation, over optimisers, adaptations and architectures."""

from dataclasses import dataclass, replace
from functools import cache

import pytest
import torch
from torch.nn.functional import cosine_similarity

from policylearn.adapt.ridge import probe_loss
from policylearn.config import InnerConfig
from policylearn.inner import steps
from policylearn.inner.masked_diffusion import MaskedDiffusion
from policylearn.inner.masked_lm import MaskedLM
from policylearn.inner.steps import learning_rate
from policylearn.masking import IGNORED
from policylearn.metagrad import walk
from policylearn.metagrad.engines import engine
from policylearn.metagrad.finite_difference import best_move, finite_difference
from policylearn.metagrad.replay import Replay, replay
from policylearn.metagrad.walk import Walk
from policylearn.tasks.classification import Classification

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
    Case("distilbert", settings(**ADAMW), warm=2, adaptation="joint"),
    Case("modernbert", settings(optimizer="sgd", momentum=0.0, schedule="linear"), warm=2, adaptation="finetune"),
    Case("electra", settings(**ADAMW, schedule="cosine", weight_decay=0.1), warm=2),
    Case("deberta-v2", settings(**SGD, weight_decay=0.2), warm=2, adaptation="finetune"),
    Case("bart", settings(**SGD, weight_decay=0.2, clip=0.5), warm=2, adaptation="answers"),
    Case("t5", settings(**ADAMW, weight_decay=0.1), adaptation="answers"),
]
TUNINGS = {"finetune": "tuning", "joint": "joint", "answers": "answering"}
STEPS = 3
EXACT, NEARLY = ("unroll", "replay"), "finite_difference"
DIRECTIONS = 5
"""Along which credits are compared: numeric differentiation takes four trainings for each."""


class Setting:
    """One case made concrete: a problem, its batches, rates and outer loss."""

    def __init__(self, inner, case: Case, **changes) -> None:
        given = {"warm": case.warm, "settings": case.settings, "kind": case.kind, "seeds": case.seeds}
        self.problem = inner(**{**given, **changes})
        self.batches = self.problem.batches(STEPS, size=2)
        self.rates = [learning_rate(case.settings, step, STEPS) for step in range(STEPS)]
        self.outer = self._outer(case)
        # What the probe chooses anew each time is found to few digits only, so it takes a longer step.
        self.eps = 1e-3 if case.adaptation == "probe" else 1e-4

    def _outer(self, case: Case):
        problem = self.problem
        if case.adaptation in TUNINGS:
            tuning = getattr(problem, TUNINGS[case.adaptation])
            return tuning(case.tuning, [0.05, 0.02] if case.tuning is TUNE_SGD else [0.01, 0.02])
        if case.adaptation == "smooth":
            return problem.outer

        def probe(features):
            x = features(problem.ids, problem.real)
            return probe_loss(x[:6], problem.y[:6], x[6:], problem.y[6:].flip(0), Classification(3)).loss

        return probe

    def directions(self, batches) -> torch.Tensor:
        """Random ones of length one, [DIRECTIONS, M]: what is wrong about any credit shows along each."""
        size = (DIRECTIONS, sum(int(batch.mask.sum()) for batch in batches))
        found = torch.randn(size, dtype=torch.float64, generator=torch.Generator().manual_seed(4))
        return found / found.norm(dim=1, keepdim=True)

    def numeric(self, **settings) -> torch.Tensor:
        given = {"outer": self.outer, "eps": self.eps, "directions": self.directions(self.batches)}
        return self.problem.numeric(self.batches, self.rates, **{**given, **settings})

    def along(self, credits: list[torch.Tensor]) -> torch.Tensor:
        """Credits of all masked tokens, along the directions."""
        return self.directions(self.batches[: len(credits)]) @ torch.cat(credits).double()

    def credits(self, name: str, parameters: str = "all", **changes) -> torch.Tensor:
        model, optimizer = self.problem.copies()
        window = replace(self.problem.window(self.batches, self.rates), **changes)
        return self.along(engine(name)(model, optimizer, window, self.outer, parameters))


@cache
def expected(inner, case: Case) -> tuple[Setting, torch.Tensor]:
    """Kept, so whoever asks first must do so under `all_double`, as all do."""
    setting = Setting(inner, case)
    return setting, setting.numeric()


def agrees(name: str, found: torch.Tensor, numeric: torch.Tensor) -> bool:
    """Whether credits are those of numeric differentiation, to what the engine promises."""
    found, numeric = found / numeric.norm(), numeric / numeric.norm()
    error = (found - numeric).norm()
    if name in EXACT:
        return bool(error <= 1e-6)
    return bool(error <= 1e-2 and cosine_similarity(found, numeric, dim=0) >= 0.999)


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("name", [*EXACT, NEARLY])
def test_credits_are_the_derivatives_of_the_outer_loss(inner, name, case, all_double):
    setting, numeric = expected(inner, case)
    assert numeric.norm() > 1e-6
    assert agrees(name, setting.credits(name), numeric)


def wrongly_untied(monkeypatch, inner, case):
    """Input embeddings and vocabulary head of the same values, but two parameters."""
    return Setting(inner, case, tied=False)


def wrong_without_moments(monkeypatch, inner, case):
    """What a step leaves in the optimiser's moments counts as constant."""
    exact = Walk.back_over_update

    def detached(walk, k, gradients):
        found = exact(walk, k, gradients)
        for adjoint in walk.adjoints:
            for moment in adjoint.moments.values():
                moment.zero_()
        return found

    monkeypatch.setattr(Walk, "back_over_update", detached)
    return Setting(inner, case)


def wrong_without_hessian(monkeypatch, inner, case):
    """What a step's gradient owes to the steps before counts as constant."""
    exact = Replay.back_over_gradient

    def first_order(walk, k, directions, further):
        return exact(walk, k, directions, further=False)

    monkeypatch.setattr(Replay, "back_over_gradient", first_order)
    return Setting(inner, case)


def wrong_in_clipping(monkeypatch, inner, case):
    """The factor by which a gradient is clipped counts as constant."""

    def constant_factor(u, gradients, norm, scale):
        for a in u:
            if a is not None:
                a.mul_(scale)

    monkeypatch.setattr(walk, "back_over_clipping", constant_factor)
    return Setting(inner, case)


def wrong_dropout(monkeypatch, inner, case):
    """Another dropout on the way back than on the way there."""
    setting = Setting(inner, case)
    setting.problem.seeds = tuple(seed + 1 for seed in case.seeds)
    return setting


def wrong_without_head(monkeypatch, inner, case):
    """Where the head of fine-tuning starts counts as constant."""
    setting = Setting(inner, case)
    moving = setting.outer.head
    monkeypatch.setattr(
        setting, "outer", replace(setting.outer, head=lambda f: [h.detach() + 0 * h for h in moving(f)])
    )
    return setting


@pytest.mark.parametrize(
    ("wrong", "case"),
    [
        (wrongly_untied, CASES[0]),
        (wrong_without_moments, CASES[0]),
        (wrong_without_moments, CASES[5]),
        (wrong_without_hessian, CASES[0]),
        (wrong_without_hessian, CASES[-1]),
        (wrong_in_clipping, CASES[5]),
        (wrong_dropout, CASES[3]),
        (wrong_without_head, CASES[4]),
    ],
)
def test_credits_that_are_wrong_would_be_found_out(inner, wrong, case, all_double, monkeypatch):
    """By the looser check."""
    right, numeric = expected(inner, case)
    setting = wrong(monkeypatch, inner, case)
    setting.batches = right.batches
    assert not agrees(NEARLY, setting.credits("replay"), numeric)


@pytest.mark.parametrize("name", [*EXACT, NEARLY])
def test_matrices_leave_out_what_the_last_step_does_to_norms_and_biases(inner, name, all_double):
    setting, everything = expected(inner, CASES[0])
    numeric = setting.numeric(frozen_vectors=True)
    found = setting.credits(name, parameters="matrices")
    assert agrees(name, found, numeric)
    assert not agrees(NEARLY, found, everything)


@pytest.mark.parametrize("case", [CASES[0], CASES[2]], ids=str)
@pytest.mark.parametrize("name", [*EXACT, NEARLY])
def test_gradients_accumulate_over_parts_of_a_batch(inner, name, case):
    """Also where a part has no masked token at all; and the parts are really computed apart."""
    setting = Setting(inner, case)
    second = setting.batches[1]
    labels = second.labels.index_fill(0, torch.tensor([0]), IGNORED)
    setting.batches[1] = replace(second, labels=labels)
    expected = setting.credits("unroll")
    model, optimizer = setting.problem.copies()
    sizes = []
    model.register_forward_pre_hook(lambda _, inputs: sizes.append(len(inputs[0])))
    window = replace(setting.problem.window(setting.batches, setting.rates), rows=1)
    assert agrees(name, setting.along(engine(name)(model, optimizer, window, setting.outer, "all")), expected)
    if name != "unroll":  # whose forward is patched, hooks and all
        assert 1 in sizes and 2 not in sizes


OTHERS = [MaskedDiffusion(torch.arange(23) < 2)]
"""Objectives besides `MaskedLM`, on which all other tests are."""


@pytest.mark.parametrize("objective", OTHERS, ids=lambda objective: type(objective).__name__)
@pytest.mark.parametrize("case", [CASES[0], CASES[2]], ids=str)
@pytest.mark.parametrize("name", [*EXACT, NEARLY])
def test_credits_of_another_objective_are_the_derivatives_of_the_outer_loss(inner, name, case, objective):
    """Whole, and accumulated over parts of a batch; and they are not those of the same masks under another loss."""
    setting = Setting(inner, case, objective=objective)
    numeric = setting.numeric()
    assert agrees(name, setting.credits(name), numeric)
    assert agrees(name, setting.credits(name, rows=1), numeric)
    setting.problem.objective = MaskedLM()
    assert not agrees(NEARLY, setting.credits(name), numeric)


ONE_STEP = [
    Case("distilbert", settings(**SGD), 2),
    Case("bert", settings(**SGD), 2, "probe"),
    Case("bart", settings(**SGD), 2, "answers"),
    Case("bert", settings(**SGD), 2, "finetune"),
    Case("roberta", settings(**SGD), 2, "finetune", tuning=TUNE_ADAMW),
]
SMALL_RATE = 1e-6
"""At which a step leaves the outer gradient nearly what it was before: `one_step` takes that for the one after it.
(The error is in proportion to the rate.)"""


def by_one_step(setting: Setting) -> torch.Tensor:
    problem = setting.problem
    window = problem.window(setting.batches[:1], [SMALL_RATE])
    return setting.along(engine("one_step")(problem.model, problem.optimizer, window, setting.outer, "all"))


@cache
def expected_of_one_step(inner, case: Case) -> torch.Tensor:
    setting = Setting(inner, case)
    batches = setting.batches[:1]
    given = {"eps": 1e-4 / SMALL_RATE, "directions": setting.directions(batches)}
    return setting.problem.numeric(batches, [SMALL_RATE], outer=setting.outer, **given)


@pytest.mark.parametrize("case", ONE_STEP, ids=str)
def test_one_step_agrees_as_far_as_it_is_documented_to(inner, case):
    """SGD at a small rate: the step itself is exact, the outer gradient that of before it."""
    assert agrees(NEARLY, by_one_step(Setting(inner, case)), expected_of_one_step(inner, case))


def wrong_at_the_end_of_tuning(monkeypatch, inner, case):
    """The query gradient in the parameters after fine-tuning stands for that in those before."""

    def first_order(walk, k, directions, further):
        return walk.inputs(k)

    monkeypatch.setattr(Replay, "back_over_gradient", first_order)
    return Setting(inner, case)


@pytest.mark.parametrize("wrong", [wrong_without_head, wrong_at_the_end_of_tuning])
@pytest.mark.parametrize("case", ONE_STEP[3:], ids=str)
def test_one_step_that_is_wrong_about_fine_tuning_would_be_found_out(inner, case, wrong, monkeypatch):
    setting = wrong(monkeypatch, inner, case)
    assert not agrees(NEARLY, by_one_step(setting), expected_of_one_step(inner, case))


@pytest.mark.parametrize("case", [CASES[1], CASES[2], CASES[5], CASES[6]], ids=str)
@pytest.mark.parametrize("name", [*EXACT, NEARLY])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["double", "single"])
def test_model_and_optimiser_end_where_plain_steps_take_them(inner, name, case, dtype):
    """As if there had been no fine-tuning, to 10⁻⁶ in single precision; where the steps are torch's own, to the bit."""
    setting = Setting(inner, case, dtype=dtype)
    problem, batches, rates = setting.problem, setting.batches, setting.rates
    model, optimizer = problem.after(batches, rates, [None] * STEPS)
    window = problem.window(batches, rates)
    engine(name)(problem.model, problem.optimizer, window, setting.outer)
    tolerance = (2e-6 if dtype == torch.float32 else 1e-12) if name == "unroll" else 0.0
    assert [group["lr"] for group in problem.optimizer.param_groups] == [rates[-1]] * 2
    assert all(p.requires_grad for p in problem.model.parameters())
    for _ in range(2):
        assert_same(problem.model, problem.optimizer, model, optimizer, tolerance)
        for m, o in ((problem.model, problem.optimizer), (model, optimizer)):  # a further step finds all in order
            problem.step(m, o, batches[0], 0.01)


@pytest.mark.parametrize("name", [*EXACT, NEARLY])
def test_they_do_so_where_steps_pass_through_memory_once(inner, name, monkeypatch):
    """As the optimiser of a model of millions of parameters does."""
    monkeypatch.setattr(steps, "MANY", 0)
    assert Setting(inner, CASES[1]).problem.optimizer.defaults["fused"]
    test_model_and_optimiser_end_where_plain_steps_take_them(inner, name, CASES[1], torch.float32)


def assert_same(model, optimizer, other, others_optimizer, tolerance: float) -> None:
    for p, q in zip(model.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=0, atol=tolerance)
        ours, theirs = optimizer.state.get(p, {}), others_optimizer.state.get(q, {})
        assert ours.keys() == theirs.keys()
        for name in ours:
            torch.testing.assert_close(ours[name], theirs[name], rtol=0, atol=tolerance)


@pytest.mark.parametrize(
    ("kind", "compiled"), [pytest.param("bert", True, marks=pytest.mark.long), ("roberta", False), ("electra", False)]
)
def test_finite_differences_run_where_there_is_no_second_derivative(inner, relative_error, kind, compiled):
    """Fused attention in single precision, and compiled: nearly the credits of `replay` in double precision."""
    case = Case(kind, settings(**ADAMW), warm=2)
    exact = Setting(inner, case).credits("replay")
    setting = Setting(inner, case, dtype=torch.float32)
    model, optimizer = setting.problem.copies()
    model.mlm.set_attn_implementation("sdpa")
    if compiled:
        model.mlm.base_model.compile(backend="aot_eager")
    window = setting.problem.window(setting.batches, setting.rates)
    numbers = {}
    found = finite_difference(model, optimizer, window, setting.outer, "all", note=numbers.update)
    assert relative_error(setting.along(found), exact) < 1e-2
    assert 0 < numbers["difference_error"] < 1e-2
    if compiled:
        with pytest.raises(RuntimeError, match="create_graph"):
            replay(model, optimizer, window, setting.outer, "all")


def test_finite_differences_under_bf16(inner):
    case = Case("bert", settings(**ADAMW), warm=2)
    exact = Setting(inner, case).credits("replay")
    setting = Setting(inner, case, dtype=torch.float32)
    setting.problem.model.bf16 = True
    numbers = {}
    model, optimizer = setting.problem.copies()
    window = setting.problem.window(setting.batches, setting.rates)
    found = finite_difference(model, optimizer, window, setting.outer, "all", note=numbers.update)
    assert cosine_similarity(setting.along(found), exact, dim=0) > 0.95
    assert 0.001 < numbers["difference_error"] < 0.5


def test_the_step_of_a_difference_is_near_its_best(inner, relative_error):
    """In single precision a tenth and ten times of it are both worse."""
    case = Case("bert", settings(**ADAMW), warm=2)
    exact, setting = Setting(inner, case).credits("replay"), Setting(inner, case, dtype=torch.float32)

    def error(factor: float) -> float:
        model, optimizer = setting.problem.copies()
        window = setting.problem.window(setting.batches, setting.rates)
        nats = factor * best_move(model)
        found = finite_difference(model, optimizer, window, setting.outer, "all", nats=nats)
        return relative_error(setting.along(found), exact)

    assert error(1.0) < min(error(0.03), error(30.0))


def test_optimisers_it_cannot_go_back_over_are_refused(inner):
    problem = inner()
    window = problem.window(problem.batches(1), [0.01])
    for optimizer, complaint in (
        (torch.optim.RMSprop(problem.model.parameters()), "RMSprop: use AdamW or SGD"),
        (torch.optim.AdamW(problem.model.parameters(), amsgrad=True), "AdamW with amsgrad"),
        (torch.optim.SGD(problem.model.parameters(), momentum=0.9, nesterov=True), "SGD with nesterov"),
    ):
        with pytest.raises(ValueError, match=complaint):
            replay(problem.model, optimizer, window, problem.outer)
