"""Tables in a terminal: how the arms compare, and which words a scorer ranks highest."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import JustifyMethod
from rich.markup import escape
from rich.table import Table

from policylearn.report.formats import MISSING, count, score
from policylearn.report.summary import (
    ORACLES,
    Arm,
    arms,
    difference_text,
    extra_scores,
    mean,
    mean_and_spread,
    paired,
    winners,
)

MOST_SEEDS_SHOWN = 5
ROOMY = 80
"""Columns that all whole cells fit into."""
_WHOLE = ("masks", "mean ± sd", "vs random [95 %]", "masked", "sec")


def comparison_table(result: dict[str, Any], width: int = ROOMY) -> Table:
    """One line per arm of a ``result.json``; the best one that is not the oracle is bold and starred.

    Columns: mean ± standard deviation over seeds, each seed's score (up to five seeds), paired difference to
    random with its 95 % interval, masked tokens and seconds (means over seeds), then the mean on any extra
    test set. Of `width` columns, fewer than `ROOMY` break every cell into lines rather than cut it.
    """
    shown = arms(result)
    winning = winners(result)
    table = plain_table(f"{result.get('metric') or 'score'} of fresh models")
    for heading in _headings(result, shown):
        # Where the terminal is narrow, only the lists of seeds and the names of test sets break into lines.
        justify: JustifyMethod = "left" if heading == "masks" else "right"
        whole = heading in _WHOLE and width >= ROOMY
        table.add_column(escape(heading), justify=justify, no_wrap=whole, min_width=4, overflow="fold")
    for arm in shown:
        is_best = arm.name in winning
        style = "bold green" if is_best else "dim" if arm.name in ORACLES else ""
        table.add_row(escape(arm.label) + "*" * is_best, *_cells(result, arm, shown), style=style)
    notes = [f"* best{_apart_from_oracle(shown)}"] if winning else []
    if any((gap := paired(result, arm.name, "random")) and gap.same for arm in shown):
        notes.append(f"[{MISSING}] the same on all seeds: nothing to judge chance by")
    table.caption = escape("; ".join(notes)) or None
    return table


def scored_table(scorer: str, words: Iterable[tuple[str, float, int, int]]) -> Table:
    """Words with their score, and how often the domain and the general corpus have them."""
    table = Table("word", "score", "times in domain", "times in general", title=escape(scorer))
    for text, number, domain, general in words:
        table.add_row(escape(text), f"{number:.3f}", f"{domain:,}", f"{general:,}")
    return table


def seeds_shown(shown: Sequence[Arm]) -> list[int]:
    """Which seeds' scores get a column of their own: all, or none if they are too many to read."""
    most = max((len(arm.scores) for arm in shown), default=0)
    return list(range(most)) if most <= MOST_SEEDS_SHOWN else []


def plain_table(title: str) -> Table:
    """An empty table in the style of all of them; brackets in its title are no markup."""
    plain = Table(title=escape(title), box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    plain.title_justify = plain.caption_justify = "left"
    return plain


def _headings(result: dict[str, Any], shown: Sequence[Arm]) -> list[str]:
    seeds = ["each seed"] if seeds_shown(shown) else []
    return [*_WHOLE[:2], *seeds, *_WHOLE[2 if _has_random(shown) else 3 :], *extra_scores(result)]


def _has_random(shown: Sequence[Arm]) -> bool:
    return any(arm.name == "random" for arm in shown)


def _cells(result: dict[str, Any], arm: Arm, shown: Sequence[Arm]) -> list[str]:
    scores = [score(arm.scores[i]) if i < len(arm.scores) else MISSING for i in seeds_shown(shown)]
    extras = [score(mean(values.get(arm.name, []))) for values in extra_scores(result).values()]
    each = [" ".join(scores)] if scores else []
    cost = [count(arm.masked_tokens), count(arm.seconds)]
    gap = [_against_random(result, arm)] if _has_random(shown) else []
    return [mean_and_spread(arm.scores), *each, *gap, *cost, *extras]


def _against_random(result: dict[str, Any], arm: Arm) -> str:
    # Brackets would be markup to rich.
    return escape(difference_text(paired(result, arm.name, "random")))


def _apart_from_oracle(shown: Sequence[Arm]) -> str:
    knows = any(arm.name in ORACLES and math.isfinite(mean(arm.scores)) for arm in shown)
    return ", the oracle apart (it knows which words help)" if knows else ""
