"""Stability along the optimal manifold: BPTT everywhere, RFLO where its feedback has the sign of the readout.

The product of RFLO's two non-zero eigenvalues is `â c² (â s³ + c²)/(s³ (1−w*²)² (1−ŵ w*)²)` (`localgrad derive rflo`).
For `âs > 0` it is positive and the trace negative: always stable. For `âs < 0` it is negative, a saddle, up to a border
in `|s|`; beyond it the trace decides, and a stable window can open there (`closed_forms.py`; docs/theory.md,
section 7).
"""

import xarray as xr

from localgrad.reproduction.experiment import Claim, Experiment, FigureSpec
from localgrad.reproduction.theory.stability.data import DESCRIBE, Parameters, compute
from localgrad.reproduction.theory.stability.figures import draw_curves, draw_map


def claims(data: xr.Dataset) -> list[Claim]:
    """Signs and reality of the eigenvalues."""
    plus, minus = data.rflo.sel(eigenvalue="λ₊"), data.rflo.sel(eigenvalue="λ₋")
    same, opposite = data.same_sign, ~data.same_sign
    paper = "paper, stability"

    def everywhere(id: str, source: str, statement: str, holds: xr.DataArray) -> Claim:
        return Claim.equal(id, source, statement, 1.0, holds.mean(), tolerance=0)

    return [
        Claim.at_most(
            "stability.bptt-closed-form",
            "paper, stability; theory, section 7",
            "BPTT's eigenvalues on the optimal manifold are the closed form (largest relative error)",
            1e-9,
            data.bptt_mismatch.max(),
        ),
        everywhere(
            "stability.bptt-real",
            paper,
            "BPTT's eigenvalues are real (share of samples without imaginary part)",
            data.bptt_imaginary == 0,
        ),
        everywhere(
            "stability.bptt-stable",
            paper,
            "BPTT is stable on the whole optimal manifold (share of samples with λ₊ < 0)",
            data.bptt.sel(eigenvalue="λ₊") < 0,
        ),
        everywhere(
            "stability.tbptt-stable",
            paper,
            "tBPTT(1) is stable on the whole optimal manifold (share of samples with Re λ₊ < 0)",
            data.tbptt.sel(eigenvalue="λ₊") < 0,
        ),
        everywhere(
            "stability.rflo-same-sign",
            paper,
            "RFLO is stable wherever âs > 0 (share of samples with Re λ₊ < 0)",
            (plus < 0).where(same),
        ),
        Claim.at_most(
            "stability.rflo-closed-form",
            "paper, equations 28–29",
            "RFLO's eigenvalues on the optimal manifold are the closed form, for either sign of âs (largest error over "
            "the larger eigenvalue)",
            1e-8,
            data.rflo_mismatch.max(),
        ),
        Claim.at_least(
            "stability.rflo-unstable",
            "paper, equations 28–29",
            "For âs < 0 RFLO's λ₊ can be positive (number of samples)",
            1,
            ((plus > 0) & opposite).sum(),
        ),
        Claim.at_least(
            "stability.rflo-oscillates",
            "paper, equations 28–29",
            "For âs < 0 RFLO's eigenvalues can be a complex pair (number of samples)",
            1,
            ((data.rflo_imaginary > 0) & opposite).sum(),
        ),
        everywhere(
            "stability.rflo-saddle",
            "new: theory, section 7",
            "RFLO with âs < 0 has a saddle exactly where |s| < (c²/|â|)^{1/3} (share of samples that agree)",
            (((plus > 0) & (minus < 0)) == data.below_border).where(opposite),
        ),
        everywhere(
            "stability.rflo-window",
            "new: theory, section 7",
            "Just beyond that border RFLO is stable exactly for |âc|^{2/3} < (1−w*²)(1−ŵw*)(w*²−ŵw*)/(1−ŵw*³) (share)",
            data.window_predicted == data.window_found,
        ),
        everywhere(
            "stability.rflo-no-window",
            "new: theory, section 7",
            "Every stable solution with âs < 0 lies in such a window (share of the stable ones)",
            (data.window_predicted & ~data.below_border).where((plus < 0) & opposite),
        ),
        Claim.at_most(
            "stability.critical-rate-below",
            "theory, section 7",
            "Steps of 0.98 times the critical learning rate shrink a deviation (largest growth in 100 steps)",
            1.0,
            data.step_growth.sel(side="below").max(),
        ),
        Claim.at_least(
            "stability.critical-rate-above",
            "theory, section 7",
            "Steps of 1.02 times the critical learning rate enlarge it (smallest growth in 100 steps)",
            1.0,
            data.step_growth.sel(side="above").min(),
        ),
    ]


def numbers(data: xr.Dataset) -> dict[str, float]:
    """Shares among the samples with `âs < 0`."""
    opposite = ~data.same_sign
    return {
        "samples": data.sizes["sample"],
        "unstable": float((data.rflo.sel(eigenvalue="λ₊") > 0).where(opposite).mean()),
        "oscillating": float((data.rflo_imaginary > 0).where(opposite).mean()),
    }


EXPERIMENT = Experiment(
    name="stability",
    title="Stability along the optimal manifold",
    question="At which optimal solutions can each rule come to rest, and where does it leave or circle them?",
    parameters=Parameters(),
    quick=Parameters(num_samples=20_000, grid=120, num_step_checks=50),
    compute=compute,
    claims=claims,
    numbers=numbers,
    describe=DESCRIBE,
    figures=(
        FigureSpec(
            "spectra",
            draw_curves,
            "Real and imaginary parts of the non-zero eigenvalues at the optimal solutions (s, c/s, w*) of the teacher "
            "(1, 1, 0.8); RFLO has â = 1. BPTT and tBPTT(1) lie below zero for every s and are even in s. RFLO is "
            "stable for s > 0, where its feedback has the readout's sign. For s < 0 it is unstable: a saddle down to "
            "s = −1, and beyond it unstable in both directions, for ŵ = 0 in part spiralling out (right).",
        ),
        FigureSpec(
            "rflo-stability-map",
            draw_map,
            "RFLO where feedback and readout have opposite signs (â = −1, s > 0, w* = 0.8). Left of 1 every solution "
            "is a saddle, whatever the decay ŵ. Right of it learning runs or spirals away from a strong teacher "
            "(c = 1). For weak teachers a window of stable solutions opens next to the border, where ŵ < w*.",
        ),
    ),
)
