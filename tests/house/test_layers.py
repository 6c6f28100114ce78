"""Imports go one way: no module needs, by whatever detour, one that needs it; imports within functions count."""

import ast
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import policylearn

PACKAGE = Path(policylearn.__file__).parent


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


def circle_in(graph: Mapping[str, set[str]]) -> list[str]:
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return error.args[1]
    return []


@pytest.fixture(scope="module")
def sources():
    return {module_of(path): path.read_text(encoding="utf-8") for path in sorted(PACKAGE.rglob("*.py"))}


def test_no_imports_run_in_a_circle(sources):
    assert len(sources) > 200
    assert not circle_in(needs(sources))


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("policylearn.problem", "    from policylearn.arms.policies import scores_of"),
        ("policylearn.scores.registry", "from policylearn.scores import credit"),
        ("policylearn.masking.budget", "import policylearn.policy.policy"),
        ("policylearn.cluster.worker", "if TYPE_CHECKING:\n    from policylearn.cluster.pool import Pool"),
    ],
)
def test_an_import_that_runs_back_up_is_seen(sources, module, line):
    planted = "def later():\n" + line if line.startswith(" ") else line
    assert module in circle_in(needs(sources | {module: f"{sources[module]}\n\n{planted}\n"}))
