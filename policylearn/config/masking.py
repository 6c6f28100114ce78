"""The policy, and the masks drawn from it."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Discriminator, Field, Tag, model_validator

from policylearn.config.strict import Strict
from policylearn.registry import NETWORKS


class PolicyConfig(Strict):
    """The masking policy: logit = Σ strength · score + network(features)."""

    prior: dict[str, float] = Field(
        {"difference": 12.0},
        description='scorer name → strength; {} is uniform; "difference:rank" goes by rank within the text',
    )
    network: Annotated[str, AfterValidator(NETWORKS.check)] = Field(
        "table",
        description="what is learned: nothing, a logit per token id, one for each place about a token (neighbours), a "
        "small network over features, or the same with "
        'logits of where spans begin and end, by which masking.unit = "span" cuts texts',
    )
    features: int = Field(32, ge=1, description="dimensions the frozen token embedding is projected to")
    hidden: int = Field(64, ge=1, description="width of the networks over features")
    kernel: int = Field(5, ge=1, description="tokens of context that they and neighbours see, odd")

    @model_validator(mode="after")
    def _consistent(self) -> "PolicyConfig":
        if self.kernel % 2 == 0:
            raise ValueError(f"kernel {self.kernel} must be odd: the network sees equally far to both sides")
        return self


class RateSchedule(Strict):
    """A masking rate that moves with training progress, see `masking.schedule`."""

    kind: Literal["linear", "cosine", "step", "cyclic"]
    rates: list[float] = Field(min_length=2, description="linear, cosine: from, to; step, cyclic: one after the other")
    cycles: int = Field(1, ge=1, description="`cyclic`: so many times through the rates")

    @model_validator(mode="after")
    def _consistent(self) -> "RateSchedule":
        if bad := [rate for rate in self.rates if not 0 < rate < 1]:
            raise ValueError(f"rate {bad[0]} must lie between 0 and 1")
        if self.kind in ("linear", "cosine") and len(self.rates) != 2:
            raise ValueError(f"a {self.kind} schedule goes from one rate to another, got {len(self.rates)} rates")
        return self


KINDS_OF_RATE = ("number", "schedule")
Rate = Annotated[
    Annotated[float, Field(gt=0, lt=1), Tag("number")] | Annotated[RateSchedule, Tag("schedule")],
    # Says which of the two was meant, so that a mistake is explained once.
    Discriminator(lambda given: KINDS_OF_RATE[isinstance(given, dict | RateSchedule)]),
]


class MaskingConfig(Strict):
    """How probabilities become masks."""

    unit: Literal["token", "word", "span", "collocation"] = Field(
        "token",
        description="what is masked as one; in a text of few units, none longer than the share that is to be masked",
    )
    rate: Rate = Field(
        0.15, description="share of eligible tokens masked; a number, or {kind, rates} over training progress"
    )
    p_max: float = Field(0.9, gt=0, le=1, description="no unit is masked with more than this probability")
    design: Literal["systematic", "independent", "explore"] = Field(
        "systematic",
        description="how probabilities become masks: systematic ones have just so many tokens; independent ones toss a "
        "coin for each; explore makes `draws` systematic ones share what there is to mask",
    )
    draws: int = Field(6, ge=1, description="`explore`: masks that share the random start")
    span_mean: float = Field(3.8, ge=1, description="`span`: mean of the geometric length, in words")
    span_longest: int = Field(10, ge=1, description="`span`: at most so many words")
    mask_share: float = Field(0.8, ge=0, le=1, description="of masked tokens shown as [MASK]")
    random_share: float = Field(0.1, ge=0, le=1, description="of masked tokens shown as a random one; the rest stay")

    @model_validator(mode="after")
    def _consistent(self) -> "MaskingConfig":
        if max(self.rates) >= self.p_max:
            raise ValueError(f"rate {max(self.rates)} must be below p_max {self.p_max}: lower one or raise the other")
        if self.mask_share + self.random_share > 1:
            raise ValueError("mask_share + random_share must not exceed 1")
        return self

    @property
    def rates(self) -> list[float]:
        """Every rate the schedule goes through, the first at the start of training."""
        return self.rate.rates if isinstance(self.rate, RateSchedule) else [self.rate]
