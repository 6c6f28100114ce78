"""What a config chooses by name: ours, imported when asked for, and what other distributions bring along.

Another distribution brings a scorer by an entry point of the group `policylearn.scorers`, in its pyproject.toml:

    [project.entry-points."policylearn.scorers"]
    length = "their_package.scorers:length"

From then on `length` is a scorer like ours. So it is with every kind below.
"""

import difflib
from collections.abc import Callable, Mapping
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any, TypeVar

Thing = TypeVar("Thing")
AUTO = "auto"
"""In place of a name: the data say which."""


class Registry:
    """Names → things of one kind, which others may add to by entry points of the group ``policylearn.<kind>``.

    Args:
        kind: in the plural, as in the name of the group.
        members: ours: name → "module:attribute". No other distribution replaces one of them.

    >>> codecs = Registry("codecs", {"json": "json:loads", "hex": "binascii:unhexlify"})
    >>> codecs.get("json")("[1]"), codecs.names(), "hex" in codecs
    ([1], ['json', 'hex'], True)
    >>> codecs.get("jsn")
    Traceback (most recent call last):
    ...
    ValueError: unknown codec 'jsn'; known: ['hex', 'json']; did you mean 'json'?
    """

    def __init__(self, kind: str, members: Mapping[str, Any]) -> None:
        self.kind, self.members = kind, dict(members)

    def __contains__(self, name: str) -> bool:
        return name in self.members or name in self._brought()

    def names(self) -> list[str]:
        """All that are known: ours in our order, then those of others; nothing is imported for it."""
        return [*self.members, *sorted(self._brought().keys() - self.members.keys())]

    def check(self, name: str) -> str:
        """The name, if it is known.

        Raises:
            ValueError: it is not; with those that are, and the nearest.
        """
        if name in self:
            return name
        known = sorted(self.names())
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"unknown {self._noun} {name!r}; known: {known}{hint}")

    def check_or_auto(self, name: str) -> str:
        """The same, "auto" being left to whoever sees the data."""
        return name if name == AUTO else self.check(name)

    def get(self, name: str) -> Any:
        """The thing of this name.

        Raises:
            ValueError: it is not known, or the distribution that brings it cannot be imported, or several bring one.
        """
        if self.check(name) not in self.members:
            return self._load(self._brought()[name])
        found = self.members[name]
        return _attribute(found) if isinstance(found, str) else found

    def register(self, name: str) -> Callable[[Thing], Thing]:
        """Add a thing for as long as this process lives; workers elsewhere do not know it.

        >>> codecs = Registry("codecs", {})
        >>> @codecs.register("shout")
        ... def shout(text):
        ...     return text.upper()
        >>> codecs.get("shout")("hi")
        'HI'
        """

        def add(thing: Thing) -> Thing:
            if name in self:
                raise ValueError(f"there is a {self._noun} {name!r} already: choose another name")
            self.members[name] = thing
            return thing

        return add

    @property
    def _noun(self) -> str:
        return self.kind.removesuffix("s")

    def _brought(self) -> dict[str, list[EntryPoint]]:
        """Entry points of other distributions, by name."""
        found: dict[str, list[EntryPoint]] = {}
        for point in entry_points(group=f"policylearn.{self.kind}"):
            found.setdefault(point.name, []).append(point)
        return found

    def _load(self, points: list[EntryPoint]) -> Any:
        given = f"{self._noun} {points[0].name!r}"
        if len(points) > 1:
            raise ValueError(f"{given} comes with several distributions: {', '.join(map(_distribution, points))}")
        try:
            return points[0].load()
        except Exception as error:  # fault boundary: the code of others fails in any way it likes
            reason = f"{type(error).__name__}: {error}"
            raise ValueError(f"{given} of {_distribution(points[0])} cannot be imported: {reason}") from error


def _attribute(place: str) -> Any:
    module, _, name = place.partition(":")
    return getattr(import_module(module), name)


def _distribution(point: EntryPoint) -> str:
    return f"{point.dist.name} {point.dist.version}" if point.dist else point.value


SCORERS = Registry(
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
)
"""`scores.registry.Scorer`; one with an attribute `settings`, a pydantic model, has a section ``[scores.<name>]``."""

KINDS = Registry(
    "kinds",
    {
        name: f"policylearn.tasks.{name}:KIND"
        for name in ("classification", "multilabel", "regression", "tagging", "questions")
    },
)
"""`tasks.kind.TaskKind`"""

OBJECTIVES = Registry(
    "objectives",
    {
        "masked_lm": "policylearn.inner.masked_lm:masked_lm",
        "masked_diffusion": "policylearn.inner.masked_diffusion:masked_diffusion",
    },
)
"""problem → `inner.objectives.Objective`"""

ADAPTATIONS = Registry(
    "adaptations",
    {name: f"policylearn.adapt.{name}:ADAPTATION" for name in ("probe", "finetune", "joint", "weight_mask")},
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
        "credit": "policylearn.learning.rollout:by_credit",
        "relaxed": "policylearn.learning.rollout:by_relaxation",
        "score_function": "policylearn.learning.rollout:compare_trainings",
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
