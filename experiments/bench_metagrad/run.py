"""Time and memory of exact meta-gradients through K steps of AdamW; writes result.json and the table of README.md.

.venv/bin/python experiments/bench_metagrad/run.py            # everything: half an hour on a quiet machine
.venv/bin/python experiments/bench_metagrad/run.py 16 64      # these K only; the others stay as result.json has them
.venv/bin/python experiments/bench_metagrad/run.py --quick    # K = 2, within a minute; writes nothing

The last line printed is one JSON object of ratios, `replay` / other: below 1 replay takes less. Every number comes from
a process of its own with one thread, see engines.py. What the machine's free memory cannot hold is not run but
extrapolated, a straight line through the two largest K that were run, and marked so.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import torch

from policylearn.experiment import write_up

FOLDER = Path(__file__).parent
STEPS = (1, 4, 16, 64, 256)
PEERS = ("plain", "unroll", "higher")

# glibc keeps freed blocks for later, as fast as that is, and they count as resident. Blocks of 1 MiB and more from the
# system, given back at once, show what an engine holds; they also cost a third of its time.
HONEST = {"MALLOC_MMAP_THRESHOLD_": str(1 << 20), "MALLOC_TRIM_THRESHOLD_": str(1 << 20)}

Cell = dict[str, float | bool]
Cells = dict[str, dict[str, Cell]]


def ran(engine: str, steps: int, credits: Path, environment: dict[str, str]) -> Cell:
    """One window in a process of its own: seconds, mib."""
    command = [sys.executable, str(FOLDER / "engines.py"), engine, str(steps), str(credits)]
    settings = os.environ | {"OMP_NUM_THREADS": "1"} | environment
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=settings)
    return json.loads(done.stdout.splitlines()[-1])


def measured(engine: str, steps: int, credits: Path, quick: bool) -> Cell:
    """Memory as held, and the time and memory that a user sees; in a hurry all of it from one process."""
    held = ran(engine, steps, credits, HONEST)
    seen = held if quick else ran(engine, steps, credits, {})
    return {"mib": held["mib"], "seconds": seen["seconds"], "mib_seen": seen["mib"], "extrapolated": False}


def extrapolated(row: dict[str, Cell], steps: int) -> Cell | None:
    """The straight line through the two largest K that were run, if there are two smaller than this one."""
    known = sorted(int(k) for k, cell in row.items() if int(k) < steps and not cell["extrapolated"])[-2:]
    if len(known) < 2:
        return None
    (low, high), share = known, (steps - known[0]) / (known[1] - known[0])
    a, b = row[str(low)], row[str(high)]
    return {name: a[name] + share * (b[name] - a[name]) for name in ("mib", "seconds", "mib_seen")} | {
        "extrapolated": True
    }


def available_mib() -> float:
    lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("MemAvailable"))


def measure(cells: Cells, steps: int, quick: bool, folder: Path) -> None:
    """All engines at one K, into `cells`, and how far the gradient of replay is from that of unroll."""
    for engine in ("replay", *PEERS):
        row = cells.setdefault(engine, {})
        guess = extrapolated(row, steps)
        if guess and engine != "replay" and (guess["mib_seen"] > 0.75 * available_mib() or steps > 64):
            row[str(steps)] = guess
        else:
            row[str(steps)] = measured(engine, steps, folder / f"{engine}.pt", quick or steps > 64)
        print(engine, steps, row[str(steps)], flush=True)
    if not cells["unroll"][str(steps)]["extrapolated"]:
        cells["replay"][str(steps)]["error"] = error(folder / "replay.pt", folder / "unroll.pt")


def error(ours: Path, reference: Path) -> float:
    """|a - b| / |b| of two windows' gradients."""
    a, b = (torch.cat(torch.load(path)).double() for path in (ours, reference))
    return ((a - b).norm() / b.norm()).item()


def ratios(cells: Cells) -> dict[str, float]:
    found = {}
    for steps, ours in cells["replay"].items():
        for engine in PEERS:
            peer = cells[engine][steps]
            mark = " (extrapolated)" if peer["extrapolated"] else ""
            found[f"memory K={steps} / {engine}{mark}"] = ours["mib"] / peer["mib"]
            found[f"time K={steps} / {engine}{mark}"] = ours["seconds"] / peer["seconds"]
    if {"16", "256"} <= cells["replay"].keys():
        found["memory K=256 / K=16"] = cells["replay"]["256"]["mib"] / cells["replay"]["16"]["mib"]
    return {name: round(ratio, 3) for name, ratio in found.items()}


def table(cells: Cells) -> list[str]:
    engines = ("replay", *PEERS)
    lines = ["| K | " + " | ".join(engines) + " | replay / unroll | replay / higher | error |", "|---" * 8 + "|"]
    for name, unit in (("mib", "MiB"), ("seconds", "s")):
        for steps, ours in cells["replay"].items():
            row = [cells[engine][steps] for engine in engines]
            written = [f"{'≈ ' * bool(c['extrapolated'])}{c[name]:,.{0 if unit == 'MiB' else 1}f} {unit}" for c in row]
            shares = [f"{ours[name] / cells[peer][steps][name]:.2f}" for peer in ("unroll", "higher")]
            wrong = f"{ours['error']:.0e}" if "error" in ours else "–"
            lines.append(f"| {steps} | " + " | ".join([*written, *shares, wrong]) + " |")
    seen = ", ".join(f"K = {k}: {c['mib_seen']:,.0f}" for k, c in cells["replay"].items() if int(k) <= 64)
    peer = ", ".join(f"K = {k}: {c['mib_seen']:,.0f}" for k, c in cells["higher"].items() if not c["extrapolated"])
    return [*lines, "", f"Memory with glibc's own settings, MiB: replay {seen}; higher {peer}."]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("steps", nargs="*", type=int, default=STEPS, help="K; all if none is given")
    parser.add_argument("--quick", action="store_true", help="K = 2; writes nothing")
    options = parser.parse_args()
    written = FOLDER / "result.json"
    cells: Cells = json.loads(written.read_text())["cells"] if written.exists() and not options.quick else {}
    with tempfile.TemporaryDirectory() as folder:
        for steps in (2,) if options.quick else options.steps:
            measure(cells, steps, options.quick, Path(folder))
    cells = {engine: dict(sorted(row.items(), key=lambda item: int(item[0]))) for engine, row in cells.items()}
    if not options.quick:
        write_up(FOLDER, {"threads": 1, "cells": cells, "ratios": ratios(cells)}, table(cells))
    print("\n".join(table(cells)))
    print(json.dumps(ratios(cells)))


if __name__ == "__main__":
    main()
