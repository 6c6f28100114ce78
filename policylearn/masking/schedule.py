"""Masking rates that move with training progress."""

import math

from policylearn.config import RateSchedule


def rate_at(rate: float | RateSchedule, progress: float) -> float:
    """The masking rate at `progress`, the share of training that is done.

    - `linear`, `cosine`: from the first rate to the last, on a line or half a cosine.
    - `step`: the rates one after the other, for equal shares of training.
    - `cyclic`: the same, `cycles` times over (as Jarca et al., Findings of ACL 2025, with falling rates).

    Args:
        rate: a constant, or a schedule.
        progress: 0 at the first step, 1 when training is over; what lies outside counts as the nearer end.

    Raises:
        ValueError: progress is NaN.

    >>> falling = RateSchedule(kind="linear", rates=[0.3, 0.15])
    >>> [round(rate_at(falling, t), 3) for t in (0, 0.5, 1, 2)]
    [0.3, 0.225, 0.15, 0.15]
    >>> cyclic = RateSchedule(kind="cyclic", rates=[0.15, 0.12, 0.09], cycles=2)
    >>> [rate_at(cyclic, step / 6) for step in range(6)]
    [0.15, 0.12, 0.09, 0.15, 0.12, 0.09]
    """
    if math.isnan(progress):
        raise ValueError("training progress is NaN: give the share of training that is done, between 0 and 1")
    if not isinstance(rate, RateSchedule):
        return rate
    t = min(max(progress, 0.0), 1.0)
    if rate.kind in ("step", "cyclic"):
        cycles = rate.cycles if rate.kind == "cyclic" else 1
        return _stepped(rate.rates, cycles, t)
    first, last = rate.rates
    return last + (first - last) * ((1 - t) if rate.kind == "linear" else (1 + math.cos(math.pi * t)) / 2)


def _stepped(rates: list[float], cycles: int, t: float) -> float:
    """The rate of the share of training that t lies in; 3/6 is the fourth of six, whatever 6 · (3/6) rounds to."""
    parts = len(rates) * cycles
    part = int(t * parts)
    while part and t < part / parts:
        part -= 1
    while part < parts - 1 and t >= (part + 1) / parts:
        part += 1
    return rates[min(part, parts - 1) % len(rates)]
