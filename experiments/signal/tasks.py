"""The tasks of the study: their configs, and what is said of the credits measured on them."""

from typing import Any

from policylearn.config import Config, load_config
from policylearn.problem import Problem
from policylearn.signal.analysis import Point, analyse
from policylearn.signal.diagnose import amounts, needs
from policylearn.signal.variance import Shares

TASKS = ("acl_arc", "chemprot", "scicite", "pubmed_sections", "trec6")
OWN_TEXTS = "domain.path=../shared/data/tasks/{}/train.jsonl.gz"
SMALL = ("diagnose.examples=800", "diagnose.least=3", "diagnose.shuffles=1")


def config_of(task: str, *overrides: str) -> Config:
    """The task's config in configs/, with a uniform prior: a prior costs the counting of two corpora."""
    return load_config(f"configs/{task}.toml", ["policy.prior={}", "policy.network=table", *overrides])


def numbers(points: list[Point], problem: Problem) -> dict[str, Any]:
    """The analysis, with the data that was used and what would be needed."""
    found = analyse(points, problem.config.diagnose)
    found["needs"] = needs(Shares(**found["shares"]), problem)
    return found | {"examples": amounts(problem)["examples"]}
