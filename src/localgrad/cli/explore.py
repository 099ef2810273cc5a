"""`localgrad explore`: the explorer in the browser."""

from __future__ import annotations

from typing import Annotated

import typer

from localgrad.cli.base import app
from localgrad.cli.process import compile_quickly, settle


@app.command()
def explore(
    port: Annotated[
        int | None, typer.Option(metavar="N", help="The port to serve on. [default: 7171, or any that is free]",
                                 show_default=False, min=0, max=65535)
    ] = None,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open the browser of this machine.")] = True,
    host: Annotated[
        str, typer.Option(metavar="ADDRESS", help="Where to listen. Others than 127.0.0.1 let other machines in.")
    ] = "127.0.0.1",
) -> None:  # fmt: skip
    """See it move: basins of attraction, paths and rates that follow a slider, in the browser.

    All is computed on this machine, and nothing is loaded from anywhere else. Ctrl-C ends it.

    Examples:

    - `localgrad explore`
    - `localgrad explore --port 8000 --no-browser`
    """
    compile_quickly(1)
    from localgrad.explorer.launch import is_loopback, serve
    from localgrad.explorer.state import State

    shown = serve(State(), host=host, port=port)
    typer.echo(f"The explorer is at {shown.url}; Ctrl-C ends it.")
    if not is_loopback(host):
        typer.secho(
            f"warning: it listens at {host}, so whoever reaches this machine can use it; it reads and writes no files",
            fg="yellow", err=True,
        )  # fmt: skip
    if browser and not shown.open_browser():
        typer.echo("There is no browser here to open; open that address yourself.")
    try:
        shown.wait()
    except KeyboardInterrupt as end:
        if getattr(end, "status", 130) != 130:  # another signal than that of Ctrl-C
            raise
        settle()
        typer.echo("Ended.")
    finally:
        shown.close()
