"""A problem scored: what its scorers read, what they say, and the policies that start from that."""

from collections.abc import Iterable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from policylearn.config import MaskingConfig, PolicyConfig
from policylearn.credit.domain import domain_credits, measured_under
from policylearn.data.corpora import corpus_shards, open_corpus, open_records
from policylearn.data.tokens import TokenRows
from policylearn.masking import TextField, vocabulary
from policylearn.masking.vocabulary import marks_words
from policylearn.policy.networks import token_features
from policylearn.policy.policy import MaskingPolicy
from policylearn.policy.scores import Scores, scorer_of
from policylearn.problems.pictures import PictureProblem
from policylearn.problems.problem import Problem
from policylearn.problems.texts import TextProblem, of_texts
from policylearn.scores.counting import CorpusCounts
from policylearn.scores.pictures import PictureSources
from policylearn.scores.registry import checked, score
from policylearn.scores.sources import Sources
from policylearn.tasks.labelled import class_examples

SOURCES, SCORES = "sources", "scores"
"""What is kept in `Problem.memo`."""


def scores_of(problem: Problem, names: Iterable[str]) -> dict[str, Scores]:
    """Scores by scorer name, each computed once for a problem.

    Raises:
        ValueError: a scorer is not known, or what it reads is missing or wrong.
    """
    wanted, known = sorted(set(names)), problem.memo.setdefault(SCORES, {})
    for name in wanted:
        if name not in known:
            known[name] = score(name, sources_of(problem))
    return {name: known[name] for name in wanted}


def use_scores(problem: Problem, name: str, found: Scores) -> None:
    """From now on the scores of a scorer are these, which were computed elsewhere."""
    problem.memo.setdefault(SCORES, {})[name] = checked(name, found, sources_of(problem))


def sources_of(problem: Problem) -> Any:
    """What scorers read, `Sources` or `PictureSources`; corpora are counted once for a problem."""
    if SOURCES not in problem.memo:
        problem.memo[SOURCES] = (
            _picture_sources(problem) if isinstance(problem, PictureProblem) else _sources(of_texts(problem))
        )
    return problem.memo[SOURCES]


def _sources(problem: TextProblem) -> Sources:
    config = problem.config
    return Sources(
        config.scores,
        problem.tokenizer,
        problem.vocabulary,
        domain=lambda: open_corpus(config, "domain"),
        general=lambda: open_corpus(config, "general"),
        records=lambda columns: open_records(config, "domain", columns),
        model=lambda: problem.fresh_model(0).cpu(),
        labelled=lambda: _labelled(problem),
        domain_rows=lambda: problem.domain,
        credits=lambda: domain_credits(problem, build_uniform(problem)),
        credited=lambda: measured_under(problem),
        watch=problem.watch,
        counter=partial(_count_on_ray, problem) if config.scores.count_on_ray else None,
    )


def _picture_sources(problem: PictureProblem) -> PictureSources:
    return PictureSources(
        problem.config.scores,
        problem.field(problem.config.masking),
        problem.vocabulary,
        problem.names_of_types(),
        domain=lambda: problem.domain,
        general=lambda: problem.general,
        model=lambda: problem.fresh_model(0).cpu(),
        watch=problem.watch,
        credits=lambda: domain_credits(problem, build_uniform(problem)),
        credited=lambda: measured_under(problem),
    )


def _labelled(problem: Problem) -> tuple[TokenRows, Tensor]:
    train = class_examples(problem.kind, problem.labelled("train"), "a scorer that reads labels")
    return cast(TokenRows, train.rows), train.y


def _count_on_ray(problem: Problem, which: str, only: np.ndarray | None) -> CorpusCounts:
    from policylearn.cluster.counting import count_corpus_on_ray  # here only: who counts here needs no Ray

    shards = corpus_shards(problem.config, which)
    watch = partial(problem.watch, f"counting texts of the {which} corpus", size=lambda part: part.documents)
    return count_corpus_on_ray(problem.config, shards, problem.tokenizer, problem.vocabulary, only, watch=watch)


def build_policy(
    problem: Problem, config: PolicyConfig, masking: Mapping[str, Any] = MappingProxyType({})
) -> MaskingPolicy:
    """A policy before any learning; `masking` is what differs from the configured settings."""
    scores = scores_of(problem, map(scorer_of, config.prior))
    needs_lexicon = any(found.words is not None for found in scores.values())
    lexicon = torch.from_numpy(sources_of(problem).lexicon.keys) if needs_lexicon else torch.zeros(0, dtype=torch.int64)
    features = torch.zeros(0, 0)
    if config.network != "none":  # whose embeddings take a model, and a second of a large vocabulary
        types = {name: found.types for name, found in scores.items()}
        features = token_features(problem.input_embedding(), types, config.features)
    return MaskingPolicy(config, scores, lexicon, features, build_field(problem, masking))


def build_uniform(problem: Problem) -> MaskingPolicy:
    """The policy under which every token, or unit, is as likely as any other."""
    return build_policy(problem, PolicyConfig(prior={}, network="none"))


def build_field(problem: Problem, masking: Mapping[str, Any] = MappingProxyType({})) -> Any:
    """The `Field`: tables by which texts are cut into units, or how pictures are; `masking` is what differs from the
    configured settings."""
    settings = MaskingConfig.model_validate(problem.config.masking.model_dump() | dict(masking))
    if isinstance(problem, PictureProblem):
        return problem.field(settings)
    if settings.unit != "token" and not marks_words(problem.tokenizer):
        vocabulary(problem.tokenizer)  # says why that cannot be
    if settings.unit != "collocation":
        return TextField(problem.vocabulary, settings)
    found = sources_of(problem).collocations
    return TextField(problem.vocabulary, settings, found.keys, found.longest)
