"""Where the mode equations hold, checked at the door, and results that are numbers there and nowhere else.

They hold where `|w| < 1` and `|w*| < 1`, and with all lags kept `|m w| < 1` and `|m w*| < 1`; with poles `w = g(ν)`
both `w` and `w*` must be in the range of `g` (`models/poles.py`). Values that JAX traces cannot be looked at: they
pass, and what comes out outside the domain is NaN.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from localgrad.models.aligned import Mode
from localgrad.models.poles import DIRECT, Poles
from localgrad.modes.arguments import as_mode, as_rule, is_traced
from localgrad.rules.rule import Rule


def check_modes(rule: Any, student: Any, teacher: Any, poles: Poles = DIRECT) -> tuple[Rule, Mode, Mode]:
    """The three in floating point; `ValueError` outside the mode equations' domain, where tracers pass unchecked."""
    rule = as_rule(rule)
    student, teacher = check_pair(student, teacher)
    for owner, mode in (("teacher", teacher), ("student", student)):
        check_poles(poles, mode.w, f"{owner} w")
    _check_shapes(student, teacher, rule)
    f, m = rule.feedback.on_mode(student.a), rule.propagator.on_mode(student.w)
    for name, value in (("feedback", f), ("propagator", m)):
        _check_all(np.isfinite, value, name, "is not finite; give finite numbers")
    if rule.lags is None:
        for owner, w in (("student", student.w), ("teacher", teacher.w)):
            remedy = "must have modulus below 1 when all lags are kept; lower the decay or set lags"
            _check_all(lambda x: abs(x) < 1, m * w, f"propagator times {owner} w", remedy)
    return rule, student, teacher


def check_pair(student: Any, teacher: Any) -> tuple[Mode, Mode]:
    """Both modes in floating point; `ValueError` for entries that are not finite, `|w| ≥ 1`, and unlike shapes."""
    student, teacher = as_mode(student, "student"), as_mode(teacher, "teacher")
    for owner, mode in (("student", student), ("teacher", teacher)):
        for letter, value in zip("abw", mode, strict=True):
            _check_all(np.isfinite, value, f"{owner} {letter}", "is not finite; give finite numbers")
        _check_all(lambda x: abs(x) < 1, mode.w, f"{owner} w", "must lie strictly between −1 and 1 (stable mode)")
    _check_shapes(student, teacher)
    return student, teacher


def check_poles(poles: Poles, w: Any, name: str) -> None:
    """`ValueError` for a recurrent weight that no pole of the parametrisation has."""
    remedy = f"must lie strictly between {poles.low:g} and {poles.high:g} with {poles.key} poles; give other poles"
    _check_all(lambda x: (x > poles.low) & (x < poles.high), w, name, remedy)


def check_start(poles: Poles, w: Any, name: str) -> None:
    """The same for starts of many trajectories, of which direct ones outside count as diverged at time 0."""
    if poles is not DIRECT:
        check_poles(poles, np.asarray(w)[np.isfinite(w)], name)


def _check_shapes(*trees: Any) -> None:
    shapes = [np.shape(x) for x in jax.tree.leaves(trees)]
    try:
        np.broadcast_shapes(*shapes)
    except ValueError:
        different = ", ".join(map(str, dict.fromkeys(shape for shape in shapes if shape)))
        raise ValueError(f"student, teacher and rule have shapes {different}, which do not broadcast") from None


def results_inside(
    what: str, rule: Rule | None, student: Mode, teacher: Mode, results: Any, poles: Poles = DIRECT
) -> list[Any]:
    """`results` where they are finite; under JAX's tracing NaN outside the domain: never a number that looks right."""
    if is_traced(rule, student, teacher):
        inside = (abs(student.w) < 1) & (abs(teacher.w) < 1) & (student.w > poles.low) & (teacher.w > poles.low)
        if rule is not None and rule.lags is None:
            m = rule.propagator.on_mode(student.w)
            inside = inside & (abs(m * student.w) < 1) & (abs(m * teacher.w) < 1)
        return [jnp.where(inside, x, jnp.nan) for x in results]
    for result in results:
        if not np.all(_is_finite(result)):
            raise ValueError(f"{what} overflows; give smaller a, b, or teacher, or rescale both")
    return list(results)


def _is_finite(value: Any) -> Any:
    return True if _is_symbolic(value) else np.isfinite(np.asarray(value))


def _is_symbolic(value: Any) -> bool:
    return np.asarray(value).dtype == object


def _check_all(condition: Any, value: Any, name: str, complaint: str) -> None:
    if isinstance(value, jax.core.Tracer) or _is_symbolic(value):
        return
    values = np.asarray(value)
    fine = condition(values)
    if not np.all(fine):
        raise ValueError(f"{name} = {values[~fine].flat[0]:.6g} {complaint}")
