r"""Whether an update or a loss exists: one answer, for callers, compiled programs and flows.

A finite horizon has an update whatever the weights, as long as nothing overflows. For an infinite one the sums over
lags must converge. With spectral radii `ρ` and a propagator `M`, all is decided by how far the largest ratio of
successive terms reaches,

    reach = max(ρ(W), ρ(W*))                                   for a loss, and for a rule that keeps few lags,
    reach = max(ρ(W), ρ(W*), ρ(M) ρ(W), ρ(M) ρ(W*))            for a rule that keeps all lags,

and the sums converge where `reach < 1 − margin`. The `margin` is what rounding can move an eigenvalue of a matrix of
the size and precision at hand: a radius within it of 1 cannot be told from 1.

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
from localgrad.updates.horizon import Horizon
from localgrad.updates.problem import check_problem, check_rule
from localgrad.updates.stein import is_elementwise, margin

# Squarings in an estimate of ρ(W): its relative error is about log(n κ) / 2^20, κ being the eigenvectors' condition.
_SQUARINGS = 20

_propagator = eqx.filter_jit(lambda rule, W: rule.propagator(W))


def reach_of(own: Any, teacher: Any, carried: Any, maximum: Any = np.maximum) -> Any:
    """The reach from `ρ(W)`, `ρ(W*)` and `ρ(M)`; the last is 0 where no sum over all lags holds `M`."""
    larger = maximum(own, teacher)
    return maximum(larger, carried * larger)


def estimated_reach(rule: Rule, W: Array, teacher_radius: Array) -> Array:
    """The reach without eigenvalues of a student, to about 1e-5, for compiled programs."""
    if rule.lags is not None:
        return reach_of(_radius_bound(W), teacher_radius, 0.0, jnp.maximum)
    M = rule.propagator(W)
    if is_elementwise(M):
        own, carried = _radius_bound(W), jnp.max(jnp.abs(M))
    else:
        own, carried = _radius_bound(jnp.stack([W, M]))
    return reach_of(own, teacher_radius, carried, jnp.maximum)


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


def check_exists(rule: Rule | None, student: LinearRNN, teacher: LinearRNN, horizon: Horizon) -> None:
    """Raise the `ValueError` that says why there is no update, or no loss where there is no rule.

    Short of an overflow, which only computing shows.
    """
    _check_finite(rule, student, teacher)
    if horizon.is_infinite:
        _check_reach(rule, student, teacher)


def check_update(rule: Rule, student: LinearRNN, teacher: LinearRNN, horizon: Horizon) -> None:
    """Raise the `ValueError` that `expected_update` would, without computing the update (short of an overflow)."""
    check_problem(student, teacher)
    check_rule(rule, student)
    check_exists(rule, student, teacher, horizon)


def explain_missing(rule: Rule | None, student: LinearRNN, teacher: LinearRNN, horizon: Horizon) -> None:
    """Raise the `ValueError` that says why an update or loss came out as not existing."""
    check_exists(rule, student, teacher, horizon)
    what = "loss" if rule is None else "update"
    if not horizon.is_infinite:
        raise ValueError(f"the {what} overflows at horizon {horizon.steps}; shorten the horizon or scale down W")
    radius = max(spectral_radius(student.W), spectral_radius(teacher.W))
    raise ValueError(
        f"the {what} cannot be had in {student.W.dtype} numbers, with a spectral radius of {radius:.12g}: its sums "
        "over lags overflow or are lost in rounding; scale the weights down or give a finite horizon"
    )


def _check_finite(rule: Rule | None, student: LinearRNN, teacher: LinearRNN) -> None:
    named = [(f"{who}'s {letter}", x) for who, net in (("student", student), ("teacher", teacher))
             for letter, x in zip("AWB", net.matrices, strict=True)]  # fmt: skip
    if rule is not None:
        named += [("rule's parameters", x) for x in jax.tree.leaves(rule)]
        made = ((rule.feedback.terms, "A", student.A), (rule.propagator.terms, "J", student.W))
        named += [(f"what the term {type(term).__name__} makes of {letter}", term(jnp.asarray(matrix)))
                  for terms, letter, matrix in made for term in terms]  # fmt: skip
    for name, value in named:
        if not np.all(np.isfinite(value)):
            raise ValueError(f"{name} has an entry that is not finite; give finite numbers")


def _check_reach(rule: Rule | None, student: LinearRNN, teacher: LinearRNN) -> None:
    radii = {"student": spectral_radius(student.W), "teacher": spectral_radius(teacher.W)}
    limits = {"student": 1 - margin(student.W), "teacher": 1 - margin(teacher.W)}
    for who, radius in radii.items():
        if not radius < limits[who]:
            within = " within rounding" if radius < 1 else ""
            raise ValueError(
                f"the {who}'s W has spectral radius {radius:.6g}{within}, but an infinite horizon needs it below 1; "
                "scale W down or give a finite horizon"
            )
    if rule is None or rule.lags is not None:
        return
    M = _propagator(in_compiled_form(rule, *student.sizes[:2]), student.W)
    carried = float(jnp.abs(M).max()) if is_elementwise(M) else spectral_radius(M)
    if not reach_of(radii["student"], radii["teacher"], carried) < min(limits.values()):
        raise ValueError(
            f"the propagator's spectral radius {carried:.6g} times that of W, {max(radii.values()):.6g}, is not "
            "below 1, so an infinite horizon has no update; lower the decay, set lags or give a finite horizon"
        )
