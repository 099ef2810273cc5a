r"""Exact updates and losses over a `Horizon`: the algorithm is chosen, compiled and checked here.

Two algorithms serve all sizes, chosen by measurement (docs/decisions.md): Stein equations for an infinite horizon
(`doubling.py`), and sums lag by lag for a finite one and for large networks with few outputs (`lags.py`).

Both get readouts, feedback and input weights with largest entries of about 1. The powers of 2 taken out are put back
into the result; so squares of small weights do not vanish, and those of large ones do not overflow, on the way.

What is a door to users is in `expected.py`, whether a result exists in `existence.py`.
"""

from __future__ import annotations

from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from localgrad.checks import in_standard_promotion
from localgrad.models.linear import LinearRNN
from localgrad.rules.compiled import join_rule, split_rule
from localgrad.rules.rule import Rule
from localgrad.updates.doubling import closed_form_loss, closed_form_update
from localgrad.updates.existence import explain_missing
from localgrad.updates.horizon import Horizon
from localgrad.updates.lags import Lags, check_memory, lags_of, loss_by_lags, update_by_lags
from localgrad.updates.problem import check_problem, check_rule, is_traced

Method = Literal["auto", "doubling", "lags"]

# Lag-by-lag sums win over the Stein equations from this size on, for at most this share of outputs.
_LAGS_FROM_HIDDEN = 128
_LAGS_UP_TO_OUTPUTS = 1 / 32


@in_standard_promotion
def exact_update(
    rule: Rule, student: LinearRNN, teacher: LinearRNN, horizon: Horizon, method: Method = "auto"
) -> LinearRNN:
    """As `expected_update`, whose arguments and errors these are."""
    _check_method(method, horizon)
    check_problem(student, teacher)
    check_rule(rule, student)
    check_memory(student, horizon)
    lags = lags_of(horizon, _precision(student, teacher))
    if is_traced(rule, student, teacher):
        traced_method = "doubling" if horizon.is_infinite and method != "lags" else "lags"
        return _nan_unless(*_update(rule, student, teacher, lags, traced_method))
    chosen = _choose(student, horizon) if method == "auto" else method
    split = split_rule(rule)
    update, exists = _compiled_update(*split, student, teacher, lags, chosen)
    if is_traced(exists):  # known numbers, but inside someone's jit
        return _nan_unless(update, exists)
    if not exists and chosen == "lags" and horizon.is_infinite:
        # More lags than the buffer holds (spectral radius close to 1), or no update at all.
        update, exists = _compiled_update(*split, student, teacher, lags, "doubling")
    if not exists:
        explain_missing(rule, student, teacher, horizon)
    return update


@in_standard_promotion
def exact_loss(student: LinearRNN, teacher: LinearRNN, horizon: Horizon) -> Float[Array, ""]:
    """As `expected_loss`, whose arguments and errors these are."""
    check_problem(student, teacher)
    lags = lags_of(horizon, _precision(student, teacher))
    if is_traced(student, teacher):
        return _loss(student, teacher, lags)
    value = _compiled_loss(student, teacher, lags)
    if not is_traced(value) and not jnp.isfinite(value):
        explain_missing(None, student, teacher, horizon)
    return value


def silent_loss(teacher: LinearRNN, horizon: Horizon = Horizon()) -> Float[Array, ""]:  # noqa: B008
    """The exact expected loss of a student without output, `½E‖y*_T‖²`: the unit in which losses are told.

    **Raises:** `ValueError` as `expected_loss`, and for a teacher without output, which leaves losses without a unit.
    """
    silent = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), teacher)
    value = exact_loss(silent, teacher, horizon)
    if not is_traced(value) and not value > 0:
        within = "" if horizon.is_infinite else f" within {horizon.steps} steps"
        raise ValueError(f"the teacher's output is 0{within}, so there is nothing to learn; check A and B")
    return value


# --- dispatch --------------------------------------------------------------------------------------------------------


def _check_method(method: str, horizon: Horizon) -> None:
    if method not in ("auto", "doubling", "lags"):
        raise ValueError(f"method must be 'auto', 'doubling' or 'lags', got {method!r}")
    if method == "doubling" and not horizon.is_infinite:
        raise ValueError(f"method 'doubling' sums all lags; for horizon {horizon.steps} use 'lags' or 'auto'")


def _choose(student: LinearRNN, horizon: Horizon) -> str:
    output, hidden, _ = student.sizes
    few_outputs = output <= _LAGS_UP_TO_OUTPUTS * hidden
    return "lags" if not horizon.is_infinite or (hidden >= _LAGS_FROM_HIDDEN and few_outputs) else "doubling"


def _update(rule: Rule, student: LinearRNN, teacher: LinearRNN, lags: Lags, method: str) -> tuple[LinearRNN, Array]:
    """The update, and whether it exists."""
    rule, student, teacher = _in_one_precision(rule, student, teacher)
    F, M = rule.feedback(student.A), rule.propagator(student.W)
    (student, teacher), (a, b) = _scale_out(student, teacher)
    (F,), f = _near_one(F)
    if method == "doubling":
        is_jacobian = rule.propagator.is_jacobian
        update, complete = closed_form_update(student, teacher, F, M, rule.lags, is_jacobian=is_jacobian)
    else:
        update, complete = update_by_lags(student, teacher, F, M, rule.lags, lags)
    exponents = (a + 2 * b, f + a + 2 * b, f + a + b)
    update = LinearRNN(*(_times_power_of_2(x, e) for x, e in zip(update.matrices, exponents, strict=True)))
    finite = jnp.stack([jnp.all(jnp.isfinite(x)) for x in jax.tree.leaves(update)])
    return update, complete & jnp.all(finite)


def _loss(student: LinearRNN, teacher: LinearRNN, lags: Lags) -> Array:
    _, student, teacher = _in_one_precision(None, student, teacher)
    (student, teacher), (a, b) = _scale_out(student, teacher)
    value = closed_form_loss(student, teacher) if lags.num_blocks is None else loss_by_lags(student, teacher, lags)
    return _times_power_of_2(value, 2 * (a + b))


@partial(jax.jit, static_argnums=(0, 1, 6))
def _compiled_update(
    structure: Any, whole: Any, numbers: Any, student: LinearRNN, teacher: LinearRNN, lags: Lags, method: str
) -> tuple[LinearRNN, Array]:
    return _update(join_rule(structure, whole, numbers), student, teacher, lags, method)


_compiled_loss = jax.jit(_loss)


def _nan_unless(update: LinearRNN, exists: Array) -> LinearRNN:
    return jax.tree.map(lambda x: jnp.where(exists, x, jnp.nan), update)


# --- precision and range ---------------------------------------------------------------------------------------------


def _precision(student: LinearRNN, teacher: LinearRNN) -> Any:
    dtypes = {x.dtype for x in (*student.matrices, *teacher.matrices)}
    return dtypes.pop() if len(dtypes) == 1 else np.result_type(*dtypes)


def _in_one_precision(rule: Any, student: LinearRNN, teacher: LinearRNN) -> tuple[Any, LinearRNN, LinearRNN]:
    """All three in the wider precision of the two networks; whole numbers, which shape the rule, stay."""
    dtype = _precision(student, teacher)
    trees = (rule, student, teacher)
    return jax.tree.map(lambda x: x if isinstance(x, int) else jnp.asarray(x, dtype), trees)


def _scale_out(student: LinearRNN, teacher: LinearRNN) -> tuple[tuple[LinearRNN, LinearRNN], tuple[Array, Array]]:
    """Both networks with readouts and input weights of about 1, and the exponents taken out of the two."""
    A, a = _near_one(student.A, teacher.A)
    B, b = _near_one(student.B, teacher.B)
    networks = (LinearRNN(A[0], student.W, B[0]), LinearRNN(A[1], teacher.W, B[1]))
    return networks, (a, b)


def _near_one(*matrices: Array) -> tuple[tuple[Array, ...], Array]:
    """Matrices over the power of 2 that brings the largest entry of all to about 1, and its exponent."""
    largest = jnp.max(jnp.stack([jnp.max(jnp.abs(jax.lax.stop_gradient(x))) for x in matrices]))
    most = jnp.finfo(largest.dtype).maxexp - 2  # so that the power is a normal number
    exponent = jnp.clip(jnp.frexp(largest)[1], -most, most)
    scale = jnp.ldexp(jnp.ones((), largest.dtype), -exponent)
    return tuple(x * scale for x in matrices), exponent


def _times_power_of_2(x: Array, exponent: Array) -> Array:
    """`x · 2^exponent`, in two steps, since the power itself may overflow where the product does not."""
    half = exponent // 2
    for part in (half, exponent - half):
        x = x * jnp.ldexp(jnp.ones((), x.dtype), part)
    return x
