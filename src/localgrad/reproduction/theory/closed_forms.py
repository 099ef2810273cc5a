r"""What the theory says of stability on the optimal manifold `(s, c/s, w*)`, in closed form, for experiments to test.

The eigenvalues of BPTT and RFLO; RFLO's rate as `s → 0`; and for RFLO with `âs < 0` the two borders of stability:

    saddle     exactly for  |s| < (c²/|â|)^{1/3}
    stable     for some s (from that border on)  exactly for  |âc|^{2/3} < (1−w*²)(1−ŵw*)(w*²−ŵw*)/(1−ŵw*³).

Typed from docs/theory.md, section 7, and so independent of the rules' own code. Limits: `c, s, â ≠ 0`, `|w*| < 1`,
`|ŵw*| < 1`.
"""

import numpy as np


def bptt_eigenvalues(c: np.ndarray, s: np.ndarray, w: np.ndarray) -> np.ndarray:
    """`(λ₊, λ₋)` of BPTT, in a last axis; per unit of learning time.

    Source: the paper's stability analysis; docs/theory.md, section 7.
    """
    r2 = s**2 + c**2 / s**2
    s0, s1, s2 = 1 / (1 - w**2), w / (1 - w**2) ** 2, (1 + w**2) / (1 - w**2) ** 3
    root = np.sqrt((r2 * s0 - c**2 * s2) ** 2 + 4 * r2 * c**2 * s1**2)
    return -np.stack([r2 * s0 + c**2 * s2 - root, r2 * s0 + c**2 * s2 + root], axis=-1) / 2


def rflo_eigenvalues(
    c: np.ndarray, s: np.ndarray, feedback: np.ndarray, decay: np.ndarray, w: np.ndarray
) -> np.ndarray:
    """`(λ₊, λ₋)` of RFLO, complex, in a last axis; per unit of learning time. From trace and product of the two.

    Source: the paper's equations 28–29; docs/theory.md, section 7.
    """
    q, p = 1 - w**2, 1 - decay * w
    trace = -(c**2 / s**2 / q + feedback / s * (s**2 / p + c**2 * (1 - decay * w**3) / (p * q) ** 2))
    product = feedback * c**2 * (feedback * s**3 + c**2) / (s**3 * (q * p) ** 2)
    root = np.sqrt((trace**2 - 4 * product).astype(complex))
    return np.stack([trace + root, trace - root], axis=-1) / 2


def small_s_rate(c: np.ndarray, s: np.ndarray, feedback: np.ndarray, decay: np.ndarray, w: np.ndarray) -> np.ndarray:
    """`|â| c²/(|s| (1−w*²)(1−ŵ w*)²)`: RFLO's convergence rate as `s → 0`, for `âs > 0`.

    Source: docs/theory.md, section 7.
    """
    return np.abs(feedback / s) * c**2 / ((1 - w**2) * (1 - decay * w) ** 2)


def saddle_border(c: np.ndarray | float, feedback: np.ndarray | float) -> np.ndarray:
    """`(c²/|â|)^{1/3}`: below it RFLO's optimal solutions with `âs < 0` are saddles.

    Source: docs/theory.md, section 7.
    """
    return np.cbrt(np.square(c) / np.abs(feedback))


def window_opens(c: np.ndarray, feedback: np.ndarray, decay: np.ndarray, w: np.ndarray) -> np.ndarray:
    """Whether RFLO has stable optimal solutions with `âs < 0`.

    Source: docs/theory.md, section 7.
    """
    bound = (1 - w**2) * (1 - decay * w) * (w**2 - decay * w) / (1 - decay * w**3)
    return np.cbrt(np.square(feedback * c)) < bound
