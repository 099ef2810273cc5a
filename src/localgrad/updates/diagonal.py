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

from localgrad.checks import check_kind, in_our_arithmetic, in_words, warn_if_cut
from localgrad.models.diagonal import DiagonalSSM, block_matrix, from_blocks, real_blocks
from localgrad.rules.compiled import join_rule, split_rule
from localgrad.rules.rule import Rule
from localgrad.rules.shipped import FixedMatrix
from localgrad.tasks.linear_task import as_task
from localgrad.updates.cauchy import cauchy_loss, cauchy_update
from localgrad.updates.diagonal_lags import errors_by_lag, loss_by_lag, update_by_lag
from localgrad.updates.exact import exact_loss, exact_update
from localgrad.updates.existence import check_update, reach_of
from localgrad.updates.horizon import Horizon
from localgrad.updates.lags import BLOCK, Lags, check_memory, lags_of
from localgrad.updates.problem import is_traced
from localgrad.updates.stein import margin

# A lag costs output × input products a unit, a pair of units as many as it has outputs and inputs, and some more; this
# is how many of the former weigh as much as one of the latter: a first guess, still to be measured.
_CAUCHY_COST = 2.0
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
        return _nan_unless(*_update(rule, student, task, lags_of(horizon, _real(student, task))))
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
        return exact_loss(real_blocks(student), task, horizon)
    if is_traced(student, task):
        return _loss(student, task, lags_of(horizon, _real(student, task)))
    value = _compiled_loss(student, task, lags_of(horizon, _real(student, task)))
    if not is_traced(value) and not jnp.isfinite(value):
        explain_missing(None, student, task, horizon)
    return value


def _update(rule: Rule, student: DiagonalSSM, teacher: DiagonalSSM, lags: Lags) -> tuple[DiagonalSSM, Array]:
    """The update, and whether it exists."""
    rule, student, teacher = _in_one_precision(rule, student, teacher)
    F, m = rule.feedback(student.C), rule.propagator.on_diagonal(student.poles)
    if lags.weights is not None:
        errors = errors_by_lag(student, teacher, lags)
        update, exists = update_by_lag(student, errors, F, m, rule.lags, lags), jnp.array(True)
    else:
        own = None if _is_own(rule) else jnp.asarray(m, student.poles.dtype)
        update = cauchy_update(student, teacher, F, own, rule.lags)
        exists = _reach(rule, student, teacher) < 1 - _margin(student)
    finite = jnp.stack([jnp.all(jnp.isfinite(x)) for x in update.arrays])
    return update, exists & jnp.all(finite)


def _loss(student: DiagonalSSM, teacher: DiagonalSSM, lags: Lags) -> Array:
    _, student, teacher = _in_one_precision(None, student, teacher)
    if lags.weights is not None:
        return loss_by_lag(student, teacher, lags)
    exists = _reach(None, student, teacher) < 1 - _margin(student)
    return jnp.where(exists, cauchy_loss(student, teacher), jnp.inf)


@partial(jax.jit, static_argnums=(0, 1))
def _compiled_update(
    structure: Any, whole: Any, numbers: Any, student: DiagonalSSM, teacher: DiagonalSSM, lags: Lags
) -> tuple[DiagonalSSM, Array]:
    return _update(join_rule(structure, whole, numbers), student, teacher, lags)


_compiled_loss = jax.jit(_loss)


def _lags(rule: Rule, student: DiagonalSSM, teacher: DiagonalSSM, horizon: Horizon) -> Lags:
    """The lags to sum; of an infinite horizon those before the terms vanish, where these are few, else none."""
    dtype = _real(student, teacher)
    if not horizon.is_infinite:
        return lags_of(horizon, dtype)
    own, carried = float(_radius(student)), float(_carried(rule, student))
    ratio = max(own, float(_radius(teacher))) * max(own, carried)
    output, hidden, input = student.sizes
    most = _CAUCHY_COST * hidden * (output + input + 4) / (output * input)
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


def _is_own(rule: Rule) -> bool:
    """Whether `m = λ`: the layer's Jacobian is diagonal, so that all of it and its diagonal are the same."""
    M = rule.propagator
    parts = [x for x in (M.full, M.diagonal) if x is not None]
    return M.decay is None and not M.terms and len(parts) == 1 and isinstance(parts[0], int) and parts[0] == 1


def _nan_unless(update: DiagonalSSM, exists: Array) -> DiagonalSSM:
    return jax.tree.map(lambda x: jnp.where(exists, x, jnp.nan), update)


def _real(*layers: DiagonalSSM) -> Any:
    """The precision of the layers' real parts."""
    return np.finfo(np.result_type(*(x.dtype for layer in layers for x in layer.arrays))).dtype


def _in_one_precision(rule: Any, *layers: DiagonalSSM) -> tuple[Any, ...]:
    """All in the wider precision of the layers; whole numbers, which shape the rule, stay."""
    dtype = np.result_type(*(x.dtype for layer in layers for x in layer.arrays))
    number = np.finfo(dtype).dtype  # of its parts
    rule = jax.tree.map(lambda x: x if isinstance(x, int) else jnp.asarray(x, number), rule)
    return rule, *(jax.tree.map(lambda x: jnp.asarray(x, dtype), layer) for layer in layers)


# --- as a network of real blocks -------------------------------------------------------------------------------------


def _update_by_blocks(rule: Rule, student: DiagonalSSM, task: Any, horizon: Horizon, method: Any) -> DiagonalSSM:
    return from_blocks(exact_update(rule_of_blocks(rule, student), real_blocks(student), task, horizon, method))


def rule_of_blocks(rule: Rule, student: DiagonalSSM) -> Rule:
    """The rule as it acts on the layer's real blocks: `F` and `M` of twice as many units."""
    F, propagator = rule.feedback(student.C), rule.propagator
    feedback = "symmetric" if rule.feedback.is_symmetric else jnp.concatenate([F.real, -F.imag], axis=-1)
    if _is_own(rule):
        carried: Any = "full"
    elif propagator.is_scalar:
        carried = propagator
    else:
        m = jnp.asarray(propagator.on_diagonal(student.poles), student.poles.dtype)
        carried = FixedMatrix(block_matrix(jnp.broadcast_to(m, student.poles.shape)))
    return Rule(feedback, carried, rule.lags, name=rule.name, key=rule.key)


# --- checks ----------------------------------------------------------------------------------------------------------


def check_layer_problem(student: DiagonalSSM, task: Any) -> None:
    """Raise the `ValueError` that says why a layer and a task do not fit together."""
    for who, layer in (("student", student), ("teacher", task)):
        if isinstance(layer, DiagonalSSM):
            if layer.poles.ndim > 1 or layer.C.ndim > 2 or layer.B.ndim > 2:
                raise ValueError(
                    f"the {who} is a batch, with poles of shape {layer.poles.shape}; map over it with jax.vmap"
                )
            warn_if_cut(f"the {who}", *layer.arrays)
    if not isinstance(task, DiagonalSSM):
        return  # the dense algorithm checks the rest, on the real blocks
    (output, _, input), (output_star, _, input_star) = student.sizes, task.sizes
    if (output, input) != (output_star, input_star):
        raise ValueError(
            f"student has {output} outputs and {input} inputs, teacher {output_star} and {input_star}; "
            "they must agree (hidden sizes may differ)"
        )


def check_layer_rule(rule: Rule, student: DiagonalSSM) -> None:
    """Raise the `ValueError` that says why a rule does not fit a layer, which may have leading axes."""
    check_kind("rule", rule, Rule)
    output, hidden, _ = student.sizes
    Rule.check_fits(rule, output, hidden, diagonal=True)
    warn_if_cut("a matrix of the rule", *(x for x in jax.tree.leaves(rule) if getattr(x, "ndim", 0)))


# --- existence -------------------------------------------------------------------------------------------------------


def _radius(layer: DiagonalSSM) -> Array:
    return jnp.max(jnp.abs(jax.lax.stop_gradient(layer.poles)))


def _margin(layer: DiagonalSSM) -> float:
    """Every unit stands alone, as a network of one unit."""
    return margin(jax.ShapeDtypeStruct((1, 1), layer.poles.real.dtype))


def _reach(rule: Rule | None, student: DiagonalSSM, teacher: DiagonalSSM) -> Array:
    """How far the largest ratio of successive terms reaches (`existence.py`); eigenvalues are known here."""
    carried = 0.0 if rule is None or rule.lags is not None else _carried(rule, student)
    return reach_of(_radius(student), _radius(teacher), carried, jnp.maximum)


def layer_reach(rule: Rule, student: DiagonalSSM, task_radius: Any) -> Array:
    """The reach on a task of this spectral radius."""
    carried = 0.0 if rule.lags is not None else _carried(rule, student)
    return reach_of(_radius(student), task_radius, carried, jnp.maximum)


def _carried(rule: Rule, student: DiagonalSSM) -> Array:
    return jnp.max(jnp.abs(rule.propagator.on_diagonal(jax.lax.stop_gradient(student.poles))))


def check_layer_update(rule: Rule, student: DiagonalSSM, task: Any, horizon: Horizon) -> None:
    """Raise the `ValueError` that `expected_update` would, without computing the update (short of an overflow)."""
    check_layer_problem(student, task)
    check_layer_rule(rule, student)
    if isinstance(task, DiagonalSSM):
        check_layer_exists(rule, student, task, horizon)
    else:
        check_update(rule_of_blocks(rule, student), real_blocks(student), as_task(task), horizon)


def explain_missing(rule: Rule | None, student: DiagonalSSM, teacher: DiagonalSSM, horizon: Horizon) -> None:
    """Raise the `ValueError` that says why an update or loss came out as not existing."""
    check_layer_exists(rule, student, teacher, horizon)
    what = "loss" if rule is None else "update"
    raise ValueError(f"the {what} overflows; scale C, B and the feedback down, or shorten the horizon")


def check_layer_exists(rule: Rule | None, student: DiagonalSSM, teacher: DiagonalSSM, horizon: Horizon) -> None:
    """Raise the `ValueError` that says why there is no update, or no loss where there is no rule."""
    named = [(f"{who}'s {name}", x) for who, layer in (("student", student), ("teacher", teacher))
             for name, x in zip(("C", "poles", "B"), layer.arrays, strict=True)]  # fmt: skip
    named += [("rule's parameters", x) for x in jax.tree.leaves(rule)]
    for name, value in named:
        if not np.all(np.isfinite(value)):
            raise ValueError(f"the {name} has an entry that is not finite; give finite numbers")
    if not horizon.is_infinite:
        return
    for who, layer in (("student", student), ("teacher", teacher)):
        sizes = np.abs(np.asarray(layer.poles, complex))
        if not sizes.max() < 1 - _margin(layer):
            within = " within rounding" if sizes.max() < 1 else ""
            raise ValueError(
                f"the {who}'s pole {int(sizes.argmax())} has modulus {sizes.max():.6g}{within}, but an infinite "
                "horizon needs all below 1; move it inside the unit circle or give a finite horizon"
            )
    if rule is not None and not _reach(rule, student, teacher) < 1 - _margin(student):
        largest = max(float(_radius(student)), float(_radius(teacher)))
        raise ValueError(
            f"the propagator's largest entry {float(_carried(rule, student)):.6g} times that of the poles, "
            f"{largest:.6g}, is not below 1, so an infinite horizon has no update; lower the decay, set lags or give a "
            "finite horizon"
        )
