"""`localgrad reproduce`: the results of the paper, their claims, and the report."""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from localgrad.cli.base import JsonOption, app, make_console, print_json
from localgrad.cli.process import compile_quickly
from localgrad.reproduction.catalogue import NAMES

if TYPE_CHECKING:
    from rich.table import Table

    from localgrad.reproduction.section import Section


@app.command(epilog="Exit status: 0 if every claim holds, 1 if one fails, 2 if the run was not possible.")
def reproduce(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="NAME", help=f"Experiments to run, all if none is named: {', '.join(NAMES)}."),
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Coarser grids and fewer runs, in half the time.")] = False,
    out: Annotated[
        Path, typer.Option("--out", metavar="DIR", help="Folder for the report, figures and data; made if missing.")
    ] = Path("localgrad-report"),
    jobs: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, show_default="one a core, at most 4", help="Experiments to run side by side."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Compute the results of the paper and give a verdict on each of its statements.

    Writes DIR/report.html (the verdicts, then every experiment with its claims and figures), claims.json, and the
    figures and datasets as files. All of it, or nothing: an interrupted run leaves no report behind, and an older one
    as it was. A finished run moves the files of an older report to DIR/previous-report.

    Examples:

    - `localgrad reproduce --quick`
    - `localgrad reproduce fixed-points stability --out results`
    - `localgrad reproduce --json > claims.json`
    """
    from localgrad.reproduction.catalogue import select

    compile_quickly(1)
    selected = select(names)
    from localgrad.reproduction.report import output_folder, write_report
    from localgrad.reproduction.section import all_claims, judge_paper

    # An experiment that prints must not spoil the JSON.
    with output_folder(out) as unfinished, contextlib.redirect_stdout(sys.stderr):
        sections = _run_with_progress(selected, quick=quick, jobs=jobs or min(os.cpu_count() or 1, 4))
        write_report(sections, unfinished)
    claims = all_claims(sections)
    report = out / "report.html"
    if as_json:
        print_json({"claims": claims, "paper": judge_paper(sections), "report": str(report)})
    else:
        _print_verdicts(sections, report)
    if not all(claim["holds"] for claim in claims):
        raise typer.Exit(1)


def _run_with_progress(names: list[str], *, quick: bool, jobs: int) -> list[Section]:
    """The sections in order; progress on standard error, a bar on a terminal and plain lines elsewhere."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    console = make_console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("experiments", total=len(names))
        from localgrad.reproduction.pool import run_experiments

        sections = {}
        for number, section in enumerate(run_experiments(names, quick=quick, jobs=jobs), start=1):
            sections[section.name] = section
            progress.advance(task)
            line = f"[{number}/{len(names)}] {section.name}: {section.seconds:.1f} s"
            console.print(line)
    return [sections[name] for name in names]


def _print_verdicts(sections: list[Section], report: Path) -> None:
    """The verdicts in short, then the claims that fail, where the eye is."""
    from localgrad.reproduction.report import PREVIOUS
    from localgrad.reproduction.section import all_claims, count_claims, count_verdicts, judge_paper
    from localgrad.reproduction.verdicts import NOT_TESTED

    console, paper = make_console(), judge_paper(sections)
    if any(item["verdict"] != NOT_TESTED for item in paper):
        console.print(_verdict_table(paper))
    failing = [claim for claim in all_claims(sections) if not claim["holds"]]
    if failing:
        console.print(_failing_table(failing))
    lines = f"The paper: {count_verdicts(paper)}.\n{count_claims(sections)}. Report: {report}"
    console.print(lines, soft_wrap=True)
    if (older := report.parent / PREVIOUS).exists():
        console.print(f"The files of an older report are in {older}, until the next run.", soft_wrap=True)


def _verdict_table(paper: list[dict[str, Any]]) -> Table:
    """A row a statement that was tested, with what was measured where it is not simply reproduced."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from localgrad.reproduction.verdicts import NOT_TESTED, REPRODUCED

    table = Table("the paper says", "verdict", box=box.SIMPLE_HEAD)
    for item in paper:
        if item["verdict"] == REPRODUCED:
            table.add_row(Text(item["statement"]), Text(item["verdict"], "green"))
        elif item["verdict"] != NOT_TESTED:
            told = Text.assemble(item["statement"], "\n", (item["why"], "dim"))
            table.add_row(told, Text(item["verdict"], "bold yellow"))
    return table


def _failing_table(claims: list[dict[str, Any]]) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from localgrad.reproduction.report import format_number

    table = Table("claim", "expected", "measured", "", box=box.SIMPLE_HEAD)
    for claim in claims:
        row = (Text(claim["id"]), Text(claim["expected"]), Text(format_number(claim["measured"])))
        table.add_row(*row, Text("FAILS", "bold red"))
    return table
