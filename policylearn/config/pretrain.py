"""Pretraining for use, and not for comparison."""

from typing import Literal

from pydantic import Field, model_validator

from policylearn.config.masking import Rate
from policylearn.config.strict import Strict


class PretrainConfig(Strict):
    """How `policylearn pretrain` trains `model` further on `domain`."""

    steps: int | None = Field(None, ge=1, description="optimiser steps; unset: `epochs`")
    epochs: float = Field(3.0, gt=0, description="passes through the domain's texts, where `steps` is unset")
    batch_size: int = Field(32, ge=1, description="rows per step, all GPUs together")
    micro_batch: int | None = Field(None, ge=1, description="rows a GPU takes at once; unset: its share of the step")
    learning_rate: float = Field(5e-5, gt=0, description="of AdamW, at its highest")
    warmup: float = Field(0.06, ge=0, lt=1, description="share of the steps in which it rises to that")
    schedule: Literal["linear", "cosine", "constant"] = Field("linear", description="what it does from then on")
    weight_decay: float = Field(0.01, ge=0, description="of AdamW")
    rate: Rate | None = Field(
        None, description="instead of the policy's masking rate: {kind = 'linear', rates = [0.3, 0.15]} goes down"
    )
    packing: bool = Field(
        False,
        description="fill rows of model.max_length with whole texts: less padding; each has the mask it has alone, but "
        "those of a row see each other",
    )
    labels: int = Field(
        0,
        ge=0,
        description="labelled examples of the task's train split whose loss every step takes besides, as the arm "
        "multitask does, under a head that is thrown away; 0: none",
    )
    mlm_weight: float = Field(1.0, gt=0, description="λ: of the loss of masked tokens, beside that of `labels`")
    bf16: bool | None = Field(None, description="compute in bf16; unset: on GPUs that can")
    loaders: int = Field(
        0, ge=0, le=256, description="processes per GPU that mask batches ahead; 0: the training itself"
    )
    save_every: int = Field(500, ge=1, description="steps between checkpoints, from which a stopped training goes on")
    seed: int = Field(0, ge=0, lt=2**32, description="of the order of texts, the masks and dropout")

    @model_validator(mode="after")
    def _consistent(self) -> "PretrainConfig":
        if self.mlm_weight != 1 and not self.labels:
            raise ValueError("mlm_weight is beside the loss of labels, and no step sees any: set labels")
        return self
