"""What engines.py measures, on a GPU: wall time, and the peak of torch's allocator. Adds "gpu" to result.json.

python experiments/bench_metagrad/gpu.py 300           # seconds it may take; needs neither Ray nor datasets
python experiments/bench_metagrad/gpu.py 300 base 4 16  # these cells only

All cells in one process, for the allocator knows what is in use. What time or memory cannot hold is extrapolated.
"""

import gc
import json
import statistics
import sys
import time
from pathlib import Path

import torch
from engines import CONTENDERS
from problem import SIZES, problem
from run import extrapolated
from tables import Cell, write
from torch import Tensor

FOLDER = Path(__file__).parent
STEPS = (1, 4, 8, 16, 64, 256)
NAMES = ("plain", "replay", "finite_difference", "ordinary", "finite_difference, bf16", "unroll", "higher")
LONG, MAIN = 64, NAMES[:3]  # from so many steps on, only these are run
REPEATS, SHORT = 3, 1.0  # measurements of a window that takes less than SHORT seconds, others once
MIB, SPARE = 2**20, 4096.0  # MiB that stay free


def measure(size: str, name: str, steps: int, device: str) -> tuple[Cell, list[Tensor]]:
    """One window, with model and moments in place."""
    contender = CONTENDERS[name]
    given = problem(size, steps, contender.kind, contender.attention, contender.bf16, device)
    gc.collect()
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before, start = torch.cuda.memory_allocated(), time.perf_counter()
    credits = contender.run(given)
    torch.cuda.synchronize()
    seconds, peak = time.perf_counter() - start, torch.cuda.max_memory_allocated()
    return {"seconds": seconds, "mib": (peak - before) / MIB, "mib_seen": (peak - before) / MIB}, credits


def repeated(size: str, name: str, steps: int, device: str) -> tuple[Cell, Tensor | None]:
    """The median time of several windows if they are short, and the gradient."""
    cell, credits = measure(size, name, steps, device)
    times = [] if cell["seconds"] < SHORT else [cell["seconds"]]  # the first of several is a warm-up
    while len(times) < REPEATS and cell["seconds"] < SHORT:
        times.append(measure(size, name, steps, device)[0]["seconds"])
    flat = torch.cat(credits).double().cpu() if credits else None
    return cell | {"seconds": statistics.median(times), "extrapolated": False}, flat


def row_of_cells(rows: dict[str, dict[str, Cell]], size: str, steps: int, until: float, device: str) -> None:
    """All contenders at one K, into `rows`."""
    gradients: dict[str, Tensor] = {}
    for name in NAMES:
        guess, wanted = extrapolated(rows.setdefault(name, {}), steps), steps < LONG or name in MAIN
        if guess is not None and not (wanted and fits(guess, until)):
            rows[name][str(steps)] = guess
            continue
        rows[name][str(steps)], found = repeated(size, name, steps, device)
        gradients |= {} if found is None else {name: found}
        torch.cuda.empty_cache()
    reference = next((name for name in ("unroll", "replay") if name in gradients), None)
    for name in gradients.keys() - {reference} if reference else ():
        a, b = gradients[name], gradients[reference]
        rows[name][str(steps)] |= {"error": ((a - b).norm() / b.norm()).item(), "against": reference}


def fits(guess: Cell, until: float) -> bool:
    free = torch.cuda.mem_get_info()[0] / MIB - SPARE
    return guess["mib"] < free and guess["seconds"] < until - time.monotonic()


def main(seconds: float, only: list[str], device: str = "cuda") -> None:
    until, result = time.monotonic() + seconds, json.loads((FOLDER / "result.json").read_text(encoding="utf-8"))
    here = {"device": torch.cuda.get_device_name(), "torch": torch.__version__}
    known = result.get("gpu", {})
    cells = known["cells"] if known and here == {name: known[name] for name in here} else {}
    result["gpu"] = here | {"cells": cells}
    for name in NAMES:
        measure("small", name, 1, device)  # libraries are loaded by what is run first
    for size in [name for name in only if name in SIZES] or SIZES:
        for steps in [int(k) for k in only if k.isdigit()] or STEPS:
            row_of_cells(cells.setdefault(size, {}), size, steps, until, device)
            print(size, steps, f"{until - time.monotonic():.0f} s left", flush=True)
            write(FOLDER, result)


if __name__ == "__main__":
    main(float(sys.argv[1]), sys.argv[2:])
