"""Scores that the domain corpus brings along, or an entity recogniser makes: entities, parts of speech, your own.

Each is the mean of a token's numbers over its occurrences (see `data.columns`); the policy may also use the numbers of
the single occurrences.
"""

from collections.abc import Iterable, Iterator
from itertools import islice, tee
from typing import TYPE_CHECKING, Any

from policylearn.config.scores import EntityConfig
from policylearn.data.columns import columns_of, read_columns
from policylearn.data.tokens import CHUNK, Annotated, chunks, tokenize_annotated
from policylearn.masking.vocabulary import ids_of
from policylearn.models.agreement import check_rows, usable_positions
from policylearn.models.checkpoint import check_exists, listed, load_weights, reason
from policylearn.policy.scores import Scores
from policylearn.scores.occurrences import OccurrenceMeans
from policylearn.scores.sources import Sources

if TYPE_CHECKING:  # importing pipelines takes long, and few need one
    from transformers import TokenClassificationPipeline

BATCH, ROW = 64, 512
STRIDE = 64
"""Tokens that neighbouring parts of a text too long for the entity model share."""


def entity(sources: Sources) -> Scores:
    """Share of the occurrences of a type or word that are (part of) a named entity.

    From `scores.entity.column`, or else found by `scores.entity.model` in the first `scores.model_texts` texts. A type
    that does not occur has 0.

    Raises:
        ValueError: neither is set, or what `data.columns` and `find_entities` raise.
    """
    config = sources.config.entity
    if config.column is not None:
        return column_scores("entity", sources)
    if config.model is None:
        raise ValueError('scorer "entity" needs entities: set scores.entity.column or scores.entity.model')
    return means_of_column("entity", _recognised(sources, config.model), sources)


def pos_column(sources: Sources) -> Scores:
    """Mean of `scores.pos_column.weights` of the tags in `scores.pos_column.name`; a type that does not occur has 0."""
    return column_scores("pos_column", sources)


def column(sources: Sources) -> Scores:
    """Mean of the numbers in `scores.column.name`, as they are; a type that does not occur has 0."""
    return column_scores("column", sources)


def column_scores(name: str, sources: Sources) -> Scores:
    """Mean of the numbers in the column that a scorer reads; a type that does not occur has 0."""
    columns = columns_of([name], sources.config)
    records = sources.watch(
        f"column {columns[name].name!r} of texts of the domain corpus", sources.records([columns[name].name])
    )
    return means_of_column(name, read_columns(records, columns), sources)


def means_of_column(name: str, texts: Iterable[Annotated], sources: Sources) -> Scores:
    """Means over the occurrences of types and words, NaN left out, of one column of annotated texts."""
    means = OccurrenceMeans(sources.vocabulary, sources.lexicon)
    for chunk in chunks(texts, CHUNK):
        rows = tokenize_annotated(chunk, sources.tokenizer, ROW, split=True)
        for picked in rows.by_length(BATCH):
            ids, real = rows.batch(picked, sources.tokenizer.pad_token_id)
            means.add(ids, real, rows.values(picked, ids.shape[1])[name])
    return means.scores(unseen=0.0)


def _recognised(sources: Sources, name: str) -> Iterator[Annotated]:
    """Texts annotated by an entity model."""
    most = sources.config.model_texts
    few = islice(sources.domain(), most)
    texts, copy = tee(sources.watch("entities of texts of the domain", few, min(most, sources.domain_counts.documents)))
    spans = find_entities(copy, load_recogniser(name))
    columns = columns_of(["entity"], sources.config.model_copy(update={"entity": EntityConfig(column=name)}))
    return read_columns(zip(texts, ({name: found} for found in spans), strict=True), columns)


def find_entities(texts: Iterable[str], recogniser: "TokenClassificationPipeline") -> Iterator[list[list[Any]]]:
    """Entities of each text: spans [start, end, label] in characters. Long texts are read in overlapping parts."""
    assert recogniser.tokenizer is not None
    stride = min(STRIDE, recogniser.tokenizer.model_max_length // 4)
    for chunk in chunks(texts, BATCH):
        for found in recogniser(chunk, batch_size=BATCH, stride=stride):
            yield [[int(one["start"]), int(one["end"]), one["entity_group"]] for one in found]


def load_recogniser(name: str) -> "TokenClassificationPipeline":
    """The token classifier `name`, a path or Hub name, as a pipeline that joins pieces to entities.

    Raises:
        ValueError: it cannot be loaded, lacks weights, or none of its labels is "O".
    """
    from transformers import AutoModelForTokenClassification, AutoTokenizer, pipeline

    key, what = "scores.entity.model", "a token classifier"
    check_exists(key, name)
    model, missing = load_weights(AutoModelForTokenClassification, name, key, what, trust_remote_code=False)
    if missing:
        raise ValueError(f"{key} {name!r} is not {what}: it lacks {listed(missing)}")
    labels = sorted((model.config.id2label or {}).values())
    if "O" not in labels:
        raise ValueError(f'{key} {name!r} has the labels {labels[:20]}; one must be "O", for no entity')
    try:
        tokenizer = AutoTokenizer.from_pretrained(name, trust_remote_code=False)
    except Exception as error:  # storage boundary: a foreign file fails in any way it likes
        raise ValueError(f"the tokenizer of {key} {name!r} cannot be loaded: {reason(error)}") from error
    check_rows(model, ids_of(tokenizer), f"{key} {name!r}")
    # Some tokenizers do not know how much their model can read.
    tokenizer.model_max_length = min(tokenizer.model_max_length, usable_positions(model) or ROW)
    return pipeline("token-classification", model=model, tokenizer=tokenizer, aggregation_strategy="simple")
