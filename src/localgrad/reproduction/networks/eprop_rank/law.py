r"""How many singular values e-prop's update has: a theorem for any diagonal of `W`, and the numbers in it.

Random-feedback e-prop with `D = diag(d)` the diagonal of `W` updates by `ΔW = Σ_j D^j Rᵀ C_j` (docs/theory.md,
section 3). So row `a` is `R_aᵀ Ψ(d_a)`, where `Ψ(z) = Σ_j z^j C_j` is analytic for `|z| < 1/r`, `r = max(ρ(W), ρ(W*))`.
For `q` distinct `d_a` the rank is at most `q·o`. In general what counts is in how few dimensions Ψ keeps, to within a
tolerance, on the interval that holds all `d_a`.

**Theorem.** For every `r'` between `r` and `1/max|d|` and every `k ≥ 1`

    σ_{ok+1}(ΔW) ≤ 2 Γ e^{−k μ(t)},   t = r'(d_max − d_min)/(1 − r'² d_max d_min),
    Γ² = Σ_j ‖C_j‖²_F r'^{−2j} · Σ_a ‖R_a‖²/(1 − r'² d_a²),   μ(t) = (π/2) K(√(1−t²))/K(t).

`t` is the interval's pseudohyperbolic diameter in the disc `|z| < 1/r'`, and `μ → log(4/t)` as `t → 0`. Hence

    rank_ε(ΔW) = #{σ > ε σ_1} ≤ o·⌈log(2Γ/(ε σ_1))/μ(t)⌉.

*Proof.* Let `b` be a Blaschke product of that disc with zeros `x_1 … x_k` in the interval. In the disc's Hardy space
Ψ is `P + b G` with `‖G‖ ≤ ‖Ψ‖` and `P` in the orthogonal complement of `b H²`, which the k kernels `1/(1 − r'² x_l z)`
span. `P` brings `Σ_l diag(1/(1 − r'² x_l d)) Rᵀ V_l`, of rank at most `o·k`. The rest has rows `b(d_a) R_aᵀ G(d_a)`,
and `‖G(z)‖ ≤ ‖Ψ‖/√(1 − r'²|z|²)`. At Zolotarev's zeros `max|b| ≤ 2e^{−kμ(t)}` on the interval. ∎

The proof asks nothing of the `C_j` but their decay. So it holds for `ΔB`, for sampled updates and for finite horizons
alike, and for a diagonal propagator that stays *constant* (a decay per unit) over all of learning. Two coarser laws
follow in the same way, with smaller rates than `μ(t)`: counting lags, `−log(r max|d|)`, and polynomials in `d`, the
logarithm of the largest ellipse about the interval in the disc.

Limits: a bound from above, of one update. `Γ` is summed over the lags that are given.

Source: docs/theory.md, section 9; Zolotarev 1877; Fisher & Micchelli 1980; Beckermann & Townsend 2017 for the method.
"""

from typing import Any

import numpy as np
from scipy.special import ellipk, ellipkm1

CLOSEST = 1.03
"""The least `r'/r` that `certified_blocks` tries: what lies beyond 512 lags is then below 1e-13 of the sum."""


def modulus(t: Any) -> np.ndarray:
    """`μ(t) = (π/2) K(√(1−t²))/K(t)` for `t` in [0, 1): the fall of `log σ` per `o` singular values."""
    m = np.square(t)  # SciPy's parameter
    return np.pi / 2 * ellipkm1(m) / ellipk(m)


def diameter(d: np.ndarray, r: Any) -> Any:
    """The pseudohyperbolic diameter, in the disc `|z| < 1/r`, of the interval that holds `d`."""
    low, high = d.min(), d.max()
    return r * (high - low) / (1 - r * r * low * high)


def certified_blocks(lag_norms: np.ndarray, R: np.ndarray, d: np.ndarray, r: float, levels: np.ndarray) -> np.ndarray:
    """The theorem's `⌈log(2Γ/level)/μ(t)⌉`, at least 1, at the best of 24 radii `r'`; infinite where there is none.

    `lag_norms` are the `‖C_j‖_F`, `R` has shape `"output hidden"`, `d` is `diag W`, `levels` are the values of `ε σ_1`.
    """
    inner, outer = CLOSEST * r, 0.98 / max(abs(d).max(), 1e-3)
    count = 24 if inner < outer else 0  # none where the interval nearly reaches the poles
    with np.errstate(divide="ignore"):
        logs = np.log(lag_norms)
    best = np.full(len(levels), np.inf)
    for radius in np.geomspace(inner, outer, count):
        energy = np.logaddexp.reduce(2 * (logs - np.arange(len(logs)) * np.log(radius)))
        log_gamma = (energy + np.log(np.sum((R * R).sum(axis=0) / (1 - radius**2 * d * d)))) / 2
        blocks = np.ceil((np.log(2) + log_gamma - np.log(levels)) / modulus(diameter(d, radius)))
        best = np.minimum(best, np.maximum(blocks, 1))
    return best


def coarser_rates(d: np.ndarray, r: float) -> tuple[float, float]:
    """The rates of counting lags, `−log(r max|d|)`, and of polynomials on the interval (`log` of its ellipse)."""
    centre, half = abs(d.max() + d.min()) / 2, (d.max() - d.min()) / 2
    return -np.log(r * abs(d).max()), np.arccosh((1 / r - centre) / half)
