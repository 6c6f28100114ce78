import json
from dataclasses import replace
from itertools import combinations, islice

import pytest
import torch
from torch.nn.utils import parameters_to_vector
from transformers import BertConfig, BertForMaskedLM

from policylearn.arms.arms import arm_policy, check_arms, initial_policy, other_budgets
from policylearn.config import Config, changes, load_config, resolved_json
from policylearn.evaluation.identity import evidence_key
from policylearn.evaluation.pretraining import pretrain
from policylearn.inner.batches import masked_batches
from policylearn.inner.masked_diffusion import MaskedDiffusion
from policylearn.inner.masked_lm import MaskedLM
from policylearn.inner.objectives import objective_of
from policylearn.inner.steps import make_optimizer, plain_step
from policylearn.inner.trajectory import Trajectory
from policylearn.learning.estimators import by_credit
from policylearn.learning.rollout import rollout, train_once
from policylearn.masking import whole_rates
from policylearn.models.model import InnerModel
from policylearn.policy.policy import mask_tokens
from policylearn.problems.of_config import problem_of
from policylearn.registry.known import OBJECTIVES
from policylearn.runs.provenance import provenance

DIFFUSION = "inner.objective=masked_diffusion"


@pytest.fixture(scope="module")
def problem(tiny):
    return problem_of(tiny(DIFFUSION))


@pytest.fixture(scope="module")
def texts(tokenizer):
    words = tokenizer.convert_ids_to_tokens(list(range(5, len(tokenizer))))
    encoded = tokenizer([" ".join(words[k : k + n]) for k, n in enumerate((1, 3, 8, 20, 2))], padding=True)
    return torch.tensor(encoded["input_ids"]), torch.tensor(encoded["attention_mask"]).bool()


@pytest.fixture(scope="module")
def diffusion(make_policy):
    return MaskedDiffusion(make_policy().field.special)


def test_masked_lm_draws_what_mask_tokens_does(make_policy, texts):
    found, known = (draw(make_policy(), *texts, 7, 3, progress=0.5) for draw in (MaskedLM().draw, mask_tokens))
    assert torch.equal(found.shown, known.shown) and torch.equal(found.labels, known.labels)


@pytest.mark.parametrize("unit", ["token", "word", "span"])
@pytest.mark.parametrize("p_max", [0.5, 1.0])
def test_a_row_is_masked_at_its_rate_whatever_the_policy(make_policy, texts, diffusion, unit, p_max):
    policy = make_policy("context", learned=True, p_max=p_max, masking={"unit": unit}, hidden=8, kernel=3)
    eligible, seen = policy.eligible(*texts), set()
    for epoch in range(40):
        batch = diffusion.draw(policy, *texts, 0, epoch)
        p, prior = policy.reconsider(batch)
        budget = batch.rate[:, 0] * eligible.sum(1)
        torch.testing.assert_close(p.sum(1), budget)
        torch.testing.assert_close(prior.sum(1), budget)
        assert torch.equal(batch.shown, torch.where(batch.mask, 4, texts[0]))  # [MASK], never a random token
        assert not (batch.mask & ~eligible).any() and (p <= 1).all()
        if unit == "token":
            assert torch.equal(batch.mask.sum(1).double(), budget.round())
        seen |= {(row, round(float(b))) for row, b in enumerate(budget)}
    assert {size for row, size in seen if row == 1} == {1, 2, 3}


def test_parts_of_a_batch_keep_their_rates(make_policy, texts, diffusion):
    batch = diffusion.draw(make_policy(), *texts, 0, 0)
    assert torch.equal(batch.rows(slice(1, 3)).rate, batch.rate[1:3])


def test_rates_are_stratified_keyed_and_uniform():
    keys = torch.arange(64) * 977 + 5
    rates = whole_rates(torch.full((64,), 16), keys)
    assert torch.equal(rates.flatten().mul(16).long().bincount(), torch.tensor([0] + [4] * 16))
    assert torch.equal(rates, whole_rates(torch.full((64,), 16), keys))
    order = torch.randperm(64, generator=torch.Generator().manual_seed(0))
    assert torch.equal(rates[order], whole_rates(torch.full((64,), 16), keys[order]))
    alone = torch.cat([whole_rates(torch.tensor([4]), torch.tensor([key])) for key in range(2000)]).flatten()
    assert [float((alone == size / 4).float().mean()) for size in range(1, 5)] == pytest.approx([0.25] * 4, abs=0.04)


def tiny_model(size: int) -> InnerModel:
    torch.manual_seed(0)
    shape = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    return InnerModel(BertForMaskedLM(BertConfig(vocab_size=size, initializer_range=0.5, **shape)).eval()).double()


@pytest.mark.parametrize("design", ["systematic", "independent"])
def test_weights_make_the_loss_unbiased(make_policy, texts, diffusion, tokenizer, design):
    """The bound of a text by all its masks, 1/n Σ_l E[n / l Σ CE] / n, is what the loss is in the mean."""
    policy = make_policy("none", (), masking={"design": design})
    ids, real = (x[1:2, :5].contiguous() for x in texts)
    (places,) = policy.eligible(ids, real)[0].nonzero(as_tuple=True)
    model, n, draws = tiny_model(len(tokenizer)), len(places), 6000
    exact = 0.0
    for size in range(1, n + 1):
        chosen = list(combinations(places.tolist(), size))
        for masked in chosen:
            seen, labels = ids.clone(), torch.full_like(ids, -100)
            seen[0, list(masked)], labels[0, list(masked)] = 4, ids[0, list(masked)]
            exact += model(seen, real, labels=labels).sum().item() / size / len(chosen) / n
    many = ids.expand(draws, -1).contiguous(), real.expand(draws, -1).contiguous()
    batch = diffusion.draw(policy, *many, 0, torch.arange(draws))
    with torch.no_grad():
        x = diffusion.inputs(batch, torch.zeros(1, dtype=torch.float64))
        rows = [float(diffusion(model, part, w)) for part, w, _ in islice(diffusion.parts(batch, x, 1), 1500)]
        found = float(diffusion(model, batch, x))
        unweighted = float(diffusion(model, replace(batch, rate=torch.ones_like(batch.rate)), x))
    error = torch.tensor(rows).std().item() / draws**0.5
    assert abs(found - exact) < 4 * error
    assert abs(unweighted - exact) > 8 * error


@pytest.mark.parametrize(
    ("name", "fewest"),
    [(name, 4 if name == "masked_diffusion" else 2) for name in OBJECTIVES.members if name != "masked_patches"],
)
def test_arms_mask_equally_many_tokens_of_every_text(tiny, name, fewest):
    problem = problem_of(tiny(f"inner.objective={name}"))
    objective = objective_of(problem)
    counts = []
    for arm in ("random", "difference", "oracle"):
        batches = islice(masked_batches(problem, arm_policy(problem, arm), 3, objective), 12)
        counts.append(torch.stack([batch.mask.sum(1) for batch in batches]))
    assert torch.equal(counts[0], counts[1]) and torch.equal(counts[0], counts[2])
    assert len(counts[0].unique()) >= fewest
    assert not other_budgets(problem.config)
    trained = [
        pretrain(problem, problem.fresh_model(0), arm_policy(problem, arm), 0, 4) for arm in ("random", "difference")
    ]
    assert trained[0].masked_tokens == trained[1].masked_tokens and trained[0].losses != trained[1].losses


@pytest.mark.parametrize(
    "settings",
    [
        ("inner.engine=replay",),
        ("inner.engine=replay", "inner.micro_batch=3", "masking.unit=word"),
        ("inner.engine=one_step", "inner.window=1", "inner.credit_batches=3"),
        ("inner.engine=finite_difference", "outer.adaptation=finetune"),
        ("learn.estimator=score_function", "learn.samples=2"),
    ],
    ids=str,
)
def test_a_rollout_learns_from_the_loss_that_it_trains_on(tiny, settings):
    problem = problem_of(tiny(DIFFUSION, *settings))
    policy = initial_policy(problem)
    found = rollout(problem, policy, 5)
    assert all(torch.isfinite(g).all() for g in found.gradient.values())
    assert sum(g.abs().sum() for g in found.gradient.values()) > 0
    other = problem_of(tiny(*settings))
    assert found.metrics["mlm_loss"] != rollout(other, initial_policy(other), 5).metrics["mlm_loss"]


def test_windows_are_steps_on_the_objective_and_so_are_ordinary_ones(problem):
    """One trajectory through windows, one without: the same end, which is not that of the MLM loss on these masks."""
    policy = initial_policy(problem)
    (through,), (plain,) = (train(problem, policy, 5) for train in (by_credit, train_once))
    other = Trajectory.start(problem, policy, 5)
    optimizer = make_optimizer(other.model, problem.config.inner)
    for batch in islice(other.batches, problem.config.inner.steps):
        plain_step(other.model, optimizer, MaskedLM(), batch, other.rate)
        other.step += 1
    ends = [parameters_to_vector(model.parameters()) for model in (through.model, plain.model, other.model)]
    assert torch.equal(ends[0], ends[1]) and not torch.allclose(ends[0], ends[2], atol=1e-4)


@pytest.mark.parametrize(
    ("override", "other"),
    [
        ('masking.rate={kind="linear", rates=[0.3, 0.15]}', r"masking\.rate"),
        ('masking.rate={kind="uniform", low=0.1, high=0.2}', r"masking\.rate"),
        ("masking.design=explore", r"masking\.design"),
        ("learn.estimator=relaxed", r"learn\.estimator"),
        ("policy.prior={amlm=1.0}", "amlm"),
        ("evaluate.arms=[random,amlm]", "amlm"),
    ],
)
def test_what_does_not_go_with_diffusion_is_refused(override, other):
    load_config(None, [override])
    with pytest.raises(ValueError, match=rf'inner\.objective = "masked_diffusion" does not go with .*{other}'):
        load_config(None, [override, DIFFUSION])


@pytest.mark.parametrize("arm", ["random-30", "random-rate", "explore", "mine"])
def test_arms_with_a_rate_or_draws_of_their_own_are_refused(arm):
    settings = [f"evaluate.arms=[random,{arm}]", "evaluate.custom={mine={masking={rate=0.3}}}"]
    check_arms(load_config(None, settings))
    with pytest.raises(ValueError, match=f"evaluate.arms: '{arm}' .* inner.objective"):
        check_arms(load_config(None, [*settings, DIFFUSION]))


def test_an_encoder_decoder_is_refused(tiny):
    shape = "{model_type='t5', d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2}"
    with pytest.raises(ValueError, match=r"inner\.objective .* encoder–decoder.* model\.architecture"):
        problem_of(tiny(DIFFUSION, f"model.architecture={shape}")).check_task()


def test_runs_and_trials_from_before_there_was_a_choice_are_known_again(tiny, problem):
    old = json.loads(resolved_json(Config()))
    del old["inner"]["objective"]
    assert changes(old, Config()) == ""
    assert changes(old, load_config(None, [DIFFUSION])) == "inner.objective was 'masked_lm', now 'masked_diffusion'"
    assert evidence_key(problem) != evidence_key(problem_of(tiny()))


def test_the_provenance_of_a_policy_names_an_objective_that_is_not_the_usual_one(tiny):
    assert "objective" not in provenance(tiny())
    assert provenance(tiny(DIFFUSION))["objective"] == "masked_diffusion"
