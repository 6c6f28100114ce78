"""A run on disk: what it keeps while it goes on, and how it is found again."""

import json
import os
import shlex
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from tempfile import TemporaryDirectory
from types import MappingProxyType
from typing import Any

from rich.console import Console
from transformers import PreTrainedTokenizerBase

from policylearn.artefact import CARD, MANIFEST, PolicyArtefact, load_policy, save_policy
from policylearn.config import Config, resolved_json
from policylearn.config.places import places_of
from policylearn.policy.policy import MaskingPolicy
from policylearn.report.printing import print_line
from policylearn.runs.contents import known_contents
from policylearn.runs.kept import kept_bytes, kept_json, kept_lines
from policylearn.runs.layout import (
    CHECKPOINTS,
    CONFIG,
    CONTENTS,
    GIVEN,
    LEFT_BEHIND,
    METRICS,
    PRIOR,
    PROGRESS,
    RESULT,
    TRIALS,
    inside,
)
from policylearn.runs.provenance import Origin, provenance
from policylearn.runs.state import State, load_latest, save_files, state_files
from policylearn.runs.stop import has_begun
from policylearn.runs.taking import AS_IT_IS, Taken, take
from policylearn.storage.folder import Storage, StorageFailed, files_below
from policylearn.storage.outbox import Outbox

ANOTHER = "another --out, or --fresh to start over"
"""What to choose where a folder holds something else."""
KNOWN = "scores"
"""Key of what is known of a policy, in its provenance."""


class Run(AbstractContextManager["Run"]):
    """One run directory. Use `Run.open`; leaving it as a context tries once more to save what is not saved yet.

    A save that fails does not end the run, see `Outbox`; `finish` must succeed.

    Args:
        storage, config, console, start_over: as in `open`.
        taken: how it takes its folder.
    """

    def __init__(
        self,
        storage: Storage,
        config: Config,
        console: Console,
        taken: Taken = AS_IT_IS,
        start_over: str = ANOTHER,
    ) -> None:
        self.storage, self.config, self.console, self._start_over = storage, config, console, start_over
        self._begun, self._forgets, self._held = False, taken.forgets, dict(taken.held)
        self._settings = resolved_json(config).encode()
        self._remark = ""
        self._given: bytes | None = None
        self._outbox = Outbox(storage, self.warn)
        self._trials = [] if taken.forgets else kept_lines(storage, TRIALS)  # later it may be out of reach

    @classmethod
    def open(
        cls,
        out: str | os.PathLike[str],
        config: Config,
        console: Console,
        fresh: bool = False,
        compares: bool = False,
        start_over: str = ANOTHER,
    ) -> "Run":
        """Create the directory, or find an earlier run of the same config in it, but for what is
        `taking.FREE_TO_CHANGE`.

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
        taken = take(storage, config, fresh, compares, start_over)
        if taken.remark:
            _warn(console, taken.remark)
        run = cls(storage, config, console, taken, start_over)
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
        return not self._forgets and self.storage.is_file(RESULT)

    def result(self) -> dict[str, Any]:
        """What stands in result.json."""
        found: dict[str, Any] = kept_json(self.storage, RESULT, "take it away, and it is made again")
        return found

    def finish(self, result: dict[str, Any]) -> None:
        """Write result.json, and all that waits before it: from now on the run is finished.

        Raises:
            StorageFailed: it was tried for `cluster.storage_timeout` seconds.
        """
        self._check_alone()
        self.save_text(RESULT, json.dumps(result, indent=2) + "\n")
        with self._waiting():
            self._outbox.flush()

    def latest_state(self, folder: str = "") -> State:
        """The newest sound checkpoint, with metrics.jsonl brought in line with it; or a new state, where there is none
        or it is to be forgotten.

        Args:
            folder: where in the run they are, for a stage with a folder of its own.

        Raises:
            StorageFailed: it was tried for `cluster.storage_timeout` seconds.
        """
        if self._forgets:
            return State(folder=folder)
        with self._waiting():
            state, complaints = load_latest(self.storage / inside(folder, CHECKPOINTS))
            metrics = kept_bytes(self.storage, inside(folder, METRICS))
        for complaint in complaints:
            self.warn(complaint)
        state = state or State()
        state.folder = folder
        if metrics != _lines(state.history):
            self._save(inside(folder, METRICS), _lines(state.history))
        return state

    def save_round(self, state: State) -> None:
        """Checkpoint the state, then bring metrics.jsonl up to it. ValueError: as `save_trials`."""
        self._check_alone()
        checkpoints, lines = (inside(state.folder, name) for name in (CHECKPOINTS, METRICS))
        folder, number, files = self.storage / checkpoints, state.round, state_files(state)
        metrics = _lines(state.history)
        self._put(
            (checkpoints, lambda: save_files(folder, number, files)),
            (lines, lambda: self.storage.write(lines, metrics)),
        )

    def trials(self) -> list[dict[str, Any]]:
        """Records of the fresh models finished before this run was opened; a line cut short is dropped."""
        return self._trials

    def save_trials(self, trials: list[dict[str, Any]]) -> None:
        """Rewrite trials.jsonl.

        Raises:
            ValueError: another process has begun a run of other settings or policies in this folder meanwhile.
        """
        self._check_alone()
        self._save(TRIALS, _lines(trials))

    def note_policies(self, given: dict[str, Origin]) -> None:
        """Keep which policies given by the user stand behind which arms."""
        self.begin()
        self._given = _json(given)
        self.storage.write(GIVEN, self._given)

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
        self._save(name, text.encode())

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
        said = {"remark": self._remark, "command": command}
        return provenance(self.config) | {name: text for name, text in said.items() if text}

    def remark(self, line: str) -> None:
        """Say what a reader of results should know as well, and keep it with them and what was said before; an empty
        line says nothing."""
        if line:
            self.warn(line)
            self._remark = f"{self._remark}; {line}" if self._remark else line

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
            self.storage.write_changed(CONTENTS, _json(self._held))
        self._outbox.put()
        has_begun(self.storage)

    def check_read(self, read: Mapping[str, str]) -> None:
        """Hold what was read of places that are no files against what it was when the run began, and keep it. A run
        that has kept nothing worth keeping begins anew with it.

        Args:
            read: of `contents_as_read`.

        Raises:
            ValueError: something else was read then.
        """
        before = {} if self._forgets else known_contents(self.storage)
        others = [key for key, found in read.items() if before.get(key, found) != found]
        if others and {*PROGRESS} & {*self.storage.names()}:
            raise ValueError(
                f"{self.storage} holds a run on other data: {others[0]} {places_of(self.config)[others[0]]} has "
                f"changed since it began; choose {self._start_over}"
            )
        self._held |= read
        if others:
            self._begun, self._forgets = False, True
            self.begin()
        elif self._begun and read:
            self.storage.write_changed(CONTENTS, _json(self._held))

    def _save(self, name: str, data: bytes) -> None:
        self._put((name, lambda: self.storage.write(name, data)))

    def _put(self, *writes: tuple[str, Callable[[], Any]]) -> None:
        """Save these; before the run has begun, with what it begins with."""
        save = self._outbox.put if self._begun else self._outbox.hold
        save(*writes)

    def _check_alone(self) -> None:
        """Of two processes with other settings or policies in one folder the first goes: what they write would be of
        both."""
        self.begin()
        for name, mine, what in ((CONFIG, self._settings, "settings"), (GIVEN, self._given, "policies")):
            try:
                there = mine and self.storage.impatient().read(name)
            except (FileNotFoundError, StorageFailed):  # storage boundary: nothing is known, and saving will tell
                continue
            if there != mine:
                raise ValueError(
                    f"{self.storage}: another process has begun a run with other {what} there, and this one stops; "
                    "give each a folder of its own, --out"
                )

    def _waiting(self) -> AbstractContextManager[None]:
        """Where there is no going on without the storage."""
        return self.storage.patience.lasting(self.config.cluster.storage_timeout)


def _warn(console: Console, line: str) -> None:
    print_line(console, line, "yellow")


def _json(value: Mapping[str, Any]) -> bytes:
    return (json.dumps(value, indent=2) + "\n").encode()


def _lines(records: list[dict[str, Any]]) -> bytes:
    """JSON lines."""
    return "".join(json.dumps(record) + "\n" for record in records).encode()
