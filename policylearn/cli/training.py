"""Commands that train: a policy, a model under its masks, a model for the task."""

import json
import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from policylearn.cli.given import console_here, given_config
from policylearn.cli.options import Imports, Out, Settings, here
from policylearn.commands.choices import Method
from policylearn.messages.speaker import speaks
from policylearn.report.printing import print_line, print_to_copy
from policylearn.runs.layout import POLICY, REPORT, RESULT
from policylearn.runs.stop import resumable


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
    config, console = given_config("train", settings, imports), console_here()
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
    print_to_copy(console, f"report  {report}\npolicy  {policy}")


def pretrain(
    settings: Settings = None,
    imports: Imports = None,
    policy: Annotated[
        str | None, typer.Option(help="run, folder or URI of a policy, or org/name; unset: random masks")
    ] = None,
    out: Annotated[str, typer.Option(help="folder of the model", metavar="PATH", callback=here)] = "runs/pretrain",
    fresh: Annotated[bool, typer.Option("--fresh", help="start over, forgetting what OUT holds")] = False,
) -> None:
    """Train the model further on the domain under the masks of a policy, as \\[pretrain] says, into a plain checkpoint.
    Run again on the same OUT to continue. On N GPUs: torchrun --nproc-per-node N -m policylearn pretrain ...

    Exit status as of train.
    """
    config, console = given_config("pretrain", settings, imports), console_here()
    from policylearn.commands.pretrain import pretrain as run_pretraining

    folder, first = Path(out), speaks()
    if first and policy is not None and not settings:
        print_line(console, f"config  none is given: the planted benchmark; of a run it is {policy}/config.json")
    with resumable(str(folder), fresh):
        done = run_pretraining(config, folder, console, policy, fresh)
    if not first:
        return
    if done.before:
        print_line(console, f"{out} is finished; --fresh starts over.")
    print_to_copy(console, "\n".join(done.lines()))


def adapt(
    settings: Settings = None,
    imports: Imports = None,
    out: Annotated[str, typer.Option(help="folder to write to", metavar="PATH", callback=here)] = "runs/adapt",
    method: Annotated[Method, typer.Option(help="masks of the weights, or all weights trained")] = "weight_mask",
    model: Annotated[str | None, typer.Option(help="folder or Hub name; unset: model.name of the config")] = None,
    fold: Annotated[bool, typer.Option("--fold", help="also write a plain transformers model")] = False,
    seed: Annotated[int, typer.Option(min=0, help="of the labelled subset, the masks and the order of examples")] = 0,
) -> None:
    """Adapt a model to the label task, its settings being those of evaluate.weight_mask or evaluate.finetune. Dev
    selects the epoch; test is scored at the end."""
    given = settings if model is None else [*(settings or []), f"model.name={json.dumps(model)}"]
    config, console = given_config("adapt", given, imports), console_here()
    from policylearn.commands.adapt import adapt as run_adaptation

    done = run_adaptation(config, Path(out), method, fold, seed, console)
    print_to_copy(console, "\n".join(done.lines()))
