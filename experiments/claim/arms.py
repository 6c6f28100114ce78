"""What stage two compares, and where it and stage one keep what they find."""

from pathlib import Path

from tasks import FOLDER

STRENGTHS = {"expected-1": 1.0, "expected-2": 2.0, "expected-4": 4.0}
JOINT = "joint"
"""Pretrained under random masks, then fine-tuned on both losses."""
FIRST = ("none", "random", *STRENGTHS)
ARMS = (
    *FIRST,
    "difference",
    "saliency",
    "selective",
    "word",
    "span",
    "random-30-15",
    "random-rate",
    "causal-first",
    JOINT,
)
LATER = ("multitask",)
"""Arms that came when six runs were known: shown, and compared with on their own, but no part of the primary."""
ALIKE = ("difference",)
"""Arms with a policy that knows nothing of labels: one per task."""
LINES = FOLDER / "recipe.jsonl"


def path_of(task: str, final: bool) -> Path:
    """Where trials of a task are kept."""
    path = FOLDER / ("trials" if final else "pilot") / f"{task}.jsonl"
    path.parent.mkdir(exist_ok=True)
    return path
