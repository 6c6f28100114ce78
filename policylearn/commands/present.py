"""What a learned policy looks like: its favourite words, sample texts as heatmaps, the report."""

from collections.abc import Iterator
from pathlib import PurePath
from typing import Any

import numpy as np
import torch
from torch import Tensor

from policylearn.artefact.card import collator_lines, told_of_use
from policylearn.artefact.heatmaps import heatmaps
from policylearn.commands.card_of_run import SAMPLE, run_card, use_of
from policylearn.learning.lineage import Facts
from policylearn.policy.policy import Columns, MaskingPolicy
from policylearn.problems.pictures import PictureProblem
from policylearn.problems.problem import Problem
from policylearn.problems.texts import of_texts
from policylearn.protocols import Rows
from policylearn.report.pictures import drawn_pictures
from policylearn.report.words import WordRow, most_masked
from policylearn.runs.layout import POLICY, REPORT
from policylearn.runs.run import Run
from policylearn.runs.state import State

EXAMPLES = 4
MIN_COUNT = 10
CARD_WORDS = 20
SAME = 1e-6
"""Logits that are no further apart are."""


def word_rows(policy: MaskingPolicy, rows: Rows, problem: Problem) -> list[WordRow]:
    """Mean mask probability of every token type over its occurrences in the first `SAMPLE` rows of a corpus.

    Types seen fewer than `MIN_COUNT` times are left out: their means say little.
    """
    names = problem.names_of_types()
    size = len(names)
    count, learned, prior = np.zeros(size), np.zeros(size), np.zeros(size)
    for ids, real, columns in _sample(rows, problem):
        eligible = policy.eligible(ids, real)
        with torch.no_grad():
            after = policy.probabilities(ids, real, columns=columns)
            before = policy.prior_probabilities(ids, real, columns)
        types = policy.field.types(ids)[eligible].numpy()
        np.add.at(count, types, 1)
        np.add.at(learned, types, after[eligible].numpy())
        np.add.at(prior, types, before[eligible].numpy())
    kept = np.flatnonzero(count >= min(MIN_COUNT, count.max()))
    return [WordRow(names[i], int(count[i]), learned[i] / count[i], prior[i] / count[i]) for i in kept]


def _sample(rows: Rows, problem: Problem) -> Iterator[tuple[Tensor, Tensor, Columns]]:
    for start in range(0, min(SAMPLE, len(rows)), 64):
        picked = range(start, min(start + 64, SAMPLE, len(rows)))
        ids, real = rows.batch(picked, problem.pad_id)
        yield ids, real, rows.values(picked, ids.shape[1])


def favourites(policy: MaskingPolicy, words: list[WordRow], problem: Problem) -> list[WordRow]:
    """The words it likes to mask; none where it is uniform: there means differ by the lengths of texts alone."""
    uniform = not any(_differ(policy, *batch) for batch in _sample(problem.domain, problem))
    return [] if uniform else most_masked(words, CARD_WORDS)


def _differ(policy: MaskingPolicy, ids: Tensor, real: Tensor, columns: Columns) -> bool:
    """Whether logits do within any text, among what may be masked."""
    hidden = ~policy.eligible(ids, real)
    with torch.no_grad():
        logits = policy(ids, real, columns)
    spread = logits.masked_fill(hidden, -torch.inf).amax(1) - logits.masked_fill(hidden, torch.inf).amin(1)
    return bool((spread > SAME).any())


def export_policy(run: Run, problem: Problem, policy: MaskingPolicy, state: State, facts: Facts) -> None:
    """Write `policy/`: usable from now on, whatever happens to the evaluation. `facts` are its lineage."""
    liked = favourites(policy, word_rows(policy, problem.domain, problem), problem)
    use = use_of(problem)
    facts = told_of_use(use) | dict(facts)
    card = run_card(run, use, liked, state, facts, result=None)
    run.save_policy(POLICY, run.artefact(policy, problem.own_tokenizer, facts), card)


def report_run(run: Run, problem: Problem, policy: MaskingPolicy, state: State, result: dict, facts: Facts) -> None:
    """Write the HTML report, and the model card again, now with the comparison."""
    from policylearn.report.page import render_report  # here only: matplotlib takes a second to import

    words, use = word_rows(policy, problem.domain, problem), use_of(problem)
    facts = told_of_use(use) | dict(facts)
    card = run_card(run, use, favourites(policy, words, problem), state, facts, result)
    run.save_policy(POLICY, run.artefact(policy, problem.own_tokenizer, facts), card)
    page = render_report(
        title=f"policylearn: {run.config.name}",
        config=run.config.model_dump(mode="json"),
        history=state.history,
        result=result,
        examples=samples(problem, policy),
        words=words,
        usage=collator_lines(use, _without_machine(str(run.storage / POLICY))),
    )
    run.save_text(REPORT, page)


def samples(problem: Problem, policy: MaskingPolicy) -> Any:
    """A few rows of the domain under the policy, before and after learning: heatmaps, or pictures."""
    rows = range(min(EXAMPLES, len(problem.domain)))
    if isinstance(problem, PictureProblem):
        pictures = problem.domain
        return drawn_pictures(policy, pictures.batch(rows)[0], columns=pictures.values(rows))
    domain = of_texts(problem).domain
    texts = {i: domain[i].tolist() for i in rows}
    given = {i: domain.values([i], len(ids)) for i, ids in texts.items()}
    return [heatmaps(policy, problem.tokenizer, ids, given[i]) for i, ids in texts.items()]


def _without_machine(folder: str) -> str:
    """A folder as the reader would type it, without this machine's absolute paths."""
    return "/".join(PurePath(folder).parts[-2:]) if PurePath(folder).is_absolute() else folder
