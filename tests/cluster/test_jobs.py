"""`ray job submit` to a real head with dashboard and token authentication, all on the loopback interface."""

import json
import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

import psutil
import pytest

BIN = Path(sys.executable).parent
REPOSITORY = Path(__file__).parents[2]
ROUNDS = 30
PATIENCE = 240.0
"""Seconds after which what should have happened is taken not to happen; there may be one busy core."""

pytestmark = [pytest.mark.timeout(600), pytest.mark.long]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def until(condition, what: str, said=lambda: "") -> None:
    """Wait; what was `said` meanwhile shows why it was in vain."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, f"{what}: not within {PATIENCE} s\n{said()}"
        time.sleep(0.3)


def end_all(process: subprocess.Popen) -> None:
    """End a process and all it has started, and nothing else on this machine."""
    started = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
    process.terminate()
    psutil.wait_procs(started, timeout=5)
    for each in [*started, *(child for one in started if one.is_running() for child in one.children(recursive=True))]:
        if each.is_running():
            each.kill()
    process.kill()
    process.wait()


class Head:
    """A Ray head of its own, and the command `ray job` for it."""

    def __init__(self, folder: Path, work: Path) -> None:
        self.port, self.folder, self.work = free_port(), folder, work
        self.environment = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")} | {
            "PATH": f"{BIN}:{os.environ['PATH']}",
            "PYTHONPATH": str(REPOSITORY),
            "OMP_NUM_THREADS": "1",
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": secrets.token_hex(32),
            "RAY_ADDRESS": f"http://127.0.0.1:{self.port}",
            "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # on the loopback interface
            "RAY_JOB_STOP_WAIT_TIME_S": "60",
        }
        options = [
            f"--dashboard-port={self.port}",
            *(f"--{which}-port={free_port()}" for which in ("dashboard-agent-listen", "ray-client-server")),
            *("--port=0", "--min-worker-port=0", "--max-worker-port=0", "--num-cpus=2", "--disable-usage-stats"),
            *("--object-store-memory=100000000", f"--temp-dir={folder}", "--include-dashboard=true", "--block"),
        ]
        environment = {key: value for key, value in self.environment.items() if key != "RAY_ADDRESS"}
        log = (folder / "head.log").open("w")
        self.process = subprocess.Popen([BIN / "ray", "start", "--head", *options], env=environment, stdout=log)

    def answers(self) -> bool:
        """Whether jobs may be submitted."""
        assert self.process.poll() is None, (self.folder / "head.log").read_text()
        address, token = f"http://127.0.0.1:{self.port}/api/jobs/", self.environment["RAY_AUTH_TOKEN"]
        request = urllib.request.Request(address, headers={"Authorization": f"Bearer {token}"})
        try:
            with urllib.request.urlopen(request, timeout=5):
                return True
        except OSError:
            return False

    def job(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess:
        return subprocess.run(
            [BIN / "ray", "job", *arguments],
            cwd=self.work,
            env=self.environment | environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )

    def submit(self, name: str, out: Path, *options: str, **environment: str) -> subprocess.CompletedProcess:
        """As the documentation says."""
        command = ["policylearn", "train", "configs/tiny.toml", "--out", str(out)]
        named = f"--submission-id={name}"
        return self.job("submit", named, *options, "--working-dir", ".", "--", *command, **environment)

    def log(self, name: str) -> str:
        """All that a job has printed."""
        path = self.folder / "session_latest" / "logs" / f"job-driver-{name}.log"
        return path.read_text() if path.is_file() else ""


@pytest.fixture(scope="module")
def head(tiny_toml, tmp_path_factory):
    work = tmp_path_factory.mktemp("work")
    (work / "configs").mkdir()
    text = tiny_toml.read_text().replace("rounds = 3", f"rounds = {ROUNDS}").replace('backend = "local"\n', "")
    (work / "configs" / "tiny.toml").write_text(text.replace("seeds = 2", "seeds = 1"))
    folder = Path(tempfile.mkdtemp(prefix="ray-", dir="/tmp"))  # the paths of sockets must be short
    made = Head(folder, work)
    try:
        until(made.answers, "the head's dashboard answers")
        yield made
    finally:
        end_all(made.process)
        shutil.rmtree(folder, ignore_errors=True)


def rounds(out: Path) -> list[dict]:
    path = out / "metrics.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []


def test_a_wrong_token_and_none_are_refused(head, tmp_path):
    refused = head.submit("intruder", tmp_path / "run", RAY_AUTH_TOKEN=secrets.token_hex(32))
    assert refused.returncode != 0
    assert re.search(r"\b40[13]\b|[Uu]nauth|[Ii]nvalid", refused.stdout + refused.stderr)
    with pytest.raises(urllib.error.HTTPError, match=r"40[13]"):
        urllib.request.urlopen(f"http://127.0.0.1:{head.port}/api/jobs/", timeout=30)
    assert not (tmp_path / "run").exists()


def test_a_job_is_stopped_and_the_same_command_goes_on(head, tmp_path):
    out = tmp_path / "run"
    submitted = head.submit("first", out, "--no-wait")
    assert submitted.returncode == 0, submitted.stdout + submitted.stderr
    until(
        lambda: len(rounds(out)) >= 2, "the job learns", lambda: head.log("first") + head.job("status", "first").stdout
    )
    stopped = head.job("stop", "first")
    assert stopped.returncode == 0, stopped.stdout + stopped.stderr
    kept = rounds(out)
    assert 2 <= len(kept) < ROUNDS
    assert not (out / "result.json").exists()

    again = head.submit("second", out)
    assert again.returncode == 0, again.stdout + again.stderr
    assert "succeeded" in again.stdout
    assert rounds(out)[: len(kept)] == kept
    assert [line["round"] for line in rounds(out)] == list(range(ROUNDS))
    assert (out / "result.json").exists()

    log = head.log("second")
    shown = [int(number) for number in re.findall(rf"^round (\d+)/{ROUNDS}  outer loss .*$", log, re.MULTILINE)]
    assert shown == list(range(len(kept) + 1, ROUNDS + 1))
    for text in (head.log("first"), log):
        assert not re.search(r"[\x1b\r\b]|[━█]|%\|", text)  # nothing of a terminal, no bar
        assert len(text.splitlines()) < 3 * ROUNDS
