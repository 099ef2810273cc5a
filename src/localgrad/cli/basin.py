"""`localgrad basin`: a map of where learning ends, by where it starts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from localgrad.cli.base import JsonOption, app, make_console, print_json
from localgrad.cli.rules import (
    DecayOption,
    DelayOption,
    FeedbackOption,
    LagsOption,
    PolesOption,
    RuleCommand,
    RuleOption,
    make_rules,
)
from localgrad.cli.targets import check_targets


@app.command(cls=RuleCommand)
def basin(
    rule: RuleOption,
    teacher: Annotated[str, typer.Option(metavar="A,B,W", help="The teacher mode a*,b*,w*, such as 1,1,0.8.")],
    feedback: FeedbackOption = None,
    decay: DecayOption = None,
    lags: LagsOption = None,
    delay: DelayOption = None,
    poles: PolesOption = "direct",
    a: Annotated[str, typer.Option(metavar="LOW,HIGH", help="Starts of a: a range, or a number.")] = "-3,3",
    b: Annotated[str, typer.Option(metavar="LOW,HIGH", help="Starts of b: a range, or a number.")] = "-3,3",
    w: Annotated[str, typer.Option(metavar="LOW,HIGH", help="Starts of w: a range, or a number.")] = "0",
    grid: Annotated[int, typer.Option(metavar="N", help="Starts along each range, at least 2.", min=2)] = 1000,
    duration: Annotated[float, typer.Option(help="Learning time after which a start counts as unfinished.")] = 1000.0,
    figure: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Draw the map of two ranges into this file (.png or .svg).")
    ] = None,
    store: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Stream the whole map into this new Zarr store.")
    ] = None,
    as_json: JsonOption = False,
) -> None:  # fmt: skip
    """Map where learning ends, by where it starts: outcome, branch, learning time, path length.

    A million starts take seconds. Two ranges make a slice and a figure; three ranges make a volume, for --store.

    Examples:

    - `localgrad basin --rule rflo --feedback 1 --decay 0.5 --teacher 1,1,0.8 --figure rflo.png`
    - `localgrad basin --rule bptt --teacher 1,1,0.8 --a -2,2 --b 1 --w -0.9,0.9 --figure bptt.svg`
    - `localgrad basin --rule rflo --feedback 1 --decay 0.5 --teacher 1,1,0.8 --poles tanh`
    - `localgrad basin --rule bptt --teacher 1,1,-0.6 --delay 1`
    - `localgrad basin --rule tbptt --teacher 1,1,0.8 --w -0.9,0.9 --grid 200 --store tbptt.zarr`
    """
    check_targets({"--figure": figure}, store=store, inputs={})
    from localgrad.cli import maps
    from localgrad.tasks.teachers import parse_mode_teacher

    [chosen] = make_rules([rule], feedback=feedback, decay=decay, lags=lags)
    chosen, mode = chosen.with_delay(delay or 0), parse_mode_teacher(teacher)
    axes = maps.parse_axes({"a": a, "b": b, "w": w}, grid, store)
    document = _with_progress(chosen, mode, axes, duration=duration, figure=figure, store=store, poles=poles)
    if as_json:
        print_json(document)
        return
    shares = ", ".join(f"{name} {share:.1%}" for name, share in document["shares"].items() if share > 0)
    branches = ", ".join(f"{name} {share:.1%}" for name, share in document["branches"].items())
    trained = "" if poles == "direct" else f"; {poles} poles"
    print(f"{document['rule']}{trained}; teacher {teacher}: {document['starts']:,} starts")
    print(f"{shares}. Branches: {branches}.")
    print(f"{document['seconds']:.1f} s{_speed(document)}. {_where(document)}".rstrip())


def _speed(document: dict[str, Any]) -> str:
    """Only of large maps: in small ones the seconds are compilation."""
    if document["starts"] < 100_000:
        return ""
    return f", {document['starts'] / document['seconds']:,.0f} trajectories a second"


def _where(document: dict[str, Any]) -> str:
    return " ".join(f"{kind.capitalize()}: {document[kind]}." for kind in ("figure", "store") if document[kind])


def _with_progress(rule: Any, teacher: Any, axes: dict[str, Any], **options: Any) -> dict[str, Any]:
    """`make_map` with a progress bar on standard error, where that is a terminal."""
    import numpy as np
    from rich.progress import Progress

    from localgrad.cli.maps import make_map

    console = make_console(stderr=True)
    total = int(np.prod([np.size(axis) for axis in axes.values()]))
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("trajectories", total=total)
        return make_map(rule, teacher, axes, progress=lambda count: progress.advance(task, count), **options)
