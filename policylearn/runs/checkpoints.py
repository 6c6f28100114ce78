"""Checkpoints of a `Trainer`: which of them are whole."""

import json
import re
from pathlib import Path

STATE = "trainer_state.json"
"""What `Trainer` writes last into a checkpoint."""
NAMED = re.compile(r"checkpoint-[0-9]+")
"""As `Trainer` names a checkpoint: what is called otherwise, such as a copy, is none."""


def last_checkpoint(folder: Path) -> tuple[int, Path] | None:
    """Steps and place of the newest checkpoint that was written to its end; None: there is none."""
    found = [(_steps(place), place) for place in folder.glob("checkpoint-*") if NAMED.fullmatch(place.name)]
    return max(((steps, place) for steps, place in found if steps is not None), default=None)


def _steps(checkpoint: Path) -> int | None:
    try:
        return int(json.loads((checkpoint / STATE).read_text(encoding="utf-8"))["global_step"])
    except (OSError, ValueError, KeyError, TypeError):  # storage boundary: it ended before this was written
        return None
