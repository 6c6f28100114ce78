"""Both stages → result.json and the tables of README.md."""

from collections import Counter
from typing import Any

from arms import CLAIM, LINES, PILOT, SECOND, Comparison
from claim_table import claim_table
from recipe_table import recipe_table
from search import decided
from tasks import FOLDER, TASKS

from policylearn.evaluation.trial import Trial
from policylearn.report.write_up import read_lines, write_up

NOT_OF_A_TRIAL = ("recipe", "learning")


def trials_of(comparison: Comparison) -> dict[str, list[Trial]]:
    """By task, of those that have any."""
    found = {task: [trial_of(line) for line in read_lines(comparison.trials_of(task))] for task in TASKS}
    return {task: trials for task, trials in found.items() if trials}


def trial_of(line: dict[str, Any]) -> Trial:
    """Without what is kept beside it."""
    return Trial(**{name: value for name, value in line.items() if name not in NOT_OF_A_TRIAL})


def can_be_compared(trials: dict[str, list[Trial]]) -> bool:
    """Whether two arms have two runs of a task."""
    runs = [Counter(trial.arm for trial in own) for own in trials.values()]
    return any(sum(count > 1 for count in of_arms.values()) > 1 for of_arms in runs)


def write_tables() -> None:
    """Of what there is."""
    found = read_lines(LINES)
    recipe, lines = recipe_table(found)
    helped = [task for task in TASKS if (known := decided(task, found)) and known[1]]
    result: dict[str, Any] = {"recipe": recipe}
    lines = ["**Stage one: recipes for random masks, on dev**", "", *lines, ""]
    for comparison in (PILOT, CLAIM, SECOND):
        if can_be_compared(trials := trials_of(comparison)):
            name = "claim" if comparison is CLAIM else comparison.folder
            result[name], more = claim_table(trials, comparison, helped if comparison is CLAIM else TASKS)
            lines += more
    write_up(FOLDER, result, lines)
