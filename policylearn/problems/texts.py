"""A problem of texts: they are tokenised, and the task may be of any kind."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property, partial
from itertools import chain, islice
from typing import Any

import numpy as np
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from policylearn.config import TaskConfig
from policylearn.data.alike import same_words, shared, solid_types
from policylearn.data.benchmarks import BENCHMARKS
from policylearn.data.columns import COLUMN_SCORERS, Column, columns_of, read_columns, scorers_named
from policylearn.data.corpora import open_corpus, open_records
from policylearn.data.kinds import with_kind
from policylearn.data.opened import open_task
from policylearn.data.pairs import separator_of
from policylearn.data.questions import Questions
from policylearn.data.remarks import answer_lines, cut_line, marks_line
from policylearn.data.splits import unread_files
from policylearn.data.tokens import CHUNK, TokenRows, tokenize, tokenize_annotated
from policylearn.masking import Vocabulary, vocabulary
from policylearn.masking.field import check_random_tokens
from policylearn.masking.vocabulary import ids_of, mark_of, marks_words
from policylearn.messages.quote import some
from policylearn.models.chunks import Indices
from policylearn.models.loading import check_goes_with, load_model, text_ends
from policylearn.models.model import InnerModel
from policylearn.models.seq2seq import Seq2SeqModel
from policylearn.models.tokenizer import load_tokenizer
from policylearn.policy.scores import scorer_of
from policylearn.problems.problem import FOR_TEXTS, Problem
from policylearn.protocols import Kind
from policylearn.registry.known import KINDS
from policylearn.registry.registry import AUTO
from policylearn.report.pieces import legible
from policylearn.tasks.kind import TaskKind
from policylearn.tasks.labelled import Examples

TOKENISING = "tokenising texts of the domain corpus"
BY_MEAN = "it masks by its mean for every token type"


def of_texts(problem: Problem) -> "TextProblem":
    """A problem, by those members that only one of texts has. ValueError: it is of pictures."""
    if not isinstance(problem, TextProblem):
        raise ValueError(FOR_TEXTS)
    return problem


class TextProblem(Problem):
    """The differentiable problem of a config of texts; see `Problem`."""

    called = "texts"

    def check_task(self) -> None:
        """The same of tokenizer, model and task alone; and say where they are of the planted benchmark and the domain
        is not, or the other way round."""
        if self._is_made_up("domain"):
            self.tell("domain  texts of the planted benchmark, and the task is none of it: set domain.path")
        if self._is_made_up("task"):
            self.tell("task  labels of the planted benchmark, and the domain is none of it: set task.path")
        super().check_task()

    def _check_model(self) -> None:
        """Load it with its tokenizer, which are found to go together."""
        self.fresh_model(0)

    def _check_corpora(self) -> None:
        """See that there are texts in both."""
        if self._is_made_up("general"):
            self.tell("general  texts of the planted benchmark, for scorers that compare: set general.path")
        for which in ("domain", "general"):
            if next(open_corpus(self.config, which), None) is None:
                raise ValueError(f"{which}.path {getattr(self.config, which).path}: the corpus is empty")

    def _is_made_up(self, part: str) -> bool:
        """Whether it is a benchmark's, and the task or the domain is not."""
        paths = {name: getattr(self.config, name).path in BENCHMARKS for name in ("task", "domain", part)}
        return paths[part] and not (paths["task"] and paths["domain"])

    @cached_property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """That of the config, or of the benchmark."""
        config = self.config
        if config.model.tokenizer is None and config.model.name is None:
            if config.task.path not in BENCHMARKS:
                raise ValueError("a model built from model.architecture needs model.tokenizer, or set model.name")
            found: PreTrainedTokenizerBase = BENCHMARKS[config.task.path].tokenizer(config)
        else:
            found = load_tokenizer(config.model)
        if doubt := check_goes_with(config.model, found):
            self.tell(f"model  {doubt}")
        check_random_tokens(config.masking, ids_of(found))
        return found

    @property
    def own_tokenizer(self) -> PreTrainedTokenizerBase | None:
        """The same."""
        return self.tokenizer

    def names_of_types(self) -> list[str]:
        """As the tokenizer spells them, bytes as what they say; what was added to it is not spelt in bytes."""
        own, mark = self.tokenizer, mark_of(self.tokenizer)
        added = own.added_tokens_decoder
        names = [name or "" for name in own.convert_ids_to_tokens(list(range(ids_of(own))))]
        return [name if i in added else legible(name, mark) for i, name in enumerate(names)]

    def name_of(self, types: Sequence[int]) -> str:
        """As the tokenizer puts them together."""
        return str(self.tokenizer.decode(list(types)))

    def types_met(self) -> np.ndarray:
        """Token ids of the domain."""
        return np.unique(self.domain.flat).astype(np.int64)

    def types_of(self, examples: Examples, picked: Indices) -> Iterator[np.ndarray]:
        """Token ids of the text of each target, or of what part of it the target is of."""
        return examples.tokens_of(picked)

    def alike(self, rows: TokenRows) -> np.ndarray:  # type: ignore[override]
        """For every row the first that is of the same words."""
        return same_words(rows, solid_types(self.tokenizer))

    def shared(self, rows: TokenRows, corpus: TokenRows) -> int:  # type: ignore[override]
        """How many texts are in a corpus as well, token by token."""
        return shared(rows, corpus)

    @property
    def pad_id(self) -> int:
        """The tokenizer's."""
        return self.tokenizer.pad_token_id

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """Tables of the tokenizer's vocabulary; where it is not known what a word is, every token is one.

        Raises:
            ValueError: it is not known, and masking.unit asks for more than tokens.
        """
        words = self.config.masking.unit != "token" or marks_words(self.tokenizer)
        return vocabulary(self.tokenizer, words)

    @cached_property
    def _known(self) -> np.ndarray:
        """Types that say something of a text, [V] boolean."""
        return self.vocabulary.known.numpy()

    @cached_property
    def domain(self) -> TokenRows:
        """The domain corpus, tokenised, texts without a token that says something of them left out; with a column of
        numbers for every scorer of the prior, the arms or given policies that reads them from the corpus.

        Raises:
            ValueError: no text is left, or a column is missing that is not of a given policy alone, or wrong.
        """
        length = self.config.model.max_length
        if columns := self._columns():
            needed = [column.name for column in columns.values() if column.given is None]
            records = open_records(self.config, "domain", needed)
            annotated = self.watch(TOKENISING, read_columns(records, columns))
            rows = tokenize_annotated(annotated, self.tokenizer, length, split=True)
        else:
            texts = self.watch(TOKENISING, open_corpus(self.config, "domain"))
            rows = tokenize(texts, self.tokenizer, length, split=True)
        kept = rows.holding(self._known)
        if len(kept) < len(rows):
            left_out = f"{len(rows) - len(kept):,} of {len(rows):,} texts"
            self.tell(f"domain  {left_out} hold no token that the tokenizer knows and are left out")
        if not len(kept):
            raise ValueError(f"domain.path {self.config.domain.path} holds no text to train on")
        rows = rows if len(kept) == len(rows) else rows.take(kept)
        if written := marks_line(rows, self.tokenizer):
            self.tell(f"domain  {written}")
        self._tell_of_shared(rows, self._examples)
        return rows

    def _columns(self) -> dict[str, Column]:
        """Columns of the domain, by the scorer that reads them; texts may lack those of given policies."""
        evaluate, scores = self.config.evaluate, self.config.scores
        customs = (own.prior for arm, own in evaluate.custom.items() if arm in evaluate.arms)
        named = scorers_named(self.config) | set(map(scorer_of, chain.from_iterable(customs)))
        found = columns_of(named, scores)
        given = self._columns_given((self.given & COLUMN_SCORERS.keys()) - found.keys())
        return dict(sorted((found | given).items()))

    def _columns_given(self, scorers: set[str]) -> dict[str, Column]:
        """Those that given policies alone read, as far as one of the first texts has them; of others that is said."""
        if not scorers:
            return {}
        asked = columns_of(scorers, self.config.scores)
        has = set(chain.from_iterable(record for _, record in islice(open_records(self.config, "domain"), CHUNK)))
        for name in sorted(scorers):
            of_it = f"the scorer {name} of a given policy"
            if name not in asked:
                self.tell(f"domain  {COLUMN_SCORERS[name]} is not set, which {of_it} may need: {BY_MEAN}")
            elif asked[name].name not in has:
                self.tell(f"domain  no column {asked[name].name!r}, which {of_it} reads: {BY_MEAN}")
            elif name == "pos_column":
                self.tell(f"domain  tags for {of_it} have the weights of scores.pos_column.weights here, not its own")
        found = {name: column for name, column in asked.items() if column.name in has}
        return {name: replace(column, given=COLUMN_SCORERS[name]) for name, column in found.items()}

    @cached_property
    def pairs(self) -> bool:
        """Whether a row of the task has two texts."""
        mine = self.config.task.path not in BENCHMARKS
        return mine and len(getattr(self._task, "columns", ())) > 1

    @cached_property
    def labels(self) -> list[str]:
        """As the task has them."""
        return self._task.labels

    @cached_property
    def kind(self) -> Kind:
        """The one that the config names, or that rows are of."""
        return self._kind.build(self.task, self.labels, self.tokenizer, lambda: self.labelled("train"))

    @cached_property
    def task(self) -> TaskConfig:
        """The settings of the task; where its kind is inferred, with that."""
        return self._settings_and_task[0] if self.config.task.kind == AUTO else self.config.task

    @property
    def _kind(self) -> TaskKind:
        return KINDS.get(self.task.kind)

    @property
    def _task(self) -> Any:
        return self._settings_and_task[1]

    @cached_property
    def _settings_and_task(self) -> tuple[TaskConfig, Any]:
        config, why = self.config.task, ""
        if config.path in BENCHMARKS:
            task = BENCHMARKS[config.path].task(self.config)
        else:
            opened = open_task(config)
            config, why = with_kind(config, opened.head)
            task = KINDS.get(config.kind).read(config, opened)
        inferred = f", inferred: {why}" if why else ""
        others = [f"task  files that are not read: {some(found)}"] if (found := unread_files(config)) else []
        self.tell("\n".join([f"task  {config.kind}{inferred}", *KINDS.get(config.kind).describe(task), *others]))
        return config, task

    def _open(self, split: str) -> Any:
        """Tokenised, and described: what is cut, what the tokenizer does not know, what is written as marks."""
        shown = partial(self.watch, f"tokenising texts of {split}")
        found = self._kind.tokenize(self.config, self._task, split, self.tokenizer, shown)
        if cut := cut_line(split, found.rows, getattr(found, "lost", 0), self.config.model.max_length):
            self.tell(f"task  {cut}")
        if isinstance(found, Questions):
            for line in answer_lines(split, found, self.config.task.answer_length):
                self.tell(f"task  {line}")
        self._check_known(f"{split} rows", found.rows, "set model.tokenizer, or task.text")
        for what, rows in found.told.items() if isinstance(found, Questions) else ():
            self._check_known(f"{split} {what}", rows, "raise task.answer_length, or set model.tokenizer")
        if written := marks_line(found.rows, self.tokenizer, self.pairs):
            self.tell(f"task  {written}: {split}")
        return found

    def _check_known(self, what: str, rows: TokenRows, mend: str) -> None:
        """Tell of rows that hold special tokens alone, and refuse to begin where all do."""
        if nothing := len(rows) - len(rows.holding(self._known)):
            said = f"{nothing:,} of {len(rows):,} {what} hold no token that the tokenizer knows"
            if nothing == len(rows):
                raise ValueError(f"task.path {self.config.task.path}: {said}: {mend}")
            self.tell(f"task  {said}")

    def _load(self, seed: int) -> InnerModel:
        attention, tokenizer = self.config.inner.attention, self.tokenizer
        ends = text_ends(tokenizer)
        model = load_model(self.config.model, ids_of(tokenizer), tokenizer.pad_token_id, seed, attention, ends)
        if isinstance(model, Seq2SeqModel) and (objective := self.config.inner.objective) != "masked_lm":
            raise ValueError(
                f'inner.objective = "{objective}" does not go with an encoder–decoder, whose decoder sees the text it '
                'restores: set it to "masked_lm", or model.name or model.architecture to an encoder'
            )
        if self.config.task.answers is not None and not isinstance(model, Seq2SeqModel):
            raise ValueError(
                "task.answers needs an encoder–decoder: set model.name or model.architecture to one, such as "
                '{model_type = "bart"}'
            )
        if "token_type_ids" in tokenizer.model_input_names and self.pairs:
            model.read_pairs(separator_of(tokenizer))
        return model.to(self.device)

    def input_embedding(self) -> Tensor:
        """Input embeddings of θ₀ for the tokenizer's V types."""
        weight = self.fresh_model(0).mlm.get_input_embeddings().weight
        assert isinstance(weight, Tensor)
        return weight.detach()[: ids_of(self.tokenizer)].cpu().clone()
