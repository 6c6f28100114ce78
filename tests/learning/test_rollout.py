import copy
import json
import math
from itertools import islice

import pytest
import torch
from torch.distributions import Bernoulli, kl_divergence
from torch.nn.utils import parameters_to_vector

from policylearn.adapt.outer import outer_problem
from policylearn.arms.arms import arm_policy, initial_policy
from policylearn.commands.train import train
from policylearn.inner.batches import masked_batches
from policylearn.inner.masked_lm import MaskedLM
from policylearn.inner.steps import learning_rate, make_optimizer, plain_step
from policylearn.inner.window import Window
from policylearn.learning.estimators import by_credit, compare_trainings
from policylearn.learning.rollout import rollout, train_once
from policylearn.learning.windows import check_windows, opens_window
from policylearn.metagrad import one_step, unroll
from policylearn.metagrad.estimators import mask_room
from policylearn.metagrad.replay import replay
from policylearn.problems.of_config import problem_of
from policylearn.registry.known import ENGINES as ENGINES_BY_NAME

ENGINES = {
    "replay": (),
    "unroll": ("inner.engine=unroll",),
    "window of two": ("inner.window=2", "inner.every=3"),
    "one_step": ("inner.engine=one_step", "inner.credit_batches=3"),
    "context": ("policy.network=context", "policy.hidden=8"),
    "explore": ("masking.design=explore", "masking.draws=3"),
    "independent": ("masking.design=independent",),
    "relaxed": ("learn.estimator=relaxed", "inner.engine=replay", "inner.window=2"),
    "relaxed, one_step": ("learn.estimator=relaxed", "inner.engine=one_step", "inner.credit_batches=3"),
    "relaxed, in parts": ("learn.estimator=relaxed", "inner.micro_batch=3"),
    "relaxed, finite_difference": ("learn.estimator=relaxed", "inner.engine=finite_difference"),
    "score_function, finetune": ("learn.estimator=score_function", "learn.samples=2", "outer.adaptation=finetune"),
    "score_function": ("learn.estimator=score_function", "learn.samples=2"),
    "score_function, explore": ("learn.estimator=score_function", "masking.design=explore", "inner.steps=14"),
    "finite_difference": ("inner.engine=finite_difference", "inner.window=2", "outer.adaptation=finetune"),
    "weight_mask": ("inner.engine=replay", "outer.adaptation=weight_mask"),
    "finite_difference, weight_mask": ("inner.engine=finite_difference", "outer.adaptation=weight_mask"),
    "one_step, weight_mask": ("inner.engine=one_step", "outer.adaptation=weight_mask", "inner.credit_batches=3"),
    "sgd": ("inner.optimizer=sgd", "inner.clip=0.5", "inner.schedule=linear", "inner.engine=replay"),
}


LONGER = ("relaxed, one_step", "score_function, explore", "score_function, finetune", "one_step, weight_mask")


@pytest.fixture(
    scope="module", params=[pytest.param(name, marks=[pytest.mark.long] * (name in LONGER)) for name in ENGINES]
)
def problem(request, tiny):
    return problem_of(tiny(*ENGINES[request.param]))


@pytest.fixture(scope="module")
def rolled(problem):
    """Of the policy as it starts, and seed 5."""
    return rollout(problem, initial_policy(problem), 5)


def same(a, b) -> bool:
    if a.gradient.keys() != b.gradient.keys() or a.metrics != b.metrics:
        return False
    return all(torch.equal(a.gradient[name], b.gradient[name]) for name in a.gradient)


def test_a_rollout_is_a_pure_function_of_policy_config_and_seed(problem, rolled):
    policy = initial_policy(problem)
    phi = {name: value.clone() for name, value in policy.learned().items()}
    torch.manual_seed(99)  # nothing global matters
    other = rollout(problem, policy, 6)
    again = rollout(problem_of(problem.config), initial_policy(problem), 5)
    assert same(rolled, again)
    assert not same(rolled, other)
    assert all(torch.equal(value, phi[name]) for name, value in policy.learned().items())
    assert all(p.grad is None for p in policy.parameters())


def test_gradient_and_metrics_are_what_they_claim(problem, rolled):
    policy, result = initial_policy(problem), rolled
    assert result.gradient.keys() == policy.learned().keys()
    assert all(result.gradient[name].shape == value.shape for name, value in policy.learned().items())
    assert all(torch.isfinite(g).all() for g in result.gradient.values())
    assert sum(g.abs().sum() for g in result.gradient.values()) > 0
    assert {
        "dev",
        "mlm_loss",
        "outer_loss",
        "outer_accuracy",
        "entropy",
        "kl",
        "credited_batches",
    } <= result.metrics.keys()
    assert all(math.isfinite(value) for value in result.metrics.values())
    assert result.metrics["kl"] == pytest.approx(0, abs=1e-12)  # the policy is still its prior
    assert 0 <= result.metrics["dev"] <= 1


def test_without_differentiation_there_is_no_gradient_and_the_same_end(problem, rolled):
    """The windows of a rollout are ordinary steps of the model."""
    policy = initial_policy(problem)
    plain, full = rollout(problem, policy, 5, differentiate=False), rolled
    assert plain.gradient == {}
    assert plain.metrics.keys() == {"dev", "mlm_loss", "inner_steps"}
    assert full.gradient.keys() == policy.learned().keys()
    if problem.config.inner.engine == "unroll":  # one_step looks at further batches of the stream
        models = [learn(problem, policy, 5)[0].model for learn in (train_once, by_credit)]
        ends = [parameters_to_vector(model.parameters()) for model in (*models, problem.fresh_model(5))]
        assert (ends[0] - ends[1]).norm() < 1e-3 * (ends[0] - ends[2]).norm()  # of the way they have come


def test_another_policy_gives_another_rollout(tiny_problem):
    policy = initial_policy(tiny_problem)
    before = rollout(tiny_problem, policy, 5)
    policy.load_learned({name: value + torch.randn_like(value) for name, value in policy.learned().items()})
    after = rollout(tiny_problem, policy, 5)
    assert not same(before, after)
    assert after.metrics["kl"] > 0


def test_windows_open_where_the_config_says(tiny):
    config = tiny("inner.steps=12", "inner.start=0.25", "inner.every=4", "inner.window=2").inner
    assert [step for step in range(12) if opens_window(config, step)] == [3, 7]  # one at 11 would run over the end
    assert not opens_window(tiny("inner.start=0.0").inner, 0)  # a fresh optimiser has no moments


@pytest.mark.parametrize("engine", ["unroll", "one_step"])
def test_a_rollout_without_windows_has_a_gradient_of_zero(tiny, engine):
    problem = problem_of(tiny("inner.steps=1", f"inner.engine={engine}"))
    result = rollout(problem, initial_policy(problem), 5)
    assert all(g.abs().sum().item() == 0 for g in result.gradient.values())
    assert "outer_loss" not in result.metrics


@pytest.mark.parametrize("engine", ["unroll", "one_step"])
def test_a_policy_with_nothing_to_learn_passes_through(tiny, engine):
    problem = problem_of(tiny(f"inner.engine={engine}"))
    for arm in ("random", "difference", "oracle"):
        result = rollout(problem, arm_policy(problem, arm), 5)
        assert result.gradient == {}
        assert math.isfinite(result.metrics["outer_loss"])


@pytest.mark.parametrize("engine", ["unroll", "one_step"])
def test_credits_of_exactly_zero_leave_only_the_pull_to_the_prior(tiny, engine, monkeypatch):
    def nothing(model, optimizer, window, *arguments):
        return [torch.zeros(int(batch.mask.sum())) for batch in window.batches]

    monkeypatch.setattr(unroll, "unroll", nothing)
    monkeypatch.setattr("policylearn.learning.windows.one_step", nothing)
    assert one_step.one_step is not nothing
    for kl, pulled in ((0.0, False), (0.5, True)):
        problem = problem_of(tiny(f"inner.engine={engine}", f"learn.kl={kl}", "inner.credit_batches=2"))
        policy = initial_policy(problem)
        moved = {"network.logits": torch.linspace(-1, 1, len(problem.tokenizer))}
        policy.load_learned(policy.learned() | moved)
        gradient = rollout(problem, policy, 5).gradient["network.logits"]
        assert (gradient.abs().sum() > 0) == pulled


def test_a_window_in_which_nothing_is_masked_does_no_harm(tiny):
    """With one coin per token, some batches have no masked token at all."""
    settings = ("masking.design=independent", "masking.rate=0.02", "inner.batch_size=1", "inner.steps=30")
    problem = problem_of(tiny(*settings, "inner.start=0.05", "inner.every=1"))
    policy = initial_policy(problem)
    sizes = [int(batch.mask.sum()) for batch in islice(masked_batches(problem, policy, 5, MaskedLM()), 30)]
    assert 0 in sizes
    result = rollout(problem, policy, 5)
    assert all(math.isfinite(value) for value in result.metrics.values())


@pytest.mark.parametrize("short", [("inner.steps=3", "inner.window=3"), ("inner.steps=7", "inner.start=0.8")])
def test_a_rollout_too_short_for_a_window_is_refused(tiny, short, tmp_path, quiet):
    with pytest.raises(ValueError, match=r"inner\.window = 3 after the first .* does not fit: raise inner\.steps"):
        train(tiny(*short, "inner.window=3", "inner.every=3"), tmp_path / "run", quiet)
    check_windows(tiny("inner.steps=4", "inner.start=0", "inner.window=3", "inner.every=3"))
    check_windows(tiny(*short, "learn.rounds=0"))


def test_a_learning_rate_far_too_high_is_an_error_and_not_a_result(tiny):
    problem = problem_of(tiny("inner.learning_rate=1e30"))
    policy = initial_policy(problem)
    for differentiate in (True, False):
        with pytest.raises(FloatingPointError, match=r"lower inner\.learning_rate"):
            rollout(problem, policy, 5, differentiate)


def test_batches_follow_the_seed_and_cover_an_epoch(tiny_problem):
    policy, size = initial_policy(tiny_problem), tiny_problem.config.inner.batch_size
    epoch = len(tiny_problem.domain) // size

    def batches(seed: int):
        return list(islice(masked_batches(tiny_problem, copy.deepcopy(policy), seed, MaskedLM()), 2 * epoch))

    first, again, other = batches(1), batches(1), batches(2)
    assert all(torch.equal(a.shown, b.shown) for a, b in zip(first, again, strict=True))
    assert not all(torch.equal(a.original, b.original) for a, b in zip(first, other, strict=True))
    texts = [row.tolist() for row in tiny_problem.domain]
    for half in (first[:epoch], first[epoch:]):
        seen = [ids[real].tolist() for batch in half for ids, real in zip(batch.original, batch.real, strict=True)]
        assert sorted(seen) == sorted(texts)


def test_masks_of_a_text_differ_between_epochs(tiny_problem):
    policy, epoch = initial_policy(tiny_problem), len(tiny_problem.domain) // tiny_problem.config.inner.batch_size
    masks: dict[tuple, list] = {}
    for batch in islice(masked_batches(tiny_problem, policy, 3, MaskedLM()), 3 * epoch):
        for ids, mask in zip(batch.original.tolist(), batch.mask.tolist(), strict=True):
            masks.setdefault(tuple(ids), []).append(mask)
    assert sum(len({str(m) for m in seen}) > 1 for seen in masks.values()) > len(masks) / 2


def test_every_arm_masks_as_many_tokens(tiny_problem):
    counts = set()
    for arm in ("random", "difference", "oracle"):
        batches = islice(masked_batches(tiny_problem, arm_policy(tiny_problem, arm), 3, MaskedLM()), 12)
        counts.add(sum(int(batch.mask.sum()) for batch in batches))
    assert len(counts) == 1


@pytest.mark.long
def test_amlm_follows_the_mistakes_of_the_model_in_training(tiny):
    settings = ("policy.prior={amlm=1.0}", "inner.steps=40", "masking.rate=0.3")
    early, late = (problem_of(tiny(*settings, f"scores.amlm.every={every}")) for every in (5, 1000))
    policy = initial_policy(early)
    before = {name: value.clone() for name, value in policy.state_dict().items()}
    first, again, never = (rollout(problem, policy, 0) for problem in (early, early, late))
    assert same(first, again) and not same(first, never)
    assert all(torch.equal(before[name], value) for name, value in policy.state_dict().items())
    # Weights that nobody updates are those of random masks.
    random = problem_of(tiny(*settings[1:], "policy.prior={}"))
    assert rollout(random, initial_policy(random), 0).metrics == never.metrics


@pytest.mark.parametrize("unit", ["word", "span", "collocation"])
def test_a_policy_learns_with_every_unit(tiny, unit):
    problem = problem_of(tiny(f"masking.unit={unit}", "scores.pmi.count=2", "masking.span_mean=2.0"))
    policy = initial_policy(problem)
    result = rollout(problem, policy, 0)
    gradient = result.gradient["network.logits"]
    assert torch.isfinite(gradient).all() and int((gradient != 0).sum()) > 10
    assert same(result, rollout(problem_of(problem.config), initial_policy(problem), 0))


def test_scores_of_single_occurrences_reach_the_policy_from_a_column_of_the_corpus(tiny, tiny_problem, tmp_path):
    """The same word is an entity in some places only: there it is masked."""
    texts = tiny_problem.tokenizer.batch_decode(
        [tiny_problem.domain[i] for i in range(len(tiny_problem.domain))], skip_special_tokens=True
    )
    tags = [[("B" if i % 3 == 0 else "O") for i, _ in enumerate(text.split())] for text in texts]
    rows = (json.dumps({"text": text, "tags": tag}) for text, tag in zip(texts, tags, strict=True))
    (tmp_path / "tagged.jsonl").write_text("\n".join(rows), encoding="utf-8")
    corpus = (f"domain.path='{tmp_path}/tagged.jsonl'", "scores.entity.column=tags", "policy.prior={entity=30.0}")
    problem = problem_of(tiny(*corpus, "masking.rate=0.2", "evaluate.arms=['random']"))
    policy = initial_policy(problem)
    batch = next(masked_batches(problem, policy, 0, MaskedLM()))
    assert torch.equal(
        batch.columns["entity"][:, 1:-1][:, ::3], torch.ones_like(batch.columns["entity"][:, 1:-1][:, ::3])
    )
    assert (batch.columns["entity"][batch.mask] == 1).all() and int(batch.mask.sum()) >= 8
    assert sum(g.abs().sum() for g in rollout(problem, policy, 0).gradient.values()) > 0


@pytest.mark.parametrize("design", ["independent", "systematic", "explore"])
def test_the_score_function_compares_trainings_that_differ_in_their_masks_alone(tiny, design):
    settings = ("learn.estimator=score_function", "learn.samples=2", f"masking.design={design}", "learn.kl=0.0")
    problem = problem_of(tiny(*settings, "inner.steps=25"))  # two and a half epochs
    policy = initial_policy(problem).double()
    policy.load_learned(policy.learned() | {"network.logits": torch.linspace(-1, 1, len(problem.tokenizer))})
    first, second = compare_trainings(problem, policy, 5)
    epochs = [
        masked_batches(problem, policy, 5, MaskedLM(), mask_seed=t.seed + (i << 32))
        for i, t in enumerate((first, second))
    ]
    one, other = (list(islice(batches, 25)) for batches in epochs)
    assert all(torch.equal(a.original, b.original) for a, b in zip(one, other, strict=True))
    assert not any(torch.equal(a.mask, b.mask) for a, b in zip(one[:3], other[:3], strict=True))
    # The gradient is half the difference of the losses times that of log P(masks), by numeric differentiation.
    losses = [t.notes["outer_loss"][-1] for t in (first, second)]
    gradient = policy.network.logits.grad / 2
    direction = torch.randn(len(gradient), dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    slopes = [slope_of_log_probability(policy, batches, direction) for batches in (one, other)]
    expected = (losses[0] - losses[1]) * (slopes[0] - slopes[1]) / 2
    assert (gradient @ direction).item() == pytest.approx(expected, rel=1e-3)


def slope_of_log_probability(policy, batches, direction, by: float = 1e-7) -> float:
    """Of all masks of a training together: what the intervals behind masks of the same keys have in common."""
    logits = policy.learned()["network.logits"].clone()
    found = []
    for sign in (1, -1):
        policy.load_learned(policy.learned() | {"network.logits": logits + sign * by * direction})
        common: dict[int, torch.Tensor] = {}
        for batch in batches:
            rooms = mask_room(policy.reconsider(batch)[0].detach(), batch, policy.masking)
            for key, row in zip(batch.keys.tolist(), rooms, strict=True):
                known = common.get(key)
                common[key] = row if known is None else torch.minimum(known, row)
        found.append(sum(row.sum(1).log().sum().item() for row in common.values()))
    policy.load_learned(policy.learned() | {"network.logits": logits})
    return (found[0] - found[1]) / (2 * by)


def test_inner_steps_count_every_update_of_every_model(tiny):
    problem = problem_of(tiny("inner.engine=one_step", "inner.credit_batches=3"))
    policy = initial_policy(problem)
    metrics = rollout(problem, policy, 5).metrics
    assert (metrics["inner_steps"], metrics["credited_batches"]) == (7, 6)
    problem = problem_of(tiny("learn.estimator=score_function", "learn.samples=3"))
    metrics = rollout(problem, policy, 5).metrics
    assert (metrics["inner_steps"], metrics["credited_batches"]) == (21, 0)
    assert rollout(problem, policy, 5, differentiate=False).metrics["inner_steps"] == 7


def test_relaxed_and_credit_take_the_same_steps_and_say_different_things(tiny):
    found = {}
    for estimator in ("credit", "relaxed"):
        problem = problem_of(tiny(f"learn.estimator={estimator}", "inner.engine=replay"))
        found[estimator] = rollout(problem, initial_policy(problem), 5)
    assert found["credit"].metrics == pytest.approx(found["relaxed"].metrics, rel=1e-4, abs=1e-6)
    a, b = (found[name].gradient["network.logits"] for name in found)
    assert 0.1 < torch.cosine_similarity(a, b, dim=0) < 0.999


@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        (lambda found: [credit[:1] for credit in found], ValueError, r"credits \[1\], \[1\] for x of \[\d\d+\], \["),
        (lambda found: found[:1], ValueError, r"credits \[\d+\] for x of \[\d+\], \[\d+\]: have it give one for"),
        (lambda found: None, ValueError, "gave a NoneType: have it give a list of tensors"),
        (
            lambda found: [credit.tolist() for credit in found],
            ValueError,
            "gave a list: have it give a list of tensors",
        ),
        (
            lambda found: [credit * math.nan for credit in found],
            FloatingPointError,
            "are NaN or infinite: lower inner.w",
        ),
    ],
)
@pytest.mark.parametrize("estimator", ["credit", "relaxed"])
def test_an_engine_of_others_that_gives_no_credits_is_named(tiny, change, error, said, estimator):
    ENGINES_BY_NAME.register("theirs")(lambda *args, **settings: change(replay(*args, **settings)))
    problem = problem_of(tiny("inner.engine=theirs", "inner.window=2", f"learn.estimator={estimator}"))
    with pytest.raises(error, match=f"engine 'theirs' .*{said}" if estimator == "credit" else "engine 'theirs' "):
        rollout(problem, initial_policy(problem), 5)


def test_the_gradient_is_that_of_a_rollout_by_hand(tiny):
    """Steps, windows, credits, pull to the prior and means, each in the plainest way there is."""
    given = ("inner.steps=9", "inner.window=2", "inner.clip=0.5", "inner.schedule=linear", "inner.engine=replay")
    problem = problem_of(tiny(*given, "inner.micro_batch=3", "learn.kl=0.5", "outer.parameters=layers"))
    policy, inner, seed, nothing = initial_policy(problem).double(), problem.config.inner, 5, lambda **_: None
    policy.load_learned(policy.learned() | {"network.logits": torch.linspace(-1, 1, len(problem.tokenizer)).double()})
    found = rollout(problem, policy, seed).gradient["network.logits"]
    model, batches = problem.fresh_model(seed), masked_batches(problem, policy, seed, MaskedLM())
    optimizer = make_optimizer(model, inner)
    rates, step, windows = [learning_rate(inner, step, 9) for step in range(9)], 0, [4, 7]
    while step < 9:
        if step not in windows:
            plain_step(model, optimizer, MaskedLM(), next(batches), rates[step], clip=0.5)
            step += 1
            continue
        pair, outer = [next(batches), next(batches)], outer_problem(problem, [seed, step], nothing)
        window = Window(pair, rates[step : step + 2], MaskedLM(), 0.5)
        credits = unroll.unroll(model, optimizer, window, outer, "layers")
        standard = (torch.cat(credits) - torch.cat(credits).mean()) / torch.cat(credits).std(correction=0)
        for batch, credit in zip(pair, standard.split([len(part) for part in credits]), strict=True):
            text = batch.original, batch.real
            p, prior, eligible = policy.probabilities(*text), policy.prior_probabilities(*text), policy.eligible(*text)
            worth = (credit * p[batch.mask] / p[batch.mask].detach()).sum() / p.sum().detach()
            pull = kl_divergence(Bernoulli(p[eligible]), Bernoulli(prior[eligible].detach())).mean()
            ((worth + 0.5 * pull) / 2 / len(windows)).backward()
        step += 2
    torch.testing.assert_close(found, policy.network.logits.grad, rtol=1e-3, atol=1e-6)
