"""The policy, and the masks drawn from it."""

from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, BeforeValidator, Discriminator, Field, Tag, model_validator

from policylearn.config.strict import Strict
from policylearn.registry.known import NETWORKS


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


Moving = Literal["linear", "cosine", "step", "cyclic"]
Drawn = Literal["uniform", "beta"]


class RateSchedule(Strict):
    """A masking rate that moves with training progress, see `masking.schedule`."""

    kind: Moving = Field(
        description="along a line; along half a cosine; all in turn, for equally long; the same over and over"
    )
    rates: list[float] = Field(min_length=2, description="linear, cosine: from, to; step, cyclic: one after the other")
    cycles: int = Field(1, ge=1, description="`cyclic`: so many times through the rates")

    @model_validator(mode="after")
    def _consistent(self) -> "RateSchedule":
        if bad := [rate for rate in self.rates if not 0 < rate < 1]:
            raise ValueError(f"rate {bad[0]} must lie between 0 and 1")
        if self.kind in ("linear", "cosine") and len(self.rates) != 2:
            raise ValueError(f"a {self.kind} schedule goes from one rate to another, got {len(self.rates)} rates")
        return self


class RandomRate(Strict):
    """A masking rate that is drawn anew for every text or batch, see `masking.random_rate`."""

    kind: Drawn = Field(description="between low and high all alike, or by a beta distribution")
    low: float = Field(gt=0, lt=1, description="the lowest rate")
    high: float = Field(gt=0, lt=1, description="the highest")
    a: int | None = Field(  # a rate is drawn by as many numbers as both come to
        None, ge=1, le=1000, description="`beta`: with b, where between them most rates are"
    )
    b: int | None = Field(
        None, ge=1, le=1000, description="`beta`: the mean lies a / (a + b) of the way from low to high"
    )
    per: Literal["text", "batch"] = Field("text", description="what has a rate of its own")

    @model_validator(mode="after")
    def _consistent(self) -> "RandomRate":
        if self.low > self.high:
            raise ValueError(f"low {self.low} must not exceed high {self.high}")
        if (self.kind == "beta") != (self.a is not None and self.b is not None) or (self.a is None) != (self.b is None):
            raise ValueError(
                f'a and b give a rate of kind "beta" its shape, and no other: got a = {self.a}, b = {self.b}'
            )
        return self

    @property
    def shape(self) -> tuple[int, int]:
        """(a, b); uniform is Beta(1, 1)."""
        return self.a or 1, self.b or 1

    @property
    def mean(self) -> float:
        """What the rates are on average."""
        a, b = self.shape
        return (b * self.low + a * self.high) / (a + b)


KINDS_OF_RATE = ("number", "schedule", "drawn")


def _kind_of(given: Any) -> str:
    """Which of the three was meant, so that a mistake is explained once."""
    if isinstance(given, RandomRate) or (isinstance(given, dict) and given.get("kind") in get_args(Drawn)):
        return "drawn"
    return "schedule" if isinstance(given, dict | RateSchedule) else "number"


def _check_kind(given: Any) -> Any:
    if isinstance(given, dict) and given.get("kind") not in (known := (*get_args(Moving), *get_args(Drawn))):
        raise ValueError(f"kind {given.get('kind')!r} is none of {', '.join(map(repr, known))}")
    return given


Rate = Annotated[
    Annotated[float, Field(gt=0, lt=1), Tag("number")]
    | Annotated[RateSchedule, Tag("schedule")]
    | Annotated[RandomRate, Tag("drawn")],
    Discriminator(_kind_of),
    BeforeValidator(_check_kind),
]


class MaskingConfig(Strict):
    """How probabilities become masks."""

    unit: Literal["token", "word", "span", "collocation"] = Field(
        "token",
        description="what is masked as one; in a text of few units, none longer than the share that is to be masked",
    )
    rate: Rate = Field(
        0.15,
        description="share of eligible tokens masked; a number, {kind, rates} over training progress, or {kind, low, "
        "high, a, b, per} to be drawn anew for every text (or batch, which makes masks depend on what else is in it)",
    )
    p_max: float = Field(0.9, gt=0, le=1, description="no unit is masked with more than this probability")
    design: Literal["systematic", "independent", "explore"] = Field(
        "systematic",
        description="how probabilities become masks: systematic ones have just so many tokens; independent ones toss a "
        "coin for each; explore makes `draws` systematic ones share what there is to mask",
    )
    draws: int = Field(
        6,
        ge=1,
        description="`explore`: masks that share the random start; 2: a mask and its complement, of the same rate",
    )
    copies: int = Field(
        1,
        ge=1,
        description="of every text in one batch, of as many rows in all, under a mask each; with `explore` and "
        "`draws` of them, masks of one update share what there is to mask, and not those of one epoch after the other",
    )
    span_mean: float = Field(3.8, ge=1, description="`span`: mean of the geometric length, in words")
    span_longest: int = Field(10, ge=1, description="`span`: at most so many words")
    mask_share: float = Field(0.8, ge=0, le=1, description="of masked tokens shown as [MASK]")
    random_share: float = Field(0.1, ge=0, le=1, description="of masked tokens shown as a random one; the rest stay")
    random_token_ids: list[Annotated[int, Field(ge=0)]] | None = Field(
        None,
        min_length=1,
        description="what random tokens are drawn from, such as amino acids alone; unset: the whole vocabulary",
    )

    @model_validator(mode="after")
    def _consistent(self) -> "MaskingConfig":
        if max(self.rates) >= self.p_max:
            raise ValueError(f"rate {max(self.rates)} must be below p_max {self.p_max}: lower one or raise the other")
        if self.mask_share + self.random_share > 1:
            raise ValueError("mask_share + random_share must not exceed 1")
        return self

    @property
    def rates(self) -> list[float]:
        """Every rate the schedule goes through, the first at the start of training; the lowest and the highest of
        those that are drawn."""
        if isinstance(self.rate, RandomRate):
            return [self.rate.low, self.rate.high]
        return self.rate.rates if isinstance(self.rate, RateSchedule) else [self.rate]

    @property
    def usual_rate(self) -> float:
        """The rate at the start of training, or the mean of those that are drawn: that of whoever names none."""
        return self.rate.mean if isinstance(self.rate, RandomRate) else self.rates[0]

    @property
    def design_in_words(self) -> str:
        """For people.

        >>> MaskingConfig(design="explore", draws=6, copies=6).design_in_words
        'explore, 6 draws, 6 copies of a text in a batch'
        """
        parts = [self.design, *([f"{self.draws} draws"] if self.design == "explore" else [])]
        return ", ".join([*parts, *([f"{self.copies} copies of a text in a batch"] if self.copies > 1 else [])])

    @property
    def rate_in_words(self) -> str:
        """For people.

        >>> MaskingConfig(rate={"kind": "linear", "rates": [0.3, 0.15]}).rate_in_words
        '0.3 → 0.15'
        >>> MaskingConfig(rate={"kind": "cyclic", "rates": [0.3, 0.1], "cycles": 4}).rate_in_words
        '0.3 → 0.1 (cyclic, 4 times)'
        >>> MaskingConfig(rate={"kind": "uniform", "low": 0.05, "high": 0.25}).rate_in_words
        '0.15 on average, drawn per text from 0.05 to 0.25 (uniform)'
        """
        if isinstance(self.rate, RateSchedule) and self.rate.kind != "linear":
            times = f", {self.rate.cycles} times" if self.rate.cycles > 1 else ""
            return f"{self.rates_in_words} ({self.rate.kind}{times})"
        return self.rates_in_words

    @property
    def rates_in_words(self) -> str:
        """The same, however a rate moves.

        >>> MaskingConfig(rate={"kind": "cosine", "rates": [0.3, 0.1]}).rates_in_words
        '0.3 → 0.1'
        """
        if not isinstance(self.rate, RandomRate):
            return " → ".join(f"{rate:g}" for rate in self.rates)
        drawn, (a, b) = self.rate, self.rate.shape
        shape = "uniform" if drawn.kind == "uniform" else f"beta, a = {a}, b = {b}"
        return f"{drawn.mean:g} on average, drawn per {drawn.per} from {drawn.low:g} to {drawn.high:g} ({shape})"


def texts_of(batch_size: int, copies: int) -> int:
    """How many different texts a batch of so many rows has.

    Raises:
        ValueError: it does not hold as many copies of each.

    >>> texts_of(12, copies=6)
    2
    """
    if batch_size % copies:
        fitting = max(copies, batch_size - batch_size % copies)
        raise ValueError(
            f"masking.copies {copies} with batches of {batch_size} rows (batch_size): set one of them so that every "
            f"text has as many copies, {fitting} rows for one"
        )
    return batch_size // copies
