"""Time and memory of meta-gradients through K steps of AdamW; writes result.json and the tables of README.md.

.venv/bin/python experiments/bench_metagrad/run.py               # everything: hours; may be interrupted
.venv/bin/python experiments/bench_metagrad/run.py small 8 plain # these cells only
.venv/bin/python experiments/bench_metagrad/run.py --quick       # K = 2, within a minute; writes nothing

The same on a GPU: gpu.py.

The last line printed is one JSON object of ratios, see `tables.targets`. Every number comes from a process of its own
with one thread, see engines.py, and is kept in runs/bench_metagrad/: a cell that lies there is not run again. What free
memory or four minutes cannot hold (forty for `replay` and `finite_difference`; `--longest SECONDS` for all) is
extrapolated, a straight line through the two largest K that were run.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import torch
from engines import CONTENDERS
from problem import SIZES
from tables import Cell, Cells, ratios, tables, write

FOLDER = Path(__file__).parent
STEPS = {"small": (1, 4, 8, 16, 64, 256), "base": (1, 2, 4, 8, 16, 64, 256)}
QUICK = ("plain", "replay", "finite_difference", "higher")
LONGER = ("replay", "finite_difference")  # what the targets are about
REPEATS, SHORT = 3, 30.0  # measurements of a window that takes less than SHORT seconds, others once
LONGEST, LONGER_STILL = 240.0, 2400.0  # seconds of a window that is run, and of one by LONGER
SPARE = 2048.0  # MiB that stay free

# glibc keeps freed blocks for later, as fast as that is, and they count as resident. Blocks of 1 MiB and more from the
# system, given back at once, show what an engine holds; they also cost a third of its time.
HONEST = {"MALLOC_MMAP_THRESHOLD_": str(1 << 20), "MALLOC_TRIM_THRESHOLD_": str(1 << 20)}


@dataclass
class Bench:
    """Measurements that lie in a folder, or are made and put there."""

    folder: Path

    def held(self, size: str, name: str, steps: int) -> dict[str, float]:
        """A window whose memory is given back at once."""
        return self._ran(size, name, steps, "held", HONEST)

    def seen(self, size: str, name: str, steps: int, repeat: int) -> dict[str, float]:
        """A window with glibc's own settings."""
        return self._ran(size, name, steps, f"seen{repeat}", {})

    def credits_file(self, size: str, name: str, steps: int) -> Path:
        """Where ∂(outer loss)/∂w of the whole window is, if it was run."""
        return self._stem(size, name, steps, "held").with_suffix(".pt")

    def _ran(self, size: str, name: str, steps: int, mode: str, settings: dict[str, str]) -> dict[str, float]:
        stem = self._stem(size, name, steps, mode)
        written = stem.with_suffix(".json")
        if not written.exists():
            command = [sys.executable, str(FOLDER / "engines.py"), size, name, str(steps), str(stem.with_suffix(".pt"))]
            environment = os.environ | {"OMP_NUM_THREADS": "1"} | settings
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment)
            written.write_text(done.stdout.splitlines()[-1] + "\n", encoding="utf-8")
            print(stem.name, done.stdout.splitlines()[-1], flush=True)
        return json.loads(written.read_text(encoding="utf-8"))

    def _stem(self, size: str, name: str, steps: int, mode: str) -> Path:
        return self.folder / f"{size}-{name.replace(', ', '-')}-{steps}-{mode}"


def measure(
    bench: Bench, rows: dict[str, dict[str, Cell]], size: str, steps: int, names: list[str], longest: float | None
) -> None:
    """All contenders at one K, into `rows`; the machine's moods fall on all alike."""
    guesses = {name: extrapolated(rows.setdefault(name, {}), steps) for name in names}
    run = [name for name in names if fits(guesses[name], longest or (LONGER_STILL if name in LONGER else LONGEST))]
    held = {name: bench.held(size, name, steps) for name in run}
    # A window this long is run once: what glibc does differently is seen in shorter ones.
    seen = {name: [held[name]] if held[name]["seconds"] > LONGEST else [] for name in run}
    for repeat in range(REPEATS):
        for name in run:
            if not seen[name] or seen[name][0]["seconds"] < SHORT:
                seen[name].append(bench.seen(size, name, steps, repeat))
    for name in names:
        rows[name][str(steps)] = cell(held[name], seen[name]) if name in run else guesses[name]
    compare(bench, rows, size, steps, run)


def cell(held: dict[str, float], seen: list[dict[str, float]]) -> Cell:
    medians = {name: statistics.median(found[name] for found in seen) for name in ("seconds", "mib")}
    return {"seconds": medians["seconds"], "mib": held["mib"], "mib_seen": medians["mib"], "extrapolated": False}


def fits(guess: Cell | None, longest: float) -> bool:
    return guess is None or (guess["mib_seen"] + SPARE < available_mib() and guess["seconds"] < longest)


def extrapolated(row: dict[str, Cell], steps: int) -> Cell | None:
    """The straight line through the two largest K that were run, if there are two smaller than this one."""
    known = sorted(int(k) for k, cell in row.items() if int(k) < steps and not cell["extrapolated"])[-2:]
    if len(known) < 2:
        return None
    (low, high), share = known, (steps - known[0]) / (known[1] - known[0])
    a, b = row[str(low)], row[str(high)]
    line = {name: a[name] + share * (b[name] - a[name]) for name in ("seconds", "mib", "mib_seen")}
    return {**line, "extrapolated": True}


def available_mib() -> float:
    lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("MemAvailable"))


def compare(bench: Bench, rows: dict[str, dict[str, Cell]], size: str, steps: int, run: list[str]) -> None:
    """|a - b| / |b| of gradients, b that of `unroll`, or of `replay` where `unroll` was not run."""
    reference = next((name for name in ("unroll", "replay") if bench.credits_file(size, name, steps).exists()), None)
    for name in run if reference else ():
        if name not in (reference, "plain", "ordinary"):
            a, b = (torch.cat(torch.load(bench.credits_file(size, one, steps))).double() for one in (name, reference))
            rows[name][str(steps)] |= {"error": ((a - b).norm() / b.norm()).item(), "against": reference}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("only", nargs="*", help="sizes, K and engines; all if none is given")
    parser.add_argument("--longest", type=float, help="seconds that a window may take (by default see above)")
    parser.add_argument("--quick", action="store_true", help="K = 2; writes nothing")
    options = parser.parse_args()
    if unknown := set(options.only) - {*SIZES, *CONTENDERS, *(str(k) for row in STEPS.values() for k in row)}:
        parser.error(f"{', '.join(sorted(unknown))}: neither a size ({', '.join(SIZES)}) nor a K nor an engine")
    if options.quick:
        return quick()
    folder = FOLDER.parents[1] / "runs/bench_metagrad"
    folder.mkdir(parents=True, exist_ok=True)
    written = FOLDER / "result.json"
    known = json.loads(written.read_text(encoding="utf-8")) if written.exists() else {}
    cells: Cells = known.setdefault("cells", {})
    there = [name for name in CONTENDERS if name != "torchopt" or find_spec("torchopt")]
    names = [name for name in there if name in options.only] or there
    sizes = [size for size in options.only if size in SIZES] or list(SIZES)
    chosen = {int(k) for k in options.only if k.isdigit()}
    for size in sizes:
        for steps in [k for k in STEPS[size] if k in (chosen or STEPS[size])]:
            measure(Bench(folder), cells.setdefault(size, {}), size, steps, names, options.longest)
            write(FOLDER, known)
    print(json.dumps(ratios(cells)))


def quick() -> None:
    with tempfile.TemporaryDirectory() as folder:
        cells: Cells = {"small": {}}
        for name in QUICK:
            found = Bench(Path(folder)).held("small", name, 2)
            cells["small"][name] = {"2": {**found, "mib_seen": found["mib"], "extrapolated": False}}
        compare(Bench(Path(folder)), cells["small"], "small", 2, list(QUICK))
    print("\n".join(tables({"cells": cells})))
    print(json.dumps(ratios(cells)))


if __name__ == "__main__":
    main()
