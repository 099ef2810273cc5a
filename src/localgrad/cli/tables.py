"""Tables of `localgrad analyze` for the terminal, from the documents that `--json` prints."""

from __future__ import annotations

from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table


def print_analysis(document: dict[str, Any]) -> None:
    """Print the document of `analyze_mode` (one a rule) or `analyze_network`."""
    console = Console()
    if "analyses" in document:
        for analysis in document["analyses"]:
            _print_mode(console, analysis)
    elif document["aligned"]:
        _print_modes(console, document)
    else:
        _print_cosines(console, document)


def _print_mode(console: Console, analysis: dict[str, Any]) -> None:
    console.print(f"\n[bold]{analysis['rule']}[/bold]", highlight=False)
    for manifold in analysis["fixed_points"]:
        loss = "loss 0" if manifold["name"] == "optimal" else f"loss {manifold['loss_at_w_0']:.4g} at w = 0"
        console.print(f"  fixed points, {manifold['name']}: {manifold['points']}, {loss}", highlight=False)
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
    console.print(_headline(document) + "; data-aligned. Rates at the balanced solution s = √|c|:", highlight=False)
    table = Table("mode", "w*", "c", *(f"rate, {rule}" for rule in rules), box=box.SIMPLE_HEAD)
    for number, mode in enumerate(document["modes"], start=1):
        rates = (f"{rate:.4g}" if (rate := mode["rates"][rule]) > 0 else "unstable" for rule in rules)
        table.add_row(str(number), f"{mode['w_star']:.4f}", f"{mode['c']:.4g}", *rates)
    console.print(table)
    if document["silent_modes"]:
        console.print(f"{document['silent_modes']} modes with a* b* = 0 are silent and left out.", highlight=False)
    if document["figure"]:
        console.print(f"Figure: {document['figure']}", markup=False, highlight=False, soft_wrap=True)


def _print_cosines(console: Console, document: dict[str, Any]) -> None:
    console.print(f"{_headline(document)}; not data-aligned: {document['reason']}.", highlight=False)
    students = f"{document['num_students']} random students, fixed feedback drawn anew for each"
    console.print(f"Cosine of each rule's exact update (of W and B) with BPTT's, over {students}:", highlight=False)
    table = Table("rule", "mean", "smallest", "largest", box=box.SIMPLE_HEAD)
    for row in document["cosines"]:
        table.add_row(row["rule"], f"{row['mean']:.4f}", f"{row['min']:.4f}", f"{row['max']:.4f}")
    console.print(table)


def _headline(document: dict[str, Any]) -> str:
    sizes = document["sizes"]
    shape = f"{sizes['hidden']} hidden units, {sizes['output']} outputs, {sizes['input']} inputs"
    return f"{document['teacher']}: {shape}, spectral radius {document['spectral_radius']:.4g}"
