r"""The update of a network of cells, forward in time, in memory that does not depend on the number of steps.

- `trace_update`: where `M` keeps every unit to itself, a trace a synapse, `e_t = M_t e_{t−1} + ∂s_t/∂θ`: of a unit's
    state by its own weights, `states × drives` numbers a weight.
- `sensitivity_update`: where `M = J`, the derivatives of all states by all weights (real-time recurrent learning):
    `O(n³)` numbers a sequence and `O(n⁴)` operations a step, hence for small networks. They follow from forward
    differentiation of a step.

Source: Williams & Zipser 1989; Bellec et al. 2020; docs/theory.md, section 12.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array

from localgrad.cells.block import Layer, cell_of
from localgrad.cells.cell import Cell, Weights, own_learned
from localgrad.cells.running import Step, at_rest, network_step
from localgrad.cells.stack import Network
from localgrad.rules.coarse_traces import rounded
from localgrad.updates.through_time_steps import (
    Carrying,
    Local,
    Sequences,
    carried_over,
    credit_below,
    derivatives,
    drive_credit,
    error_of,
    layer_update,
    network_of_updates,
    state_credit,
    through_block,
    with_cell,
)


class _Traces(NamedTuple):
    """Of a layer: of states by weights, `"batch states drives hidden presynaptic"`, and by parameters of units."""

    weights: Array
    own: Array


class _Learner(NamedTuple):
    """What an online learner carries from step to step; nothing of it grows with the number of steps."""

    states: Any
    traces: Any
    late: Array  # errors on their way, "delay batch output"
    sums: Any
    readout: Array
    bias: Array
    loss: Array
    key: Any = None  # of roundings at random


# --- by eligibility traces -------------------------------------------------------------------------------------------


def trace_update(network: Network, carrying: Carrying, data: Sequences, loss: str) -> tuple[Network, Array]:
    """The update and the loss, by a trace for every synapse."""
    F = carrying.feedback(network.readout.A)

    def step(learner: _Learner, given: Any) -> tuple[_Learner, None]:
        x, target, weight = given
        steps, output = network_step(network, learner.states, x)
        error, value = error_of(output, target, weight, loss)
        error, late = _arrived(learner.late, error)
        cells = [cell_of(layer) for layer in network.layers]
        at = [derivatives(cell, s) for cell, s in zip(cells, steps, strict=True)]
        key, keys = _drawn(learner.key, len(cells))
        traced = zip(cells, learner.traces, steps, at, keys, strict=True)
        traces = [_traced(cell, old, s, d, carrying, k) for cell, old, s, d, k in traced]
        credits = _credits(network, error, error @ F, steps, at)
        sums = [_credited(*given) for given in zip(learner.sums, credits, traces, strict=True)]
        states = tuple(s.after for s in steps)
        readout = learner.readout + error.mT @ steps[-1].output
        bias, total = learner.bias + error.sum(0), learner.loss + value
        return _Learner(states, traces, late, sums, readout, bias, total, key), None

    first = _untaught(network, data, carrying.delay)._replace(key=carrying.key)
    learner, _ = jax.lax.scan(step, first, (data.inputs, data.targets, data.weights))
    layers = [_as_update(layer, *sums) for layer, sums in zip(network.layers, learner.sums, strict=True)]
    return network_of_updates(network, layers, learner.readout, learner.bias), learner.loss


def _drawn(key: Any, count: int) -> tuple[Any, Any]:
    """The key of the next step, and one for each layer; `None` of `None`."""
    if key is None:
        return None, [None] * count
    found = jax.random.split(key, count + 1)
    return found[0], found[1:]


def _arrived(late: Array, error: Array) -> tuple[Array, Array]:
    """The error that arrives now, and those that are then on their way."""
    queue = jnp.concatenate([late, error[None]])
    return queue[0], queue[1:]


def _presynaptic(cell: Cell, step: Step) -> Array:
    """All that a synapse of the layer may hear: other units, the input, and 1."""
    parts = ([] if cell.W is None else [step.heard]) + [step.inputs, jnp.ones_like(step.inputs[:, :1])]
    return jnp.concatenate(parts, axis=1)


def _traced(cell: Cell, traces: _Traces, step: Step, at: Local, carrying: Carrying, key: Any = None) -> _Traces:
    """The traces a step later."""
    found = _exactly_traced(cell, traces, step, at, carrying)
    if carrying.step is None:
        return found
    keys = (None, None) if key is None else jax.random.split(key)
    return _Traces(*(rounded(x, carrying.step, k) for x, k in zip(found, keys, strict=True)))


def _exactly_traced(cell: Cell, traces: _Traces, step: Step, at: Local, carrying: Carrying) -> _Traces:
    blocks = carried_over(carrying, cell.weights(), at)
    weights = at.drive[..., None] * _presynaptic(cell, step)[:, None, None, None, :]
    if blocks is None:
        return _Traces(weights, at.own)
    kept = sum(blocks[:, :, j, None, :, None] * traces.weights[:, None, j] for j in range(blocks.shape[2]))
    return _Traces(weights + kept, at.own + jnp.einsum("bijn,bjpn->bipn", blocks, traces.own))


def _credits(
    network: Network, error: Array, top: Array, steps: tuple[Step, ...], at: list[Local]
) -> list[tuple[Array, Layer]]:
    """The credit of every layer's states at this moment, from the last layer down, with its block's own update."""
    found: list[tuple[Array, Layer]] = []
    credit = top
    for i in reversed(range(len(at))):
        block_update, emitted, around = through_block(network.layers[i], steps[i], credit)
        states = state_credit(emitted, at[i])
        found.insert(0, (states, block_update))
        if i and network.feedback is None:
            credit = credit_below(network.layers[i], steps[i], drive_credit(states, at[i]), around)
        elif i and network.feedback is not None:
            credit = error @ network.feedback[i - 1]
    return found


def _credited(sums: tuple[_Traces, Layer], credit: tuple[Array, Layer], traces: _Traces) -> tuple[_Traces, Layer]:
    states, block_update = credit
    weights = (states[:, :, None, :, None] * traces.weights).sum((0, 1))
    own = jnp.einsum("bin,bipn->pn", states, traces.own)
    moved = _Traces(sums[0].weights + weights, sums[0].own + own)
    return moved, jax.tree.map(jnp.add, sums[1], block_update)


def _untaught(network: Network, data: Sequences, delay: int) -> _Learner:
    batch, dtype = data.inputs.shape[1], data.inputs.dtype
    traces, sums = [], []
    for layer in network.layers:
        cell = cell_of(layer)
        hidden, inputs = cell.sizes
        weights = (len(cell.weights().B), hidden, inputs + 1 + (0 if cell.W is None else hidden))
        own = (len(own_learned(cell)), hidden)
        traces.append(_Traces(*(jnp.zeros((batch, cell.states, *shape), dtype) for shape in (weights, own))))
        sums.append(
            (_Traces(*(jnp.zeros(shape, dtype) for shape in (weights, own))), jax.tree.map(jnp.zeros_like, layer))
        )
    A = network.readout.A
    late = jnp.zeros((delay, batch, len(A)), dtype)
    zero = jnp.zeros((), dtype)
    return _Learner(at_rest(network, batch, dtype), traces, late, sums, jnp.zeros_like(A), zero * A[:, 0], zero)


def _as_update(layer: Layer, sums: _Traces, around_cell: Layer) -> Layer:
    cell = cell_of(layer)
    hidden, inputs = cell.sizes
    first = 0 if cell.W is None else hidden
    W, B, bias = jnp.split(sums.weights, [first, first + inputs], axis=-1)
    found = Weights(None if cell.W is None else W, B, None if cell.bias is None else bias[..., 0])
    given = cell.weights()
    found = Weights(found.W, found.B, None if given.bias is None else found.bias)
    return with_cell(around_cell, layer_update(cell, found, sums.own))


# --- by all sensitivities --------------------------------------------------------------------------------------------


def sensitivity_update(network: Network, carrying: Carrying, data: Sequences, loss: str) -> tuple[Network, Array]:
    """The update and the loss, by the derivatives of all states by all weights."""
    F = carrying.feedback(network.readout.A)
    numbers, rebuilt = ravel_pytree(network.layers)

    def move(states: Any, numbers: Array, x: Array) -> tuple[Any, Any]:
        steps, output = network_step(eqx.tree_at(lambda n: n.layers, network, rebuilt(numbers)), states, x)
        after = tuple(s.after for s in steps)
        return after, (steps[-1].output, output)

    def sensed(states: Any, tangents: Any, x: Array) -> Any:
        def along(tangent: Any, direction: Array) -> Any:
            following, (heard, _) = jax.jvp(lambda s, n: move(s, n, x), (states, numbers), (tangent, direction))[1]
            return following, heard

        return jax.vmap(along)(tangents, jnp.eye(len(numbers), dtype=numbers.dtype))

    def step(learner: _Learner, given: Any) -> tuple[_Learner, None]:
        x, target, weight = given
        states, (heard, output) = move(learner.states, numbers, x)
        error, value = error_of(output, target, weight, loss)
        error, late = _arrived(learner.late, error)
        traces, sensitivity = sensed(learner.states, learner.traces, x)
        sums = learner.sums + jnp.einsum("pbh,bh->p", sensitivity, error @ F)
        moved = learner.readout + error.mT @ heard, learner.bias + error.sum(0), learner.loss + value
        return _Learner(states, traces, late, sums, *moved), None

    first = _untaught(network, data, carrying.delay)
    traces = jax.tree.map(lambda s: jnp.zeros((len(numbers), *s.shape), s.dtype), first.states)
    first = first._replace(traces=traces, sums=jnp.zeros_like(numbers))
    learner, _ = jax.lax.scan(step, first, (data.inputs, data.targets, data.weights))
    layers = [_only_learned(layer) for layer in rebuilt(learner.sums)]
    return network_of_updates(network, layers, learner.readout, learner.bias), learner.loss


def _only_learned(layer: Layer) -> Layer:
    """The derivatives of what learns, and 0 for all else."""
    cell = cell_of(layer)
    paths, structure = jax.tree.flatten_with_path(cell)
    kept = [x if jax.tree_util.keystr(path).lstrip(".") in cell.learns else jnp.zeros_like(x) for path, x in paths]
    return with_cell(layer, jax.tree.unflatten(structure, kept))
