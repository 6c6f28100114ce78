"""Figures of README are those that the experiments wrote."""

import json
import re
import statistics

import pytest

from .blocks import REPOSITORY, text_of


def plain(text: str) -> str:
    """Without emphasis, with the minus signs and zeros of a program, each space once."""
    text = re.sub(r"\s+", " ", text.replace("**", "").replace("−", "-"))
    return re.sub(r"(?<![\d.])\.(?=\d)", "0.", text)


README = plain(text_of("README.md"))
REAL = "experiments/real_tasks/README.md"
VALIDITY, OUTCOMES = "experiments/validity/README.md", "experiments/outcomes/README.md"
EARLY, SHUFFLED = "experiments/early/README.md", "experiments/shuffled/README.md"
TASKS = ("trec6", "pubmed_sections", "scicite", "acl_arc", "chemprot")
ARMS = {
    "no further pretraining": "no further pretraining",
    "Difference-Masking": "Difference-Masking",
    "saliency (by test the better of two heuristics run on all)": "saliency",
    "learned on another task": "transferred",
    "learned": "path-2",
}


def rows(page: str, start: str) -> dict[str, list[str]]:
    """The first table from `start` on: first cell of a row → the others."""
    table = re.search(r"(?:^\|.*\n)+", page[page.index(start) :], re.MULTILINE)
    lines = [[plain(cell).strip() for cell in line.split("|")[1:-1]] for line in table[0].splitlines()]
    return {first: rest for first, *rest in lines}


def test_the_demo():
    result = json.loads((REPOSITORY / "experiments/demo/result.json").read_text(encoding="utf-8"))
    shown = rows(text_of("README.md"), "| masks | accuracy of fresh models")
    names = {"random": "random", "Difference-Masking": "difference", "learned": "learned"}
    for name, arm in (names | {"oracle (masks class words)": "oracle"}).items():
        scores = result["arms"][arm]["scores"]
        assert shown[name] == [f"{statistics.mean(scores):.3f} ± {statistics.stdev(scores):.3f}"]
    gain = result["comparisons"]["learned - difference"]
    assert f"+{gain['mean']:.3f}, 95 % interval [{gain['low']:.3f}, {gain['high']:.3f}]" in README


def test_the_real_tasks():
    shown = rows(text_of("README.md"), "| points of 100 from 200 labels")
    written = rows(text_of(REAL), "200 labelled examples:")
    order = [next(i for i, cell in enumerate(written["masks"]) if cell.startswith(f"{task} ")) for task in TASKS]
    assert shown.keys() >= ARMS.keys()
    for name, arm in ARMS.items():
        differences = [re.search(r"\((.*)\)", written[arm][i])[1] for i in order]
        assert shown[name] == [*differences, written[arm][5]]


@pytest.mark.parametrize(
    ("said", "page", "written"),
    [
        ("1.7 points more than random masks did", REAL, "path-2 beats random by 1.7 [1.3, 2.1] points"),
        ("(95 % interval 1.3 to 2.1", REAL, "path-2 beats random by 1.7 [1.3, 2.1] points"),
        ("averaged over the tasks: 1.3 [1.0, 1.6] points", REAL, "path-2 beats saliency by 1.3 [1.0, 1.6] points"),
        ("2.4 [1.9, 2.9] points above random", REAL, "few beats random by 2.4 [1.9, 2.9] points"),
        (
            "random masks is +0.4 [-0.7, 1.4]",
            REAL,
            "path-2 is not shown to differ from random: +0.4 [-0.7, 1.4]",
        ),
        ("it is +1.1 [-0.4, 2.7]", REAL, "| path-2 | 85.6 (+1.1 [-0.4, 2.7])"),
        ("84.5 points instead of 73.6", REAL, "(84.5 and 73.6 points under random masks)"),
        (
            "foretells other changes by 0.77 [0.54, 0.88]",
            VALIDITY,
            "| outcomes of the other changes | – | 0.77 [0.54, 0.88]",
        ),
        (
            "beats random masks there by 4.0 [2.4, 5.5] points",
            OUTCOMES,
            "| all rounds together | 60.5 (+4.0 [2.4, 5.5])",
        ),
        ("one of 4.0 [2.4, 5.5] points from all labels is", OUTCOMES, "| all rounds together | 60.5 (+4.0 [2.4, 5.5])"),
        ("gradients by 0.53 [0.12, 0.82] at best", VALIDITY, "whole run | 3 of 4 planned | 0.53 [0.12, 0.82]"),
        ("It took 74 minutes of two cores", OUTCOMES, "Rounds and these models took 74 minutes of two workers."),
        ("is worth 2.5 [0.7, 4.3] on the same seeds", OUTCOMES, "| Difference-Masking | 59.0 (+2.5 [0.7, 4.3])"),
        ("lead over it, 1.5 [-0.3, 3.2]", OUTCOMES, "differ from difference: +1.5 [-0.3, 3.2] points over 30 seeds"),
        ("Difference-Masking had 5.5 [3.3, 7.7]", REAL, "| Difference-Masking | 59.7 (+5.5 [3.3, 7.7])"),
        (
            "beat random masks by 3.5 [2.2, 4.8] points in a gentler",
            EARLY,
            "early credits beats random by 3.5 [2.2, 4.8]",
        ),
        ("51 to 82 of 450 correlate with it by -0.68", VALIDITY, "| 51 to 82 | -0.68 |"),
        ("are 1.9 [0.7, 3.2] and", SHUFFLED, "shuffled, again - random: +1.9 [0.7, 3.2] points"),
        ("and 0.9 [-0.5, 2.3] points above random", SHUFFLED, "shuffled, once - random: +0.9 [-0.5, 2.3] points"),
        ("the policies are 3.3 [2.0, 4.6] and", SHUFFLED, "shuffled, again: +3.3 [2.0, 4.6] points"),
        ("and 2.6 [1.0, 4.1] above", SHUFFLED, "early credits - shuffled, once: +2.6 [1.0, 4.1] points"),
        ("first one is 5.2 [3.7, 6.7] above", SHUFFLED, "| learned | 60.9 (+5.2 [3.7, 6.7])"),
        ("`saliency` has 1.8 [-2.4, 6.0]", REAL, "| learned | 56.1 (+1.8 [-2.4, 6.0])"),
        ("recovers 78, 97 and 98 %", "experiments/planted/README.md", "| 78% [58%, 98%] |"),
        ("recovers 78, 97 and 98 %", "experiments/planted/README.md", "| 97% [94%, 101%] |"),
        ("recovers 78, 97 and 98 %", "experiments/planted/README.md", "| 98% [94%, 103%] |"),
        ("distractors 80 and 80 %", "experiments/planted/README.md", "| wrong-1 | 0.931 ± 0.028, worst 0.896 | 80%"),
        ("mask 25.0 % of the answer", "experiments/answer_spans/README.md", "| learned, spans | 25.0 ± 0.1 % | 20.5 ±"),
        ("random spans 15.0 and 8.2 %", "experiments/answer_spans/README.md", "(SpanBERT) | 15.0 % | 8.2 % |"),
        ("1.35 MB instead of 90.28", "experiments/weight_masks/README.md", "| on disk, MB | 1.35 | 90.28 |"),
        ("+0.1 [-0.4, 0.6] points with 5 %", "experiments/weight_masks/README.md", "| 5% | 5 | | +0.1 [-0.4, +0.6] |"),
        (
            "for both: +0.1 [-0.4, 0.6] points",
            "experiments/weight_masks/README.md",
            "| all | weight masks | 5% | 5 | | +0.1 [-0.4, +0.6] |",
        ),
        (
            "0.9 [0.0, 1.8] points more",
            "experiments/weight_masks/README.md",
            "chosen on dev | 5 | | +0.9 [+0.0, +1.8] |",
        ),
    ],
)
def test_what_is_said_was_written(said, page, written):
    assert said in README
    assert written in plain(text_of(page))
