"""What an arm reads, and what its training begins with."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from policylearn.arms.arms import arm_policy, check_arms, other_budgets
from policylearn.arms.course import USUAL, Course, best_texts, course_of, text_scores
from policylearn.credit.live import follow_credits, live_policy
from policylearn.evaluation.identity import masks_key
from policylearn.evaluation.pretraining import pretrain
from policylearn.evaluation.trial import run_trial
from policylearn.inner.batches import masked_batches
from policylearn.inner.objectives import objective_of
from policylearn.inner.trajectory import Trajectory
from policylearn.problems.of_config import problem_of

CHOSEN = "evaluate.custom={chosen = {prior = {oracle = 0.0}, texts = 0.25}}"


def test_the_texts_of_the_highest_mean_score_are_read(tiny):
    problem = problem_of(tiny(CHOSEN))
    policy, rows = arm_policy(problem, "chosen"), problem.domain
    scores = text_scores(problem, policy)
    types, special = policy.scores.types[0], problem.vocabulary.special.numpy()
    wanted = [
        float(types[torch.from_numpy(row[~special[row]]).long()].mean()) for row in map(rows.__getitem__, range(40))
    ]
    assert scores[:40] == pytest.approx(wanted, abs=1e-6) and np.ptp(scores) > 0.1
    kept = best_texts(problem, policy, 0.25)
    assert len(kept) == round(0.25 * len(rows))
    order = np.sort(np.argsort(-scores, kind="stable")[: len(kept)])
    assert [row.tolist() for row in map(kept.__getitem__, range(9))] == [rows[int(i)].tolist() for i in order[:9]]
    with torch.no_grad():  # a strength of 0 leaves masks random
        ids, real = rows.batch(range(8), problem.tokenizer.pad_token_id)
        assert torch.allclose(policy.probabilities(ids, real), arm_policy(problem, "random").probabilities(ids, real))


def test_an_arm_trains_on_them_and_on_no_others(tiny, monkeypatch):
    problem, seen = problem_of(tiny(CHOSEN, "inner.steps=4")), []

    def watched(*arguments, **options):
        for batch in masked_batches(*arguments, **options):
            seen.extend(row[real].tolist() for row, real in zip(batch.original, batch.real, strict=True))
            yield batch

    monkeypatch.setattr("policylearn.inner.trajectory.masked_batches", watched)
    policy = arm_policy(problem, "chosen")
    run_trial(problem, policy, "chosen", 0)
    kept = best_texts(problem, policy, 0.25)
    allowed = {tuple(kept[i].tolist()) for i in range(len(kept))}
    assert seen and {tuple(row) for row in seen} <= allowed
    random = arm_policy(problem, "random")
    first = next(masked_batches(problem, random, 0, objective_of(problem), rows=problem.domain))
    assert torch.equal(first.shown, next(masked_batches(problem, random, 0, objective_of(problem))).shown)


def test_the_arm_select_goes_by_credit_and_has_a_key_of_its_own(tiny):
    problem = problem_of(tiny('evaluate.arms=["random","select"]', "credit.points=1", "credit.batches=4"))
    policy, course = arm_policy(problem, "select"), course_of(problem.config, "select")
    assert policy.config.prior == {"credit": 0.0} and course == Course(texts=0.5)
    assert course_of(problem.config, "random") == USUAL
    assert masks_key(policy, problem.domain, course) != masks_key(policy, problem.domain)
    assert other_budgets(problem.config) == {"select": "texts"}


@pytest.mark.parametrize("own", ["{texts = 0.5}", "{prior = {oracle = 1.0}, texts = 0.0}", "{texts = 1.5}"])
def test_what_cannot_be_is_refused(tiny, own):
    with pytest.raises(ValueError, match=r"texts"):
        tiny(f"evaluate.custom={{a = {own}}}")


LIVE = ['evaluate.arms=["random","live"]', "inner.steps=20", "inner.learning_rate=1e-2", "evaluate.seeds=1"]


def test_live_masks_go_by_the_credits_of_the_moment(tiny):
    problem = problem_of(tiny(*LIVE, "credit.examples=60"))
    policy, course = arm_policy(problem, "live"), course_of(problem.config, "live")
    trajectory, seen = Trajectory.start(problem, policy, 0), []
    columns = follow_credits(trajectory, 2)
    ids, real = problem.domain.batch(range(40), problem.pad_id)
    for _ in range(3):
        seen.append(columns(ids, real))
        trajectory.take_step(next(trajectory.batches))
    assert seen[:2] == [{}, {}]
    credits = seen[2]["live"]
    may = policy.eligible(ids, real)
    assert torch.equal(~credits.isnan(), may)
    assert credits[may].mean() == pytest.approx(0, abs=1e-5) and credits[may].std() == pytest.approx(1, abs=1e-5)
    p = policy.probabilities(ids, real, columns={"live": credits})
    assert p.sum(1) == pytest.approx(policy.probabilities(ids, real).sum(1), abs=1e-4)  # the same budget
    assert p[may & (credits > 1)].mean() > 2 * p[may & (credits < 0)].mean()
    assert course == Course(live=8) and other_budgets(problem.config) == {}
    assert masks_key(policy, problem.domain, course) != masks_key(policy, problem.domain)


def test_a_trial_of_live_masks_is_random_until_the_first_look_and_repeats(tiny, monkeypatch):
    problem, taken = problem_of(tiny(*LIVE)), []

    def watched(*arguments, **options):
        for batch in masked_batches(*arguments, **options):
            taken.append(batch.mask)
            yield batch

    monkeypatch.setattr("policylearn.inner.trajectory.masked_batches", watched)
    trials = [run_trial(problem, arm_policy(problem, arm), arm, 0) for arm in ("random", "live", "live")]
    random, first, second = (taken[i : i + 20] for i in range(0, 60, 20))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True)) and trials[1].score == trials[2].score
    same = [torch.equal(a, b) for a, b in zip(random, first, strict=True)]
    assert same[:8] == [True] * 8 and not any(same[8:])
    assert trials[0].masked_tokens == trials[1].masked_tokens


def test_live_masks_are_refused_where_there_is_nothing_to_differentiate(tiny):
    with pytest.raises(ValueError, match=r'"live" needs inner\.objective = "masked_lm"'):
        check_arms(tiny(*LIVE, "inner.objective=masked_diffusion"))
    answers = SimpleNamespace(kind=SimpleNamespace(name="questions", readout=None))
    with pytest.raises(ValueError, match="differentiates a probe, and questions have none"):
        live_policy(answers, None, 1.0)


MULTITASK = ['evaluate.arms=["random","multitask"]', "inner.steps=30", "inner.learning_rate=1e-2", "evaluate.seeds=1"]


def test_multitask_sees_labels_beside_the_same_masks(tiny, monkeypatch):
    problem, taken, rows = problem_of(tiny(*MULTITASK)), [], []

    def watched(*arguments, **options):
        for batch in masked_batches(*arguments, **options):
            taken.append(batch.mask)
            yield batch

    monkeypatch.setattr("policylearn.inner.trajectory.masked_batches", watched)
    own = problem.kind.batch
    monkeypatch.setattr(problem.kind, "batch", lambda split, picked: (rows.append(picked), own(split, picked))[1])
    models = [problem.fresh_model(0) for _ in range(3)]
    for model, arm in zip(models, ("random", "multitask", "multitask"), strict=True):
        pretrain(problem, model, arm_policy(problem, arm), 0, 30, course_of(problem.config, arm))
    assert all(torch.equal(a, b) for a, b in zip(taken[:30], taken[30:60], strict=True))
    first, count = rows[:30], len(problem.labelled("train"))
    assert first == rows[30:60] and {len(picked) for picked in first} == {16}
    seen = [row for picked in first for row in picked]
    assert {*seen[:count]} == {*range(count)}, "each is seen before one is seen again"
    random, once, again = (problem.examples("train").outputs(m, range(count), problem.pad_id) for m in models)
    assert torch.equal(once, again) and not torch.equal(random, once)
    y = problem.examples("train").y

    def spread(x):
        """Of the classes' means, in variances of an example."""
        means = torch.stack([x[y == c].mean(0) for c in y.unique()])
        return means.var(0).sum() / x.var(0).sum()

    assert spread(once) > 1.2 * spread(random)


def test_labels_go_with_masks_of_ones_own(tiny):
    config = tiny("evaluate.custom={both = {prior = {tficf = 1.0}, labels = 4}}", 'evaluate.arms=["random","both"]')
    problem = problem_of(config)
    assert course_of(config, "both") == Course(labels=4) and other_budgets(config) == {}
    policy = arm_policy(problem, "both")
    assert masks_key(policy, problem.domain, Course(labels=4)) != masks_key(policy, problem.domain)
    assert run_trial(problem, policy, "both", 0).masked_tokens == run_trial(problem, policy, "random", 0).masked_tokens


def test_labels_alone_take_the_same_examples_and_predict_no_token(tiny, monkeypatch):
    config = tiny(*MULTITASK, 'evaluate.arms=["random","multitask","labels-only"]')
    problem, rows = problem_of(config), []
    own = problem.kind.batch
    monkeypatch.setattr(problem.kind, "batch", lambda split, picked: (rows.append(picked), own(split, picked))[1])
    models = [problem.fresh_model(0) for _ in range(3)]
    both, alone, again = (
        pretrain(problem, model, arm_policy(problem, arm), 0, 30, course_of(config, arm))
        for model, arm in zip(models, ("multitask", "labels-only", "labels-only"), strict=True)
    )
    assert rows[:30] == rows[30:60] and both.masked_tokens > 0 and alone.masked_tokens == 0
    assert alone.losses == again.losses and alone.losses[0] < both.losses[0], "the loss of masked tokens is not in it"
    decoder = [model.mlm.get_output_embeddings().bias for model in (problem.fresh_model(0), *models)]
    assert torch.equal(decoder[0], decoder[2]) and not torch.equal(decoder[0], decoder[1])
    assert other_budgets(config) == {"labels-only": "none"}


def test_what_masks_weigh_beside_labels_is_a_setting(tiny):
    given = "evaluate.custom={{half = {{prior = {{tficf = 1.0}}, labels = 4, mlm_weight = {0}}}}}"
    half, whole = (tiny(given.format(weight), 'evaluate.arms=["half"]') for weight in (0.5, 1))
    assert course_of(half, "half") == Course(labels=4, mlm_weight=0.5) and course_of(whole, "half") == Course(labels=4)
    assert Course(labels=4, mlm_weight=0.5).key == " labels 4 of 0.5" and Course(labels=4).key == " labels 4"
    with pytest.raises(ValueError, match="set labels"):
        tiny("evaluate.custom={a = {mlm_weight = 0.5}}")


def test_labels_are_refused_where_they_cannot_be_seen(tiny):
    with pytest.raises(ValueError, match=r"unset inner\.micro_batch"):
        check_arms(tiny(*MULTITASK, "inner.micro_batch=4"))
    with pytest.raises(ValueError, match="labels do not go with a causal phase"):
        tiny("evaluate.custom={a = {causal = 0.5, labels = 4}}")
    kind = SimpleNamespace(name="questions", readout=None)
    with pytest.raises(ValueError, match="'multitask' trains a head, and questions have none"):
        arm_policy(SimpleNamespace(config=tiny(*MULTITASK), kind=kind), "multitask")
