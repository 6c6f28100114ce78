"""Where on a training credits are measured."""

import numpy as np

from policylearn.config import Config

SEED = 0
"""Of the training, and of what is drawn for it."""


def steps(config: Config) -> list[int]:
    """Where on the trajectory is measured: evenly from the first window to the end, at least one step in.

    >>> steps(Config())
    [1, 75, 150]
    """
    first = config.inner.start * config.inner.steps
    return [max(1, round(step)) for step in np.linspace(first, config.inner.steps, config.diagnose.points)]
