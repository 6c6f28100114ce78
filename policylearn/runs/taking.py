"""Whether a folder may be that of a run, or of a policy, and what becomes of what is there."""

import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from policylearn.artefact import MANIFEST
from policylearn.config import ClusterConfig, Config, changes
from policylearn.config.places import places_of
from policylearn.messages.quote import some
from policylearn.runs.contents import changed_contents, contents, known_contents
from policylearn.runs.kept import kept_json
from policylearn.runs.layout import BEGUN_IN, CONFIG, CONTENTS, GIVEN, INPUTS, LEARNING, LEFT_BEHIND, PRIOR, PROGRESS
from policylearn.runs.reading import known_config
from policylearn.storage.folder import Storage

FREE_TO_CHANGE = ("imports", "cluster", "track", "name", "pretrain")
"""What a run may be continued with others of, as when it moves to another cluster: it decides where and how fast it is
computed, and what it is called, or is of another command. Some of them decide in which order sums are taken as well,
see `other_sums`."""


@dataclass(frozen=True)
class Taken:
    """How a run takes its folder.

    Attributes:
        forgets: whether what is there goes when the run begins.
        held: what contents.json is to hold; nothing: it is not written.
        remark: what a user should know, or nothing.
    """

    forgets: bool = False
    held: Mapping[str, str] = field(default_factory=dict)
    remark: str = ""


AS_IT_IS = Taken()
"""By whoever only reads what is there."""


def take(storage: Storage, config: Config, fresh: bool, compares: bool, start_over: str) -> Taken:
    """How a run may go on in a folder, of which nothing is changed; arguments and errors as of `Run.open`."""
    names, known = set(storage.names()), known_config(storage)
    _check_takes_run(storage, names, known, fresh, compares, start_over)
    changed = changes(known, config, FREE_TO_CHANGE) if known and not (fresh or compares) else ""
    before, progress = {} if fresh else known_contents(storage), set(PROGRESS) & names
    if changed and progress:
        settings = f"{changed}{_begun_elsewhere(before)}"
        raise ValueError(f"{storage} holds a run with other settings ({settings}): choose {start_over}")
    held = {} if compares else contents(config)
    others = [] if changed else changed_contents(before, held, config)
    if others and progress:
        raise ValueError(
            f"{storage} holds a run {_moved(others[0], config)} has changed since it began; choose {start_over}"
        )
    held = ({BEGUN_IN: str(Path.cwd())} | ({} if changed or others else before) | held) if held else {}
    sums = other_sums(known, config) if known and not (fresh or changed) else ""
    remark = f"{sums}: what is new may differ in its last bits from what {storage} holds" if sums else ""
    return Taken(bool(fresh or changed or others), held, remark)


def _begun_elsewhere(before: Mapping[str, str]) -> str:
    begun = before.get(BEGUN_IN, here := str(Path.cwd()))
    return f"; it was {BEGUN_IN} {begun}" if begun != here else ""


def _moved(key: str, config: Config) -> str:
    place = places_of(config).get(key)
    return f"on other data: {key} {place}" if place else f"of other code: {key}"


def other_sums(known: dict[str, Any], config: Config) -> str:
    """What differs from the cluster of an earlier config, as JSON has it, of that which decides in which order sums are
    taken, and so their last bits: how many threads, and whether on a GPU; in words.

    >>> other_sums({"cluster": {"threads": 2, "gpus": 0.5}}, Config())
    'cluster.threads was 2, now 1; cluster.gpus was 0.5, now 0.0'
    >>> other_sums({"cluster": {"workers": 9, "address": "auto"}}, Config())
    ''
    """
    now = config.cluster
    before = ClusterConfig().model_dump() | known.get("cluster", {})
    changed = ["threads"] if before["threads"] != now.threads else []
    changed += ["gpus"] if bool(before["gpus"]) != bool(now.gpus) else []
    return "; ".join(f"cluster.{name} was {before[name]}, now {getattr(now, name)}" for name in changed)


def _check_takes_run(
    storage: Storage, names: set[str], known: dict[str, Any] | None, fresh: bool, compares: bool, start_over: str
) -> None:
    """Raises ValueError if a folder holds something that is no run, or is one of the other kind; see `Run.open`."""
    is_run = known is not None or (CONFIG in names and bool({CONTENTS, GIVEN, PRIOR} & names))
    if not is_run and names - {INPUTS}:
        raise ValueError(f"{storage} is not empty and holds no run of policylearn: choose another --out")
    if is_run and known is None and not fresh:
        raise ValueError(f"{storage} holds a run whose {CONFIG} is damaged: choose {start_over}")
    if compares and {PRIOR, *LEARNING} & names:
        raise ValueError(f"{storage} is the folder of a run that learns: choose another --out for a comparison")
    if not compares and not fresh and GIVEN in names:
        raise ValueError(f"{storage} holds a comparison, which learns nothing: choose {start_over}")


def check_takes_policy(out: str | os.PathLike[str], known: Collection[str] = ()) -> None:
    """Refuse to put a policy where something else is, files of which it would replace: a run has its own in "policy",
    which is not to be replaced either, and of two in one folder nobody knows which is meant.

    Args:
        out: where to.
        known: what may be there besides an earlier policy.

    Raises:
        ValueError: saying so, or that there can be no folder.
    """
    storage = Storage.at(out)
    storage.check_folder()
    if known_config(storage) is not None:
        raise ValueError(
            f"--out {out} is the folder of a run, which has its policy in {out}/policy: name another folder"
        )
    above, name = _above(out)
    if name in (*LEFT_BEHIND, INPUTS) and known_config(Storage.at(above)) is not None:
        raise ValueError(f"--out {out} is a part of the run in {above}: name another folder")
    if "files" in (kept_json(storage, MANIFEST, "take it away") or {}):
        return
    if others := set(storage.names()) - set(known):
        raise ValueError(f"--out {out} holds {some(sorted(others))} and no policy: name an empty folder, or another")


def _above(out: str | os.PathLike[str]) -> tuple[str, str]:
    """The place that a folder is in, and its name there.

    >>> _above("/runs/a/policy"), _above("s3://bucket/a/policy/?region=eu-west-1")
    (('/runs/a', 'policy'), ('s3://bucket/a?region=eu-west-1', 'policy'))
    """
    text = os.fspath(out)
    head, mark, query = text.partition("?") if "://" in text else (os.path.realpath(text), "", "")
    above, _, name = head.rstrip("/").rpartition("/")
    return (above or "/") + mark + query, name
