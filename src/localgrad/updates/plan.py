r"""How an update is computed, and whether rule, student and task fit: what follows from kinds and shapes alone.

It is found once for each kind of problem and then remembered, since for small networks finding it takes as long as the
update itself. Numbers have no say in it; whether they let an update exist is seen from the result (`existence.py`).
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import jax
import numpy as np

from localgrad.checks import check_choice
from localgrad.models.linear import LinearRNN
from localgrad.rules.compiled import join_rule
from localgrad.rules.rule import Rule
from localgrad.tasks.linear_task import LinearTask
from localgrad.updates.horizon import Horizon
from localgrad.updates.lags import check_memory
from localgrad.updates.problem import check_problem, check_rule
from localgrad.updates.system import carries_jacobian, passes_plant

Method = Literal["auto", "doubling", "lags"]
Algorithm = Literal["doubling", "scaled doubling", "lags"]

# Lag-by-lag sums win over the Stein equations from this size on, for at most this share of outputs.
_LAGS_FROM_HIDDEN = 128
_LAGS_UP_TO_OUTPUTS = 1 / 32

_MOST_REMEMBERED = 256


class Plan(NamedTuple):
    """The precision of the result, and the algorithm where numbers are known and where they are traced."""

    dtype: Any
    algorithm: Algorithm
    traced: Algorithm | None

    @property
    def if_traced(self) -> Algorithm:
        """`ValueError` where only known numbers show whether the algorithm was enough."""
        if self.traced is None:
            raise ValueError(
                "method 'lags' sums an infinite horizon for known numbers only, since it may have to be tried again by "
                "another; inside jax.jit, jax.vmap and jax.grad leave method out, or give a finite horizon"
            )
        return self.traced


_remembered: dict[Any, Plan] = {}


def plan_of(problem: tuple[Any, tuple, tuple], horizon: Horizon, method: Method = "auto") -> Plan:
    """The plan for `(rule or None, student, task)` as `rules.compiled.split_rule` takes it apart.

    **Raises:** `ValueError` where they do not fit, for an unknown method, and for a horizon that memory cannot hold.
    """
    _check_method(method, horizon)
    structure, whole, numbers = problem
    kinds = tuple((getattr(x, "shape", ()), getattr(x, "dtype", type(x))) for x in numbers)
    wide = jax.config.read("jax_enable_x64")
    key = structure, whole, kinds, horizon, method, wide
    plan = _remembered.get(key)
    if plan is None:
        rule, student, task = join_rule(*problem)
        plan = _found(rule, student, task, horizon, method)
        if wide or not any(dtype == np.float64 for _, dtype in kinds):  # else there was a warning, each time
            if len(_remembered) >= _MOST_REMEMBERED:
                _remembered.clear()
            _remembered[key] = plan
    return plan


def _check_method(method: str, horizon: Horizon) -> None:
    check_choice("method", method, ("auto", "doubling", "lags"))
    if method == "doubling" and not horizon.is_infinite:
        raise ValueError(f"method 'doubling' sums all lags; for horizon {horizon.steps} use 'lags' or 'auto'")


def _found(rule: Rule | None, student: LinearRNN, task: LinearTask, horizon: Horizon, method: Method) -> Plan:
    check_problem(student, task)
    dtype = precision_of(student, task)
    if rule is None:
        algorithm: Algorithm = "doubling" if horizon.is_infinite else "lags"
        return Plan(dtype, algorithm, algorithm)
    check_rule(rule, student)
    output, hidden, _ = student.sizes
    credit = hidden + len(task.dynamics) * passes_plant(rule, task)
    check_memory(output, credit, task.num_noises, horizon)
    if not horizon.is_infinite:
        return Plan(dtype, "lags", "lags")
    if method == "lags":
        return Plan(dtype, "lags", None)
    few_outputs = credit >= _LAGS_FROM_HIDDEN and output <= _LAGS_UP_TO_OUTPUTS * credit
    # Where nothing can be tried again: plain powers if they do for certain, which those of a stable 𝐖 do.
    certain = rule.lags is not None or carries_jacobian(rule, task)
    return Plan(
        dtype,
        "lags" if few_outputs and method == "auto" else "doubling",
        "doubling" if certain else "scaled doubling",
    )


def precision_of(student: LinearRNN, task: LinearTask) -> Any:
    """The wider precision of the two."""
    dtypes = {x.dtype for x in (*student.matrices, *jax.tree.leaves(task))}
    return dtypes.pop() if len(dtypes) == 1 else np.result_type(*dtypes)
