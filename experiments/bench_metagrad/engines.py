"""One measurement of one engine in a process of its own: python engines.py SIZE ENGINE STEPS CREDITS_FILE

Prints one JSON object: CPU seconds of the window, and its peak memory in MiB above what model, moments and libraries
took before it, both as the kernel counts resident pages.
"""

import ctypes
import gc
import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from peers import TransformersLoss, ordinary, plain, torchopt
from problem import Problem, problem
from torch import Tensor

from policylearn.metagrad.engines import engine
from policylearn.models.model import InnerModel


@dataclass(frozen=True)
class Contender:
    """An engine, and the model it is given."""

    run: Callable[[Problem], list[Tensor]]
    kind: type[InnerModel] = InnerModel
    attention: str = "eager"
    bf16: bool = False


def ours(name: str) -> Callable[[Problem], list[Tensor]]:
    """An engine of the library."""

    return lambda p: engine(name)(p.model, p.optimizer, p.window, p.outer)


CONTENDERS = {
    "plain": Contender(plain, attention="sdpa"),
    "ordinary": Contender(ordinary, attention="sdpa"),
    "replay": Contender(ours("replay")),
    "finite_difference": Contender(ours("finite_difference"), attention="sdpa"),
    "finite_difference, eager": Contender(ours("finite_difference")),
    "finite_difference, bf16": Contender(ours("finite_difference"), attention="sdpa", bf16=True),
    "unroll": Contender(ours("unroll")),
    "higher": Contender(ours("unroll"), TransformersLoss),
    "torchopt": Contender(torchopt, TransformersLoss),
}
"""`unroll` and `higher` are one loop by the library `higher`: the one on the loss of masked positions, the other on the
loss as transformers has it. Attention is transformers' default (sdpa) wherever it has the derivatives needed."""


def measure(size: str, name: str, steps: int) -> tuple[dict[str, float], list[Tensor]]:
    contender = CONTENDERS[name]
    given = problem(size, steps, contender.kind, contender.attention, contender.bf16)
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak is from here on
    before = status("VmRSS")
    start = time.process_time()
    credits = contender.run(given)
    seconds = time.process_time() - start
    return {"seconds": seconds, "mib": status("VmHWM") - before, "before_mib": before}, credits


def status(field: str) -> float:
    """Of /proc/self/status, MiB: VmRSS resident now, VmHWM its highest value."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(field))


if __name__ == "__main__":
    torch.set_num_threads(1)
    found, credits = measure(sys.argv[1], sys.argv[2], int(sys.argv[3]))
    torch.save(credits, sys.argv[4])
    print(json.dumps(found))
