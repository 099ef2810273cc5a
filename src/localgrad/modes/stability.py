r"""Stability of a mode's fixed points, and how fast learning approaches them.

Near a fixed point the learning flow `dθ/dk = −Δθ` is linear. On the optimal manifold `(a, b, w) = (s, c/s, w*)`,
`c = a* b*`, `s ≠ 0`, its Jacobian has the eigenvalue 0, along the manifold; the other two are the roots of
`λ² − Tλ + Q`. With `f` and `m` the rule's feedback and propagator there, `S = 1/(1 − w*²)`,
`σ = Σ_{j<lags} (m w*)^j` and `σ′ = Σ_{j<lags} j (m w*)^j`,

    T = −[b² S + f s σ + ρ f b c S (σ S + σ′)],      Q = ρ f c S² [b³ (σ + σ′) + f c σ²].

`ρ = ρ(w*)` belongs to the poles' parametrisation `w = g(ν)` (`models/poles.py`), 1 for direct ones: it multiplies the
row of `w`, and the rows of `a` and `b` are parallel, so that `Q`, the sum of the principal 2×2 minors, is exactly `ρ`
times that of the direct mode. Whether it is negative, a saddle, depends on no parametrisation. Eigenvalues are the same
for `(a, b, w)` and for `(a, b, ν)`, since at a fixed point the two Jacobians are similar.

Where errors arrive late, `T` and `Q` are taken from the entries of the Jacobian.

`λ₊` is the one with the larger real part, and `−Re λ₊` the rate at which learning converges. The sums are free of
cancellation, and the roots are taken in units of their largest term, so the only limits are those of the eigenvalues'
own size in double precision. Everything broadcasts over the teacher, the rule and `s`.

Source: docs/theory.md, sections 7 and 11, whose sums over lags are `Σ_i (i+1) w^{2i} = S²` and so on.
"""

from typing import Any

import numpy as np
from scipy.optimize import brentq

from localgrad.checks import check_memory, in_our_arithmetic
from localgrad.models.aligned import Mode
from localgrad.models.poles import Poles, find_poles
from localgrad.modes import oscillating
from localgrad.modes.arguments import as_float, as_mode, as_rule, as_scalar, check_count
from localgrad.modes.domain import check_modes
from localgrad.modes.equations import geometric_sum, mode_jacobian
from localgrad.rules.rule import Rule

_SMALLEST = 1e-290  # a size below which double precision has no room for relative accuracy


@in_our_arithmetic
def optimal_mode(teacher: Mode, s: Any) -> Mode:
    """The point `(s, c/s, w*)` of the optimal manifold, `c = a* b*`, where the loss is 0.

    **Arguments:** `teacher`: `Mode` with `c ≠ 0`; `s`: the student's readout, non-zero; both broadcast.

    **Returns:** a `Mode` of float64 arrays of the broadcast shape.

    **Raises:** `ValueError` for `s = 0`, and for a `c` or `c/s` that is 0 or not finite in double precision.

    Source: the paper's stationary solutions; docs/theory.md, section 6.

    >>> [float(x) for x in optimal_mode(Mode(2.0, 1.0, 0.5), 4.0)]
    [4.0, 0.5, 0.5]
    """
    if oscillating.is_oscillating(teacher, (s,)):
        return oscillating.optimal_mode(teacher, s)
    a_star, b_star, w_star = (np.asarray(x, dtype=float) for x in as_mode(teacher, "teacher"))
    s = np.asarray(as_float(s, "s"), dtype=float)
    with np.errstate(all="ignore"):
        c = a_star * b_star
        b = c / s
    _require(c != 0, c, "teacher a* b*", "the mode is silent, without optimal manifold; give a* and b* other than 0")
    _require(np.isfinite(c), c, "teacher a* b*", "it is not finite; give smaller, finite a* and b*")
    _require(np.isfinite(s), s, "s", "it is not finite; give a finite, non-zero s")
    _require(s != 0, s, "s", "it is not on the optimal manifold (s, c/s, w*); give a non-zero s")
    _require(np.isfinite(b) & (b != 0), b, "b = a* b* / s", "it leaves double precision; give an s nearer to √|a* b*|")
    return Mode(*np.broadcast_arrays(s, b, w_star))


def _require(fine: np.ndarray, values: np.ndarray, name: str, complaint: str) -> None:
    if not np.all(fine):
        raise ValueError(f"{name} = {values[~fine].flat[0]:g}: {complaint}")


@in_our_arithmetic
def spectrum(rule: Rule, teacher: Mode, s: Any, *, poles: str | Poles = "direct") -> np.ndarray:
    """Eigenvalues `(0, λ₊, λ₋)` of the learning flow on the optimal manifold, per unit of learning time.

    **Arguments:** `rule`, `teacher`, `s` broadcast (see `optimal_mode`); `poles` as in `mode_update`.

    **Returns:** a complex array of the broadcast shape followed by 3; `Re λ₊ ≥ Re λ₋`. For a teacher that oscillates
    (complex entries, complex `s`) followed by 6: two zeros, then by falling real part.

    **Raises:** `ValueError` as `optimal_mode` and `mode_jacobian`, and where the eigenvalues leave double precision.

    Source: the paper's equations 28–29 (RFLO); docs/theory.md, section 7.

    >>> from localgrad import BPTT
    >>> spectrum(BPTT(), Mode(1.0, 1.0, 0.0), 1.0).real.tolist()
    [0.0, -1.0, -2.0]
    """
    if oscillating.is_oscillating(teacher, (s,)):
        return oscillating.spectrum(rule, teacher, s, find_poles(poles))
    unit, plus, minus = _transverse(rule, teacher, s, find_poles(poles))
    return np.stack([np.zeros_like(plus), unit * plus, unit * minus], axis=-1)


def _transverse(rule: Rule, teacher: Mode, s: Any, poles: Poles) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A unit of rate, and the eigenvalues `λ₊` and `λ₋` in it."""
    unit, T, Q = _invariants(rule, teacher, s, poles)
    squared = T * T / 4 - Q
    # A double eigenvalue: rounding must not split it into a complex pair.
    root = np.sqrt(np.where(np.abs(squared) <= 8 * np.finfo(float).eps * (T * T / 4 + np.abs(Q)), 0, squared) + 0j)
    # The root of larger modulus by addition, the other from the product: no cancellation.
    larger = T / 2 + np.where(T > 0, root, -root)
    smaller = np.divide(Q, larger, out=np.zeros_like(larger), where=larger != 0)
    # Of a complex pair λ₊ is the one with positive imaginary part; real parts would differ by rounding only.
    swap = np.where(smaller.imag != 0, smaller.imag < 0, smaller.real < larger.real)
    return unit, np.where(swap, larger, smaller), np.where(swap, smaller, larger)


def _invariants(rule: Rule, teacher: Mode, s: Any, poles: Poles) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A unit of rate, the trace `T` in it, and `Q` in its square."""
    point = optimal_mode(teacher, s)
    rule, point, teacher = check_modes(rule, point, teacher, poles)
    if rule.delay:
        return _numerical_invariants(rule, point, teacher, poles)
    a, b, w = point
    with np.errstate(all="ignore"):
        f, m = (np.asarray(x, dtype=float) for x in (rule.feedback.on_mode(a), rule.propagator.on_mode(w)))
        c, S = a * b, 1 / (1 - w * w)
        total, first = _lag_sums(m * w, rule.lags)
        speed = poles.speed(w)
        product = speed * f * b * c * S * (total + first)
        terms = np.broadcast_arrays(b * b * S, f * a * total, speed * f * b * c * S * (total * S + first), product)
        unit = np.max(np.abs(terms), axis=0)
        fine = (unit > _SMALLEST) & (unit < 1 / _SMALLEST)
        remedy = "the eigenvalues leave double precision there; give a*, b*, s and feedback nearer to 1"
        _require(fine, np.broadcast_to(a, unit.shape), "s", remedy)
        scaled = [x / unit for x in terms]
        feedback_part = np.sqrt(speed) * f * c * S * total / unit
        return unit, -(scaled[0] + scaled[1] + scaled[2]), scaled[0] * scaled[3] + feedback_part * feedback_part


def _numerical_invariants(
    rule: Rule, point: Mode, teacher: Mode, poles: Poles
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The same from the Jacobian's entries, where errors arrive late."""
    J = np.asarray(mode_jacobian(rule, point, teacher, poles=poles))
    unit = np.max(np.abs(J), axis=(-2, -1))
    fine = (unit > _SMALLEST) & (unit < 1 / _SMALLEST)
    _require(fine, unit, "the largest entry of the Jacobian", "it leaves double precision; give numbers nearer to 1")
    J = J / unit[..., None, None]
    minors = [J[..., i, i] * J[..., j, j] - J[..., i, j] * J[..., j, i] for i, j in ((0, 1), (0, 2), (1, 2))]
    return unit, np.trace(J, axis1=-2, axis2=-1), sum(minors[1:], minors[0])


def _lag_sums(z: Any, lags: int | None) -> tuple[Any, Any]:
    """`Σ_{j<lags} z^j` and `Σ_{j<lags} j z^j`."""
    step = 1e-30
    total = np.asarray(geometric_sum(z + 1j * step, lags))
    return total.real, z * total.imag / step


@in_our_arithmetic
def spectrum_at(rule: Rule, student: Mode, teacher: Mode, *, poles: str | Poles = "direct") -> np.ndarray:
    """Eigenvalues of the learning flow's Jacobian at any point, by falling real part, per unit of learning time.

    **Arguments:** `rule`, `student`, `teacher`, `poles` as in `mode_jacobian`. **Returns:** a complex array, the
    broadcast shape followed by 3. **Raises:** `ValueError` as `mode_jacobian`.

    Source: docs/theory.md, section 7.

    >>> from localgrad import BPTT
    >>> (spectrum_at(BPTT(), Mode(0.0, 0.0, 0.0), Mode(1.0, 1.0, 0.0)).real + 0.0).round(12).tolist()  # a saddle
    [1.0, 0.0, -1.0]
    """
    values = np.linalg.eigvals(np.asarray(mode_jacobian(rule, student, teacher, poles=poles))).astype(complex)
    order = np.argsort(-values.real, axis=-1)
    return np.take_along_axis(values, order, axis=-1)


@in_our_arithmetic
def convergence_rate(rule: Rule, teacher: Mode, s: Any, *, poles: str | Poles = "direct") -> np.ndarray:
    """`−Re λ₊(s)`: how fast learning approaches `(s, c/s, w*)`, per unit of learning time; negative if it leaves it.

    Arguments, shapes and errors as in `spectrum`.

    Source: the paper's convergence rates; docs/theory.md, section 7.

    >>> from localgrad import BPTT
    >>> float(convergence_rate(BPTT(), Mode(1.0, 1.0, 0.0), 2.0))
    1.0
    """
    unit, plus, _ = _transverse(rule, teacher, s, find_poles(poles))
    return -unit * plus.real


@in_our_arithmetic
def critical_learning_rate(rule: Rule, teacher: Mode, s: Any, *, poles: str | Poles = "direct") -> np.ndarray:
    """The largest stable step `η`: `min −2 Re λ/|λ|²` over the non-zero eigenvalues; 0 where the flow is unstable.

    Discrete steps `θ ← θ − ηΔθ` approach `(s, c/s, w*)` only where `|1 + ηλ| < 1` for both. With parametrised poles the
    steps meant are those of what is trained, `ν ← ν − η g′(ν) Δw`; at the optimum steps `w ← w − η ρ(w) Δw` have the
    same limit, since the two are the same there to first order. Arguments, shapes and errors as in `spectrum`.

    Source: docs/theory.md, section 7.

    >>> from localgrad import BPTT
    >>> float(critical_learning_rate(BPTT(), Mode(1.0, 1.0, 0.0), 1.0))
    1.0
    """
    unit, *values = _transverse(rule, teacher, s, find_poles(poles))
    stable = (values[0].real < 0) & (values[1].real < 0)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        limits = [-2 * (x.real / np.abs(x)) / np.abs(x) for x in values]
        return np.where(stable, np.minimum(*limits) / unit, 0.0)


@in_our_arithmetic
def rate_crossings(
    rule: Rule,
    other: Rule,
    teacher: Mode,
    s_min: float,
    s_max: float,
    *,
    samples: int = 400,
    poles: str | Poles = "direct",
) -> np.ndarray:
    """The values of `s` between `s_min` and `s_max`, of one sign, where both rules converge equally fast.

    **Arguments:** `rule`, `other`, `teacher` of scalars; `s_min`, `s_max`: ends of the range, dimensionless, of one
    sign; `samples`: points (spaced evenly in `log |s|`) at which a change of sign is looked for. Two crossings closer
    than their spacing may go unseen. `poles`: those of both, as in `mode_update`.

    **Returns:** an array of crossings, sorted, refined to rounding. Where both rules agree on a stretch of `s`, every
    sampled point of it.

    **Raises:** `ValueError` for an end that is 0, not finite or of the other end's sign.

    Source: the paper compares rates along the manifold; docs/theory.md, section 7.

    >>> from localgrad import BPTT, RFLO
    >>> rate_crossings(RFLO(1.0, 0.5), BPTT(), Mode(1.0, 1.0, 0.8), 0.1, 10.0).round(4).tolist()  # RFLO faster below
    [0.2535]
    """
    rule, other = as_rule(rule), as_rule(other)
    s_min, s_max, samples = as_scalar(s_min, "s_min"), as_scalar(s_max, "s_max"), check_count(samples, "samples")
    check_memory(f"{samples:,} samples", samples * 400, "give fewer")
    if not (np.isfinite(s_min) and np.isfinite(s_max) and np.sign(s_min) * np.sign(s_max) > 0):
        raise ValueError(f"s_min = {s_min:g} and s_max = {s_max:g} must be finite, non-zero and of one sign")

    def difference(s: Any) -> Any:
        return convergence_rate(rule, teacher, s, poles=poles) - convergence_rate(other, teacher, s, poles=poles)

    grid = np.sign(s_min) * np.geomspace(abs(s_min), abs(s_max), samples)
    values = difference(grid)
    brackets = np.flatnonzero(np.sign(values[:-1]) * np.sign(values[1:]) < 0)
    roots = [brentq(lambda s: float(difference(s)), grid[i], grid[i + 1], xtol=1e-14, rtol=1e-14) for i in brackets]
    return np.sort(np.array([*roots, *grid[values == 0]]))
