"""What stage two compares, and where it and stage one keep what they find."""

from dataclasses import dataclass, replace
from pathlib import Path

from search import Recipe
from tasks import FOLDER

STRENGTHS = {"expected-1": 1.0, "expected-2": 2.0, "expected-4": 4.0}
JOINT = "joint"
"""Pretrained under random masks, then fine-tuned on both losses."""
FIRST = ("none", "random", *STRENGTHS)
ALIKE = ("difference",)
"""Arms with a policy that knows nothing of labels: one per task."""
LINES = FOLDER / "recipe.jsonl"


@dataclass(frozen=True)
class Comparison:
    """Which arms meet, on which runs, and how they are fine-tuned.

    Attributes:
        folder: where its trials are.
        title: of its table.
        first: arms that the question is about: all runs of these come before the others.
        others: the other arms of the primary comparison.
        later: arms that came when runs were known: shown, and compared with on their own, but no part of the primary.
        runs: label sets, each with its own number for a seed.
        tunings: how many fine-tunings a run has the mean of.
        recipe: of pretraining; None: that of stage one.
        tuning: settings of fine-tuning.
        final: whether test is read; otherwise further rows of dev stand for it.
    """

    folder: str
    title: str
    others: tuple[str, ...]
    first: tuple[str, ...] = FIRST
    later: tuple[str, ...] = ()
    runs: range = range(10)
    tunings: int = 5
    recipe: Recipe | None = None
    tuning: tuple[str, ...] = ()
    final: bool = True

    @property
    def arms(self) -> tuple[str, ...]:
        """Of the primary comparison."""
        return (*self.first, *self.others)

    def trials_of(self, task: str) -> Path:
        """The file of its trials of a task."""
        return FOLDER / self.folder / f"{task}.jsonl"


CLAIM = Comparison(
    folder="trials",
    title="Stage two, on test",
    others=(
        "difference",
        "saliency",
        "selective",
        "word",
        "span",
        "random-30-15",
        "random-rate",
        "causal-first",
        JOINT,
    ),
    later=("multitask",),
)
PILOT = replace(
    CLAIM,
    folder="pilot",
    title="Pilot of stage two, with the recipe so far, on rows of dev: exploration",
    final=False,
)
SECOND = Comparison(
    folder="second",
    title="The second comparison, on test",
    first=(*FIRST, "multitask", "labels-only"),
    others=("word", "difference", "saliency", JOINT),
    runs=range(21, 31),
    tunings=3,
    recipe=Recipe(tuning_rate=1e-4, steps=320, learning_rate=1e-4),
    tuning=tuple(f"evaluate.{how}.{setting}" for how in ("finetune", JOINT) for setting in ("head=both", "epochs=20")),
)
COMPARISONS = {"first": CLAIM, "pilot": PILOT, "second": SECOND}
