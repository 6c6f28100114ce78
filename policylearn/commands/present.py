"""What a learned policy looks like: its favourite words, sample texts as heatmaps, the model card, the report."""

from collections.abc import Sequence
from pathlib import PurePath
from typing import Any

import numpy as np
import torch

from policylearn.artefact.card import model_card, usage
from policylearn.artefact.heatmaps import heatmaps
from policylearn.data.tokens import TokenRows
from policylearn.learning.lineage import Facts
from policylearn.pictures import PictureProblem
from policylearn.policy.policy import MaskingPolicy
from policylearn.problem import Problem
from policylearn.report.pictures import drawn_pictures
from policylearn.report.verdict import signal
from policylearn.report.words import WordRow, most_masked
from policylearn.runs.layout import POLICY, REPORT
from policylearn.runs.run import Run
from policylearn.runs.state import State

SAMPLE = 2000
"""Domain texts looked at for word statistics."""
EXAMPLES = 4
MIN_COUNT = 10
CARD_WORDS = 20


def word_rows(policy: MaskingPolicy, rows: TokenRows, problem: Problem, sample: int = SAMPLE) -> list[WordRow]:
    """Mean mask probability of every token type over its occurrences in the first `sample` rows of a corpus.

    Types seen fewer than `MIN_COUNT` times are left out: their means say little.
    """
    names = problem.names_of_types()
    size = len(names)
    count, learned, prior = np.zeros(size), np.zeros(size), np.zeros(size)
    for start in range(0, min(sample, len(rows)), 64):
        ids, real = rows.batch(range(start, min(start + 64, sample, len(rows))), problem.pad_id)
        eligible = policy.eligible(ids, real)
        with torch.no_grad():
            after, before = policy.probabilities(ids, real), policy.prior_probabilities(ids, real)
        types = policy.field.types(ids)[eligible].numpy()
        np.add.at(count, types, 1)
        np.add.at(learned, types, after[eligible].numpy())
        np.add.at(prior, types, before[eligible].numpy())
    kept = np.flatnonzero(count >= min(MIN_COUNT, count.max()))
    return [WordRow(names[i], int(count[i]), learned[i] / count[i], prior[i] / count[i]) for i in kept]


def favourites(policy: MaskingPolicy, words: list[WordRow]) -> list[WordRow]:
    """The words it likes to mask; none where it is uniform: there means differ by the lengths of texts alone."""
    logits = [policy.strengths, *policy.learned().values()]
    return most_masked(words, CARD_WORDS) if any(bool(x.any()) for x in logits) else []


def export_policy(run: Run, problem: Problem, policy: MaskingPolicy, state: State, facts: Facts) -> None:
    """Write `policy/`: usable from now on, whatever happens to the evaluation. `facts` are its lineage."""
    card = run_card(run, favourites(policy, word_rows(policy, problem.domain, problem)), state, facts, result=None)
    run.save_policy(POLICY, run.artefact(policy, problem.own_tokenizer, facts), card)


def report_run(run: Run, problem: Problem, policy: MaskingPolicy, state: State, result: dict, facts: Facts) -> None:
    """Write the HTML report, and the model card again, now with the comparison."""
    from policylearn.report.page import render_report  # here only: matplotlib takes a second to import

    words = word_rows(policy, problem.domain, problem)
    card = run_card(run, favourites(policy, words), state, facts, result)
    run.save_policy(POLICY, run.artefact(policy, problem.own_tokenizer, facts), card)
    page = render_report(
        title=f"policylearn: {run.config.name}",
        config=run.config.model_dump(mode="json"),
        history=state.history,
        result=result,
        examples=samples(problem, policy),
        words=words,
        policy=_without_machine(str(run.storage / POLICY)),
    )
    run.save_text(REPORT, page)


def samples(problem: Problem, policy: MaskingPolicy) -> Any:
    """A few rows of the domain under the policy, before and after learning: heatmaps, or pictures."""
    rows = range(min(EXAMPLES, len(problem.domain)))
    if isinstance(problem, PictureProblem):
        return drawn_pictures(policy, problem.domain.batch(rows)[0])
    return [heatmaps(policy, problem.tokenizer, problem.domain[i].tolist()) for i in rows]


def _without_machine(folder: str) -> str:
    """A folder as the reader would type it, without this machine's absolute paths."""
    return "/".join(PurePath(folder).parts[-2:]) if PurePath(folder).is_absolute() else folder


def run_card(run: Run, liked: list[WordRow], state: State, lineage: Facts, result: dict | None) -> str:
    """README.md of an exported policy: what it was made from, how, what it likes to mask, how it compared."""
    facts, masking, pictures = run.provenance(), run.config.masking, bool(run.config.patches.words)
    masked, kind, type_ = ("tokens to mask", "language", "token")
    if pictures:
        masked, kind, type_ = ("patches to hide", "image", "visual word")
    lines = [
        f"# Masking policy: {run.config.name}",
        "",
        f"Which {masked} when a masked {kind} model is further trained on this domain. Made with policylearn.",
        "",
        *usage(pictures),
        "",
        "## What it was made from",
        "",
        *(f"- {name}: {value}" for name, value in facts.items()),
        f"- rate: {masking.rate_in_words}, unit: {masking.unit}, design: {masking.design_in_words}",
        *(f"- {name}: {value}" for name, value in lineage.items()),
        *([f"- {signal(state.history).sentence}"] if state.history and "rounds" in run.config.learn.stages else []),
        "",
        "## What it likes to mask",
        "",
    ]
    if liked:
        lines += [", ".join(f"{row.word} {row.learned:.2f}" for row in liked), ""]
        lines.append(
            f"({type_} and its mean mask probability at rate {masking.usual_rate:g} over its occurrences in the first "
            f"{SAMPLE:,} rows of the domain corpus)"
        )
    else:
        lines.append("Nothing more than the rest: it is uniform.")
    if result and result["arms"]:
        about = "Fresh models trained under each policy's masks, scored on test, paired seeds"
        about += " (none: not trained further):" if "none" in result["arms"] else ":"
        lines += ["", "## How it compared", "", about, "", *comparison_lines(result)]
    return model_card("\n".join(lines) + "\n", facts)


def comparison_lines(result: dict) -> list[str]:
    """The comparison as lines of Markdown: arm, mean and standard deviation, score per seed, masked tokens."""
    rows = [
        f"| {arm} | {_mean_sd(values['scores'])} | {' '.join(f'{s:.3f}' for s in values['scores'])} "
        f"| {np.mean(values['masked_tokens']):,.0f} |"
        for arm, values in result["arms"].items()
    ]
    heading = f"| masks | {result['metric']}, mean ± sd | per seed | masked tokens |"
    return [heading, "|---|---|---|---|", *rows, *_extra_lines(result)]


def _extra_lines(result: dict) -> list[str]:
    return [
        f"| {arm}, on {split} | {_mean_sd(scores)} | {' '.join(f'{s:.3f}' for s in scores)} | |"
        for split, arms in result.get("extra", {}).items()
        for arm, scores in arms.items()
    ]


def _mean_sd(scores: Sequence[float]) -> str:
    return f"{np.mean(scores):.3f} ± {np.std(scores, ddof=1):.3f}" if len(scores) > 1 else f"{scores[0]:.3f}"
