"""Commands on policies that there are, and the one that shows all settings."""

from pathlib import Path
from typing import Annotated

import typer

from policylearn.cli.given import all_named, console_here, plain_console
from policylearn.cli.options import a_file
from policylearn.commands.choices import Form
from policylearn.report.printing import print_line, print_to_copy


def inspect(
    policy: Annotated[str, typer.Argument(help="run, folder or URI of a policy, or org/name on the Hub")],
    texts: Annotated[list[str] | None, typer.Argument(help="texts of the domain, or places of pictures")] = None,
    file: Annotated[str | None, typer.Option(help="further texts, one a line")] = None,
    html: Annotated[
        Path | None, typer.Option(help="write a page to look at, instead of showing them here", callback=a_file)
    ] = None,
) -> None:
    """Show texts, or pictures, as heatmaps of mask probabilities."""
    from policylearn.artefact.heatmaps import inspect_texts
    from policylearn.commands.export import open_policy
    from policylearn.commands.inspect import facts, read_texts, rows_line, show_pictures
    from policylearn.data.text import argument_text
    from policylearn.report.heatmap import print_heatmaps
    from policylearn.report.inspected import write_inspected

    console, artefact = console_here(), open_policy(policy)
    if artefact.tokenizer is None:
        if file:
            raise ValueError(f"--file {file} has texts, and this policy is over pictures: name places of pictures")
        show_pictures(console, policy, artefact, texts or [], html)
        return
    given = [*map(argument_text, texts or []), *(read_texts(file) if file else [])]
    if said := rows_line(file or ""):
        print_line(console, said)
    pairs = inspect_texts(artefact.policy, artefact.speaks, given)
    if html is None:
        print_heatmaps(console, pairs)
        return
    write_inspected(html, policy, pairs, facts(artefact))
    print_to_copy(console, f"page  {html}")


def export(
    source: Annotated[str, typer.Argument(help="run, folder or URI of a policy, or org/name on the Hub")],
    out: Annotated[str, typer.Option(help="where to write")],
    form: Annotated[Form, typer.Option(help="as it is, a table over token ids, or a data set it scored")] = "policy",
    round_number: Annotated[
        int | None, typer.Option("--round", help="of a run that learned in rounds: the policy after this one, if kept")
    ] = None,
    corpus: Annotated[str | None, typer.Option(help="file of texts; unset: the domain corpus of the run")] = None,
    column: Annotated[str, typer.Option(help="column of the text in it")] = "text",
    max_length: Annotated[int, typer.Option(min=8, help="tokens per example; longer texts are split")] = 512,
) -> None:
    """Write a policy as it is, as a table (how faithful is said), or with a data set it scored (exact for it)."""
    from policylearn.commands.export import export as export_policy
    from policylearn.report.console_watch import ConsoleWatch

    console = console_here()
    done = export_policy(source, out, form, round_number, corpus, column, max_length, ConsoleWatch(console))
    print_to_copy(console, "\n".join(done.lines()))


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

    of = all_named(policies, "policy", "name=run")
    check_takes_policy(out)
    console, artefact = console_here(), average_of(of, times)
    print_to_copy(console, f"policy  {write_policy(artefact, out)}")


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
    console = plain_console()
    for one in found:
        console.print(settings_table(one, console.width))
