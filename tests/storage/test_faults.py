"""Places that fail for a while: runs go on, lose nothing and end with the same bits."""

import errno
import os
import resource
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest

from policylearn.artefact import load_policy
from policylearn.commands.present import report_run
from policylearn.commands.train import train
from policylearn.report.console import RoundProgress
from policylearn.report.progress import TaskProgress
from policylearn.runs.state import load_latest
from policylearn.storage.folder import Storage, StorageFailed


def after_round(patch, actions: dict) -> None:
    """Call an action when that many rounds are over."""
    update, rounds = RoundProgress.update, []

    def acting(progress, record):
        update(progress, record)
        rounds.append(record)
        actions.get(len(rounds), lambda: None)()

    patch.setattr(RoundProgress, "update", acting)


def after_trial(patch, number: int, action) -> None:
    advance, trials = TaskProgress.advance, []

    def acting(progress, *arguments, label="", **settings):
        advance(progress, *arguments, label=label, **settings)
        trials.append(label) if "seed" in label else None
        action() if len(trials) == number and "seed" in label else None

    patch.setattr(TaskProgress, "advance", acting)


# a bucket


def test_a_bucket_out_of_reach_for_a_round_costs_nothing(
    s3, proxy, tiny, quiet, finished, assert_same_run, monkeypatch
):
    out, kept = s3("run", proxy.port), []

    def back():
        kept.append(load_latest(Storage.at(s3("run")) / "checkpoints")[0].round)
        proxy.become("open")

    after_round(monkeypatch, {1: lambda: proxy.become("dropping"), 2: back})
    train(tiny(), out, quiet)
    said = quiet.file.getvalue()
    assert kept == [1]  # round 2 was learned and not saved
    assert proxy.turned_away >= 4
    assert said.count("fails, trying again") == said.count("works again") == 1
    assert said.count("keeps what it held before; the work goes on") == 1
    assert_same_run(out, finished)


@pytest.mark.long
def test_a_bucket_too_busy_for_a_part_of_the_evaluation(s3, proxy, tiny, quiet, finished, assert_same_run, monkeypatch):
    after_round(monkeypatch, {3: lambda: proxy.become("busy")})
    after_trial(monkeypatch, 5, lambda: proxy.become("open"))
    train(tiny(), s3("run", proxy.port), quiet)
    assert proxy.turned_away >= 8
    assert_same_run(s3("run"), finished)


@pytest.mark.long
def test_a_bucket_lost_for_good_ends_the_run_after_the_time_stated(
    s3, proxy, tiny, quiet, finished, assert_same_run, monkeypatch
):
    out = s3("run", proxy.port)
    with monkeypatch.context() as patch, pytest.raises(StorageFailed, match=r"s3://bucket/.*cannot be reached"):
        after_round(patch, {2: lambda: proxy.become("dropping")})
        train(tiny("cluster.storage_timeout=1"), out, quiet)
    proxy.become("open")
    assert load_latest(Storage.at(out) / "checkpoints")[0].round == 2
    train(tiny(), out, quiet)
    assert_same_run(out, finished)


# a disk


class TmpFs:
    """A small file system that is really full between `fill` and `free`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)]
        if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode:
            pytest.skip("may not mount a file system here")

    def fill(self) -> None:
        with suppress(OSError), (self.folder / "ballast").open("wb", buffering=0) as file:
            while file.write(bytes(1024)):
                pass

    def free(self) -> None:
        (self.folder / "ballast").unlink(missing_ok=True)

    def close(self) -> None:
        subprocess.run(["umount", str(self.folder)], check=True)


class Limit:
    """Where nothing may be mounted: between `fill` and `free` no file grows beyond its first kilobyte."""

    def __init__(self, folder: Path) -> None:
        self.folder, (self._soft, self._hard) = folder, resource.getrlimit(resource.RLIMIT_FSIZE)
        folder.mkdir()

    def fill(self) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1024, self._hard))

    def free(self) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (self._soft, self._hard))

    close = free


@pytest.fixture
def disk(tmp_path):
    try:
        disk = TmpFs(tmp_path / "disk")
    except pytest.skip.Exception:
        disk = Limit(tmp_path / "limited")
    yield disk
    disk.close()


@pytest.mark.parametrize("kind", [TmpFs, Limit])
def test_the_disk_is_really_full(kind, tmp_path):
    disk = kind(tmp_path / "disk")
    disk.fill()
    with pytest.raises(OSError) as error:
        (disk.folder / "x").write_bytes(bytes(5_000))
    assert error.value.errno in (errno.ENOSPC, errno.EFBIG)
    disk.free()
    (disk.folder / "x").write_bytes(bytes(5_000))
    disk.close()


def test_a_disk_full_for_two_rounds_costs_nothing(disk, tiny, quiet, finished, assert_same_run, monkeypatch):
    out, seen = disk.folder / "run", []

    def free():
        seen.append(load_latest(out / "checkpoints"))
        disk.free()

    after_round(monkeypatch, {1: disk.fill, 3: free})
    train(tiny(), out, quiet)
    ((state, complaints),) = seen
    assert state.round == 1  # the last good one, as it was
    assert len(complaints) <= 1  # at most the one that found no room
    said = quiet.file.getvalue()
    assert str(out) in said
    assert said.count("fails, trying again") == said.count("works again") == 1
    assert said.count("keeps what it held before; the work goes on") == 1
    assert not list(out.rglob("*.partial"))
    assert_same_run(out, finished)


def test_a_disk_that_stays_full_ends_the_run_and_keeps_the_last_good_state(
    tmp_path, tiny, quiet, finished, assert_same_run, monkeypatch
):
    disk = TmpFs(tmp_path / "disk")
    try:
        out = disk.folder / "run"
        with monkeypatch.context() as patch, pytest.raises(StorageFailed, match=rf"{out}.*No space left on device"):
            after_round(patch, {2: disk.fill})
            train(tiny("cluster.storage_timeout=1"), out, quiet)
        state, _ = load_latest(out / "checkpoints")
        assert state.round == 2
        assert not (out / "result.json").exists()
        disk.free()
        train(tiny(), out, quiet)
        assert_same_run(out, finished)
    finally:
        disk.close()


def test_a_disk_full_after_the_comparison_leaves_the_policy_that_was_usable(disk, tiny, quiet, monkeypatch):
    out, write_page = disk.folder / "run", report_run

    def full(run, *arguments):
        disk.fill()
        write_page(run, *arguments)

    monkeypatch.setattr("policylearn.commands.train.report_run", full)
    with pytest.raises(StorageFailed):
        train(tiny("learn.rounds=1", "evaluate.seeds=1", "cluster.storage_timeout=1"), out, quiet)
    assert "| learned |" not in (out / "policy" / "README.md").read_text()
    load_policy(out)


def test_what_waits_is_saved_when_the_run_is_stopped(disk, tiny, quiet, monkeypatch):
    """Ctrl-C while the newest round is in memory only, and the disk is free again."""

    def free_and_stop():
        disk.free()
        raise KeyboardInterrupt

    after_round(monkeypatch, {1: disk.fill, 2: free_and_stop})
    with pytest.raises(KeyboardInterrupt):
        train(tiny(), disk.folder / "run", quiet)
    state, complaints = load_latest(disk.folder / "run" / "checkpoints")
    assert (state.round, complaints) == (2, [])
