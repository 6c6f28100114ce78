"""A problem of pictures: they are cut into patches; visual words are found once, and go along with the data."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from typing import cast

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from policylearn.config import BENCHMARKS, MaskingConfig, TaskConfig
from policylearn.data.alike import same_pixels, shared_pixels
from policylearn.data.overview import describe_task
from policylearn.data.picture_task import picture_task, splits_of
from policylearn.data.pictures import PatchRows, Pictures, read_pictures, unread
from policylearn.data.task import Task
from policylearn.masking import Vocabulary
from policylearn.masking.grid import Grid, grid_of
from policylearn.masking.patches import PatchField, in_short, scale_of
from policylearn.masking.visual_words import visual_words
from policylearn.masking.vocabulary import ANY
from policylearn.models.chunks import Indices
from policylearn.models.picture import (
    PictureModel,
    check_hides,
    load_picture_model,
    other_scale,
    picture_config,
    processor_fields,
)
from policylearn.problems.problem import FOR_TEXTS, Data, Problem
from policylearn.protocols import Kind
from policylearn.tasks.classification import Classification
from policylearn.tasks.labelled import Examples, Labelled

WORDS_FROM = 2000
"""Pictures of the domain, evenly spaced, that visual words are found in."""


class PictureProblem(Problem):
    """The differentiable problem of a config with `patches.words`; see `Problem`."""

    called = "pictures"

    def data(self) -> Data:
        """The same, with the visual words."""
        return replace(super().data(), codebook=self.codebook)

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """There is none."""
        raise ValueError(FOR_TEXTS)

    @property
    def own_tokenizer(self) -> None:
        """There is none."""
        return None

    def names_of_types(self) -> list[str]:
        """By number, and by row and column of the field of the picture that it is in, if there are several."""
        side = self.config.patches.zones
        places = [f" in {row + 1}.{column + 1}" if side > 1 else "" for row in range(side) for column in range(side)]
        return [f"word {number}{place}" for number in range(len(self.codebook)) for place in places]

    def name_of(self, types: Sequence[int]) -> str:
        """Of the one type of a patch."""
        return self.names_of_types()[types[0]]

    def types_met(self) -> np.ndarray:
        """Types that the domain has, in ascending order, int64."""
        return np.unique(np.concatenate(list(self._types(self.domain, range(len(self.domain))))))

    def types_of(self, examples: Examples, picked: Indices) -> Iterator[np.ndarray]:
        """Types of the patches of each picked picture."""
        return self._types(cast(PatchRows, examples.rows), picked)

    def _types(self, rows: PatchRows, picked: Indices) -> Iterator[np.ndarray]:
        field = self.field(self.config.masking)
        return (field.types(rows.batch([int(row)])[0])[0].numpy() for row in picked)

    def alike(self, rows: PatchRows) -> np.ndarray:  # type: ignore[override]
        """For every picture the first that has the same pixels."""
        return same_pixels(rows)

    def shared(self, rows: PatchRows, corpus: PatchRows) -> int:  # type: ignore[override]
        """How many pictures are in a corpus as well, pixel by pixel."""
        return shared_pixels(rows, corpus)

    @property
    def pad_id(self) -> int:
        """All rows are equally long."""
        return 0

    @cached_property
    def grid(self) -> Grid:
        """How pictures are cut. ValueError: into patches that do not fill them, or the model is not known."""
        return grid_of(picture_config(self.config.model))

    @cached_property
    def codebook(self) -> Tensor:
        """Centroids of the visual words of the domain, [K, d]; a worker has those of whoever read the pictures."""
        if self._data is not None and self._data.codebook is not None:
            return self._data.codebook
        rows = self.domain
        return visual_words(rows.batch(rows.spread(WORDS_FROM))[0], self.config.patches.words)

    def field(self, masking: MaskingConfig) -> PatchField:
        """What may be hidden."""
        patches = self.config.patches
        return PatchField(self.codebook, self.grid, masking, patches.zones, patches.mean, patches.std)

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """Of V types, each a word by itself, none special."""
        size = self.field(self.config.masking).size
        anything = torch.full((size,), ANY, dtype=torch.int8)
        nothing = torch.zeros(size, dtype=torch.bool)
        return Vocabulary(nothing, ~nothing, anything, anything)

    @cached_property
    def domain(self) -> PatchRows:
        """The pictures to be trained on."""
        rows = self._read_corpus("domain")
        self._tell_of_shared(rows, self._examples)
        return rows

    @cached_property
    def general(self) -> PatchRows:
        """General pictures, which the domain is compared with. ValueError: none are named."""
        if self.config.general.path in BENCHMARKS:
            raise ValueError(
                "general.path is not set: name general pictures, with which the scorers difference and tficf compare "
                "those of the domain; without these scorers any will do, such as the domain's"
            )
        return self._read_corpus("general")

    @cached_property
    def pairs(self) -> bool:
        """No."""
        return False

    @cached_property
    def task(self) -> TaskConfig:
        """Classes, by accuracy unless another metric is named."""
        known = self.config.task.model_dump() | {"kind": "classification"}
        return TaskConfig.model_validate(known)

    @cached_property
    def labels(self) -> list[str]:
        """The label set: that of the config, or what train has."""
        return self._task.labels

    @cached_property
    def kind(self) -> Kind:
        """Of one class each."""
        return Labelled("classification", Classification(len(self.labels)), self.task.metric, self.pad_id)

    def _check_corpora(self) -> None:
        """Say what there is, and find the visual words."""
        corpora = f"{len(self.domain):,} of the domain, {len(self.general):,} general ones"
        cut = f"{self.grid.count} patches of {self.grid.patch} × {self.grid.patch}"
        self.tell(f"pictures  {corpora}; all {self.grid.height} × {self.grid.width}, in {cut}")
        self.codebook  # noqa: B018

    def _tell_of_sizes(self) -> None:
        super()._tell_of_sizes()
        if "rate" not in (masking := self.config.masking).model_fields_set:
            self.tell(
                f"masking.rate  is not set: {masking.rate} of the patches, where SimMIM hides 0.6 and ViTMAE 0.75"
            )

    def _check_model(self) -> None:
        """Load it: can it be hidden patches, tells it as many words as there are, has it seen such pixels?"""
        scale_of(self.config.patches.mean, self.config.patches.std, self.grid.channels)  # which may refuse them
        check_hides(cast(PictureModel, self.fresh_model(0)))
        self._check_words()
        self.tell_of_scale()

    @cached_property
    def tells_words(self) -> bool:
        """Whether visual words are what the model restores."""
        return picture_config(self.config.model).model_type == "beit"

    def _check_words(self) -> None:
        most = getattr(picture_config(self.config.model), "vocab_size", None)
        if most is not None and most < (size := self.field(self.config.masking).size):
            raise ValueError(
                f"the model tells {most} visual words, and there are {size}: set model.architecture.vocab_size to "
                "that, or lower patches.words or patches.zones"
            )

    def tell_of_scale(self) -> None:
        """Say where a checkpoint has seen other pixels than it will be given."""
        mean, std = self.config.patches.mean, self.config.patches.std
        if other := other_scale(processor_fields(self.config.model), mean, std):
            self.tell(
                f"model  its preprocessor_config.json makes pixels of {other}, patches.mean {in_short(mean)} and "
                f"patches.std {in_short(std)} are far from that: set them to it, or it sees pixels as it never has"
            )

    def input_embedding(self) -> Tensor:
        """Centroids of the V types, [V, d]."""
        return self.codebook.repeat_interleave(self.config.patches.zones**2, 0)

    def _read_corpus(self, which: str) -> PatchRows:
        """Of config.domain or config.general."""
        corpus = getattr(self.config, which)
        rows, labels, _ = self._read_pictures(corpus.path, f"{which}.path", corpus.limit)
        if len(labels) == corpus.limit and labels[0] is not None and all(label == labels[0] for label in labels):
            self.tell(
                f"{which}.limit  the first {corpus.limit} pictures are all of class {labels[0]}: if others follow, "
                "raise it, or unset it"
            )
        return rows

    def _read_pictures(self, path: str, key: str, limit: int | None = None) -> Pictures:
        if said := unread(path):
            self.tell(f"pictures  {said}")
        return read_pictures(path, self.config.patches, self.grid, key, self.config.task.label, limit)

    @cached_property
    def _pictures(self) -> dict[str, Pictures]:
        places = splits_of(self.config.task)
        return {split: self._read_pictures(place, "task.path") for split, place in places.items()}

    @cached_property
    def _task(self) -> Task:
        """Pixels and classes of every split, checked and described."""
        found = picture_task(self.config.task, self._pictures)
        self.tell("\n".join(["task  classification of pictures", *describe_task(found)]))
        return found

    def _open(self, split: str) -> Examples:
        """Pictures and classes."""
        classes = [self.labels.index(label) for label in self._task.splits[split].labels]
        return Examples(self._pictures[split].rows, torch.tensor(classes))

    def _load(self, seed: int) -> PictureModel:
        return load_picture_model(self.config.model, seed, self.config.inner.attention).to(self.device)
