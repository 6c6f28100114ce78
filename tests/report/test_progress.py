"""What long work says of itself: how much there is, how fast it goes, when it is done, on a terminal and in a log."""

import io
import re
from types import SimpleNamespace

import pytest
from rich.console import Console

from policylearn.messages.watch import UNSEEN, At
from policylearn.report import progress
from policylearn.report.console_watch import ConsoleWatch
from policylearn.report.progress import TaskProgress, is_live

CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f]")


def log() -> Console:
    return Console(file=io.StringIO(), width=40, force_terminal=False)


def screen() -> Console:
    return Console(file=io.StringIO(), width=120, force_terminal=True, color_system="truecolor")


def shown(console: Console) -> str:
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", console.file.getvalue())


@pytest.fixture
def clock(monkeypatch):
    """A clock that is set: `clock[0]` is what it shows."""
    shows = [0.0]
    monkeypatch.setattr(progress, "peak_memory", lambda: 6_400_000_000)
    return shows


def work(clock, seconds: float, steps: int, total: int | None, **how) -> list[str]:
    """What a log says of so many equal steps."""
    console = log()
    with TaskProgress("counting", total, console, clock=lambda: clock[0], **how) as task:
        for _ in range(steps):
            clock[0] += seconds / steps
            task.advance()
    assert not CONTROL.search(console.file.getvalue())
    return console.file.getvalue().splitlines()


def test_a_log_has_a_line_after_ten_seconds_then_every_thirty_and_at_the_end(clock):
    assert work(clock, 80.0, 1280, 1280) == [
        "counting 160/1,280  16.0/s  ETA 1 min 10 s",
        "counting 640/1,280  16.0/s  ETA 40 s",
        "counting 1,120/1,280  16.0/s  ETA 10 s",
        "counting 1,280/1,280  16.0/s  1 min 20 s",
    ]


@pytest.mark.parametrize("variable", ["FORCE_COLOR", "TTY_COMPATIBLE"])
def test_colours_that_are_forced_make_no_terminal_of_a_log(variable):
    plain = SimpleNamespace(write=lambda text: None, flush=lambda: None)
    for file, name in [(file, name) for file in (io.StringIO(), plain) for name in ("SOME_OTHER", variable)]:
        # rich knows the variables from when it was imported; a library that exchanges os.environ shall not matter here
        console = Console(file=file, width=120, force_jupyter=False, _environ={"TERM": "xterm", variable: "1"})
        assert console.is_terminal
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv(name, "1")
            assert is_live(console) == (name != variable)


def test_a_screen_that_shall_not_be_redrawn_is_none():
    assert is_live(screen())
    assert not is_live(Console(file=io.StringIO(), force_terminal=True, force_interactive=False))


def test_where_nobody_knows_how_much_there_is_it_says_so_far(clock):
    assert work(clock, 32.0, 64, None) == ["counting 20 so far  2.0/s  10 s", "counting 64  2.0/s  32 s"]


def test_what_is_over_at_once_is_not_worth_a_line(clock):
    assert work(clock, 4.9, 10, 10) == []
    assert work(clock, 5.1, 3, 3) == ["counting 3/3  1.7 s each  5.1 s"]


def test_memory_is_that_of_the_process_that_works(clock):
    assert work(clock, 8.0, 8, 8, own=True) == ["counting 8/8  1.0/s  8.0 s  6.4 GB"]


def test_what_was_done_before_says_nothing_of_how_fast_it_goes(clock):
    assert work(clock, 20.0, 2, 10, done=6)[0] == "counting 7/10  10 s each  ETA 30 s"


def test_labelled_steps_are_lines_of_their_own(clock):
    console = log()
    with TaskProgress("training", 3, console, clock=lambda: clock[0]) as task:
        for seed in range(3):
            clock[0] += 6
            task.advance(label=f"learned, seed {seed}: .84")
    assert console.file.getvalue().splitlines() == [
        "training 1/3  6.0 s each  ETA 12 s  learned, seed 0: .84",
        "training 2/3  6.0 s each  ETA 6.0 s  learned, seed 1: .84",
        "training 3/3  6.0 s each  18 s  learned, seed 2: .84",
    ]


def test_several_workers_are_as_fast_as_they_say_from_the_first_result(clock):
    """After the first of six by three workers only a sixth is there, and a third of the time is gone."""
    console = log()
    with TaskProgress("training", 6, console, workers=3, clock=lambda: clock[0]) as task:
        clock[0] = 12.0
        task.advance(label="a", seconds=12.0)
        task.advance(2, label="b", seconds=24.0)
    first, second = console.file.getvalue().splitlines()
    assert first == "training 1/6  4.0 s each  ETA 24 s  a"  # five are left, in two goes
    assert second == "training 3/6  4.0 s each  ETA 12 s  b"


@pytest.mark.parametrize("total", [2, None])
def test_a_terminal_has_a_bar_with_all_of_that(total, clock):
    console = screen()
    with TaskProgress("counting [x]", total, console, own=True, clock=lambda: clock[0]) as task:
        clock[0] = 4.0
        task.advance(label="shard [1]")
        task._bar.refresh()
        clock[0] = 8.0
        task.advance(label="shard [2]")
    said = shown(console)
    assert "counting [x]" in said and "shard [2]" in said and f"2/{total or '?'}" in said
    assert "4.0 s each" in said and "6.4 GB" in said
    assert ("ETA 4.0 s" in said) == (total == 2)


@pytest.mark.parametrize(("seconds", "stays"), [(1.0, False), (9.0, True)])
def test_a_bar_of_what_was_over_at_once_is_taken_away(clock, seconds, stays):
    console = screen()
    with TaskProgress("counting", 1, console, clock=lambda: clock[0]) as task:
        clock[0] += seconds
        task.advance()
    assert ("\x1b[2K" not in console.file.getvalue().rpartition("\x1b[?25h")[2]) == stays


def test_a_bar_may_be_within_a_bar():
    console = screen()
    watch = ConsoleWatch(console)
    with watch.begin("outer", 1), watch.begin("inner") as task:
        task.advance()
        task._bar.refresh()
    assert "outer" in shown(console) and "inner" in shown(console)


def test_watched_items_are_counted_by_their_size_and_known_by_their_length(clock):
    console = log()
    watch = At(ConsoleWatch(console, lambda: clock[0]), "point 1 of 3")
    for _ in watch("saliency of texts", [[1] * 64, [1] * 36], 100, size=len):
        clock[0] += 4
    for _ in watch("steps", range(3)):
        clock[0] += 4
    assert console.file.getvalue().splitlines() == [
        "point 1 of 3: saliency of texts 100/100  12.5/s  8.0 s  6.4 GB",
        "point 1 of 3: steps 3/3  4.0 s each  12 s  6.4 GB",
    ]


def test_nobody_need_look():
    assert list(UNSEEN("counting", iter([1, 2]))) == [1, 2]
    with UNSEEN.begin("counting", 3) as task:
        task.advance(2, "label")


@pytest.mark.parametrize("width", [60, 79])
@pytest.mark.parametrize("work", ["comparing masks", "diagnosing, point 1 of 3: batches of masked texts, half 2 of 2"])
def test_a_narrow_terminal_has_one_line_of_what_is_most_needed(clock, width, work):
    console = Console(file=io.StringIO(), width=width, force_terminal=True, color_system=None)
    with TaskProgress(work, 40, console, clock=lambda: clock[0]) as task:
        clock[0] += 30
        task.advance(3, "learned, seed 2: .842")
    assert "3/40 ETA 6 min 10 s" in shown(console) and work[:25] in shown(console)
    assert shown(console).strip().count("\n") == 0


@pytest.mark.parametrize("width", [80, 90, 100, 120])
@pytest.mark.parametrize("work", ["comparing masks", "diagnosing, point 1 of 3: batches of masked texts, half 2 of 2"])
def test_numbers_are_whole_and_on_one_line_however_long_the_work_is_called(clock, width, work):
    console = Console(file=io.StringIO(), width=width, force_terminal=True, color_system=None)
    with TaskProgress(work, 1200, console, own=True, clock=lambda: clock[0]) as task:
        clock[0] += 30
        task.advance(30, "learned, seed 2: .842")
        task._bar.refresh()
        last = shown(console).rpartition("\r")[2]
    assert "30/1200" in last and "ETA 19 min 30 s" in last and work[:25] in last
    assert "\n" not in last.strip() and all(len(line) <= width for line in last.splitlines())
