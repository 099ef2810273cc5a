"""The application that all commands belong to, and what they share: errors in one line, and JSON.

Exit status: 0 done, and every claim holds; 1 a claim fails; 2 the command could not do its work, for a reason given
in one line (`--debug` shows the traceback); 130 interrupted, 143 and 129 ended by SIGTERM and SIGHUP, 141 where the
reader of the output has left, as in `| head`. Results go to standard output, all else to standard error.

Limit: nothing heavy may be imported at the top of any command, so that `localgrad --help` answers at once.
"""

from __future__ import annotations

import errno
import json
import math
import warnings
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from localgrad.cli.process import discard_output, ended, flush_output, settle, suspects

if TYPE_CHECKING:
    from rich.console import Console


class _Commands(TyperGroup):
    """The commands in the order of a first visit, with every error turned into one line and exit status 2."""

    def list_commands(self, ctx: Any) -> list[str]:
        return [
            name
            for name in ("reproduce", "derive", "analyze", "basin", "train", "sweep", "show", "explore")
            if name in self.commands
        ]

    def invoke(self, ctx: Any) -> Any:
        try:
            with warnings.catch_warnings():
                warnings.showwarning = _show_warning
                result = super().invoke(ctx)
            flush_output()
            return result
        except KeyboardInterrupt as interruption:
            raise _interrupted(interruption) from None
        except BrokenPipeError:
            discard_output()
            raise typer.Exit(141) from None
        except Exception as error:
            if (signal := ended()) is not None:
                raise _interrupted(signal) from None
            if ctx.params.get("debug") or type(error).__module__.partition(".")[0] in ("click", "typer"):
                raise  # the latter are Typer's own: help, usage errors and exits
            _print_error(_describe(error))
            raise typer.Exit(2) from None


def _interrupted(interruption: KeyboardInterrupt) -> typer.Exit:
    settle()
    _print_error(str(interruption) or "interrupted; nothing was written")
    return typer.Exit(getattr(interruption, "status", 130))


def _describe(error: Exception) -> str:
    """One sentence for the user: what is wrong and what helps."""
    if isinstance(error, ModuleNotFoundError) and not str(error.name).startswith("localgrad"):
        server = dict.fromkeys(("starlette", "uvicorn", "websockets"), "explore")
        extras = {"dask": "sweeps", "distributed": "sweeps"} | server
        extra = extras.get(str(error.name).partition(".")[0], "reproduce")
        return f"the package {error.name!r} is not installed; try: pip install 'localgrad[{extra}]'"
    if isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in str(error):
        return f"the memory of this machine does not suffice ({error or 'out of memory'}); take smaller sizes or counts"
    settings = suspects()
    if isinstance(error, ChildProcessError) and settings:
        return f"{error}; or without {settings} in the environment"
    if isinstance(error, OSError) and (error.filename or error.errno in (errno.ENOSPC, errno.EIO)):
        return f"{error.filename or 'standard output'}: {error.strerror}"  # files are always named (`files.py`)
    if isinstance(error, ValueError | OSError):
        return str(error)
    what = f"unexpected {type(error).__name__}" + f": {error}" * bool(str(error))
    if settings:
        return f"{what} (the environment sets {settings}; try again without, and report what stays)"
    return f"{what} (this is a bug; `localgrad --debug ...` shows where)"


def make_console(*, stderr: bool = False) -> Console:
    """A Rich console that prints text as it is: file names may hold what Rich takes for markup, `[b]` or `:x:`."""
    from rich.console import Console

    return Console(stderr=stderr, markup=False, emoji=False, highlight=False)


def _show_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    typer.secho("warning: " + " ".join(str(message).split()), fg="yellow", err=True)


def _print_error(message: str) -> None:
    typer.secho("error: " + " ".join(message.split()), fg="red", err=True)


def check_finite(document: Any, what: str) -> None:
    """`ValueError` where a number in a document is NaN or infinite, which no table or JSON should show."""
    values = document.values() if isinstance(document, dict) else document if isinstance(document, list) else []
    if isinstance(document, float) and not math.isfinite(document):
        raise ValueError(f"{what} makes numbers too large or too small to compute with; rescale it")
    for value in values:
        check_finite(value, what)


def print_json(document: Any) -> None:
    """The one JSON document, in ASCII for any terminal; `allow_nan=False`, since NaN and Infinity are not JSON."""
    print(json.dumps(document, indent=2, allow_nan=False))


app = typer.Typer(
    cls=_Commands,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

SymmetrizeOption = Annotated[
    bool | None,
    typer.Option(help="Read a matrix as a symmetric network, mirroring what stands once; or as a directed one. "
                 "[default: as it stands, but no lone triangle]", show_default=False),
]  # fmt: skip
MissingOption = Annotated[
    str | None,
    typer.Option(metavar="zero|drop", help="Read missing entries of a matrix as 0, or leave out their regions."),
]
SubjectOption = Annotated[
    int | None,
    typer.Option(metavar="K", help="Which network of a stack of matrices, counted from 0.", min=0),
]
TaskOption = Annotated[
    str | None,
    typer.Option(metavar="TASK", help="A task instead of a teacher: a .toml file (docs/files.md), or by name "
                 "integrator, oscillator, two-delays or point-mass."),
]  # fmt: skip
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document on standard output, nothing else.")]


def _print_version(wanted: bool) -> None:
    if wanted:
        from localgrad import __version__

        print(f"localgrad {__version__}")
        raise typer.Exit


@app.callback()
def _global_options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and leave.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="On an error, show the full traceback.")] = False,
) -> None:
    """How recurrent networks learn under local rules: BPTT, truncated BPTT, RFLO, e-prop and rules of your own.

    Exact expected updates instead of sampled gradients, and each rule as a dynamical system.

    Start with `localgrad reproduce --quick`: all results of the paper in a minute or two, in one HTML report.
    """
