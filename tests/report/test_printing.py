import ast
import io
from pathlib import Path

import pytest
from rich.console import Console
from rich.table import Table

import policylearn
from policylearn.report.printing import new_console, print_error, print_line, print_to_copy

PACKAGE = Path(policylearn.__file__).parent
TEXTS = ["result  runs/a:b:c/result.json", "runs/v:100:k", "[red]y[/] 1.5 'q'", "runs/" + "a-long-name/" * 40]


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("make", [Console, new_console])
@pytest.mark.parametrize("terminal", [False, True])
def test_a_line_is_printed_as_it_is_on_any_console(make, text, terminal):
    console = make(file=io.StringIO(), width=40, force_terminal=terminal)
    print_line(console, text)
    assert " ".join(console.file.getvalue().splitlines()) == text


LONG = "remark  what is said of a run in more words than a line has, at runs/" + "a-long-name/" * 5 + " of it"


@pytest.mark.parametrize("say", [print_line, print_error])
def test_a_terminal_breaks_long_lines_between_words_and_a_log_never(say):
    log, terminal = (make_console(terminal) for terminal in (False, True))
    say(log, LONG)
    say(terminal, LONG)
    assert log.file.getvalue().count("\n") == 1
    lines = terminal.file.getvalue().splitlines()
    assert " ".join(lines) + "\n" == log.file.getvalue()
    assert len(lines) > 2 and all(len(line) <= 40 for line in lines if "a-long-name" not in line)


def make_console(terminal):
    return new_console(file=io.StringIO(), width=40, force_terminal=terminal, color_system=None)


def test_code_and_commands_are_copied_whole_from_a_terminal():
    for text in (
        'dataset = load_dataset("json", data_files="runs/mine/examples.jsonl")  # and so on',
        "runs/My own place/x",
    ):
        console = make_console(True)
        print_to_copy(console, text)
        assert console.file.getvalue() == text + "\n"
    console, command = make_console(True), "policylearn reproduce runs/a-long-name/of-it --rollout 12"
    print_line(console, f"rollout 12 failed, and so it was. See it again, in one process: {command}")
    assert console.file.getvalue().splitlines()[-1].endswith(f": {command}")


def test_what_went_wrong_is_printed_as_it_is():
    console = make_console(False)
    print_error(console, "[red]y[/] of runs/v:100:k")
    assert console.file.getvalue() == "error  [red]y[/] of runs/v:100:k\n"


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
