"""The inner and the outer problem, and how the policy is learned."""

from typing import Annotated, Literal, get_args

from pydantic import AfterValidator, Field, model_validator

from policylearn.config.places import Place
from policylearn.config.strict import Strict
from policylearn.registry.known import ADAPTATIONS, ENGINES, ESTIMATORS, OBJECTIVES

Beta = Annotated[float, Field(ge=0, lt=1)]


class InnerConfig(Strict):
    """Inner updates of one rollout, and which of them are differentiated through."""

    objective: Annotated[str, AfterValidator(OBJECTIVES.check)] = Field(
        "masked_lm",
        description="what every step learns: to restore what is masked at masking.rate, or at a rate for every text "
        "that is drawn between one token and all, each shown as [MASK], with weight 1 / rate",
    )
    steps: int = Field(150, ge=1, description="H: optimiser steps per rollout")
    batch_size: int = Field(64, ge=1, description="texts per step")
    micro_batch: int | None = Field(
        None,
        ge=1,
        description="texts computed at once, gradients being accumulated; unset: the whole batch, as always in batches "
        "that `one_step` credits",
    )
    learning_rate: float = Field(5e-3, gt=0, description="after warm-up")
    warmup: float = Field(0.1, ge=0, lt=1, description="share of steps of linear warm-up")
    schedule: Literal["constant", "linear", "cosine"] = Field(
        "constant", description="learning rate after warm-up; linear and cosine fall to 0 at the end"
    )
    optimizer: Literal["adamw", "sgd"] = Field("adamw", description="of the steps")
    momentum: float = Field(0.9, ge=0, lt=1, description="of sgd")
    betas: tuple[Beta, Beta] = Field((0.9, 0.98), description="of adamw, each at least 0 and below 1")
    eps: float = Field(1e-8, gt=0, description="of adamw")
    weight_decay: float = Field(0.01, ge=0, description="decoupled in adamw, part of the gradient in sgd")
    clip: float | None = Field(
        None,
        gt=0,
        description="largest norm of the gradient of a step; unset: any; `one_step` does not see it",
    )
    engine: Annotated[str, AfterValidator(ENGINES.check)] = Field("replay", description="see policylearn.metagrad")
    window: int = Field(30, ge=1, description="K: consecutive steps differentiated through")
    start: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="share of the steps before the first window; engine `one_step` goes by "
        "AdamW's moments, which do not tell the size of gradients in the first few steps",
    )
    every: int = Field(30, ge=1, description="a window begins every so many steps")
    credit_batches: int = Field(16, ge=1, description="`one_step`: MLM batches credited per outer gradient")

    @model_validator(mode="after")
    def _consistent(self) -> "InnerConfig":
        if self.window > self.every:
            raise ValueError(f"windows of {self.window} steps every {self.every} steps overlap: raise inner.every")
        if self.engine == "one_step" and self.window != 1:
            raise ValueError('inner.engine "one_step" differentiates one step: set inner.window = 1')
        return self

    @property
    def first_window(self) -> int:
        """Steps before the first window: at least one, so that an optimiser has moments."""
        return max(1, round(self.start * self.steps))

    @property
    def attention(self) -> str | None:
        """transformers' `attn_implementation`; None: the fastest a model has, without second derivatives."""
        return None if self.engine == "finite_difference" else "eager"


class OuterConfig(Strict):
    """The outer loss: cross-entropy on query examples, after adaptation to support examples."""

    adaptation: Annotated[str, AfterValidator(ADAPTATIONS.check)] = Field(
        "probe",
        description="a ridge probe in closed form, or differentiated optimiser steps: of the encoder and a linear "
        "head (`joint`: on the loss of masked tokens as well), or of binary masks over the weights of the encoder, "
        "which are frozen",
    )
    support: int = Field(128, ge=2, description="labelled training examples to adapt to")
    query: int = Field(256, ge=1, description="other training examples the outer loss is taken on")
    folds: int = Field(
        1,
        ge=1,
        description="`probe`: 1 draws support and query apart; more deal both together into so many parts, each of "
        "which is query once and support for the others",
    )
    parameters: Literal["layers", "matrices", "all"] = Field(
        "matrices",
        description="parameters the outer gradient may flow through: matrices leaves out norms and biases, layers "
        "the embeddings as well (best where these are pretrained)",
    )
    steps: int = Field(4, ge=1, description="all but `probe`: optimiser steps")
    batch_size: int = Field(32, ge=1, description="the same: support examples per step")
    optimizer: Literal["adamw", "sgd"] = Field(
        "sgd",
        description="`finetune`, `joint`: fresh for every window; the first steps of adamw go by signs, which have "
        "no slope",
    )
    learning_rate: float = Field(0.01, gt=0, description="the same: constant; adamw wants less")
    clip: float = Field(1.0, gt=0, description="the same: largest norm of the gradient of a step")
    mlm_weight: float = Field(1.0, ge=0, description="`joint`: of the loss of masked tokens, beside that of the task")
    sparsity: float = Field(0.05, gt=0, lt=1, description="`weight_mask`: share of the weights masked at first")
    mask_rate: float = Field(
        5e-4,
        gt=0,
        description="`weight_mask`: root mean square of what a step adds to the scores, which start within (-.02, .58) "
        "for a sparsity of .05; ten times as much may do harm",
    )
    first_layer: int = Field(0, ge=0, description="`weight_mask`: layers below stay whole; they count from 0")
    first_order: bool = Field(
        False, description="`weight_mask`: take masks for constants in the outer gradient: no second derivatives"
    )

    @model_validator(mode="after")
    def _consistent(self) -> "OuterConfig":
        if self.folds > 1 and self.adaptation != "probe":
            raise ValueError(
                f'outer.folds = {self.folds} with outer.adaptation = "{self.adaptation}" would train {self.folds} '
                'times for every outer gradient: set outer.folds = 1 or outer.adaptation = "probe"'
            )
        if self.folds > (labelled := self.support + self.query):
            raise ValueError(
                f"outer.folds = {self.folds}, and outer.support and outer.query are {labelled} examples together: set "
                f"folds to {labelled} at most"
            )
        return self


class CreditConfig(Strict):
    """How credits of masked tokens are measured: in stage "expected", by scorer "credit" and `policylearn diagnose`."""

    points: int = Field(
        3,
        ge=1,
        le=10_000,
        description="states of the model, evenly spaced from inner.start to credit.until; the first at least 5 steps "
        "in, or half of them all in a shorter training",
    )
    until: float = Field(1.0, gt=0, le=1, description="share of the steps after which the last of these states is")
    trainings: int = Field(
        1, ge=1, description="fresh models that are credited along so: what holds for one alone is averaged out"
    )
    horizon: Literal["step", "end"] = Field(
        "step",
        description="what a token is credited with: the outer loss one step later, or that at the end of the training, "
        "by way of all steps between, which costs as much as several more trainings for each outer loss",
    )
    batches: int = Field(24, ge=1, description="MLM batches credited at each of them, for each half of the texts")
    batch_size: int | None = Field(None, ge=1, description="texts in one of these batches; unset: inner.batch_size")
    examples: int | None = Field(None, ge=8, description="labelled training examples; unset: all")
    folds: int = Field(4, ge=2, description="each example is query once and support in the other folds")
    resplits: int = Field(4, ge=1, description="how often examples are dealt into folds")
    strength: float = Field(
        2.0,
        description='stage "expected": of credit in the policy, logits per standard deviation between words',
    )


class StrengthConfig(Strict):
    """Stage "strength": dev chooses how strongly the policy's scores, and what outcomes say, are followed."""

    factors: list[float] = Field(
        [0.0, 0.5, 1.0, 2.0],
        min_length=2,
        description="that their strengths are multiplied with; 0 is random masks, which stand unless the best of the "
        "others on dev is above them by more than a standard error; below 0 what scores say is turned round",
    )
    models: int = Field(4, ge=2, description="fresh models trained under each, on the same seeds")

    @model_validator(mode="after")
    def _consistent(self) -> "StrengthConfig":
        once = len(set(self.factors)) == len(self.factors)
        if not once or self.factors != sorted(self.factors, key=abs) or self.factors[0] != 0:
            raise ValueError(
                f"factors {self.factors} must ascend from 0, random masks, each once, by size whatever the sign"
            )
        return self


class OutcomesConfig(Strict):
    """Stage "outcomes": what whole trainings under random changes of the policy come to, word by word."""

    rounds: int = Field(3, ge=1, description="steps of the policy, each by trainings of its own")
    pairs: int = Field(
        48,
        ge=4,
        le=100_000,
        description="random changes in each; for every one, two fresh models are trained to the end",
    )
    change: float = Field(1.0, gt=0, description="what a change adds to the logit of a type, or takes from it")
    strength: float = Field(1.0, gt=0, description="of a step, logits per standard deviation between words")
    draws: int = Field(4, ge=1, description="draws of support and query examples that the loss at the end averages")


Stage = Literal["expected", "strength", "outcomes", "rounds", "supervised"]
STAGES: tuple[Stage, ...] = get_args(Stage)
"""Ways of learning, in an order in which they may follow one another."""
ORDERS = (STAGES, ("expected", "outcomes", "strength", "rounds", "supervised"))
"""In either of these: strength may be that of what outcomes say as well."""


class LearnConfig(Strict):
    """In what stages the policy is learned, and the rounds of rollouts."""

    stages: list[Stage] = Field(
        ["rounds"],
        min_length=1,
        description="one after the other: the expected credit of words, in closed form (see [credit]); how strongly "
        "scores are followed, by dev (see [strength]); what whole trainings under changed masks come to (see "
        "[outcomes]); rounds of rollouts, each a step along a meta-gradient of the task; or, alone, token targets (see "
        "[supervised])",
    )
    start: Place | None = Field(
        None,
        description="exported policy to start from instead of `policy.prior` alone, and to be pulled towards; it must "
        "have the [policy] section of this config",
    )
    estimator: Annotated[str, AfterValidator(ESTIMATORS.check)] = Field(
        "credit", description="of the policy gradient, see policylearn.metagrad.estimators"
    )
    samples: int = Field(
        4, ge=2, description="`score_function`: trainings of a rollout that differ in their masks only"
    )
    rounds: int = Field(20, ge=0, description="steps of the outer optimiser; 0: the prior as it is")
    rollouts: int = Field(2, ge=1, le=100_000, description="R: rollouts averaged per round")
    learning_rate: float = Field(1.0, gt=0, description="of Adam on the policy's parameters")
    eps: float = Field(
        1e-8,
        gt=0,
        description="of the same Adam: parameters whose gradients are far below it hardly move",
    )
    trust_rate: float = Field(
        0.3, ge=0, description="the same for the factors that scorers' strengths are multiplied with, on a log scale"
    )
    kl: float = Field(0.01, ge=0, description="weight of the KL pull towards the prior")
    select: Literal["dev", "last"] = Field(
        "dev",
        description="the policy exported: of the best dev score, which of rounds is averaged over up to three, among "
        "those that rounds were run with, which the one after the last round is not; or that last one (for dev sets "
        "too small to tell)",
    )
    patience: int | None = Field(
        None, ge=1, description="stop after so many rounds without a better dev score, averaged so"
    )
    lag: int = Field(
        0,
        ge=0,
        description="rounds by which gradients lag behind the policy they move: so many rounds are begun ahead, and a "
        "slow worker holds up nobody; the same bits on any number of workers all the same",
    )
    max_dropped: float = Field(
        0.5,
        ge=0,
        le=1,
        description="share of the rollouts of a round that may diverge and are left out; more stop the run",
    )
    seed: int = Field(
        0,
        ge=0,
        le=10**12,
        description='of the rollouts, and of what "outcomes" and "strength" train: models, data order, masks, labelled '
        "examples; and of the order of texts that token targets are learned on; expected credits are taken from the "
        "same trainings whatever it is",
    )

    @property
    def behind(self) -> int:
        """Rounds by which what is tried is older than what has been learned: `lag`, of rounds of rollouts."""
        return self.lag if "rounds" in self.stages else 0

    @model_validator(mode="after")
    def _consistent(self) -> "LearnConfig":
        if self.stages not in ([stage for stage in order if stage in self.stages] for order in ORDERS):
            raise ValueError(
                f'stages {self.stages}: each once, and in the order {list(STAGES)}, or "strength" after "outcomes"'
            )
        if "supervised" in self.stages and len(self.stages) > 1:
            raise ValueError(
                'stages: "supervised" stands alone; let a run of its own go on from the policy, see learn.start'
            )
        for stage in ("expected", "strength"):
            if stage in self.stages and self.start is not None:
                raise ValueError(f'stages: "{stage}" starts from policy.prior alone: take out "{stage}" or learn.start')
        return self
