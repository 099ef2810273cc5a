"""`localgrad sweep`: many runs from one file, into one Zarr store."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from localgrad.cli.base import JsonOption, app, print_json


@app.command()
def sweep(
    file: Annotated[str, typer.Argument(metavar="FILE.toml", help="The sweep: a file (docs/sweeps.md), or the name of "
                                        "one that ships: rflo-convergence, rule-cube, rules-on-a-task.")],
    out: Annotated[
        Path | None, typer.Option(metavar="STORE.zarr", help="The store; one of the same sweep is continued. "
                                  "[default: FILE.zarr, here]", show_default=False)
    ] = None,
    workers: Annotated[
        int | None, typer.Option(metavar="N", help="Processes on this machine; 0 for this one. [default: one a core]",
                                 min=0, show_default=False)
    ] = None,
    scheduler: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="A running Dask scheduler whose workers compute, such as "
                                 "tcp://127.0.0.1:8786.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Compute a few runs, say how many there are and how long they take, and "
                           "write nothing.")
    ] = False,
    print_file: Annotated[bool, typer.Option("--print", help="Print the file, and leave.")] = False,
    as_json: JsonOption = False,
) -> None:  # fmt: skip
    """Run every combination of the values in a file, on all cores or on a cluster, into one Zarr store.

    A sweep that was stopped, by whatever, goes on with the same command, and ends exactly as if it had never stopped.
    Longer axes in the file extend the store.

    Examples:

    - `localgrad sweep rule-cube --dry-run`
    - `localgrad sweep mine.toml --out mine.zarr`
    - `localgrad sweep mine.toml --scheduler tcp://127.0.0.1:8786`
    - `localgrad sweep rule-cube --print > mine.toml`
    """
    from localgrad.sweeps.provenance import FLAGS, flags_of_workers
    from localgrad.sweeps.shipped import shipped_sweep

    if "jax" not in sys.modules:  # so that --workers 0 computes as workers do
        os.environ[FLAGS] = flags_of_workers()

    path = shipped_sweep(file) or Path(file)
    if print_file:
        print(path.read_text(encoding="utf-8"), end="")
        return
    store = out if out is not None else Path(f"{path.stem}.zarr")
    from localgrad.sweeps.reading import read_definition
    from localgrad.sweeps.sweep import check_one_place

    check_one_place(workers, scheduler)
    definition = read_definition(path)
    if definition.unused:
        note = f"note: no run takes {', '.join(definition.unused)}, by its rule and cell; it changes nothing"
        typer.secho(note, fg="yellow", err=True)
    document = _estimated(definition, workers) if dry_run else _run(definition, store, workers, scheduler)
    document = {"file": str(path), "kind": definition.kind.name, "axes": _axes(definition)} | document
    if as_json:
        print_json(document)
    else:
        (_print_estimate if dry_run else _print_run)(document)


def _axes(definition: Any) -> dict[str, int]:
    return {axis.name: len(axis) for axis in definition.axes}


def _estimated(definition: Any, workers: int | None) -> dict[str, Any]:
    from localgrad.sweeps.runner import estimate, num_cores

    found, count = estimate(definition), max(1, workers if workers is not None else num_cores())
    return {
        "runs": found.runs,
        "chunks": found.chunks,
        "bytes": found.num_bytes,
        "seconds_a_run": found.seconds_a_run,
        "tried": found.tried,
        "workers": count,
        "estimated_seconds": found.seconds(count),
    }


def _run(definition: Any, store: Path, workers: int | None, scheduler: str | None) -> dict[str, Any]:
    from localgrad.sweeps.sweep import run_sweep

    report, damaged = run_sweep(definition, store, workers=workers, scheduler=scheduler, progress=True)
    return {"runs": definition.size, "computed": report.runs, "chunks": report.chunks, "refused": report.refused,
            "damaged": damaged, "seconds": report.seconds, "store": str(store)}  # fmt: skip


def _print_estimate(document: dict[str, Any]) -> None:
    from localgrad.checks import size_in_words

    grid = " × ".join(f"{name} {size:,}" for name, size in document["axes"].items())
    print(f"{document['kind']}: {grid} = {document['runs']:,} runs in {document['chunks']:,} chunks.")
    print(f"About {document['seconds_a_run']:.2g} s a run (measured on {document['tried']:,} of them), so about "
          f"{in_words(document['estimated_seconds'])} with {document['workers']} workers; at most "
          f"{size_in_words(document['bytes'])} on the disk.")  # fmt: skip


def _print_run(document: dict[str, Any]) -> None:
    computed, seconds = document["computed"], document["seconds"]
    if not computed:
        print(f"All {document['runs']:,} runs are there already.")
    else:
        rate = f", {computed / seconds:,.0f} runs a second" if seconds >= 1 else ""
        print(f"{computed:,} of {document['runs']:,} runs computed in {in_words(seconds)}{rate}.")
    if document["refused"]:
        print(f"{document['refused']:,} could not be computed; `localgrad show` says why.")
    print(f"Store: {document['store']}. Next: localgrad show {document['store']}")


def in_words(seconds: float) -> str:
    """A time to read.

    >>> in_words(3.14), in_words(600), in_words(8e4), in_words(1e9)
    ('3.1 s', '10 min', '22 h', '32 years')
    """
    for unit, size in (("years", 365.25 * 86400), ("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:,.0f} {unit}"
    return f"{seconds:.1f} s" if seconds < 100 else f"{seconds:,.0f} s"
