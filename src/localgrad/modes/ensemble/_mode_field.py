"""The mode equations as Numba compiles them. Written by `generate.py`; do not edit.

Learning velocities are `−Δ`. Names: `p = 1/(1 − w²)`, `q = 1/(1 − w w*)`, `r = σ(m w)`, `t = σ(m w*)`, `dr` and `dt`
the derivatives of the last two, `c = a* b*`, `theirs = 1/(1 − w*²)`, `slope = g′` of the poles `w = g(ν)`
and `bend` its derivative by `w`.
"""

# mypy: ignore-errors

from numba import njit

from localgrad.modes.ensemble.logarithm import log

_inline = njit(inline="always", error_model="numpy")
_absorbed = njit(error_model="numpy", fastmath={"contract", "nsz"}, forceinline=True)

POLE_PLACES = {"tanh": 1, "lru": 2}


@_inline
def rule_terms(a, w, phi0, phi1, mu0, mu1):
    """`f` and `m`."""
    return (
        a * phi1 + phi0,
        mu0 + mu1 * w,
    )


@_inline
def denominators(w, w_star):
    """`1/p` and `1/q`."""
    return (
        1 - w * w,
        -w * w_star + 1,
    )


@_absorbed
def pole_slope(w, poles):
    """`g′` and its derivative by `w`; `len(poles)` says of which poles."""
    if len(poles) == 1:  # tanh
        return 1 - w * w, -2 * w
    if len(poles) == 2:  # lru
        x0 = log(w)
        return w * x0, x0 + 1
    return 1.0, 0.0


@_inline
def velocity(a, b, w, f, c, w_star, p, q, r, t, slope):
    """`(ȧ, ḃ, ẇ)`."""
    x0 = c * q
    x1 = a * b
    x2 = p * x1
    return (
        -b * (-x0 + x2),
        -f * (-c * t + r * x1),
        -b * f * slope * slope * (r * w * x2 - t * w_star * x0),
    )


@_inline
def velocity_and_jacobian(a, b, w, f, m, phi1, mu1, c, w_star, p, q, r, t, dr, dt, slope, bend):
    """`(ȧ, ḃ, ẇ)`, then its Jacobian row by row."""
    x0 = c * q
    x1 = -x0
    x2 = a * b
    x3 = p * x2
    x4 = c * t
    x5 = r * x2
    x6 = -x4 + x5
    x7 = slope * slope
    x8 = r * x3
    x9 = -t * w_star * x0 + w * x8
    x10 = x7 * x9
    x11 = f * x10
    x12 = b * b * p
    x13 = q * q
    x14 = c * w_star
    x15 = 2 * p * p
    x16 = f * r
    x17 = dt * mu1
    x18 = dr * (m + mu1 * w)
    x19 = w * x16 * x7
    x20 = b * f
    x21 = w_star * w_star
    return (
        -b * (x1 + x3),
        -f * x6,
        -b * x11,
        -x12,
        -x1 - 2 * x3,
        -b * (w * x15 * x2 - x13 * x14),
        -b * x16 - phi1 * x6,
        -a * x16,
        -f * (-x14 * x17 + x18 * x2),
        -b * phi1 * x10 - x12 * x19,
        -x11 - x19 * x3,
        -2 * bend * slope * x20 * x9
        - x20 * x7 * (w * w * x15 * x5 + w * x18 * x3 - x0 * x17 * x21 - x13 * x21 * x4 + x8),
    )


@_inline
def loss(a, b, w, c, w_star, p, q, theirs):
    """The loss."""
    x0 = a * b
    x1 = (0.5) * p
    x2 = w - w_star
    x3 = q * x1
    return (
        c * c * theirs * x2 * x2 * x3 * (w * w_star + 1)
        + c * w * x2 * x3 * (-2 * c + 2 * x0)
        + x1 * (-c + x0) * (-c + x0)
    )


@_inline
def a_step_later(f, m, w, fa, fb, fw):
    """`(ȧ, ḃ, ẇ)` of errors that arrive later."""
    return (
        fa * w,
        fb * m,
        f * fa + fw * m,
    )


@_inline
def a_step_later_with_jacobian(f, m, w, f_a, f_w, m_w, w_w, fa, fb, fw, jaa, jab, jaw, jba, jbb, jbw, jwa, jwb, jww):
    """The same of errors that arrive later, and its Jacobian."""
    return (
        fa * w,
        fb * m,
        f * fa + fw * m,
        jaa * w,
        jab * w,
        fa * w_w + jaw * w,
        jba * m,
        jbb * m,
        fb * m_w + jbw * m,
        f * jaa + f_a * fa + jwa * m,
        f * jab + jwb * m,
        f * jaw + f_w * fa + fw * m_w + jww * m,
    )


@_inline
def at_poles(slope, fa, fb, fw):
    """`(ȧ, ḃ, ẇ)` where poles `w = g(ν)` are trained."""
    return (
        fa,
        fb,
        fw * slope * slope,
    )


@_inline
def at_poles_with_jacobian(slope, bend, fa, fb, fw, jaa, jab, jaw, jba, jbb, jbw, jwa, jwb, jww):
    """The same where poles `w = g(ν)` are trained, and its Jacobian."""
    x0 = slope * slope
    return (
        fa,
        fb,
        fw * x0,
        jaa,
        jab,
        jaw,
        jba,
        jbb,
        jbw,
        jwa * x0,
        jwb * x0,
        2 * bend * fw * slope + jww * x0,
    )
