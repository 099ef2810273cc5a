"""The mode equations as Numba compiles them. Written by `generate.py`; do not edit.

Learning velocities are `−Δ`. Names: `p = 1/(1 − w²)`, `q = 1/(1 − w w*)`, `r = σ(m w)`, `t = σ(m w*)`, `dr` and `dt`
the derivatives of the last two, `c = a* b*`, `theirs = 1/(1 − w*²)`.
"""

# mypy: ignore-errors

from numba import njit

_inline = njit(inline="always", error_model="numpy")


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


@_inline
def velocity(a, b, w, f, c, w_star, p, q, r, t):
    """`(ȧ, ḃ, ẇ)`."""
    x0 = c * q
    x1 = a * b
    x2 = p * x1
    return (
        -b * (-x0 + x2),
        -f * (-c * t + r * x1),
        -b * f * (r * w * x2 - t * w_star * x0),
    )


@_inline
def velocity_and_jacobian(a, b, w, f, m, phi1, mu1, c, w_star, p, q, r, t, dr, dt):
    """`(ȧ, ḃ, ẇ)`, then its Jacobian row by row."""
    x0 = c * q
    x1 = -x0
    x2 = a * b
    x3 = p * x2
    x4 = c * t
    x5 = r * x2
    x6 = -x4 + x5
    x7 = r * x3
    x8 = -t * w_star * x0 + w * x7
    x9 = f * x8
    x10 = b * b * p
    x11 = q * q
    x12 = c * w_star
    x13 = 2 * p * p
    x14 = f * r
    x15 = dt * mu1
    x16 = dr * (m + mu1 * w)
    x17 = w * x14
    x18 = w_star * w_star
    return (
        -b * (x1 + x3),
        -f * x6,
        -b * x9,
        -x10,
        -x1 - 2 * x3,
        -b * (w * x13 * x2 - x11 * x12),
        -b * x14 - phi1 * x6,
        -a * x14,
        -f * (-x12 * x15 + x16 * x2),
        -b * phi1 * x8 - x10 * x17,
        -x17 * x3 - x9,
        -b * f * (w * w * x13 * x5 + w * x16 * x3 - x0 * x15 * x18 - x11 * x18 * x4 + x7),
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
