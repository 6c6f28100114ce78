"""Parts of one's own that a config names: where they come from, and whether workers find them."""

from collections.abc import Iterable, Iterator, Set
from typing import Any

from policylearn.config.experiment import Config
from policylearn.registry.known import brought, registered
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
    """Registered parts that the config names anywhere, see `registry.registered`."""
    return registered(_names(config.model_dump(mode="json")))


def parts_of_others(config: Config, kinds: Iterable[str] | None = None, but: Set[str] = frozenset()) -> dict[str, Any]:
    """Parts that the config names anywhere and that are not ours: "scorer 'mine'" → what was registered.

    Args:
        config: of an experiment.
        kinds: of which, such as "metrics"; None: of all.
        but: sections that are not looked at.
    """
    return brought(_names(config.model_dump(mode="json", exclude=set(but))), kinds)


def _names(tree: Any) -> Iterator[str]:
    """Every key and text of a tree, without what may follow a name: "idf" of "idf:rank", "probe" of "probe@200"."""
    if isinstance(tree, str):
        yield tree.partition(":")[0].partition("@")[0]
    elif isinstance(tree, dict):
        for key, value in tree.items():
            yield from _names(key)
            yield from _names(value)
    elif isinstance(tree, list):
        for item in tree:
            yield from _names(item)
