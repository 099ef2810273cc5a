r"""Exact updates and losses over a `Horizon`: the algorithm is chosen, compiled and checked here.

Two algorithms serve all tasks and sizes, chosen by measurement (docs/decisions.md): Stein equations for an infinite
horizon (`doubling.py`), and sums lag by lag for a finite one and for large networks with few outputs (`lags.py`). Both
see a student and its task as one linear system (`system.py`).

Both get readouts, feedback and input weights with largest entries of about 1. The powers of 2 taken out are put back
into the result; so squares of small weights do not vanish, and those of large ones do not overflow, on the way.

What is a door to users is in `expected.py`, whether a result exists in `existence.py`.
"""

from __future__ import annotations

from functools import partial
from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from localgrad.checks import in_standard_promotion
from localgrad.models.linear import LinearRNN
from localgrad.rules.compiled import join_rule, split_rule
from localgrad.rules.rule import Rule
from localgrad.tasks.linear_task import LinearTask, as_task
from localgrad.updates.doubling import closed_form_correlations, closed_form_loss
from localgrad.updates.existence import explain_missing
from localgrad.updates.horizon import Horizon
from localgrad.updates.lags import Lags, check_memory, correlations_by_lags, lags_of, loss_by_lags
from localgrad.updates.problem import check_problem, check_rule, is_traced
from localgrad.updates.system import Correlations, ErrorSystem, credit_of, error_system, passes_plant, update_of

Method = Literal["auto", "doubling", "lags"]

# Lag-by-lag sums win over the Stein equations from this size on, for at most this share of outputs.
_LAGS_FROM_HIDDEN = 128
_LAGS_UP_TO_OUTPUTS = 1 / 32


@in_standard_promotion
def exact_update(
    rule: Rule,
    student: LinearRNN,
    teacher: LinearRNN | LinearTask,
    horizon: Horizon,
    method: Method = "auto",
    *,
    scaled: bool = True,
) -> LinearRNN:
    """As `expected_update`, whose arguments and errors these are.

    `scaled`: whether numbers are scaled under tracing, where nothing can be tried again (see `_update`).
    """
    task = as_task(teacher)
    _check_method(method, horizon)
    check_problem(student, task)
    check_rule(rule, student)
    output, hidden, _ = student.sizes
    credit = hidden + len(task.dynamics) * passes_plant(rule, task)
    check_memory(output, credit, task.num_noises, horizon)
    lags = lags_of(horizon, _precision(student, task))
    if is_traced(rule, student, task):
        traced_method = "doubling" if horizon.is_infinite and method != "lags" else "lags"
        return _nan_unless(*_update(rule, student, task, lags, traced_method, scaled))
    chosen = _choose(output, credit, horizon) if method == "auto" else method
    split = split_rule(rule)
    for algorithm, scaling in _attempts(chosen, horizon):
        update, exists = _compiled_update(*split, student, task, lags, algorithm, scaling)
        if is_traced(exists):  # known numbers, but inside someone's jit
            return _nan_unless(*_compiled_update(*split, student, task, lags, algorithm, True))
        if exists:
            return update
    explain_missing(rule, student, task, horizon)
    return update


def _attempts(chosen: str, horizon: Horizon) -> list[tuple[str, bool]]:
    """What is tried, one after another: plain numbers are faster, and say where they do not do.

    Lag by lag an infinite horizon may need more lags than the buffer holds (spectral radius close to 1).
    """
    rest = [("doubling", True)] if chosen == "lags" and horizon.is_infinite else []
    return [(chosen, False), (chosen, True), *rest]


@in_standard_promotion
def exact_loss(
    student: LinearRNN, teacher: LinearRNN | LinearTask, horizon: Horizon, *, scaled: bool = True
) -> Float[Array, ""]:
    """As `expected_loss`, whose arguments and errors these are; `scaled` as in `exact_update`."""
    task = as_task(teacher)
    check_problem(student, task)
    lags = lags_of(horizon, _precision(student, task))
    if is_traced(student, task):
        return _loss(student, task, lags, scaled)
    value = _compiled_loss(student, task, lags, False)
    if is_traced(value) or not jnp.isfinite(value):
        value = _compiled_loss(student, task, lags, True)
    if not is_traced(value) and not jnp.isfinite(value):
        explain_missing(None, student, task, horizon)
    return value


def silent_loss(teacher: LinearRNN | LinearTask, horizon: Horizon = Horizon()) -> Float[Array, ""]:  # noqa: B008
    """The exact expected loss of a student without output, `½E‖y*_T‖²`: the unit in which losses are told.

    **Raises:** `ValueError` as `expected_loss`, and for a task whose target is 0, which leaves losses without a unit.
    """
    # What a silent student hears, and the noise on its state, do not matter; nor does its output move a plant.
    task = as_task(teacher)
    alone = eqx.tree_at(lambda t: t.student_noise, as_task(task), None) if task.student_noise is not None else task
    (output, state, input), dtype = task.sizes, task.dynamics.dtype
    silent = LinearRNN(*(np.zeros(shape, dtype) for shape in ((output, state), (state, state), (state, input))))
    value = exact_loss(silent, alone, horizon)
    if not is_traced(value) and not value > 0:
        within = "" if horizon.is_infinite else f" within {horizon.steps} steps"
        what = "the teacher's output is 0" if task.is_white_teacher else "the task's target is 0"
        raise ValueError(f"{what}{within}, so there is nothing to learn; check {_MADE_BY[task.is_white_teacher]}")
    return value


_MADE_BY = {True: "A and B", False: "to_target and noise"}


# --- dispatch --------------------------------------------------------------------------------------------------------


def _check_method(method: str, horizon: Horizon) -> None:
    if method not in ("auto", "doubling", "lags"):
        raise ValueError(f"method must be 'auto', 'doubling' or 'lags', got {method!r}")
    if method == "doubling" and not horizon.is_infinite:
        raise ValueError(f"method 'doubling' sums all lags; for horizon {horizon.steps} use 'lags' or 'auto'")


def _choose(output: int, credit: int, horizon: Horizon) -> str:
    few_outputs = output <= _LAGS_UP_TO_OUTPUTS * credit
    return "lags" if not horizon.is_infinite or (credit >= _LAGS_FROM_HIDDEN and few_outputs) else "doubling"


def _update(
    rule: Rule, student: LinearRNN, task: LinearTask, lags: Lags, method: str, scaled: bool
) -> tuple[LinearRNN, Array]:
    """The update, and whether it exists.

    Scaled, readouts, input weights and feedback are brought to about 1 first, and powers are kept at about 1; so
    nothing overflows or vanishes on the way. Plain, numbers are taken as they are; where that could lose some, the
    update counts as one that does not exist.
    """
    rule, student, task = _in_one_precision(rule, student, task)
    system, credit = error_system(student, task), credit_of(rule, student, task)
    safe = jnp.array(True) if scaled else _is_moderate(*system.A, *system.B, credit.F)
    if scaled:
        system, (a, b) = _scale_out(system)
        (F,), f = _near_one(credit.F)
        credit = credit._replace(F=F)
    if method == "doubling":
        found, complete = closed_form_correlations(system, credit, rule.lags, scaled=scaled)
    else:
        found, complete = correlations_by_lags(system, credit, rule.lags, lags)
    if scaled:
        exponents = (a + 2 * b, f + a + 2 * b, f + a + b)
        found = Correlations(*(_times_power_of_2(x, e) for x, e in zip(found, exponents, strict=True)))
    update = update_of(found, student, task)
    finite = jnp.stack([jnp.all(jnp.isfinite(x)) for x in jax.tree.leaves(update)])
    return update, safe & complete & jnp.all(finite)


def _loss(student: LinearRNN, task: LinearTask, lags: Lags, scaled: bool) -> Array:
    """The loss; infinite where it does not exist or, of plain numbers, where some could be lost."""
    _, student, task = _in_one_precision(None, student, task)
    system = error_system(student, task)
    safe = jnp.array(True) if scaled else _is_moderate(*system.A, *system.B)
    if scaled:
        system, (a, b) = _scale_out(system)
    value = closed_form_loss(system, scaled=scaled) if lags.num_blocks is None else loss_by_lags(system, lags)
    return _times_power_of_2(value, 2 * (a + b)) if scaled else jnp.where(safe, value, jnp.inf)


@partial(jax.jit, static_argnums=(0, 1, 6, 7))
def _compiled_update(
    structure: Any,
    whole: Any,
    numbers: Any,
    student: LinearRNN,
    task: LinearTask,
    lags: Lags,
    method: str,
    scaled: bool,
) -> tuple[LinearRNN, Array]:
    return _update(join_rule(structure, whole, numbers), student, task, lags, method, scaled)


_compiled_loss = jax.jit(_loss, static_argnums=3)


def _nan_unless(update: LinearRNN, exists: Array) -> LinearRNN:
    return jax.tree.map(lambda x: jnp.where(exists, x, jnp.nan), update)


# --- precision and range ---------------------------------------------------------------------------------------------


def _precision(student: LinearRNN, task: LinearTask) -> Any:
    dtypes = {x.dtype for x in (*student.matrices, *jax.tree.leaves(task))}
    return dtypes.pop() if len(dtypes) == 1 else np.result_type(*dtypes)


def _in_one_precision(rule: Any, student: LinearRNN, task: LinearTask) -> tuple[Any, LinearRNN, LinearTask]:
    """All three in the wider precision of student and task; whole numbers, which shape the rule, stay."""
    dtype = _precision(student, task)
    trees = (rule, student, task)
    return jax.tree.map(lambda x: x if isinstance(x, int) else jnp.asarray(x, dtype), trees)


def _is_moderate(*matrices: Array) -> Array:
    """Whether the largest entries are so near 1 that no product of five of them leaves the range; 0 is exact."""
    largest = jnp.stack([jnp.max(jnp.abs(x)) for x in matrices])
    limit = 2.0 ** (int(jnp.finfo(largest.dtype).maxexp) // 6)
    return jnp.all((largest == 0) | ((largest > 1 / limit) & (largest < limit)))


def _scale_out(system: ErrorSystem) -> tuple[ErrorSystem, tuple[Array, Array]]:
    """The system with readouts and input weights of about 1, and the exponents taken out of the two."""
    (A, a), (B, b) = _near_one(*system.A), _near_one(*system.B)
    return ErrorSystem(A, system.W, B), (a, b)


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
