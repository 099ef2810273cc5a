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
from localgrad.updates.existence import check_alone, explain_missing
from localgrad.updates.horizon import Horizon
from localgrad.updates.lags import Lags, check_memory, correlations_by_lags, lags_of, loss_by_lags
from localgrad.updates.problem import check_problem, check_rule, is_traced
from localgrad.updates.scaling import scaled_to_one, times_powers_of_2
from localgrad.updates.system import (
    Correlations,
    ErrorSystem,
    carries_jacobian,
    credit_of,
    error_system,
    passes_plant,
    update_of,
)

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
) -> LinearRNN:
    """As `expected_update`, whose arguments and errors these are."""
    task = as_task(teacher)
    _check_method(method, horizon)
    check_problem(student, task)
    check_rule(rule, student)
    output, hidden, _ = student.sizes
    credit = hidden + len(task.dynamics) * passes_plant(rule, task)
    check_memory(output, credit, task.num_noises, horizon)
    lags = lags_of(horizon, _precision(student, task))
    traced_method = _traced_method(rule, task) if horizon.is_infinite and method != "lags" else "lags"
    if is_traced(rule, student, task):
        return _nan_unless(*_update(rule, student, task, lags, traced_method))
    chosen = _choose(output, credit, horizon) if method == "auto" else method
    split = split_rule(rule)
    update, exists = _compiled_update(*split, student, task, lags, chosen)
    if is_traced(exists):  # known numbers, but inside someone's jit
        return _nan_unless(*_compiled_update(*split, student, task, lags, traced_method))
    if not exists and horizon.is_infinite:
        # More lags than the buffer holds (spectral radius close to 1), powers beyond the range, or no update at all.
        update, exists = _compiled_update(*split, student, task, lags, "scaled doubling")
    if not exists:
        explain_missing(rule, student, task, horizon)
    return update


@in_standard_promotion
def exact_loss(student: LinearRNN, teacher: LinearRNN | LinearTask, horizon: Horizon) -> Float[Array, ""]:
    """As `expected_loss`, whose arguments and errors these are."""
    task = as_task(teacher)
    check_problem(student, task)
    lags = lags_of(horizon, _precision(student, task))
    if is_traced(student, task):
        return _loss(student, task, lags)
    value = _compiled_loss(student, task, lags)
    if not is_traced(value) and not jnp.isfinite(value):
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


# --- dispatch --------------------------------------------------------------------------------------------------------


def _check_method(method: str, horizon: Horizon) -> None:
    if method not in ("auto", "doubling", "lags"):
        raise ValueError(f"method must be 'auto', 'doubling' or 'lags', got {method!r}")
    if method == "doubling" and not horizon.is_infinite:
        raise ValueError(f"method 'doubling' sums all lags; for horizon {horizon.steps} use 'lags' or 'auto'")


def _choose(output: int, credit: int, horizon: Horizon) -> str:
    few_outputs = output <= _LAGS_UP_TO_OUTPUTS * credit
    return "lags" if not horizon.is_infinite or (credit >= _LAGS_FROM_HIDDEN and few_outputs) else "doubling"


def _traced_method(rule: Rule, task: LinearTask) -> str:
    """Where nothing can be tried again: plain powers if they do for certain, which those of a stable `𝐖` do."""
    return "doubling" if rule.lags is not None or carries_jacobian(rule, task) else "scaled doubling"


def _update(rule: Rule, student: LinearRNN, task: LinearTask, lags: Lags, method: str) -> tuple[LinearRNN, Array]:
    """The update, and whether it exists."""
    rule, student, task = _in_one_precision(rule, student, task)
    system, credit = error_system(student, task), credit_of(rule, student, task)
    (A, B, (F,)), (a, b, f) = scaled_to_one(system.A, system.B, (credit.F,))
    system, credit = ErrorSystem(A, system.W, B), credit._replace(F=F)
    if method == "lags":
        found, complete = correlations_by_lags(system, credit, rule.lags, lags)
    else:
        found, complete = closed_form_correlations(system, credit, rule.lags, scaled=method == "scaled doubling")
    found = Correlations(*times_powers_of_2(found, (a + 2 * b, f + a + 2 * b, f + a + b)))
    update = update_of(found, student, task)
    finite = jnp.stack([jnp.all(jnp.isfinite(x)) for x in jax.tree.leaves(update)])
    return update, complete & jnp.all(finite)


def _loss(student: LinearRNN, task: LinearTask, lags: Lags) -> Array:
    _, student, task = _in_one_precision(None, student, task)
    system = error_system(student, task)
    (A, B), (a, b) = scaled_to_one(system.A, system.B)
    system = ErrorSystem(A, system.W, B)
    value = closed_form_loss(system) if lags.num_blocks is None else loss_by_lags(system, lags)
    return times_powers_of_2((value,), (2 * (a + b),))[0]


@partial(jax.jit, static_argnums=(0, 1, 6))
def _compiled_update(
    structure: Any, whole: Any, numbers: Any, student: LinearRNN, task: LinearTask, lags: Lags, method: str
) -> tuple[LinearRNN, Array]:
    return _update(join_rule(structure, whole, numbers), student, task, lags, method)


_compiled_loss = jax.jit(_loss)


def _nan_unless(update: LinearRNN, exists: Array) -> LinearRNN:
    return jax.tree.map(lambda x: jnp.where(exists, x, jnp.nan), update)


# --- precision ------------------------------------------------------------------------------------------------------


def _precision(student: LinearRNN, task: LinearTask) -> Any:
    dtypes = {x.dtype for x in (*student.matrices, *jax.tree.leaves(task))}
    return dtypes.pop() if len(dtypes) == 1 else np.result_type(*dtypes)


def _in_one_precision(rule: Any, student: LinearRNN, task: LinearTask) -> tuple[Any, LinearRNN, LinearTask]:
    """All three in the wider precision of student and task; whole numbers, which shape the rule, stay."""
    dtype = _precision(student, task)
    trees = (rule, student, task)
    return jax.tree.map(lambda x: x if isinstance(x, int) else jnp.asarray(x, dtype), trees)
