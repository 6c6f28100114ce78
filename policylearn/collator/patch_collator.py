"""PatchCollator: a policy over pictures as the data collator of a trainer of masked image models."""

from collections.abc import Mapping, Sequence
from functools import partial
from inspect import signature
from numbers import Real
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel

from policylearn.artefact import PolicyArtefact
from policylearn.collator.clock import Clock, Timed
from policylearn.collator.settings import check_numbers, check_switches
from policylearn.collator.sights import Sights, draw_of
from policylearn.config import MaskingConfig
from policylearn.masking.grid import Grid, grid_of, region
from policylearn.masking.patches import MaskedPatches, PerChannel, in_short
from policylearn.messages.quote import quote
from policylearn.models.picture import other_scale
from policylearn.policy.patches import REGION, mask_patches, patch_field, random_patches
from policylearn.policy.policy import MaskingPolicy
from policylearn.policy.scores import scorer_of

RATE = 0.6
"""Of patches that are hidden where neither policy nor model has a rate: SimMIM's (Xie et al., CVPR 2022)."""
SET_IMAGE = "set PatchCollator(image=…) to the column of the picture, and remove_unused_columns=False of a Trainer"
CUTS = ("do_center_crop", "crop_pct", "do_pad")
"""Settings of processors under which a model sees a part of a picture, or more than that."""
PIXELS, NOISE, POSITIONS, LABELS = "pixel_values", "noise", "bool_masked_pos", "labels"


class PatchCollator(Timed):
    """Pictures → `pixel_values`, and the mask in the form that a model of transformers takes it: `noise` (ViTMAE),
    `bool_masked_pos` (ViT, Swin, VideoMAE and many others), with visual words as `labels` (BEiT): those that examples
    bring in a column of this name, a number for every patch, or, where none brings more than a class, those of the
    policy.

    A mask depends on (seed, epoch, the picture's own pixels), as that of `PolicyCollator` does, and is told the epoch
    in the same way: `Trainer(..., data_collator=collator, callbacks=[EpochCallback(collator)])`.

    Pixels are to be as they were when the policy was learned (`patches.mean`, `patches.std`): visual words are of them.

    Examples are mappings with `pixel_values`, arrays as a processor of the model gives them; or, with a processor, with
    a picture (and then `Trainer` needs `remove_unused_columns=False`). The policy's scorer "region" reads a column of
    this name, boxes as `policylearn.masking.grid.region` takes them; further columns are dropped.

    Args:
        model: that is trained. It says what it takes and how it cuts pictures, and is not kept. It is told that its
            loss is a mean (`accepts_loss_kwargs`): Trainer might take it for a share of a sum, over several batches.
            What `Trainer(model_init=…)` makes is another model: set `accepts_loss_kwargs = False` of it there.
        policy: over pictures cut in the same way, alone or as `load_policy` gives it; None: every patch is as likely as
            any other.
        rate: share of the patches that is hidden; None: the policy's, or else the model's `mask_ratio`, or .6.
        processor: of the model; None: examples have `pixel_values`.
        image: column of the picture.
        seed: another seed, other masks; None is 0.
        vary_repeats: as of `PolicyCollator`.

    Raises:
        ValueError: the model takes no mask, cuts pictures otherwise than the policy, or hides another number of them;
            the processor takes another mean off pixels than the policy was learned with, or divides them by another
            std, or cuts off what boxes are of; or a setting is of a wrong type or out of range.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        policy: MaskingPolicy | PolicyArtefact | None = None,
        *,
        rate: float | None = None,
        processor: Any = None,
        image: str = "image",
        seed: int | None = 0,
        vary_repeats: bool | None = None,
    ) -> None:
        grid, removed = grid_of(model.config), getattr(model.config, "mask_ratio", None)
        self.asks = asked_by(model)
        # Trainer goes by what forward takes, and BEiT's takes anything, though its loss is a mean all the same.
        model.accepts_loss_kwargs = False  # type: ignore[assignment]
        if isinstance(policy, PolicyArtefact):
            policy = policy.policy
        _check_settings(policy, rate, seed, vary_repeats)
        self._usual = rate or removed or RATE
        self.policy: Any = policy if policy is None or rate is None else policy.under(rate=rate)
        self.processor, self.image, self.seed, self.vary_repeats = processor, image, seed, vary_repeats
        self._clock, self._sights = Clock(), Sights()
        self._removed: int | None = None
        if NOISE in self.asks and removed is not None:
            self._removed = grid.count - int(grid.count * (1 - removed))
        self._equal = grid.frames > 1  # a model of films stacks what it sees of them
        self._grid = grid
        self._words: Any = model.config.vocab_size if LABELS in self.asks else None
        self._fits: tuple[Any, ...] = ()
        self._check_fields()

    def _check_fields(self) -> None:
        """Refuse what is of no use, as it is now: asked before every batch, for policy, processor and seed may have
        changed."""
        if isinstance(self.policy, PolicyArtefact):
            self.policy = self.policy.policy
        _check_settings(self.policy, None, self.seed, self.vary_repeats)
        if self.policy is None:
            self.policy = random_patches(self._grid, MaskingConfig(rate=self._usual, p_max=1.0))
        if self._fits != (fits := (self.policy, self.processor)):
            self._check_fits()
            self._fits = fits

    def _check_fits(self) -> None:
        field, grid = patch_field(self.policy.field), self._grid
        if field.grid != grid:
            raise ValueError(f"the policy is over pictures of {field.grid}, the model's are of {grid}: take its own")
        if self._words is not None and self._words < field.size:
            raise ValueError(
                f"the model knows {self._words} visual words, the policy has {field.size}: set the model's "
                "config.vocab_size to that"
            )
        if len(field.codebook) > 1 and self.processor is not None:
            _check_scale(self.processor, *field.scale.tolist())
        if self._reads_boxes and self.processor is not None:
            _check_whole(self.processor)
        if self._removed is not None and not isinstance(self.policy.masking.rate, Real):
            raise ValueError(
                f"the policy's rate is {self.policy.masking.rate_in_words}, and the model removes one share of all "
                "pictures, config.mask_ratio: set PatchCollator(rate=…), or pretrain.rate, to one number"
            )
        # A rate that is not the model's is seen now.
        self._checked(mask_patches(self.policy, grid.pixels(torch.zeros(2, grid.count, grid.depth))))

    def __call__(self, examples: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
        """A batch, of `masking.copies` rows of every example.

        Raises:
            ValueError: there are no examples, one has no picture or one of another size or number of channels, pixels
                are whole numbers or not finite, boxes are none, or the model asks for words and there is but one, or
                those that examples bring are not one for every patch, or not known to it.
        """
        if isinstance(examples, Mapping) or not len(examples) or not all(isinstance(one, Mapping) for one in examples):
            raise ValueError(f"a batch is a list of examples with {PIXELS}, one at least; got {quote(examples)}")
        self._check_fields()
        examples = [example for example in examples for _ in range(self.policy.masking.copies)]
        pixels = self._pixels(examples)
        mask = self.mask(pixels, self._columns(examples))
        forms = {NOISE: mask.noise, POSITIONS: mask.bool_masked_pos, LABELS: lambda: self._labels(examples, mask)}
        return {PIXELS: pixels} | {name: forms[name]() for name in self.asks}

    def _labels(self, examples: Sequence[Mapping[str, Any]], mask: MaskedPatches) -> Tensor:
        brought = [np.asarray(example.get(LABELS)) for example in examples]
        if any(words.ndim for words in brought):  # a class is one number
            return self._brought(brought, mask.mask.shape[1])[mask.mask]
        if len(patch_field(self.policy.field).codebook) == 1:
            raise ValueError(
                f"the model tells {LABELS}, and there is but one visual word: give examples a column {LABELS!r}, a "
                "number for every patch, or a policy that was learned with patches.words"
            )
        return mask.types[mask.mask]

    def _brought(self, brought: Sequence[np.ndarray], patches: int) -> Tensor:
        """Words [B, T] that examples bring. ValueError: of a row they are not as many as patches, or not known."""
        for number, words in enumerate(brought):
            row = f"row {number // self.policy.masking.copies} of the batch"
            if (found := words.size if words.ndim else 0) != patches:
                raise ValueError(
                    f"{row} has {found} words in its column {LABELS!r} and {patches} patches: give every example a "
                    "word for each, or drop the column"
                )
            if not 0 <= words.min() <= words.max() < self._words:
                raise ValueError(
                    f"{LABELS} of {row} are words from {words.min()} to {words.max()}, the model knows 0 to "
                    f"{self._words - 1}: set the model's config.vocab_size, or mend the column"
                )
        return torch.from_numpy(np.stack([words.ravel() for words in brought])).long()

    def mask(self, pixels: Tensor, columns: Mapping[str, Tensor] | None = None) -> MaskedPatches:
        """The mask of the moment of pictures, as `mask_patches` has them. ValueError: they are no such pixels."""
        self._check_fields()
        field = patch_field(self.policy.field)
        _check_pixels(pixels, field.grid)
        x = field.grid.patches(pixels)
        keys = partial(field.keys, x, torch.ones(x.shape[:2]), 0, 0)
        epoch = draw_of(self._clock, self._sights, keys, self.vary_repeats, self.policy.masking)
        return self._checked(
            mask_patches(self.policy, pixels, int(self.seed or 0), epoch, self._clock.progress, columns)
        )

    def _checked(self, mask: MaskedPatches) -> MaskedPatches:
        """The mask, if the model can hide what it says."""
        if self._removed is not None and (hidden := mask.hidden()) != self._removed:
            raise ValueError(
                f"the policy hides {hidden} of {mask.mask.shape[1]} patches, the model's config.mask_ratio removes "
                f"{self._removed}: set one to the other, as with PatchCollator(rate=…)"
            )
        if self._equal:
            mask.hidden()
        return mask

    def _pixels(self, examples: Sequence[Mapping[str, Any]]) -> Tensor:
        column, mend = (PIXELS, "give them, or a processor") if self.processor is None else (self.image, SET_IMAGE)
        if lacking := [example for example in examples if example.get(column) is None]:
            there = ", ".join(name for name, value in lacking[0].items() if value is not None)
            raise ValueError(f"examples have {there or 'nothing'} and no {column}: {mend}")
        if self.processor is not None:
            return self.processor([example[column] for example in examples], return_tensors="pt")[PIXELS]
        pixels = [torch.as_tensor(example[PIXELS]) for example in examples]
        if other := [one for one in pixels if one.shape != pixels[0].shape]:
            shapes = " and ".join(str(list(one.shape)) for one in (pixels[0], other[0]))
            raise ValueError(
                f"{PIXELS} of one batch are of {shapes}: make all pictures of the size that the model takes"
            )
        return torch.stack(pixels)

    @property
    def _reads_boxes(self) -> bool:
        return REGION in map(scorer_of, self.policy.names)

    def _columns(self, examples: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
        boxes = [example.get(REGION) for example in examples]
        if not self._reads_boxes or all(found is None for found in boxes):
            return {}
        grid = patch_field(self.policy.field).grid
        unknown = torch.full((grid.count,), torch.nan)
        return {REGION: torch.stack([unknown if found is None else region(found, grid) for found in boxes])}


def _check_pixels(pixels: Tensor, grid: Grid) -> None:
    if not pixels.is_floating_point():
        raise ValueError(
            f"{PIXELS} are of {pixels.dtype}, and whole numbers mean other visual words than those of the policy: give "
            "what the model's processor makes of them, or PatchCollator(processor=…)"
        )
    if pixels.ndim == 5 and grid.frames == 1:
        found = list(pixels.shape[1:])
        raise ValueError(f"{PIXELS} of an example are {found}, and the model takes no films: give {found[1:]}")
    if broken := [row for row, picture in enumerate(pixels) if not picture.isfinite().all()]:
        raise ValueError(f"{PIXELS} of row {broken[0]} of the batch are NaN or infinite: mend the picture, or drop it")


def _check_scale(processor: Any, mean: PerChannel, std: PerChannel) -> None:
    """Of one that says what it does; visual words of pixels at another mean or std are other words."""
    fields = {name: getattr(processor, name, None) for name in ("image_mean", "image_std", "do_normalize")}
    if other := other_scale(fields, mean, std):
        raise ValueError(
            f"the processor makes pixels of {other}, the policy's visual words are of {in_short(mean)} and "
            f"{in_short(std)}: set them to that, or learn the policy with patches.mean and patches.std as the "
            "processor has them"
        )


def _check_whole(processor: Any) -> None:
    """Of one that says what it does; boxes of a whole picture lie elsewhere in a part of it."""
    if cuts := [name for name in CUTS if getattr(processor, name, None)]:
        raise ValueError(
            f"the processor has {cuts[0]}, and the policy goes by boxes of whole pictures: have it resize them to "
            "height and width of the model alone, or cut pictures and boxes beforehand and give pixel_values"
        )


def _check_settings(policy: Any, rate: Any, seed: Any, vary_repeats: Any) -> None:
    if policy is not None and not isinstance(policy, MaskingPolicy):
        raise ValueError(f"policy is a {type(policy).__name__}: give what load_policy gives, or None for random masks")
    if rate is not None and (not isinstance(rate, Real) or isinstance(rate, bool) or not 0 < float(rate) < 1):
        raise ValueError(f"rate {rate!r:.80} is no share between 0 and 1: give one, or None for the policy's own")
    check_numbers({"seed": seed})
    check_switches({"vary_repeats": vary_repeats})


def asked_by(model: PreTrainedModel) -> tuple[str, ...]:
    """In which forms a model takes a mask. ValueError: in none that is known."""
    known = signature(model.forward).parameters
    if NOISE in known:
        return (NOISE,)
    if POSITIONS in known:
        return (POSITIONS, LABELS) if LABELS in known else (POSITIONS,)
    raise ValueError(
        f"{type(model).__name__} takes neither {NOISE} nor {POSITIONS}, so no mask can be given to it: take a model "
        "for pre-training, such as ViTMAEForPreTraining or SwinForMaskedImageModeling"
    )
