"""A scorer as a policy, straight from texts, nothing learned: no config, no labels, no run."""

import os
import warnings
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from importlib.metadata import version
from typing import Any, NoReturn

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from policylearn.artefact import PolicyArtefact
from policylearn.config import MaskingConfig, ModelConfig, PolicyConfig, ScoresConfig
from policylearn.config.renamed import rename
from policylearn.data.records import matching_files, read_records
from policylearn.data.text import text_of
from policylearn.data.tokens import tokenize
from policylearn.masking import TextField, vocabulary
from policylearn.masking.vocabulary import ids_of, marks_words
from policylearn.models.agreement import check_rows, usable_positions
from policylearn.models.loading import load_model
from policylearn.models.model import InnerModel
from policylearn.models.tokenizer import difference_to_own
from policylearn.models.whole import inner_model
from policylearn.policy.adaptive import check_follows_no_model, default_strength
from policylearn.policy.policy import MaskingPolicy
from policylearn.policy.scores import scorer_of
from policylearn.scores.registry import score
from policylearn.scores.sources import Sources

Corpus = Iterable[str] | str | os.PathLike[str]
"""Texts, a column of a data set, or a file (.txt, .jsonl, .csv, .parquet, …, a pattern of several)."""
ROW = 128
"""Tokens per row where a model reads the corpus, or as many as it has positions for."""


def scorer_policy(
    scorer: str,
    tokenizer: PreTrainedTokenizerBase,
    corpus: Corpus | None = None,
    general: Corpus | None = None,
    *,
    model: PreTrainedModel | str | None = None,
    strength: float | None = None,
    masking: MaskingConfig | Mapping[str, Any] | None = None,
    settings: ScoresConfig | Mapping[str, Any] | None = None,
    column: str = "text",
) -> PolicyArtefact:
    """A policy that masks by a scorer alone: logit = strength · score.

    ==============================  ==================================================================
    scorer                          reads
    ==============================  ==================================================================
    uniform                         nothing
    entity                          corpus, and ``settings={"entity": {"model": …}}``
    idf, pmi, informative           corpus
    tficf                           corpus, general
    difference                      corpus, general, model
    loss                            corpus, model
    ==============================  ==================================================================

    "amlm" follows the mistakes of the model in training, which a policy by itself does not see: it is an arm of
    `policylearn evaluate` only.

    Args:
        scorer: its name; "tficf:rank" goes by rank within the text.
        tokenizer: a fast one, of the model that will be trained.
        corpus: texts of the domain.
        general: ordinary texts, to tell what is typical of the domain.
        model: a masked language model, or its path or name on the Hub.
        strength: what the scores are multiplied with; None: that of the arm of this name in an evaluation.
        masking: rate, unit, design, as in the section [masking] of a config.
        settings: as in the section [scores] and those inside of it.
        column: of the text, where a corpus is a file.

    Raises:
        ValueError: the scorer is not known, or reads what was not given; a setting or a corpus is wrong; or the model
            is of another tokenizer, or a checkpoint that lacks weights of its encoder.

    >>> from policylearn.config import PlantedConfig
    >>> from policylearn.data.planted import planted_tokenizer
    >>> texts = ["class0_01 generic_001", "class0_01 generic_002"]
    >>> found = scorer_policy("idf", planted_tokenizer(PlantedConfig()), texts, masking={"rate": 0.3})
    >>> found.policy.names, found.policy.masking.rate
    (['idf'], 0.3)
    """
    check_follows_no_model(scorer)
    cut = MaskingConfig.model_validate(masking or {})
    words = marks_words(tokenizer) or cut.unit != "token"  # else every token is one

    @cache
    def theta() -> InnerModel:
        return _model(scorer, model, tokenizer)

    sources = Sources(
        _scores_config(settings or {}),
        tokenizer,
        vocabulary(tokenizer, words),
        domain=_opened(scorer, "corpus", corpus, column),
        general=_opened(scorer, "general", general, column),
        records=lambda columns: _refuse(scorer, f"reads the column {', '.join(columns)} of a corpus"),
        model=theta,
        labelled=lambda: _refuse(scorer, "learns from labelled examples"),
        domain_rows=lambda: tokenize(sources.domain(), tokenizer, _row(theta()), split=True),
    )
    policy = _policy(scorer, sources, strength, cut)
    provenance = {"scorer": scorer, "tokenizer": os.path.basename(tokenizer.name_or_path) or "unnamed"}
    if theta.cache_info().currsize and (remark := theta().remark):
        warnings.warn(f"model {model}: {remark}", stacklevel=3)
        provenance["remark"] = remark
    return PolicyArtefact(policy, tokenizer, provenance | {"policylearn": version("policylearn")})


def _scores_config(settings: ScoresConfig | Mapping[str, Any]) -> ScoresConfig:
    given = settings if isinstance(settings, ScoresConfig) else rename({"scores": settings}, "settings").get("scores")
    return ScoresConfig.model_validate(given or {})


def _policy(scorer: str, sources: Sources, strength: float | None, masking: MaskingConfig) -> MaskingPolicy:
    name = scorer_of(scorer)
    found = score(name, sources)
    lexicon = torch.from_numpy(sources.lexicon.keys) if found.words is not None else torch.zeros(0, dtype=torch.int64)
    config = PolicyConfig(prior={scorer: default_strength(scorer) if strength is None else strength}, network="none")
    joined = sources.collocations if masking.unit == "collocation" else None
    cut = (joined.keys, joined.longest) if joined else ()
    return MaskingPolicy(
        config, {name: found}, lexicon, torch.zeros(0, 0), TextField(sources.vocabulary, masking, *cut)
    )


class _Texts:
    """A corpus that may be read any number of times."""

    def __init__(self, name: str, corpus: Corpus, column: str) -> None:
        self.name, self.column = name, column
        # An iterator is spent when it was read once.
        self.corpus = list(corpus) if isinstance(corpus, Iterator) else corpus

    def __call__(self) -> Iterator[str]:
        if isinstance(self.corpus, str | os.PathLike):
            for file in matching_files(os.fspath(self.corpus), self.name):
                yield from self._read(file)
            return
        advice = 'give strings, a file, or a column of a data set, dataset["text"]'
        for place, text in enumerate(self.corpus):
            yield text_of(text, self.name, f"item {place}", advice)

    def _read(self, file: str) -> Iterator[str]:
        named = {self.column: "column"}
        records = read_records(file, named, key=self.name, settings=named, text=self.column)
        return (record[self.column] for record in records)


def _opened(scorer: str, name: str, corpus: Corpus | None, column: str) -> Any:
    if corpus is not None:
        return _Texts(name, corpus, column)
    what = {"corpus": "texts of the domain", "general": "general text, to compare the domain with"}[name]
    return lambda: _missing(scorer, what, name)


def _model(scorer: str, model: PreTrainedModel | str | None, tokenizer: PreTrainedTokenizerBase) -> InnerModel:
    if model is None:
        _missing(scorer, "a masked language model", "model")
    if isinstance(model, PreTrainedModel):
        check_rows(model, ids_of(tokenizer), "model")
        return inner_model(model.eval())
    name = str(model)
    if difference := difference_to_own(tokenizer, name):
        raise ValueError(f"the tokenizer is not that of model {name!r}: {difference}; load it with that of the model")
    shortest = ModelConfig(name=name, max_length=8)  # rows are made as long as the model allows
    return load_model(shortest, ids_of(tokenizer), tokenizer.pad_token_id, seed=0, attention=None)


def _row(model: InnerModel) -> int:
    return min(ROW, usable_positions(model.mlm) or ROW)


def _missing(scorer: str, what: str, name: str) -> NoReturn:
    raise ValueError(f"scorer {scorer!r} reads {what}: give it as {name}=…")


def _refuse(scorer: str, what: str) -> NoReturn:
    raise ValueError(
        f"scorer {scorer!r} {what}, which texts alone do not have: write a config, and export it with "
        f"`policylearn score CONFIG --scorer {scorer} --out DIR`"
    )
