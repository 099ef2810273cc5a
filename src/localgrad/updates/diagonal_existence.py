r"""Whether rule, layer and task fit together, and whether an update or a loss exists: one answer, as for networks.

Units stand alone, so the radius of a layer is its largest `|λ|`, and that of a propagator its largest `|m|`. On a task
that is no layer, the layer's own numbers are told of first, in its own words; the rest is what `existence.py` says of
its real blocks.

Source: docs/theory.md, sections 3 and 11.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from localgrad.checks import check_kind, warn_if_cut
from localgrad.models.diagonal import DiagonalSSM, real_blocks
from localgrad.rules.rule import Rule
from localgrad.tasks.linear_task import as_task
from localgrad.updates.diagonal_blocks import rule_of_blocks
from localgrad.updates.existence import check_update, estimated_reach, reach_of
from localgrad.updates.horizon import Horizon
from localgrad.updates.problem import named
from localgrad.updates.stein import margin


def check_layer_problem(student: DiagonalSSM, task: Any) -> None:
    """Raise the `ValueError` that says why a layer and a task do not fit together."""
    for who, layer in (("student", student), ("teacher", task)):
        if isinstance(layer, DiagonalSSM):
            if layer.poles.ndim > 1 or layer.C.ndim > 2 or layer.B.ndim > 2:
                raise ValueError(
                    f"the {who} is a batch, with poles of shape {layer.poles.shape}; map over it with jax.vmap"
                )
            warn_if_cut(f"the {who}", *layer.arrays)
    given = task if isinstance(task, DiagonalSSM) else as_task(task)
    (output, hidden, input), (output_star, _, input_star) = student.sizes, given.sizes
    if (output, input) != (output_star, input_star):
        raise ValueError(
            f"student has {output} outputs and {input} inputs, {_who(given)} {output_star} and {input_star}; "
            "they must agree (hidden sizes may differ)"
        )
    noise = None if isinstance(given, DiagonalSSM) else given.student_noise
    if noise is not None and len(noise) != 2 * hidden:
        raise ValueError(
            f"the task puts noise on {len(noise)} hidden units, but the layer has {2 * hidden} real ones, first all "
            "Re h, then all Im h; the two must agree"
        )


def _who(task: Any) -> str:
    return "teacher" if isinstance(task, DiagonalSSM) else named(task)


def check_layer_rule(rule: Rule, student: DiagonalSSM) -> None:
    """Raise the `ValueError` that says why a rule does not fit a layer, which may have leading axes."""
    check_kind("rule", rule, Rule)
    output, hidden, _ = student.sizes
    Rule.check_fits(rule, output, hidden, diagonal=True)
    warn_if_cut("a matrix of the rule", *(x for x in jax.tree.leaves(rule) if getattr(x, "ndim", 0)))


def radius(layer: DiagonalSSM) -> Array:
    """The largest `|λ|`, which is not differentiated."""
    return jnp.max(jnp.abs(jax.lax.stop_gradient(layer.poles)))


def margin_of(layer: DiagonalSSM) -> float:
    """Every unit stands alone, as a network of one unit."""
    return margin(jax.ShapeDtypeStruct((1, 1), layer.poles.real.dtype))


def pair_reach(rule: Rule | None, student: DiagonalSSM, teacher: DiagonalSSM) -> Array:
    """How far the largest ratio of successive terms reaches (`existence.py`); eigenvalues are known here."""
    carried = 0.0 if rule is None or rule.lags is not None else carried_by(rule, student)
    return reach_of(radius(student), radius(teacher), carried, jnp.maximum)


def layer_reach(rule: Rule, student: DiagonalSSM, task: Any, task_radius: Any) -> Array:
    """The reach on a task, which alone has this spectral radius, in compiled programs."""
    if _is_closed(task):
        return estimated_reach(rule_of_blocks(rule, student), real_blocks(student), as_task(task), task_radius)
    carried = 0.0 if rule.lags is not None else carried_by(rule, student)
    return reach_of(radius(student), task_radius, carried, jnp.maximum)


def carried_by(rule: Rule, student: DiagonalSSM) -> Array:
    """The largest `|m|`, which is not differentiated."""
    return jnp.max(jnp.abs(rule.propagator.on_diagonal(jax.lax.stop_gradient(student.poles))))


def check_layer_update(rule: Rule, student: DiagonalSSM, task: Any, horizon: Horizon) -> None:
    """Raise the `ValueError` that `expected_update` would, without computing the update (short of an overflow)."""
    check_layer_problem(student, task)
    check_layer_rule(rule, student)
    check_layer_exists(rule, student, task, horizon)
    if not isinstance(task, DiagonalSSM):
        check_update(rule_of_blocks(rule, student), real_blocks(student), as_task(task), horizon)


def explain_missing(rule: Rule | None, student: DiagonalSSM, task: Any, horizon: Horizon) -> None:
    """Raise the `ValueError` that says why an update or loss came out as not existing."""
    check_layer_exists(rule, student, task, horizon)
    what = "loss" if rule is None else "update"
    raise ValueError(f"the {what} overflows; scale C, B and the feedback down, or shorten the horizon")


def check_layer_exists(rule: Rule | None, student: DiagonalSSM, task: Any, horizon: Horizon) -> None:
    """Raise the `ValueError` that says what of the layers lets no update exist, or no loss where there is no rule."""
    layers = [("student", student), *([("teacher", task)] if isinstance(task, DiagonalSSM) else [])]
    named = [(f"{who}'s {name}", x) for who, layer in layers
             for name, x in zip(("C", "poles", "B"), layer.arrays, strict=True)]  # fmt: skip
    named += [("rule's parameters", x) for x in jax.tree.leaves(rule)]
    for name, value in named:
        if not np.all(np.isfinite(value)):
            raise ValueError(f"the {name} has an entry that is not finite; give finite numbers")
    if not horizon.is_infinite or _is_closed(task):
        return
    for who, layer in layers:
        _check_inside(who, layer)
    if (
        rule is not None
        and isinstance(task, DiagonalSSM)
        and not pair_reach(rule, student, task) < 1 - margin_of(student)
    ):
        largest = max(float(radius(student)), float(radius(task)))
        raise ValueError(
            f"the propagator's largest entry {float(carried_by(rule, student)):.6g} times that of the poles, "
            f"{largest:.6g}, is not below 1, so an infinite horizon has no update; lower the decay, set lags or give a "
            "finite horizon"
        )


def _is_closed(task: Any) -> bool:
    return not isinstance(task, DiagonalSSM) and as_task(task).is_closed_loop


def _check_inside(who: str, layer: DiagonalSSM) -> None:
    sizes = np.abs(np.asarray(layer.poles, complex))
    if not sizes.max() < 1 - margin_of(layer):
        within = " within rounding" if sizes.max() < 1 else ""
        raise ValueError(
            f"the {who}'s pole {int(sizes.argmax())} has modulus {sizes.max():.6g}{within}, but an infinite "
            "horizon needs all below 1; move it inside the unit circle or give a finite horizon"
        )
