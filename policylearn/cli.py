"""The command line: train, pretrain, score, diagnose, evaluate, adapt, reproduce, inspect, export, average and
settings."""

import errno
import json
import os
import re
import shlex
import sys
import warnings
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from policylearn.config import Config, StudyConfig, is_study, load_config, load_study
from policylearn.config.places import file_above
from policylearn.messages.quote import shorten
from policylearn.report.printing import new_console, print_line
from policylearn.runs.layout import POLICY, REPORT, RESULT
from policylearn.runs.stop import resumable

if TYPE_CHECKING:
    from policylearn.artefact import PolicyArtefact

LOG_WIDTH = 120
NO_MORE = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EFBIG)
"""Errors of writing that name no file, as those of standard output do not."""

app = typer.Typer(
    help="Learn which tokens are worth masking when a masked language model is further trained.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
Settings = Annotated[
    list[str] | None,
    typer.Argument(help="TOML file and/or overrides such as inner.steps=64; nothing: the planted benchmark"),
]
Imports = Annotated[
    list[str] | None,
    typer.Option("--import", help="module that brings parts of your own, to workers too; repeatable", metavar="MODULE"),
]
Form = Literal["policy", "table", "annotated"]
Method = Literal["weight_mask", "finetune"]
Out = Annotated[str, typer.Option(help="run directory: a path, or s3://bucket/run and the like")]


def _here(place: str | None) -> str | None:
    """Refuse an address such as s3://bucket/x, of which a path makes the folder s3:, and no name, of which it makes
    the current folder."""
    if place is not None and re.match(r"[a-z][a-z0-9+.-]+:/", place):
        raise ValueError(f"{place} is no path: what this command writes goes to this machine; give a file or folder")
    if place == "":
        raise ValueError("the name of a folder is empty: give a path, . for the folder that you are in")
    return place


def _a_file(path: Path | None) -> Path | None:
    """Refuse a folder, or what lies below a file, before anything is computed that could not be written."""
    if path is not None and _here(str(path)) and path.is_dir():
        raise ValueError(f"{path} is a folder: name a file in it")
    if path is not None and (above := file_above(path)):
        raise ValueError(f"{path} cannot be written: {above} is a file")
    return path


@app.command()
def train(
    settings: Settings = None,
    imports: Imports = None,
    out: Out = "runs/train",
    fresh: Annotated[bool, typer.Option("--fresh", help="start over, forgetting what OUT holds")] = False,
) -> None:
    """Learn a policy, export it and compare it on fresh models. Run again on the same OUT to continue.

    Exit status: 0 finished; 1 a rollout failed or OUT could not be written; 2 bad input; 75 preempted by SIGTERM and
    130 interrupted by Ctrl-C, where all finished rounds are kept: the same command continues, without --fresh once
    learning or trials have begun, as it says.
    """
    config, console = _config(settings, imports), _console()
    from policylearn.commands.train import train as run_training
    from policylearn.report.console import comparison_table
    from policylearn.storage.folder import Storage

    already = Storage.at(out).is_file(RESULT) and not fresh
    with resumable(out, fresh):
        result = run_training(config, out, console, fresh, shlex.join(["policylearn", *sys.argv[1:]]))
    if already:
        print_line(console, f"{out} is finished; --fresh starts over.")
    if result["arms"]:
        console.print(comparison_table(result, console.width))
    report, policy = (Storage.at(out) / name for name in (REPORT, POLICY))
    print_line(console, f"report  {report}\npolicy  {policy}")


@app.command()
def pretrain(
    settings: Settings = None,
    imports: Imports = None,
    policy: Annotated[
        str | None, typer.Option(help="run, folder or URI of a policy, or org/name; unset: random masks")
    ] = None,
    out: Annotated[str, typer.Option(help="folder of the model", metavar="PATH", callback=_here)] = "runs/pretrain",
    fresh: Annotated[bool, typer.Option("--fresh", help="start over, forgetting what OUT holds")] = False,
) -> None:
    """Train the model further on the domain under the masks of a policy, as \\[pretrain] says, into a plain checkpoint.
    Run again on the same OUT to continue. On N GPUs: torchrun --nproc-per-node N -m policylearn pretrain ...

    Exit status as of train.
    """
    config, console = _config(settings, imports), _console()
    from policylearn.commands.pretrain import pretrain as run_pretraining

    folder = Path(out)
    with resumable(str(folder), fresh):
        done = run_pretraining(config, folder, console, policy, fresh)
    if int(os.environ.get("RANK") or 0) > 0:
        return  # of several processes one speaks
    if done.before:
        print_line(console, f"{out} is finished; --fresh starts over.")
    loss = "" if done.result["loss"] is None else f", loss {done.result['loss']:.3f} at the end"
    long = f" of up to {config.model.max_length} tokens"  # longer ones have been split
    read, pieces = ("pictures", "") if "pictures" in done.result else ("texts", long)
    said = f"model  {out}  ({done.result['steps']:,} steps on {done.result[read]:,} {read}{pieces}{loss})"
    print_line(console, said)


@app.command()
def evaluate(
    settings: Settings = None,
    imports: Imports = None,
    out: Out = "runs/evaluate",
    policy: Annotated[
        list[str] | None, typer.Option(help="arm=run, or folder of an exported policy; repeatable")
    ] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="start over, forgetting what OUT holds")] = False,
) -> None:
    """Compare masking policies on fresh models: on a config's task, or on all tasks of a study (a file with \\[tasks]).

    Writes OUT/result.json, or OUT/study.json and a folder per task. Run again to continue, or with more arms or seeds:
    only what is missing is run. Exit status as of train.
    """
    study = _study(settings, imports)
    policies = _all_named(policy or [], "--policy", "arm=folder")
    if study and policies:
        raise ValueError("--policy is for one task; a study names policies in its file, under [tasks.NAME.policies]")
    config, console = None if study else _config(settings, imports), _console()
    from policylearn.evaluation.compare import evaluate_policies
    from policylearn.evaluation.study import run_study
    from policylearn.report.console import comparison_table
    from policylearn.report.study import study_table
    from policylearn.storage.folder import Storage

    with resumable(out, fresh):
        if study:
            result = run_study(study, out, console, fresh)
        else:
            assert config is not None
            result = evaluate_policies(config, out, console, policies, fresh)
    console.print(study_table(result) if study else comparison_table(result, console.width))
    for line in result.get("sentences", []):
        print_line(console, line)
    written = Storage.at(out) / ("study.json" if study else RESULT)
    print_line(console, f"result  {written}")


@app.command()
def score(
    settings: Settings = None,
    imports: Imports = None,
    scorer: Annotated[str, typer.Option(help="which scorer")] = "difference",
    top: Annotated[int, typer.Option(min=1, help="how many words to show")] = 20,
    out: Annotated[
        str | None,
        typer.Option(help="export the scorer as a policy, without rounds of learning", metavar="PATH", callback=_here),
    ] = None,
) -> None:
    """Show which words a scorer ranks highest; with --out, export it as a baseline for PolicyCollator."""
    config, console = _config(settings, imports), _console()
    from policylearn.arms.policies import sources_of
    from policylearn.commands.score import export_scorer, scored_words
    from policylearn.pictures import problem_of
    from policylearn.policy.adaptive import check_follows_no_model
    from policylearn.policy.scores import scorer_of
    from policylearn.report.console_watch import ConsoleWatch
    from policylearn.report.printing import teller
    from policylearn.runs.taking import check_takes_policy

    if out is not None:
        check_takes_policy(out)
        check_follows_no_model(scorer)
    problem = problem_of(config, ConsoleWatch(console), tell=teller(console))
    table = Table("word", "score", "times in domain", "times in general", title=escape(scorer))
    for word in scored_words(problem, scorer, top):
        table.add_row(escape(word.text), f"{word.score:.3f}", f"{word.domain:,}", f"{word.general:,}")
    console.print(table)
    if problem.has_loaded and problem.remark:
        print_line(console, problem.remark)
    if scorer_of(scorer) == "difference":
        anchors = ", ".join(sources_of(problem).anchor_texts[:top])
        print_line(console, f"anchors: {anchors}")
    if out is not None:
        print_line(console, f"policy  {export_scorer(problem, scorer, Path(out))}")


@app.command()
def diagnose(
    settings: Settings = None,
    imports: Imports = None,
    out: Annotated[Path | None, typer.Option(help="write what was found to a JSON file", callback=_a_file)] = None,
    validity: Annotated[
        str | None,
        typer.Option(help="instead, train models under random policies, kept in DIR/validity", metavar="DIR"),
    ] = None,
) -> None:
    """Before learning: do credits of one half of the data agree with those of the other, and how much data would?

    With --validity: do predictions come true? Trains many models; run again on the same folder to continue.
    """
    config, console = _config(settings, imports), _console()
    if validity is not None:
        _validate(config, validity, out)
        return
    from policylearn.commands.diagnose import diagnose as run_diagnosis
    from policylearn.report.signal import signal_report

    result = run_diagnosis(config, console)
    console.print(signal_report(result), highlight=False, markup=False)
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
        print_line(console, f"result  {out}")


@app.command()
def adapt(
    settings: Settings = None,
    imports: Imports = None,
    out: Annotated[str, typer.Option(help="folder to write to", metavar="PATH", callback=_here)] = "runs/adapt",
    method: Annotated[Method, typer.Option(help="masks of the weights, or all weights trained")] = "weight_mask",
    model: Annotated[str | None, typer.Option(help="folder or Hub name; unset: model.name of the config")] = None,
    fold: Annotated[bool, typer.Option("--fold", help="also write a plain transformers model")] = False,
    seed: Annotated[int, typer.Option(min=0, help="of the labelled subset, the masks and the order of examples")] = 0,
) -> None:
    """Adapt a model to the label task, its settings being those of evaluate.weight_mask or evaluate.finetune. Dev
    selects the epoch; test is scored at the end."""
    given = settings if model is None else [*(settings or []), f"model.name={json.dumps(model)}"]
    config, console = _config(given, imports), _console()
    from policylearn.commands.adapt import adapt as run_adaptation

    done = run_adaptation(config, Path(out), method, fold, seed, console)
    print_line(console, "\n".join(done.lines()))


@app.command()
def reproduce(
    run: Annotated[str, typer.Argument(help="run directory, a path or a URI")],
    rollout: Annotated[int | None, typer.Option(help="seed of a rollout of the round under way")] = None,
    baseline: Annotated[int | None, typer.Option(help="seed of a rollout of the random baseline")] = None,
    trial: Annotated[tuple[str, int] | None, typer.Option(help="arm and seed of a fresh model")] = None,
) -> None:
    """Run one rollout or trial of a run again, in this process, to see what it raises; with a debugger, if you like."""
    from policylearn.commands.reproduce import reproduce as run_again

    _console().print(run_again(run, rollout, baseline, trial), highlight=False)


@app.command()
def inspect(
    policy: Annotated[str, typer.Argument(help="run, folder or URI of a policy, or org/name on the Hub")],
    texts: Annotated[list[str] | None, typer.Argument(help="texts of the domain, or places of pictures")] = None,
    file: Annotated[str | None, typer.Option(help="further texts, one a line")] = None,
    html: Annotated[
        Path | None, typer.Option(help="write a page to look at, instead of showing them here", callback=_a_file)
    ] = None,
) -> None:
    """Show texts, or pictures, as heatmaps of mask probabilities."""
    from policylearn.artefact.heatmaps import inspect_texts
    from policylearn.commands.export import open_policy
    from policylearn.commands.inspect import facts, read_texts
    from policylearn.data.text import argument_text
    from policylearn.report.heatmap import print_heatmaps
    from policylearn.report.inspected import write_inspected

    console, artefact = _console(), open_policy(policy)
    if artefact.tokenizer is None:
        if file:
            raise ValueError(f"--file {file} has texts, and this policy is over pictures: name places of pictures")
        _inspect_pictures(console, policy, artefact, texts or [], html)
        return
    given = [*map(argument_text, texts or []), *(read_texts(file) if file else [])]
    pairs = inspect_texts(artefact.policy, artefact.speaks, given)
    if html is None:
        print_heatmaps(console, pairs)
        return
    write_inspected(html, policy, pairs, facts(artefact))
    print_line(console, f"page  {html}")


def _inspect_pictures(
    console: Console, policy: str, artefact: "PolicyArtefact", places: list[str], html: Path | None
) -> None:
    from policylearn.commands.inspect import MOST, facts, read_places
    from policylearn.report.inspected import write_inspected_pictures
    from policylearn.report.pictures import drawn_pictures, in_letters

    x, names = read_places(artefact.policy, places)
    if len(x) < len(names):
        print_line(console, f"the first {MOST} of {len(names):,} pictures")
    if html is None:
        for one, name in zip(x, names, strict=False):
            shown = f"{name}\n{in_letters(artefact.policy, one[None])}\n"
            print_line(console, shown)
        return
    write_inspected_pictures(html, policy, drawn_pictures(artefact.policy, x, names), facts(artefact))
    print_line(console, f"page  {html}")


@app.command()
def export(
    source: Annotated[str, typer.Argument(help="run, folder or URI of a policy, or org/name on the Hub")],
    out: Annotated[str, typer.Option(help="where to write")],
    form: Annotated[Form, typer.Option(help="as it is, a table over token ids, or a data set it scored")] = "policy",
    round_number: Annotated[int | None, typer.Option("--round", help="of a run: φ after this kept round")] = None,
    corpus: Annotated[str | None, typer.Option(help="file of texts; unset: the domain corpus of the run")] = None,
    column: Annotated[str, typer.Option(help="column of the text in it")] = "text",
    max_length: Annotated[int, typer.Option(min=8, help="tokens per example; longer texts are split")] = 512,
) -> None:
    """Write a policy as it is, as a table (how faithful is said), or with a data set it scored (exact for it)."""
    from policylearn.commands.export import export as export_policy
    from policylearn.report.console_watch import ConsoleWatch

    console = _console()
    done = export_policy(source, out, form, round_number, corpus, column, max_length, ConsoleWatch(console))
    print_line(console, "\n".join(done.lines()))


@app.command()
def average(
    policies: Annotated[
        list[str], typer.Argument(help="name=run, folder or URI of a policy, or org/name; two or more")
    ],
    out: Annotated[str, typer.Option(help="where to write")],
    times: Annotated[float, typer.Option(help="how strongly the mean is followed")] = 1.0,
) -> None:
    """Make one policy of several: the mean of their logits, such as that of a domain from policies of its tasks."""
    from policylearn.commands.average import average as average_of
    from policylearn.commands.export import write_policy
    from policylearn.runs.taking import check_takes_policy

    of = _all_named(policies, "policy", "name=run")
    check_takes_policy(out)
    console, artefact = _console(), average_of(of, times)
    print_line(console, f"policy  {write_policy(artefact, out)}")


@app.command()
def settings(
    section: Annotated[str | None, typer.Argument(help="a section or key, such as masking.rate; nothing: all")] = None,
    markdown: Annotated[bool, typer.Option("--markdown", help="as a page of Markdown")] = False,
) -> None:
    """Show every setting with its type, default and description."""
    from policylearn.config.reference import find_sections, settings_page, settings_table

    found = find_sections(section)
    if markdown:
        typer.echo(settings_page(found), nl=False)
        return
    console = new_console() if sys.stdout.isatty() else new_console(width=LOG_WIDTH)
    for one in found:
        console.print(settings_table(one))


def main() -> None:
    """Entry point: users' mistakes become one clear message, not a traceback."""
    from policylearn.cluster.calls import WorkFailed
    from policylearn.storage.folder import StorageFailed

    sys.stdout = sys.stdout or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 (it was closed by the shell)
    sys.stderr = sys.stderr or sys.stdout
    warnings.formatwarning = lambda message, *place: f"{message}\n"  # the place in our code is of no use to a user
    try:
        app()
    except (ValueError, FloatingPointError, WorkFailed, StorageFailed) as error:
        message = escape(shorten(str(error)))
        new_console(stderr=True).print(f"[red]error[/]  {message}", highlight=False, soft_wrap=True)
        sys.exit(2 if isinstance(error, ValueError) else 1)
    except OSError as error:  # fault boundary: a file that is a folder, or the reverse, or may not be written
        if error.filename is None and error.errno not in NO_MORE:
            raise
        place = error.filename or "what is printed, or a temporary file, cannot be written"
        said = escape(shorten(f"{place}: {error.strerror}"))
        new_console(stderr=True).print(f"[red]error[/]  {said}", highlight=False, soft_wrap=True)
        sys.exit(1)


def _validate(config: Config, run: str, out: Path | None) -> None:
    from policylearn.commands.validate import validate
    from policylearn.report.signal import validity_report
    from policylearn.storage.folder import Storage

    if out is not None:
        raise ValueError(
            f"--out {out} with --validity {run}: what was found is written to {run}/validity/result.json; drop --out"
        )
    console, folder = _console(), str(Storage.at(run) / "validity")  # so that no run of `train` is taken for one
    with resumable(folder):
        result = validate(config, folder, console)
    console.print(validity_report(result), highlight=False, markup=False)


def _config(settings: list[str] | None, imports: list[str] | None = None) -> Config:
    """The first setting may be a file. Commands read it before they import what they need, which takes seconds: a wrong
    key is told at once."""
    given = list(settings or [])
    path = given.pop(0) if given and _is_file(given[0]) else None
    return load_config(path, given, imports or [])


def _study(settings: list[str] | None, imports: list[str] | None) -> StudyConfig | None:
    """The study that the first setting is a file of, if it is one."""
    path, *overrides = settings or [""]
    is_file = path and _is_file(path)
    return load_study(path, overrides, imports or []) if is_file and is_study(path) else None


def _is_file(setting: str) -> bool:
    """Whether a setting is one, and no override: the path of a file may have an = in it, as lr=0.1/config.toml has."""
    return "=" not in setting or os.path.isfile(setting)


def _all_named(options: list[str], what: str, form: str) -> dict[str, str]:
    named = [_named(one, what, form) for one in options]
    if len(named) > len(found := dict(named)):
        raise ValueError(f"of these policies two have one name: {' '.join(options)}")
    return found


def _named(option: str, what: str, form: str) -> tuple[str, str]:
    name, equals, folder = option.partition("=")
    if not (name and equals and folder):
        raise ValueError(f"{what} {option!r} is not of the form {form}")
    return name, folder


def _console() -> Console:
    """A terminal as wide as it is; in logs and pipes wide enough for a table."""
    from transformers.utils.logging import disable_progress_bar

    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")  # a sign that an encoding has not must not stop a run

    disable_progress_bar()  # of transformers, for every checkpoint it loads
    return new_console() if sys.stdout.isatty() else new_console(width=LOG_WIDTH)
