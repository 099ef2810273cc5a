r"""Numbers kept and operations of a stack of layers on each way to its update, as functions of their sizes.

A layer is what of it counts: units, how many units and inputs it hears, which share of the synapses is there, and what
its traces keep. So the same counts serve layers of any size, and how they grow is seen by counting larger ones.

Source: docs/theory.md, section 12.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from localgrad.cells.block import Block, Layer, cell_of
from localgrad.diagnostics.traces import Traces, synapses

_LARGE = 2.0**20  # of units, steps or layers: there only the highest power of a count is seen


class Shape(NamedTuple):
    """A layer: `states`, `drives`, `emitted` numbers a unit; densities by drive; `own` parameters a unit that learn."""

    kind: str
    units: float
    inputs: float
    states: int
    drives: int
    emitted: int
    recurrent: np.ndarray  # the share of synapses between units that there are, by drive
    feedforward: np.ndarray
    bias: np.ndarray
    own: int
    around: float  # weights of a block around the cell, over units²
    learns: tuple[bool, bool, bool]  # W, B, bias
    traces: Traces | None

    @property
    def synapses(self) -> float:
        """How many weights it has from units and inputs."""
        return float(self.units**2 * self.recurrent.sum() + self.units * self.inputs * self.feedforward.sum())

    @property
    def weights(self) -> float:
        """How many numbers of it learn."""
        counts = self._by_drive().sum(1) @ np.array(self.learns)
        return float(counts + self.own * self.units)

    def _by_drive(self) -> np.ndarray:
        """Synapses by drive, of `W`, `B` and bias."""
        n = self.units
        return np.array([n * n * self.recurrent, n * self.inputs * self.feedforward, n * self.bias])

    def kept(self) -> tuple[float, float, float]:
        """Numbers that traces keep at synapses, at presynaptic units and inputs, and at units with their states."""
        t, learned = self.traces, np.array(self.learns)[:, None]
        assert t is not None
        counts = self._by_drive() * learned
        sources = np.array([self.units * (self.recurrent > 0), self.inputs * (self.feedforward > 0)]) * learned[:2]
        at_synapses = (counts[:2] @ (t.kept - t.shared)).sum()
        return (
            float(at_synapses),
            float((sources @ t.shared).sum()),
            float(counts[2] @ t.kept + self.units * (t.own + self.states)),
        )

    def tracing(self) -> float:
        """Multiply-adds a step of traces and of the updates they make."""
        t, learned = self.traces, np.array(self.learns)[:, None]
        assert t is not None
        counts = self._by_drive() * learned
        sources = np.array([self.units * (self.recurrent > 0), self.inputs * (self.feedforward > 0)]) * learned[:2]
        return float(
            (counts @ t.operations).sum() + (sources @ t.shared_operations).sum() + self.units * t.own_operations
        )

    def running(self) -> float:
        """Multiply-adds a step of what units hear."""
        return self.synapses + self.around * self.units**2


class Stack(NamedTuple):
    """Layers under a readout, and what of a rule counts."""

    layers: tuple[Shape, ...]
    output: float
    delay: int
    lags: int | None
    keeps_apart: bool  # whether M keeps every unit to itself
    credit_goes_down: bool  # through the weights, from layer to layer

    def running(self) -> float:
        """Multiply-adds a step without learning."""
        last = self.layers[-1]
        return sum(x.running() for x in self.layers) + self.output * last.units * last.emitted

    def sending(self) -> float:
        """Multiply-adds a step by which the error of the moment reaches all layers, and the readout learns."""
        last = self.layers[-1]
        down = sum(x.units * x.inputs * x.feedforward.sum() + x.around * x.units**2 for x in self.layers[1:])
        fed = sum(self.output * x.units * x.emitted for x in self.layers[:-1])
        around = 2 * sum(x.around * x.units**2 for x in self.layers)
        return 2 * self.output * last.units * last.emitted + around + (down if self.credit_goes_down else fed)

    def late(self) -> float:
        """Numbers of errors on their way."""
        return self.delay * self.output

    def states(self, first: int = 0) -> float:
        """Numbers of the states of a layer and all above it."""
        return sum(x.states * x.units for x in self.layers[first:])

    def with_units(self, factor: float) -> Stack:
        """Layers with more units, that hear as many inputs of the outside."""
        grown = [
            x._replace(units=x.units * factor, inputs=x.inputs * (factor if i else 1)) for i, x in self._numbered()
        ]
        return self._replace(layers=tuple(grown))

    def _numbered(self) -> list[tuple[int, Shape]]:
        return list(enumerate(self.layers))


Costs = tuple[float, float, float]
"""Numbers kept for any length, more for each step, and multiply-adds a step to learn."""


def by_traces(stack: Stack) -> Costs:
    """A trace for every weight."""
    kept = sum(sum(x.kept()) for x in stack.layers) + stack.late()
    return kept, 0.0, sum(x.tracing() for x in stack.layers) + stack.sending()


def by_sensitivities(stack: Stack) -> Costs:
    """The derivatives of all states by all weights: of a layer, of its states and of those of all layers above it."""
    kept, operations = stack.states() + stack.late(), stack.sending()
    above, run = 0.0, 0.0
    for x in reversed(stack.layers):
        above, run = above + x.states * x.units, run + x.running() + x.states * (x.states + x.drives) * x.units
        kept += x.weights * above
        operations += x.weights * (run + above)
    return kept, 0.0, operations


def by_recording(stack: Stack) -> Costs:
    """What units did at every step, and a sweep back for all lags, or one for each of a few."""
    a_step = stack.layers[0].inputs + sum((x.states + x.drives) * x.units for x in stack.layers)
    sweeps = 1 if stack.lags is None else max(stack.lags - 1, 0)
    operations = stack.sending()
    for x in stack.layers:
        through = 0.0 if stack.keeps_apart else x.units**2 * x.recurrent.sum()
        operations += x.weights + sweeps * (through + x.states * (x.states + x.drives) * x.units)
    return stack.late(), a_step, operations


WAYS: dict[str, Callable[[Stack], Costs]] = {
    "forward by traces": by_traces,
    "forward by all sensitivities": by_sensitivities,
    "backward from a recording": by_recording,
}


def growth(way: Callable[[Stack], Costs], stack: Stack) -> dict[str, dict[str, float]]:
    """The highest powers of units, steps and layers in numbers kept and operations a step."""

    def counts(stack: Stack, steps: float) -> tuple[float, float]:
        kept, a_step, operations = way(stack)
        return kept + a_step * steps, operations

    def deep(stack: Stack, layers: float) -> Stack:
        top = stack.layers[-1]._replace(inputs=stack.layers[-1].units * stack.layers[-1].emitted)
        return stack._replace(layers=stack.layers + (top,) * round(layers))

    pairs = {
        "units": [counts(stack.with_units(f * _LARGE), 1.0) for f in (1, 2)],
        "steps": [counts(stack, f * _LARGE) for f in (1, 2)],
        "layers": [counts(deep(stack, f * 2**10), 1.0) for f in (1, 2)],
    }
    powers = {name: [_power(*both) for both in zip(*pair, strict=True)] for name, pair in pairs.items()}
    return {
        what: {name: found[i] for name, found in powers.items()} for i, what in enumerate(("numbers", "operations"))
    }


def _power(one: float, two: float) -> float:
    return round(math.log2(two / one), 1) + 0.0 if one > 0 else 0.0


def shape_of(layer: Layer, traces: Traces | None) -> Shape:
    """What of a layer counts."""
    cell = cell_of(layer)
    n, m = cell.sizes
    there = synapses(cell)
    k = len(there.B)
    none = np.zeros(k)
    block = 0 if not isinstance(layer, Block) or layer.value is None else layer.value.size + layer.gate.size
    own = [name for name in cell.learns if name not in ("W", "B", "bias")]
    return Shape(
        type(cell).__name__,
        n,
        m,
        cell.states,
        k,
        type(cell).emitted,
        none if there.W is None else there.W.mean((1, 2)),
        there.B.mean((1, 2)),
        none if there.bias is None else there.bias.mean(1),
        len(own),
        block / n**2,
        ("W" in cell.learns, "B" in cell.learns, "bias" in cell.learns),
        traces,
    )
