"""An experiment: parameters → dataset → figures and claims.

A claim is a statement of the theory with what is expected, what was measured, and whether it holds. Whether it
holds is always computed from the two (`Claim.equal`, `Claim.at_most`, `Claim.at_least`), never written down. A claim
that fails is reported as failing.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import xarray as xr

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Claim:
    """A statement with what the theory expects, what was measured, and whether it holds."""

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

    def as_json(self, experiment: str) -> dict[str, Any]:
        """The claim as the command line's `--json` prints it; a measurement that is not finite becomes text."""
        measured = self.measured if math.isfinite(self.measured) else str(self.measured)
        fields = dataclasses.asdict(self) | {"measured": measured, "experiment": experiment}
        return {
            key: fields[key] for key in ("id", "experiment", "source", "statement", "expected", "measured", "holds")
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
    `compute` turns one into a dataset, from which alone `claims`, the figures and the optional table are made.
    `table` gives rows of text, the header row first, for the report to show under `table_caption`.
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

    def run(self, *, quick: bool = False) -> xr.Dataset:
        """Compute the dataset; its attributes name the experiment and hold its parameters as JSON."""
        parameters = self.quick if quick else self.parameters
        dataset = self.compute(parameters)
        settings = json.dumps(dataclasses.asdict(parameters))
        return dataset.assign_attrs(experiment=self.name, parameters=settings, quick=int(quick))
