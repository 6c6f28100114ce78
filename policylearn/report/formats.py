"""Numbers as people read them in tables: ``.842``, ``+.042``, ``[.020, .060]``, ``3 min 20 s``."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

MINUS = "−"
MISSING = "–"


SHARES = (
    *("accuracy", "macro_f1", "micro_f1", "mcc", "average_precision", "span_f1", "pearson", "spearman"),
    *("exact_match", "likelihood", "choice"),
)
"""Metrics of ours that end at 1, and are told in points of a hundred. The unit of any other is its own."""


def scale_of(metric: str | None) -> tuple[float, int, str]:
    """By what scores of a metric are multiplied to be told, with how many digits, and what they are then.

    >>> scale_of("accuracy"), scale_of("negative_rmse")
    ((100.0, 1, 'points'), (1.0, 3, 'of negative_rmse'))
    """
    return (100.0, 1, "points") if not metric or metric in SHARES else (1.0, 3, f"of {metric}")


def as_number(value: Any) -> float:
    """A float, or NaN for whatever is not a number (JSON has no NaN, so a missing score arrives as None).

    >>> as_number(1), as_number(None), as_number("x"), as_number(True)
    (1.0, nan, nan, nan)
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return math.nan
    return float(value)


def score(value: Any, digits: int = 3) -> str:
    """A score without its leading zero; a dash for a missing one.

    >>> score(0.8424), score(1.0), score(-0.05), score(None), score(84.21), score(0.0004)
    ('.842', '1.000', '−.050', '–', '84.210', '.000')
    """
    number = as_number(value)
    if not math.isfinite(number):
        return MISSING
    text = f"{abs(number):.{digits}f}"
    sign = MINUS if number < 0 and float(text) != 0 else ""
    return sign + text.removeprefix("0")


def signed(value: Any) -> str:
    """A difference, always with its sign.

    >>> signed(0.042), signed(-0.042), signed(None), signed(0.0)
    ('+.042', '−.042', '–', '+.000')
    """
    text = score(value)
    return text if text.startswith((MINUS, MISSING)) else "+" + text


def interval(low: Any, high: Any, digits: int = 3) -> str:
    """An interval of differences; empty where an end is missing (one seed has none).

    >>> interval(0.02, 0.06), interval(-0.01, 0.06), interval(None, 0.06)
    ('[.020, .060]', '[−.010, .060]', '')
    """
    if not (math.isfinite(as_number(low)) and math.isfinite(as_number(high))):
        return ""
    return f"[{score(low, digits)}, {score(high, digits)}]"


def fixed(value: float, digits: int, sign: str = "") -> str:
    """A number with so many digits behind the point; with its sign whatever it is, if that is asked for by a plus.

    >>> fixed(-0.42, 1), fixed(3.0, 1, "+")
    ('−0.4', '+3.0')
    """
    return f"{value:{sign}.{digits}f}".replace("-", MINUS)


def duration(seconds: Any) -> str:
    """Seconds as a person would say them.

    >>> duration(0.42), duration(12.3), duration(200), duration(3720), duration(None)
    ('0.4 s', '12 s', '3 min 20 s', '1 h 2 min', '–')
    """
    number = as_number(seconds)
    if not math.isfinite(number):
        return MISSING
    if number < 9.95:
        return f"{number:.1f} s"
    whole = round(number)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def count(value: Any) -> str:
    """A whole number with thousands separators.

    >>> count(12345.4), count(None)
    ('12,345', '–')
    """
    number = as_number(value)
    return f"{number:,.0f}" if math.isfinite(number) else MISSING


def rate(per_second: Any) -> str:
    """How fast steps go, in whichever way has a number above one; empty if nobody knows.

    >>> rate(1234.5), rate(4.12), rate(0.25), rate(None)
    ('1,234/s', '4.1/s', '4.0 s each', '')
    """
    number = as_number(per_second)
    if not math.isfinite(number) or number <= 0:
        return ""
    if number < 1:
        return f"{duration(1 / number)} each"
    return f"{number:,.0f}/s" if number >= 100 else f"{number:.1f}/s"


def loss_name(record: Mapping[str, Any]) -> str:
    """What the loss of a round is called: of token targets, which alone have a precision, or of labelled examples.

    >>> loss_name({"outer_loss": 0.7}), loss_name({"outer_loss": 0.7, "precision": 0.2})
    ('outer loss', 'loss on targets')
    """
    return "loss on targets" if "precision" in record else "outer loss"


def memory(size: int) -> str:
    """Bytes as a person would say them.

    >>> memory(6_420_000_000), memory(120_000_000)
    ('6.4 GB', '120 MB')
    """
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"


def plural(number: int, noun: str, nouns: str | None = None) -> str:
    """
    >>> plural(1, "seed"), plural(3, "seed"), plural(2, "pass", "passes")
    ('1 seed', '3 seeds', '2 passes')
    """
    return f"{number} {noun}" if number == 1 else f"{number} {nouns or noun + 's'}"
