import io
import re
from dataclasses import asdict

import pytest
from rich.console import Console

from policylearn.evaluation.statistics import paired_difference
from policylearn.report.console import RoundProgress, comparison_table, round_line
from policylearn.report.plots import learning_plot

CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f]")


class FlushCounter(io.StringIO):
    flushed_at = ()

    def flush(self):
        self.flushed_at = (*self.flushed_at, self.tell())


def pipe(width: int = 40) -> Console:
    return Console(file=FlushCounter(), width=width, force_terminal=False)


def screen(width: int = 80) -> Console:
    return Console(file=io.StringIO(), width=width, force_terminal=True, color_system="truecolor")


def shown(console: Console) -> str:
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", console.file.getvalue())


def record(number: int, **more) -> dict:
    numbers = {"round": number, "outer_loss": 0.69, "dev": 0.78, "rate": 0.15, "entropy": 0.42}
    levels = {"random": 0.55, "difference": 0.71}
    return {**numbers, "baselines": levels, "workers": 2, "seconds": 12.3, **more}


def test_without_a_terminal_each_round_is_one_plain_line():
    console = pipe(width=40)
    with RoundProgress(3, 0, console, units_per_round=2) as progress:
        for number in range(3):
            progress.advance()
            progress.advance()
            assert console.file.getvalue().count("\n") == number  # advance is silent
            progress.update(record(number))
            assert console.file.flushed_at[-1] == console.file.tell()
    output = console.file.getvalue()
    assert not CONTROL.search(output)
    first, second, third = output.splitlines()  # not broken at the console's width
    assert first == (
        "round 1/3  outer loss .690  dev .780 (random .550, difference .710)  mask rate .150  entropy .420"
        "  workers 2  12 s  ETA 25 s"
    )
    assert second.startswith("round 2/3") and second.endswith("ETA 12 s")
    assert third.startswith("round 3/3") and third.endswith("done")


def test_within_a_round_that_takes_long_a_log_says_how_far_it_is():
    console, clock = pipe(), [0.0]
    with RoundProgress(5, 2, console, units_per_round=8, clock=lambda: clock[0]) as progress:
        for _ in range(7):
            clock[0] += 6
            progress.advance()
    assert console.file.getvalue().splitlines() == [
        "round 3/5  2/8 rollouts  6.0 s each  ETA 2 min 12 s",
        "round 3/5  7/8 rollouts  6.0 s each  ETA 1 min 42 s",
    ]


def test_the_time_of_what_comes_before_the_first_round_says_nothing_of_its_pace():
    console, clock = pipe(), [0.0]
    with RoundProgress(20, 0, console, units_per_round=8, clock=lambda: clock[0]) as progress:
        clock[0] = 8 * 30.0
        progress.begin()
        clock[0] += 30
        progress.advance()
    assert console.file.getvalue() == "round 1/20  1/8 rollouts  30 s each  ETA 1 h 19 min\n"


def test_missing_numbers_are_left_out():
    assert round_line({"round": 0, "dev": None, "outer_loss": float("nan"), "entropy": 0.4}) == "entropy .400"


def test_a_resumed_run_starts_where_it_was_and_never_runs_ahead():
    with RoundProgress(10, 4, pipe(), units_per_round=3) as progress:
        assert progress.completed == 12
        progress.advance(2)
        assert progress.completed == 14
        progress.advance(5)  # rollouts repeated after a worker died
        assert progress.completed == 15
        progress.update(record(4))
        assert progress.completed == 15


@pytest.mark.parametrize("width", [80, 160])
def test_on_a_terminal_the_bar_shows_the_last_round(width):
    console = screen(width)
    with RoundProgress(3, 0, console, units_per_round=2) as progress:
        progress.advance()
        progress.update(record(0))
    output = re.sub(r"\s+", " ", shown(console))
    assert "\x1b[" in console.file.getvalue()
    assert "round 1/3" in output and "round 2/3" in output and "ETA" in output
    for part in ("outer loss .690", "dev .780 (random .550, difference .710)", "mask rate .150", "workers 2"):
        assert part in output
    assert all(len(line) <= width for line in shown(console).splitlines())


def test_the_bar_is_closed_when_the_loop_fails():
    console = screen()
    with pytest.raises(RuntimeError, match="boom"), RoundProgress(3, 0, console):
        raise RuntimeError("boom")
    assert console.file.getvalue().endswith("\x1b[?25h")  # the cursor is visible again


def test_a_dumb_terminal_gets_lines():
    console = Console(file=io.StringIO(), force_terminal=True, _environ={"TERM": "dumb"})
    with RoundProgress(2, 0, console) as progress:
        progress.update(record(0))
    assert not CONTROL.search(console.file.getvalue())


RESULT = {
    "metric": "accuracy",
    "seeds": [7, 8],
    "arms": {
        "oracle": {"scores": [0.9, 0.92], "masked_tokens": [61440, 61440], "seconds": [14.2, 14]},
        "learned": {"scores": [0.84, 0.85], "masked_tokens": [61440, 61440], "seconds": [14.2, 14]},
        "difference": {"scores": [0.8, 0.79], "masked_tokens": [61440, 61440], "seconds": [14.2, 14]},
        "random": {"scores": [0.55, 0.57], "masked_tokens": [61440, 61440], "seconds": [14.2, 14]},
    },
    "comparisons": {"learned - random": {"mean": 0.285, "low": 0.27, "high": 0.3}},
}


def render(table, width: int = 80) -> str:
    console = pipe(width)
    console.print(table)
    return console.file.getvalue()


def test_comparison_table_fits_a_terminal_and_stars_the_best_arm():
    lines = render(comparison_table(RESULT)).splitlines()
    assert all(len(line) <= 80 for line in lines) and "…" not in "".join(lines)
    rows = {line.split()[0]: line for line in lines}
    assert list(rows)[-5:-1] == ["random", "Difference-Masking", "learned*", "oracle"]
    assert rows["learned*"].split() == [
        "learned*", ".845", "±.007", ".840", ".850", "+.285", "[.270,", ".300]", "61,440", "14",
    ]  # fmt: skip


@pytest.mark.parametrize("width", [40, 60])
def test_a_narrow_terminal_breaks_cells_and_cuts_none(width):
    def digits(text):
        return sorted(c for c in text if c.isdigit())

    assert digits(render(comparison_table(RESULT, width), width)) == digits(render(comparison_table(RESULT), 120))


def test_the_best_arm_is_bold_even_if_it_is_a_baseline():
    arms = {"random": {"scores": [0.6]}, "learned": {"scores": [0.5]}, "oracle": {"scores": [0.9]}}
    table = comparison_table({"arms": arms})
    assert [str(row.style) for row in table.rows] == ["bold green", "", "dim"]


def test_seeds_are_listed_up_to_five():
    five = {"arms": {"random": {"scores": [0.125] * 5}}}
    six = {"arms": {"random": {"scores": [0.125] * 6}}}
    assert render(comparison_table(five), 120).count(".125") == 6
    assert render(comparison_table(six), 120).count(".125") == 1


@pytest.mark.parametrize("result", [{}, {"arms": {}}, {"arms": {"learned": {"scores": [None]}}}])
def test_a_result_with_little_in_it_still_prints(result):
    assert "fresh models" in render(comparison_table(result))


def test_extra_test_sets_get_a_column():
    table = comparison_table({**RESULT, "extra": {"test_noverlap": {"learned": [0.7, 0.8]}}})
    output = render(table, 120)
    assert "test_noverlap" in output
    assert next(line for line in output.splitlines() if "learned" in line).endswith(".750")


def table_of(**scores) -> str:
    """Of two arms or one."""
    arms = {arm: {"scores": found, "masked_tokens": [9] * len(found)} for arm, found in scores.items()}
    compared = asdict(paired_difference(*scores.values())) if len(scores) == 2 else {}
    result = {"arms": arms, "comparisons": {" - ".join(scores): compared}}
    (console := pipe(120)).print(comparison_table(result, 120))
    return console.file.getvalue()


def test_seeds_that_differ_by_the_same_have_no_interval_and_that_is_said():
    said = table_of(learned=[0.75, 0.5], random=[0.5, 0.25])
    assert "+.250 [–]" in said and "[–] the same on all seeds: nothing to judge chance by" in said
    assert "nothing to judge" not in table_of(learned=[0.75, 0.5], random=[0.5, 0.5])


def test_nothing_is_compared_with_random_masks_that_were_not_run():
    assert "vs random" in table_of(learned=[0.75], random=[0.5]) and "vs random" not in table_of(learned=[0.75, 0.5])


def test_where_all_arms_are_level_none_is_starred():
    assert "*" not in table_of(learned=[1.0, 1.0], random=[1.0, 1.0])
    assert "learned*" in table_of(learned=[1.0, 1.0], random=[1.0, 0.5])


def test_the_loss_of_token_targets_is_not_called_that_of_labelled_examples():
    targets = {"round": 1, "outer_loss": 0.5, "dev": 0.3, "precision": 0.2}
    assert round_line(targets).startswith("loss on targets .500") and ">loss on targets<" in learning_plot([targets])
    assert round_line({"outer_loss": 0.5}) == "outer loss .500"
