"""The problem of a config, opened where somebody watches."""

from functools import partial

from rich.console import Console

from policylearn.config import Config
from policylearn.models.device import be_the_worker, device_here
from policylearn.problems.of_config import problem_of
from policylearn.problems.problem import Problem
from policylearn.report.console_watch import ConsoleWatch
from policylearn.report.printing import print_line
from policylearn.runs.contents import contents_as_read
from policylearn.runs.run import Run


def open_problem(config: Config, console: Console, device: str = "cpu") -> Problem:
    """The problem, whose progress and remarks a console shows."""
    return problem_of(config, ConsoleWatch(console), device=device, tell=partial(print_line, console))


def problem_of_run(run: Run) -> Problem:
    """That of a run, of which this process is a worker; what it needs has been touched, and its remark is kept.

    Raises:
        ValueError: whatever is wrong with tokenizer, model, task or corpora; or the Hub has others of these names than
            when the run began.
    """
    cluster = run.config.cluster
    be_the_worker(cluster)
    problem = open_problem(run.config, run.console, device_here(cluster))
    problem.check()
    run.check_read(contents_as_read(problem))
    run.remark(problem.remark)
    return problem
