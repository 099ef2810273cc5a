"""An experiment: parameters → dataset → figures, claims, checks of the paper, numbers.

    claim   a statement that must hold; one that fails fails the reproduction
    check   the same comparison with what the paper says; it agrees or disagrees, and a verdict follows (`paper.py`)
    number  a measured value without a bound, for a verdict to quote

Whether a claim holds or a check agrees is always computed from what is expected and what was measured (`Claim.equal`,
`Claim.at_most`, `Claim.at_least`), never written down.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import xarray as xr

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Claim:
    """A statement with what its source expects, what was measured, and whether it holds.

    `id` is `experiment.claim`. `source` begins with "paper" where both the sentence and the bound are the paper's, with
    "theory" where docs/theory.md has them, and with "new" where they are ours.
    """

    id: str
    source: str
    statement: str
    expected: str
    measured: float
    holds: bool

    @classmethod
    def equal(cls, id: str, source: str, statement: str, expected: float, measured: Any, *, tolerance: float) -> Claim:
        """Holds where `|measured − expected| ≤ tolerance` (absolute); never for NaN."""
        value = float(measured)
        words = f"exactly {expected:.6g}" if tolerance == 0 else f"{expected:.6g} ± {tolerance:.1g}"
        return cls(id, source, statement, words, value, bool(abs(value - expected) <= tolerance))

    @classmethod
    def at_most(cls, id: str, source: str, statement: str, bound: float, measured: Any) -> Claim:
        """Holds where `measured ≤ bound`; never for NaN."""
        return cls(id, source, statement, f"≤ {bound:.6g}", float(measured), bool(float(measured) <= bound))

    @classmethod
    def at_least(cls, id: str, source: str, statement: str, bound: float, measured: Any) -> Claim:
        """Holds where `measured ≥ bound`; never for NaN."""
        return cls(id, source, statement, f"≥ {bound:.6g}", float(measured), bool(float(measured) >= bound))

    def as_json(self, experiment: str, verb: str = "holds") -> dict[str, Any]:
        """The claim as the command line's `--json` prints it; a measurement that is not finite becomes text.

        `verb` names the entry that says whether it holds: "holds" for claims, "agrees" for checks of the paper.
        """
        return {
            "id": self.id,
            "experiment": experiment,
            "source": self.source,
            "statement": self.statement,
            "expected": self.expected,
            "measured": self.measured if math.isfinite(self.measured) else str(self.measured),
            verb: self.holds,
        }


@dataclass(frozen=True)
class FigureSpec:
    """A figure of an experiment: its file name, how to draw it from the dataset, and what to see in it."""

    name: str
    draw: Callable[[xr.Dataset], Figure]
    caption: str


@dataclass(frozen=True)
class Experiment:
    """One topic of the reproduction.

    `parameters` and `quick` are frozen dataclasses of the same type: the full and the fast setting.
    `compute` turns one into a dataset, from which alone everything else is made: `claims`, the optional `checks` of
    what the paper says, the optional `numbers` by name, the figures, and the optional `table` (rows of text, the header
    first, shown under `table_caption`). `describe` says of every variable and coordinate of the dataset what it is,
    with its unit in brackets at the end, `"time until the loss has halved [learning time]"`; without brackets it is a
    pure number or a name.
    """

    name: str
    title: str
    question: str
    parameters: Any
    quick: Any
    compute: Callable[[Any], xr.Dataset]
    claims: Callable[[xr.Dataset], list[Claim]]
    figures: tuple[FigureSpec, ...]
    table: Callable[[xr.Dataset], list[list[str]]] | None = None
    table_caption: str = ""
    checks: Callable[[xr.Dataset], list[Claim]] | None = None
    numbers: Callable[[xr.Dataset], Mapping[str, float]] | None = None
    describe: Mapping[str, str] = field(default_factory=dict)

    def run(self, *, quick: bool = False) -> xr.Dataset:
        """Compute the dataset; its attributes name the experiment and hold its parameters as JSON.

        **Raises:** `ValueError` if `describe` is given and does not describe exactly the dataset's variables.
        """
        parameters = self.quick if quick else self.parameters
        dataset = self.compute(parameters)
        settings = json.dumps(dataclasses.asdict(parameters))
        attributes = {"title": self.title, "experiment": self.name, "parameters": settings, "quick": int(quick)}
        return described(dataset, self.describe, self.name).assign_attrs(attributes)

    def measured_numbers(self, dataset: xr.Dataset) -> dict[str, float]:
        """The numbers by full name, `experiment.number`."""
        found = self.numbers(dataset) if self.numbers else {}
        return {f"{self.name}.{name}": float(value) for name, value in found.items()}


def described(dataset: xr.Dataset, describe: Mapping[str, str], experiment: str) -> xr.Dataset:
    """The dataset with `long_name` and, for numbers, `units` on each variable, as CF conventions have them.

    **Raises:** `ValueError` if a variable is missing from `describe` or only there; nothing is checked if it is empty.
    """
    if not describe:
        return dataset
    variables = {str(name) for name in dataset.variables}
    for wrong, words in [(variables - set(describe), "lacks"), (set(describe) - variables, "names unknown")]:
        if wrong:
            raise ValueError(f"`describe` of the experiment '{experiment}' {words} {', '.join(sorted(wrong))}")
    result = dataset.copy()
    for name, variable in result.variables.items():
        variable.attrs.update(_attributes(describe[str(name)], variable.dtype.kind))
    return result


def _attributes(words: str, kind: str) -> dict[str, str]:
    """`"a time [s]"` → long name and unit; names and flags have no unit."""
    text, bracket, unit = words.removesuffix("]").rpartition(" [")
    if not (bracket and words.endswith("]")):
        text, unit = words, "1"
    return {"long_name": text} | ({"units": unit} if kind in "fiuc" else {})
