"""The planted benchmarks by the name that a config calls them by."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from transformers import PreTrainedTokenizerFast

from policylearn.config import PLANTED, PLANTED_CONTEXT, PLANTED_FACTS, Config
from policylearn.data.planted import domain_corpus, general_corpus, planted_task, planted_tokenizer
from policylearn.data.planted_context import context_records, context_task, context_tokenizer
from policylearn.data.planted_facts import facts_answers, facts_general, facts_records, facts_task, facts_tokenizer

Record = tuple[str, dict[str, Any]]


@dataclass(frozen=True)
class Benchmark:
    """Functions of a config, all of the same few settings.

    Attributes:
        tokenizer: over its words.
        task: labelled texts, or questions.
        domain: unlabelled texts with their columns.
        general: texts of general language.
        answers: (config, split) → texts, each with the characters [start, end) of answers in it; None: nothing asks.
    """

    tokenizer: Callable[[Config], PreTrainedTokenizerFast]
    task: Callable[[Config], Any]
    domain: Callable[[Config], Iterator[Record]]
    general: Callable[[Config], Iterable[str]]
    answers: Callable[[Config, str], Iterator[tuple[str, list[tuple[int, int]]]]] | None = None


BENCHMARKS = {
    PLANTED: Benchmark(
        lambda config: planted_tokenizer(config.planted),
        lambda config: planted_task(config.planted),
        lambda config: ((text, {}) for text in domain_corpus(config.planted)),
        lambda config: general_corpus(config.planted),
    ),
    PLANTED_CONTEXT: Benchmark(
        lambda config: context_tokenizer(config.planted_context),
        lambda config: context_task(config.planted_context),
        lambda config: context_records(config.planted_context),
        lambda config: general_corpus(config.planted_context),
    ),
    PLANTED_FACTS: Benchmark(
        lambda config: facts_tokenizer(config.planted_facts),
        lambda config: facts_task(config.planted_facts),
        lambda config: facts_records(config.planted_facts),
        lambda config: facts_general(config.planted_facts),
        lambda config, split: facts_answers(config.planted_facts, split),
    ),
}
