r"""The three-dimensional learning dynamics of a mode.

In an aligned student–teacher pair every mode `(a, b, w)` learns alone. With feedback `f`, propagator `m`
and `σ(z) = Σ_{j<lags} z^j` a rule updates it by

    Δa = a b²/(1−w²) − a* b b*/(1−w w*)
    Δb = f [a b σ(m w) − a* b* σ(m w*)]
    Δw = f b [a b w σ(m w)/(1−w²) − a* b* w* σ(m w*)/(1−w w*)]

(infinite horizon; the paper's equations 19–22). An error that arrives late meets what is there then: each step of a
rule's delay takes `(Δa, Δb, Δw)` to `(w Δa, m Δb, m Δw + f Δa)`, and one of the lags that are kept. A layer that trains
`ν` with `w = g(ν)` learns by `Δν = g′(ν) Δw`, so that its pole moves by `ẇ = −ρ(w) Δw`, `ρ = g′²` (`models/poles.py`;
docs/theory.md, sections 10 and 11). The field is arithmetic only: floats, NumPy and JAX arrays and SymPy symbols all
run through the one definition, `field`. Limits:
`|w| < 1`, `|w*| < 1` and, with all lags kept, `|m w| < 1` and `|m w*| < 1`.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from localgrad.checks import in_our_arithmetic
from localgrad.models.aligned import Mode
from localgrad.models.poles import DIRECT, Poles, find_poles
from localgrad.modes.domain import check_modes, check_pair, results_inside
from localgrad.rules.rule import Rule

_HORNER_LAGS = 64
_STEP = 1e-30  # of the complex-step derivative


def geometric_sum(z: Any, lags: int | None) -> Any:
    """`Σ_{j<lags} z^j`; for all lags (`None`) `1/(1 − z)`, which is the sum only for `|z| < 1`."""
    if lags is None:
        return 1 / (1 - z)
    if lags == 0:
        return 0 * z
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
    delay: int = 0


def field(rule: Rule | LinearRule, student: Mode, teacher: Mode, poles: Poles = DIRECT) -> Mode:
    """`(Δa, Δb, ρ Δw)`, without checks: the one definition that NumPy, JAX and SymPy run."""
    a, b, w = student
    a_star, b_star, w_star = teacher
    f, m = rule.feedback.on_mode(a), rule.propagator.on_mode(w)
    own, cross, kept = 1 - w * w, 1 - w * w_star, lags_before(rule)
    own_credit = a * b * geometric_sum(m * w, kept)
    teacher_credit = a_star * b_star * geometric_sum(m * w_star, kept)
    delta_w = f * b * (own_credit * w / own - teacher_credit * w_star / cross)
    delta_a, delta_b = b * (a * b / own - a_star * b_star / cross), f * (own_credit - teacher_credit)
    delta_a, delta_b, delta_w = arriving_late(rule, (delta_a, delta_b, delta_w), (f, m, w))
    return Mode(delta_a, delta_b, poles.speed(w) * delta_w)


def lags_before(rule: Rule | LinearRule) -> int | None:
    """How many of a rule's lags are of what came before the error, which arrives late; `None` for all."""
    return None if rule.lags is None else max(rule.lags - rule.delay, 0)


def lags_met(rule: Rule | LinearRule) -> int:
    """How many of a rule's lags are of what came after the error."""
    return rule.delay if rule.lags is None else min(rule.delay, rule.lags)


def arriving_late(rule: Rule | LinearRule, on_time: tuple[Any, ...], numbers: tuple[Any, Any, Any]) -> tuple[Any, ...]:
    """`(Δa, Δb, Δw)` of errors that arrive `rule.delay` steps late, at a mode with these `f, m, w`."""
    f, m, w = numbers
    delta_a, delta_b, delta_w = on_time
    unmet = rule.delay - lags_met(rule)
    for step in range(rule.delay):
        if step >= unmet:
            delta_b, delta_w = m * delta_b, m * delta_w + f * delta_a
        delta_a = w * delta_a
    return delta_a, delta_b, delta_w


@in_our_arithmetic
def mode_update(rule: Rule, student: Mode, teacher: Mode, *, poles: str | Poles = "direct") -> Mode:
    r"""The expected update `(Δa, Δb, ρ(w) Δw)` of a mode; as the learning rate `η → 0`, its learning is `θ̇ = −` this.

    With direct poles `ρ = 1`, and a learning step is `θ ← θ − η Δθ`. With others the step is one of `ν`,
    `ν ← ν − η g′(ν) Δw`, by which `w = g(ν)` moves by `−η ρ(w) Δw` to first order in `η`, `ρ = g′²`.

    **Arguments:**

    - `rule`: with scalar or broadcasting feedback and decay.
    - `student`, `teacher`: `Mode`s (or tuples) of scalars or broadcasting arrays, dimensionless, `|w| < 1`.
        Complex entries make it a mode that oscillates (`modes/oscillating.py`), of NumPy arrays or numbers.
    - `poles`: how `w` depends on what is trained: `"direct"`, `"tanh"`, or `"lru"` (both `w` between 0 and 1).

    **Returns:** a `Mode` of the broadcast shape.

    **Raises:** `ValueError` for NaN or infinite entries, for `|w| ≥ 1` or `|m w| ≥ 1`, for a `w` or `w*` that no such
    pole has, and where the result overflows. Under `jax.jit` and `jax.vmap`, where values cannot be inspected, entries
    outside the domain come back as NaN.

    Source: the paper's equations 19–22; docs/theory.md, sections 5 and 11.

    >>> from localgrad import BPTT
    >>> mode_update(BPTT(), Mode(1.0, 1.0, 0.5), Mode(1.0, 1.0, 0.5))
    Mode(a=0.0, b=0.0, w=0.0)
    """
    poles = find_poles(poles)
    if (oscillating := _oscillating(student, teacher)) is not None:
        return oscillating.update(rule, student, teacher, poles)
    rule, student, teacher = check_modes(rule, student, teacher, poles)
    with np.errstate(all="ignore"):
        update = field(rule, student, teacher, poles)
    return Mode(*results_inside("the update", rule, student, teacher, update, poles))


@in_our_arithmetic
def mode_loss(student: Mode, teacher: Mode) -> Any:
    r"""`L = ½ Σ_j (a b w^j − a* b* w*^j)²`, half the mean squared error of a mode.

    Computed from the differences `ab − a*b*` and `w − w*`, so that it keeps its relative accuracy as it
    goes to zero. Arguments and errors as in `mode_update`; returns the broadcast shape.

    Source: docs/theory.md, section 5, rearranged.

    >>> mode_loss(Mode(0.0, 0.0, 0.0), Mode(1.0, 1.0, 0.0))
    0.5
    """
    if (oscillating := _oscillating(student, teacher)) is not None:
        return oscillating.loss(*oscillating.checked_pair(student, teacher))
    student, teacher = check_pair(student, teacher)
    with np.errstate(all="ignore"):
        value = loss(student, teacher)
    return results_inside("the loss", None, student, teacher, [value])[0]


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


@in_our_arithmetic
def mode_jacobian(rule: Rule, student: Mode, teacher: Mode, *, poles: str | Poles = "direct") -> Any:
    r"""The Jacobian of a mode's learning flow, `dθ/dk` = minus `mode_update`; rows and columns `(a, b, w)`.

    Exact to rounding: NumPy and floats by the complex step `Im f(x + ih)/h`, JAX by forward-mode
    differentiation of the same field. Arguments and errors as in `mode_update`.

    **Returns:** an array of the broadcast shape followed by `3 3`, per unit of learning time; for a mode that
    oscillates by `6 6`, rows and columns the real and imaginary parts of `a, b, w` in turn.

    Source: docs/theory.md, section 7; Squire & Trapp 1998 for the complex step.

    >>> from localgrad import BPTT
    >>> jacobian = mode_jacobian(BPTT(), Mode(0.0, 0.0, 0.0), Mode(1.0, 1.0, 0.0))
    >>> np.sort(np.linalg.eigvals(jacobian).real).round(12) + 0.0  # a saddle
    array([-1.,  0.,  1.])
    """
    poles = find_poles(poles)
    if (oscillating := _oscillating(student, teacher)) is not None:
        return oscillating.jacobian(rule, student, teacher, poles)
    rule, student, teacher = check_modes(rule, student, teacher, poles)
    numbers = jax.tree.leaves((rule, student, teacher))
    in_jax = any(isinstance(x, jax.Array) for x in numbers)
    derivative, stack = (_jax_derivative, jnp) if in_jax else (complex_step, np)
    shape = np.broadcast_shapes(*(np.shape(x) for x in numbers))
    with np.errstate(all="ignore"):
        columns = [derivative(rule, student, teacher, axis, poles) for axis in range(3)]
    columns = [tuple(results_inside("the Jacobian", rule, student, teacher, column, poles)) for column in columns]
    rows = [stack.stack([stack.broadcast_to(column[i], shape) for column in columns], axis=-1) for i in range(3)]
    return -stack.stack(rows, axis=-2)


def _oscillating(*modes: Any) -> Any:
    """The module for modes that oscillate, which builds on this one, if any of these does."""
    from localgrad.modes import oscillating

    return oscillating if oscillating.is_oscillating(*modes) else None


def complex_step(
    rule: Rule | LinearRule, student: Mode, teacher: Mode, axis: int, poles: Poles = DIRECT
) -> tuple[Any, ...]:
    """The derivative of `field` by one of `a, b, w`, without checks; numbers and NumPy arrays only."""
    shifted = Mode(*(np.asarray(x) + (1j * _STEP if i == axis else 0) for i, x in enumerate(student)))
    found = field(linearised(rule, student), shifted, teacher, poles)
    return tuple(np.imag(component) / _STEP for component in found)


def linearised(rule: Any, student: Mode) -> LinearRule:
    """The rule of the form `f = φ₀ + φ₁ a`, `m = μ₀ + μ₁ w` that has its values and slopes at `student`."""
    if isinstance(rule, LinearRule):
        return rule
    found = rule.affine
    if found is None:
        found = (*_tangent(rule.feedback.on_mode, student.a), *_tangent(rule.propagator.on_mode, student.w))
    return LinearRule(Line(*found[:2]), Line(*found[2:]), rule.lags, rule.delay)


def _tangent(function: Any, x: Any) -> tuple[Any, Any]:
    """`(k₀, k₁)` with `k₀ + k₁ x` touching the function at `x`, by the complex step."""
    slope = np.imag(function(np.asarray(x) + 1j * _STEP)) / _STEP
    return function(x) - slope * x, slope


def _jax_derivative(rule: Rule, student: Mode, teacher: Mode, axis: int, poles: Poles) -> tuple[Any, ...]:
    primal = Mode(*(jnp.asarray(x, dtype=float) for x in student))
    tangent = Mode(*(jnp.full_like(x, i == axis) for i, x in enumerate(primal)))
    return tuple(jax.jvp(lambda mode: field(rule, mode, teacher, poles), (primal,), (tangent,))[1])
