"""Parts of one's own that a config names: where they come from, and whether workers find them."""

from collections.abc import Iterable, Iterator, Mapping, Set
from itertools import chain
from typing import Any

from pydantic import BaseModel

from policylearn.config.experiment import Config
from policylearn.registry.known import KINDS, Part, brought, registered
from policylearn.registry.registry import Origin


def with_imports(config: Config) -> Config:
    """The config with the modules of all parts it names that were registered in this process, so that it is the same
    experiment elsewhere. Parts that no other process finds are left to `check_travels`."""
    modules = [origin.module for origin in own_parts(config).values() if not origin.stuck]
    imports = list(dict.fromkeys([*config.imports, *modules]))
    return config if imports == config.imports else config.model_copy(update={"imports": imports})


def check_travels(config: Config) -> None:
    """Refuse parts that workers in processes of their own cannot have.

    Raises:
        ValueError: one was registered in a script, in a notebook, or in a function.
    """
    for named, origin in own_parts(config).items():
        if origin.stuck:
            raise ValueError(
                f'{named} comes from {origin.stuck}, and so cannot be on workers: set cluster.backend = "local", or '
                "put it at the top of a module, say parts.py in this folder, and import that"
            )


def own_parts(config: Config) -> dict[str, Origin]:
    """Registered parts that the config names, see `registry.registered`."""
    return registered(_names(config))


def parts_of_others(config: Config, kinds: Iterable[str] | None = None, but: Set[str] = frozenset()) -> dict[str, Part]:
    """Parts that the config names and that are not ours: "scorer 'mine'" → what was registered.

    Args:
        config: of an experiment.
        kinds: of which, such as "metrics"; None: of all.
        but: sections that are not looked at.
    """
    named = _names(config, but)
    return brought(named if kinds is None else {kind: named[kind] for kind in kinds})


def _names(config: Config, but: Set[str] = frozenset()) -> dict[str, set[str]]:
    """What the config names of every kind, in sections that are looked at, without what may follow a name: "idf" of
    "idf:rank", "probe" of "probe@200"."""
    evaluate, metric = config.evaluate, config.task.metric
    priors = chain.from_iterable(own.prior for own in evaluate.custom.values())
    own_sections = config.scores.model_extra or {}  # read by the settings that a scorer brings
    scorers: dict[str, Iterable[str]] = {
        "policy": _with_settings(config.policy.prior, own_sections),
        "evaluate": _with_settings([*evaluate.arms, *priors], own_sections),
        "scores": _with_settings(own_sections, own_sections),
    }
    found: dict[str, dict[str, Iterable[str]]] = {
        "scorers": scorers,
        "picture_scorers": scorers,
        "kinds": {"task": [config.task.kind]},
        "metrics": {"task": [f"{kind}.{metric}" for kind in KINDS.names()]},  # of a kind that the data may tell
        "objectives": {"inner": [config.inner.objective]},
        "adaptations": {"outer": [config.outer.adaptation], "evaluate": evaluate.downstream},
        "engines": {"inner": [config.inner.engine]},
        "estimators": {"learn": [config.learn.estimator]},
        "networks": {"policy": [config.policy.network]},
        "backends": {"cluster": [config.cluster.backend]},
        "trackers": {"track": config.track.to},
    }
    return {
        kind: {_bare(name) for section, names in sections.items() if section not in but for name in names}
        for kind, sections in found.items()
    }


def _with_settings(scorers: Iterable[str], sections: Mapping[str, Any]) -> set[str]:
    """These and what texts stand in their sections, which may be further scorers that one of them goes by."""
    found: set[str] = set()
    new = {_bare(name) for name in scorers}
    while new:
        found |= new
        new = {_bare(text) for name in new & sections.keys() for text in _texts(sections[name])} - found
    return found


def _texts(settings: Any) -> Iterator[str]:
    """Those that a user has chosen: values, and keys of tables, but no names of settings."""
    if isinstance(settings, str):
        yield settings
    elif isinstance(settings, BaseModel):
        yield from chain.from_iterable(_texts(value) for _, value in settings)
    elif isinstance(settings, Mapping):
        yield from chain.from_iterable(map(_texts, chain(settings, settings.values())))
    elif isinstance(settings, list | tuple | set | frozenset):
        yield from chain.from_iterable(map(_texts, settings))


def _bare(name: str) -> str:
    return name.partition(":")[0].partition("@")[0]
