"""Everything a rollout needs besides the policy, assembled from the config: tokenizer, texts, labels, models.

Two processes given the same config build the same problem, so no model ever travels: of a checkpoint, only by what it
is known to be the same.
"""

import copy
import platform
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from policylearn.config import Config, TaskConfig
from policylearn.data.alike import same_words, shared, solid_types
from policylearn.data.benchmarks import BENCHMARKS
from policylearn.data.columns import columns_of, read_columns
from policylearn.data.corpora import open_corpus, open_records
from policylearn.data.kinds import with_kind
from policylearn.data.opened import open_task
from policylearn.data.pairs import separator_of
from policylearn.data.questions import Questions
from policylearn.data.remarks import answer_lines, cut_line, marks_line
from policylearn.data.splits import unread_files
from policylearn.data.tokens import TokenRows, tokenize, tokenize_annotated
from policylearn.masking import Vocabulary, vocabulary
from policylearn.masking.field import check_random_tokens
from policylearn.masking.vocabulary import ids_of, known_types, marks_words
from policylearn.messages.quote import some
from policylearn.messages.watch import UNSEEN, Watch
from policylearn.models.chunks import Indices
from policylearn.models.device import add_in_one_order, slow_bf16
from policylearn.models.loading import check_goes_with, load_model, text_ends
from policylearn.models.model import InnerModel
from policylearn.models.parameters import sample_hash
from policylearn.models.seq2seq import Seq2SeqModel
from policylearn.models.tokenizer import load_tokenizer
from policylearn.policy.scores import scorer_of
from policylearn.protocols import Kind
from policylearn.registry.known import KINDS
from policylearn.registry.registry import AUTO
from policylearn.tasks.kind import TaskKind
from policylearn.tasks.labelled import Examples, check_metric

TOKENISING = "tokenising texts of the domain corpus"


LABELS = ("train", "dev")
"""Splits that whoever still has something to choose may look at."""


@dataclass(frozen=True)
class Data:
    """What of a problem is read from files: domain rows, class names, labelled splits (are they of pairs?).
    Read and tokenised once, it is shared with all workers, who need not be able to open the files.

    `checkpoint` is `sample_hash` of θ₀ where that is one; empty: it is not known, and not compared. `codebook` is that
    of pictures, found among those of the domain."""

    domain: TokenRows
    labels: list[str]
    examples: dict[str, Any]
    task: TaskConfig
    pairs: bool = False
    checkpoint: str = ""
    codebook: Tensor | None = None


class Problem:
    """The differentiable problem of one config; what is expensive is made when first asked for.

    Args:
        config: the experiment.
        watch: shows how far long work is.
        data: of the same config, read before.
        device: where fresh models are.
        tell: is told in a few lines what the task is made of, when it is read, and other things worth knowing.
    """

    called = "texts"
    """What its rows are, for a person."""

    def __init__(
        self,
        config: Config,
        watch: Watch = UNSEEN,
        data: Data | None = None,
        device: str = "cpu",
        tell: Callable[[str], None] = lambda lines: None,
    ) -> None:
        if device == "cuda":
            add_in_one_order()
        self.config = config
        self.device = device
        self.watch, self.tell = watch, tell
        self._examples: dict[str, Any] = {}
        self.memo: dict[str, Any] = {}
        """What is computed from it once, by modules that are built upon it."""
        self._data = data
        if data is not None:
            self.domain, self.labels, self._examples = data.domain, data.labels, dict(data.examples)
            self.task, self.pairs = data.task, data.pairs

    def data(self) -> Data:
        """Everything read from files, for the problems of other processes."""
        examples = {split: self._read(split) for split in self._splits}
        checkpoint = "" if self.config.model.name is None else sample_hash(self._checkpoint)
        return Data(self.domain, self.labels, examples, self.task, self.pairs, checkpoint)

    @property
    def _splits(self) -> tuple[str, ...]:
        return ("train", "dev", "test", *self.config.task.extra_tests)

    def check(self) -> None:
        """Touch everything a run will need, so that bad input costs seconds and not the end of a long run.

        Raises:
            ValueError: whatever is wrong with tokenizer, model, task or corpora.
        """
        self.check_task()
        self._tell_of_sizes()
        if self._is_made_up("general"):
            self.tell("general  texts of the planted benchmark, for scorers that compare: set general.path")
        for which in ("domain", "general"):
            if next(open_corpus(self.config, which), None) is None:
                raise ValueError(f"{which}.path {getattr(self.config, which).path}: the corpus is empty")

    def _tell_of_sizes(self) -> None:
        """Say of what there is less than is asked for."""
        outer, batch, labels = self.config.outer, self.config.inner.batch_size, len(self.labelled("train"))
        if "rounds" in self.config.learn.stages and outer.support > labels // 2:
            self.tell(f"outer.support  {outer.support} is cut to {labels // 2}, half of the labelled examples of train")
        if len(self.domain) < batch:
            self.tell(
                f"inner.batch_size  {batch}, and domain.path has {len(self.domain)} {self.called}: a batch repeats some"
            )

    def check_task(self) -> None:
        """The same of tokenizer, model and task alone."""
        self.tell_of_precision()
        if self._is_made_up("domain"):
            self.tell("domain  texts of the planted benchmark, and the task is none of it: set domain.path")
        if self._is_made_up("task"):
            self.tell("task  labels of the planted benchmark, and the domain is none of it: set task.path")
        self.fresh_model(0)
        for split in self._splits:
            self._read(split)
        check_metric(self.kind, self.labelled("dev"))

    def _is_made_up(self, part: str) -> bool:
        """Whether it is a benchmark's, and the task or the domain is not."""
        paths = {name: getattr(self.config, name).path in BENCHMARKS for name in ("task", "domain", part)}
        return paths[part] and not (paths["task"] and paths["domain"])

    def tell_of_precision(self) -> None:
        """Say where models will be slow because of it. Of workers with GPUs nothing is known here."""
        if self.config.model.bf16 and not self.config.cluster.gpus and (slow := slow_bf16("model.bf16")):
            self.tell(f"model  {slow}")

    @cached_property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The tokenizer, which everything that reads texts asks for first. ValueError: it cannot be loaded, has no mask
        token, or does not go with the model or `masking.random_token_ids`."""
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
        """The tokenizer that goes along with its policies; None: they are over what needs none."""
        return self.tokenizer

    def names_of_types(self) -> list[str]:
        """What people call each of V types."""
        return [name or "" for name in self.tokenizer.convert_ids_to_tokens(list(range(ids_of(self.tokenizer))))]

    def name_of(self, types: Sequence[int]) -> str:
        """What people call a word of these types."""
        return str(self.tokenizer.decode(list(types)))

    def types_met(self) -> np.ndarray:
        """Types that the domain has, in ascending order, int64."""
        return np.unique(self.domain.flat).astype(np.int64)

    def types_of(self, examples: Examples, picked: Indices) -> Iterator[np.ndarray]:
        """Types of what each target of the picked examples is of."""
        return examples.tokens_of(picked)

    def alike(self, rows: TokenRows) -> np.ndarray:
        """For every row the first that is of the same words."""
        return same_words(rows, solid_types(self.tokenizer))

    def shared(self, rows: TokenRows, corpus: TokenRows) -> int:
        """How many rows are in a corpus as well."""
        return shared(rows, corpus)

    @property
    def pad_id(self) -> int:
        """What fills up rows of a batch that are shorter than the longest."""
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
        return known_types(self.tokenizer, self.vocabulary.special).numpy()

    @cached_property
    def domain(self) -> TokenRows:
        """The domain corpus, tokenised, texts without a token that says something of them left out; with a column of
        numbers for every scorer of the prior or the arms that reads them from the corpus.

        Raises:
            ValueError: no text is left, or a column is missing or wrong.
        """
        length = self.config.model.max_length
        names = {scorer_of(name) for name in (*self.config.policy.prior, *self.config.evaluate.arms)}
        if columns := columns_of(sorted(names), self.config.scores):
            records = open_records(self.config, "domain", [column.name for column in columns.values()])
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
        for split in self._examples:
            self._tell_if_shared(split, rows)
        return rows

    @cached_property
    def pairs(self) -> bool:
        """Whether a labelled text is a pair of texts."""
        mine = self.config.task.path not in BENCHMARKS
        return mine and len(getattr(self._task, "columns", ())) > 1

    @cached_property
    def labels(self) -> list[str]:
        """The label set, in the order of class indices; none where targets are no classes."""
        return self._task.labels

    @cached_property
    def kind(self) -> Kind:
        """What kind of task it is: its batches, losses and metric."""
        return self._kind.build(self.task, self.labels, self.tokenizer, lambda: self._read("train"))

    @cached_property
    def task(self) -> TaskConfig:
        """The settings of the task with its kind and metric, for which rows may have to be read."""
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

    def labelled(self, split: str) -> Any:
        """Train or dev, tokenised (kept after the first call): texts with targets, or questions with answers."""
        assert split in LABELS, f"{split} was touched while something was still to be chosen"
        return self._read(split)

    def examples(self, split: str) -> Examples:
        """The same of texts with targets. ValueError: the kind of task has others."""
        if not isinstance(found := self.labelled(split), Examples):
            kind = self.task.kind
            why = f'task.kind "{kind}" has none: set outer.adaptation and evaluate.downstream to "finetune"'
            if kind == "questions":
                why = "task.answers makes the task one of questions: unset it"
            raise ValueError(f"this needs texts with one target each, but {why}")
        return found

    def tests(self) -> dict[str, Any]:
        """Test, and further test splits by name: for the last line of a trial, when dev has chosen everything."""
        return {split: self._read(split) for split in self._splits if split not in LABELS}

    def _read(self, split: str) -> Any:
        if split not in self._examples:
            shown = partial(self.watch, f"tokenising texts of {split}")
            self._examples[split] = found = self._kind.tokenize(self.config, self._task, split, self.tokenizer, shown)
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
            if "domain" in self.__dict__:
                self._tell_if_shared(split, self.domain)
        return self._examples[split]

    def _check_known(self, what: str, rows: TokenRows, mend: str) -> None:
        """Tell of rows that hold special tokens alone, and refuse to begin where all do."""
        if nothing := len(rows) - len(rows.holding(self._known)):
            said = f"{nothing:,} of {len(rows):,} {what} hold no token that the tokenizer knows"
            if nothing == len(rows):
                raise ValueError(f"task.path {self.config.task.path}: {said}: {mend}")
            self.tell(f"task  {said}")

    def _tell_if_shared(self, split: str, domain: TokenRows) -> None:
        if split not in LABELS and (count := self.shared(rows := self._examples[split].rows, domain)):
            said = f"{count:,} of {len(rows):,} {split} {self.called} are in it too"
            self.tell(f"domain  {said}: pretraining sees them, without labels")

    def fresh_model(self, seed: int) -> InnerModel:
        """θ₀: the checkpoint, or a from-scratch architecture with weights drawn from `seed`. ValueError: it cannot be
        loaded, or is not the checkpoint that `data` was read beside."""
        if self.config.model.name is None:
            return self._load(seed)
        return copy.deepcopy(self._checkpoint)

    @property
    def has_loaded(self) -> bool:
        """Whether a checkpoint has been asked for yet: some scorers need none."""
        return "_checkpoint" in self.__dict__

    @property
    def remark(self) -> str:
        """What a reader of results should know of θ₀: that its head is random, or nothing. Loads it."""
        return "" if self.config.model.name is None else self._checkpoint.remark

    @cached_property
    def _checkpoint(self) -> InnerModel:
        model, known = self._load(seed=0), self._data.checkpoint if self._data is not None else ""
        if known and sample_hash(model) != known:
            raise ValueError(
                f"model.name {self.config.model.name} is another model on {platform.node()} than where the run began: "
                "set model.revision to a commit, or put the same files there"
            )
        return model

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
        """Input embeddings of θ₀ for the tokenizer's V types, [V, d], on the CPU: where policies are."""
        weight = self.fresh_model(0).mlm.get_input_embeddings().weight
        assert isinstance(weight, Tensor)
        return weight.detach()[: ids_of(self.tokenizer)].cpu().clone()
