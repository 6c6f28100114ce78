"""The forecast: what cross-fitted credits say that masks by them would do."""

import numpy as np
import pytest

from policylearn.credit.analysis import A, B, Point
from policylearn.credit.credits import Tokens
from policylearn.credit.forecast import forecast
from policylearn.credit.variance import Shares

SHARES = Shares(0.2, 0.4, 0.2, 0.2)


def points_of(truth, noise=0.0, states=1, own=0.0, each=40):
    """Every word `each` times in each half, with its true credit, and noise of labels that the halves do not share."""
    rng, keys = np.random.default_rng(1), np.repeat(np.arange(len(truth)), each)
    found = []
    for _ in range(states):
        at = np.array(truth) + own * rng.normal(size=len(truth))
        credits = at[:, None] + noise * rng.normal(size=(len(truth), 2))
        parts = tuple(Tokens(keys, credits[keys] + 1e-3 * rng.normal(size=(len(keys), 2))) for _ in range(2))
        found.append(Point(1, [A, B], parts, np.zeros((0, 2)), {}))
    return found


def test_two_words_by_hand(tiny):
    """Scores ±1/√2 or so, tilted e-fold per unit; the batch of 80 tokens in 10 batches is 8 tokens a step."""
    config = tiny("credit.strength=1.0", "credit.batches=10", "inner.steps=50", "masking.p_max=0.9")
    found = forecast(points_of([1.0, -1.0]), Shares(1.0, 0.0, 0.0, 0.0), config)
    score = 1 / 2**0.5  # of ±1 the standard deviation between two words is √2
    tilt = np.tanh(score)  # (e^s - e^-s) / (e^s + e^-s), for credits of ±1 whose mean is 0
    assert found["loss"] == pytest.approx(50 * 8 * tilt, rel=0.01) and found["advantage"] == pytest.approx(
        tilt, rel=0.01
    )
    assert found["halves"] == pytest.approx([found["loss"]] * 2, rel=0.01)
    assert found["steps"] == 2 * found["loss"] and found["labels"] == found["loss"] == found["text"]
    more = forecast(points_of([1.0, -1.0], states=3), Shares(1.0, 0.0, 0.0, 0.0), config)
    assert more["loss"] == pytest.approx(found["loss"], rel=0.01)  # a mean over states


def test_a_step_has_as_many_tokens_as_the_half_that_masks_are_tried_on(tiny):
    config = tiny("credit.strength=1.0", "credit.batches=10", "inner.steps=50")
    (point,), (fewer,) = points_of([1.0, -1.0]), points_of([1.0, -1.0], each=20)
    uneven = Point(1, [A, B], (point.tokens[0], fewer.tokens[1]), np.zeros((0, 2)), {})
    halves = forecast([uneven], Shares(1.0, 0.0, 0.0, 0.0), config)["halves"]
    assert halves == pytest.approx([50 * 4 * np.tanh(0.5**0.5), 50 * 8 * np.tanh(0.5**0.5)], rel=0.01)


def test_at_the_rates_of_diffusion_there_is_less_to_choose(tiny):
    """Half of the tokens are masked anyway."""
    points, given = points_of([4.0, 0.0, 0.0, 0.0]), ("credit.strength=8.0", "masking.p_max=0.9")
    of = {
        name: forecast(points, SHARES, tiny(*given, *more))["advantage"]
        for name, more in {
            "usual": (),
            "half": ("masking.rate=0.5",),
            "diffusion": ("inner.objective=masked_diffusion",),
        }.items()
    }
    assert of["diffusion"] == of["half"] < of["usual"]


def test_nothing_is_promised_that_only_one_half_of_the_labels_says(tiny):
    rng = np.random.default_rng(2)
    truth = rng.normal(size=4000)
    real, noise = (forecast(points_of(t, n), SHARES, tiny()) for t, n in ((truth, 0.5), (0 * truth, 1.0)))
    assert real["advantage"] > 0.3 and abs(noise["advantage"]) < 0.15


def test_what_only_one_state_says_is_not_promised_either(tiny):
    truth = np.zeros(4000)
    alone, several = (forecast(points_of(truth, states=n, own=1.0), SHARES, tiny()) for n in (1, 4))
    assert alone["advantage"] > 0.5 and abs(several["advantage"]) < 0.15


def test_more_labels_and_texts_are_worth_what_the_shares_say(tiny):
    found = forecast(points_of(np.linspace(-1, 1, 50)), SHARES, tiny())
    half = np.mean(found["halves"])
    reliability = {(m, t): 0.2 / (0.2 + 0.4 / m + 0.2 / t + 0.2 / m / t) for m, t in ((1, 1), (2, 2), (4, 2), (2, 4))}
    for name, amount in (("loss", (2, 2)), ("labels", (4, 2)), ("text", (2, 4))):
        assert found[name] == pytest.approx(half * (reliability[amount] / reliability[1, 1]) ** 0.5)


def test_where_halves_know_nothing_nothing_is_made_larger(tiny):
    found = forecast(points_of(np.linspace(-1, 1, 50)), Shares(-0.1, 0.5, 0.3, 0.2), tiny())
    assert found["loss"] == found["labels"] == pytest.approx(np.mean(found["halves"]))
