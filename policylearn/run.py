"""The run directory: what a run leaves behind, and how it is found again.

config.json       every setting, resolved            checkpoints/   the outer state, newest few
metrics.jsonl     one line per finished round        trials.jsonl   one line per finished fresh model
prior/            the policy before learning         policy/        the exported policy
result.json       the comparison; written last       report.html    all of it to look at
"""

import hashlib
import json
import platform
import shutil
from collections.abc import Callable, Iterable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rich.console import Console
from safetensors.torch import save
from transformers import PreTrainedTokenizerBase

from policylearn.artefact import MANIFEST, PolicyArtefact, load_policy, save_policy
from policylearn.cluster.checkpoint import OuterState, load_latest, save_state
from policylearn.config import Config, resolved_json
from policylearn.policy import MaskingPolicy
from policylearn.report.console import TaskProgress

FREE_TO_CHANGE = ("cluster", "track")
"""Sections that do not change results: a run may be continued with others."""
LEFT_BEHIND = (
    "metrics.jsonl",
    "trials.jsonl",
    "policies.json",
    "result.json",
    "report.html",
    "checkpoints",
    "prior",
    "policy",
    "tensorboard",
    "config.json",  # last: what is left of a folder cleared halfway is still known as a run
)
PROGRESS = ("checkpoints", "trials.jsonl", "result.json")
"""What is worth keeping; a run that stopped before any of it makes room for one with other settings."""


class Run:
    """One run directory. Use `Run.open`."""

    def __init__(self, folder: Path, config: Config, console: Console) -> None:
        self.folder, self.config, self.console = folder, config, console

    @classmethod
    def open(cls, folder: Path, config: Config, console: Console, fresh: bool = False) -> "Run":
        """Create the directory, or find an earlier run of the same config in it.

        Raises:
            ValueError: the directory holds a run of another config, or something that is no run.
        """
        if folder.is_file():
            raise ValueError(f"{folder} is a file; --out names a folder")
        known = folder / "config.json"
        if folder.is_dir() and any(folder.iterdir()) and not _holds_run(known):
            raise ValueError(f"{folder} is not empty and holds no run of policylearn: choose another --out")
        changes = _changes(known, config) if known.is_file() and not fresh else ""
        if changes and any((folder / name).exists() for name in PROGRESS):
            raise ValueError(
                f"{folder} holds a run with other settings ({changes}): choose another --out, or --fresh to start over"
            )
        if known.is_file() and (fresh or changes):
            _clear(folder)
        folder.mkdir(parents=True, exist_ok=True)
        known.write_text(resolved_json(config), encoding="utf-8")
        return cls(folder, config, console)

    @property
    def finished(self) -> bool:
        """Whether everything was done by an earlier call."""
        return (self.folder / "result.json").is_file()

    def result(self) -> dict[str, Any]:
        """What stands in result.json."""
        return json.loads((self.folder / "result.json").read_text(encoding="utf-8"))

    def finish(self, result: dict[str, Any]) -> None:
        """Write result.json: from now on the run is finished."""
        _write(self.folder / "result.json", json.dumps(result, indent=2) + "\n")

    def latest_state(self) -> OuterState:
        """The newest sound checkpoint, or a new state."""
        state, complaints = load_latest(self.folder / "checkpoints")
        for complaint in complaints:
            self.console.print(complaint, style="yellow", highlight=False)
        return state or OuterState()

    def save_round(self, state: OuterState) -> None:
        """Checkpoint the state, then bring metrics.jsonl up to it."""
        save_state(self.folder / "checkpoints", state)
        lines = [json.dumps(record) + "\n" for record in state.history]
        _write(self.folder / "metrics.jsonl", "".join(lines))

    def trials(self) -> list[dict[str, Any]]:
        """Records of the fresh models finished so far; a line cut short by a crash is dropped."""
        path = self.folder / "trials.jsonl"
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True) if path.is_file() else []
        return [json.loads(line) for line in lines if line.endswith("\n")]

    def save_trials(self, trials: list[dict[str, Any]]) -> None:
        """Rewrite trials.jsonl."""
        _write(self.folder / "trials.jsonl", "".join(json.dumps(trial) + "\n" for trial in trials))

    def check_policies(self, policies: dict[str, MaskingPolicy]) -> None:
        """Note which policies given by the user stand behind which arms, or find them unchanged.

        Raises:
            ValueError: earlier trials in this folder were made with another policy.
        """
        path = self.folder / "policies.json"
        now = {arm: hashlib.sha256(save(policy.state_dict())).hexdigest() for arm, policy in policies.items()}
        before = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else now
        if changed := [arm for arm in now if before.get(arm) != now[arm]]:
            raise ValueError(
                f"{self.folder} holds trials of another policy as {changed}: "
                "choose another --out, or --fresh to start over"
            )
        _write(path, json.dumps(now, indent=2) + "\n")

    def prior(self, build: Callable[[], MaskingPolicy], tokenizer: PreTrainedTokenizerBase) -> MaskingPolicy:
        """The policy before learning: scored once, kept in `prior/`, loaded when the run is continued."""
        folder = self.folder / "prior"
        if not (folder / MANIFEST).is_file():
            save_policy(folder, self.artefact(build(), tokenizer), "The policy this run started from.\n")
        return load_policy(folder).policy

    def artefact(self, policy: MaskingPolicy, tokenizer: PreTrainedTokenizerBase) -> PolicyArtefact:
        """A policy with this run's settings and provenance."""
        return PolicyArtefact(policy, tokenizer, provenance=self.provenance())

    def provenance(self, command: str = "") -> dict[str, str]:
        """What the policy was learned on and with."""
        return provenance(self.config) | ({"command": command} if command else {})

    def watch(self, work: str, texts: Iterable[str]) -> Iterator[str]:
        """Pass texts on, showing progress while they flow."""
        with TaskProgress(work, None, self.console) as progress:
            for text in texts:
                yield text
                progress.advance()


def provenance(config: Config) -> dict[str, str]:
    """What a policy of this config is made from and with; names of files, not the folders they were in."""
    model = config.model.name or f"{config.model.architecture.get('model_type')} from scratch"
    facts = {
        "run": config.name,
        "model": _last_part(model),
        "tokenizer": _last_part(config.model.tokenizer or config.model.name or config.task.path),
        "task": _last_part(config.task.path),
        "domain": _last_part(config.domain.path),
        "general": _last_part(config.general.path),
        "python": platform.python_version(),
    }
    return facts | {package: version(package) for package in ("policylearn", "torch", "transformers")}


def _last_part(name: str) -> str:
    """A path without the folders it happens to lie in; Hub names keep their organisation."""
    return Path(name).name if name.startswith((".", "/", "~")) or name.count("/") > 1 else name


def _holds_run(known: Path) -> bool:
    """Whether this config.json is ours: every transformers checkpoint has a file of that name as well."""
    try:
        return set(Config.model_fields) <= set(json.loads(known.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):  # storage boundary: not there, not JSON, not a run
        return False


def _clear(folder: Path) -> None:
    """Remove what a run leaves behind, and nothing else that may lie beside it."""
    for name in LEFT_BEHIND:
        path = folder / name
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def _changes(known: Path, config: Config) -> str:
    """What differs between the config on disk and this one, in words; empty if nothing that matters does."""
    old, new = json.loads(known.read_text(encoding="utf-8")), config.model_dump(mode="json")
    changed = [key for key in new if key not in FREE_TO_CHANGE and old.get(key) != new[key]]
    return "; ".join(_difference(key, old.get(key), new[key]) for key in changed)


def _difference(key: str, old: Any, new: Any) -> str:
    if isinstance(old, dict) and isinstance(new, dict):
        inner = [k for k in new if old.get(k) != new[k]]
        return "; ".join(f"{key}.{k} was {old.get(k)!r}, now {new[k]!r}" for k in inner)
    return f"{key} was {old!r}, now {new!r}"


def _write(path: Path, text: str) -> None:
    """Replace a file in one step: a crash leaves the old one or the new one."""
    pending = path.with_name(path.name + ".partial")
    pending.write_text(text, encoding="utf-8")
    pending.replace(path)
