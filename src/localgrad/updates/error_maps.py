r"""The two linear maps between errors and weights, lag by lag: the errors' tangent, and the rule.

Write `E` for the errors `√ω_k E_k` of all lags in one vector (`lags.py`), so that `L = ½ ‖E‖²`. At a student's weights
`θ` there are two matrices,

    G = ∂E/∂θ   (errors × weights),   H: Δθ = H E   (weights × errors),

the second since every rule's update is linear in the errors. Both come from the sums lag by lag that make the update
itself, by derivatives of them, so that no rule is written a second time.

Limits: dense matrices of `lags · outputs · noises` times the number of weights.

Source: docs/theory.md, section 13.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array

from localgrad.models.coordinates import Coordinates, coordinates_of
from localgrad.models.leaky import linear_form
from localgrad.rules.rule import Rule
from localgrad.tasks.linear_task import LinearTask
from localgrad.updates.dense import dense_update, on_network
from localgrad.updates.horizon import Horizon
from localgrad.updates.lags import BLOCK, Lags, backward_pass, forward_pass
from localgrad.updates.late import arriving_late, lags_before
from localgrad.updates.system import credit_of, error_system, update_of


class ErrorMaps(NamedTuple):
    """Errors `E` ("lags output noise"), `G` ("lags output noise weights") and `H` ("weights lags output noise")."""

    errors: Array
    tangent: Array
    credit: Array


@eqx.filter_jit
def error_maps(rule: Rule, student: Any, task: LinearTask, roots: Array) -> ErrorMaps:
    """Errors, their tangent and the rule, for lags weighted by `roots`, the `√ω` in blocks ("blocks block")."""
    start, weights, unravel = _weights(student)

    def errors(numbers: Array) -> Array:
        rule_here, form = on_network(rule, start.at(unravel(numbers)).model)
        system, credit = error_system(form.network, task), credit_of(rule_here, form.network, task)
        return forward_pass(system, credit, Lags(roots, len(roots))).errors

    own, form = on_network(rule, student)
    system, credit = error_system(form.network, task), credit_of(own, form.network, task)
    credits = forward_pass(system, credit, Lags(roots, len(roots))).credits

    def update(scaled: Array) -> Array:
        weighted = roots[:, :, None, None] * scaled
        found = backward_pass(system, weighted, credits, lags_before(rule), len(roots))
        found = arriving_late(found, system, credit, rule)
        moved = start.pull_back(form.pull_back(update_of(found, form.network, task)))
        return ravel_pytree(moved)[0]

    E = errors(weights)
    G, H = jax.jacfwd(errors)(weights), jax.jacrev(update)(E)
    return ErrorMaps(_by_lag(E, 0), _by_lag(G, 0), _by_lag(H, 1))


def _by_lag(x: Array, axis: int) -> Array:
    """Blocks of lags as lags."""
    return x.reshape(*x.shape[:axis], x.shape[axis] * BLOCK, *x.shape[axis + 2 :])


@eqx.filter_jit
def flow_jacobian(rule: Rule, student: Any, task: LinearTask, horizon: Horizon) -> Array:
    """`∂Δθ/∂θ` of the exact update, "weights weights"."""
    start, weights, unravel = _weights(student)

    def update(numbers: Array) -> Array:
        at = start.at(unravel(numbers))
        return ravel_pytree(at.pull_back(dense_update(rule, at.model, task, horizon)))[0]

    return jax.jacfwd(update)(weights)


def _weights(student: Any) -> tuple[Coordinates, Array, Any]:
    """The coordinates by which a student learns, as one vector, and the way back."""
    start = coordinates_of(student)
    weights, unravel = ravel_pytree(start.numbers)
    return start, jnp.asarray(weights), unravel


def network_of(student: Any) -> Any:
    """The linear network that a student is."""
    return linear_form(student).network
