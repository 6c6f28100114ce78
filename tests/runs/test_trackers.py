"""A run that is continued goes on in the same place, with every round once."""

import math
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from policylearn.arms.arms import initial_policy
from policylearn.cluster.pool import LocalPool
from policylearn.commands.train import train
from policylearn.learning.learn import learn
from policylearn.problems.of_config import problem_of
from policylearn.registry.known import TRACKERS
from policylearn.runs import trackers
from policylearn.runs.run import Run
from policylearn.runs.state import State
from policylearn.runs.trackers import check_trackers, open_trackers


def record(number: int) -> dict:
    return {"round": number, "dev": number / 8, "dev_scores": [0.0], "baselines": {"random": 0.5}, "loss": math.nan}


@pytest.fixture
def service(monkeypatch):
    """Stands for wandb: what it was sent, by run; `service.down` makes it fail."""

    class Service:
        down = False

        def __init__(self, config, folder, identity):
            self.rounds = Service.runs.setdefault(identity, [])
            self.known = len(self.rounds)

        def log(self, number, values):
            if Service.down:
                raise OSError("no route to host")
            self.rounds.append((number, values))

        def close(self):
            pass

    Service.runs = {}
    monkeypatch.setitem(TRACKERS.members, "wandb", Service)
    return Service


def test_every_round_is_logged_once_whatever_happens(service, tiny, quiet):
    config, state = tiny('track.to=["wandb"]'), State()
    with open_trackers(config, "", state, quiet) as tracked:
        for number in range(5):
            state.history.append(record(number))
            service.down = number in (1, 2)
            tracked.update(state.history)
    with open_trackers(config, "", state, quiet) as tracked:
        tracked.update(state.history)
    (rounds,) = service.runs.values()
    assert [number for number, _ in rounds] == [0, 1, 2, 3, 4]
    assert rounds[3][1] == {"round": 3, "dev": 0.375, "baselines/random": 0.5}
    assert quiet.file.getvalue().count("wandb does not answer, metrics.jsonl has it all: no route to host") == 2


def test_a_service_that_stays_down_is_asked_less_and_less_and_once_more_at_the_end(service, tiny, quiet):
    config, state, asked = tiny('track.to=["wandb"]'), State(), []
    with open_trackers(config, "", state, quiet) as tracked:
        service.down = True
        for number in range(12):
            state.history.append(record(number))
            said = len(quiet.file.getvalue())
            tracked.update(state.history)
            if len(quiet.file.getvalue()) > said:
                asked.append(number)
        service.down = False
    (rounds,) = service.runs.values()
    assert asked == [0, 1, 3, 7]
    assert [number for number, _ in rounds] == [*range(12)]


def test_a_run_that_is_stopped_waits_for_no_service(service, tiny, quiet):
    config, state = tiny('track.to=["wandb"]'), State()
    with pytest.raises(SystemExit), open_trackers(config, "", state, quiet) as tracked:
        state.history.append(record(0))
        service.down = True
        tracked.update(state.history)
        raise SystemExit
    assert quiet.file.getvalue().count("wandb does not answer") == 1


def test_a_round_saved_and_not_logged_is_caught_up_with_and_other_runs_are_other_runs(service, tiny, quiet):
    config, state = tiny('track.to=["wandb"]', "track.name=mine"), State(history=[record(0)])
    with open_trackers(config, "", state, quiet):
        pass
    state.history.append(record(1))
    with open_trackers(config, "", state, quiet):
        pass
    with open_trackers(config, "", State(), quiet):
        pass
    assert [len(rounds) for rounds in service.runs.values()] == [2, 0]
    assert all(name.startswith("mine-") for name in service.runs)


def test_a_run_that_is_killed_and_continued(service, tiny, tmp_path, quiet, monkeypatch):
    """Between a checkpoint and its log line, the worst moment."""
    config = tiny("learn.rounds=4", "evaluate.seeds=0", 'track.to=["wandb"]')
    plain = tiny("learn.rounds=4", "evaluate.seeds=0")
    problem = problem_of(config)

    def learned(config, folder):
        run = Run.open(tmp_path / folder, config, quiet)
        return learn(config, problem, initial_policy(problem), LocalPool(config), run)[0]

    update = trackers.Trackers.update

    def killed(tracked, history):
        if len(history) == 2:
            raise KeyboardInterrupt
        update(tracked, history)

    monkeypatch.setattr(trackers.Trackers, "update", killed)
    with pytest.raises(KeyboardInterrupt):
        learned(config, "run")
    monkeypatch.setattr(trackers.Trackers, "update", update)
    history = learned(config, "run").history
    (rounds,) = service.runs.values()
    assert [number for number, _ in rounds] == [0, 1, 2, 3]
    assert [values["dev"] for _, values in rounds] == [line["dev"] for line in history]
    assert [line["dev"] for line in learned(plain, "plain").history] == [line["dev"] for line in history]


def test_a_service_that_is_down_when_a_run_is_continued_is_caught_up_with(service, tiny, quiet, monkeypatch):
    config, state = tiny('track.to=["wandb"]'), State()
    with open_trackers(config, "", state, quiet):
        pass

    def down(*arguments):
        raise ConnectionError("503 Service Unavailable")

    state.history.append(record(0))
    monkeypatch.setitem(TRACKERS.members, "wandb", down)
    with open_trackers(config, "", state, quiet) as tracked:
        state.history.append(record(1))
        monkeypatch.setitem(TRACKERS.members, "wandb", service)
        tracked.update(state.history)
    (rounds,) = service.runs.values()
    assert [number for number, _ in rounds] == [0, 1]
    assert (
        quiet.file.getvalue().count("wandb does not answer, metrics.jsonl has it all: track.to: wandb cannot be") == 1
    )


def test_where_no_round_will_be_shown_that_is_said(service, tiny, tmp_path, quiet):
    small = ("policy.prior={}", "policy.network=none", "credit.points=1", "credit.batches=6", "evaluate.seeds=0")
    train(tiny(*small, "learn.stages=[expected]", 'track.to=["wandb"]'), tmp_path / "run", quiet)
    said = " ".join(quiet.file.getvalue().split())
    assert "track.to: nothing is shown there, for learn.stages has no rounds; see expected/metrics.jsonl" in said
    assert not service.runs
    assert (tmp_path / "run" / "expected" / "metrics.jsonl").is_file()


def test_what_is_not_installed_and_what_cannot_be_opened(tiny, quiet, tmp_path, monkeypatch):
    config = tiny('track.to=["mlflow"]')
    monkeypatch.setattr(trackers, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"track\.to asks for 'mlflow', which is not installed: pip install mlflow"):
        check_trackers(config)
    with pytest.raises(ValueError, match="not installed"):
        train(config, tmp_path / "run", quiet)
    assert not (tmp_path / "run").exists()
    monkeypatch.undo()
    monkeypatch.setitem(TRACKERS.members, "mlflow", lambda *arguments: 1 / 0)
    with (
        pytest.raises(ValueError, match=r"track\.to: mlflow cannot be used: division by zero"),
        open_trackers(config, "", State(), quiet),
    ):
        pass


def test_tensorboard_does_not_write_beside_an_address_with_options(tiny, tmp_path, quiet, monkeypatch):
    monkeypatch.setattr(trackers, "find_spec", lambda name: name)
    config, out = tiny('track.to=["tensorboard"]'), "s3://bucket/run?endpoint_override=127.0.0.1:1&scheme=http"
    with pytest.raises(ValueError, match=r"track\.to: tensorboard does not know the options of s3://bucket/run\?endp"):
        train(config, out, quiet)
    for usual in ("s3://bucket/run", str(tmp_path / "is it?")):
        check_trackers(config, usual)
    check_trackers(tiny("track.to=[]"), out)


def tensorboard_rounds(folder: Path, identity: str) -> list[tuple]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder / "tensorboard")).Reload()
    return [(event.step, event.value) for event in events.Scalars("dev")]


def mlflow_rounds(folder: Path, identity: str) -> list[tuple]:
    from mlflow import MlflowClient

    client = MlflowClient()
    (run,) = client.search_runs([client.get_experiment_by_name("policylearn").experiment_id])
    assert run.info.run_name == identity
    return [(metric.step, metric.value) for metric in client.get_metric_history(run.info.run_id, "dev")]


def trackio_rounds(folder: Path, identity: str) -> list[tuple]:
    from trackio.sqlite_storage import SQLiteStorage

    return [(line["step"], line["dev"]) for line in SQLiteStorage.get_logs("policylearn", identity)]


def wandb_rounds(folder: Path, identity: str) -> list[tuple]:
    """Of the newest of the offline copies, which all go by one name."""
    import wandb
    from wandb.proto.wandb_internal_pb2 import Record

    wandb.teardown()  # only then all is in the file
    copies = sorted(folder.glob("wandb/offline-run-*/*.wandb"), key=lambda path: path.stat().st_mtime_ns)
    assert {path.name for path in copies} == {f"run-{identity}.wandb"}
    entries = [Record.FromString(blob) for blob in records_of_a_log(copies[-1].read_bytes())]
    rounds = [entry.history for entry in entries if entry.HasField("history")]
    values = [{(item.key or item.nested_key[0]): item.value_json for item in one.item} for one in rounds]
    return [(one.step.num, float(each["dev"])) for one, each in zip(rounds, values, strict=True)]


def records_of_a_log(log: bytes) -> Iterator[bytes]:
    """LevelDB's format, as wandb writes it: 7 bytes of its own, then checksum, length and type before each record."""
    place = 7
    while place + 7 < min(len(log), 2**15):  # one block; records of a file as short as ours do not go beyond it
        length, kind = struct.unpack_from("<HB", log, place + 4)
        assert kind == 1
        yield log[place + 7 : place + 7 + length]
        place += 7 + length


READERS = {
    "tensorboard": tensorboard_rounds,
    "wandb": wandb_rounds,
    "mlflow": mlflow_rounds,
    "trackio": trackio_rounds,
}


@pytest.mark.parametrize("name", READERS)
def test_for_real(name, tiny, tmp_path, quiet, monkeypatch):
    """Three rounds, of which one call makes two and another, after a kill, the third; and nothing of it goes out."""
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    pytest.importorskip(name)
    config, state = tiny(f'track.to=["{name}"]'), State()
    with open_trackers(config, str(tmp_path), state, quiet) as tracked:
        for number in range(2):
            state.history.append(record(number))
            tracked.update(state.history)
    state.history.append(record(2))
    with open_trackers(config, str(tmp_path), state, quiet) as tracked:
        tracked.update(state.history)
    assert READERS[name](tmp_path, state.numbers["tracked_as"]) == [(0, 0.0), (1, 0.125), (2, 0.25)]
    assert quiet.file.getvalue() == ""
