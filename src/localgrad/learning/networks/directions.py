r"""Where a rule's update points: to the gradient, and how the loss bends along it.

    cosine = ⟨Δ, ∇L⟩/(‖Δ‖ ‖∇L‖),   curvature along = ⟨Δ, HΔ⟩/‖Δ‖²,   across: that of random directions orthogonal to Δ

with `H` the Hessian of the batch's loss by all that learns, never made: its products with vectors are derivatives of
the gradient. In expectation the curvature across is `(tr H − along)/(number of weights − 1)`.

Limits: spikes have no second derivative; of them it is that of the surrogate.

Source: docs/theory.md, section 12.
"""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array

from localgrad.learning.networks.situation import Measure, Situation, of_layers, outputs_of
from localgrad.learning.networks.trainer import learning_of
from localgrad.rules.rule import Rule
from localgrad.updates.through_time import update_in
from localgrad.updates.through_time_steps import error_of

_DIRECTIONS = 8


def _cosine(seen: Situation) -> dict[str, Array]:
    """Of the rule's update and the gradient on the same batch: of all layers together, and of each array that learns.

    Of the readout's own update it is 1, whatever the rule, so that does not count. Of an update of 0 it is 0.
    """
    trainer, data = seen.trainer, seen.data
    update, _ = trainer.update(seen.rule, seen.network, data)
    gradient, _ = update_in("recorded", Rule(), seen.network, data, trainer.task.loss)
    true = of_layers(gradient)
    pairs = {name: (x, true[name]) for name, x in of_layers(update).items()}
    found = {f"cosine {name}": _cosine_of([pair]) for name, pair in pairs.items()}
    return {"cosine": _cosine_of(list(pairs.values()))} | found


def _cosine_of(pairs: list[tuple[Array, Array]]) -> Array:
    inner, one, other = (
        sum(jnp.vdot(*factors) for factors in chosen)
        for chosen in (pairs, [(x, x) for x, _ in pairs], [(y, y) for _, y in pairs])
    )
    size = jnp.sqrt(one) * jnp.sqrt(other)
    return jnp.where(size > 0, inner / jnp.where(size > 0, size, 1), 0)


def _curvature(seen: Situation) -> dict[str, Array]:
    trainer, data = seen.trainer, seen.data
    update, _ = trainer.update(seen.rule, seen.network, data)
    start, back = ravel_pytree(learning_of(seen.network))
    along = ravel_pytree(learning_of(update))[0]

    def loss(numbers: Any) -> Array:
        network = eqx.combine(back(numbers), seen.network)
        return error_of(outputs_of(network, data), data.targets, data.weights, trainer.task.loss)[1]

    def curvature(direction: Array) -> Array:
        bent = jax.jvp(jax.grad(loss), (start,), (direction,))[1]
        return _quotient(direction @ bent, direction @ direction)

    drawn = jax.random.normal(seen.key, (_DIRECTIONS, len(start)), start.dtype)
    across = drawn - jnp.outer(_quotient(drawn @ along, along @ along), along)
    return {"curvature along": curvature(along), "curvature across": jax.lax.map(curvature, across).mean()}


def _quotient(one: Array, other: Array) -> Array:
    return jnp.where(other > 0, one / jnp.where(other > 0, other, 1), 0)


DIRECTIONS = {"cosine": Measure(_cosine), "curvature": Measure(_curvature)}
