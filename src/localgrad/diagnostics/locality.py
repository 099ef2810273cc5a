r"""What a rule asks of a chip, counted from the structure of rule and cells: numbers kept, numbers sent, operations.

An update can be had forward in time, by a trace for every weight, `e_t = M_t e_{t−1} + ∂s_t/∂θ`, where `M` keeps every
unit to itself; by the derivatives of all states by all weights (real-time recurrent learning), where `M = J`; or
backward through a recording of the sequence. The rule is asked for `M`, the cells for the derivatives that a trace is
made of (`diagnostics/traces.py`), masks for the synapses that there are. Nothing is known of a rule by its name.

Counted are multiply-adds along synapses and traces. What a unit computes by itself, its nonlinearity and derivatives,
is a constant a unit and left out; so are the sums in which updates gather until they are applied, a number a weight.

Source: docs/theory.md, section 12; docs/locality.md.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import jax
import numpy as np

from localgrad.cells.block import cell_of
from localgrad.cells.stack import Network
from localgrad.checks import check_kind, in_our_arithmetic
from localgrad.diagnostics.costs import WAYS, Shape, Stack, by_sensitivities, growth, shape_of
from localgrad.diagnostics.traces import traces_of
from localgrad.models.arrays import in_precision
from localgrad.rules.rule import Rule
from localgrad.updates.through_time import carrying_of, check_network, check_rule, online_form

_LONG = 2**40  # steps: longer than any number of lags that is not all of them


class LayerCost(NamedTuple):
    """What learning by traces keeps in a layer.

    `cell`: its kind; `units`; `synapses`: weights from units and inputs; `a_synapse`: numbers kept at each, in the
    mean; `a_source`: at each presynaptic unit or input, once for all its synapses; `a_unit`: the unit's state, and the
    traces of its bias and its own parameters.
    """

    cell: str
    units: int
    synapses: int
    a_synapse: float
    a_source: float
    a_unit: float


class Message(NamedTuple):
    """What is sent in a step: `what`, how many `numbers`, `over` what, and `when`."""

    what: str
    numbers: int
    over: str
    when: str


class Way(NamedTuple):
    """A way to the update: `name`; numbers `kept` for any length of the sequences, and more for each step (`a_step`).

    `operations`: multiply-adds a step, beside those of running the network. `growth`: the powers of the units of a
    layer, of steps and of layers in which they grow, `{"numbers": {"units": 2.0, …}, "operations": {…}}`.
    """

    name: str
    kept: int
    a_step: int
    operations: int
    growth: dict[str, dict[str, float]]

    def numbers(self, steps: int) -> int:
        """Numbers kept for sequences of so many steps."""
        return self.kept + self.a_step * steps


@dataclass(frozen=True)
class Locality:
    r"""What a rule keeps, sends and computes in a network, a sequence at a time.

    - `rule`; `network`: the sizes in words.
    - `layers`: a `LayerCost` each; `None` where no trace holds the rule.
    - `ways`: each `Way` to the update, those forward in time first. `running`: multiply-adds a step without learning.
    - `sent`: the `Message`s that learning needs beyond what units hear anyway.
    - `is_local`: whether memory does not grow with steps, and units hear no more for learning than the output error.
    """

    rule: Rule
    network: str
    layers: tuple[LayerCost, ...] | None = field(repr=False)
    ways: tuple[Way, ...]
    running: int
    sent: tuple[Message, ...]

    @property
    def is_local(self) -> bool:
        """Whether traces hold the rule, and nothing is sent but errors over weights of the units' own."""
        return self.layers is not None and all(x.over == _OWN for x in self.sent)

    def __str__(self) -> str:
        lines = [f"{self.rule.describe()}", f"  in {self.network}"]
        if self.layers is not None:
            lines.append(f"  {'layer':15} {'synapses':>10} {'a synapse':>10} {'a source':>9} {'a unit':>7}")
            for x in self.layers:
                counts = f"{x.synapses:10,} {x.a_synapse:10.3g} {x.a_source:9.3g} {x.a_unit:7.3g}"
                lines.append(f"  {x.cell:15} {counts}")
        for way in self.ways:
            steps = f" + {way.a_step:,} a step" if way.a_step else ""
            kept = f"{way.kept:,}{steps}" if way.kept else f"{way.a_step:,} a step"
            lines.append(
                f"  {way.name}: numbers {kept}; multiply-adds a step {way.operations:,} (running {self.running:,})"
            )
            lines.append(f"    growth: numbers {_powers(way, 'numbers')}; multiply-adds {_powers(way, 'operations')}")
        lines += [f"  sent: {x.what}, {x.numbers:,} numbers, over {x.over}, {x.when}" for x in self.sent]
        return "\n".join(lines)


_OWN = "weights of the units' own"
_TRANSPORTED = "the forward weights, carried back"


@in_our_arithmetic
def locality(rule: Rule, network: Network) -> Locality:
    r"""What a rule asks of a chip in a network of cells: numbers kept, sent and computed, and how they grow.

    Numbers kept at a synapse, at a presynaptic unit and at a unit are those that a trace `e_t = M_t e_{t−1} + ∂s_t/∂θ`
    must carry from step to step.

    **Arguments:** `rule`: any `lg.Rule`; `network`: an `lg.Network`, whose masks and sizes count, and whose weights do
    not.

    **Returns:** a `Locality`; all counts are for one sequence, whole numbers a step.

    **Raises:** `ValueError` for a rule that does not fit the network.

    Source: docs/theory.md, section 12; docs/locality.md.

    >>> from localgrad.cells.spiking import LIF
    >>> from localgrad.cells.stack import Readout
    >>> import jax.numpy as jnp
    >>> network = Network(LIF(jnp.ones((4, 4)), jnp.ones((4, 2)), None), Readout(jnp.ones((1, 4))))
    >>> locality(Rule(jnp.ones((1, 4)), "internal"), network).layers[0].a_source
    1.0
    """
    check_kind("rule", rule, Rule, "the order is rule, network")
    check_kind("network", network, Network, "make one by lg.Network(layers, lg.Readout(A))")
    check_network(network)
    check_rule(rule, network)
    with jax.enable_x64(True):
        return _counted(*in_precision(np.float64, (rule, network)))


def _counted(rule: Rule, network: Network) -> Locality:
    carrying = carrying_of(rule, _LONG)
    form = _form(rule, network)
    cells = [cell_of(layer) for layer in network.layers]
    traces = [traces_of(carrying.propagator, cell) if form == "traces" else None for cell in cells]
    shapes = tuple(shape_of(layer, found) for layer, found in zip(network.layers, traces, strict=True))
    apart, down = carrying.propagator.is_elementwise, network.feedback is None
    stack = Stack(shapes, len(network.readout.A), rule.delay, carrying.lags, apart, down)
    return Locality(
        rule,
        _in_words(network),
        tuple(map(_layer_cost, shapes)) if form == "traces" else None,
        tuple(_way(name, stack) for name in _NAMES[form]),
        round(stack.running()),
        _messages(rule, stack, form),
    )


_NAMES = {
    "traces": ("forward by traces", "backward from a recording"),
    "sensitivities": ("forward by all sensitivities", "backward from a recording"),
    "recorded": ("backward from a recording",),
}


def _form(rule: Rule, network: Network) -> str:
    try:
        return online_form(rule, carrying_of(rule, _LONG), network)
    except ValueError:
        return "recorded"


def _way(name: str, stack: Stack) -> Way:
    kept, a_step, operations = WAYS[name](stack)
    return Way(name, round(kept), round(a_step), round(operations), growth(WAYS[name], stack))


def _layer_cost(shape: Shape) -> LayerCost:
    at_synapses, at_sources, at_units = shape.kept()
    sources = shape.inputs + shape.units * bool(shape.recurrent.any())
    kept = at_synapses / shape.synapses if shape.synapses else 0.0
    units, count = round(shape.units), round(shape.synapses)
    return LayerCost(shape.kind, units, count, kept, at_sources / sources, at_units / shape.units)


def _messages(rule: Rule, stack: Stack, form: str) -> tuple[Message, ...]:
    F, output = rule.feedback, round(stack.output)
    when = "at every step" + (f", {rule.delay} steps late" if rule.delay else "")
    over = _OWN if F.symmetric is None and F.fixed is not None else _TRANSPORTED
    found = [Message("the output error to every unit", output, over, when)]
    if len(stack.layers) > 1 and stack.credit_goes_down:
        wires = sum(round(x.inputs) for x in stack.layers[1:])
        found.append(Message("credit from layer to layer", wires, _TRANSPORTED, when))
    mixed = round(stack.states())
    if form == "sensitivities":
        numbers = round(by_sensitivities(stack)[0])
        found.append(Message("the derivatives of all states by all weights to all units", numbers, "W", when))
    elif not stack.keeps_apart and form != "traces":
        found.append(Message("credit from unit to unit", mixed, _TRANSPORTED, "after the sequence, backward in time"))
    elif form == "recorded":
        found.append(Message("credit of a unit to its own past", mixed, _OWN, "after the sequence, backward in time"))
    return tuple(found)


def _in_words(network: Network) -> str:
    layers = " on ".join(f"{cell_of(x).sizes[0]} {type(cell_of(x)).__name__}" for x in reversed(network.layers))
    output, _, inputs = network.sizes
    return f"{layers}, of {inputs} inputs and {output} outputs"


def _powers(way: Way, what: str) -> str:
    return ", ".join(f"{name}^{power:g}" for name, power in way.growth[what].items())
