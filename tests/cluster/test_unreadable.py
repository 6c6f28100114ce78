"""A checkpoint that cannot be read, and a place where nothing can."""

import errno
import socket
import sys
from pathlib import Path

import pytest
from pyarrow.fs import LocalFileSystem

from policylearn.runs.state import State, load_latest, save_files, state_files
from policylearn.storage.folder import TRIES, Storage, StorageFailed


def save_state(folder, state: State):
    return save_files(folder, state.round, state_files(state))


def state(number: int) -> State:
    return State(number, history=[{"round": i} for i in range(number)])


def lead_in_a_circle(path):
    path.unlink()
    path.symlink_to(path)


def become_a_socket(path, monkeypatch):
    path.unlink()
    monkeypatch.chdir(path.parent)  # names of sockets are short
    socket.socket(socket.AF_UNIX).bind(path.name)


@pytest.fixture
def bad_disk(monkeypatch):
    """`bad_disk(name, times)`: reading a local file of this name is an input/output error, so many times."""
    left = {}

    class BadDisk(LocalFileSystem):
        def open_input_file(self, path):
            name = Path(path).parent.name + "/" + Path(path).name
            for bad in left:
                if name.startswith(bad) and left[bad] > 0:
                    left[bad] -= 1
                    raise OSError(errno.EIO, "Input/output error", path)
            return super().open_input_file(path)

    monkeypatch.setattr("policylearn.storage.folder.open_filesystem", lambda place: (BadDisk(), place))
    return lambda bad, times=sys.maxsize: left.update({bad: times})


@pytest.mark.parametrize("name", ["state.json", "state.safetensors", "manifest.json"])
@pytest.mark.parametrize("fault", ["circle", "socket", "disk"])
def test_a_checkpoint_that_cannot_be_read_is_passed_over_and_replaced(
    tmp_path, name, fault, delays, monkeypatch, request
):
    for number in (1, 2):
        save_state(tmp_path, state(number))
    path = tmp_path / "round-0002" / name
    {
        "circle": lambda: lead_in_a_circle(path),
        "socket": lambda: become_a_socket(path, monkeypatch),
        "disk": lambda: request.getfixturevalue("bad_disk")(f"round-0002/{name}", 3 * TRIES),
    }[fault]()
    found, (complaint,) = load_latest(tmp_path)
    assert found == state(1)
    assert complaint.startswith(f"checkpoint {tmp_path}/round-0002 was passed over: {path} cannot be reached or used")
    save_state(tmp_path, state(2))
    found, complaints = load_latest(tmp_path)
    assert complaints == []
    assert found == state(2)


def test_what_can_be_read_nowhere_is_not_taken_for_missing(tmp_path, bad_disk, delays):
    """One damaged, one that cannot be read: what that holds is not known, and the run must not start over."""
    for number in (1, 2):
        save_state(tmp_path, state(number))
    (tmp_path / "round-0002" / "state.json").write_text("{}")
    bad_disk("round-0001/state.json")
    with pytest.raises(StorageFailed, match=r"round-0001/state\.json cannot be reached or used: .*Input/output error"):
        load_latest(tmp_path)


def test_a_place_that_is_gone_for_a_moment_costs_no_round(tmp_path, bad_disk, delays):
    """The newest cannot be read and the one before can, for by then the place is back."""
    for number in (1, 2):
        save_state(tmp_path, state(number))
    bad_disk("round-000", TRIES)
    found, complaints = load_latest(tmp_path)
    assert (found.round, complaints) == (2, [])


def test_a_place_that_is_gone_for_long_is_waited_for_once(tmp_path, bad_disk, delays):
    for number in (1, 2, 3):
        save_state(tmp_path, state(number))
    bad_disk("round-000", 20)
    folder = Storage.at(tmp_path)
    with folder.patience.lasting(600):
        found, complaints = load_latest(folder)
    assert (found.round, complaints) == (3, [])
    bad_disk("round-000")
    with folder.patience.lasting(600), pytest.raises(StorageFailed, match="round-0003"):
        load_latest(folder)
    assert sum(delays) < 1_200  # and not 600 for each of three
