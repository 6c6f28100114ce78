"""The tasks of the study: their configs, and what is said of the credits measured on them."""

from typing import Any

from policylearn.commands.diagnose import amounts, needs
from policylearn.config import Config, load_config
from policylearn.credit.analysis import Point, analyse
from policylearn.credit.variance import Shares
from policylearn.problems.problem import Problem

TASKS = ("acl_arc", "chemprot", "scicite", "pubmed_sections", "trec6")
OWN_TEXTS = "domain.path=../shared/data/tasks/{}/train.jsonl.gz"
SMALL = ("credit.examples=800", "diagnose.least=3", "diagnose.shuffles=1")


def config_of(task: str, *overrides: str) -> Config:
    """The task's config in configs/, with a uniform prior: a prior costs the counting of two corpora."""
    return load_config(f"configs/{task}.toml", ["policy.prior={}", "policy.network=table", *overrides])


def numbers(points: list[Point], problem: Problem) -> dict[str, Any]:
    """The analysis, with the data that was used and what would be needed."""
    found = analyse(points, problem.config)
    found["needs"] = needs(Shares(**found["shares"]), problem)
    return found | {"examples": amounts(problem)["examples"]}
