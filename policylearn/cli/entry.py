"""All commands, in the order in which help lists them, and where they start."""

import errno
import os
import sys
import warnings

import typer

from policylearn.cli.given import print_whatever_comes
from policylearn.cli.measuring import diagnose, evaluate, reproduce, score
from policylearn.cli.policies import average, export, inspect, settings
from policylearn.cli.training import adapt, pretrain, train
from policylearn.messages.quote import shorten
from policylearn.report.printing import new_console, print_error

NO_MORE = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EFBIG)
"""Errors of writing that name no file, as those of standard output do not."""

app = typer.Typer(
    help="Learn which tokens are worth masking when a masked language model is further trained.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for command in (train, pretrain, evaluate, score, diagnose, adapt, reproduce, inspect, export, average, settings):
    app.command()(command)


def main() -> None:
    """Entry point: users' mistakes become one clear message, not a traceback."""
    from policylearn.cluster.calls import WorkFailed
    from policylearn.storage.folder import StorageFailed

    sys.stdout = sys.stdout or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 (it was closed by the shell)
    sys.stderr = sys.stderr or sys.stdout
    print_whatever_comes()
    warnings.formatwarning = lambda message, *place: f"{message}\n"  # the place in our code is of no use to a user
    try:
        app()
    except (ValueError, FloatingPointError, WorkFailed, StorageFailed) as error:
        print_error(new_console(stderr=True), shorten(str(error)))
        sys.exit(2 if isinstance(error, ValueError) else 1)
    except OSError as error:  # fault boundary: a file that is a folder, or the reverse, or may not be written
        if error.filename is None and error.errno not in NO_MORE:
            raise
        place = error.filename or "what is printed, or a temporary file, cannot be written"
        print_error(new_console(stderr=True), shorten(f"{place}: {error.strerror}"))
        sys.exit(1)
