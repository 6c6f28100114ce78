import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from policylearn.config import MaskingConfig, RateSchedule, load_config
from policylearn.masking import rate_at

RATES = st.lists(st.floats(0.01, 0.9), min_size=2, max_size=5)
PROGRESS = st.floats(-1, 2)


@given(st.floats(0.01, 0.9), PROGRESS)
def test_a_number_is_a_constant(rate, progress):
    assert rate_at(rate, progress) == rate


@given(st.sampled_from(["linear", "cosine"]), st.floats(0.01, 0.9), st.floats(0.01, 0.9), PROGRESS, PROGRESS)
def test_from_one_rate_to_the_other_without_turning_back(kind, first, last, one, other):
    schedule = RateSchedule(kind=kind, rates=[first, last])
    assert rate_at(schedule, 0) == pytest.approx(first) and rate_at(schedule, 1) == pytest.approx(last)
    low, high = sorted([one, other])
    assert (rate_at(schedule, high) - rate_at(schedule, low)) * (last - first) >= -1e-12


def test_half_a_cosine_is_slow_at_both_ends():
    line, cosine = (RateSchedule(kind=kind, rates=[0.4, 0.2]) for kind in ("linear", "cosine"))
    assert rate_at(cosine, 0.5) == pytest.approx(rate_at(line, 0.5)) == pytest.approx(0.3)
    assert rate_at(cosine, 0.1) > rate_at(line, 0.1) and rate_at(cosine, 0.9) < rate_at(line, 0.9)


@given(st.sampled_from(["step", "cyclic"]), RATES, st.integers(1, 4), st.integers(1, 10))
def test_every_rate_gets_the_same_share_of_steps(kind, rates, cycles, each):
    schedule = RateSchedule(kind=kind, rates=rates, cycles=cycles)
    turns = rates * (cycles if kind == "cyclic" else 1)
    steps = len(turns) * each
    assert [rate_at(schedule, step / steps) for step in range(steps)] == [rate for rate in turns for _ in range(each)]
    assert rate_at(schedule, 1) == rates[-1]


def test_turns_are_counted_and_not_written_out():
    schedule = RateSchedule(kind="cyclic", rates=[0.3, 0.1, 0.2], cycles=2**40)
    assert [rate_at(schedule, t) for t in (0, 1 / 3 / 2**40, 1)] == [0.3, 0.1, 0.2]


def test_progress_that_is_no_number_is_refused():
    with pytest.raises(ValueError, match="progress is NaN"):
        rate_at(0.15, math.nan)


@pytest.mark.parametrize(
    ("schedule", "message"),
    [
        ({"kind": "linear", "rates": [0.3, 0.2, 0.1]}, "linear schedule goes from one rate to another, got 3"),
        ({"kind": "cosine", "rates": [0.3]}, "at least 2"),
        ({"kind": "step", "rates": [0.3, 0.0]}, "rate 0.0 must lie between 0 and 1"),
        ({"kind": "sawtooth", "rates": [0.3, 0.1]}, "kind 'sawtooth' is none of 'linear', .* 'beta'"),
    ],
)
def test_a_schedule_that_makes_no_sense_is_refused(schedule, message):
    with pytest.raises(ValidationError, match=message):
        MaskingConfig(rate=schedule)


def test_no_rate_of_a_schedule_may_reach_the_cap():
    with pytest.raises(ValidationError, match=r"rate 0\.7 must be below p_max 0\.6"):
        MaskingConfig(rate=RateSchedule(kind="linear", rates=[0.15, 0.7]), p_max=0.6)


def test_a_schedule_can_be_given_on_the_command_line():
    config = load_config(None, ['masking.rate={kind="cyclic", rates=[0.15, 0.12, 0.09], cycles=3}'])
    assert config.masking.rates == [0.15, 0.12, 0.09] and rate_at(config.masking.rate, 0.5) == 0.12
