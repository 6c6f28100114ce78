"""Which kind of problem a config is of."""

from collections.abc import Callable

from policylearn.config import Config
from policylearn.config.idle import idle_settings
from policylearn.messages.watch import UNSEEN, Watch
from policylearn.problems.pictures import PictureProblem
from policylearn.problems.problem import Data, Problem
from policylearn.problems.texts import TextProblem


def problem_of(
    config: Config,
    watch: Watch = UNSEEN,
    data: Data | None = None,
    device: str = "cpu",
    tell: Callable[[str], None] = lambda lines: None,
) -> Problem:
    """The problem of a config, of texts or of pictures; arguments as of `Problem`. What is set in vain is told."""
    for line in idle_settings(config):
        tell(line)
    return (PictureProblem if config.patches.words else TextProblem)(config, watch, data, device, tell)
