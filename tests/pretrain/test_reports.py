"""Where the loss of a pretraining is shown."""

import os

import pytest
from transformers import TrainerCallback, trainer
from transformers.integrations import INTEGRATION_TO_CALLBACK

from policylearn.commands.pretrain import pretrain
from policylearn.pretrain.reports import PROJECTS
from policylearn.registry.known import TRACKERS
from policylearn.runs import trackers

SHORT = ["pretrain.steps=6", "pretrain.batch_size=8", "pretrain.save_every=2"]


@pytest.mark.parametrize(
    ("name", "setting", "environment", "project"),
    [
        ("wandb", ["track.project=mine"], "", "mine"),
        ("mlflow", ["track.project=mine"], "theirs", "mine"),
        ("mlflow", [], "theirs", "theirs"),
        ("wandb", ["track.project=policylearn"], "theirs", "policylearn"),
        ("trackio", [], None, "policylearn"),
    ],
)
def test_trackers_are_told_the_project(name, setting, environment, project, tiny, tmp_path, quiet, monkeypatch):
    told = []

    class Told(TrainerCallback):
        def on_train_begin(self, args, state, control, **kwargs):
            told.append([args.run_name, *map(os.environ.get, PROJECTS)])
            assert name != "trackio" or args.project == project

    monkeypatch.setitem(INTEGRATION_TO_CALLBACK, name, Told)
    monkeypatch.setattr(trackers, "find_spec", lambda name: name)
    for variable in PROJECTS:
        monkeypatch.setenv(variable, environment or "")
        if environment is None:
            monkeypatch.delenv(variable)
    pretrain(tiny(*SHORT, *setting, f"track.to=[{name}]"), tmp_path / "model", quiet)
    assert told == [["tiny", project, project]]
    assert [os.environ.get(variable) for variable in PROJECTS] == [environment] * 2


def test_a_tracker_of_rounds_is_refused_by_name(tiny, tmp_path, quiet):
    TRACKERS.register("own")(type("Own", (), {}))
    with pytest.raises(ValueError, match=r"track\.to: 'own' is shown rounds, of which a pretraining has none"):
        pretrain(tiny(*SHORT, "track.to=[own]"), tmp_path / "model", quiet)
    assert not (tmp_path / "model").exists()


def test_tensorboard_has_every_step_once_and_keeps_them(tiny, tmp_path, quiet):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    class Interrupt(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            if state.global_step == 4:  # two after the last checkpoint, one of which has been logged
                raise KeyboardInterrupt

    config, out = tiny(*SHORT, "track.to=[tensorboard]"), tmp_path / "model"
    with pytest.MonkeyPatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(trainer, "DEFAULT_CALLBACKS", [*trainer.DEFAULT_CALLBACKS, Interrupt])
        pretrain(config, out, quiet)
    pretrain(config, out, quiet)
    events = EventAccumulator(str(out / "tensorboard")).Reload()
    assert [event.step for event in events.Scalars("train/loss")] == [1, 2, 3, 4, 5, 6]
