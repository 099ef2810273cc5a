"""`localgrad show`: what a store of `localgrad sweep` says, in the terminal and in figures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from localgrad.cli.base import JsonOption, app, make_console, print_json


@app.command()
def show(
    store: Annotated[Path, typer.Argument(metavar="STORE.zarr", help="A store of `localgrad sweep`.")],
    measure: Annotated[
        str | None, typer.Option(metavar="NAME", help="What is shown of the runs: converged, or a variable of the "
                                 "store. [default: converged]", show_default=False)
    ] = None,
    log: Annotated[
        bool, typer.Option("--log", help="Take the measure's logarithm to base 10: differences are then of ratios.")
    ] = False,
    compare: Annotated[
        str | None, typer.Option(metavar="AXIS", help="Compare this axis's values in pairs. [default: the first axis "
                                 "of words]", show_default=False)
    ] = None,
    figures: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Draw marginals, a heat map and paired differences into this "
                                  "new folder.")
    ] = None,
    x: Annotated[str | None, typer.Option(metavar="AXIS", help="Across, in the heat map.")] = None,
    y: Annotated[str | None, typer.Option(metavar="AXIS", help="Up, in the heat map.")] = None,
    facet: Annotated[
        str | None, typer.Option(metavar="AXIS", help="A panel, or a curve, for each value of this axis.")
    ] = None,
    as_json: JsonOption = False,
) -> None:  # fmt: skip
    """Say how the runs of a sweep ended, how that hangs on each axis, and which differences are real.

    Probabilities have 95 % intervals that take the seeds, not the runs, as the sample; differences are of pairs that
    share what was drawn, tested by flipping signs, and corrected for their number (Holm).

    Examples:

    - `localgrad show rule-cube.zarr`
    - `localgrad show mine.zarr --measure loss --log --compare rule`
    - `localgrad show rflo-convergence.zarr --figures figures --x decay --y feedback --facet poles`
    """
    from localgrad.files import check_new_folder

    if figures is not None:
        check_new_folder(figures, "--figures")
    from localgrad.sweeps.summary import measure_of, summarize, usual_measure
    from localgrad.sweeps.sweep import open_dataset

    data = open_dataset(store)
    chosen = measure_of(data, measure or usual_measure(data), logarithm=log)
    document = summarize(data, store, chosen, compare)
    if figures is not None:
        from localgrad.sweeps.drawing import draw_figures

        document["figures"] = [str(path) for path in draw_figures(chosen, document, figures, x=x, y=y, facet=facet)]
    if as_json:
        print_json(document)
    else:
        _print(document)


def _print(document: dict[str, Any]) -> None:
    runs, console = document["runs"], make_console()
    grid = " × ".join(f"{name} {size:,}" for name, size in document["axes"].items())
    console.print(f"{document['title'] or document['store']}: {document['kind']}", soft_wrap=True)
    console.print(f"{grid}: {runs['ran']:,} runs; {runs['refused']:,} could not be computed, {runs['missing']:,} are "
                  "still to be run.", soft_wrap=True)  # fmt: skip
    for refusal in document["refusals"]:
        console.print(f"  {refusal['runs']:,} times: {refusal['reason']}", soft_wrap=True)
    if document["outcomes"]:
        console.print(", ".join(f"{word} {share:.1%}" for word, share in document["outcomes"].items()) + ".")
    for axis, rows in document["marginals"].items():
        _print_marginal(console, axis, rows, document)
    _print_differences(console, document)
    for path in document.get("figures", []):
        console.print(f"Figure: {path}", soft_wrap=True)


def _print_marginal(console: Any, axis: str, rows: list[dict[str, Any]], document: dict[str, Any]) -> None:
    from rich import box
    from rich.table import Table

    share = document["measure"] == "converged"
    middle, spread = ("probability", "95 % interval") if share else ("median", "quartiles")
    table = Table(axis, "runs", f"{document['measure']}: {middle}", spread, box=box.SIMPLE_HEAD)
    shown = rows if len(rows) <= 12 else [*rows[:6], None, *rows[-5:]]
    for row in shown:
        if row is None:
            table.add_row("…", "", "", "")
            continue
        ends = "" if row["low"] is None else f"{row['low']:.4g} to {row['high']:.4g}"
        table.add_row(_value(row["value"]), f"{row['runs']:,}", _value(row["mean"]), ends)
    console.print(table)


def _print_differences(console: Any, document: dict[str, Any]) -> None:
    from rich import box
    from rich.table import Table

    if not document["differences"]:
        return
    console.print(f"Paired differences of {document['measure']} along {document['compared']}:")
    table = Table("of", "minus", "mean", "95 % interval", "p", "p (Holm)", "seeds", box=box.SIMPLE_HEAD)
    for row in document["differences"]:
        ends = "" if row["low"] is None else f"{row['low']:.4g} to {row['high']:.4g}"
        p = [_value(row[name]) for name in ("p_value", "p_holm")]
        table.add_row(str(row["of"]), str(row["minus"]), _value(row["mean"]), ends, *p, f"{row['seeds']:,}")
    console.print(table)


def _value(x: Any) -> str:
    return "" if x is None else f"{x:.4g}" if isinstance(x, float) else str(x)
