r"""What is seen of a step of a network of cells by differentiation, and how credit is carried.

Of a layer at one step all that rules need are the derivatives at each unit: of its state by its state before (`I`), by
its drives, and by its own parameters, and of what it emits by its state. They are found by one forward differentiation
for each argument of one unit. With them `M_t` is a block for each unit, and where credit passes the weights a product
with `W` besides.

Shapes: leading axes `...` (batch, or time and batch), then numbers of a unit, then `hidden`.

Source: docs/theory.md, section 12.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array

from localgrad.cells.block import Layer, cell_of, entering, leaving
from localgrad.cells.cell import Cell, Weights, emission, moved, own_learned
from localgrad.cells.running import Step
from localgrad.cells.stack import Network
from localgrad.rules.parts import Feedback, Propagator


class Sequences(NamedTuple):
    """Inputs, targets (of classes one-hot), and the weight of every step in the loss; time first."""

    inputs: Array  # "time batch input"
    targets: Array  # "time batch output"
    weights: Array  # "time batch"


class Carrying(NamedTuple):
    """What of a rule shapes an update; `lags` is `None` where all there are count.

    `mismatch`: of what units carry over; `step`: that traces are rounded to, with a `key` at random; or `None`.
    """

    feedback: Feedback
    propagator: Propagator
    lags: int | None
    delay: int
    mismatch: Any = None
    step: Any = None
    key: Any = None


class Local(NamedTuple):
    """The derivatives of a layer at one step, unit by unit."""

    state: Array  # ∂s_t/∂s_{t−1}, "... states states hidden"
    drive: Array  # ∂s_t/∂u_t, "... states drives hidden"
    own: Array  # ∂s_t/∂p, "... states parameters hidden"
    emitted: Array  # ∂z_t/∂s_t, "... emitted states hidden"
    emitted_before: Array  # ∂z_{t−1}/∂s_{t−1}


def heard_after(cell: Cell, step: Step) -> Array:
    """What a cell emits after steps with any leading axes."""
    one = lambda s: emission(cell, s).ravel()  # noqa: E731
    for _ in range(step.after.ndim - 2):
        one = jax.vmap(one)
    return one(step.after)


def error_of(output: Array, target: Array, weight: Array, loss: str) -> tuple[Array, Array]:
    """The derivative of the loss by the output, and the loss, of steps with these weights."""
    if loss == "mse":
        error = output - target
        return error * weight[..., None], jnp.sum(error**2 * weight[..., None]) / 2
    logarithm = jax.nn.log_softmax(output)
    return (jnp.exp(logarithm) - target) * weight[..., None], -jnp.sum(target * logarithm * weight[..., None])


def derivatives(cell: Cell, step: Step) -> Local:
    """The derivatives of a layer in steps with any leading axes."""
    one = lambda before, drive, after: _derivatives_once(cell, before, drive, after)  # noqa: E731
    for _ in range(step.before.ndim - 2):
        one = jax.vmap(one)
    return one(step.before, step.drive, step.after)


def _derivatives_once(cell: Cell, before: Array, drive: Array, after: Array) -> Local:
    names, d, k = own_learned(cell), len(before), len(drive)
    own = [getattr(cell, name) for name in names]

    def with_own(values: list[Array]) -> Cell:
        return eqx.tree_at(lambda c: [getattr(c, name) for name in names], cell, values) if names else cell

    def along(direction: Array) -> Array:
        tangents = [jnp.broadcast_to(x[:, None], (len(x), before.shape[1])) for x in jnp.split(direction, [d, d + k])]
        moving = lambda s, u, p: moved(with_own(p), s, u)  # noqa: E731
        return jax.jvp(moving, (before, drive, own), (tangents[0], tangents[1], list(tangents[2])))[1]

    found = jax.vmap(along, out_axes=1)(jnp.eye(d + k + len(names), dtype=before.dtype))
    return Local(*jnp.split(found, [d, d + k], axis=1), *(_emitted(cell, s) for s in (after, before)))


def _emitted(cell: Cell, s: Array) -> Array:
    def along(direction: Array) -> Array:
        tangent = jnp.broadcast_to(direction[:, None], s.shape)
        return jax.jvp(lambda s: emission(cell, s), (s,), (tangent,))[1]

    return jax.vmap(along, out_axes=1)(jnp.eye(len(s), dtype=s.dtype))


# --- credit ----------------------------------------------------------------------------------------------------------


def block(propagator: Propagator, weights: Weights, at: Local) -> Array | None:
    """Of `M_t` what keeps every unit to itself: `"... states states hidden"`, or `None` where nothing does."""
    shares = (propagator.full, propagator.internal, propagator.diagonal)
    parts = [share * at.state for share in shares if share is not None]
    identity = jnp.eye(at.state.shape[-2], dtype=at.state.dtype)[..., None]
    if propagator.diagonal is not None and weights.W is not None:
        own = jnp.diagonal(weights.W, axis1=-2, axis2=-1)
        through = jnp.einsum("...ikn,kn,...jn->...ijn", at.drive, own, at.emitted_before[..., 0, :, :])
        parts.append(propagator.diagonal * through)
    if propagator.decay is not None:
        parts.append(jnp.asarray(propagator.decay).reshape(-1) * identity)
    columns = [term for term in propagator.terms if term.is_elementwise]
    parts += [_by_jacobian(lambda J, term=term: term(J).reshape(1, 1, -1), weights, at) for term in columns]
    return sum(parts[1:], start=jnp.broadcast_to(parts[0], at.state.shape)) if parts else None


def carried_over(carrying: Carrying, weights: Weights, at: Local) -> Array | None:
    """`block` of a rule, with its mismatch."""
    found = block(carrying.propagator, weights, at)
    return found if found is None or carrying.mismatch is None else (1 + carrying.mismatch) * found


def mixing(propagator: Propagator, weights: Weights, later: Array, at: Local) -> Array | None:
    """What `Mᵀ` carries from unit to unit, of a credit `"... states hidden"`; `None` where it carries nothing."""
    parts = []
    if propagator.full is not None and weights.W is not None:
        post = drive_credit(later, at)
        heard = jnp.einsum("...kn,knm->...m", post, weights.W)
        parts.append(propagator.full * heard[..., None, :] * at.emitted_before[..., 0, :, :])
    for term in propagator.terms:
        if not term.is_elementwise:
            M = _by_jacobian(term, weights, at)
            parts.append(jnp.einsum("...dn,...nm->...dm", later, M))
    return sum(parts[1:], start=parts[0]) if parts else None


def drive_credit(credit: Array, at: Local) -> Array:
    """The credit of the drives, `"... drives hidden"`, from that of the states."""
    return (credit[..., :, None, :] * at.drive).sum(-3)


def state_credit(heard: Array, at: Local) -> Array:
    """The credit of the states, `"... states hidden"`, from that of what they emit, `"... width"`."""
    shaped = heard.reshape(*heard.shape[:-1], at.emitted.shape[-3], at.emitted.shape[-1])
    return (shaped[..., :, None, :] * at.emitted).sum(-3)


def _by_jacobian(function: Any, weights: Weights, at: Local) -> Array:
    """A function of the dense state Jacobian, of units with one number each, at every step."""

    def once(state: Array, drive: Array, emitted: Array) -> Array:
        J = jnp.diag(state[0, 0])
        if weights.W is not None:
            J = J + jnp.einsum("kn,knm,m->nm", drive[0], weights.W, emitted[0, 0])
        return function(J)

    for _ in range(at.state.ndim - 3):
        once = jax.vmap(once)
    return once(at.state, at.drive, at.emitted_before)


def through_block(layer: Layer, step: Step, credit: Array) -> tuple[Layer, Array, Array]:
    """Of the credit of what a layer emits: its block's own update, and the credit of its cell's emission and input."""
    emitted = heard_after(cell_of(layer), step)
    return jax.vjp(leaving, layer, emitted, step.below)[1](credit)


def credit_below(layer: Layer, step: Step, drive: Array, around: Array) -> Array:
    """The credit of what came from below: through the drives of the cell, and around it."""
    inputs = jnp.einsum("...kn,kni->...i", drive, cell_of(layer).weights().B)
    return around + jax.vjp(lambda x: entering(layer, x), step.below)[1](inputs)[0]


# --- updates ---------------------------------------------------------------------------------------------------------


def layer_update(cell: Cell, weights: Weights, own: Array) -> Cell:
    """The update of a layer, from those of its drives' weights and of its own parameters `"parameters hidden"`."""
    (pulled,) = jax.vjp(lambda cell: cell.weights(), cell)[1](weights)
    names = own_learned(cell)
    if names:
        pulled = eqx.tree_at(lambda c: [getattr(c, name) for name in names], pulled, list(own))
    paths, structure = jax.tree.flatten_with_path(pulled)
    learned = [x if jax.tree_util.keystr(path).lstrip(".") in cell.learns else jnp.zeros_like(x) for path, x in paths]
    return jax.tree.unflatten(structure, learned)


def with_cell(layer: Layer, cell: Cell) -> Layer:
    """The layer with another cell, or the cell itself."""
    return cell if isinstance(layer, Cell) else eqx.tree_at(lambda x: x.cell, layer, cell)


def network_of_updates(network: Network, layers: list[Layer], readout: Array, bias: Array) -> Network:
    """The updates of all parts as a network; a fixed feedback has none, and 0 in its place."""
    zeros = jax.tree.map(jnp.zeros_like, network)
    moved_bias = None if network.readout.bias is None else bias
    found = eqx.tree_at(lambda n: (n.layers, n.readout.A), zeros, (tuple(layers), readout))
    return found if moved_bias is None else eqx.tree_at(lambda n: n.readout.bias, found, moved_bias)
