r"""Exact updates and losses of diagonal state-space layers: the algorithm is chosen, compiled and checked here.

A layer on a teacher that is a layer too has closed forms: Cauchy matrices for an infinite horizon (`cauchy.py`), one
sweep lag by lag for a finite one (`diagonal_lags.py`). On any other task the layer is learned as its network of real
blocks (`models/diagonal.py`), and the update is collected from theirs by the chain rule.

A rule has a closed form here if its propagator is diagonal: `M = diag m`, with `m_k = (full + diagonal) λ_k + decay_k`
and terms that act elementwise. Credit goes back by the conjugate transposes, `m̄` and `Fᴴ`, with `F` from the complex
readout `C`: symmetric feedback is `C` itself, and a real `R` sends errors to the units' real parts only.

Limits: feedback that learns is refused; so are propagators that mix units.

Source: docs/theory.md, section 11.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from localgrad.checks import in_our_arithmetic, in_words
from localgrad.models.arrays import in_precision, precision_of
from localgrad.models.diagonal import DiagonalSSM, from_blocks, real_blocks
from localgrad.rules.compiled import join_rule, split_rule
from localgrad.rules.rule import Rule
from localgrad.updates.cauchy import cauchy_loss, cauchy_update
from localgrad.updates.diagonal_blocks import is_own, rule_of_blocks
from localgrad.updates.diagonal_existence import (
    carried_by,
    check_layer_exists,
    check_layer_problem,
    check_layer_rule,
    explain_missing,
    margin_of,
    pair_reach,
    radius,
)
from localgrad.updates.diagonal_lags import errors_by_lag, loss_by_lag, update_by_lag
from localgrad.updates.exact import exact_loss, exact_update
from localgrad.updates.horizon import Horizon
from localgrad.updates.lags import BLOCK, Lags, check_memory, lags_of
from localgrad.updates.late import lags_before, layer_arriving_late
from localgrad.updates.problem import is_traced
from localgrad.updates.scaling import scaled_to_one, times_powers_of_2

# A lag costs output × input products a unit, a pair of units as many as it has outputs and inputs, and some more; this
# is how many of the former weigh as much as one of the latter, measured (docs/decisions.md): in the form that serves
# the layer's own poles and one decay for all units, and in the general one.
_PAIR_COST, _CAUCHY_COST = 0.7, 1.8
_MOST_LAGS = 2**14


@in_our_arithmetic
def diagonal_update(
    rule: Rule, student: DiagonalSSM, task: Any, horizon: Horizon, method: str = "auto"
) -> DiagonalSSM:  # fmt: skip
    """As `expected_update`, for a diagonal layer."""
    check_layer_problem(student, task)
    check_layer_rule(rule, student)
    if not isinstance(task, DiagonalSSM):
        return _update_by_blocks(rule, student, task, horizon, method)
    if not isinstance(method, str) or method != "auto":
        raise ValueError(f"a diagonal layer has one algorithm for each horizon; leave out method={in_words(method)}")
    check_memory(*student.sizes, horizon)
    if is_traced(rule, student, task):
        return _nan_unless(*_update(rule, student, task, lags_of(horizon, precision_of(student, task))))
    update, exists = _compiled_update(*split_rule(rule), student, task, _lags(rule, student, task, horizon))
    if is_traced(exists):
        return _nan_unless(update, exists)
    if not exists:
        explain_missing(rule, student, task, horizon)
    return update


@in_our_arithmetic
def diagonal_loss(student: DiagonalSSM, task: Any, horizon: Horizon) -> Float[Array, ""]:
    """As `expected_loss`, for a diagonal layer."""
    check_layer_problem(student, task)
    if not isinstance(task, DiagonalSSM):
        try:
            return exact_loss(real_blocks(student), task, horizon)
        except ValueError:
            if not is_traced(student):
                check_layer_exists(None, student, task, horizon)
            raise
    if is_traced(student, task):
        return _loss(student, task, lags_of(horizon, precision_of(student, task)))
    value = _compiled_loss(student, task, lags_of(horizon, precision_of(student, task)))
    if not is_traced(value) and not jnp.isfinite(value):
        explain_missing(None, student, task, horizon)
    return value


def _update(rule: Rule, student: DiagonalSSM, teacher: DiagonalSSM, lags: Lags) -> tuple[DiagonalSSM, Array]:
    """The update, and whether it exists."""
    rule, student, teacher = in_precision(precision_of(student, teacher), (rule, student, teacher))
    F, m = rule.feedback(student.C), rule.propagator.on_diagonal(student.poles)
    (student, teacher, F), (c, b, f) = _scaled(student, teacher, F)
    if lags.weights is not None:
        errors = errors_by_lag(student, teacher, lags)
        update, exists = update_by_lag(student, errors, F, m, lags_before(rule), lags), jnp.array(True)
    else:
        own = None if is_own(rule) else jnp.asarray(m, student.poles.dtype)
        update = cauchy_update(student, teacher, F, own, lags_before(rule))
        exists = pair_reach(rule, student, teacher) < 1 - margin_of(student)
    update = layer_arriving_late(update, student, F, m, rule)
    update = DiagonalSSM(*times_powers_of_2(update.arrays, (c + 2 * b, f + c + 2 * b, f + c + b)))
    finite = jnp.stack([jnp.all(jnp.isfinite(x)) for x in update.arrays])
    return update, exists & jnp.all(finite)


def _loss(student: DiagonalSSM, teacher: DiagonalSSM, lags: Lags) -> Array:
    student, teacher = in_precision(precision_of(student, teacher), (student, teacher))
    (student, teacher, _), (c, b, _) = _scaled(student, teacher, student.C)
    if lags.weights is not None:
        value, exists = loss_by_lag(student, teacher, lags), jnp.array(True)
    else:
        exists = pair_reach(None, student, teacher) < 1 - margin_of(student)
        value = cauchy_loss(student, teacher)
    return jnp.where(exists, times_powers_of_2((value,), (2 * (c + b),))[0], jnp.inf)


def _scaled(student: DiagonalSSM, teacher: DiagonalSSM, F: Array) -> tuple[Any, Array]:
    """Layers and feedback with largest entries of about 1, and the exponents of 2 of `C`, `B` and `F` taken out."""
    groups, exponents = scaled_to_one((student.C, teacher.C), (student.B, teacher.B), (F,))
    (C, C_star), (B, B_star), (F,) = groups
    return (DiagonalSSM(C, student.poles, B), DiagonalSSM(C_star, teacher.poles, B_star), F), exponents


@partial(jax.jit, static_argnums=(0, 1))
def _compiled_update(
    structure: Any, whole: Any, numbers: Any, student: DiagonalSSM, teacher: DiagonalSSM, lags: Lags
) -> tuple[DiagonalSSM, Array]:
    return _update(join_rule(structure, whole, numbers), student, teacher, lags)


_compiled_loss = jax.jit(_loss)


def _lags(rule: Rule, student: DiagonalSSM, teacher: DiagonalSSM, horizon: Horizon) -> Lags:
    """The lags to sum; of an infinite horizon those before the terms vanish, where these are few, else none."""
    dtype = precision_of(student, teacher)
    if not horizon.is_infinite:
        return lags_of(horizon, dtype)
    own, carried = float(radius(student)), float(carried_by(rule, student))
    ratio = max(own, float(radius(teacher))) * max(own, carried)
    output, hidden, input = student.sizes
    by_pairs = rule.propagator.is_scalar or (is_own(rule) and rule.lags is None)
    most = (_PAIR_COST if by_pairs else _CAUCHY_COST) * hidden * (output + input + 4) / (output * input)
    count = _vanished_after(ratio, dtype)
    if not count <= min(most, _MOST_LAGS):
        return lags_of(horizon, dtype)
    lags = lags_of(Horizon(int(count)), dtype)
    return lags._replace(weights=np.ones_like(lags.weights))


def _vanished_after(ratio: float, dtype: Any) -> float:
    """How many terms `j · ratio^j` there are before all that follow add up to less than rounding."""
    if not ratio < 1:
        return np.inf
    ratio = max(ratio, 1e-3)
    left = np.finfo(dtype).eps * (1 - ratio) ** 2 / 8
    return int(np.ceil(np.log(left) / np.log(ratio))) + BLOCK


def _nan_unless(update: DiagonalSSM, exists: Array) -> DiagonalSSM:
    return jax.tree.map(lambda x: jnp.where(exists, x, jnp.nan), update)


def _update_by_blocks(rule: Rule, student: DiagonalSSM, task: Any, horizon: Horizon, method: Any) -> DiagonalSSM:
    try:
        return from_blocks(exact_update(rule_of_blocks(rule, student), real_blocks(student), task, horizon, method))
    except ValueError:
        if not is_traced(student, rule):
            check_layer_exists(rule, student, task, horizon)
        raise
