import ast
import io
from pathlib import Path

import pytest
from rich.console import Console
from rich.table import Table

import policylearn
from policylearn.report.printing import new_console, print_line

PACKAGE = Path(policylearn.__file__).parent
TEXTS = ["result  runs/a:b:c/result.json", "runs/v:100:k", "[red]y[/] 1.5 'q'", "runs/" + "a-long-name/" * 40]


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("make", [Console, new_console])
@pytest.mark.parametrize("terminal", [False, True])
def test_a_line_is_printed_as_it_is_on_any_console(make, text, terminal):
    console = make(file=io.StringIO(), width=40, force_terminal=terminal)
    print_line(console, text)
    assert console.file.getvalue() == text + "\n"


def test_a_cell_and_markup_are_printed_as_they_are_on_ours():
    console, table = new_console(file=io.StringIO(), width=40), Table("runs/a:b:c")
    table.add_row("v:100:k")
    console.print(table)
    console.print("[red]error[/]  runs/a:b:c")
    assert console.file.getvalue().count("runs/a:b:c") == 2 and "v:100:k" in console.file.getvalue()


def test_all_consoles_of_the_package_are_made_in_one_place():
    def made(source: Path) -> bool:
        calls = (x for x in ast.walk(ast.parse(source.read_text(encoding="utf-8"))) if isinstance(x, ast.Call))
        return any(isinstance(call.func, ast.Name) and call.func.id == "Console" for call in calls)

    assert [path.name for path in PACKAGE.rglob("*.py") if made(path)] == ["printing.py"]
