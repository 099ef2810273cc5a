"""The command line: each command checks its words, calls the library, and prints.

Exit status: 0 done, and every claim holds; 1 a claim fails; 2 the command could not do its work, for a reason given
in one line (`--debug` shows the traceback); 130 interrupted. Results go to standard output, all else to standard error.

Limit: nothing heavy may be imported at the top, so that `localgrad --help` answers at once.
"""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from localgrad.experiments import NAMES

if TYPE_CHECKING:
    from localgrad.report import Section


class _Commands(TyperGroup):
    """The commands, with every error turned into one line and exit status 2."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            _print_error("interrupted; nothing was written")
            raise typer.Exit(130) from None
        except BrokenPipeError:
            raise  # the reader of our output has left, as in `localgrad derive rflo | head`: Typer ends quietly
        except Exception as error:
            if ctx.params.get("debug") or type(error).__module__.partition(".")[0] in ("click", "typer"):
                raise  # the latter are Typer's own: help, usage errors and exits
            _print_error(_describe(error))
            raise typer.Exit(2) from None


def _describe(error: Exception) -> str:
    """One sentence for the user: what is wrong and what helps."""
    if isinstance(error, ModuleNotFoundError) and not str(error.name).startswith("localgrad"):
        return f"the package {error.name!r} is not installed; try: pip install 'localgrad[reproduce]'"
    if isinstance(error, OSError) and error.filename:
        return f"{error.filename}: {error.strerror}"
    if isinstance(error, ValueError | OSError):
        return str(error)
    return f"unexpected {type(error).__name__}: {error} (this is a bug; `localgrad --debug ...` shows where)"


def _print_error(message: str) -> None:
    typer.secho("error: " + " ".join(message.split()), fg="red", err=True)


def _print_json(document: Any) -> None:
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

    Start with `localgrad reproduce --quick`: all results of the paper in under a minute, in one HTML report.
    """


# --- reproduce -------------------------------------------------------------------------------------------------------


@app.command(epilog="Exit status: 0 if every claim holds, 1 if one fails, 2 if the run was not possible.")
def reproduce(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="NAME", help=f"Experiments to run, all if none is named: {', '.join(NAMES)}."),
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Coarser grids and fewer runs: under a minute.")] = False,
    out: Annotated[
        Path, typer.Option("--out", metavar="DIR", help="Folder for the report, figures and data; made if missing.")
    ] = Path("localgrad-report"),
    as_json: JsonOption = False,
) -> None:
    """Compute the results of the paper and test its claims.

    Writes DIR/report.html (the claims table first, then every figure), claims.json, and the figures and datasets as
    files. All of it, or nothing: an interrupted run leaves no report behind.

    Examples:

    - `localgrad reproduce --quick`
    - `localgrad reproduce fixed-points stability --out results`
    - `localgrad reproduce --json > claims.json`
    """
    from localgrad.experiments import select

    selected = select(names)
    from localgrad.report import all_claims, output_folder, write_report

    # An experiment that prints must not spoil the JSON.
    with output_folder(out) as unfinished, contextlib.redirect_stdout(sys.stderr):
        sections = list(_run_with_progress(selected, quick=quick))
        write_report(sections, unfinished)
    claims = all_claims(sections)
    report = out / "report.html"
    if as_json:
        _print_json({"claims": claims, "report": str(report)})
    else:
        _print_claims(sections, report)
    if not all(claim["holds"] for claim in claims):
        raise typer.Exit(1)


def _run_with_progress(names: list[str], *, quick: bool) -> Iterator[Section]:
    """Run experiments one by one; progress on standard error, a bar on a terminal and plain lines elsewhere."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("starting", total=len(names))
        from localgrad.experiments import load
        from localgrad.experiments.runner import run_experiment

        for number, name in enumerate(names, start=1):
            progress.update(task, description=name)
            section = run_experiment(load(name), quick=quick)
            progress.advance(task)
            line = f"[{number}/{len(names)}] {name}: {section.seconds:.1f} s"
            console.print(line, markup=False, highlight=False)
            yield section


def _print_claims(sections: list[Section], report: Path) -> None:
    """The claims table in short, failing claims last, where the eye is."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from localgrad.report import all_claims, count_claims, format_number

    table = Table("claim", "expected", "measured", "holds", box=box.SIMPLE_HEAD)
    for claim in sorted(all_claims(sections), key=lambda claim: not claim["holds"]):
        verdict = Text("holds", "green") if claim["holds"] else Text("FAILS", "bold red")
        table.add_row(Text(claim["id"]), Text(claim["expected"]), format_number(claim["measured"]), verdict)
    console = Console()
    console.print(table)
    console.print(f"{count_claims(sections)}. Report: {report}", markup=False, highlight=False, soft_wrap=True)


# --- derive ----------------------------------------------------------------------------------------------------------


@app.command()
def derive(
    name: Annotated[
        str,
        typer.Argument(metavar="RULE", help="One of bptt, tbptt, rflo, eprop, feedback-alignment, three-factor."),
    ],
    latex: Annotated[bool, typer.Option("--latex", help="Print LaTeX, ready to paste.")] = False,
    lags: Annotated[
        int | None, typer.Option(metavar="N", help="How many lags tbptt keeps, at least 1 (1 unless given).")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Derive a rule's learning dynamics symbolically.

    Prints the three differential equations of a mode (a, b, w), the Jacobian on the optimal manifold, and the
    eigenvalues where they have a closed form. Parameters of the rule, such as its feedback, stay symbols.

    Examples:

    - `localgrad derive rflo --latex`
    - `localgrad derive tbptt --lags 2`
    """
    if latex and as_json:
        raise ValueError("--latex and --json exclude each other; give one of them")
    from localgrad import symbolic

    derivation = symbolic.derive(symbolic.symbolic_rule(name, lags))
    if as_json:
        _print_json(derivation.to_dict())
    else:
        print(derivation.latex() if latex else derivation.text())


# --- analyze ---------------------------------------------------------------------------------------------------------


@app.command()
def analyze(
    teacher: Annotated[
        str,
        typer.Option(metavar="TEACHER", help="A mode a*,b*,w*, such as 1,1,0.8; or a file: .npz (A, W, B), or a bare "
                     "matrix W as .npy, .csv or .txt."),
    ],
    rules: Annotated[
        list[str] | None,
        typer.Option("--rule", metavar="RULE", help="Rule to analyze, may be repeated: bptt, tbptt, rflo, eprop, "
                     "feedback-alignment, three-factor. [default: bptt, tbptt and rflo]"),
    ] = None,
    feedback: Annotated[float | None, typer.Option(help="Fixed feedback â of a mode, not 0.")] = None,
    decay: Annotated[float | None, typer.Option(help="Decay ŵ of rflo.")] = None,
    lags: Annotated[int | None, typer.Option(metavar="N", help="Lags that tbptt keeps.")] = None,
    spectral_radius: Annotated[
        float | None, typer.Option(metavar="RHO", help="Scale W to this spectral radius, between 0 and 1.")
    ] = None,
    figure: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Where the figure of a network's modes goes (.png or .svg). "
                     "[default: TEACHER-modes.png in this folder]"),
    ] = None,
    as_json: JsonOption = False,
) -> None:  # fmt: skip
    """Analyze how rules learn a teacher: fixed points, spectra, convergence rates, critical learning rates.

    A network with symmetric W and identity input and output (any bare symmetric matrix, such as a connectome) is
    exactly data-aligned: each eigenvalue is a mode with its own rates. For other networks the report says how far
    each rule's exact update points along BPTT's.


    Examples:

    - `localgrad analyze --rule rflo --feedback 1 --decay 0.5 --teacher 1,1,0.8`
    - `localgrad analyze --teacher connectome.csv --spectral-radius 0.95`
    """
    import jax

    jax.config.update("jax_enable_x64", True)
    from localgrad import analyze as work
    from localgrad.network import Mode

    if rules is None:
        feedback, decay = 1.0 if feedback is None else feedback, 0.5 if decay is None else decay
    chosen = work.make_rules(rules or ["bptt", "tbptt", "rflo"], feedback=feedback, decay=decay, lags=lags)
    found = work.read_teacher(teacher, spectral_radius=spectral_radius)
    if isinstance(found, Mode):
        if figure is not None:
            raise ValueError(
                f"--figure {figure} shows the modes of a network, but teacher {teacher!r} is one; leave it out"
            )
        document: dict[str, Any] = {
            "teacher": list(found),
            "analyses": [work.analyze_mode(rule, found) for rule in chosen],
        }
    else:
        target = figure or Path(f"{Path(teacher).stem}-modes.png")
        document = {"teacher": teacher, **work.analyze_network(chosen, found, target)}
    if as_json:
        _print_json(document)
    else:
        from localgrad.tables import print_analysis

        print_analysis(document)


def main() -> None:
    """The entry point of `localgrad`."""
    app()


if __name__ == "__main__":
    main()
