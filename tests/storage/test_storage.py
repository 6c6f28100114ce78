"""The same promises wherever a folder is."""

import errno
import os
import re
import stat
import sys
from pathlib import Path

import pytest
from pyarrow import ArrowException
from pyarrow.fs import LocalFileSystem

from policylearn.artefact import load_policy
from policylearn.commands.export import export
from policylearn.commands.train import train
from policylearn.runs.state import load_round
from policylearn.storage import folder as module
from policylearn.storage.filesystem import open_filesystem
from policylearn.storage.folder import TRIES, Storage, StorageFailed, files_below
from policylearn.storage.outbox import Outbox


@pytest.fixture(params=["path", "file", "memory", "s3"])
def place(request, tmp_path):
    return {
        "path": lambda: str(tmp_path / "deep" / "run"),
        "file": lambda: f"file://{tmp_path}/deep/run",
        "memory": lambda: f"memory://{tmp_path.name}/run",
        "s3": lambda: request.getfixturevalue("s3")("run"),
    }[request.param]()


def test_a_folder_that_is_not_there_is_empty(place):
    storage = Storage.at(place)
    assert str(storage) == place
    assert (storage.names(), storage.is_file(), storage.is_file("x")) == ([], False, False)
    storage.remove("x")
    with pytest.raises(FileNotFoundError):
        storage.read("x")


def test_what_is_written_is_read_listed_replaced_and_removed(place):
    storage = Storage.at(place)
    storage.write("a.json", b"1")
    storage.write("a.json", b"")
    storage.write("b/c/d.bin", bytes(range(256)) * 50_000)
    assert storage.names() == ["a.json", "b"]
    assert (storage / "b" / "c").names() == ["d.bin"]
    assert (storage.read("a.json"), Storage.at(place).read("b/c/d.bin")) == (b"", bytes(range(256)) * 50_000)
    assert (storage.is_file("a.json"), storage.is_file("b"), (storage / "a.json").is_file()) == (True, False, True)
    assert Storage.at(str(storage / "b" / "c")).read("d.bin")[:2] == b"\0\1"
    storage.remove("b")
    assert storage.names() == ["a.json"]
    storage.remove("a.json")
    assert storage.names() == []


def test_a_folder_is_brought_here_whole(place, tmp_path):
    storage = Storage.at(place)
    storage.write_all({"x": b"1", "t/y": b"2", "manifest.json": b"3"}, "manifest.json")
    with storage.here() as folder:
        assert files_below(folder) == {"manifest.json": b"3", "t/y": b"2", "x": b"1"}


def test_a_manifest_goes_first_and_comes_last(place, monkeypatch):
    storage, write, seen = Storage.at(place), Storage.write, []
    storage.write_all({"x": b"old", "manifest.json": b"old"}, "manifest.json")

    def watched(self, name, data):
        seen.append((name, storage.is_file("manifest.json")))
        write(self, name, data)

    monkeypatch.setattr(Storage, "write", watched)
    storage.write_all({"manifest.json": b"new", "x": b"new"}, "manifest.json")
    assert seen == [("x", False), ("manifest.json", False)]


@pytest.mark.parametrize(("x", "whole"), [(b"old", True), (b"new", False)])
def test_a_manifest_stays_where_nothing_else_changes_but_what_lies_beside(place, x, whole, monkeypatch):
    storage, write, seen = Storage.at(place), Storage.write, {}
    storage.write_all({"x": b"old", "card": b"old", "manifest.json": b"old"}, "manifest.json", ["card"])

    def watched(self, name, data):
        seen[name] = storage.is_file("manifest.json")
        write(self, name, data)

    monkeypatch.setattr(Storage, "write", watched)
    storage.write_all({"x": x, "card": b"new", "manifest.json": b"new"}, "manifest.json", ["card"])
    assert seen == {name: whole for name in ["card", "manifest.json", *([] if whole else ["x"])]}
    assert (storage.read("x"), storage.read("card"), storage.read("manifest.json")) == (x, b"new", b"new")


@pytest.mark.parametrize("place", ["memory", "s3"], indirect=True)  # the rest of the tests has local ones
def test_a_run_lives_there(place, tiny, quiet, finished, assert_same_run, tmp_path):
    """Trained, found finished, exported, loaded by whoever knows the address."""
    result = train(tiny(), place, quiet)
    assert_same_run(place, finished)
    assert train(tiny(), place, quiet) == result
    assert {"config.json", "prior", "policy", "report.html", "result.json"} <= set(Storage.at(place).names())
    policy = str(Storage.at(place) / "policy")
    assert load_policy(policy).provenance["task"] == "planted"
    copy = export(place, str(Storage.at(place) / "copy"), number=2).policy
    phi = load_round(Storage.at(place) / "checkpoints", 2).tensors["phi.network.logits"]
    assert load_policy(copy).policy.learned()["network.logits"].equal(phi)
    with pytest.raises(ValueError, match=r"holds a run with other settings \(inner\.steps was 7, now 8\)"):
        train(tiny("inner.steps=8"), place, quiet)
    with pytest.raises(ValueError, match="not empty and holds no run"):
        train(tiny(), policy, quiet)
    Storage.at(place).write("policy/policy.json", b"{}")
    with pytest.raises(ValueError, match=r"policy\.json is missing or does not match") as error:
        load_policy(policy)
    assert policy in str(error.value)


def test_an_object_that_leads_out_of_the_folder_is_refused(monkeypatch, s3):
    storage = Storage.at(s3("run"))
    monkeypatch.setattr(Storage, "_list", lambda self, recursive: ["../../escaped"])
    with pytest.raises(ValueError, match="leads out of it"), storage.here():
        pass


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("s3://key:secret@bucket/run", "a password in a s3:// address would be printed and saved"),
        ("s3://bucket/run?regoin=eu", "unknown option 'regoin'; known: "),
        ("s3://bucket/run?regoin", "unknown option 'regoin'; known: "),
        ("carrier-pigeon://bucket/run", "carrier-pigeon://bucket/run is no place for a run"),
    ],
)
def test_addresses_that_are_none(place, said):
    with pytest.raises(ValueError, match=re.escape(said)) as error:
        Storage.at(place)
    assert "secret" not in str(error.value)


@pytest.mark.parametrize("name", ["a b", "a#b", "a%20c", "ä"])
def test_what_a_uri_names_on_this_machine_is_written_there_and_as_safely(tmp_path, name):
    folder = Storage.at(f"file://{tmp_path}/{name}")
    folder.write("x", b"1")
    assert (tmp_path / name.replace("%20", " ") / "x").read_bytes() == b"1"
    assert isinstance(folder._filesystem, LocalFileSystem)  # where files are replaced in one step
    assert open_filesystem(f"s3://bucket/{name}")[1] == f"bucket/{name}"


def test_a_home_that_no_shell_has_written_out_is_no_folder():
    with pytest.raises(ValueError, match=f"^~/runs/x: ~ is for the shell to write out: give {Path.home()}/runs/x$"):
        Storage.at("~/runs/x").check_folder()


# faults


def failing(monkeypatch, times: int, error: Exception) -> list[str]:
    """Writes fail that often."""
    write, calls = module.write_file, []

    def flaky(filesystem, path, data):
        calls.append(path)
        if len(calls) <= times:
            raise error
        write(filesystem, path, data)

    monkeypatch.setattr(module, "write_file", flaky)
    return calls


@pytest.mark.parametrize("error", [OSError(errno.EIO, "Input/output error"), ArrowException("reset by peer")])
def test_a_fault_is_met_by_trying_again_with_growing_delays_and_said_once(tmp_path, monkeypatch, delays, error):
    said: list[str] = []
    failing(monkeypatch, TRIES - 1, error)
    storage = Storage.at(tmp_path / "run", said.append)
    storage.write("x", b"1")
    assert storage.read("x") == b"1"
    assert delays == [0.2, 0.4, 0.8]
    assert [line.startswith(f"{tmp_path}/run/x ") for line in said] == [True, True]
    assert ("fails, trying again" in said[0], "works again after 1 s" in said[1]) == (True, True)


def test_a_fault_that_stays_is_given_up_and_then_tried_once_a_call(tmp_path, monkeypatch, delays):
    said: list[str] = []
    calls = failing(monkeypatch, TRIES + 1, OSError(errno.ENOSPC, "No space left on device"))
    storage = Storage.at(tmp_path / "run", said.append)
    for tries in (TRIES, TRIES + 1):
        with pytest.raises(StorageFailed, match=rf"{tmp_path}/run/x cannot be reached or used: .*No space left"):
            storage.write("x", b"1")
        assert len(calls) == tries
    storage.write("x", b"1")
    assert (len(calls), len(said)) == (TRIES + 2, 2)


def test_what_is_small_finds_room_on_a_full_disk_and_does_not_say_that_it_works(tmp_path, monkeypatch, delays):
    said, full, write = list[str](), [True], module.write_file

    def no_room(filesystem, path, data):
        if full[0] and len(data) > 10:
            raise OSError(errno.ENOSPC, "No space left on device")
        write(filesystem, path, data)

    monkeypatch.setattr(module, "write_file", no_room)
    storage = Storage.at(tmp_path / "run", said.append)
    box = Outbox(storage, said.append)
    box.put(("card", lambda: storage.write("card", b"small")), ("scores", lambda: storage.write("scores", bytes(100))))
    for _ in range(3):
        storage.write("line", b"small")
        assert not box.try_all() and Outbox(storage, said.append).try_all()  # where nothing waits, nothing is tried
    assert [line.partition(" ")[2][:19] for line in said] == ["fails, trying again", "keeps what it held "]
    full[0] = False
    box.put(("scores", lambda: storage.write("scores of the next round", bytes(100))))  # in place of what had failed
    assert "works again" in said[-1] and len(said) == 3


def test_what_a_file_holds_already_is_not_written(tmp_path, monkeypatch):
    storage = Storage.at(tmp_path)
    storage.write("x", b"1")
    calls = failing(monkeypatch, 0, OSError())
    for data in (b"1", b"2", b"2"):
        storage.write_changed("x", data)
    assert len(calls) == 1 and storage.read("x") == b"2"


def test_patience_is_a_time_and_folders_below_share_it(tmp_path, monkeypatch, delays):
    calls = failing(monkeypatch, sys.maxsize, OSError("gone"))
    storage = Storage.at(tmp_path / "run")
    with storage.patience.lasting(600), pytest.raises(StorageFailed):
        (storage / "below").write("x", b"1")
    assert 560 < sum(delays) <= 600
    assert (max(delays), len(calls)) == (20, len(delays) + 1)


def test_what_is_not_a_fault_of_the_place_is_not_tried_again(tmp_path, monkeypatch, delays):
    failing(monkeypatch, 1, TypeError("a bug"))
    with pytest.raises(TypeError):
        Storage.at(tmp_path).write("x", b"1")
    with pytest.raises(FileNotFoundError):
        Storage.at(tmp_path).read("y")
    assert delays == []


def test_a_write_that_fails_leaves_the_old_file_and_nothing_beside_it(tmp_path, monkeypatch, delays):
    storage = Storage.at(tmp_path)
    storage.write("x", b"old")

    def full(self, target):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(StorageFailed):
        storage.write("x", b"new")
    assert files_below(tmp_path) == {"x": b"old"}


def test_two_writers_of_one_file_do_not_write_into_each_others(tmp_path, monkeypatch):
    storage, fsync = Storage.at(tmp_path), os.fsync

    def other_meanwhile(file):
        monkeypatch.setattr(os, "fsync", fsync)
        Storage.at(tmp_path).write("x", b"of the other, and longer")
        fsync(file)

    monkeypatch.setattr(os, "fsync", other_meanwhile)
    storage.write("x", b"mine")
    assert files_below(tmp_path) == {"x": b"mine"}


def test_what_a_killed_writer_left_of_a_file_goes_and_what_one_writes_now_does_not(tmp_path):
    for name in ("x.1.partial", "x.2.partial", "other.1.partial"):
        (tmp_path / name).write_bytes(b"ha")
    for name in ("x.1.partial", "other.1.partial"):
        os.utime(tmp_path / name, (0, 0))
    Storage.at(tmp_path).write("x", b"whole")
    assert sorted(files_below(tmp_path)) == ["other.1.partial", "x", "x.2.partial"]
    assert Storage.at(tmp_path).names() == ["x"]


def test_a_mount_that_does_not_bring_folders_to_the_disk_will_do(tmp_path, monkeypatch, delays):
    fsync = os.fsync

    def of_files_alone(opened):
        if stat.S_ISDIR(os.fstat(opened).st_mode):
            raise OSError(errno.EINVAL, "Invalid argument")
        fsync(opened)

    monkeypatch.setattr(os, "fsync", of_files_alone)
    Storage.at(tmp_path).write("x", b"1")
    assert delays == [] and files_below(tmp_path) == {"x": b"1"}
