"""The card of a policy that a run has learned: what it was made from, what it likes to mask, how it compared."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from policylearn.artefact.card import Use, model_card, usage
from policylearn.config import Config
from policylearn.learning.lineage import Facts
from policylearn.problems.problem import Problem
from policylearn.report.summary import NAMES, apart
from policylearn.report.verdict import signal, verdict
from policylearn.report.words import WordRow
from policylearn.runs.run import Run
from policylearn.runs.state import State

SAMPLE = 2000
"""Domain texts looked at for word statistics."""


def use_of(problem: Problem) -> Use:
    """What models a policy of a problem is for: those of its config."""
    if problem.config.patches.words:
        return "pictures"
    if problem.config.inner.objective == "masked_diffusion":
        return "diffusion"
    return "seq2seq" if problem.fresh_model(0).mlm.config.is_encoder_decoder else "texts"


def run_card(
    run: Run, use: Use, liked: list[WordRow], state: State, lineage: Facts, result: dict[str, Any] | None
) -> str:
    """README.md of an exported policy."""
    facts = run.provenance()
    lines = [
        *_heading(run.config, use),
        *_made_from(run.config, facts, lineage, state),
        *_likes(run.config, liked),
        *_compared(result),
    ]
    return model_card("\n".join(lines) + "\n", facts, pictures=use == "pictures")


def _heading(config: Config, use: Use) -> list[str]:
    masked, kind = ("patches to hide", "image") if use == "pictures" else ("tokens to mask", "language")
    return [
        f"# Masking policy: {config.name}",
        "",
        f"Which {masked} when a masked {kind} model is further trained on this domain. Made with policylearn.",
        "",
        *usage(use),
        "",
    ]


def _made_from(config: Config, facts: Facts, lineage: Facts, state: State) -> list[str]:
    masking, rounds = config.masking, state.history and "rounds" in config.learn.stages
    rate = "every one" if config.inner.objective == "masked_diffusion" else masking.rate_in_words
    return [
        "## What it was made from",
        "",
        *(f"- {name}: {value}" for name, value in facts.items()),
        f"- rate: {rate}, unit: {masking.unit}, design: {masking.design_in_words}",
        *(f"- {name}: {value}" for name, value in lineage.items()),
        *([f"- {signal(state.history).sentence}"] if rounds else []),
        "",
    ]


def _likes(config: Config, liked: list[WordRow]) -> list[str]:
    heading = ["## What it likes to mask", ""]
    type_ = "visual word" if config.patches.words else "token"
    if not liked:
        return [*heading, f"Nothing more than the rest: it is uniform over {type_}s."]
    return [
        *heading,
        ", ".join(f"{row.word} {row.learned:.2f}" for row in liked),
        "",
        f"({type_} and its mean mask probability at rate {config.masking.usual_rate:g} over its occurrences in the "
        f"first {SAMPLE:,} rows of the domain corpus)",
    ]


def _compared(result: dict[str, Any] | None) -> list[str]:
    if not (result and result["arms"]):
        return []
    about = "Fresh models trained under each policy's masks, scored on test, paired seeds"
    about += f" ({', '.join(own)}: other in more than masks)" if (own := apart(result)) else ""
    return ["", "## How it compared", "", verdict(result).sentence, "", f"{about}:", "", *comparison_lines(result)]


def comparison_lines(result: dict) -> list[str]:
    """The comparison as lines of Markdown: arm, mean and standard deviation, score per seed, masked tokens."""
    rows = [
        f"| {NAMES.get(arm, arm)} | {_mean_sd(values['scores'])} | {' '.join(f'{s:.3f}' for s in values['scores'])} "
        f"| {np.mean(values['masked_tokens']):,.0f} |"
        for arm, values in result["arms"].items()
    ]
    heading = f"| masks | {result['metric']}, mean ± sd | per seed | masked tokens |"
    return [heading, "|---|---|---|---|", *rows, *_extra_lines(result)]


def _extra_lines(result: dict) -> list[str]:
    return [
        f"| {NAMES.get(arm, arm)}, {name} | {_mean_sd(scores)} | {' '.join(f'{s:.3f}' for s in scores)} | |"
        for name, arms in result.get("extra", {}).items()
        for arm, scores in arms.items()
    ]


def _mean_sd(scores: Sequence[float]) -> str:
    return f"{np.mean(scores):.3f} ± {np.std(scores, ddof=1):.3f}" if len(scores) > 1 else f"{scores[0]:.3f}"
