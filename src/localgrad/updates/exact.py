r"""Exact updates and losses over a `Horizon`: the algorithm is chosen, compiled and checked here.

Two algorithms serve all tasks and sizes, chosen by measurement (docs/decisions.md): Stein equations for an infinite
horizon (`doubling.py`), and sums lag by lag for a finite one and for large networks with few outputs (`lags.py`). Both
see a student and its task as one linear system (`system.py`).

Both get readouts, feedback and input weights with largest entries of about 1. The powers of 2 taken out are put back
into the result; so squares of small weights do not vanish, and those of large ones do not overflow, on the way
(`scaling.py`).

What is a door to users is in `expected.py`, whether a result exists in `existence.py`.
"""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from localgrad.checks import in_our_arithmetic
from localgrad.models.linear import LinearRNN
from localgrad.rules.compiled import join_rule, split_rule
from localgrad.rules.rule import Rule
from localgrad.tasks.linear_task import LinearTask, as_task
from localgrad.updates.doubling import closed_form_correlations, closed_form_loss
from localgrad.updates.existence import check_alone, explain_missing
from localgrad.updates.horizon import Horizon
from localgrad.updates.lags import Lags, correlations_by_lags, lags_of, loss_by_lags
from localgrad.updates.late import arriving_late, lags_before
from localgrad.updates.plan import Algorithm, Method, plan_of, precision_of
from localgrad.updates.problem import is_traced
from localgrad.updates.scaling import scaled_to_one, times_powers_of_2
from localgrad.updates.system import Correlations, ErrorSystem, credit_of, error_system, update_of


@in_our_arithmetic
def exact_update(
    rule: Rule,
    student: LinearRNN,
    teacher: LinearRNN | LinearTask,
    horizon: Horizon,
    method: Method = "auto",
) -> LinearRNN:
    """As `expected_update`, whose arguments and errors these are."""
    task = as_task(teacher)
    problem = split_rule((rule, student, task))
    plan = plan_of(problem, horizon, method)
    lags = lags_of(horizon, plan.dtype)
    if is_traced(problem):
        return _nan_unless(*_update(*problem, lags, plan.if_traced))
    update, exists = _compiled_update(*problem, lags, plan.algorithm)
    if is_traced(exists):  # known numbers, but inside someone's jit
        return _nan_unless(*_compiled_update(*problem, lags, plan.if_traced))
    if exists:
        return update
    if horizon.is_infinite:
        # More lags than the buffer holds (spectral radius close to 1), powers beyond the range, or no update at all.
        update, exists = _compiled_update(*problem, lags, "scaled doubling")
    if not exists:
        explain_missing(rule, student, task, horizon)
    return update


@in_our_arithmetic
def exact_loss(student: LinearRNN, teacher: LinearRNN | LinearTask, horizon: Horizon) -> Float[Array, ""]:
    """As `expected_loss`, whose arguments and errors these are."""
    task = as_task(teacher)
    problem = split_rule((None, student, task))
    lags = lags_of(horizon, plan_of(problem, horizon).dtype)
    if is_traced(problem):
        return _loss(*problem, lags)
    value = _compiled_loss(*problem, lags)
    if not is_traced(value) and not np.isfinite(value):
        explain_missing(None, student, task, horizon)
    return value


def silent_loss(teacher: LinearRNN | LinearTask, horizon: Horizon = Horizon()) -> Float[Array, ""]:  # noqa: B008
    """The exact expected loss of a student without output, `½E‖y*_T‖²`: the unit in which losses are told.

    **Raises:** `ValueError` as `expected_loss`, and for a task whose target is 0, which leaves losses without a unit.
    """
    # What a silent student hears, and the noise on its state, do not matter.
    task = as_task(teacher)
    alone = task if task.student_noise is None else eqx.tree_at(lambda t: t.student_noise, task, None)
    if task.is_closed_loop and horizon.is_infinite and not is_traced(task):
        check_alone(task)
    (output, state, input), dtype = task.sizes, task.dynamics.dtype
    silent = LinearRNN(*(np.zeros(shape, dtype) for shape in ((output, state), (state, state), (state, input))))
    value = exact_loss(silent, alone, horizon)
    if not is_traced(value) and not value > 0:
        within = "" if horizon.is_infinite else f" within {horizon.steps} steps"
        what = "the teacher's output is 0" if task.is_white_teacher else "the task's target is 0"
        raise ValueError(f"{what}{within}, so there is nothing to learn; check {_MADE_BY[task.is_white_teacher]}")
    return value


_MADE_BY = {True: "A and B", False: "to_target and noise"}


# --- compiled programs -----------------------------------------------------------------------------------------------


def _update(structure: Any, whole: Any, numbers: Any, lags: Lags, algorithm: Algorithm) -> tuple[LinearRNN, Array]:
    """The update, and whether it exists."""
    rule, student, task = _in_one_precision(*join_rule(structure, whole, numbers))
    system, credit = error_system(student, task), credit_of(rule, student, task)
    (A, B, (F,)), (a, b, f) = scaled_to_one(system.A, system.B, (credit.F,))
    system, credit = ErrorSystem(A, system.W, B), credit._replace(F=F)
    if algorithm == "lags":
        found, complete = correlations_by_lags(system, credit, lags_before(rule), lags)
    else:
        found, complete = closed_form_correlations(
            system, credit, lags_before(rule), scaled=algorithm == "scaled doubling"
        )
    found = arriving_late(found, system, credit, rule)
    found = Correlations(*times_powers_of_2(found, (a + 2 * b, f + a + 2 * b, f + a + b)))
    update = update_of(found, student, task)
    finite = jnp.stack([jnp.all(jnp.isfinite(x)) for x in jax.tree.leaves(update)])
    return update, complete & jnp.all(finite)


def _loss(structure: Any, whole: Any, numbers: Any, lags: Lags) -> Array:
    _, student, task = _in_one_precision(*join_rule(structure, whole, numbers))
    system = error_system(student, task)
    (A, B), (a, b) = scaled_to_one(system.A, system.B)
    system = ErrorSystem(A, system.W, B)
    value = closed_form_loss(system) if lags.num_blocks is None else loss_by_lags(system, lags)
    return times_powers_of_2((value,), (2 * (a + b),))[0]


# One flat tuple of numbers, which JAX takes faster than a tree.
_compiled_update = jax.jit(_update, static_argnums=(0, 1, 4))
_compiled_loss = jax.jit(_loss, static_argnums=(0, 1))


def _nan_unless(update: LinearRNN, exists: Array) -> LinearRNN:
    return jax.tree.map(lambda x: jnp.where(exists, x, jnp.nan), update)


# --- precision ------------------------------------------------------------------------------------------------------


def _in_one_precision(rule: Any, student: LinearRNN, task: LinearTask) -> tuple[Any, LinearRNN, LinearTask]:
    """All three in the wider precision of student and task; whole numbers, which shape the rule, stay."""
    dtype = precision_of(student, task)
    trees = (rule, student, task)
    return jax.tree.map(lambda x: x if isinstance(x, int) else jnp.asarray(x, dtype), trees)
