"""The two corpora of a config, domain and general, as streams of texts: planted, or read from files."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import chain, islice
from typing import Any

from policylearn.config import Config, CorpusConfig
from policylearn.data.benchmarks import BENCHMARKS, Record
from policylearn.data.records import matching_files, read_records


def open_corpus(config: Config, which: str) -> Iterator[str]:
    """A stream of the texts of config.domain or config.general."""
    corpus: CorpusConfig = getattr(config, which)
    if corpus.path in BENCHMARKS and which == "general":
        return islice(BENCHMARKS[corpus.path].general(config), corpus.limit)
    return (text for text, _ in open_records(config, which))


def corpus_shards(config: Config, which: str) -> list[Callable[[], Iterator[str]]]:
    """Functions that open a stream of texts each, together those of `open_corpus`: one per file, or one for all of a
    corpus that is limited."""
    corpus: CorpusConfig = getattr(config, which)
    if corpus.path in BENCHMARKS or corpus.limit is not None:
        return [partial(open_corpus, config, which)]
    files = matching_files(corpus.path, f"{which}.path")
    parts = [config.model_copy(update={which: corpus.model_copy(update={"path": file})}) for file in files]
    return [partial(open_corpus, part, which) for part in parts]


def open_records(config: Config, which: str, columns: Sequence[str] = ()) -> Iterator[tuple[str, dict[str, Any]]]:
    """A stream of config.domain or config.general: each text with its record, which holds the named columns.

    Raises:
        ValueError: a record lacks a column, or the corpus is the planted one, which has none.
    """
    corpus: CorpusConfig = getattr(config, which)
    if corpus.path in BENCHMARKS:
        return islice(_planted_records(BENCHMARKS[corpus.path].domain(config), columns), corpus.limit)
    records = chain.from_iterable(
        read_records(
            file,
            (corpus.text, *columns),
            key=f"{which}.path",
            configuration=corpus.configuration,
            revision=corpus.revision,
            settings=_settings_of(config, which),
            text=corpus.text,
            nullable=columns,
        )
        for file in matching_files(corpus.path, f"{which}.path")
    )
    return ((record[corpus.text], record) for record in islice(records, corpus.limit))


def _planted_records(records: Iterator[Record], columns: Sequence[str]) -> Iterator[Record]:
    """The records of a benchmark, which must have these columns."""
    for text, record in records:
        if missing := [column for column in columns if column not in record]:
            named = ", ".join(missing)
            raise ValueError(f"the planted corpus has no column {named}: take out the scorer that reads it")
        yield text, record


def _settings_of(config: Config, which: str) -> dict[str, str]:
    """Column → the setting that names it."""
    scores = config.scores
    read = (("entity.column", scores.entity.column), ("pos_column.name", scores.pos_column.name))
    named = (*read, ("column.name", scores.column.name))
    scored = {column: f"scores.{key}" for key, column in named if column is not None}
    return scored | {getattr(config, which).text: f"{which}.text"}
