"""A study: the same comparison on several tasks."""

from collections.abc import Collection
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError, model_validator

from policylearn.config.experiment import Config
from policylearn.config.loading import explained, load_config, parsed, read_toml
from policylearn.config.places import Place, find_beside
from policylearn.config.strict import Strict

OWN_KEYS = {"evaluate.arms": "arms", "evaluate.seeds": "seeds"}
"""What a study says itself, for all tasks alike → how."""
SAID_ONCE = ("name", "arms", "reference", "seeds")
"""What an override changes of a study itself."""


class StudyTask(Strict):
    """One task of a study."""

    config: Place = Field(description="TOML file of the experiment")
    set: list[str] = Field([], description="overrides such as evaluate.labelled=200")
    policies: dict[str, Place] = Field({}, description="arm → exported policy: a folder, a URI or a Hub name")


class StudyConfig(Strict):
    """The same arms and seeds on several tasks. Sections of the TOML file are the fields of this class."""

    name: str = Field(description="of the study, in its report")
    arms: list[str] = Field(min_length=1, description="on every task, beside those of its `policies`")
    imports: list[str] = Field([], description="modules to be imported besides those of the tasks' configs")
    reference: str = Field("random", description="the arm all others are compared with")
    seeds: int = Field(10, ge=1, description="paired seeds on every task")
    set: list[str] = Field([], description="overrides for every task; those of a task come after them")
    tasks: dict[str, StudyTask] = Field(min_length=1, description="the tasks by name")

    @model_validator(mode="after")
    def _consistent(self) -> "StudyConfig":
        if self.reference not in self.arms:
            raise ValueError(f"reference {self.reference!r} is not among the arms {self.arms}")
        if bad := [name for name in self.tasks if not name or "/" in name or name.startswith(".")]:
            raise ValueError(f"task {bad[0]!r} names a folder of results: give it a plain name")
        return self

    def config_of(self, task: str) -> Config:
        """The experiment of one task; ValueError as in `load_config`."""
        given = self.tasks[task]
        arms = [*self.arms, *(arm for arm in given.policies if arm not in self.arms)]
        own = [f"evaluate.arms={_toml(arms)}", f"evaluate.seeds={self.seeds}"]
        return load_config(given.config, [*self.set, *given.set, *own], self.imports)


def is_study(path: str | Path) -> bool:
    """Whether a TOML file has tasks, as only a study has."""
    return "tasks" in read_toml(Path(path))


def load_study(path: str | Path, overrides: list[str], imports: Collection[str] = ()) -> StudyConfig:
    """Read a study, and every config it names, so that what is wrong is known before anything runs.

    Args:
        path: the file.
        overrides: as in `load_config`, for every task; of its own arms, seeds, reference and name for the study.
        imports: as in `load_config`, for every task.

    Raises:
        ValueError: naming the file and the key.
    """
    tree: dict[str, Any] = read_toml(Path(path))
    find_beside(tree, StudyConfig, Path(path))
    own = {override: parsed(override) for override in overrides}
    tree |= {key: value for key, value in own.values() if key in SAID_ONCE}
    if isinstance(given := tree.get("set", []), list):  # else pydantic says so
        tree["set"] = [*given, *(override for override, (key, _) in own.items() if key not in SAID_ONCE)]
    if imports:
        tree["imports"] = [*tree.get("imports", []), *imports]
    try:
        study = StudyConfig.model_validate(tree)
    except ValidationError as error:
        origin = {key: f"override {override}" for override, (key, _) in own.items() if key in SAID_ONCE}
        raise ValueError(explained(error, str(path), origin, StudyConfig)) from None
    for task, settings in study.tasks.items():
        for override in [*study.set, *settings.set]:
            if (key := override.partition("=")[0].strip()) in OWN_KEYS:
                raise ValueError(f"override {override}: a study has its own; set `{OWN_KEYS[key]}` in {path}")
        study.config_of(task)
    return study


def _toml(names: list[str]) -> str:
    """A list of strings as TOML writes it.

    >>> import tomllib
    >>> tomllib.loads("a = " + _toml(["x", 'say "y"']))
    {'a': ['x', 'say "y"']}
    """
    return "[" + ", ".join('"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"' for name in names) + "]"
