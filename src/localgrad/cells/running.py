r"""What a network of cells does in a step.

Shapes: a batch first, then numbers of a unit, then `hidden`.

Source: docs/theory.md, section 12.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array

from localgrad.cells.block import cell_of, entering, leaving
from localgrad.cells.cell import Cell, emission, moved
from localgrad.cells.stack import Network


class Step(NamedTuple):
    """What a layer did in one step."""

    before: Array  # s_{t−1}, "... states hidden"
    drive: Array  # u_t, "... drives hidden"
    after: Array  # s_t
    heard: Array  # z_{t−1}, "... width"
    inputs: Array  # what the cell heard of the input, "... input"
    below: Array  # what came from below, "... input"
    output: Array  # what the layer emits


def at_rest(network: Network, batch: int, dtype: Any) -> tuple[Array, ...]:
    """The states of all layers at the start."""
    return tuple(jnp.zeros((batch, cell_of(layer).states, layer.sizes[0]), dtype) for layer in network.layers)


def heard_of(cell: Cell, states: Array) -> Array:
    """What a layer emits, flat: shape `"batch width"`."""
    return jax.vmap(lambda s: emission(cell, s).ravel())(states)


def network_step(network: Network, states: tuple[Array, ...], x: Array) -> tuple[tuple[Step, ...], Array]:
    """What every layer does, and the output."""
    steps = []
    for layer, before in zip(network.layers, states, strict=True):
        cell, inputs = cell_of(layer), entering(layer, x)
        weights, heard = cell.weights(), heard_of(cell, before)
        drive = jnp.einsum("khi,bi->bkh", weights.B, inputs)
        if weights.W is not None:
            drive = drive + jnp.einsum("khj,bj->bkh", weights.W, heard)
        if weights.bias is not None:
            drive = drive + weights.bias
        after = jax.vmap(lambda s, u, cell=cell: moved(cell, s, u))(before, drive)
        output = leaving(layer, heard_of(cell, after), x)
        steps.append(Step(before, drive, after, heard, inputs, x, output))
        x = output
    output = x @ network.readout.A.mT
    return tuple(steps), output if network.readout.bias is None else output + network.readout.bias
