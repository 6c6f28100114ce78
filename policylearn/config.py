"""Every setting of policylearn: one pydantic model per component, strict TOML in, resolved JSON out.

The defaults are the planted benchmark: `Config()` is a complete, runnable experiment.
"""

import difflib
import json
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, ValidationError, model_validator

PLANTED = "planted"


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ModelConfig(_Strict):
    """The masked language model: a checkpoint by path or Hub name, or an architecture built from scratch."""

    name: str | None = Field(None, description="path or Hub name of a checkpoint; unset: from `architecture`")
    tokenizer: str | None = Field(None, description="path or Hub name; unset: the checkpoint's own")
    architecture: dict[str, Any] = Field(
        default={
            "model_type": "bert",
            "hidden_size": 64,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "intermediate_size": 128,
            "initializer_range": 0.1,
        },
        description="fields of a transformers config, with its model_type; used when `name` is unset",
    )
    max_length: int = Field(64, ge=8, description="tokens per text, special tokens included; longer is cut")
    bf16: bool = Field(False, description="run encoder and head under bf16 autocast")


class PlantedConfig(_Strict):
    """The synthetic benchmark of `data.planted`."""

    classes: int = Field(2, ge=2)
    class_words: int = Field(20, ge=2, description="words per class")
    distractor_words: int = Field(40, ge=2)
    generic_words: int = Field(100, ge=2)
    length: int = Field(24, ge=4, description="words per document")
    class_share: float = Field(0.2, gt=0, lt=1, description="share of a domain document's class words")
    distractor_share: float = Field(0.25, ge=0, lt=1)
    documents: int = Field(4000, ge=8, description="unlabelled domain documents (and as many general ones)")
    labelled_class_words: int = Field(2, ge=1, description="at most so many class words in a labelled document")
    train: int = Field(1000, ge=2)
    dev: int = Field(1000, ge=2)
    test: int = Field(2000, ge=2)
    seed: int = 0


class TaskConfig(_Strict):
    """The downstream task: labelled texts with the splits train, dev and test."""

    path: str = Field(PLANTED, description='"planted", a folder of train/dev/test files, or a Hub data set')
    text: str = Field("text", description="column of the text")
    label: str = Field("label", description="column of the label")
    labels: list[str] | None = Field(None, description="the label set; unset: the labels of train")
    extra_tests: list[str] = Field([], description="further splits to score beside test")
    metric: Literal["accuracy", "macro_f1"] = "accuracy"


class CorpusConfig(_Strict):
    """A text corpus: "planted", a .jsonl, .jsonl.gz, .txt, .csv or .parquet file, or a Hub data set."""

    path: str = Field(PLANTED, description="file, Hub name, or a pattern such as texts/*.jsonl.gz for several files")
    text: str = Field("text", description="column of the text")
    limit: int | None = Field(None, ge=1, description="read only so many documents")


class ScoresConfig(_Strict):
    """Scorers: text → one real score per token type and per word."""

    count_on_ray: bool = Field(False, description="count corpora on the cluster, every file of a pattern by itself")
    words: int = Field(50_000, ge=1, description="words that get scores of their own, the most frequent of the domain")
    word_count: int = Field(3, ge=1, description="... that occur at least so often in it; others are scored by type")
    anchors: int = Field(80, ge=1, description="K of Difference-Masking: words most typical of the domain")
    anchor_count: int = Field(3, ge=1, description="an anchor occurs at least so often in the domain corpus")
    anchor_ratio: float = Field(
        4.0,
        ge=0,
        description="an anchor is at least so many times as frequent in the domain as in general text",
    )
    anchor_order: Literal["tficf", "icf"] = Field(
        "tficf", description="which come first: the most typical, or the rarest in general text"
    )
    anchor_share: float = Field(0.0, ge=0, lt=1, description="an anchor makes up at least this share of the domain")
    anchor_words: list[str] | None = Field(None, description="anchors by name, instead of finding them")
    embedding: Literal["input", "encoder"] = Field(
        "input", description="word vectors: the input embeddings, or the encoder run on the word alone"
    )
    embedding_model: str | None = Field(None, description="path or Hub name of an encoder; unset: the inner model")
    model_texts: int = Field(1000, ge=1, description="texts that scorers which run a model look at")
    entity_column: str | None = Field(None, description="domain column of entity tags or spans, see data.columns")
    entity_model: str | None = Field(None, description="path or Hub name of a token classifier, where no column is")
    pos_column: str = Field("pos", description="domain column of part-of-speech tags")
    pos_weights: dict[str, float] = Field(
        {"NOUN": 1.0, "PROPN": 1.0, "VERB": 1.0, "ADJ": 1.0}, description="score of each tag; 0 where not named"
    )
    column: str = Field("scores", description="domain column of scores you bring, see data.columns")
    collocations: int = Field(10_000, ge=1, description="collocations kept, those of highest PMI")
    collocation_words: int = Field(4, ge=2, le=8, description="longest collocation")
    collocation_count: int = Field(10, ge=2, description="a collocation occurs at least so often in the domain")
    amlm_every: int = Field(200, ge=1, description="steps between two updates of AMLM's weights")
    selective_delta: float = Field(0.01, ge=0, lt=1, description="δ of Train No Evil's test of importance")


class PolicyConfig(_Strict):
    """The masking policy: logit = Σ strength · score + network(features)."""

    prior: dict[str, float] = Field(
        {"difference": 12.0},
        description='scorer name → strength; {} is uniform; "difference:rank" goes by rank within the text',
    )
    network: Literal["none", "table", "context"] = Field(
        "table",
        description="what is learned: nothing, a logit per token id, or a small network over features",
    )
    features: int = Field(32, ge=1, description="dimensions the frozen token embedding is projected to")
    hidden: int = Field(64, ge=1, description="width of the context network")
    kernel: int = Field(5, ge=1, description="tokens of context the network sees, odd")

    @model_validator(mode="after")
    def _consistent(self) -> "PolicyConfig":
        if self.kernel % 2 == 0:
            raise ValueError(f"kernel {self.kernel} must be odd: the network sees equally far to both sides")
        return self


class RateSchedule(_Strict):
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


_KINDS_OF_RATE = ("number", "schedule")
Rate = Annotated[
    Annotated[float, Field(gt=0, lt=1), Tag("number")] | Annotated[RateSchedule, Tag("schedule")],
    # Says which of the two was meant, so that a mistake is explained once.
    Discriminator(lambda given: _KINDS_OF_RATE[isinstance(given, dict | RateSchedule)]),
]


class MaskingConfig(_Strict):
    """How probabilities become masks."""

    unit: Literal["token", "word", "span", "collocation"] = Field("token", description="what is masked as one")
    rate: Rate = Field(
        0.15, description="share of eligible tokens masked; a number, or {kind, rates} over training progress"
    )
    p_max: float = Field(0.9, gt=0, le=1, description="no unit is masked with more than this probability")
    design: Literal["systematic", "independent", "explore"] = "systematic"
    draws: int = Field(6, ge=1, description="`explore`: masks that share the random start")
    span_mean: float = Field(3.8, ge=1, description="`span`: mean of the geometric length, in words")
    span_longest: int = Field(10, ge=1, description="`span`: at most so many words")
    mask_share: float = Field(0.8, ge=0, le=1)
    random_share: float = Field(0.1, ge=0, le=1)

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


class InnerConfig(_Strict):
    """Inner MLM updates of one rollout, and which of them are differentiated through."""

    steps: int = Field(150, ge=1, description="H: optimiser steps per rollout")
    batch_size: int = Field(64, ge=1)
    micro_batch: int | None = Field(
        None, ge=1, description="texts computed at once, gradients being accumulated; unset: the whole batch"
    )
    learning_rate: float = Field(5e-3, gt=0)
    warmup: float = Field(0.1, ge=0, lt=1, description="share of steps of linear warm-up")
    schedule: Literal["constant", "linear", "cosine"] = Field(
        "constant", description="learning rate after warm-up; linear and cosine fall to 0 at the end"
    )
    optimizer: Literal["adamw", "sgd"] = "adamw"
    momentum: float = Field(0.9, ge=0, lt=1, description="of sgd")
    betas: tuple[float, float] = Field((0.9, 0.98), description="of adamw")
    eps: float = Field(1e-8, gt=0, description="of adamw")
    weight_decay: float = Field(0.01, ge=0, description="decoupled in adamw, part of the gradient in sgd")
    clip: float | None = Field(None, gt=0, description="largest norm of the gradient of a step; unset: any")
    engine: Literal["unroll", "replay", "finite_difference", "one_step"] = Field(
        "replay", description="see policylearn.metagrad"
    )
    window: int = Field(30, ge=1, description="K: consecutive steps differentiated through")
    start: float = Field(0.0, ge=0, lt=1, description="share of the steps before the first window")
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
    def attention(self) -> str | None:
        """transformers' `attn_implementation`; None: the fastest a model has, without second derivatives."""
        return None if self.engine == "finite_difference" else "eager"


class OuterConfig(_Strict):
    """The outer loss: cross-entropy on query examples, after adaptation to support examples."""

    adaptation: Literal["probe", "finetune"] = Field(
        "probe",
        description="a ridge probe in closed form, or differentiated optimiser steps of the encoder and a linear head",
    )
    support: int = Field(128, ge=2, description="labelled training examples to adapt to")
    query: int = Field(256, ge=1, description="other training examples the outer loss is taken on")
    parameters: Literal["layers", "matrices", "all"] = Field(
        "matrices",
        description="parameters the outer gradient may flow through: matrices leaves out norms and biases, layers "
        "the embeddings as well (best where these are pretrained)",
    )
    steps: int = Field(4, ge=1, description="`finetune`: optimiser steps")
    batch_size: int = Field(32, ge=1, description="`finetune`: support examples per step")
    optimizer: Literal["adamw", "sgd"] = Field(
        "sgd",
        description="`finetune`: fresh for every window; the first steps of adamw go by signs, which have no slope",
    )
    learning_rate: float = Field(0.01, gt=0, description="`finetune`: constant; adamw wants less")
    clip: float = Field(1.0, gt=0, description="`finetune`: largest norm of the gradient of a step")


class LearnConfig(_Strict):
    """The outer loop over rounds of rollouts."""

    estimator: Literal["credit", "relaxed", "score_function"] = Field(
        "credit", description="of the policy gradient, see policylearn.metagrad.estimators"
    )
    samples: int = Field(
        4, ge=2, description="`score_function`: trainings of a rollout that differ in their masks only"
    )
    rounds: int = Field(8, ge=0)
    rollouts: int = Field(4, ge=1, description="R: rollouts averaged per round")
    learning_rate: float = Field(1.0, gt=0, description="of Adam on the policy's parameters")
    trust_rate: float = Field(
        0.3, ge=0, description="the same for the factors that scorers' strengths are multiplied with, on a log scale"
    )
    kl: float = Field(0.01, ge=0, description="weight of the KL pull towards the prior")
    select: Literal["dev", "last"] = Field(
        "dev", description="the policy exported: of the best dev score, or the last (for dev sets too small to tell)"
    )
    patience: int | None = Field(None, ge=1, description="stop after so many rounds without a better dev score")
    seed: int = 0


class ClusterConfig(_Strict):
    """Where rollouts run."""

    backend: Literal["ray", "local"] = "ray"
    address: str | None = Field(None, description="Ray cluster to join; unset: RAY_ADDRESS, else start one here")
    workers: int = Field(2, ge=1)
    threads: int = Field(1, ge=1, description="torch threads per worker")
    retries: int = Field(3, ge=0, description="how often the work of a lost worker is tried again")


class EvaluateConfig(_Strict):
    """Fresh models trained under each arm's masks: same data order, steps and number of masked tokens."""

    arms: list[str] = Field(["random", "difference", "learned", "oracle"])
    seeds: int = Field(5, ge=0, description="paired seeds; 0 skips the evaluation")
    steps: int | None = Field(None, ge=1, description="MLM steps; unset: inner.steps")
    labelled: int | None = Field(None, ge=2, description="labelled training examples; unset: all of train")


class DiagnoseConfig(_Strict):
    """How the reliability of credits is measured, see `policylearn.diagnose`."""

    points: int = Field(3, ge=1, description="states of the model, evenly spaced from the first window to the end")
    batches: int = Field(24, ge=1, description="MLM batches credited at each of them, for each half")
    examples: int | None = Field(None, ge=8, description="labelled training examples, both halves; unset: all")
    folds: int = Field(4, ge=2, description="each example of a half is query once and support in the other folds")
    resplits: int = Field(4, ge=1, description="how often a half is dealt into folds")
    shuffles: int = Field(2, ge=0, description="controls with shuffled labels")
    least: int = Field(8, ge=1, description="a word takes part if it was masked so often in each half")
    draws: int = Field(500, ge=10, description="bootstrap samples of the interval")


class Config(_Strict):
    """A whole experiment. Sections of the TOML file are the fields of this class."""

    name: str = PLANTED
    model: ModelConfig = ModelConfig()
    task: TaskConfig = TaskConfig()
    domain: CorpusConfig = CorpusConfig()
    general: CorpusConfig = CorpusConfig()
    planted: PlantedConfig = PlantedConfig()
    scores: ScoresConfig = ScoresConfig()
    policy: PolicyConfig = PolicyConfig()
    masking: MaskingConfig = MaskingConfig()
    inner: InnerConfig = InnerConfig()
    outer: OuterConfig = OuterConfig()
    learn: LearnConfig = LearnConfig()
    cluster: ClusterConfig = ClusterConfig()
    evaluate: EvaluateConfig = EvaluateConfig()
    diagnose: DiagnoseConfig = DiagnoseConfig()

    @model_validator(mode="after")
    def _consistent(self) -> "Config":
        equal = not self.policy.prior and self.masking.design != "independent"
        if self.learn.estimator == "score_function" and equal:
            raise ValueError(
                'learn.estimator "score_function" cannot start from the equal probabilities of an empty policy.prior '
                f'with masking.design "{self.masking.design}", whose log-probability has a kink there: '
                'set masking.design = "independent"'
            )
        return self


def load_config(path: str | Path | None, overrides: list[str] | None = None) -> Config:
    """Read a TOML file and apply dotted overrides such as ``inner.steps=64``.

    Args:
        path: the file; None for the embedded default.
        overrides: ``key=value``, the value in TOML syntax; anything that is not TOML is taken as a string.

    Raises:
        ValueError: naming the key, the file and, for a misspelt key, the nearest valid name.

    >>> load_config(None, ["inner.steps=64", "model.name=bert-base-uncased"]).inner.steps
    64
    >>> load_config(None, ["inner.stepz=64"])
    Traceback (most recent call last):
    ...
    ValueError: override inner.stepz=64: unknown key 'inner.stepz'; did you mean 'inner.steps'?
    """
    source = str(path) if path else "embedded default"
    tree = _read_toml(Path(path)) if path else {}
    origin: dict[str, str] = {}
    for override in overrides or []:
        key = _set_override(tree, override)
        origin[key] = f"override {override}"
    try:
        return Config.model_validate(tree)
    except ValidationError as error:
        raise ValueError(_explain(error, source, origin)) from None


def resolved_json(config: Config) -> str:
    """Every setting, defaults included, as indented JSON; `Config.model_validate_json` reads it back."""
    return json.dumps(config.model_dump(mode="json"), indent=2) + "\n"


def _read_toml(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise ValueError(f"config file {path} does not exist")
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not valid TOML: {error}") from None


def _set_override(tree: dict[str, Any], override: str) -> str:
    key, equals, text = override.partition("=")
    if not equals or not key.strip():
        raise ValueError(f"override {override!r} is not of the form section.key=value")
    *sections, leaf = key.strip().split(".")
    for section in sections:
        tree = tree.setdefault(section, {})
        if not isinstance(tree, dict):
            raise ValueError(f"override {override!r}: {section!r} is a value, not a section")
    try:
        tree[leaf] = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        tree[leaf] = text
    return key.strip()


def _explain(error: ValidationError, source: str, origin: dict[str, str]) -> str:
    return "\n".join(_explain_one(detail, source, origin) for detail in error.errors())


def _explain_one(detail: Any, source: str, origin: dict[str, str]) -> str:
    key = ".".join(str(part) for part in detail["loc"] if part not in _KINDS_OF_RATE)
    where = next((text for known, text in origin.items() if _inside(key, known) or _inside(known, key)), source)
    if detail["type"] == "extra_forbidden":
        names = difflib.get_close_matches(key, [*Config.model_fields, *known_keys()], n=1, cutoff=0.0)
        return f"{where}: unknown key {key!r}; did you mean {names[0]!r}?"
    message = detail["msg"].removeprefix("Value error, ")
    given = "" if isinstance(detail["input"], dict) else f", got {detail['input']!r}"
    return f"{where}: {key}: {message}{given}"


def _inside(key: str, section: str) -> bool:
    return f"{key}.".startswith(f"{section}.")


def known_keys(model: type[BaseModel] = Config, prefix: str = "") -> list[str]:
    """All dotted keys a config file may set."""
    keys = []
    for name, field in model.model_fields.items():
        kinds = [field.annotation, *get_args(field.annotation)]
        section = next((k for k in kinds if isinstance(k, type) and issubclass(k, BaseModel)), None)
        keys += [prefix + name] if section is None else known_keys(section, f"{prefix}{name}.")
    return keys
