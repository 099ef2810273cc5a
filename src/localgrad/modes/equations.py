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

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from localgrad.models.aligned import Frames, Mode, align_matrix
from localgrad.modes.arguments import as_mode, as_rule, is_traced
from localgrad.rules.parts import Feedback
from localgrad.rules.rule import Rule

_HORNER_LAGS = 64
_STEP = 1e-30  # of the complex-step derivative


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


class Line(NamedTuple):
    """A feedback or propagator `k₀ + k₁ x` of a mode, without the checks and the cost of a `Rule`'s own."""

    k0: Any
    k1: Any

    def on_mode(self, x: Any) -> Any:
        """Its value at `x`."""
        return self.k0 + self.k1 * x


class LinearRule(NamedTuple):
    """What `field` asks of a rule, where feedback and propagator are lines."""

    feedback: Line
    propagator: Line
    lags: int | None


def field(rule: Rule | LinearRule, student: Mode, teacher: Mode) -> Mode:
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
    - `student`, `teacher`: `Mode`s (or tuples) of scalars or broadcasting arrays, dimensionless, `|w| < 1`.

    **Returns:** a `Mode` of the broadcast shape.

    **Raises:** `ValueError` for NaN or infinite entries, for `|w| ≥ 1` or `|m w| ≥ 1`, and where the result overflows.
    Under `jax.jit` and `jax.vmap`, where values cannot be inspected, entries outside the domain come back as NaN.

    Source: the paper's equations 19–22; docs/theory.md, section 5.

    >>> from localgrad import BPTT
    >>> mode_update(BPTT(), Mode(1.0, 1.0, 0.5), Mode(1.0, 1.0, 0.5))
    Mode(a=0.0, b=0.0, w=0.0)
    """
    rule, student, teacher = check_modes(rule, student, teacher)
    with np.errstate(all="ignore"):
        update = field(rule, student, teacher)
    return Mode(*_results("the update", rule, student, teacher, update))


def mode_loss(student: Mode, teacher: Mode) -> Any:
    r"""`L = ½ Σ_j (a b w^j − a* b* w*^j)²`, half the mean squared error of a mode.

    Computed from the differences `ab − a*b*` and `w − w*`, so that it keeps its relative accuracy as it
    goes to zero. Arguments and errors as in `mode_update`; returns the broadcast shape.

    Source: docs/theory.md, section 5, rearranged.

    >>> mode_loss(Mode(0.0, 0.0, 0.0), Mode(1.0, 1.0, 0.0))
    0.5
    """
    student, teacher = _check_pair(student, teacher)
    with np.errstate(all="ignore"):
        value = loss(student, teacher)
    return _results("the loss", None, student, teacher, [value])[0]


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
    rule, student, teacher = check_modes(rule, student, teacher)
    numbers = jax.tree.leaves((rule, student, teacher))
    in_jax = any(isinstance(x, jax.Array) for x in numbers)
    derivative, stack = (_jax_derivative, jnp) if in_jax else (complex_step, np)
    shape = np.broadcast_shapes(*(np.shape(x) for x in numbers))
    with np.errstate(all="ignore"):
        columns = [derivative(rule, student, teacher, axis) for axis in range(3)]
    columns = [tuple(_results("the Jacobian", rule, student, teacher, column)) for column in columns]
    rows = [stack.stack([stack.broadcast_to(column[i], shape) for column in columns], axis=-1) for i in range(3)]
    return -stack.stack(rows, axis=-2)


def complex_step(rule: Rule | LinearRule, student: Mode, teacher: Mode, axis: int) -> tuple[Any, ...]:
    """The derivative of `field` by one of `a, b, w`, without checks; numbers and NumPy arrays only."""
    shifted = Mode(*(np.asarray(x) + (1j * _STEP if i == axis else 0) for i, x in enumerate(student)))
    return tuple(np.imag(component) / _STEP for component in field(linearised(rule, student), shifted, teacher))


def linearised(rule: Any, student: Mode) -> LinearRule:
    """The rule of the form `f = φ₀ + φ₁ a`, `m = μ₀ + μ₁ w` that has its values and slopes at `student`."""
    if isinstance(rule, LinearRule):
        return rule
    found = rule.affine
    if found is None:
        found = (*_tangent(rule.feedback.on_mode, student.a), *_tangent(rule.propagator.on_mode, student.w))
    return LinearRule(Line(*found[:2]), Line(*found[2:]), rule.lags)


def _tangent(function: Any, x: Any) -> tuple[Any, Any]:
    """`(k₀, k₁)` with `k₀ + k₁ x` touching the function at `x`, by the complex step."""
    slope = np.imag(function(np.asarray(x) + 1j * _STEP)) / _STEP
    return function(x) - slope * x, slope


def _jax_derivative(rule: Rule, student: Mode, teacher: Mode, axis: int) -> tuple[Any, ...]:
    primal = Mode(*(jnp.asarray(x, dtype=float) for x in student))
    tangent = Mode(*(jnp.full_like(x, i == axis) for i, x in enumerate(primal)))
    return tuple(jax.jvp(lambda mode: field(rule, mode, teacher), (primal,), (tangent,))[1])


def check_modes(rule: Any, student: Any, teacher: Any) -> tuple[Rule, Mode, Mode]:
    """The three in floating point; `ValueError` outside the mode equations' domain, where tracers pass unchecked."""
    rule = as_rule(rule)
    student, teacher = _check_pair(student, teacher)
    _check_shapes(student, teacher, rule)
    f, m = rule.feedback.on_mode(student.a), rule.propagator.on_mode(student.w)
    for name, value in (("feedback", f), ("propagator", m)):
        _check_all(np.isfinite, value, name, "is not finite; give finite numbers")
    if rule.lags is None:
        for owner, w in (("student", student.w), ("teacher", teacher.w)):
            remedy = "must have modulus below 1 when all lags are kept; lower the decay or set lags"
            _check_all(lambda x: abs(x) < 1, m * w, f"propagator times {owner} w", remedy)
    return rule, student, teacher


def _check_pair(student: Any, teacher: Any) -> tuple[Mode, Mode]:
    student, teacher = as_mode(student, "student"), as_mode(teacher, "teacher")
    for owner, mode in (("student", student), ("teacher", teacher)):
        for letter, value in zip("abw", mode, strict=True):
            _check_all(np.isfinite, value, f"{owner} {letter}", "is not finite; give finite numbers")
        _check_all(lambda x: abs(x) < 1, mode.w, f"{owner} w", "must lie strictly between −1 and 1 (stable mode)")
    _check_shapes(student, teacher)
    return student, teacher


def _check_shapes(*trees: Any) -> None:
    shapes = [np.shape(x) for x in jax.tree.leaves(trees)]
    try:
        np.broadcast_shapes(*shapes)
    except ValueError:
        different = ", ".join(map(str, dict.fromkeys(shape for shape in shapes if shape)))
        raise ValueError(f"student, teacher and rule have shapes {different}, which do not broadcast") from None


def _results(what: str, rule: Rule | None, student: Mode, teacher: Mode, results: Any) -> list[Any]:
    """`results` where they are finite; under JAX's tracing NaN outside the domain: never a number that looks right."""
    if is_traced(rule, student, teacher):
        inside = (abs(student.w) < 1) & (abs(teacher.w) < 1)
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


def align_rule(rule: Rule, frames: Frames) -> Rule:
    """The network rule whose mode rule is `rule`: a fixed feedback `â` becomes the matrix `U diag(â) Pᵀ`.

    Only scalar propagators and the full Jacobian keep alignment in any frames; `diag(J)` needs `P` to be
    a signed permutation (the paper's section 3; docs/theory.md, section 4).

    **Arguments:** `rule`: its fixed feedback `â`, if it has one, is a scalar, the same for every mode, or has shape
    `"modes"`; `frames`: those of the student.

    **Returns:** a `Rule` for networks of the frames' sizes.

    **Raises:** `ValueError` for a rule with a term that does not keep networks aligned, or with decays that differ
    between units where `P` is no signed permutation.

    >>> from localgrad import RFLO
    >>> align_rule(RFLO(2.0, 0.5), Frames(np.eye(1), np.eye(2), np.eye(1))).feedback.fixed.tolist()
    [[2.0, 0.0]]
    """
    for term in rule.terms:
        if not term.keeps_alignment:
            raise ValueError(
                f"the term {type(term).__name__} does not keep networks aligned; no rule of theirs is that of a mode"
            )
    decay = rule.propagator.decay
    if np.size(decay) > 1 and not is_traced(decay, frames) and np.ptp(decay) > 0 and not _permutes_axes(frames.P):
        raise ValueError(
            f"decays of shape {np.shape(decay)}, one a unit, do not keep networks aligned in these frames; give one "
            "number, or frames whose P is a signed permutation"
        )
    if rule.feedback.fixed is None:
        return rule
    count = min(frames.U.shape[-1], frames.P.shape[-1])
    diagonal = rule.feedback.fixed * jnp.ones(count) if np.ndim(rule.feedback.fixed) == 0 else rule.feedback.fixed
    return rule.with_feedback(Feedback(rule.feedback.symmetric, align_matrix(diagonal, frames), rule.feedback.terms))


def _permutes_axes(P: Any) -> bool:
    """Whether a matrix is a signed permutation, to rounding."""
    size = np.sort(np.abs(np.asarray(P)), axis=-1)
    return bool(np.all(size[..., :-1] < 1e-6) and np.all(np.abs(size[..., -1] - 1) < 1e-6))
