"""Everything a rollout needs besides the policy, assembled from the config: tokenizer, texts, labels, models.

Two processes given the same config build the same problem, so it never travels.
"""

import copy
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import islice

import numpy as np
import torch
from torch import Tensor
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from policylearn.config import PLANTED, Config, CorpusConfig
from policylearn.data.planted import domain_corpus, general_corpus, planted_task, planted_tokenizer
from policylearn.data.records import read_records
from policylearn.data.task import Split, Task, load_task
from policylearn.data.tokens import TokenRows, tokenize
from policylearn.inner.model import InnerModel, check_exists, load_model
from policylearn.masking import special_table
from policylearn.scores import Sources, Watch, score_types


@dataclass(frozen=True)
class Examples:
    """One labelled split, tokenised: rows, and class indices y [N]."""

    rows: TokenRows
    y: Tensor

    def __len__(self) -> int:
        return len(self.y)


class Problem:
    """The differentiable problem of one config; what is expensive is made when first asked for.

    Args:
        config: the experiment.
        watch: shows progress on a corpus while it is read.
    """

    def __init__(self, config: Config, watch: Watch = lambda work, texts: texts) -> None:
        self.config = config
        self._watch = watch

    def check(self) -> None:
        """Touch everything a run will need, so that bad input costs seconds and not the end of a long run.

        Raises:
            ValueError: whatever is wrong with tokenizer, model, task or corpora.
        """
        self.fresh_model(0)
        for split in ("train", "dev", "test", *self.config.task.extra_tests):
            self.examples(split)
        for which in ("domain", "general"):
            if next(open_corpus(self.config, which), None) is None:
                raise ValueError(f"{which}.path {getattr(self.config, which).path}: the corpus is empty")

    @cached_property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The tokenizer. ValueError: it cannot be loaded, or has no mask token."""
        return load_tokenizer(self.config)

    @cached_property
    def special(self) -> Tensor:
        """[V] boolean: ids that are never masked."""
        return special_table(self.tokenizer.all_special_ids, len(self.tokenizer))

    @cached_property
    def domain(self) -> TokenRows:
        """The domain corpus, tokenised, texts of nothing but special tokens left out."""
        rows = tokenize(open_corpus(self.config, "domain"), self.tokenizer, self.config.model.max_length, split=True)
        kept = [i for i in range(len(rows)) if not bool(self.special[torch.from_numpy(rows[i])].all())]
        if not kept:
            raise ValueError(f"domain.path {self.config.domain.path} holds no text to train on")
        return (
            rows
            if len(kept) == len(rows)
            else TokenRows(np.concatenate([rows[i] for i in kept]), np.cumsum([0, *(len(rows[i]) for i in kept)]))
        )

    @cached_property
    def labels(self) -> list[str]:
        """The label set, in the order of class indices."""
        return self._task.labels

    @cached_property
    def _task(self) -> Task:
        planted = self.config.task.path == PLANTED
        return planted_task(self.config.planted) if planted else load_task(self.config.task)

    def examples(self, split: str) -> Examples:
        """A labelled split, tokenised (kept after the first call)."""
        if split not in self._examples:
            self._examples[split] = self._tokenise(self._task.splits[split])
        return self._examples[split]

    @cached_property
    def _examples(self) -> dict[str, Examples]:
        return {}

    def _tokenise(self, split: Split) -> Examples:
        rows = tokenize(split.texts, self.tokenizer, self.config.model.max_length)
        return Examples(rows, torch.tensor([self.labels.index(label) for label in split.labels]))

    def fresh_model(self, seed: int) -> InnerModel:
        """θ₀: the checkpoint, or a from-scratch architecture with weights drawn from `seed`."""
        if self.config.model.name is None:
            return self._load(seed)
        return copy.deepcopy(self._checkpoint)

    @cached_property
    def _checkpoint(self) -> InnerModel:
        return self._load(seed=0)

    def _load(self, seed: int) -> InnerModel:
        return load_model(self.config.model, len(self.tokenizer), self.tokenizer.pad_token_id, seed, attention="eager")

    def input_embedding(self) -> Tensor:
        """Input embeddings of θ₀ for the tokenizer's V types, [V, d]."""
        weight = self.fresh_model(0).mlm.get_input_embeddings().weight
        assert isinstance(weight, Tensor)
        return weight.detach()[: len(self.tokenizer)].clone()

    def word_vectors(self) -> Tensor:
        """Vectors scorers compare words by, [V, d]: see `scores.embedding`."""
        if self.config.scores.embedding == "input":
            return self.input_embedding()
        return encode_alone(self.fresh_model(0), self.tokenizer)

    @cached_property
    def sources(self) -> Sources:
        """What scorers read."""
        return Sources(
            self.config.scores,
            self.tokenizer,
            lambda: open_corpus(self.config, "domain"),
            lambda: open_corpus(self.config, "general"),
            self.word_vectors,
            self.special,
            self._watch,
        )

    def scores(self, names: Iterable[str]) -> dict[str, Tensor]:
        """Score tables [V] by scorer name, each computed once."""
        for name in names:
            if name not in self._scores:
                self._scores[name] = score_types(name, self.sources)
        return {name: self._scores[name] for name in sorted(names)}

    @cached_property
    def _scores(self) -> dict[str, Tensor]:
        return {}


def load_tokenizer(config: Config) -> PreTrainedTokenizerBase:
    """The tokenizer of a config.

    Raises:
        ValueError: it cannot be loaded, has no mask or padding token, or is not a fast tokenizer.
    """
    name = config.model.tokenizer or config.model.name
    if name is None:
        if config.task.path != PLANTED:
            raise ValueError("a model built from model.architecture needs model.tokenizer, or set model.name")
        return planted_tokenizer(config.planted)
    check_exists("model.tokenizer" if config.model.tokenizer else "model.name", name)
    try:
        tokenizer = AutoTokenizer.from_pretrained(name)
    except (OSError, ValueError) as error:  # storage boundary
        raise ValueError(f"tokenizer {name!r} cannot be loaded: {error}") from error
    if not tokenizer.is_fast:
        raise ValueError(f"tokenizer {name!r} is a slow one; policylearn needs its fast version (tokenizer.json)")
    for token in ("mask_token", "pad_token"):
        if getattr(tokenizer, token) is None:
            raise ValueError(f"tokenizer {name!r} has no {token}: masked language modelling needs one")
    return tokenizer


def open_corpus(config: Config, which: str) -> Iterator[str]:
    """A stream of the texts of config.domain or config.general."""
    corpus: CorpusConfig = getattr(config, which)
    if corpus.path == PLANTED:
        texts = domain_corpus(config.planted) if which == "domain" else general_corpus(config.planted)
        return islice(texts, corpus.limit)
    records = read_records(corpus.path, (corpus.text,), key=f"{which}.path")
    return (str(record[corpus.text]) for record in islice(records, corpus.limit))


def encode_alone(model: InnerModel, tokenizer: PreTrainedTokenizerBase, batch: int = 1024) -> Tensor:
    """Every token type as the encoder sees it alone between its special tokens, mean-pooled; [V, d]."""
    around = tokenizer("")["input_ids"]
    before, after = around[: len(around) // 2], around[len(around) // 2 :]
    vectors = []
    for start in range(0, len(tokenizer), batch):
        ids = range(start, min(start + batch, len(tokenizer)))
        rows = torch.tensor([[*before, i, *after] for i in ids])
        with torch.no_grad():
            vectors.append(model(rows, torch.ones_like(rows, dtype=torch.bool)))
    return torch.cat(vectors)
