"""How many operations an engine starts per inner step, K = 16.

.venv/bin/python experiments/bench_metagrad/operations.py [ENGINE ...]

Those of the small model at a width of 64, which is no matter for their number; counted on the CPU.
"""

import sys
from typing import Any

import problem
from engines import CONTENDERS
from torch.utils._python_dispatch import TorchDispatchMode

STEPS = 16
NAMES = ("plain", "ordinary", "replay", "finite_difference", "unroll")


class Counter(TorchDispatchMode):
    """Counts whatever reaches the dispatcher."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += 1
        return function(*args, **(kwargs or {}))


if __name__ == "__main__":
    problem.SIZES["narrow"] = (4, 64)
    for name in sys.argv[1:] or NAMES:
        contender = CONTENDERS[name]
        given = problem.problem("narrow", STEPS, contender.kind, contender.attention, contender.bf16)
        with Counter() as counter:
            contender.run(given)
        print(f"{name:20}{counter.count / STEPS:8,.0f}")
