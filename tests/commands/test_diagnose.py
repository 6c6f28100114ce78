import json
import re

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from policylearn.adapt.ridge import probe_loss
from policylearn.arms.arms import arm_policy, initial_policy
from policylearn.cli import app
from policylearn.commands.diagnose import check_amount, diagnose, ends, outer_losses, steps, trained_under
from policylearn.credit.analysis import MADE_UP, A, B, Point, analyse, verdict
from policylearn.credit.credits import (
    Tokens,
    credits_of,
    group_cosines,
    masked_texts,
    outer_gradients,
    preconditioned,
    take,
    through,
)
from policylearn.credit.halves import labelled_halves, same_words, solid_types, text_halves
from policylearn.credit.labels import cross_fitted, made_up, shuffled
from policylearn.credit.sums import add, type_sums
from policylearn.credit.variance import Shares, halves_needed, interval, net_of, variance_shares
from policylearn.credit.words import keys_of, spell
from policylearn.data.tokens import TokenRows
from policylearn.inner.masked_lm import MaskedLM
from policylearn.inner.window import Window
from policylearn.learning.rollout import Trajectory
from policylearn.metagrad.one_step import one_step, outer_direction
from policylearn.problem import Problem
from policylearn.report.signal import signal_report

QUICK = ("diagnose.points=2", "diagnose.batches=3", "diagnose.shuffles=1", "diagnose.least=2", "diagnose.draws=50")


@pytest.fixture(scope="module")
def problem(tiny):
    return Problem(tiny(*QUICK))


@pytest.fixture(scope="module")
def warm(problem):
    """A trajectory three steps in."""
    trajectory = Trajectory.start(problem, initial_policy(problem), 0)
    for _ in range(3):
        trajectory.take_step(next(trajectory.batches))
    return trajectory


def test_sums_add_up_over_parts():
    rng = np.random.default_rng(2)
    keys, credits = rng.integers(50, size=400), rng.normal(size=(400, 3))
    whole, parts = type_sums(keys, credits), [type_sums(keys[i::4], credits[i::4]) for i in range(4)]
    assert np.array_equal(add(parts).counts, whole.counts) and np.array_equal(add(parts).keys, whole.keys)
    np.testing.assert_allclose(add(parts).totals, whole.totals)


def cells(rng, signal, label, text, rest, types=40_000):
    """Mean credits [K, 2, 2] with components of known variance."""
    parts = ((signal, (1, 1)), (label, (2, 1)), (text, (1, 2)), (rest, (2, 2)))
    return sum(variance**0.5 * rng.normal(size=(types, *shape)) for variance, shape in parts)


def test_variance_shares_find_the_components_they_were_made_from():
    shares = variance_shares(cells(np.random.default_rng(3), 0.8, 1.6, 0.4, 1.2))
    assert list(vars(shares).values()) == pytest.approx([0.2, 0.4, 0.1, 0.3], abs=0.02)


def test_the_forecast_comes_true_with_twice_the_data():
    """Twice the labels is a label variance of half, and what comes with both halves."""
    shares = Shares(0.2, 0.4, 0.1, 0.3)
    doubled = variance_shares(cells(np.random.default_rng(4), 0.2, 0.2, 0.1, 0.15))
    assert shares.reliability(2, 1) == pytest.approx(doubled.signal, abs=0.02)


@pytest.mark.parametrize(
    "shares", [Shares(0.2, 0.4, 0.1, 0.3), Shares(0.05, 0.5, 0.25, 0.2), Shares(0.6, 0.1, 0.2, 0.1)]
)
def test_what_is_said_to_be_needed_reaches_the_goal(shares):
    both = halves_needed(shares, 0.5)
    assert shares.reliability(both, both) == pytest.approx(0.5)
    for text in (1.0, 2.0, 8.0):
        labels = halves_needed(shares, 0.5, text=text)
        most = shares.reliability(1e12, text)
        assert most < 0.5 if np.isinf(labels) else shares.reliability(labels, text) == pytest.approx(0.5)
        batches = halves_needed(shares, 0.5, labels=text)
        most = shares.reliability(text, 1e12)
        assert most < 0.5 if np.isinf(batches) else shares.reliability(text, batches) == pytest.approx(0.5)


def test_the_interval_covers_the_truth_and_shrinks_with_types():
    rng = np.random.default_rng(5)
    few, many = (cells(rng, 0.3, 0.2, 0.1, 0.4, types) for types in (100, 4000))
    truth = 2 * 0.3 / 1.3
    (low, high), (lower, upper) = interval(many, 200), interval(few, 200)
    assert low < truth < high and high - low < (upper - lower) / 3


def test_what_goes_by_way_of_the_controls_is_no_signal():
    """x and y agree on the task and on the state of the model; the control knows the latter."""
    rng = np.random.default_rng(7)
    task, state = rng.normal(size=(2, 20_000))
    x, y, control = (a * task + state + rng.normal(size=20_000) / 10 for a in (1.0, 1.0, 0.0))
    assert net_of(x, y, np.zeros((20_000, 0))) == pytest.approx(1, abs=0.02)
    assert net_of(x, y, control[:, None]) == pytest.approx(0.5**0.5, abs=0.02)  # x has the state, y's rest has not
    assert abs(net_of(state, y, control[:, None])) < 0.15


def test_labelled_halves_share_no_text_and_have_the_same_classes(problem):
    a, b = labelled_halves(problem, None, 0)
    examples = problem.examples("train")
    assert not set(a) & set(b) and len({*a, *b}) == len(examples)
    words = same_words(examples.rows, solid_types(problem))
    assert not set(words[a]) & set(words[b])
    shares = [float(examples.y[half].float().mean()) for half in (a, b)]
    assert shares[0] == pytest.approx(shares[1], abs=0.06)
    assert sum(map(len, labelled_halves(problem, 20, 0))) == 20


def test_a_sentence_that_is_repeated_with_another_mark_stays_in_one_half(problem):
    solid = solid_types(problem)
    texts = [[10, 11, 12], [11, 10, 12, 4], [20, 21, 22], [4, 20, 21, 22]]
    assert solid[10:23].all() and not solid[4]
    rows = TokenRows(np.concatenate(texts), np.cumsum([0, *map(len, texts)]))
    assert same_words(rows, solid).tolist() == [0, 0, 2, 2]


def test_text_halves_share_no_text(problem):
    a, b = text_halves(problem, 0)
    assert len({*a, *b}) == len(a) + len(b) == len(problem.domain)
    words = same_words(problem.domain, solid_types(problem))
    assert not set(words[a]) & set(words[b])
    assert min(len(a), len(b)) > len(problem.domain) / 4


def test_every_example_is_query_once_per_resplit_and_never_its_own_support(problem):
    picked = np.arange(30)
    loss = cross_fitted(problem, picked, problem.examples("train").y[picked], folds=3, resplits=2, seed=0)
    assert len(loss.splits) == 6
    assert sorted(np.concatenate([q for _, q in loss.splits])) == sorted([*range(30)] * 2)
    assert all(not set(s) & set(q) and len(s) + len(q) == 30 for s, q in loss.splits)


def test_the_outer_gradient_is_the_mean_over_splits(problem, warm):
    picked = np.arange(24)
    y = problem.examples("train").y[picked]
    loss = cross_fitted(problem, picked, y, folds=2, resplits=1, seed=0)
    found = outer_gradients(warm.model, {"one": loss, "same": loss})
    named = {n: p for n, p in warm.model.named_parameters() if n in found["one"]}
    total = dict.fromkeys(named, 0.0)
    for s, q in loss.splits:
        x = loss.features(warm.model)
        fit = probe_loss(x[s], y[s], x[q], y[q], problem.kind.readout).loss / 2
        for name, g in zip(named, torch.autograd.grad(fit, list(named.values())), strict=True):
            total[name] = total[name] + g
    for name in named:
        torch.testing.assert_close(found["one"][name], total[name])
        torch.testing.assert_close(found["same"][name], total[name])


def test_credits_are_those_of_the_engine(problem, warm):
    loss = outer_losses(problem)[A]
    batches = take(masked_texts(problem, warm.policy, text_halves(problem, 0)[0], 0), 2)
    outer = lambda model: loss.loss(loss.features(model))  # noqa: E731
    expected = one_step(warm.model, warm.optimizer, Window(batches, [warm.rate] * 2, MaskedLM()), outer, "matrices")
    raw = outer_gradients(warm.model, {A: loss})[A]
    direction = preconditioned(warm, raw)
    engine = outer_direction(warm.model, warm.optimizer, warm.rate, outer, "all")
    assert direction.keys() == engine.keys()
    for name in engine:
        torch.testing.assert_close(direction[name], engine[name])
    for tokens, gradient in zip(
        credits_of(warm, batches, [through(warm.model, direction, "matrices")]), expected, strict=True
    ):
        np.testing.assert_allclose(tokens.credits[:, 0], -gradient.double().numpy(), rtol=1e-4, atol=1e-9)


def test_gradients_flow_through_what_they_may(warm):
    everything = dict(warm.model.named_parameters())
    names = {which: set(through(warm.model, everything, which)) for which in ("all", "matrices", "layers")}
    assert names["all"] == set(everything)
    assert names["matrices"] == {name for name, p in everything.items() if p.ndim > 1}
    assert {name for name in names["matrices"] - names["layers"]} == {n for n in everything if "embeddings.weight" in n}


def test_cosines_are_by_group(warm):
    ones = {name: torch.ones_like(p) for name, p in warm.model.named_parameters()}
    turned = {name: -x if x.ndim < 2 else x for name, x in ones.items()}
    cosines = group_cosines(warm.model, ones, turned)
    assert {"embeddings", "attention", "ffn", "norms", "biases", "head", "matrices", "vectors"} == cosines.keys()
    signs = {group: (-1.0 if group in ("norms", "biases", "vectors") else 1.0) for group in cosines}
    assert cosines == pytest.approx(signs)


def test_tokens_are_known_by_their_word(wordpiece, problem, warm):
    batch = next(masked_texts(problem, warm.policy, text_halves(problem, 0)[0], 0))
    keys, spelling = keys_of(warm.policy, batch), spell(warm.policy, batch)
    words = [problem.tokenizer.decode(list(spelling[int(key)])) for key in keys]
    assert words == problem.tokenizer.convert_ids_to_tokens(batch.labels[batch.mask].tolist())


def test_explore_masks_every_token_of_a_text_before_it_goes_on(tiny):
    problem = Problem(tiny("masking.design=explore", "masking.draws=4", "masking.rate=0.25"))
    policy = arm_policy(problem, "random")
    batches = take(masked_texts(problem, policy, np.arange(16), 0), 8)
    for draws in (batches[:4], batches[4:]):
        assert all(torch.equal(b.original, draws[0].original) for b in draws)
        assert torch.equal(sum(b.mask.long() for b in draws), policy.eligible(draws[0].original, draws[0].real).long())
    assert not torch.equal(batches[0].original, batches[4].original)


def test_batches_are_as_large_as_they_are_to_be_and_training_goes_on_with_its_own(tiny):
    problem = Problem(tiny("diagnose.batch_size=12"))
    policy = arm_policy(problem, "random")
    assert [len(b.original) for b in take(masked_texts(problem, policy, np.arange(30), 0), 3)] == [12, 12, 12]
    assert len(next(Trajectory.start(problem, policy, 0).batches).original) == 8


def test_controls_have_the_same_labels_on_other_examples(problem):
    losses = outer_losses(problem)
    assert list(losses) == [A, B, "shuffled 1", MADE_UP]
    for name in ("shuffled 1", MADE_UP):
        assert np.array_equal(losses[name].picked, losses[B].picked)
        assert torch.equal(losses[name].y.sort().values, losses[B].y.sort().values)
        assert not torch.equal(losses[name].y, losses[B].y)
    y = torch.arange(4).repeat(500)
    assert abs(np.corrcoef(shuffled(y, 0), y)[0, 1]) < 0.1


def test_the_made_up_task_can_be_learned(problem):
    """The labels follow from the words: a text repeated has its label again."""
    y, picked = problem.examples("train").y, np.repeat(np.arange(20), 2)
    found = made_up(problem, picked, torch.arange(2).repeat(20), 0).view(-1, 2)
    assert (found[:, 0] == found[:, 1]).all() and len(y) > 20


def points_of(signal: float, control: float = 0.0, types: int = 300) -> list[Point]:
    """Made-up measurements: credits of A and B agree by `signal`, the control agrees with A by `control`."""
    rng = np.random.default_rng(6)
    truth, other = rng.normal(size=(types, 1)), rng.normal(size=(types, 1))
    keys = np.repeat(np.arange(types), 10)

    def tokens(columns: int) -> Tokens:
        label = rng.normal(size=(types, columns))
        shared = np.full(columns, signal)
        if columns == 3:
            label[:, 2:], shared[2] = other, control
        means = shared * truth + (1 - shared) * label
        return Tokens(keys, means[keys] + 0.1 * rng.normal(size=(len(keys), columns)))

    return [Point(1, [A, B, "shuffled 1"], (tokens(2), tokens(3)), rng.normal(size=(50, 2)), {"raw": {"ffn": 0.1}})]


@pytest.mark.parametrize(
    ("signal", "control", "expected"),
    [(0.9, 0.0, "there is a signal"), (0.4, 0.0, "weak"), (0.0, 0.0, "noise"), (0.7, 0.95, "not the task's")],
)
def test_the_verdict_tells_signal_from_noise_and_from_what_labels_do_not_matter_to(tiny, signal, control, expected):
    assert expected in verdict(analyse(points_of(signal, control), tiny().diagnose))


def test_too_few_words_are_an_error_that_says_what_to_do(tiny):
    with pytest.raises(ValueError, match=r"raise diagnose\.batches or lower diagnose\.least"):
        analyse(points_of(0.5), tiny("diagnose.least=11").diagnose)


def test_too_few_batches_are_refused_before_anything_is_trained(tiny, quiet, monkeypatch):
    monkeypatch.setattr("policylearn.commands.diagnose.measure", None)
    with pytest.raises(ValueError, match=r"masked 999 times .* raise diagnose\.batches or lower diagnose\.least"):
        diagnose(tiny(*QUICK, "diagnose.least=999"), quiet)


def test_what_is_counted_before_is_what_is_measured(tiny, problem, result):
    counts = [
        sum(len(keys_of(policy, batch)) for number in range(2) for batch in taken(problem, policy, rows, number))
        for policy in [arm_policy(problem, "random")]
        for rows in text_halves(problem, 0)
    ]
    assert counts == result["tokens"]
    least = max(n for n in range(1, 60) if passes(Problem(tiny(*QUICK, f"diagnose.least={n}"))))
    assert 2 < least < 59


def taken(problem, policy, rows, number):
    return take(masked_texts(problem, policy, rows, number), problem.config.diagnose.batches)


def passes(problem) -> bool:
    try:
        check_amount(problem)
    except ValueError:
        return False
    return True


def test_one_text_has_no_halves(tiny, quiet, tmp_path):
    (tmp_path / "one.txt").write_text("class0_01 generic_001 generic_002")
    with pytest.raises(ValueError, match="too few texts to be cut into halves"):
        diagnose(tiny(*QUICK, f"domain.path={tmp_path / 'one.txt'}", "policy.prior={}"), quiet)


@pytest.mark.parametrize("count", [0, 1, 2, 3, 7, 31])
def test_no_word_both_helps_and_hurts(count):
    names = [f"w{i}" for i in range(count)]
    found = ends(names, 15)
    assert not set(found["help"]) & set(found["hurt"])
    assert len(found["help"]) + len(found["hurt"]) == min(count, 30)
    assert found["help"] == names[: len(found["help"])] and found["hurt"] == names[::-1][: len(found["hurt"])]


def test_where_the_prior_is_credit_the_training_is_the_one_that_it_is_measured_on(tiny, problem):
    policy, under = trained_under(Problem(tiny(*QUICK, "policy.prior={credit = 2.0}")))
    assert under == "uniform masks" and policy.names == []
    policy, under = trained_under(problem)
    assert under == "masks of the prior (difference)" and policy.names == ["difference"]


@pytest.fixture(scope="module")
def result(problem, tmp_path_factory):
    import io

    from rich.console import Console

    return diagnose(problem.config, Console(file=io.StringIO()))


def test_a_diagnosis_is_plain_json_and_complete(result, problem):
    assert json.loads(json.dumps(result)).keys() == result.keys()
    assert result["steps"] == steps(problem.config) == [3, 7]
    assert result["examples"] == 60 and result["batches"] == 12
    assert sum(result["shares"].values()) == pytest.approx(1, abs=0.3)  # what is negative is cut
    assert result["interval"][0] <= result["reliability"] <= result["interval"][1]
    assert set(result["controls"]) == {"shuffled 1", MADE_UP}
    assert {"raw", "preconditioned"} == result["cosines"].keys()
    assert result["words"]["help"] and set(result["words"]["help"]) <= set(problem.tokenizer.get_vocab())


def test_a_diagnosis_is_a_function_of_its_config(result, problem, quiet):
    again = diagnose(problem.config, quiet)
    same = [key for key in result if key not in ("seconds", "cpu_seconds")]
    assert {key: again[key] for key in same} == {key: result[key] for key in same}
    (line,) = quiet.file.getvalue().splitlines()  # nothing in it takes five seconds
    assert line.startswith("task ")


def test_the_report_shows_what_was_found(result, quiet):
    quiet.print(signal_report(result), highlight=False)
    shown = quiet.file.getvalue()
    assert shown.startswith(result["verdict"][:60])
    for text in ("word types", "shuffled 1", "labelled examples", "MLM batches for .5", "preconditioned", "help"):
        assert text in shown


def test_diagnose_on_the_command_line(tiny_toml, tmp_path):
    out = tmp_path / "deep" / "signal.json"
    done = CliRunner().invoke(app, ["diagnose", str(tiny_toml), *QUICK, "--out", str(out)])
    assert done.exit_code == 0, done.output
    found = json.loads(out.read_text(encoding="utf-8"))
    assert re.search(r"word types +[−.\d]+", done.output) and found["name"] == "tiny"
