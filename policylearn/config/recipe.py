"""The recipe that has won on real tasks so far, for whoever names no config: that of configs/own_task.toml."""

from typing import Any

RECIPE: dict[str, Any] = {
    "policy": {"prior": {}, "network": "none"},
    "masking": {"p_max": 0.9},
    "scores": {"difference": {"embedding": "encoder"}},
    "inner": {"steps": 80, "batch_size": 16, "learning_rate": 3e-4, "start": 0.1},
    "outer": {"parameters": "layers"},
    "credit": {"batches": 80},
    "learn": {"stages": ["expected"]},
}
"""Credits of words: one meta-gradient of all labels, averaged over three states of a training under uniform masks, says
what predicting a word is worth."""
