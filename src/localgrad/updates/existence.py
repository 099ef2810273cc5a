r"""Whether an update or a loss exists: one answer, for callers, compiled programs and flows.

A finite horizon has an update whatever the weights, as long as nothing overflows. For an infinite one the sums over
lags must converge. With spectral radii `ρ` and a propagator `M`, all is decided by how far the largest ratio of
successive terms reaches,

    reach = ρ(𝐖)                       for a loss, and for a rule that keeps few lags,
    reach = max(ρ(𝐖), ρ(M) ρ(𝐖))       for a rule that keeps all lags,

with the error system's `𝐖` (`system.py`), and the sums converge where `reach < 1 − margin`. In an open loop
`ρ(𝐖) = max(ρ(W), ρ(D))` of student and task, of a teacher `D = W*`. In a closed loop `𝐖` has a radius of its own: it
may be unstable where both are stable, and stable where neither is. The `margin` is what rounding can move an eigenvalue
of a matrix of the size and precision at hand: a radius within it of 1 cannot be told from 1.

Limits: compiled programs cannot ask for eigenvalues; they notice the same where the sums do not settle within as many
terms as a reach of `1 − margin` needs (`stein.py`).

Source: docs/theory.md, section 3.
"""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from localgrad.models.linear import LinearRNN, spectral_radius
from localgrad.rules.compiled import in_compiled_form
from localgrad.rules.rule import Rule
from localgrad.tasks.linear_task import LinearTask, as_task
from localgrad.updates.horizon import Horizon
from localgrad.updates.problem import check_problem, check_rule, named
from localgrad.updates.stein import is_elementwise, margin
from localgrad.updates.system import carries_jacobian, credit_of, error_system

# Squarings in an estimate of ρ(W): its relative error is about log(n κ) / 2^20, κ being the eigenvectors' condition.
_SQUARINGS = 20

_credit = eqx.filter_jit(lambda rule, student, task: credit_of(rule, student, task).M)


def reach_of(own: Any, task: Any, carried: Any, maximum: Any = np.maximum) -> Any:
    """The reach from `ρ(W)`, `ρ(D)` and `ρ(M)`; the last is 0 where no sum over all lags holds `M`."""
    larger = maximum(own, task)
    return maximum(larger, carried * larger)


def estimated_reach(rule: Rule, student: LinearRNN, task: LinearTask, task_radius: Array) -> Array:
    """The reach without eigenvalues of a student, to about 1e-5, for compiled programs; `task_radius` is `ρ(D)`."""
    if task.is_closed_loop:
        return _reach_of_loop(rule, student, task)
    W = student.W
    if rule.lags is not None:
        return reach_of(_radius_bound(W), task_radius, 0.0, jnp.maximum)
    M = rule.propagator(W)
    if is_elementwise(M):
        own, carried = _radius_bound(W), jnp.max(jnp.abs(M))
    else:
        own, carried = _radius_bound(jnp.stack([W, M]))
    return reach_of(own, task_radius, carried, jnp.maximum)


def _reach_of_loop(rule: Rule, student: LinearRNN, task: LinearTask) -> Array:
    (joint,) = error_system(student, task).W
    if rule.lags is not None:
        return _radius_bound(joint)
    M = credit_of(rule, student, task).M
    carried = jnp.max(jnp.abs(M)) if is_elementwise(M) else _radius_bound(M)
    return reach_of(_radius_bound(joint), 0.0, carried, jnp.maximum)


def _radius_bound(W: Array) -> Array:
    """`‖W^(2^k)‖^(1/2^k)`, which tends to `ρ(W)` from above, to about 1e-5 here; on any device, unlike eigenvalues.

    Of each matrix, where `W` has leading axes.
    """

    def square(_: int, state: tuple[Array, Array]) -> tuple[Array, Array]:
        M, log_size = state  # the power is exp(log_size) · M
        size = jnp.linalg.norm(M, axis=(-2, -1))
        M = M / jnp.where(size > 0, size, 1)[..., None, None]
        return M @ M, 2 * (log_size + jnp.log(size))

    M, log_size = jax.lax.fori_loop(0, _SQUARINGS, square, (W, jnp.zeros(W.shape[:-2], W.dtype)))
    return jnp.exp((log_size + jnp.log(jnp.linalg.norm(M, axis=(-2, -1)))) / 2.0**_SQUARINGS)


# --- reasons, for callers --------------------------------------------------------------------------------------------


def check_exists(rule: Rule | None, student: LinearRNN, task: LinearTask, horizon: Horizon) -> None:
    """Raise the `ValueError` that says why there is no update, or no loss where there is no rule.

    Short of an overflow, which only computing shows.
    """
    _check_finite(rule, student, task)
    if horizon.is_infinite:
        _check_reach(rule, student, task)


def check_update(rule: Rule, student: LinearRNN, task: Any, horizon: Horizon) -> None:
    """Raise the `ValueError` that `expected_update` would, without computing the update (short of an overflow)."""
    task = as_task(task)
    check_problem(student, task)
    check_rule(rule, student)
    check_exists(rule, student, task, horizon)


def explain_missing(rule: Rule | None, student: LinearRNN, task: LinearTask, horizon: Horizon) -> None:
    """Raise the `ValueError` that says why an update or loss came out as not existing."""
    check_exists(rule, student, task, horizon)
    what = "loss" if rule is None else "update"
    if not horizon.is_infinite:
        raise ValueError(f"the {what} overflows at horizon {horizon.steps}; shorten the horizon or scale down W")
    radius = max(spectral_radius(part) for part in error_system(student, task).W)
    raise ValueError(
        f"the {what} cannot be had in {student.W.dtype} numbers, with a spectral radius of {radius:.12g}: its sums "
        "over lags overflow or are lost in rounding; scale the weights down or give a finite horizon"
    )


def _check_finite(rule: Rule | None, student: LinearRNN, task: LinearTask) -> None:
    named_matrices = [(f"student's {letter}", x) for letter, x in zip("AWB", student.matrices, strict=True)]
    named_matrices += [(f"{named(task)}'s {letter}", x) for letter, x in task.lettered.items()]
    if rule is not None:
        named_matrices += [("rule's parameters", x) for x in jax.tree.leaves(rule)]
        made = ((rule.feedback.terms, "A", student.A), (rule.propagator.terms, "J", student.W))
        named_matrices += [(f"what the term {type(term).__name__} makes of {letter}", term(jnp.asarray(matrix)))
                           for terms, letter, matrix in made for term in terms]  # fmt: skip
    for name, value in named_matrices:
        if not np.all(np.isfinite(value)):
            raise ValueError(f"{name} has an entry that is not finite; give finite numbers")


def _check_reach(rule: Rule | None, student: LinearRNN, task: LinearTask) -> None:
    radii = _check_loop(student, task) if task.is_closed_loop else _check_stable(student, task)
    if rule is None or rule.lags is not None:
        return
    carried = _radius_carried(rule, student, task, radii[0])
    limit = 1 - max(map(margin, (student.W, task.dynamics)))
    if not reach_of(*radii, carried) < limit:
        what = "that of the loop" if task.is_closed_loop else "that of W"
        raise ValueError(
            f"the propagator's spectral radius {carried:.6g} times {what}, {max(radii):.6g}, is not "
            "below 1, so an infinite horizon has no update; lower the decay, set lags or give a finite horizon"
        )


def _radius_carried(rule: Rule, student: LinearRNN, task: LinearTask, own: float) -> float:
    """`ρ(M)`; `own` is that of the system which holds the student."""
    if carries_jacobian(rule, task):
        return own
    M = _credit(in_compiled_form(rule, *student.sizes[:2]), student, task)
    return float(jnp.abs(M).max()) if is_elementwise(M) else spectral_radius(M)


def _check_stable(student: LinearRNN, task: LinearTask) -> tuple[float, float]:
    """`ρ(W)` and `ρ(D)`, both below 1."""
    letter = "W" if task.is_white_teacher else "D"
    radii = []
    for who, matrix in (("student's W", student.W), (f"{named(task)}'s {letter}", task.dynamics)):
        radius = spectral_radius(matrix)
        if not radius < 1 - margin(matrix):
            within = " within rounding" if radius < 1 else ""
            raise ValueError(
                f"the {who} has spectral radius {radius:.6g}{within}, but an infinite horizon needs it below 1; "
                f"scale {who[-1]} down or give a finite horizon"
            )
        radii.append(radius)
    return radii[0], radii[1]


def _check_loop(student: LinearRNN, task: LinearTask) -> tuple[float, float]:
    """The radius of the closed loop, below 1 (and 0, for what stands alone)."""
    (joint,) = error_system(student, task).W
    radius = spectral_radius(joint)
    if not radius < 1 - margin(joint):
        raise ValueError(
            f"the closed loop of student and task has spectral radius {radius:.6g} (W alone "
            f"{spectral_radius(student.W):.6g}, the task's D alone {spectral_radius(task.dynamics):.6g}), but an "
            "infinite horizon needs it below 1; start from a student that keeps the loop stable, or give a finite "
            "horizon"
        )
    return radius, 0.0


def check_alone(task: LinearTask) -> None:
    """`ValueError` where a task that nobody controls runs away: a student without output then has no finite loss."""
    radius = spectral_radius(task.dynamics)
    if not radius < 1 - margin(task.dynamics):
        raise ValueError(
            f"without a student's output the task is unstable (its D has spectral radius {radius:.6g}), so the loss of "
            "a silent student, in which losses are told, is infinite; give the plant damping, or a finite horizon"
        )
