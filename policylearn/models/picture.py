"""Masked image models of transformers, called in the two ways the inner problem needs."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
import transformers
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import AutoConfig, PreTrainedModel
from transformers.image_processing_base import ImageProcessingMixin

from policylearn.config import ModelConfig
from policylearn.masking import IGNORED
from policylearn.masking.grid import Grid, grid_of
from policylearn.masking.patches import PerChannel, equal_count, hidden_last
from policylearn.models.checkpoint import listed, load_weights, reason
from policylearn.models.model import Blend, InnerModel, Observe, full

KNOWN = {
    "vit_mae": transformers.ViTMAEForPreTraining,
    "vit": transformers.ViTForMaskedImageModeling,
    "swin": transformers.SwinForMaskedImageModeling,
    "beit": transformers.BeitForMaskedImageModeling,
}
"""Models that are known to say how well they restore each patch, by type."""
CLOSE = 0.05
"""How far mean and std of a processor may be from others: ImageNet's, by channel, from their own means."""
HIDDEN_AS = "mask_token"
"""What a hidden patch is shown as: a part of the encoder, which one that was trained to classify has not."""


class PictureModel(InnerModel):
    """An `InnerModel` of pictures x [B, T, d], by `forward`:

    - ``model(x, real, labels=labels)``: what every hidden patch cost, [M] (M patches with a label, in row order). Of
      ViTMAE the mean squared error of its pixels, of ViT and Swin the absolute one, of BEiT the cross-entropy of its
      visual word.
    - ``model(x, real)``: features, the mean of the encoder's last states with nothing hidden, [B, d].
    """

    def __init__(self, mlm: PreTrainedModel, remark: str = "") -> None:
        super().__init__(mlm, remark=remark)
        self.grid = grid_of(mlm.config)

    def forward(
        self,
        input_ids: Tensor,
        real: Tensor,
        labels: Tensor | None = None,
        observe: Observe | None = None,
        blend: Blend | None = None,
        at: Tensor | None = None,
    ) -> Tensor:
        assert blend is None and at is None and observe is None
        x = input_ids.to(next(self.mlm.parameters()).device)
        if labels is None:
            return self._features(self.grid.pixels(x))
        labels = labels.to(x.device)
        hidden = labels != IGNORED
        if self.mlm.config.model_type == "beit":
            logits = self.mlm(self.grid.pixels(x), bool_masked_pos=hidden).logits[hidden]
            return cross_entropy(full(logits), labels[hidden], reduction="none")
        return full(self._errors(x, hidden))[hidden]

    def _errors(self, x: Tensor, hidden: Tensor) -> Tensor:
        """Of every patch, [B, T]."""
        pixels = self.grid.pixels(x)
        if self.mlm.config.model_type != "vit_mae":
            restored = self.mlm(pixels, bool_masked_pos=hidden).reconstruction
            return (self.grid.patches(restored) - x).abs().mean(2)
        target = x
        if self.mlm.config.norm_pix_loss:
            target = (x - x.mean(2, keepdim=True)) / (x.var(2, keepdim=True) + 1e-6).sqrt()
        with self._removing(equal_count(hidden)):
            return (self.mlm(pixels, noise=hidden_last(hidden)).logits - target).square().mean(2)

    def _features(self, pixels: Tensor) -> Tensor:
        base, given = self.mlm.base_model, {}
        if self.mlm.config.model_type == "vit_mae":
            given["noise"] = torch.arange(self.grid.count, device=pixels.device).expand(len(pixels), -1).float()
        with self._removing(0):
            states = base(pixels, **given).last_hidden_state
        first = 0 if self.mlm.config.model_type == "swin" else 1  # Swin has no place for the whole picture
        return full(states[:, first:].mean(1))

    @contextmanager
    def _removing(self, patches: int) -> Iterator[None]:
        """Within, a ViTMAE removes so many patches of a picture, whatever its config says."""
        before = getattr(self.mlm.config, "mask_ratio", None)
        if before is not None:
            self.mlm.config.mask_ratio = max(0.0, (patches - 0.5) / self.grid.count)
        try:
            yield
        finally:
            if before is not None:
                self.mlm.config.mask_ratio = before


def load_picture_model(config: ModelConfig, seed: int, attention: str | None) -> PictureModel:
    """A fresh model: the named checkpoint, or the architecture with weights drawn from `seed`. Dropout is off.

    Raises:
        ValueError: there is none, its type is not known, it lacks weights of its encoder, or its patches do not fill
            its pictures.
    """
    built = picture_config(config)
    kind: Any = KNOWN[built.model_type]
    missing: list[str] = []
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would seed every GPU anew
        if config.name:
            settings = {"config": built, "revision": config.revision, "attn_implementation": attention}
            model, missing = load_weights(
                kind, config.name, "model.name", "a masked image model", HIDDEN_AS, **settings
            )
        else:
            try:
                model = kind._from_config(built, attn_implementation=attention)
            except Exception as error:  # fault boundary: transformers raises whatever it likes
                raise ValueError(f"model.architecture cannot be built: {reason(error)}") from error
    if built.model_type == "vit_mae":
        tell_places(model)
    random = f"model.name {config.name}: not in the checkpoint, and random therefore: {listed(missing)}"
    return PictureModel(model.float().eval(), random if missing else "")


def tell_places(mae: Any) -> None:
    """Give a ViTMAE the fixed embeddings of places that it is said to have, where they are all zero: so transformers
    (5.23) builds one from scratch, which then restores the same grey everywhere."""
    grid = grid_of(mae.config)
    for table in (mae.base_model.embeddings.position_embeddings, mae.decoder.decoder_pos_embed):
        if not bool(table.any()):
            table.data[0, 1:] = sinusoids(grid, table.shape[2])


def sinusoids(grid: Grid, width: int) -> Tensor:
    """Sines and cosines of the row and the column of every patch, [T, width] (He et al., CVPR 2022, after Vaswani et
    al., 2017). ValueError: the width is no multiple of 4.

    >>> sinusoids(Grid(4, 4, patch=2, channels=1), 4)[1]  # first row, second column
    tensor([0.0000, 1.0000, 0.8415, 0.5403])
    """
    if width % 4:
        raise ValueError(f"model.architecture: hidden_size or decoder_hidden_size {width} is no multiple of 4")
    frequencies = 10_000.0 ** (-torch.arange(width // 4) / (width // 4))
    row, column = (at * side - 0.5 for at, side in zip(grid.places().T, (grid.rows, grid.columns), strict=True))
    angles = [torch.outer(place, frequencies) for place in (row, column)]
    return torch.cat([wave(angle) for angle in angles for wave in (torch.sin, torch.cos)], 1)


def picture_config(config: ModelConfig) -> Any:
    """The config of a model of pictures.

    Raises:
        ValueError: it cannot be read, its type is not known here, or it cannot restore pictures of its shape.
    """
    fields = dict(config.architecture)
    try:
        if config.name:
            found = AutoConfig.from_pretrained(config.name, revision=config.revision)
        else:
            found = AutoConfig.for_model(fields.pop("model_type", ""), **fields)
    except Exception as error:  # fault boundary
        raise ValueError(f"{_named(config)} cannot be read: {reason(error)}") from error
    if found.model_type not in KNOWN:
        raise ValueError(
            f"{_named(config)} is of type {found.model_type!r}, and patches.words is for {', '.join(KNOWN)}: take one "
            "of these, or set patches.words = 0 where the task is of texts"
        )
    grid = grid_of(found)
    if grid.rows != grid.columns and found.model_type != "beit":
        raise ValueError(
            f"{_named(config)} is of pictures of {grid.height} × {grid.width}, and {found.model_type} restores squares "
            "alone: set image_size to one number and make pictures of it, or take beit"
        )
    if found.model_type != "beit":  # which alone can restore where sides are two numbers
        found.image_size, found.patch_size = grid.height, grid.patch
    _can_hide(found)
    return found


def _can_hide(config: Any) -> None:
    """Have a model restore patches as it cuts them, and show that they are hidden: by default many do not, nor do those
    that were trained to classify."""
    if config.model_type == "vit":
        config.encoder_stride = config.patch_size
    if config.model_type == "swin":
        config.encoder_stride = config.patch_size * 2 ** (len(config.depths) - 1)
    if config.model_type == "beit":
        config.use_mask_token = True


def check_hides(model: PictureModel) -> None:
    """Have half a picture hidden. ValueError: the model cannot."""
    x = torch.zeros(1, model.grid.count, model.grid.depth)
    labels = torch.full(x.shape[:2], IGNORED)
    labels[:, : max(1, model.grid.count // 2)] = 0
    try:
        with torch.no_grad():
            model(x, torch.ones_like(labels, dtype=torch.bool), labels=labels)
    except Exception as error:  # fault boundary: models of transformers fail in any way
        raise ValueError(
            f"the model cannot restore patches that are hidden: {reason(error)}; mend model.architecture, or take "
            "another model.name"
        ) from error


def processor_fields(config: ModelConfig) -> dict[str, Any]:
    """What preprocessor_config.json of the named checkpoint says; empty where there is none."""
    if not config.name:
        return {}
    try:
        return ImageProcessingMixin.get_image_processor_dict(config.name, revision=config.revision)[0]
    except Exception:  # storage boundary: many checkpoints have none, and what is said of one is but a warning
        return {}


def other_scale(processor: Mapping[str, Any], mean: PerChannel, std: PerChannel) -> str:
    """How a processor makes pixels, in words, where that is far from a mean and std, or of another number of channels;
    nothing where it is not.

    >>> other_scale({"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}, 0.45, 0.225)
    ''
    >>> other_scale({"do_normalize": False}, 0.5, 0.5)
    'image_mean 0.0 and image_std 1.0'
    >>> other_scale({"image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]}, [0.5, 0.5, 0.5, 0.0], 0.5)
    'image_mean [0.5, 0.5, 0.5] and image_std [0.5, 0.5, 0.5]'
    """
    own = {"image_mean": processor.get("image_mean"), "image_std": processor.get("image_std")}
    if processor.get("do_normalize") is False:
        own = {"image_mean": 0.0, "image_std": 1.0}
    far = [found is not None and _far(found, wanted) for found, wanted in zip(own.values(), (mean, std), strict=True)]
    return f"image_mean {own['image_mean']} and image_std {own['image_std']}" if any(far) else ""


def _far(found: PerChannel, wanted: PerChannel) -> bool:
    lengths = {len(one) for one in (found, wanted) if isinstance(one, Sequence)} - {1}
    return len(lengths) > 1 or float(np.abs(np.subtract(found, wanted)).max()) > CLOSE


def _named(config: ModelConfig) -> str:
    return f"model.name {config.name}" if config.name else "model.architecture"
