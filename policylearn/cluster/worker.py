"""A worker: it builds the problem from the config once, and runs on it whatever it is given."""

import traceback
from typing import Any

import torch
from transformers.utils.logging import disable_progress_bar

from policylearn.cluster.calls import Failure, Work
from policylearn.config import Config
from policylearn.models.device import device_of
from policylearn.problems.of_config import problem_of
from policylearn.problems.problem import Data
from policylearn.registry.registry import import_parts


class Worker:
    """Holds one problem and runs work on it, with a fixed number of torch threads: sums over a different
    number of threads differ in the last bit."""

    def __init__(self, config: Config, data: Data | None = None) -> None:
        torch.set_num_threads(config.cluster.threads)
        disable_progress_bar()
        import_parts(config.imports)
        self.problem = problem_of(config, data=data, device=device_of(config.cluster))

    def run(self, work: Work, *arguments: Any) -> Any:
        """``work(problem, *arguments)``, or the `Failure` of it."""
        try:
            return work(self.problem, *arguments)
        except FloatingPointError as error:
            return Failure("not finite", str(error))
        except ValueError as error:
            return Failure("bad input", str(error))
        except Exception as error:  # fault boundary: whatever work raises is a value to the pool
            return Failure("raised", f"{type(error).__name__}: {error}", traceback.format_exc())
