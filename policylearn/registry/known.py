"""All that a config chooses by name: what is ours, and what others have brought."""

from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

from pydantic import BaseModel

from policylearn.messages.quote import quote
from policylearn.registry.registry import AUTO, Origin, Registry

ARMS = (
    *("none", "random", "random-30", "random-40", "random-30-15", "random-rate", "word", "span", "explore"),
    *("causal-first", "multitask", "labels-only", "select", "live", "learned"),
)
"""Arms that are no scorers: a scorer of such a name could not be one."""
SHARED = ("count_on_ray", "words", "word_count", "model_texts")
"""Settings of all scorers: the section of a scorer of such a name would stand where they do."""


class Scorers(Registry):
    """Scorers, whose settings, if they have any, are a pydantic model."""

    def check_thing(self, who: str, thing: Any) -> None:
        super().check_thing(who, thing)
        settings = getattr(thing, "settings", None)
        if settings is not None and not (isinstance(settings, type) and issubclass(settings, BaseModel)):
            raise ValueError(
                f"{who} has settings = {quote(settings)}: they have to be a class, of pydantic's BaseModel"
            )


SCORERS = Scorers(
    "scorers",
    {
        "amlm": "policylearn.scores.loss:amlm",
        "column": "policylearn.scores.tagged:column",
        "credit": "policylearn.scores.credit:credit",
        "difference": "policylearn.scores.difference:difference",
        "distractors": "policylearn.scores.planted:distractors",
        "entity": "policylearn.scores.tagged:entity",
        "idf": "policylearn.scores.frequency:by_idf",
        "informative": "policylearn.scores.informative:informative",
        "loss": "policylearn.scores.loss:loss",
        "oracle": "policylearn.scores.planted:oracle",
        "oracle-context": "policylearn.scores.planted:oracle_context",
        "pmi": "policylearn.scores.pmi:pmi",
        "pos_column": "policylearn.scores.tagged:pos_column",
        "saliency": "policylearn.scores.saliency:saliency",
        "selective": "policylearn.scores.selective:selective",
        "tficf": "policylearn.scores.frequency:by_tficf",
        "uniform": "policylearn.scores.frequency:uniform",
    },
    taken=(*ARMS, *SHARED),
)
"""`scores.registry.Scorer`; one with an attribute `settings`, a pydantic model, has a section ``[scores.<name>]``."""

PICTURE_SCORERS = Registry(
    "picture_scorers",
    {
        "block": "policylearn.scores.pictures:drawn",
        "credit": "policylearn.scores.credit:credit",
        "difference": "policylearn.scores.pictures:difference",
        "loss": "policylearn.scores.pictures:loss",
        "region": "policylearn.scores.pictures:region",
        "structured": "policylearn.scores.pictures:drawn",
        "tficf": "policylearn.scores.pictures:by_tficf",
        "uniform": "policylearn.scores.frequency:uniform",
    },
    taken=(*ARMS, *SHARED),
)
"""`scores.registry.Scorer` of `scores.pictures.PictureSources`: what [patches] goes with."""

KINDS = Registry(
    "kinds",
    {
        name: f"policylearn.tasks.{name}:KIND"
        for name in ("classification", "multilabel", "regression", "tagging", "questions")
    },
    taken=(AUTO,),
    needs=("metrics", "read", "describe", "tokenize", "build"),
)
"""`tasks.kind.TaskKind`"""

METRICS = Registry("metrics", {}, taken=(AUTO,))
"""Of others, as "kind.name": (targets y [N], predictions [N]) → score, the more the better. Ours are those of kinds."""

OBJECTIVES = Registry(
    "objectives",
    {
        "masked_lm": "policylearn.inner.masked_lm:masked_lm",
        "masked_diffusion": "policylearn.inner.masked_diffusion:masked_diffusion",
        "masked_patches": "policylearn.inner.masked_patches:masked_patches",
    },
)
"""problem → `inner.objectives.Objective`"""

ADAPTATIONS = Registry(
    "adaptations",
    {name: f"policylearn.adapt.{name}:ADAPTATION" for name in ("probe", "finetune", "joint", "weight_mask")},
    needs=("outer_loss", "fit"),
)
"""`adapt.chosen.Adaptation`"""

ENGINES = Registry(
    "engines",
    {
        name: f"policylearn.metagrad.{name}:{name}"
        for name in ("unroll", "replay", "finite_difference", "one_step")  # only `unroll` needs `higher`
    },
)
"""`metagrad.engines.Engine`"""

ESTIMATORS = Registry(
    "estimators",
    {
        "credit": "policylearn.learning.estimators:by_credit",
        "relaxed": "policylearn.learning.estimators:by_relaxation",
        "score_function": "policylearn.learning.estimators:compare_trainings",
    },
)
"""`learning.rollout.Estimator`"""

NETWORKS = Registry(
    "networks",
    {
        "none": "policylearn.policy.networks:NoNetwork",
        "table": "policylearn.policy.networks:TypeTable",
        "neighbours": "policylearn.policy.networks:NeighbourTable",
        "context": "policylearn.policy.networks:ContextNetwork",
        "span": "policylearn.policy.networks:SpanNetwork",
    },
    needs=("build", "shapes", "bounds"),
)
"""`policy.networks.Network`"""

BACKENDS = Registry(
    "backends",
    {"ray": "policylearn.cluster.ray_pool:RayPool", "local": "policylearn.cluster.pool:LocalPool"},
)
"""(config, data) → `cluster.pool.Pool`, a context manager; who asks for "local" needs no Ray."""

TRACKERS = Registry(
    "trackers",
    {
        "tensorboard": "policylearn.runs.trackers:TensorBoard",
        "wandb": "policylearn.runs.trackers:WandB",
        "mlflow": "policylearn.runs.trackers:MLflow",
        "trackio": "policylearn.runs.trackers:Trackio",
    },
)
"""(config, folder, identity) → `runs.trackers.Tracker`"""

ALL = (
    SCORERS,
    PICTURE_SCORERS,
    KINDS,
    METRICS,
    OBJECTIVES,
    ADAPTATIONS,
    ENGINES,
    ESTIMATORS,
    NETWORKS,
    BACKENDS,
    TRACKERS,
)
"""Every registry."""


class Part(NamedTuple):
    """A thing of others, and the module that brings it."""

    thing: Any
    module: str


def registered(names: Mapping[str, Collection[str]]) -> dict[str, Origin]:
    """Things that others have registered in this process under these names of each kind: "scorer 'mine'" → where.

    Args:
        names: as things are registered, a metric with its kind before its name; "scorers" → {"mine"}.
    """
    return {
        f"{registry.noun} {name!r}": origin
        for registry in ALL
        for name, origin in registry.origins.items()
        if name in names.get(registry.kind, ())
    }


def brought(names: Mapping[str, Collection[str]]) -> dict[str, Part]:
    """Things of others, registered in this process or by entry points, under these names of each kind, as of
    `registered`: "scorer 'mine'" → the thing."""
    return {
        f"{registry.noun} {name!r}": Part(registry.get(name), registry.module_of(name))
        for registry in ALL
        for name in registry.names()
        if (name in registry.origins or name not in registry.members) and name in names.get(registry.kind, ())
    }
