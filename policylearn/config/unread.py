"""Settings that a command does not read: whoever names one on its command line is told that nothing comes of it. A file
is for several commands, and of what it says nothing is told."""

from collections.abc import Iterable

from policylearn.config.learning import LearnConfig

MEASURED = ("diagnose", "validity")
OF_ROUNDS = tuple(
    f"learn.{name}"
    for name in LearnConfig.model_fields
    if name not in ("stages", "start", "estimator", "samples", "kl")
)
LEARNED = ("strength", "outcomes", "supervised", "learn.estimator", "learn.samples", "learn.kl", *OF_ROUNDS)
PAIRED = ("evaluate.seeds", "evaluate.first_seed")
COMPARED = ("evaluate.arms", *PAIRED, "evaluate.steps")
TRAINED = ("inner.steps", "inner.batch_size", "inner.learning_rate", "inner.schedule", "inner.warmup")
UNREAD = {
    "train": ("pretrain", *MEASURED),
    "evaluate": ("pretrain", "credit.strength", *LEARNED, *MEASURED),
    "score": ("pretrain", "evaluate", "credit.strength", *LEARNED, *MEASURED),
    "diagnose": ("pretrain", *PAIRED, "strength", "outcomes", "supervised", *OF_ROUNDS),
    "pretrain": ("evaluate", *LEARNED, *MEASURED, *TRAINED, "credit", "outer"),
    "adapt": ("pretrain", *COMPARED, *LEARNED, *MEASURED, *TRAINED, "credit", "outer", "policy"),
}
"""Sections and settings by command."""
INSTEAD = {
    "pretrain": "[pretrain] has its own",
    "adapt": "[evaluate.weight_mask] and [evaluate.finetune] have their own",
}
"""Of [inner]."""


def unread_by(command: str, keys: Iterable[str]) -> list[str]:
    """What to say of settings by dotted name that a command is given.

    >>> unread_by("pretrain", ["inner.steps", "model.name"])
    ['inner.steps  does nothing here: pretrain does not read it; [pretrain] has its own']
    >>> unread_by("train", ["inner.steps"])
    []
    """
    found = []
    for key in keys:
        if any(f"{key}.".startswith(f"{unread}.") for unread in UNREAD[command]):
            own = f"; {INSTEAD[command]}" if key in TRAINED and command in INSTEAD else ""
            found.append(f"{key}  does nothing here: {command} does not read it{own}")
    return found
