"""The run directory, on this disk or in a bucket: what a run leaves behind, and how it is found again.

config.json       every setting, resolved            checkpoints/   the state of learning, newest few
metrics.jsonl     one line per finished round        trials.jsonl   one line per finished fresh model
prior/            the policy before learning         policy/        the exported policy
expected/         checkpoints of the credits' sums, and the policy that follows from them; strength/ likewise
result.json       the comparison; written last       report.html    all of it to look at
policies.json     where policies that were given came from; tensorboard/, if that was asked for
contents.json     what the files of task, corpora and models held, in short
inputs/           what was given as objects, written before the run begins
"""

import json
import os
import shlex
from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from tempfile import TemporaryDirectory
from types import MappingProxyType
from typing import Any

from rich.console import Console
from transformers import PreTrainedTokenizerBase

from policylearn.artefact import CARD, MANIFEST, PolicyArtefact, load_policy, save_policy
from policylearn.config import ClusterConfig, Config, changes, config_of, resolved_json
from policylearn.config.places import places_of
from policylearn.config.renamed import rename
from policylearn.messages.quote import some
from policylearn.policy.policy import MaskingPolicy
from policylearn.report.printing import print_line
from policylearn.runs.contents import BEGUN_IN, CONTENTS, POLICY, contents, known_contents
from policylearn.runs.kept import kept_json, kept_lines
from policylearn.runs.provenance import Origin, provenance
from policylearn.runs.state import State, load_latest, save_files, state_files
from policylearn.runs.stop import has_begun
from policylearn.storage.folder import Storage, StorageFailed, files_below
from policylearn.storage.outbox import Outbox

FREE_TO_CHANGE = ("imports", "cluster", "track", "name", "pretrain")
"""What a run may be continued with others of, as when it moves to another cluster: it decides where and how fast it is
computed, and what it is called, or is of another command. Some of them decide in which order sums are taken as well,
see `other_sums`."""
CONFIG, KNOWN = "config.json", "scores"
"""Where its settings are; where the provenance of the prior has what is known of it."""
PRIOR, EXPECTED, STRENGTH = "prior", "expected", "strength"
"""Folders of the policies that a stage of learning starts from."""
LEARNING = ("checkpoints", EXPECTED, STRENGTH)
"""What learning keeps on its way."""
GIVEN = "policies.json"
"""Of a comparison alone, which learns nothing."""
LEFT_BEHIND = (
    "metrics.jsonl",
    "trials.jsonl",
    GIVEN,
    CONTENTS,
    "result.json",
    "report.html",
    *LEARNING,
    PRIOR,
    POLICY,
    "tensorboard",
    CONFIG,  # last: what is left of a folder cleared halfway is still known as a run
)
MARKS_OF_A_RUN = ("policy", "masking", "inner", "learn")
"""Sections by which a config.json is known, of this version or an earlier one."""
INPUTS = "inputs"
"""Folder of data and models that came as objects."""
PROGRESS = (*LEARNING, "trials.jsonl", "result.json")
"""What is worth keeping; a run that stopped before any of it makes room for one with other settings."""


class Run(AbstractContextManager["Run"]):
    """One run directory. Use `Run.open`; leaving it as a context tries once more to save what is not saved yet.

    A save that fails does not end the run, see `Outbox`; `finish` must succeed.

    Args:
        storage, config, console: as in `open`.
        forgets: whether what is there goes when the run begins, and counts for nothing until then.
        held: what contents.json is to hold; nothing: it is not written.
    """

    def __init__(
        self,
        storage: Storage,
        config: Config,
        console: Console,
        forgets: bool = False,
        held: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self.storage, self.config, self.console = storage, config, console
        self._begun, self._forgets, self._held = False, forgets, dict(held)
        self._settings = resolved_json(config).encode()
        self._remarks: dict[str, str] = {}
        self._outbox = Outbox(storage, self.warn)
        lines = "" if forgets else self._read("trials.jsonl")  # later it may be out of reach
        self._trials = kept_lines(storage, "trials.jsonl", lines)

    @classmethod
    def open(
        cls,
        out: str | os.PathLike[str],
        config: Config,
        console: Console,
        fresh: bool = False,
        compares: bool = False,
        start_over: str = "another --out, or --fresh to start over",
    ) -> "Run":
        """Create the directory, or find an earlier run of the same config in it, but for what is `FREE_TO_CHANGE`.

        Args:
            out: a path or a URI.
            config: of the run.
            console: where warnings go.
            fresh: forget what is there, when learning or trials begin: a mistake that is met before costs nothing.
            compares: whether the run compares policies that were learned elsewhere. Its settings are free to change:
                every trial is kept with a key of what it depends on, its data among them.
            start_over: what to choose where it holds something else, for messages.

        Raises:
            ValueError: the directory holds a run of another config, of other data, of parts of others that have been
                rewritten or of the other kind, or something that is no run.
            StorageFailed: it cannot be read or written.
        """
        storage = Storage.at(out, lambda line: _warn(console, line))
        storage.check_folder()
        names, known = storage.names(), known_config(storage)
        _check_takes_run(storage, known, fresh, compares, start_over)
        changed = changes(known, config, FREE_TO_CHANGE) if known and not (fresh or compares) else ""
        before, here = {} if fresh else known_contents(storage), str(Path.cwd())
        if changed and set(PROGRESS) & set(names):
            begun = before.get(BEGUN_IN, here)
            moved = f"; it was {BEGUN_IN} {begun}" if begun != here else ""
            raise ValueError(f"{storage} holds a run with other settings ({changed}{moved}): choose {start_over}")
        held = {} if compares else contents(config)
        before = {} if changed else before
        if others := [key for key in held if before.get(key, held[key]) != held[key]]:
            if set(PROGRESS) & set(names):
                place = places_of(config).get(others[0])
                moved = f"on other data: {others[0]} {place}" if place else f"of other code: {others[0]}"
                raise ValueError(f"{storage} holds a run {moved} has changed since it began; choose {start_over}")
            before = {}
        if known and not (fresh or changed) and (moved := other_sums(known, config)):
            _warn(console, f"{moved}: what is new may differ in its last bits from what {storage} holds")
        held = {BEGUN_IN: here} | before | held if held else {}
        run = cls(storage, config, console, bool(fresh or changed or others), held)
        if not fresh:
            run.begin()
        return run

    @property
    def address(self) -> str:
        """The run directory as it is typed in a command."""
        return shlex.quote(str(self.storage))

    @property
    def finished(self) -> bool:
        """Whether everything was done by an earlier call."""
        return not self._forgets and self.storage.is_file("result.json")

    def result(self) -> dict[str, Any]:
        """What stands in result.json."""
        found: dict[str, Any] = kept_json(self.storage, "result.json", "take it away, and it is made again")
        return found

    def finish(self, result: dict[str, Any]) -> None:
        """Write result.json, and all that waits before it: from now on the run is finished.

        Raises:
            StorageFailed: it was tried for `cluster.storage_timeout` seconds.
        """
        self._check_alone()
        self.save_text("result.json", json.dumps(result, indent=2) + "\n")
        with self._waiting():
            self._outbox.flush()

    def latest_state(self, folder: str = "") -> State:
        """The newest sound checkpoint, with metrics.jsonl brought in line with it, or a new state.

        Args:
            folder: where in the run they are, for a stage with a folder of its own.

        Raises:
            StorageFailed: it was tried for `cluster.storage_timeout` seconds.
        """
        self.begin()
        with self._waiting():
            state, complaints = load_latest(self.storage / _inside(folder, "checkpoints"))
            metrics = self._read(_inside(folder, "metrics.jsonl"))
        for complaint in complaints:
            self.warn(complaint)
        state = state or State()
        state.folder = folder
        if metrics != _lines(state.history):
            self.save_text(_inside(folder, "metrics.jsonl"), _lines(state.history))
        return state

    def save_round(self, state: State) -> None:
        """Checkpoint the state, then bring metrics.jsonl up to it. ValueError: as `save_trials`."""
        self._check_alone()
        checkpoints, lines = (_inside(state.folder, name) for name in ("checkpoints", "metrics.jsonl"))
        folder, number, files = self.storage / checkpoints, state.round, state_files(state)
        metrics = self._writing(lines, _lines(state.history))
        self._put((checkpoints, lambda: save_files(folder, number, files)), (lines, metrics))

    def trials(self) -> list[dict[str, Any]]:
        """Records of the fresh models finished before this run was opened; a line cut short is dropped."""
        return self._trials

    def save_trials(self, trials: list[dict[str, Any]]) -> None:
        """Rewrite trials.jsonl.

        Raises:
            ValueError: another process has begun a run of other settings in this folder meanwhile.
        """
        self._check_alone()
        self.save_text("trials.jsonl", _lines(trials))

    def note_policies(self, given: dict[str, Origin]) -> None:
        """Keep which policies given by the user stand behind which arms."""
        self.begin()
        self.storage.write(GIVEN, (json.dumps(given, indent=2) + "\n").encode())

    def given_policies(self) -> dict[str, Origin]:
        """What `note_policies` kept, by arm."""
        return kept_json(self.storage, GIVEN, "it is written again by the next `policylearn evaluate`") or {}

    def prior(
        self,
        build: Callable[[], MaskingPolicy],
        tokenizer: PreTrainedTokenizerBase | None,
        known: Callable[[], dict[str, str]] = dict,
    ) -> tuple[MaskingPolicy, dict[str, str]]:
        """The policy before learning, and what is known of it (see `lineage.measured`): scored once, kept in `prior/`,
        loaded when the run is continued."""
        kept = self.kept_policy(PRIOR)
        if kept is None:
            policy = build()
            kept = self.keep_policy(PRIOR, policy, tokenizer, known())
        return kept[0].start_here() if self.config.learn.start is not None else kept[0], kept[1]

    def kept_policy(self, name: str) -> tuple[MaskingPolicy, dict[str, str]] | None:
        """A policy that a stage of learning starts from, and what is known of it, if it is kept already."""
        if self._forgets or not self.storage.is_file(f"{name}/{MANIFEST}"):
            return None
        try:
            kept = load_policy(str(self.storage / name))
        except ValueError as error:  # storage boundary
            again = f"take {self.storage / name} away, and it is made again, or start over"
            raise ValueError(f"what this run began with is damaged: {again}. {error}") from error
        return kept.policy, kept.provenance.get(KNOWN, {})

    def keep_policy(
        self, name: str, policy: MaskingPolicy, tokenizer: PreTrainedTokenizerBase | None, known: dict[str, str]
    ) -> tuple[MaskingPolicy, dict[str, str]]:
        """Keep it; returns what `kept_policy` will."""
        artefact = self.artefact(policy, tokenizer, {KNOWN: known} if known else {})
        return self.save_policy(name, artefact, "A policy that a stage of learning started from.\n"), known

    def save_policy(self, name: str, artefact: PolicyArtefact, card: str) -> MaskingPolicy:
        """Export a policy to a folder of this run; returns it as whoever loads it will see it.

        Raises:
            ValueError: nobody would load it.
            StorageFailed: there is no room for it among the temporary files of this machine.
        """
        with TemporaryDirectory(prefix="policylearn-") as local:
            try:
                save_policy(local, artefact, card)
            except ValueError:  # of the policy, whatever there is room for
                raise
            except Exception as error:  # storage boundary: tokenizers raise nothing more precise
                raise StorageFailed(f"{local} cannot be written (TMPDIR names another place): {error}") from error
            folder, files = self.storage / name, files_below(Path(local))
            self._put((name, lambda: folder.write_all(files, MANIFEST, [CARD])))
            return load_policy(local).policy

    def save_text(self, name: str, text: str) -> None:
        """Write a file."""
        self._put((name, self._writing(name, text)))

    def warn(self, line: str) -> None:
        """Say what a user should know although the run goes on."""
        _warn(self.console, line)

    def artefact(
        self,
        policy: MaskingPolicy,
        tokenizer: PreTrainedTokenizerBase | None,
        more: Mapping[str, Any] = MappingProxyType({}),
    ) -> PolicyArtefact:
        """A policy with this run's settings and provenance, and `more` of that."""
        return PolicyArtefact(policy, tokenizer, provenance=self.provenance() | dict(more))

    def provenance(self, command: str = "") -> dict[str, str]:
        """What the policy was learned on and with."""
        return provenance(self.config) | self._remarks | ({"command": command} if command else {})

    def remark(self, line: str) -> None:
        """Say what a reader of results should know as well, and keep it with them and what was said before; an empty
        line says nothing."""
        if line:
            self.warn(line)
            self._remarks = {"remark": "; ".join([*self._remarks.values(), line])}

    def __exit__(self, *exception: object) -> None:
        if self._begun:
            self._outbox.try_all()

    def begin(self) -> None:
        """Once, when learning or trials do: what is to be forgotten goes, and the folder is of this run."""
        if self._begun:
            return
        for name in LEFT_BEHIND if self._forgets else ():  # and nothing else that may lie beside it
            self.storage.remove(name)
        self._begun, self._forgets = True, False
        self.storage.write_changed(CONFIG, self._settings)
        if self._held:
            self.storage.write_changed(CONTENTS, (json.dumps(self._held, indent=2) + "\n").encode())
        self._outbox.put()
        has_begun(self.storage)

    def _put(self, *writes: tuple[str, Callable[[], Any]]) -> None:
        """Save these; before the run has begun, with what it begins with."""
        save = self._outbox.put if self._begun else self._outbox.hold
        save(*writes)

    def _check_alone(self) -> None:
        """Of two processes with other settings in one folder the first goes: what they write would be of both."""
        self.begin()
        try:
            there = self.storage.impatient().read(CONFIG)
        except (FileNotFoundError, StorageFailed):  # storage boundary: nothing is known, and saving will tell
            return
        if there != self._settings:
            raise ValueError(
                f"{self.storage}: another process has begun a run with other settings there, and this one stops; give "
                "each a folder of its own, --out"
            )

    def _waiting(self) -> AbstractContextManager[None]:
        """Where there is no going on without the storage."""
        return self.storage.patience.lasting(self.config.cluster.storage_timeout)

    def _read(self, name: str) -> str:
        """Content of a file; empty if there is none."""
        try:
            return self.storage.read(name).decode()
        except FileNotFoundError:
            return ""

    def _writing(self, name: str, text: str) -> Callable[[], None]:
        return lambda: self.storage.write(name, text.encode())


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


def _warn(console: Console, line: str) -> None:
    print_line(console, line, "yellow")


def known_config(storage: Storage) -> dict[str, Any] | None:
    """The config of the run in a folder. Every transformers checkpoint has a config.json as well: that is no run."""
    try:
        known = json.loads(storage.read(CONFIG))
        return known if set(MARKS_OF_A_RUN) <= set(known) else None
    except (FileNotFoundError, ValueError, TypeError):  # storage boundary: not there, not JSON, not a run
        return None


def _check_takes_run(
    storage: Storage, known: dict[str, Any] | None, fresh: bool, compares: bool, start_over: str
) -> None:
    """Raises ValueError if a folder holds something that is no run, or is one of the other kind; see `Run.open`."""
    names = set(storage.names())
    is_run = known is not None or (CONFIG in names and bool({CONTENTS, GIVEN, PRIOR} & names))
    if not is_run and names - {INPUTS}:
        raise ValueError(f"{storage} is not empty and holds no run of policylearn: choose another --out")
    if is_run and known is None and not fresh:
        raise ValueError(f"{storage} holds a run whose {CONFIG} is damaged: choose {start_over}")
    if compares and {PRIOR, *LEARNING} & names:
        raise ValueError(f"{storage} is the folder of a run that learns: choose another --out for a comparison")
    if not compares and not fresh and GIVEN in names:
        raise ValueError(f"{storage} holds a comparison, which learns nothing: choose {start_over}")


def kept_config(storage: Storage) -> Config:
    """The config of the run in a folder. ValueError: there is no run, or one of another version's settings."""
    if (known := known_config(storage)) is None:
        raise ValueError(f"{storage} holds no run of policylearn")
    source = f"{storage}/{CONFIG}"
    return config_of(rename(known, source), (), source)


def config_for_its_files(storage: Storage) -> Config:
    """The same, for whoever goes on to read what it names.

    Raises:
        ValueError: as `kept_config`; or a file is there from the folder alone in which the run was begun.
    """
    config = kept_config(storage)
    if (begun := known_contents(storage).get(BEGUN_IN)) is not None:
        for key, place in places_of(config).items():
            if not Path(place).exists() and Path(begun, place).exists():
                raise ValueError(f"{storage} was {BEGUN_IN} {begun}, where its {key} {place} is: call this from there")
    return config


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


def _inside(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name


def _lines(records: list[dict[str, Any]]) -> str:
    """JSON lines."""
    return "".join(json.dumps(record) + "\n" for record in records)
