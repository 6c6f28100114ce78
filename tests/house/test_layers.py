"""Imports go down only, from a folder to one on a lower floor; imports within functions count, and so do those that are
for types alone."""

import ast
import re
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import policylearn

PACKAGE = Path(policylearn.__file__).parent
CONTRIBUTING = (PACKAGE.parent / "CONTRIBUTING.md").read_text(encoding="utf-8")
FLOORS = re.findall(r"^  (\w+)(?:\.py|/) ", CONTRIBUTING, re.MULTILINE)
"""Folders and top modules, each above all before it."""


def module_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported(code: str) -> Iterator[str]:
    """Names of modules, and of what is taken from them, which may be modules too."""
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def needs(sources: Mapping[str, str]) -> dict[str, set[str]]:
    """Module → the modules it needs. The face of a folder stands for all that it shows, which is what it imports."""
    found: dict[str, set[str]] = {}
    for module, code in sources.items():
        names = {name if name in sources else name.rpartition(".")[0] for name in imported(code)}
        found[module] = {name for name in names if name in sources and name != module}
    return found


def floor_of(module: str) -> int:
    """The package's own face is above all: nothing here asks it for anything."""
    _, *parts = module.split(".")
    return FLOORS.index(parts[0] if parts else "__init__")


def upward(graph: Mapping[str, set[str]]) -> list[tuple[str, str]]:
    return [(module, name) for module in graph for name in graph[module] if floor_of(name) > floor_of(module)]


def circle_in(graph: Mapping[str, set[str]]) -> list[str]:
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return error.args[1]
    return []


@pytest.fixture(scope="module")
def sources():
    return {module_of(path): path.read_text(encoding="utf-8") for path in sorted(PACKAGE.rglob("*.py"))}


def test_imports_go_down_only(sources):
    assert len(sources) > 200
    assert not upward(needs(sources))
    assert not circle_in(needs(sources))  # within a folder, too


def test_every_floor_is_there_and_few_modules_stand_at_the_top(sources):
    top = {module.split(".")[1] for module in sources if "." in module} | {"__init__"}
    assert sorted(top) == sorted(FLOORS)
    assert sum(module.count(".") <= 1 and f"{module}." not in " ".join(sources) for module in sources) <= 7


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("policylearn.problems.problem", "    from policylearn.arms.policies import scores_of"),
        ("policylearn.masking.budget", "import policylearn.policy.policy"),
        ("policylearn.metagrad.walk", "from policylearn.learning import rollout"),
        ("policylearn.models.model", "from policylearn import MaskingPolicy"),
    ],
)
def test_an_import_that_goes_up_is_seen(sources, module, line):
    assert module in dict(upward(needs(planted(sources, module, line))))


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("policylearn.scores.sources", "from policylearn.scores import credit"),
        ("policylearn.cluster.worker", "if TYPE_CHECKING:\n    from policylearn.cluster.pool import Pool"),
    ],
)
def test_a_circle_within_a_folder_is_seen(sources, module, line):
    assert module in circle_in(needs(planted(sources, module, line)))


def planted(sources: Mapping[str, str], module: str, line: str) -> dict[str, str]:
    code = "def later():\n" + line if line.startswith(" ") else line
    return {**sources, module: f"{sources[module]}\n\n{code}\n"}
