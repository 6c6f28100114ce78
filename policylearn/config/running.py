"""Where work runs, and what is measured besides learning."""

import os
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator

from policylearn.config.strict import Strict
from policylearn.registry.known import ADAPTATIONS, BACKENDS, TRACKERS


def _has_a_port(address: str | None) -> str | None:
    """Ray would say so only when all data has been read."""
    if address and address not in ("auto", "local") and ":" not in address:
        raise ValueError(f'names no port: write "{address}:6379", or wherever the head listens, or "auto"')
    return address


class ClusterConfig(Strict):
    """Where rollouts run."""

    backend: Annotated[str, AfterValidator(BACKENDS.check)] = Field(
        "ray", description="workers of a Ray cluster, or this process alone"
    )
    address: Annotated[str | None, AfterValidator(_has_a_port)] = Field(
        None,
        description='Ray cluster to join: host:port, or "auto" for that of this machine; unset: RAY_ADDRESS, else '
        'that which the process has joined, else one is started here, as for "local"',
    )
    workers: int = Field(2, ge=1, description="at most; those the cluster has no room for join when it has")
    threads: int = Field(1, ge=1, le=1024, description="torch threads of each worker, and of the process that scores")
    gpus: float = Field(0.0, ge=0, description="per worker; a fraction where several share one; 0: on the CPU")
    resources: dict[str, float] = Field({}, description="what each worker takes of the cluster's own resources")
    labels: dict[str, str] = Field({}, description="labels of the nodes that workers may run on, as Ray's selectors")
    retries: int = Field(3, ge=0, description="how often work that fails, or whose worker is lost, is tried again")
    deadline: float = Field(7200.0, gt=0, description="seconds after which a call counts as hung and starts anew")
    storage_timeout: float = Field(
        600, ge=0, description="seconds a run waits for a full disk or a lost bucket where it cannot go on without"
    )

    @property
    def named_address(self) -> tuple[str, str]:
        """The address of the cluster to join, and the setting it comes from; empty where there is none. A variable that
        is set but empty, as shells and manifests leave it, is none."""
        return (self.address, "cluster.address") if self.address else (os.environ.get("RAY_ADDRESS", ""), "RAY_ADDRESS")


class TrackConfig(Strict):
    """Where rounds are shown, besides metrics.jsonl; see `policylearn.runs.trackers`."""

    to: list[Annotated[str, AfterValidator(TRACKERS.check)]] = Field([], description="each must be installed")
    project: str = Field("policylearn", description="the project of wandb and trackio, the experiment of mlflow")
    name: str | None = Field(None, description="of the run there, with an ending of its own; unset: `name`")


class ArmConfig(Strict):
    """An arm of one's own: a policy that learns nothing."""

    prior: dict[str, float] = Field({}, description="scorer name → strength; {} is uniform")
    masking: dict[str, Any] = Field({}, description="what of [masking] is different: rate, unit, design …")
    causal: float = Field(
        0.0, ge=0, lt=1, description="share of the steps, from the first, that predict the next token instead of masks"
    )
    texts: float = Field(
        1.0,
        gt=0,
        le=1,
        description="share of the domain's texts that are read, those with the highest mean score of `prior`; a "
        "strength of 0 has a scorer choose texts and no masks",
    )
    labels: int = Field(0, ge=0, description="labelled examples whose loss every step takes as well")
    mlm_weight: float = Field(
        1.0, ge=0, description="λ: of the loss of masked tokens, beside that of `labels`; 0 trains on these alone"
    )

    @model_validator(mode="after")
    def _consistent(self) -> "ArmConfig":
        if self.texts < 1 and not self.prior:
            raise ValueError("texts below 1 are chosen by scores: name a scorer in prior, its strength may be 0")
        if self.mlm_weight != 1 and not self.labels:
            raise ValueError("mlm_weight is beside that of labels, and the arm sees none: set labels")
        if self.causal and self.labels:
            raise ValueError("labels do not go with a causal phase, in which tokens see no later ones: set one of both")
        return self


class FineTuneConfig(Strict):
    """Full fine-tuning, as a way to use the trained model."""

    epochs: int = Field(10, ge=1, description="dev chooses among them")
    batch_size: int = Field(16, ge=1, description="labelled examples per step")
    learning_rate: float = Field(5e-5, gt=0, description="of AdamW; up over a tenth of all steps, then down to 0")
    weight_decay: float = Field(0.01, ge=0, description="of AdamW")
    head: Literal["ridge", "zeros", "both"] = Field(
        "ridge",
        description="where it starts: at the ridge solution on frozen features; or knowing nothing but the mean of the "
        "labels, which takes more epochs (twenty have been tried, of 200 labels). Which is better depends on the task: "
        "of both, each is trained, in twice the time, and dev selects",
    )

    @property
    def trainings(self) -> int:
        """Models that are trained, of which dev selects one."""
        return 2 if self.head == "both" else 1


class JointConfig(FineTuneConfig):
    """Fine-tuning on the task's loss and masked language modelling of the same texts, see `policylearn.adapt.joint`."""

    mlm_weight: float = Field(1.0, ge=0, description="λ: of the loss of masked tokens, beside that of the task")


class WeightMaskConfig(Strict):
    """Binary masks over frozen weights, as a way to use the trained model; see `policylearn.weight_masks`."""

    epochs: int = Field(10, ge=1, description="dev chooses among them")
    batch_size: int = Field(16, ge=1, description="labelled examples per step")
    learning_rate: float = Field(3e-3, gt=0, description="of Adam; up over a tenth of all steps, then down to 0")
    sparsity: float = Field(0.05, gt=0, lt=1, description="share of the weights that are masked at first")
    first_layer: int = Field(0, ge=0, description="of the encoder, from 0; those below stay whole")


PLANTED_ONLY = ("oracle", "oracle-context", "distractors")
"""Arms that know the answer, which only the planted benchmarks have."""


def check_method(method: str) -> str:
    """An entry of `evaluate.downstream`, whose first part is known."""
    ADAPTATIONS.check(method.partition("@")[0])
    return method


class EvaluateConfig(Strict):
    """Fresh models trained under each arm's masks: same data order, steps and number of masked tokens."""

    arms: list[str] = Field(
        ["random", "difference", "learned", "oracle"],
        description="masks that are compared: none, random, scorers, learned, and others by name (see evaluate.custom)"
        "; unset with a domain.path: these without the oracle",
    )
    custom: dict[str, ArmConfig] = Field({}, description="arms of your own by name, to be named in `arms`")
    seeds: int = Field(5, ge=0, description="paired seeds; 0 skips the evaluation")
    first_seed: int = Field(
        0,
        ge=0,
        le=900_000,
        description="the first of them: what was chosen on some is confirmed on others, such as those from 10 on",
    )
    steps: int | None = Field(None, ge=1, description="MLM steps; unset: inner.steps")
    labelled: int | None = Field(None, ge=2, description="labelled training examples; unset: all of train")
    subsets: int = Field(1, ge=1, description="draws of so many labelled examples, over which scores are averaged")
    downstream: list[Annotated[str, Field(pattern=r"^[^:@]+(@([2-9]|\d\d+))?$"), AfterValidator(check_method)]] = Field(
        ["probe"],
        min_length=1,
        description='how the trained model is used: "probe", "finetune", "joint" or "weight_mask"; "probe@200" '
        "with so many labelled examples instead of `labelled`; the first gives the score",
    )
    finetune: FineTuneConfig = FineTuneConfig()
    joint: JointConfig = JointConfig()
    weight_mask: WeightMaskConfig = WeightMaskConfig()

    @property
    def paired(self) -> range:
        """The seeds."""
        return range(self.first_seed, self.first_seed + self.seeds)


def parts_of(method: str) -> tuple[str, int | None]:
    """An entry of `evaluate.downstream`: how, and from how many labelled examples if it says so.

    >>> parts_of("probe"), parts_of("finetune@200")
    (('probe', None), ('finetune', 200))
    """
    how, _, labelled = method.partition("@")
    return how, int(labelled) if labelled else None


class ValidityConfig(Strict):
    """How it is found out whether predictions come true, see `policylearn.evaluation.validity`."""

    changes: int = Field(24, ge=3, description="M: random changes of the policy")
    strength: float = Field(1.0, gt=0, description="what they add to logits, root mean square")
    seeds: int = Field(4, ge=1, description="fresh models per change and sign")
    rollouts: int = Field(4, ge=1, description="rollouts whose mean gradient predicts")
    draws: int = Field(8, ge=1, description="draws of support and query examples that the final outer loss averages")


class DiagnoseConfig(Strict):
    """How it is told whether credits, as [credit] has them measured, are reliable; see `policylearn.credit`."""

    shuffles: int = Field(2, ge=0, description="controls with shuffled labels")
    least: int = Field(8, ge=1, description="a word takes part if it was masked so often in each half")
    draws: int = Field(500, ge=10, description="bootstrap samples of the interval")
