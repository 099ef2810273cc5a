r"""The update of a network of cells, backwards through a recording of what it did.

    λ_{t−1} = M_tᵀ λ_t + (∂z/∂s)ᵀ c_{t−1},   ΔW^k = Σ_t (∂s/∂u^k)ᵀ λ_t z_{t−1}ᵀ,

with `c` the credit of what the layer emits: `Fᵀ ε` for the last one. All derivatives are taken at all steps together;
only the sweep back goes step by step, and what it leaves is one product of matrices over time and batch.

Source: docs/theory.md, section 12.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from localgrad.cells.block import Layer, cell_of
from localgrad.cells.cell import Weights
from localgrad.cells.running import Step, at_rest, network_step
from localgrad.cells.stack import Network
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
    mixing,
    network_of_updates,
    state_credit,
    through_block,
    with_cell,
)


def recorded_update(network: Network, carrying: Carrying, data: Sequences, loss: str) -> tuple[Network, Array]:
    """The update and the loss."""
    steps, outputs = _record(network, data.inputs)
    errors, value = error_of(outputs, data.targets, data.weights, loss)
    errors = arriving(errors, carrying.delay)
    credit = errors @ carrying.feedback(network.readout.A)
    layers: list[Layer] = []
    for i in reversed(range(len(steps))):
        update, below = _layer(network.layers[i], carrying, steps[i], credit)
        layers.insert(0, update)
        if i:
            credit = below if network.feedback is None else errors @ network.feedback[i - 1]
    readout = jnp.einsum("tbo,tbh->oh", errors, steps[-1].output)
    return network_of_updates(network, layers, readout, errors.sum((0, 1))), value


def arriving(errors: Array, delay: int) -> Array:
    """Errors when they arrive: late by `delay` steps; the last `delay` of them are 0, and lost."""
    return jnp.roll(errors, delay, axis=0)


def _record(network: Network, inputs: Array) -> tuple[tuple[Step, ...], Array]:
    def step(states: Any, x: Array) -> Any:
        steps, output = network_step(network, states, x)
        return tuple(s.after for s in steps), (steps, output)

    return jax.lax.scan(step, at_rest(network, inputs.shape[1], inputs.dtype), inputs)[1]


def _layer(layer: Layer, carrying: Carrying, step: Step, credit: Array) -> tuple[Layer, Array]:
    """The update of a layer, and the credit of what it heard from below."""
    cell = cell_of(layer)
    around_cell, emitted, around = through_block(layer, step, credit)
    at, weights = derivatives(cell, step), cell.weights()
    now = state_credit(emitted, at)
    total = _carried_back(carrying, weights, now, at)
    post = drive_credit(total, at)
    W = None if weights.W is None else jnp.einsum("tbkn,tbm->knm", post, step.heard)
    found = Weights(
        W, jnp.einsum("tbkn,tbi->kni", post, step.inputs), None if weights.bias is None else post.sum((0, 1))
    )
    own = jnp.einsum("tbin,tbipn->pn", total, at.own)
    sent = drive_credit(now, at) if carrying.propagator.is_elementwise else post
    return with_cell(around_cell, layer_update(cell, found, own)), credit_below(layer, step, sent, around)


def _carried_back(carrying: Carrying, weights: Weights, now: Array, at: Local) -> Array:
    """`λ`: all lags by one sweep back; a few, from one lag to the next at all steps together."""
    blocks = carried_over(carrying, weights, at)

    def carried(later: Array, blocks: Array | None, at: Local) -> Array:
        kept = None if blocks is None else (later[..., :, None, :] * blocks).sum(-3)
        parts = [x for x in (kept, mixing(carrying.propagator, weights, later, at)) if x is not None]
        return sum(parts[1:], start=parts[0]) if parts else jnp.zeros_like(later)

    if carrying.lags is None:

        def step(later: Array, given: Any) -> tuple[Array, Array]:
            injected, blocks, at = given
            total = injected + later
            return carried(total, blocks, at), total

        return jax.lax.scan(step, jnp.zeros_like(now[0]), (now, blocks, at), reverse=True)[1]

    def one_lag_more(_: Array, total: Array) -> Array:
        back = carried(total, blocks, at)
        return now + jnp.concatenate([back[1:], jnp.zeros_like(back[:1])])

    return jax.lax.fori_loop(1, carrying.lags, one_lag_more, now)
