import json
import os
import signal
import subprocess
import sys
import threading
import time

import pytest
from typer.testing import CliRunner

from policylearn import cli
from policylearn.commands.train import train
from policylearn.report.console import RoundProgress
from policylearn.report.formats import plural
from policylearn.runs.preemption import Preempted, preemptible
from policylearn.runs.state import load_latest

PREEMPTED = 75
"""Documented; EX_TEMPFAIL of sysexits.h."""


def test_sigterm_raises_once_and_the_handler_of_before_comes_back():
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as exit, preemptible():
        try:
            signal.raise_signal(signal.SIGTERM)
        finally:
            signal.raise_signal(signal.SIGTERM)  # impatient; what is being put in order is not disturbed
            ordered = True
    assert (exit.value.code, ordered) == (PREEMPTED, True)
    signal.signal(signal.SIGTERM, before)


def test_the_handler_of_before_comes_back_if_nothing_happens():
    before = signal.getsignal(signal.SIGTERM)
    with preemptible():
        assert signal.getsignal(signal.SIGTERM) is not before
        with preemptible():
            pass
        with pytest.raises(Preempted):
            signal.raise_signal(signal.SIGTERM)
        signal.signal(signal.SIGTERM, before)
    assert signal.getsignal(signal.SIGTERM) is before


def test_outside_the_main_thread_nothing_is_changed():
    found = []

    def inside():
        with preemptible():
            found.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=inside)
    thread.start()
    thread.join()
    assert found == [signal.getsignal(signal.SIGTERM)]


def test_the_round_under_way_is_abandoned_and_the_finished_ones_are_kept(tiny, tmp_path, quiet, monkeypatch):
    advance, results = RoundProgress.advance, []

    def stopped(progress):
        advance(progress)
        results.append(1)
        if len(results) == 3:  # the first of two rollouts of the second round
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(RoundProgress, "advance", stopped)
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(Preempted):
        train(tiny(), tmp_path / "run", quiet)
    signal.signal(signal.SIGTERM, before)
    assert load_latest(tmp_path / "run" / "checkpoints")[0].round == 1
    assert len(results) == 3


@pytest.mark.long
def test_the_command_says_how_to_go_on_and_ends_with_its_status(tiny_toml, tmp_path):
    """Ray has a handler of its own, which would end with status 15 and not a word."""
    out = tmp_path / "run"
    settings = ["learn.rounds=40", "evaluate.seeds=0", "cluster.backend=ray"]
    arguments = ["train", str(tiny_toml), *settings, "--out", str(out)]
    process = subprocess.Popen(
        [sys.executable, "-m", "policylearn", *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    metrics, deadline = out / "metrics.jsonl", time.monotonic() + 200
    while not metrics.is_file() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    said, complained = process.communicate(timeout=60)
    assert process.returncode == PREEMPTED, said + complained
    assert "Traceback" not in said + complained
    lines = metrics.read_text(encoding="utf-8").splitlines()
    assert 1 <= len(lines) < 40
    assert (
        f"preempted; {out} keeps {plural(len(lines), 'finished round')}. Continue with the same command" in complained
    )
    state, complaints = load_latest(out / "checkpoints")
    assert complaints == []
    assert [json.loads(line) for line in lines] == state.history[: len(lines)]


def test_the_status_is_documented():
    said = CliRunner().invoke(cli.app, ["train", "--help"]).stdout
    assert f"{PREEMPTED} preempted by SIGTERM" in " ".join(said.split())
