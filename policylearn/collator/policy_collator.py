"""PolicyCollator: a policy as the data collator of any trainer. Needs neither ray, higher nor datasets."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor
from transformers import BatchEncoding, PreTrainedTokenizerBase
from transformers.data.data_collator import DataCollatorMixin

from policylearn.artefact import PolicyArtefact, load_policy
from policylearn.collator.clock import Clock, Timed
from policylearn.collator.examples import (
    PROTECTED,
    check_scores,
    protected_by_labels,
    protected_positions,
    seen_positions,
)
from policylearn.collator.overrides import Overrides
from policylearn.collator.packing import Masking, documents_of, mask_documents
from policylearn.collator.padding import Batch, Padding, Rows, as_numpy, assemble, flattened, is_flat, rows_of
from policylearn.collator.settings import check_made_of, check_settings, check_speaks, check_tokenizer, is_switch
from policylearn.collator.sights import Sights, among_equals, draw_of
from policylearn.collator.words import CHINESE_REF, WORD_IDS, OwnWords, word_numbers
from policylearn.masking.corruption import IGNORED, predictable
from policylearn.masking.eligibility import look_up
from policylearn.masking.field import text_field
from policylearn.masking.keys import example_keys
from policylearn.policy.policy import MaskingPolicy, mask_tokens, uniform_policy
from policylearn.policy.scores import scorer_of

ExampleRows = Rows | Sequence[Sequence[int]]
DROPPED = ("labels", "offset_mapping", "text_score")
"""Columns that are made anew, or not needed: the last is of `annotate`, for whoever chooses texts."""


@dataclass
class PolicyCollator(Timed, DataCollatorMixin):
    """Pads examples and masks them as a policy says: a picklable callable for HF Trainer, Accelerate, Lightning
    or a plain `DataLoader`, with the fields and the override points of `DataCollatorForLanguageModeling`.

    A mask depends on (seed, epoch, the example's own tokens): not on workers, ranks, neighbours, padding or packing. Of
    tokens those count that the policy sees: prompts that `own_labels` or `special_tokens_mask` protect do not, and one
    answer has the same mask after any of them, as if it were one text.
    Tell the collator the epoch with `set_epoch`, or let a callback of `policylearn.trainers` do it; without it, every
    batch drawn counts as its own epoch, so masks differ between epochs all the same (two runs have the same ones if
    seed, order and number of workers are).

    A stream may come to a text again within an epoch. There, the n-th time that a process (a worker, a rank) sees a
    text in an epoch it has another mask than before; for n > 1 that one depends on the process as well. Workers see
    that they read a stream, and the callbacks tell where there are none. A process counts in 8 MB: beyond some hundred
    thousand different texts it takes a few for seen that were not, whose masks then depend on what came before.

    What differs from `DataCollatorForLanguageModeling`: every text has its exact share masked, at least one token
    (unless the policy's design is "independent"); no global random state is read or changed, with a seed or without; an
    `attention_mask` is always added, but for packed rows without one; whole words need no `offset_mapping`,
    `torch_mask_tokens` is not handed any, and words too are replaced by the two shares; and where nothing in a batch
    can be masked, its first token is to be predicted as it stands: a loss of no label would be NaN.

    Attributes:
        tokenizer: whose ids the policy speaks; pads.
        mlm: False: nothing is masked, labels are the tokens, or the example's own if they count (-100 on padding).
        whole_word_mask: True masks words, False tokens; None: the unit of the policy.
        mlm_probability: masking rate; None: that of the policy, which may have a schedule.
        mask_replace_prob, random_replace_prob: the shares shown as [MASK] and as a random token; None: the policy's.
        pad_to_multiple_of: the width of a batch is a multiple of it, unless it is put together already.
        return_tensors: "pt" or "np".
        seed: another seed, other masks; None is 0.
        policy: π_φ, alone or as `load_policy` gives it; None: every token is as likely as any other. It may also come
            first: `PolicyCollator(load_policy("org/name"), tokenizer)`, where there is no place for `mlm`.
        vary_repeats: True: a text that comes again within an epoch has another mask each time a process sees it, of
            the process's own, whatever the data; False: never; None: in streams, and in data sets that callbacks find
            to be copies of one.
        words: what is a word where the tokenizer's pieces do not tell, or tell otherwise: "word_ids" or "chinese_ref",
            columns of the examples, or a function of an example, see `policylearn.collator.words`; None: the pieces.
            Words are masked whole under `whole_word_mask=True`, or a policy whose unit is no token.
        own_labels: True: where the column `labels` of an example is -100, nothing is masked; False: it is made anew.

    Raises:
        ValueError: the tokenizer has no mask token, pads with it or has other tokens than the policy, as far as number,
            mask and special ones tell, or a setting is of a wrong type or out of its range.

    >>> from policylearn.config import PlantedConfig
    >>> from policylearn.data.planted import planted_tokenizer
    >>> tokenizer = planted_tokenizer(PlantedConfig(class_words=5, distractor_words=6, generic_words=30))
    >>> collator = PolicyCollator(tokenizer, mlm_probability=0.4)  # 2, 3, 4 are [CLS], [SEP], [MASK]
    >>> collator.set_epoch(0)
    >>> batch = collator([{"input_ids": [2, 20, 21, 22, 23, 24, 3]}, {"input_ids": [2, 30, 31, 3]}])
    >>> batch["input_ids"]
    tensor([[ 2,  4, 21, 22, 23,  4,  3],
            [ 2, 30,  4,  3,  0,  0,  0]])
    >>> batch["labels"]
    tensor([[-100,   20, -100, -100, -100,   24, -100],
            [-100, -100,   31, -100, -100, -100, -100]])
    """

    tokenizer: PreTrainedTokenizerBase
    mlm: bool = True
    whole_word_mask: bool | None = None
    mlm_probability: float | None = None
    mask_replace_prob: float | None = None
    random_replace_prob: float | None = None
    pad_to_multiple_of: int | None = None
    return_tensors: str = "pt"
    seed: int | None = None
    policy: MaskingPolicy = None  # type: ignore[assignment]  # set below
    vary_repeats: bool | None = None
    own_labels: bool = False
    words: OwnWords | None = None

    def __new__(cls, *fields: Any, **named: Any) -> Self:
        """ValueError: `mlm` is named, in whose place the tokenizer stands behind a policy."""
        behind = len(fields) > 1 and isinstance(fields[0], PolicyArtefact)
        if "mlm" in named and behind and isinstance(fields[1], PreTrainedTokenizerBase):
            raise ValueError(f"mlm has no place behind a policy: give {cls.__name__}(tokenizer, mlm=..., policy=...)")
        return super().__new__(cls)

    def __post_init__(self) -> None:
        self.generator: torch.Generator | np.random.Generator | None = None
        self._clock, self._sights, self._overrides = Clock(), Sights(), Overrides()
        self._speaks: tuple[Any, ...] = ()
        self._check_fields()

    def _check_fields(self) -> None:
        """Refuse fields that are of no use, as they are now: asked before every batch, for all may have changed."""
        self._take_apart()
        check_settings(vars(self))
        check_made_of(self.tokenizer, self.policy, masks=self.mlm)
        self.policy = (self.policy or uniform_policy(self.tokenizer)).eval()
        self._check_speaks()
        self._overrides.under(vars(self))

    def _check_speaks(self) -> None:
        """Once for each pair, for a vocabulary is long; anew where tokens were added, or became special."""
        own = self.tokenizer
        pair = own, self.policy, self.mlm, len(own), own.mask_token_id, own.all_special_ids
        if pair != self._speaks:
            check_speaks(own, self.policy, masks=self.mlm)
            self._speaks = pair

    def _take_apart(self) -> None:
        """What `load_policy` gives may be the policy, and come first: PolicyCollator(run.policy, tokenizer)."""
        if isinstance(self.tokenizer, PolicyArtefact):
            given, mlm = (None, self.mlm) if is_switch(self.mlm) else (self.mlm, True)
            artefact = self.tokenizer
            self.tokenizer, self.mlm, self.policy = artefact.speaks if given is None else given, mlm, artefact
        if isinstance(self.policy, PolicyArtefact):
            if isinstance(self.tokenizer, PreTrainedTokenizerBase):
                self.policy.check_tokenizer(self.tokenizer)
            self.policy = self.policy.policy

    @classmethod
    def from_pretrained(
        cls,
        source: str | Path,
        tokenizer: PreTrainedTokenizerBase | None = None,
        revision: str | None = None,
        **options: Any,
    ) -> "PolicyCollator":
        """Load an exported policy from a folder or the Hub.

        Args:
            source: folder with a policy artefact, a URI such as s3://bucket/policy, or "org/name" on the Hub.
            tokenizer: the one the policy was learned with; None: the copy that came with the policy.
            revision: branch, tag or commit on the Hub.
            options: the fields above.

        Raises:
            ValueError: no such policy, a damaged one, or another tokenizer.
            StorageFailed: the place of a URI cannot be reached.
        """
        artefact: PolicyArtefact = load_policy(source, revision)
        if tokenizer is not None:
            check_tokenizer(tokenizer)
            artefact.check_tokenizer(tokenizer)
        return cls(tokenizer or artefact.speaks, policy=artefact.policy, **options)

    @classmethod
    def from_scorer(
        cls,
        scorer: str,
        tokenizer: PreTrainedTokenizerBase,
        corpus: Any = None,
        general: Any = None,
        model: Any = None,
        **options: Any,
    ) -> "PolicyCollator":
        """A heuristic as a policy, nothing learned: mask what a scorer ranks highest.

        Args:
            scorer: its name, "tficf" for one.
            tokenizer: of the model to train.
            corpus, general: texts of the domain, and general ones for scorers that compare the two: iterables or files;
                see `policylearn.scores.heuristic.scorer_policy`, which has more settings.
            model: the masked language model, or its name, for scorers that ask it.
            options: the fields above.

        Raises:
            ValueError: the scorer is not known, or something it reads is missing.
        """
        from policylearn.scores.heuristic import scorer_policy  # the extra `train` is needed for this alone

        check_tokenizer(tokenizer)
        return cls(tokenizer, policy=scorer_policy(scorer, tokenizer, corpus, general, model=model).policy, **options)

    def create_rng(self) -> None:
        """Asked before every batch for as long as there is a seed and no `self.generator`. A subclass that sets one
        here has masks follow that generator instead of seed and epoch; as it is, nothing here has a state."""

    def get_generator(self, seed: int) -> torch.Generator | np.random.Generator:
        """A generator as `create_rng` may set one."""
        return torch.Generator().manual_seed(seed) if self.return_tensors == "pt" else np.random.default_rng(seed)

    def torch_call(self, examples: ExampleRows) -> BatchEncoding:
        """Examples → input_ids, attention_mask, labels and what else they hold, in PyTorch.

        Args:
            examples: mappings with `input_ids`, or lists of token ids; or a batch that is put together already, one
                mapping of arrays [B, T], or [T] where documents stand end to end and `cu_seqlens` says where. Rows may
                hold several documents, see `policylearn.collator.packing`: each is masked as if it stood alone.
                A column named after a scorer of the policy holds scores of the example's own tokens, which replace the
                scorer's table, NaN where none is known. `special_tokens_mask` protects further tokens from being
                masked.

        Returns:
            labels are -100 where nothing is to be predicted; `masking.copies` rows of every example, in a row.

        Raises:
            ValueError: a column does not fit the tokens, or a token is none of the tokenizer's.
        """
        return BatchEncoding(self._call(examples, self.torch_mask_tokens))

    def numpy_call(self, examples: ExampleRows) -> BatchEncoding:
        """The same in NumPy."""

        def mask(*text: Tensor, **scores: Tensor) -> tuple[Tensor, Tensor]:
            given = {name: column.numpy() for name, column in scores.items()}
            shown, labels = self.numpy_mask_tokens(*(x.numpy() for x in text), **given)
            return torch.as_tensor(shown), torch.as_tensor(labels)

        batch = self._call(examples, mask)
        return BatchEncoding({name: as_numpy(x) for name, x in batch.items()})

    def torch_mask_tokens(
        self, inputs: Tensor, special_tokens_mask: Any = None, offset_mapping: Any = None, **scores: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Corrupted input_ids and labels for token ids [B, T]; override it to have the last word on a batch.

        Args:
            inputs: [B, T], one document per row.
            special_tokens_mask: [B, T], True where nothing may be masked, padding included; None: what the tokenizer
                calls special.
            offset_mapping: not needed; words are known from the tokens.
            scores: scorer → [B, T] scores that came with the text; and as "word_ids" its own words.
        """
        policy, real = self._read(inputs, special_tokens_mask, scores)
        drawn_by = self._draw(policy, inputs, real)
        masked = mask_tokens(policy, inputs, real, *drawn_by, self._clock.progress, scores)
        return masked.shown, masked.labels

    def _read(
        self, inputs: Tensor, special_tokens_mask: Any, scores: dict[str, Tensor]
    ) -> tuple[MaskingPolicy, Tensor]:
        """The policy under the settings of now, which knows the words that came among the scores, and what it is to see
        of the tokens, [B, T] boolean."""
        policy = self._overrides.under(vars(self))
        if (numbers := scores.pop(WORD_IDS, None)) is not None:
            policy = policy.with_words(numbers)
        special = text_field(policy.field).special
        protected = look_up(special, inputs) if special_tokens_mask is None else torch.as_tensor(special_tokens_mask)
        return policy, seen_positions(inputs, protected.bool(), special, self._padding_id())

    def numpy_mask_tokens(
        self, inputs: Any, special_tokens_mask: Any = None, offset_mapping: Any = None, **scores: Any
    ) -> tuple[Any, Any]:
        """`torch_mask_tokens` for arrays."""
        given = {name: torch.as_tensor(column) for name, column in scores.items()}
        shown, labels = PolicyCollator.torch_mask_tokens(
            self, torch.as_tensor(inputs), special_tokens_mask, None, **given
        )
        return shown.numpy(), labels.numpy()

    def _call(self, examples: ExampleRows, mask: Masking) -> Batch:
        self._check_fields()
        if self.seed is not None and self.generator is None:
            self.create_rng()
        rows = self._kept(examples)
        batch, real = assemble(rows, Padding.of(self.tokenizer, self.pad_to_multiple_of))
        ids, documents = batch["input_ids"], documents_of(batch, real)
        protected = protected_positions(ids, real, text_field(self.policy.field).special, batch.pop(PROTECTED, None))
        own = [WORD_IDS] if self.words is not None else []
        scores = {name: batch.pop(name) for name in (*self._scorers(), *own) if name in batch}
        if "attention_mask" not in batch and documents is None:
            # Beside an attention mask, models overlook that `position_ids` begin anew.
            batch["attention_mask"] = real.long()
        if self.mlm and ids.numel():
            shown, labels = mask_documents(mask, documents, ids, real, protected, scores, self._padding_id())
            batch |= {"input_ids": shown, "labels": self._predictable(labels, ids, real)}
        else:
            labels = batch.pop("labels") if self.own_labels and not self.mlm else ids
            batch["labels"] = labels.masked_fill(~real, IGNORED)
        return flattened(batch) if is_flat(rows) else batch

    def _predictable(self, labels: Tensor, ids: Tensor, real: Tensor) -> Tensor:
        """Labels as the loss of this collator's batches takes them, which must not be a mean of nothing."""
        return predictable(labels, ids, real)

    def _kept(self, examples: ExampleRows) -> Rows:
        """Without the columns that are made anew or not needed; scores are checked while examples can be named."""
        copies, given = self.policy.masking.copies, rows_of(examples)
        if isinstance(given, Mapping):
            if copies > 1:
                raise ValueError(f"masking.copies {copies} of a batch that is put together: give examples one by one")
            check_scores([given], self._scorers())
            return self._without_labels(given)
        rows = [row if isinstance(row, Mapping) else {"input_ids": row} for row in given]
        check_scores(rows, self._scorers())
        return [kept for row in rows for kept in [self._without_labels(row)] * copies]

    def _without_labels(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """Where own labels count, what they protect is protected as special tokens are."""
        kept = {name: value for name, value in row.items() if name not in DROPPED}
        if self.own_labels:
            kept[PROTECTED] = protected_by_labels(row)
        if self.own_labels and not self.mlm:
            kept["labels"] = row["labels"]
        if self.words is not None:
            kept = {name: value for name, value in kept.items() if name != CHINESE_REF}
            kept[WORD_IDS] = word_numbers(row, self.words, self.tokenizer)
        return kept

    def _padding_id(self) -> int:
        return 0 if self.tokenizer.pad_token_id is None else self.tokenizer.pad_token_id

    def _scorers(self) -> list[str]:
        return sorted({scorer_of(name) for name in self.policy.names})

    def _draw(self, policy: MaskingPolicy, inputs: Tensor, real: Tensor) -> tuple[int, int | Tensor]:
        """Seed and draw of the batch at hand, a draw per row where texts may come again, and of copies."""
        keys = partial(example_keys, inputs, real, 0)
        copy = among_equals(keys()) if policy.masking.copies > 1 else 0
        if isinstance(self.generator, torch.Generator):
            return int(torch.randint(1 << 62, (), generator=self.generator)), copy
        if self.generator is not None:
            return int(self.generator.integers(1 << 62)), copy
        return int(self.seed or 0), draw_of(self._clock, self._sights, keys, self.vary_repeats, policy.masking)
