"""One self-contained HTML page about a run: no network, light and dark, made to be shown to a colleague."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from policylearn.report import formats
from policylearn.report.heatmap import Heatmap, html_heatmap, html_legend, scale_top
from policylearn.report.plots import baseline_names, comparison_plot, learning_plot
from policylearn.report.summary import (
    LEARNED,
    NAMES,
    ORACLES,
    apart,
    arms,
    difference_text,
    extra_scores,
    gap_recovered,
    mean,
    mean_and_spread,
    paired,
    uneven_masking,
    winners,
)
from policylearn.report.svg import arm_css
from policylearn.report.tables import seeds_shown
from policylearn.report.uses import use_in_words
from policylearn.report.verdict import signal, verdict
from policylearn.report.words import WordRow, fallers, least_masked, most_masked, risers

__all__ = ["WordRow", "render_report"]

WORDS_SHOWN = 15
LINEAGE = ("prior", "learned")
"""Facts of the provenance that say how the policy came about, see `policylearn.learning.lineage`."""


def render_report(
    *,
    title: str,
    config: dict[str, Any],
    history: Sequence[dict[str, Any]],
    result: dict[str, Any],
    examples: Sequence[tuple[Heatmap, Heatmap]] | dict[str, Any],
    words: Sequence[WordRow],
    usage: Sequence[str],
) -> str:
    """The page as HTML.

    config: the resolved one. history: the records of ``metrics.jsonl``. result: ``result.json``. examples: (prior,
    learned) heatmaps of the same text, or what `pictures.drawn_pictures` gives. words: word types with mean mask
    probabilities. usage: lines of Python that make a collator of the exported policy. Whatever is empty or missing is
    left out of the page or said to be missing.
    """
    page = environment().get_template("template.html")
    return page.render(
        title=title,
        verdict=verdict(result),
        provenance={key: str(value) for key, value in (result.get("provenance") or {}).items()},
        comparison=_comparison(result) | {"use": use_in_words(config)},
        learning=_learning(history, result, config),
        examples=examples if isinstance(examples, dict) else drawn(examples),
        pictures=isinstance(examples, dict),
        things="patches" if isinstance(examples, dict) else "tokens",
        zones=(config.get("patches") or {}).get("zones", 1) if isinstance(examples, dict) else 1,
        words=_words(words),
        config=json.dumps(config, indent=2, ensure_ascii=False, default=str),
        seconds=_seconds(history, result),
        usage=usage,
    )


def environment() -> Environment:
    """Templates of this folder, and the filters they use."""
    found = Environment(
        loader=PackageLoader("policylearn.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters.update({name: getattr(formats, name) for name in ("score", "signed", "duration", "count")})
    found.filters["code"] = code
    return found


def code(sentence: str) -> Markup:
    """A sentence of Markdown's: what stands between backquotes as code.

    >>> print(code("`a < b` says more"))
    <code>a &lt; b</code> says more
    """
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if number % 2 else part
        for number, part in enumerate(sentence.split("`"))
    )


def _comparison(result: dict[str, Any]) -> dict[str, Any]:
    shown = arms(result)
    winning = winners(result)
    rows = [_row(result, arm.name, arm.name in winning) for arm in shown]
    return {
        "plot": Markup(comparison_plot(result)),
        "metric": result.get("metric") or "score",
        "seeds": [_seed_name(result, place) for place in seeds_shown(shown)],
        "extras": list(extra_scores(result)),
        "rows": rows,
        "learned_recovers": gap_recovered(result, LEARNED),
        "difference_recovers": gap_recovered(result, "difference"),
        "uneven": uneven_masking(result),
        "apart": apart(result),
        "has_none": any(arm.name == "none" for arm in shown),
        "intervals": any("[" in row["gap"] for row in rows),
    }


def _row(result: dict[str, Any], name: str, best: bool) -> dict[str, Any]:
    shown = arms(result)
    arm = next(arm for arm in shown if arm.name == name)
    gap = paired(result, name, "random")
    return {
        "label": arm.label,
        "css": arm_css(name, [each.name for each in shown]),
        "best": best,
        "oracle": name in ORACLES,
        "mean": mean_and_spread(arm.scores),
        "scores": [arm.scores[i] if i < len(arm.scores) else math.nan for i in seeds_shown(shown)],
        "gap": difference_text(gap),
        "masked": arm.masked_tokens,
        "seconds": arm.seconds,
        "extras": [mean_and_spread(values.get(name, [])) for values in extra_scores(result).values()],
    }


def _seed_name(result: dict[str, Any], place: int) -> str:
    names = result.get("seeds") or []
    return str(names[place] if place < len(names) else place)


def supervised(config: dict[str, Any]) -> bool:
    """Whether the policy of a resolved config is learned from token targets, and not from rollouts."""
    return "supervised" in _stages(config)


def _stages(config: dict[str, Any]) -> list[str]:
    return (config.get("learn") or {}).get("stages", [])


def _lag(config: dict[str, Any]) -> int:
    return 0 if supervised(config) else (config.get("learn") or {}).get("lag", 0)


def _tried(kept: int, config: dict[str, Any]) -> str:
    """How much learning was behind the policy that a round tried."""
    names = ("pass", "passes") if supervised(config) else ("round", "rounds")
    return formats.plural(max(0, kept - _lag(config)), *names)


def _start(config: dict[str, Any]) -> str:
    """What rounds of learning begin with, in words."""
    stages, learn = _stages(config), config.get("learn") or {}
    if {"expected", "strength", "outcomes"} & {*stages}:
        return "the policy of the stage before"
    return "the policy it started from" if learn.get("start") else "the prior"


def _how(config: dict[str, Any]) -> str:
    """What stages other than rounds have learned from, in words; empty: there were none."""
    said = {
        "expected": "Learned in closed form, in no rounds: the credit of a word is by how much predicting it, when "
        "masked, lowers the loss on the labels; the number before “credit” is how strongly masks follow it.",
        "outcomes": "Learned from outcomes: pairs of fresh models were trained to the end under random changes of the "
        "masks, one for each sign, and words are masked more or less by what became of the loss on the labels.",
    }
    return " ".join(said[stage] for stage in _stages(config) if stage in said)


def _learning(history: Sequence[dict[str, Any]], result: dict[str, Any], config: dict[str, Any]) -> dict[str, Any]:
    names, best_round = baseline_names(history), result.get("best_round")
    kept = best_round if isinstance(best_round, int) else None
    lineage = {name: result["provenance"][name] for name in LINEAGE if name in (result.get("provenance") or {})}
    return {
        "rounds": len(history),
        "supervised": supervised(config),
        "how": _how(config),
        "lineage": lineage,
        "plot": Markup(learning_plot(history, kept)),
        "legend": [("the policy of the round", arm_css(LEARNED, names))]
        + [(NAMES.get(name, name), arm_css(name, names)) for name in names],
        "tried": _tried(kept or 0, config),
        "best": kept + 1 if kept is not None and kept >= 0 and history else None,
        "kept_prior": kept is not None and kept < 0,
        "start": _start(config),
        "untried": len(history) <= 1 + _lag(config),
        "signal": signal(history).sentence if history and not supervised(config) else "",
    }


def drawn(examples: Sequence[tuple[Heatmap, Heatmap]]) -> dict[str, Any]:
    """(prior, learned) heatmaps of texts as HTML, on one scale; where nothing was learned, each is shown once."""
    top = scale_top(*(heatmap for pair in examples for heatmap in pair))
    pairs = [tuple(Markup(html_heatmap(heatmap, top)) for heatmap in pair) for pair in examples]
    alike = all(prior == learned for prior, learned in pairs)
    return {
        "pairs": [] if alike else pairs,
        "texts": [x for _, x in pairs] if alike else [],
        "legend": Markup(html_legend(top)),
        "sample": "The colour of a token is its probability of being masked.",
    }


def _words(words: Sequence[WordRow]) -> dict[str, Any]:
    lists = {
        "Most masked": most_masked(words, WORDS_SHOWN),
        "Least masked": least_masked(words, WORDS_SHOWN),
        "Raised most by learning": risers(words, WORDS_SHOWN),
        "Lowered most by learning": fallers(words, WORDS_SHOWN),
    }
    for one, other in (("Most masked", "Raised most by learning"), ("Least masked", "Lowered most by learning")):
        if lists[one][: len(lists[other])] == lists[other]:  # as from a uniform prior
            del lists[other]
    top = max((max(row.learned, row.prior) for rows in lists.values() for row in rows), default=1.0)
    changed = any(row.change for row in words)
    return {"lists": {name: rows for name, rows in lists.items() if rows}, "top": top or 1.0, "changed": changed}


def _seconds(history: Sequence[dict[str, Any]], result: dict[str, Any]) -> dict[str, float]:
    learning = [formats.as_number(record.get("seconds")) for record in history]
    trials = [mean([arm.seconds]) * len(arm.scores) for arm in arms(result)]
    sums = {"learning": learning, "evaluation": trials}
    return {name: sum(v for v in values if math.isfinite(v)) for name, values in sums.items()}
