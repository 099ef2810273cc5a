r"""The three-dimensional learning dynamics of a mode.

In an aligned student–teacher pair every mode `(a, b, w)` learns alone. With feedback `f`, propagator `m`
and `σ(z) = Σ_{j<lags} z^j` a rule updates it by

    Δa = a b²/(1−w²) − a* b b*/(1−w w*)
    Δb = f [a b σ(m w) − a* b* σ(m w*)]
    Δw = f b [a b w σ(m w)/(1−w²) − a* b* w* σ(m w*)/(1−w w*)]

(infinite horizon; the paper's equations 19–22). The field is arithmetic only: floats, NumPy and JAX
arrays and SymPy symbols all run through the one definition, `field`. Limits: `|w| < 1`, `|w*| < 1` and,
with all lags kept, `|m w| < 1` and `|m w*| < 1`.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from localgrad.models.aligned import Frames, Mode, align_matrix
from localgrad.rules.parts import Feedback
from localgrad.rules.rule import Rule

_HORNER_LAGS = 64


def geometric_sum(z: Any, lags: int | None) -> Any:
    """`Σ_{j<lags} z^j`; for all lags (`None`) `1/(1 − z)`, which is the sum only for `|z| < 1`."""
    if lags is None:
        return 1 / (1 - z)
    if lags > _HORNER_LAGS:  # by doubling; Horner's form reads better where z is a symbol
        return _sum_and_power(z, lags)[0]
    total = 1 + 0 * z
    for _ in range(lags - 1):
        total = 1 + z * total
    return total


def _sum_and_power(z: Any, lags: int) -> tuple[Any, Any]:
    """`Σ_{j<lags} z^j` and `z^lags`."""
    if lags == 1:
        return 1 + 0 * z, z
    total, power = _sum_and_power(z, lags // 2)
    total, power = total * (1 + power), power * power
    return (1 + z * total, z * power) if lags % 2 else (total, power)


def field(rule: Rule, student: Mode, teacher: Mode) -> Mode:
    """`(Δa, Δb, Δw)`, without checks: the one definition that NumPy, JAX and SymPy run."""
    a, b, w = student
    a_star, b_star, w_star = teacher
    f, m = rule.feedback.on_mode(a), rule.propagator.on_mode(w)
    own, cross = 1 - w * w, 1 - w * w_star
    own_credit = a * b * geometric_sum(m * w, rule.lags)
    teacher_credit = a_star * b_star * geometric_sum(m * w_star, rule.lags)
    return Mode(
        a=b * (a * b / own - a_star * b_star / cross),
        b=f * (own_credit - teacher_credit),
        w=f * b * (own_credit * w / own - teacher_credit * w_star / cross),
    )


def mode_update(rule: Rule, student: Mode, teacher: Mode) -> Mode:
    r"""The expected update `(Δa, Δb, Δw)` of a mode; a learning step is `θ ← θ − η Δθ`.

    **Arguments:**

    - `rule`: with scalar or broadcasting feedback and decay.
    - `student`, `teacher`: `Mode`s of scalars or broadcasting arrays, dimensionless, `|w| < 1`.

    **Returns:** a `Mode` of the broadcast shape.

    **Raises:** `ValueError` for NaN or infinite entries and for `|w| ≥ 1` or `|m w| ≥ 1`. Under `jax.jit` and
    `jax.vmap`, where values cannot be inspected, such entries come back as NaN.

    Source: the paper's equations 19–22; docs/theory.md, section 5.

    >>> from localgrad import BPTT
    >>> mode_update(BPTT(), Mode(1.0, 1.0, 0.5), Mode(1.0, 1.0, 0.5))
    Mode(a=0.0, b=0.0, w=0.0)
    """
    check_modes(rule, student, teacher)
    return Mode(*_nan_outside(rule, student, teacher, field(rule, student, teacher)))


def mode_loss(student: Mode, teacher: Mode) -> Any:
    r"""`L = ½ Σ_j (a b w^j − a* b* w*^j)²`, half the mean squared error of a mode.

    Computed from the differences `ab − a*b*` and `w − w*`, so that it keeps its relative accuracy as it
    goes to zero. Arguments and errors as in `mode_update`; returns the broadcast shape.

    Source: docs/theory.md, section 5, rearranged.

    >>> mode_loss(Mode(0.0, 0.0, 0.0), Mode(1.0, 1.0, 0.0))
    0.5
    """
    check_modes(None, student, teacher)
    return _nan_outside(None, student, teacher, [loss(student, teacher)])[0]


def loss(student: Mode, teacher: Mode) -> Any:
    """`mode_loss` without its checks."""
    a, b, w = student
    a_star, b_star, w_star = teacher
    c = a_star * b_star
    gain, shift = a * b - c, w - w_star
    own, cross, theirs = 1 - w * w, 1 - w * w_star, 1 - w_star * w_star
    mixed = 2 * gain * c * w * shift / (own * cross)
    timing = c * c * shift * shift * (1 + w * w_star) / (own * cross * theirs)
    return (gain * gain / own + mixed + timing) / 2


def mode_jacobian(rule: Rule, student: Mode, teacher: Mode) -> Any:
    r"""The Jacobian of the learning flow `dθ/dk = −Δθ` of a mode, rows and columns `(a, b, w)`.

    Exact to rounding: NumPy and floats by the complex step `Im f(x + ih)/h`, JAX by forward-mode
    differentiation of the same field. Arguments and errors as in `mode_update`.

    **Returns:** an array of the broadcast shape followed by `3 3`, per unit of learning time.

    Source: docs/theory.md, section 7; Squire & Trapp 1998 for the complex step.

    >>> from localgrad import BPTT
    >>> jacobian = mode_jacobian(BPTT(), Mode(0.0, 0.0, 0.0), Mode(1.0, 1.0, 0.0))
    >>> np.sort(np.linalg.eigvals(jacobian)).round(12) + 0.0  # a saddle
    array([-1.,  0.,  1.])
    """
    check_modes(rule, student, teacher)
    in_jax = any(isinstance(x, jax.Array) for x in jax.tree.leaves((rule, student, teacher)))
    derivative = _jax_derivative if in_jax else _complex_step
    shape = np.broadcast_shapes(*(np.shape(x) for x in jax.tree.leaves((rule, student, teacher))))
    columns = [derivative(rule, student, teacher, axis) for axis in range(3)]
    stack = jnp if in_jax else np
    columns = [tuple(_nan_outside(rule, student, teacher, column)) for column in columns]
    rows = [stack.stack([stack.broadcast_to(column[i], shape) for column in columns], axis=-1) for i in range(3)]
    return -stack.stack(rows, axis=-2)


def _complex_step(rule: Rule, student: Mode, teacher: Mode, axis: int) -> tuple[Any, ...]:
    step = 1e-30
    shifted = Mode(*(np.asarray(x) + (1j * step if i == axis else 0) for i, x in enumerate(student)))
    return tuple(np.imag(component) / step for component in field(rule, shifted, teacher))


def _jax_derivative(rule: Rule, student: Mode, teacher: Mode, axis: int) -> tuple[Any, ...]:
    primal = Mode(*(jnp.asarray(x, dtype=float) for x in student))
    tangent = Mode(*(jnp.full_like(x, i == axis) for i, x in enumerate(primal)))
    return tuple(jax.jvp(lambda mode: field(rule, mode, teacher), (primal,), (tangent,))[1])


def check_modes(rule: Rule | None, student: Mode, teacher: Mode) -> None:
    """Raise `ValueError` where a value lies outside the mode equations' domain; tracers pass unchecked."""
    for owner, mode in (("student", student), ("teacher", teacher)):
        for letter, value in zip("abw", mode, strict=True):
            _check_all(np.isfinite, value, f"{owner} {letter}", "is not finite; give finite numbers")
        _check_all(lambda x: abs(x) < 1, mode.w, f"{owner} w", "must lie strictly between −1 and 1 (stable mode)")
    if rule is None:
        return
    for name, value in (
        ("feedback", rule.feedback.on_mode(student.a)),
        ("propagator", rule.propagator.on_mode(student.w)),
    ):
        _check_all(np.isfinite, value, name, "is not finite; give finite numbers")
    if rule.lags is None:
        m = rule.propagator.on_mode(student.w)
        for owner, w in (("student", student.w), ("teacher", teacher.w)):
            remedy = "must have modulus below 1 when all lags are kept; lower the decay or set lags"
            _check_all(lambda x: abs(x) < 1, m * w, f"propagator times {owner} w", remedy)


def _nan_outside(rule: Rule | None, student: Mode, teacher: Mode, results: Any) -> list[Any]:
    """`results`, and under JAX's tracing NaN where `check_modes` would raise: never a number that looks right."""
    if not any(isinstance(x, jax.core.Tracer) for x in jax.tree.leaves((rule, student, teacher))):
        return list(results)
    inside = (abs(student.w) < 1) & (abs(teacher.w) < 1)
    if rule is not None and rule.lags is None:
        m = rule.propagator.on_mode(student.w)
        inside = inside & (abs(m * student.w) < 1) & (abs(m * teacher.w) < 1)
    return [jnp.where(inside, x, jnp.nan) for x in results]


def _check_all(condition: Any, value: Any, name: str, complaint: str) -> None:
    if isinstance(value, jax.core.Tracer):
        return
    values = np.asarray(value)
    if values.dtype == object:  # symbols
        return
    fine = condition(values)
    if not np.all(fine):
        raise ValueError(f"{name} = {values[~fine].flat[0]:.6g} {complaint}")


def align_rule(rule: Rule, frames: Frames) -> Rule:
    """The network rule whose mode rule is `rule`: a fixed feedback `â` becomes the matrix `U diag(â) Pᵀ`.

    `â` is a scalar, the same for every mode, or has shape `"modes"`.
    Only scalar propagators and the full Jacobian keep alignment in any frames; `diag(J)` needs `P` to be
    a signed permutation (the paper's section 3; docs/theory.md, section 4).
    """
    for term in rule.terms:
        if not term.keeps_alignment:
            raise ValueError(
                f"the term {type(term).__name__} does not keep networks aligned; no rule of theirs is that of a mode"
            )
    if rule.feedback.fixed is None:
        return rule
    count = min(frames.U.shape[-1], frames.P.shape[-1])
    diagonal = rule.feedback.fixed * jnp.ones(count) if np.ndim(rule.feedback.fixed) == 0 else rule.feedback.fixed
    return rule.with_feedback(Feedback(rule.feedback.symmetric, align_matrix(diagonal, frames), rule.feedback.terms))
