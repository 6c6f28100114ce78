"""The process dies of SIGKILL, at any moment; the same command then ends with the same bits.

A process of its own imports everything once and forks for every attempt: 10 kills, and seconds each.
"""

import json
import os
import random
import subprocess
import sys

import pytest

from policylearn.storage.folder import Storage

KILLS = 5
"""Of each kind: at random moments, and at random steps of saving, which random moments hit too seldom."""

HARNESS = r"""
import json, os, pathlib, random, signal, sys, time, traceback
from rich.console import Console
from policylearn.storage import folder as storage
from policylearn.config import load_config
from policylearn.report import page  # now, not in every child
from policylearn.commands.train import train

toml, folder, seed, kills = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
random.seed(seed)

def die_at(step):
    # After as many steps of saving: before a file is begun, before it reaches the disk, before it gets its name, before
    # that reaches the disk.
    steps = [0]
    def stepping(function):
        def stepped(*arguments):
            steps[0] += 1
            if steps[0] == step:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*arguments)
        return stepped
    os.fsync, pathlib.Path.replace = stepping(os.fsync), stepping(pathlib.Path.replace)
    storage.write_file = stepping(storage.write_file)

def attempt(out, seconds=None, step=None):
    started = time.monotonic()
    child = os.fork()
    if child == 0:
        try:
            if step is not None:
                die_at(step)
            train(load_config(toml), out, Console(file=open(os.devnull, "w")))
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    if seconds is not None:
        time.sleep(seconds)
        os.kill(child, signal.SIGKILL)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status in (0, -signal.SIGKILL), status
    return status == 0, time.monotonic() - started

_, took = attempt(folder + "/reference")
log = [["reference", took]]
outs, dealt = [], {"moment": 0, "step": 0}
while min(dealt.values()) < kills:
    outs.append(f"{folder}/run{len(outs)}")
    finished = False
    while not finished:
        kind = min(dealt, key=dealt.get)
        if dealt[kind] == kills:
            finished, _ = attempt(outs[-1])
            break
        when = {"seconds": random.uniform(0, took)} if kind == "moment" else {"step": random.randint(1, 25)}
        finished, _ = attempt(outs[-1], **when)
        dealt[kind] += not finished
        log.append([outs[-1], when, finished])
print(json.dumps({"outs": outs, "log": log}))
"""


@pytest.mark.long
@pytest.mark.timeout(600)
def test_a_run_killed_at_random_moments_ends_with_the_same_bits(tiny_toml, tmp_path, assert_same_run):
    toml = tmp_path / "tiny.toml"
    toml.write_text(tiny_toml.read_text().replace("seeds = 2", 'seeds = 1\narms = ["random", "learned"]'))
    seed = random.randrange(10**6)
    command = [sys.executable, "-c", HARNESS, str(toml), str(tmp_path), str(seed), str(KILLS)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, f"seed {seed}: {done.stdout}{done.stderr}"
    told = json.loads(done.stdout.splitlines()[-1])
    print(f"seed {seed}", *told["log"], sep="\n")  # shown if the test fails
    assert sum(not line[-1] for line in told["log"][1:]) == 2 * KILLS
    for out in told["outs"]:
        assert_same_run(out, tmp_path / "reference")
        assert len(Storage.at(out).read("trials.jsonl").splitlines()) == 2
