r"""Stability of a mode's fixed points, and how fast learning approaches them.

Near a fixed point the learning flow `dθ/dk = −Δθ` is linear with the mode Jacobian. On the optimal manifold
`(a, b, w) = (s, c/s, w*)`, `c = a* b*`, `s ≠ 0`, one eigenvalue is 0, along the manifold; the other two are the roots
of `λ² − (tr J) λ + (sum of the principal 2×2 minors of J)`. `λ₊` is the one with the larger real part, and
`−Re λ₊` the rate at which learning converges. Everything broadcasts over the teacher, the rule and `s`.

Source: docs/theory.md, section 7.
"""

from typing import Any

import numpy as np
from scipy.optimize import brentq

from localgrad.models.aligned import Mode
from localgrad.modes.equations import mode_jacobian
from localgrad.rules.rule import Rule


def optimal_mode(teacher: Mode, s: Any) -> Mode:
    """The point `(s, c/s, w*)` of the optimal manifold, `c = a* b*`, where the loss is 0.

    **Arguments:** `teacher`: `Mode` with `c ≠ 0`; `s`: the student's readout, non-zero; both broadcast.

    **Raises:** `ValueError` for `s = 0`, and for a `c` that is 0 or not finite.

    Source: the paper's stationary solutions; docs/theory.md, section 6.
    """
    a_star, b_star, w_star = (np.asarray(x, dtype=float) for x in teacher)
    s = np.asarray(s, dtype=float)
    with np.errstate(over="ignore", under="ignore"):
        c = a_star * b_star
    if np.any(c == 0):
        raise ValueError(
            "teacher a* b* = 0: the mode is silent, without optimal manifold (s, c/s, w*); give a* and b* other than 0"
        )
    if not np.all(np.isfinite(c)):
        raise ValueError(
            f"teacher a* b* = {c[~np.isfinite(c)].flat[0]:g} is not finite; give smaller, finite a* and b*"
        )
    if np.any(s == 0):
        raise ValueError("s = 0 is not on the optimal manifold (s, c/s, w*); give a non-zero s")
    return Mode(*np.broadcast_arrays(s, c / s, w_star))


def spectrum(rule: Rule, teacher: Mode, s: Any) -> np.ndarray:
    """Eigenvalues `(0, λ₊, λ₋)` of the learning flow on the optimal manifold, per unit of learning time.

    **Arguments:** `rule`, `teacher`, `s` broadcast (see `optimal_mode`).

    **Returns:** a complex array of the broadcast shape followed by 3; `Re λ₊ ≥ Re λ₋`.

    **Raises:** `ValueError` as `optimal_mode` and `mode_jacobian`.

    Source: the paper's equations 28–29 (RFLO); docs/theory.md, section 7.

    >>> from localgrad import BPTT
    >>> spectrum(BPTT(), Mode(1.0, 1.0, 0.0), 1.0).real.tolist()
    [0.0, -1.0, -2.0]
    """
    J = mode_jacobian(rule, optimal_mode(teacher, s), teacher)
    trace = np.trace(J, axis1=-2, axis2=-1)
    minors = sum(J[..., i, i] * J[..., j, j] - J[..., i, j] * J[..., j, i] for i, j in ((0, 1), (0, 2), (1, 2)))
    root = np.sqrt(trace * trace / 4 - minors + 0j)
    # The root of larger modulus by addition, the other from the product: no cancellation.
    larger = trace / 2 + np.where(trace > 0, root, -root)
    smaller = np.divide(minors, larger, out=np.zeros_like(larger), where=larger != 0)
    # Of a complex pair λ₊ is the one with positive imaginary part; real parts would differ by rounding only.
    swap = np.where(smaller.imag != 0, smaller.imag < 0, smaller.real < larger.real)
    plus, minus = np.where(swap, larger, smaller), np.where(swap, smaller, larger)
    return np.stack([np.zeros_like(plus), plus, minus], axis=-1)


def spectrum_at(rule: Rule, student: Mode, teacher: Mode) -> np.ndarray:
    """Eigenvalues of the learning flow's Jacobian at any point, by falling real part.

    **Arguments:** broadcast as in `mode_jacobian`. **Returns:** a complex array, the broadcast shape followed by 3.

    Source: docs/theory.md, section 7.
    """
    values = np.linalg.eigvals(mode_jacobian(rule, student, teacher)).astype(complex)
    order = np.argsort(-values.real, axis=-1)
    return np.take_along_axis(values, order, axis=-1)


def convergence_rate(rule: Rule, teacher: Mode, s: Any) -> np.ndarray:
    """`−Re λ₊(s)`: how fast learning approaches `(s, c/s, w*)`, per unit of learning time; negative if it leaves it.

    Arguments, shapes and errors as in `spectrum`.

    Source: the paper's convergence rates; docs/theory.md, section 7.

    >>> from localgrad import BPTT
    >>> float(convergence_rate(BPTT(), Mode(1.0, 1.0, 0.0), 2.0))
    1.0
    """
    return -spectrum(rule, teacher, s)[..., 1].real


def critical_learning_rate(rule: Rule, teacher: Mode, s: Any) -> np.ndarray:
    """The largest stable step `η`: `min −2 Re λ/|λ|²` over the non-zero eigenvalues; 0 where the flow is unstable.

    Discrete steps `θ ← θ − ηΔθ` approach `(s, c/s, w*)` only where `|1 + ηλ| < 1` for both.
    Arguments, shapes and errors as in `spectrum`.

    Source: docs/theory.md, section 7.

    >>> from localgrad import BPTT
    >>> float(critical_learning_rate(BPTT(), Mode(1.0, 1.0, 0.0), 1.0))
    1.0
    """
    values = spectrum(rule, teacher, s)[..., 1:]
    stable = np.all(values.real < 0, axis=-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        limit = np.min(-2 * values.real / np.abs(values) ** 2, axis=-1)
    return np.where(stable, limit, 0.0)


def rate_crossings(
    rule: Rule, other: Rule, teacher: Mode, s_min: float, s_max: float, *, samples: int = 400
) -> np.ndarray:
    """The values of `s` between `s_min` and `s_max`, of one sign, where both rules converge equally fast.

    **Arguments:** `teacher` of scalars; `samples`: points (spaced evenly in `log |s|`) at which a change of sign is
    looked for. Two crossings closer than their spacing may go unseen.

    **Returns:** an array of crossings, sorted, refined to rounding. Where both rules agree on a stretch of `s`, every
    sampled point of it.

    **Raises:** `ValueError` for an end that is 0, not finite or of the other end's sign.

    Source: the paper compares rates along the manifold.
    """
    if not (np.isfinite(s_min) and np.isfinite(s_max) and np.sign(s_min) * np.sign(s_max) > 0):
        raise ValueError(f"s_min = {s_min:g} and s_max = {s_max:g} must be finite, non-zero and of one sign")

    def difference(s: Any) -> Any:
        return convergence_rate(rule, teacher, s) - convergence_rate(other, teacher, s)

    grid = np.sign(s_min) * np.geomspace(abs(s_min), abs(s_max), samples)
    values = difference(grid)
    brackets = np.flatnonzero(np.sign(values[:-1]) * np.sign(values[1:]) < 0)
    roots = [brentq(lambda s: float(difference(s)), grid[i], grid[i + 1], xtol=1e-14, rtol=1e-14) for i in brackets]
    return np.sort(np.array([*roots, *grid[values == 0]]))
