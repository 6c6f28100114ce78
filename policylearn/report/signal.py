"""What `diagnose` found, as a table for the terminal."""

from __future__ import annotations

import math
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from policylearn.report.formats import MISSING, count, duration, plural, score
from policylearn.report.tables import plain_table


def signal_report(result: dict[str, Any]) -> RenderableType:
    """The verdict, the numbers behind it, the cosines of outer gradients, words at both ends, and what it comes to."""
    words = [Text(f"{end:<5} {', '.join(found)}") for end, found in result["words"].items()]
    heading = Text(result["verdict"], style="bold")
    comes_to = [Text(), Text(result["outlook"])] if "outlook" in result else []
    return Group(heading, Text(), _numbers(result), Text(), _cosines(result["cosines"]), Text(), *words, *comes_to)


def validity_report(result: dict[str, Any]) -> RenderableType:
    """The verdict on predictions, and the numbers behind it."""
    table = _table("what was predicted against", "Spearman", "95 %", "without noise", "what it is")
    for name, about in (("loss", "the outer loss of fresh models at the end"), ("score", "their dev score")):
        found = result[name]
        low, high = found["interval"]
        free = MISSING if found["without_noise"] is None else score(found["without_noise"])
        table.add_row(
            name, score(found["spearman"]), MISSING if low is None else f"{score(low)} to {score(high)}", free, about
        )
    left_out = result.get("diverged", [])
    said = [Text(f"left out, for they made a training diverge: {plural(len(left_out), 'change')}")] if left_out else []
    if "others" in result:
        told = f"Outcomes of the other changes foretell one by {score(result['others'])} (correlation)"
        said += [Text(), Text(f"{told}, which is what 'learn.stages=[outcomes]' goes by.")]
    return Group(Text(result["verdict"], style="bold"), Text(), table, *said)


def _numbers(result: dict[str, Any]) -> Table:
    table = _table("agreement of two halves of the data, A and B", "", "what it is")
    for name, value, meaning in _rows(result):
        table.add_row(name, value, meaning)
    return table


def _rows(result: dict[str, Any]) -> list[tuple[str, str, str]]:
    low, high = result["interval"]
    shares, tokens, of_tokens = result["shares"], result["token_level"], result["token_controls"]
    return [
        ("word types", score(result["reliability"]), f"of {_size(result)}; 95 % from {score(low)} to {score(high)}"),
        (
            "half against half",
            score(result["half"]),
            f"A against B, correlation across {count(result['types'])} word types",
        ),
        *((name, score(r), _control(name)) for name, r in result["controls"].items()),
        ("net of shuffled", score(result["net"]), "half against half, without what shuffled labels explain"),
        *_lasting(result.get("lasting", {})),
        ("tokens, same masks", score(tokens["same masks"]), "correlation, disjoint labelled examples"),
        *((f"tokens, {name}", score(r), _control(name)) for name, r in of_tokens.items()),
        ("tokens, other masks", score(tokens["other masks"]), "correlation, disjoint labelled examples and masks"),
        ("signal", score(shares["signal"]), "share of the variance of a half's credits of word types"),
        ("labelled examples", score(shares["label"]), "share due to which examples were labelled"),
        ("masks and contexts", score(shares["text"]), "share due to which tokens were masked where"),
        ("both at once", score(shares["rest"]), "share of the rest"),
        *_needs(result["needs"], foretold=_agree(result)),
        *_forecast(result),
    ]


def _control(name: str) -> str:
    """Of which labels half B is, where they are not its own."""
    if name == "made up":
        return "the same, B labelled by random weights of words: learnable, and not the task"
    return "the same, B with its labels dealt to its examples at random"


def _agree(result: dict[str, Any]) -> bool:
    """Whether halves are shown to agree: where they are not, nothing can be foretold."""
    return result["interval"][0] > 0


def _lasting(found: dict[str, float | None]) -> list[tuple[str, str, str]]:
    """Of a diagnosis from before it was measured, nothing."""
    between = {"states": "between two states of one training", "trainings": "between states of two trainings"}
    return [
        (f"lasting, {kind}", score(value), f"share of the signal of one state {between[kind]}")
        for kind, value in found.items()
        if value is not None
    ]


def _forecast(result: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Of a diagnosis from before it was made, nothing; of one that is noise, that there is none."""
    if (found := result.get("forecast")) is None:
        return []
    if not _agree(result):
        return [("forecast", "none", "where halves are not shown to agree, nothing can be foretold")]
    halves = " and ".join(score(value) for value in found["halves"])
    about = f"more than by random masks, to first order (from halves: {halves}); from a checkpoint about a quarter came"
    most = result.get("outer_loss", math.inf)
    if found["loss"] > most:
        about = f"to first order by more than the {score(most)} that it is: steps so large are not linear"
    names = ("loss", "labels", "text", "steps")
    lowered = {name: "out of range" if found[name] > most else score(found[name]) for name in names}
    return [
        ("masks by credit, per token", score(found["advantage"]), "mean credit of what is masked, in its sd; random 0"),
        ("outer loss, lowered by", lowered["loss"], about),
        ("the same, twice the labels", lowered["labels"], "as far as the shares above tell"),
        ("the same, twice the text", lowered["text"], "as far as the shares above tell"),
        ("the same, twice the steps", lowered["steps"], "if later steps do as much"),
    ]


def _size(result: dict[str, Any]) -> str:
    took, under, trainings = duration(result["seconds"]), result["training"], result.get("trainings", 1)
    along = "a training" if trainings == 1 else f"each of {count(trainings)} trainings"
    amount = f"{count(result['examples'])} examples and {count(result['batches'])} MLM batches"
    return f"{amount}, along {along} under {under}, in {took}"


def _needs(needs: dict[str, Any], foretold: bool) -> list[tuple[str, str, str]]:
    goal = f"for {score(needs['goal'], 1)}"
    if not foretold:
        names = ("examples", "MLM batches", "both")
        return [(f"{name} {goal}", "unknown", "the halves are not shown to agree") for name in names]
    return [
        (f"examples {goal}", _or_none(needs["examples"]), "with as many MLM batches as here"),
        (f"MLM batches {goal}", _or_none(needs["batches"]), _rollouts(needs["rollouts"])),
        (f"both {goal}", " + ".join(map(_or_none, needs["both"])), "examples and MLM batches in today's proportion"),
    ]


def _rollouts(rollouts: int | None) -> str:
    extra = "" if rollouts is None else f"; those of {count(rollouts)} rollouts"
    return f"with as many examples as here{extra}"


def _or_none(number: int | None) -> str:
    return "no number" if number is None else count(number)


def _cosines(cosines: dict[str, dict[str, float]]) -> Table:
    groups = sorted(set().union(*cosines.values()))
    table = _table("cosine of the two outer gradients", *groups)
    for kind, found in cosines.items():
        table.add_row(kind, *(score(found[g], 2) if g in found else MISSING for g in groups))
    return table


def _table(*headings: str) -> Table:
    table = plain_table("")
    for i, heading in enumerate(headings):
        number = i > 0 and heading != "what it is"
        table.add_column(heading, justify="right" if number else "left", min_width=4, overflow="fold")
    return table
