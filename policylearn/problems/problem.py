"""Everything a rollout needs besides the policy, assembled from the config: rows, labels, models.

Two processes given the same config build the same problem, so no model ever travels: of a checkpoint, only by what it
is known to be the same.
"""

import copy
import platform
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from policylearn.config import Config, TaskConfig
from policylearn.masking import Vocabulary
from policylearn.messages.watch import UNSEEN, Watch
from policylearn.models.chunks import Indices
from policylearn.models.device import add_in_one_order, slow_bf16
from policylearn.models.model import InnerModel
from policylearn.models.parameters import sample_hash
from policylearn.protocols import Kind, Rows
from policylearn.tasks.labelled import Examples, check_metric

FOR_TEXTS = "this is for texts, and the config is one of pictures: patches.words"
LABELS = ("train", "dev")
"""Splits that whoever still has something to choose may look at."""


@dataclass(frozen=True)
class Data:
    """What of a problem is read from files: domain rows, class names, labelled splits (are they of pairs?).
    Read once, and made rows of, it is shared with all workers, who need not be able to open the files.

    `checkpoint` is `sample_hash` of θ₀ where that is one; empty: it is not known, and not compared. `codebook` is that
    of pictures, found among those of the domain."""

    domain: Rows
    labels: list[str]
    examples: dict[str, Any]
    task: TaskConfig
    pairs: bool = False
    checkpoint: str = ""
    codebook: Tensor | None = None


class Problem(ABC):
    """The differentiable problem of one config; what is expensive is made when first asked for.

    Args:
        config: the experiment.
        watch: shows how far long work is.
        data: of the same config, read before.
        device: where fresh models are.
        tell: is told in a few lines what the task is made of, when it is read, and other things worth knowing.

    Attributes:
        called: what its rows are, for a person.
        given: scorers of policies that were given, whose numbers the domain is to bring along, if its texts have them.
        memo: what is computed from it once, by modules that are built upon it.
    """

    called: str

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
        self.memo: dict[str, Any] = {}
        self.given: set[str] = set()
        self._examples: dict[str, Any] = {}
        self._data = data
        if data is not None:
            self._examples = dict(data.examples)
            known = {"domain": data.domain, "labels": data.labels, "task": data.task, "pairs": data.pairs}
            vars(self).update(known)  # where a cached property keeps what it has found

    # what is read from files

    def data(self) -> Data:
        """Everything read from files, for the problems of other processes."""
        examples = {split: self._read(split) for split in self._splits}
        checkpoint = "" if self.config.model.name is None else sample_hash(self._checkpoint)
        return Data(self.domain, self.labels, examples, self.task, self.pairs, checkpoint)

    @property
    def _splits(self) -> tuple[str, ...]:
        return ("train", "dev", "test", *self.config.task.extra_tests)

    def labelled(self, split: str) -> Any:
        """Train or dev as rows (kept after the first call): with targets, or questions with answers."""
        assert split in LABELS, f"{split} was touched while something was still to be chosen"
        return self._read(split)

    def examples(self, split: str) -> Examples:
        """The same of rows with targets. ValueError: the kind of task has others."""
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
            self._examples[split] = self._open(split)
            if "domain" in self.__dict__:
                self._tell_of_shared(self.domain, [split])
        return self._examples[split]

    @property
    @abstractmethod
    def domain(self) -> Rows:
        """Rows of the domain corpus, of which `_tell_of_shared` has been told. ValueError: something is wrong there."""

    @property
    @abstractmethod
    def task(self) -> TaskConfig:
        """The settings of the task with its kind and metric, for which rows may have to be read."""

    @property
    @abstractmethod
    def kind(self) -> Kind:
        """What kind of task it is: its batches, losses and metric."""

    @property
    @abstractmethod
    def labels(self) -> list[str]:
        """The label set, in the order of class indices; none where targets are no classes."""

    @property
    @abstractmethod
    def pairs(self) -> bool:
        """Whether a labelled row is a pair of texts."""

    @abstractmethod
    def _open(self, split: str) -> Any:
        """A labelled split, read from files."""

    def _tell_of_shared(self, domain: Rows, splits: Iterable[str]) -> None:
        """Say which of the splits the domain holds rows of; train and dev may be in it."""
        for split in splits:
            if split not in LABELS and (count := self.shared(rows := self._examples[split].rows, domain)):
                said = f"{count:,} of {len(rows):,} {split} {self.called} are in it too"
                self.tell(f"domain  {said}: pretraining sees them, without labels")

    # what is checked before anything is trained

    def check(self) -> None:
        """Touch everything a run will need, so that bad input costs seconds and not the end of a long run.

        Raises:
            ValueError: whatever is wrong with tokenizer, model, task or corpora.
        """
        self.check_task()
        self._tell_of_sizes()
        self._check_folds()
        self._check_corpora()

    def check_task(self) -> None:
        """The same of tokenizer, model and task alone."""
        self.tell_of_precision()
        self._check_model()
        for split in self._splits:
            self._read(split)
        check_metric(self.kind, self.labelled("dev"))

    @abstractmethod
    def _check_model(self) -> None:
        """Load θ₀, and see that it goes with the rows."""

    @abstractmethod
    def _check_corpora(self) -> None:
        """Open what is to be trained on, and what that is compared with."""

    def _check_folds(self) -> None:
        """Refuse more folds than there are examples, which the first rollout would find out."""
        folds, labels = self.config.outer.folds, len(self.labelled("train"))
        if self._has_outer_loss and folds > labels:
            raise ValueError(f"outer.folds = {folds}, and train has {labels} labelled examples: lower outer.folds")

    @property
    def _has_outer_loss(self) -> bool:
        """Whether some stage of learning draws support and query examples."""
        return bool({"rounds", "outcomes"} & {*self.config.learn.stages})

    def _tell_of_sizes(self) -> None:
        """Say of what there is less than is asked for."""
        outer, batch, labels = self.config.outer, self.config.inner.batch_size, len(self.labelled("train"))
        if self._has_outer_loss and outer.support > labels // 2:
            self.tell(f"outer.support  {outer.support} is cut to {labels // 2}, half of the labelled examples of train")
        if len(self.domain) < batch:
            self.tell(
                f"inner.batch_size  {batch}, and domain.path has {len(self.domain)} {self.called}: a batch repeats some"
            )

    def tell_of_precision(self) -> None:
        """Say where models will be slow because of it. Of workers with GPUs nothing is known here."""
        if self.config.model.bf16 and not self.config.cluster.gpus and (slow := slow_bf16("model.bf16")):
            self.tell(f"model  {slow}")

    # models

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

    @abstractmethod
    def _load(self, seed: int) -> InnerModel: ...

    @abstractmethod
    def input_embedding(self) -> Tensor:
        """What stands for each of V types at the input, [V, d], on the CPU: where policies are."""

    # types of places

    @property
    @abstractmethod
    def vocabulary(self) -> Vocabulary:
        """Tables of the V types. ValueError: units are asked for that nothing is known of."""

    @property
    @abstractmethod
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The tokenizer, which everything that reads texts asks for first. ValueError: there is none, it cannot be
        loaded, has no mask token, or does not go with the model or `masking.random_token_ids`."""

    @property
    @abstractmethod
    def own_tokenizer(self) -> PreTrainedTokenizerBase | None:
        """The tokenizer that goes along with its policies; None: they are over what needs none."""

    @property
    @abstractmethod
    def pad_id(self) -> int:
        """What fills up rows of a batch that are shorter than the longest."""

    @abstractmethod
    def names_of_types(self) -> list[str]:
        """What people call each of V types."""

    @abstractmethod
    def name_of(self, types: Sequence[int]) -> str:
        """What people call a word of these types."""

    @abstractmethod
    def types_met(self) -> np.ndarray:
        """Types that the domain has, in ascending order, int64."""

    @abstractmethod
    def types_of(self, examples: Examples, picked: Indices) -> Iterator[np.ndarray]:
        """Types of what each target of the picked examples is of."""

    @abstractmethod
    def alike(self, rows: Rows) -> np.ndarray:
        """For every row the first that is of the same content."""

    @abstractmethod
    def shared(self, rows: Rows, corpus: Rows) -> int:
        """How many rows are in a corpus as well."""
