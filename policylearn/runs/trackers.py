"""Rounds shown in TensorBoard, Weights & Biases, MLflow and trackio, besides metrics.jsonl.

A tracker says how many rounds it has, and is given those it lacks. So a run that is continued goes on in the same
place with no round twice, and a tracker that could not be reached for a while catches up.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property, partial
from importlib.util import find_spec
from math import isfinite
from typing import Any, Protocol
from uuid import uuid4

from rich.console import Console

from policylearn.config import Config
from policylearn.registry.known import TRACKERS
from policylearn.registry.registry import check_has
from policylearn.report.printing import print_line
from policylearn.runs.state import State

IDENTITY = "tracked_as"
"""Where the name that a run has with its trackers is kept, in the numbers of its state."""


class Tracker(Protocol):
    """One place where rounds are shown."""

    known: int
    """How many rounds it has."""

    def log(self, number: int, values: dict[str, float]) -> None:
        """Add a round."""
        ...

    def close(self) -> None:
        """All is said."""
        ...


class TensorBoard:
    """Event files in a folder. Those of earlier calls are superseded from the first round on."""

    package = "tensorboard"

    def __init__(self, config: Config, folder: str, identity: str) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self.known, self._open = 0, partial(SummaryWriter, f"{folder}/tensorboard", purge_step=0)

    @cached_property
    def _writer(self) -> Any:
        return self._open()  # with the first round: before it, the folder may hold what is about to be forgotten

    def log(self, number: int, values: dict[str, float]) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, number)
        self._writer.flush()

    def close(self) -> None:
        if "_writer" in vars(self):
            self._writer.close()


class WandB:
    """A run of Weights & Biases. Offline each call writes a whole copy of the run, all with the same id."""

    package = "wandb"

    def __init__(self, config: Config, folder: str, identity: str) -> None:
        import wandb

        self._run = wandb.init(
            project=config.track.project,
            id=identity,
            name=identity,
            resume="allow",
            config=config.model_dump(mode="json"),
            settings=wandb.Settings(console="off", silent=True),
        )
        self.known = self._run.step

    def log(self, number: int, values: dict[str, float]) -> None:
        self._run.log(values, step=number)

    def close(self) -> None:
        self._run.finish()


class MLflow:
    """A run of an MLflow experiment, wherever MLFLOW_TRACKING_URI says; found again by its tag."""

    package = "mlflow"

    def __init__(self, config: Config, folder: str, identity: str) -> None:
        from mlflow import MlflowClient

        self._client, project = MlflowClient(), config.track.project
        found = self._client.get_experiment_by_name(project)
        experiment = found.experiment_id if found else self._client.create_experiment(project)
        tag = {"policylearn": identity}
        runs = self._client.search_runs([experiment], f"tags.policylearn = '{identity}'", max_results=1)
        run = runs[0] if runs else self._client.create_run(experiment, run_name=identity, tags=tag)
        self._id, self.known = run.info.run_id, int(run.data.metrics.get("round", -1)) + 1

    def log(self, number: int, values: dict[str, float]) -> None:
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        self._client.log_batch(self._id, [Metric(name, value, now, number) for name, value in values.items()])

    def close(self) -> None:
        self._client.set_terminated(self._id)


class Trackio:
    """A run of a trackio project."""

    package = "trackio"

    def __init__(self, config: Config, folder: str, identity: str) -> None:
        import trackio

        self._run = trackio.init(
            config.track.project, identity, resume="allow", embed=False, auto_log_gpu=False, auto_log_cpu=False
        )
        self.known = self._run._next_step  # its public interface does not say

    def log(self, number: int, values: dict[str, float]) -> None:
        self._run.log(values, step=number)

    def close(self) -> None:
        self._run.finish()


class Trackers:
    """All trackers of a run, each of which is opened when it is first asked for."""

    def __init__(self, openers: Mapping[str, Callable[[], Tracker]], console: Console) -> None:
        self._openers, self._console = openers, console
        self._trackers: dict[str, Tracker] = {}
        self._failed = Counter[str]()
        self._waits = Counter[str]()

    def open_all(self) -> None:
        """ValueError: one cannot be opened."""
        for name in self._openers:
            self._opened(name)

    def update(self, history: Sequence[dict[str, Any]]) -> None:
        """Bring every tracker up to the history of rounds; one that fails is tried again after the next, then after two
        more, four more and so on: it may take minutes each time to say nothing."""
        for name in self._openers:
            if self._waits[name]:
                self._waits[name] -= 1
            else:
                self._attempt(name, partial(self._catch_up, name, history))

    def _catch_up(self, name: str, history: Sequence[dict[str, Any]]) -> None:
        tracker = self._opened(name)
        for record in history[tracker.known :]:
            tracker.log(record["round"], numbers_of(record))
            tracker.known += 1

    def _opened(self, name: str) -> Tracker:
        if name not in self._trackers:
            self._trackers[name] = self._openers[name]()
        return self._trackers[name]

    def end(self, history: Sequence[dict[str, Any]]) -> None:
        """Try once more to bring those up to the history that did not answer."""
        for name in self._openers:
            if self._failed[name]:
                self._attempt(name, partial(self._catch_up, name, history))

    def close(self) -> None:
        """All is said."""
        for name, tracker in self._trackers.items():
            self._attempt(name, tracker.close)

    def _attempt(self, name: str, action: Callable[[], None]) -> None:
        try:
            action()
            self._failed[name] = 0
        except Exception as error:  # fault boundary: learning does not end because nobody can watch it
            self._waits[name] = 2 ** self._failed[name] - 1
            self._failed[name] += 1
            print_line(self._console, f"{name} does not answer, metrics.jsonl has it all: {error}")


def check_trackers(config: Config, folder: str = "") -> None:
    """That the trackers which the config asks for can be used for a run in a folder.

    Raises:
        ValueError: one needs what is not installed, or would write elsewhere.
    """
    if "tensorboard" in config.track.to and "://" in folder and "?" in folder:
        raise ValueError(
            f"track.to: tensorboard does not know the options of {folder}, and would write elsewhere: set them by "
            "environment (AWS_DEFAULT_REGION, AWS_ENDPOINT_URL), or leave it out"
        )
    for name in config.track.to:
        package = getattr(TRACKERS.get(name), "package", None)
        if package is not None and find_spec(package) is None:
            raise ValueError(f"track.to asks for {name!r}, which is not installed: pip install {package}")


@contextmanager
def open_trackers(config: Config, folder: str, state: State, console: Console) -> Iterator[Trackers]:
    """The trackers that `config.track` asks for, with all rounds there are; closed at the end. Where the run has a name
    there already, one that does not answer ends it as little as later on.

    Args:
        config: of the run.
        folder: of the run.
        state: of the run; the name that it has with its trackers is kept in its numbers.
        console: where a tracker that fails is named.

    Raises:
        ValueError: as in `check_trackers`, or one cannot be opened when the run begins.
    """
    check_trackers(config, folder)
    begins = IDENTITY not in state.numbers
    if config.track.to and begins:
        state.numbers[IDENTITY] = f"{config.track.name or config.name}-{uuid4().hex[:8]}"
    openers = {name: partial(_opened, name, config, folder, state.numbers[IDENTITY]) for name in config.track.to}
    trackers = Trackers(openers, console)
    try:
        if begins:
            trackers.open_all()
        trackers.update(state.history)
        yield trackers
        trackers.end(state.history)  # not where it is stopped: who stops it may wait for seconds only
    finally:
        trackers.close()


def _opened(name: str, config: Config, folder: str, identity: str) -> Tracker:
    try:
        tracker = TRACKERS.get(name)(config, folder, identity)
        check_has("what was opened", tracker, ("known", "log", "close"))
        return tracker
    except Exception as error:  # fault boundary: whatever keeps a service from being used
        raise ValueError(f"track.to: {name} cannot be used: {error}") from error


def numbers_of(record: dict[str, Any]) -> dict[str, float]:
    """The finite numbers of a round's record, those of inner dictionaries with the name of the outer one before.

    >>> numbers_of({"round": 3, "dev": 0.5, "dev_scores": [0.5], "baselines": {"random": 0.4}, "reliability": None})
    {'round': 3, 'dev': 0.5, 'baselines/random': 0.4}
    """
    found: dict[str, float] = {}
    for name, value in record.items():
        if isinstance(value, dict):
            found |= {f"{name}/{inner}": number for inner, number in numbers_of(value).items()}
        elif isinstance(value, int | float) and isfinite(value):
            found[name] = value
    return found
