"""What was measured, as a reader wants it: a table per size, and the targets."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from policylearn.report.write_up import write_up

Cell = dict[str, Any]
"""seconds, mib, mib_seen, extrapolated; error and against where gradients were compared."""
Cells = dict[str, dict[str, dict[str, Cell]]]
"""size → contender → K → cell."""

TITLES = {"small": "BERT, 4 layers of width 256", "base": "BERT-base, 12 layers of width 768"}


class Target(NamedTuple):
    """At most `limit`, for the ratio of two cells of the small model; `floor` says what bounds it from below."""

    words: str
    ratio: Callable[[dict[str, dict[str, Cell]]], float]
    limit: float
    floor: Callable[[dict[str, dict[str, Cell]]], str]


def share(quantity: str, a: tuple[str, int], b: tuple[str, int]) -> Callable[[dict[str, dict[str, Cell]]], float]:
    return lambda rows: rows[a[0]][str(a[1])][quantity] / rows[b[0]][str(b[1])][quantity]


def least_memory(rows: dict[str, dict[str, Cell]]) -> str:
    """What one step's double backward takes."""
    one = share("mib", ("unroll", 1), ("higher", 16))(rows)
    return f"the graph of a single step with its second derivatives takes {one:.2f} of it"


def unrolled_time(rows: dict[str, dict[str, Cell]]) -> str:
    """Nothing computed twice, as memory for all graphs would allow."""
    one = share("seconds", ("unroll", 16), ("higher", 16))(rows)
    return f"`unroll`, which computes nothing twice, takes {one:.2f}"


def kept_states(rows: dict[str, dict[str, Cell]]) -> str:
    """What does not grow with K."""
    one = share("mib", ("replay", 8), ("replay", 16))(rows)
    return f"a single leaf of steps takes {one:.2f}, the rest are states to start over from"


def least_time(rows: dict[str, dict[str, Cell]]) -> str:
    """A forward–backward pass for the step and two for its differences."""
    one = share("seconds", ("ordinary", 8), ("plain", 8))(rows)
    return f"three ordinary steps on masked positions take {3 * one:.2f}"


TARGETS = (
    Target(
        "`replay` memory, K = 16, to `higher`",
        share("mib", ("replay", 16), ("higher", 16)),
        0.2,
        least_memory,
    ),
    Target(
        "`replay` time, K = 16, to `higher`",
        share("seconds", ("replay", 16), ("higher", 16)),
        0.7,
        unrolled_time,
    ),
    Target(
        "`replay` memory, K = 256 to K = 16",
        share("mib", ("replay", 256), ("replay", 16)),
        2.0,
        kept_states,
    ),
    Target(
        "`finite_difference` time, K = 8, outer part included, to plain steps",
        share("seconds", ("finite_difference", 8), ("plain", 8)),
        2.0,
        least_time,
    ),
)


def ratios(cells: Cells) -> dict[str, float]:
    """Every contender's time and memory over those of `plain` and of `higher`: below 1 it takes less."""
    return {
        f"{size} {name} {quantity} K={steps} / {peer}": round(cell[quantity] / rows[peer][steps][quantity], 3)
        for size, rows in cells.items()
        for name, row in rows.items()
        for steps, cell in row.items()
        for quantity in ("seconds", "mib")
        for peer in ("plain", "higher")
        if name != peer and steps in rows.get(peer, {})
    }


def write(folder: Path, result: dict[str, Any]) -> None:
    """result.json and the tables of README.md."""
    ordered = {"threads": 1, "cells": result["cells"], "ratios": ratios(result["cells"])}
    write_up(folder, ordered | ({"gpu": result["gpu"]} if "gpu" in result else {}), tables(result))


def tables(result: dict[str, Any]) -> list[str]:
    """Those of the CPU, then those of a GPU if there were measurements on one."""
    cells, lines = result["cells"], target_table(result["cells"]["small"])
    for size, rows in cells.items():
        lines += ["", f"### {TITLES[size]}"]
        lines += ["", "CPU seconds per inner step, the outer loss included:", "", *table(rows, seconds)]
        lines += ["", "Peak memory above baseline, MiB:", "", *table(rows, memory("mib"))]
        lines += ["", "The same with glibc's own settings:", "", *table(rows, memory("mib_seen"))]
        lines += ["", "Relative error of the gradient:", "", *table(rows, error)]
    return lines + (gpu_tables(result["gpu"]) if "gpu" in result else [])


def gpu_tables(gpu: dict[str, Any]) -> list[str]:
    """The same engines on a GPU, whose memory is counted by torch's allocator."""
    lines = ["", f"## On a GPU ({gpu['device']})"]
    for size, rows in gpu["cells"].items():
        lines += ["", f"### {TITLES[size]}, on the GPU", "", *target_table(rows)]
        lines += ["", "Milliseconds per inner step, the outer loss included:", "", *table(rows, milliseconds)]
        lines += ["", "Peak memory above baseline, MiB:", "", *table(rows, memory("mib"))]
        lines += ["", "Relative error of the gradient:", "", *table(rows, error)]
    return lines


def target_table(rows: dict[str, dict[str, Cell]]) -> list[str]:
    """Targets and what was measured; where it was missed, what bounds it from below."""
    lines = ["| target | at most | measured | |", "|---|---|---|---|"]
    for words, ratio, limit, floor in TARGETS:
        found = known(ratio, rows)
        if found is None:
            verdict = "not measured"
        elif found <= limit:
            verdict = "met"
        else:
            verdict = f"missed; {known(floor, rows) or 'its floor was not measured'}"
        lines.append(f"| {words} | {limit} | {'' if found is None else f'{found:.2f}'} | {verdict} |")
    return lines


def known(of: Callable[[dict[str, dict[str, Cell]]], Any], rows: dict[str, dict[str, Cell]]) -> Any:
    """None where a cell is missing."""
    try:
        return of(rows)
    except KeyError:
        return None


def table(rows: dict[str, dict[str, Cell]], written: Callable[[Cell, int], str]) -> list[str]:
    """Contenders down, K across."""
    steps = sorted({int(k) for row in rows.values() for k in row})
    lines = ["| | " + " | ".join(f"K = {k}" for k in steps) + " |", "|---" * (len(steps) + 1) + "|"]
    for name, row in rows.items():
        found = [written(row[str(k)], k) if str(k) in row else "" for k in steps]
        if any(found):
            lines.append(f"| `{name}` | " + " | ".join(found) + " |")
    return lines


def seconds(cell: Cell, steps: int) -> str:
    return f"{'≈ ' * cell['extrapolated']}{cell['seconds'] / steps:.2f}"


def milliseconds(cell: Cell, steps: int) -> str:
    return f"{'≈ ' * cell['extrapolated']}{1000 * cell['seconds'] / steps:.1f}"


def memory(quantity: str) -> Callable[[Cell, int], str]:
    return lambda cell, steps: f"{'≈ ' * cell['extrapolated']}{cell[quantity]:,.0f}"


def error(cell: Cell, steps: int) -> str:
    return f"{cell['error']:.0e}{'*' * (cell['against'] == 'replay')}" if "error" in cell else ""
