"""Where the loss of a pretraining is shown: `Trainer` has callbacks of its own for that, which are told of `track`."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from transformers.integrations import INTEGRATION_TO_CALLBACK, TensorBoardCallback

from policylearn.config import Config

TENSORBOARD = "tensorboard"
PROJECTS = ("WANDB_PROJECT", "MLFLOW_EXPERIMENT_NAME")
"""Where alone callbacks look for the name of a project."""


def check_reports(config: Config) -> None:
    """That what `track.to` names can be told of a pretraining. ValueError: it is told of rounds alone."""
    for name in config.track.to:
        if name not in INTEGRATION_TO_CALLBACK:
            raise ValueError(f"track.to: {name!r} is shown rounds, of which a pretraining has none: take it out")


def reports(config: Config, folder: Path) -> tuple[list[str], list["Events"]]:
    """What `Trainer` reports to by itself, by name; and what writes the files of TensorBoard to a folder, if these are
    asked for."""
    others = [name for name in config.track.to if name != TENSORBOARD]
    return others, [Events(folder)] if TENSORBOARD in config.track.to else []


@contextmanager
def project_told(config: Config) -> Iterator[None]:
    """Within it, callbacks find the name of the project: that of `track.project` if it was set, else that of the
    environment, else the default."""
    before, is_set = {name: os.environ.get(name) for name in PROJECTS}, "project" in config.track.model_fields_set
    os.environ |= {name: config.track.project for name, value in before.items() if is_set or not value}
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            os.environ |= {} if value is None else {name: value}


class Events(TensorBoardCallback):
    """Event files in a folder. Those of earlier calls are superseded from the step on that a training goes on from."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """As it is there, but for the place."""
        if state.is_world_process_zero:
            from torch.utils.tensorboard import SummaryWriter

            self.tb_writer = SummaryWriter(str(self.folder), purge_step=state.global_step + 1)
        super().on_train_begin(args, state, control, **kwargs)
