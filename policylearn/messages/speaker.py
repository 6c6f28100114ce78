"""Which of several processes tells what all of them would."""

import os


def speaks() -> bool:
    """Whether this is the first of the processes that torchrun has started, or the only one."""
    return int(os.environ.get("RANK") or 0) == 0
