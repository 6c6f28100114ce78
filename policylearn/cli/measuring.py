"""Commands that measure: what policies, scorers and signals are worth, and one piece of a run again."""

import json
from dataclasses import astuple
from pathlib import Path
from typing import Annotated

import typer

from policylearn.cli.given import all_named, console_here, given_config, given_study
from policylearn.cli.options import Imports, Out, Settings, a_file, here
from policylearn.config import Config
from policylearn.report.printing import print_line, print_to_copy
from policylearn.runs.layout import REPORT, RESULT
from policylearn.runs.stop import resumable


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
    study = given_study(settings, imports)
    policies = all_named(policy or [], "--policy", "arm=folder")
    if study and policies:
        raise ValueError("--policy is for one task; a study names policies in its file, under [tasks.NAME.policies]")
    config, console = None if study else given_config("evaluate", settings, imports), console_here()
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
    report, written = (Storage.at(out) / name for name in (REPORT, "study.json" if study else RESULT))
    print_to_copy(console, f"report  {report}\nresult  {written}")


def score(
    settings: Settings = None,
    imports: Imports = None,
    scorer: Annotated[str, typer.Option(help="which scorer")] = "difference",
    top: Annotated[int, typer.Option(min=1, help="how many words to show")] = 20,
    out: Annotated[
        str | None,
        typer.Option(help="export the scorer as a policy, without rounds of learning", metavar="PATH", callback=here),
    ] = None,
) -> None:
    """Show which words a scorer ranks highest; with --out, export it as a baseline for PolicyCollator."""
    config, console = given_config("score", settings, imports), console_here()
    from policylearn.arms.policies import sources_of
    from policylearn.commands.opening import open_problem
    from policylearn.commands.score import export_scorer, scored_words
    from policylearn.policy.adaptive import check_follows_no_model
    from policylearn.policy.scores import scorer_of
    from policylearn.report.tables import scored_table
    from policylearn.runs.taking import check_takes_policy

    if out is not None:
        check_takes_policy(out)
        check_follows_no_model(scorer)
    problem = open_problem(config, console)
    console.print(scored_table(scorer, map(astuple, scored_words(problem, scorer, top))))
    if problem.has_loaded and problem.remark:
        print_line(console, problem.remark)
    if scorer_of(scorer) == "difference":
        anchors = ", ".join(sources_of(problem).anchor_texts[:top])
        print_line(console, f"anchors: {anchors}")
    if out is not None:
        print_to_copy(console, f"policy  {export_scorer(problem, scorer, Path(out))}")


def diagnose(
    settings: Settings = None,
    imports: Imports = None,
    out: Annotated[Path | None, typer.Option(help="write what was found to a JSON file", callback=a_file)] = None,
    validity: Annotated[
        str | None,
        typer.Option(help="instead, train models under random policies, kept in DIR/validity", metavar="DIR"),
    ] = None,
) -> None:
    """Before learning: do credits of one half of the data agree with those of the other, and how much data would?

    With --validity: do predictions come true? Trains many models; run again on the same folder to continue.
    """
    config, console = given_config("diagnose", settings, imports), console_here()
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
        print_to_copy(console, f"result  {out}")


def _validate(config: Config, run: str, out: Path | None) -> None:
    from policylearn.commands.validate import validate
    from policylearn.report.signal import validity_report
    from policylearn.storage.folder import Storage

    if out is not None:
        raise ValueError(
            f"--out {out} with --validity {run}: what was found is written to {run}/validity/result.json; drop --out"
        )
    console, folder = console_here(), str(Storage.at(run) / "validity")  # so that no run of `train` is taken for one
    with resumable(folder):
        result = validate(config, folder, console)
    console.print(validity_report(result), highlight=False, markup=False)
    print_to_copy(console, f"result  {Storage.at(folder) / RESULT}")


def reproduce(
    run: Annotated[str, typer.Argument(help="run directory, a path or a URI")],
    rollout: Annotated[int | None, typer.Option(help="seed of a rollout of the round under way")] = None,
    baseline: Annotated[int | None, typer.Option(help="seed of a rollout of the random baseline")] = None,
    trial: Annotated[tuple[str, int] | None, typer.Option(help="arm and seed of a fresh model")] = None,
) -> None:
    """Run one rollout or trial of a run again, in this process, to see what it raises; with a debugger, if you like."""
    from policylearn.commands.reproduce import reproduce as run_again

    console_here().print(run_again(run, rollout, baseline, trial), highlight=False)
