"""Names that people give may hold brackets, which are markup to rich."""

import io

from rich.console import Console

from policylearn.report.study import study_table
from policylearn.report.tables import comparison_table


def shown(table) -> str:
    console = Console(file=io.StringIO(), width=200)
    console.print(table)
    return console.file.getvalue()


def test_brackets_in_names_are_shown():
    scores = {"random": {"scores": [0.5, 0.75], "seconds": [1, 1], "masked_tokens": [9, 9]}}
    extra = {"test [red]": {"random": [0.5, 0.5]}}
    result = {"metric": "accuracy", "seeds": [0, 1], "arms": scores, "extra": extra}
    assert "test [red]" in shown(comparison_table(result))
    study = {"name": "my [bold] study", "reference": "random", "baseline": "random", "sentences": []}
    told = shown(study_table(study | {"tasks": {"task [i]": result}, "pooled": {}}))
    assert "my [bold] study" in told and "task [i] (accuracy" in told
