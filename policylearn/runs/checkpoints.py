"""Checkpoints of a `Trainer`: which of them are whole."""

import json
from pathlib import Path

STATE = "trainer_state.json"
"""What `Trainer` writes last into a checkpoint."""


def last_checkpoint(folder: Path) -> tuple[int, Path] | None:
    """Steps and place of the newest checkpoint that was written to its end; None: there is none."""
    found = [(_steps(place), place) for place in folder.glob("checkpoint-*")]
    return max(((steps, place) for steps, place in found if steps is not None), default=None)


def _steps(checkpoint: Path) -> int | None:
    try:
        return json.loads((checkpoint / STATE).read_text(encoding="utf-8"))["global_step"]
    except (OSError, ValueError):  # storage boundary: it ended before this was written, or meanwhile
        return None
