"""Tables of `localgrad analyze` for the terminal, from the documents that `--json` prints."""

from __future__ import annotations

from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from localgrad.cli.base import make_console


def print_analysis(document: dict[str, Any]) -> None:
    """Print the document of `analyze_mode` (one a rule) or `analyze_network`."""
    console = make_console()
    if "analyses" in document:
        for analysis in document["analyses"]:
            _print_mode(console, analysis)
    elif document["aligned"]:
        _print_modes(console, document)
    else:
        _print_cosines(console, document)


def _print_mode(console: Console, analysis: dict[str, Any]) -> None:
    console.print()
    trained = "" if analysis["poles"] == "direct" else f"; {analysis['poles']} poles"
    console.print(Text(f"{analysis['rule']}{trained}", "bold"))
    for manifold in analysis["fixed_points"]:
        loss = "loss 0" if manifold["name"] == "optimal" else f"loss {manifold['loss_at_w_0']:.4g} at w = 0"
        console.print(f"  fixed points, {manifold['name']}: {manifold['points']}, {loss}")
    table = Table("s", "λ₊", "λ₋", "convergence rate", "critical learning rate", box=box.SIMPLE_HEAD)
    for point in analysis["optimal_solutions"]:
        _, plus, minus = point["eigenvalues"]
        rate = f"{point['convergence_rate']:.4g}" if point["stable"] else "unstable"
        limit = f"{point['critical_learning_rate']:.4g}" if point["stable"] else "none"
        table.add_row(f"{point['s']:.4g}", _complex(plus), _complex(minus), rate, limit)
    console.print(table)


def _complex(value: list[float]) -> str:
    real, imaginary = value
    return f"{real:.4g}" if imaginary == 0 else f"{real:.4g} {imaginary:+.4g}i"


def _print_modes(console: Console, document: dict[str, Any]) -> None:
    rules = list(document["modes"][0]["rates"])
    _print_headline(console, document)
    console.print("The network is data-aligned: each eigenvalue w* of W is a mode, of strength c = a* b*.")
    console.print("Convergence rates at the balanced solution s = √|c|:")
    table = Table("mode", "w*", "c", *(f"rate, {rule}" for rule in rules), box=box.SIMPLE_HEAD)
    for number, mode in enumerate(document["modes"], start=1):
        rates = (f"{rate:.4g}" if (rate := mode["rates"][rule]) > 0 else "unstable" for rule in rules)
        table.add_row(str(number), f"{mode['w_star']:.4f}", f"{mode['c']:.4g}", *rates)
    console.print(table)
    if document["silent_modes"]:
        console.print(f"{document['silent_modes']} modes with a* b* = 0 are silent and left out.")
    if document["figure"]:
        console.print(f"Figure: {document['figure']}", soft_wrap=True)


def _print_cosines(console: Console, document: dict[str, Any]) -> None:
    _print_headline(console, document)
    what = "network is not data-aligned" if "teacher" in document else "task has no modes"
    console.print(f"The {what}: {document['reason']}.", soft_wrap=True)
    students = f"{document['num_students']} random students, fixed feedback drawn anew for each"
    console.print(f"Cosine of each rule's exact update (of W and B) with BPTT's, over {students}:")
    table = Table("rule", "mean", "smallest", "largest", box=box.SIMPLE_HEAD)
    for row in document["cosines"]:
        table.add_row(row["rule"], f"{row['mean']:.4f}", f"{row['min']:.4f}", f"{row['max']:.4f}")
    console.print(table)
    if document["figure"]:
        console.print(f"Figure: {document['figure']}", soft_wrap=True)
    console.print("Without modes there are no rates. How a rule learns shows in training:")
    console.print(f"  {document['next']}", soft_wrap=True)


def _print_headline(console: Console, document: dict[str, Any]) -> None:
    sizes = document["sizes"]
    own = f"{sizes['hidden']} hidden units" if "hidden" in sizes else f"{sizes['state']} state variables"
    loop = ", closed loop" if document.get("closed_loop") else ""
    shape = f"{own}, {sizes['output']} outputs, {sizes['input']} inputs{loop}"
    radius = f"spectral radius {document['spectral_radius']:.4g}"
    console.print(f"{document.get('teacher', document.get('task'))}: {shape}, {radius}.", soft_wrap=True)
    for rule in document["rules"]:
        console.print(Text(rule, "bold"))
