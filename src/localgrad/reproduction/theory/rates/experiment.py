"""How fast each rule converges along the optimal manifold, and where one overtakes another.

What is said of RFLO depends on the size of its feedback against the readout gain at balance, and what is said of
tBPTT(1) on the strength `c` of the teacher. So every statement is tried over them, and the worst case counts. "Almost
everywhere" and "most" are read as nine tenths and one half of the length `0 < s ≤ 5√|c|` (docs/decisions.md).
"""

import numpy as np
import xarray as xr

from localgrad.reproduction.experiment import Claim, Experiment, FigureSpec
from localgrad.reproduction.theory.rates.data import DESCRIBE, Parameters, compute
from localgrad.reproduction.theory.rates.figures import draw_map, draw_rates, share_of_length, table

PAPER = "paper, convergence rates"


def _furthest(values: xr.DataArray) -> float:
    """The value that is furthest from 1."""
    flat = values.values.ravel()
    return float(flat[np.argmax(np.abs(flat - 1))])


def _order(data: xr.Dataset, strengths: xr.DataArray) -> float:
    """The exponent of `w*` in the largest difference of the rates of tBPTT(1) and BPTT."""
    gap = data.tbptt_gap.where(strengths).max("strength")
    return float(np.polyfit(np.log(data.small_w_star), np.log(gap), 1)[0])


def claims(data: xr.Dataset) -> list[Claim]:
    """What holds of the rates, for every teacher, `â` and `ŵ` that the claim speaks of."""
    return [
        Claim.equal(
            "rates.bptt-slowest",
            PAPER,
            "BPTT converges slowest at s = ±√|c| (|s|/√|c| at the minimum, furthest from 1 of random teachers)",
            1.0,
            _furthest(data.slowest),
            tolerance=1e-6,
        ),
        Claim.equal(
            "rates.bptt-flat",
            "theory, section 7",
            "For w* = 0 and |c| ≤ 2 BPTT's rate is c² at every s, so that no s is slowest (rate over c², furthest)",
            1.0,
            _furthest(data.flat),
            tolerance=1e-12,
        ),
        Claim.at_most(
            "rates.tbptt-approaches",
            PAPER,
            f"tBPTT(1) converges like BPTT for small w*: at w* = {float(data.small_w_star.min()):g} their rates differ "
            "by a tenth at most (largest relative difference over s and c)",
            0.1,
            data.tbptt_gap.sel(small_w_star=data.small_w_star.min()).max(),
        ),
        Claim.equal(
            "rates.tbptt-order",
            "new: perturbation theory",
            "For |c| < 2 the rates of tBPTT(1) and BPTT differ by order 2 in w*: the Jacobians differ by off-diagonal "
            "terms of order w*, and the eigenvalues at w* = 0, −c² and −(s² + c²/s²), lie apart (slope)",
            2.0,
            _order(data, data.strength < 2),
            tolerance=0.1,
        ),
        Claim.equal(
            "rates.tbptt-order-strong",
            "new: perturbation theory",
            "For |c| ≥ 2 they differ by order 1, at the s where those eigenvalues meet (slope)",
            1.0,
            _order(data, data.strength >= 2),
            tolerance=0.1,
        ),
        Claim.at_least(
            "rates.rflo-slower",
            PAPER,
            "With feedback as large as the readout at balance, â = √|c|, RFLO converges more slowly than BPTT for most "
            "s (share of the length 0 < s ≤ 5√|c|, least over teachers and decays)",
            0.5,
            share_of_length(data.slower.sel(feedback=1.0)).min(),
        ),
        Claim.at_least(
            "rates.rflo-faster",
            PAPER,
            "RFLO with âs > 0 is faster than BPTT as s → 0 (rate over BPTT's at a small s, least of random teachers)",
            1.0,
            data.small_s_gain.min(),
        ),
        Claim.equal(
            "rates.rflo-growth",
            "theory, section 7",
            "As s → 0 RFLO's rate is |â| c²/(|s| (1−w*²)(1−ŵ w*)²), without bound (measured over this, furthest)",
            1.0,
            _furthest(data.small_s_ratio),
            tolerance=1e-2,
        ),
        Claim.equal(
            "rates.crossing",
            "new: measured",
            "For â = √|c| = 1 RFLO and BPTT cross exactly once (share of teachers and decays with one crossing)",
            1.0,
            (data.num_crossings.sel(feedback=1.0) == 1).mean(),
            tolerance=0,
        ),
        Claim.equal(
            "rates.coincide",
            "theory, section 7",
            "With ŵ = w* they meet at s = â, where RFLO's Jacobian is BPTT's (RFLO's rate over BPTT's, furthest)",
            1.0,
            _furthest(data.matched),
            tolerance=1e-9,
        ),
    ]


def checks(data: xr.Dataset) -> list[Claim]:
    """The paper's statements over all strengths of the teacher and sizes of RFLO's feedback."""
    strengths, feedbacks = data.strength.values, data.feedback.values
    return [
        Claim.at_least(
            "rates.bptt-over-tbptt-equal",
            PAPER,
            "BPTT converges at least as fast as tBPTT(1) almost everywhere, for c = 1 (share of the length "
            "0 < s ≤ 5√|c|, least over w*)",
            0.9,
            share_of_length(data.tbptt_slower.sel(strength=1.0)).min(),
        ),
        Claim.at_least(
            "rates.bptt-over-tbptt",
            PAPER,
            "BPTT converges at least as fast as tBPTT(1) almost everywhere, for every teacher (share of the length, "
            f"least over w* and c from {strengths.min():g} to {strengths.max():g})",
            0.9,
            share_of_length(data.tbptt_slower).min(),
        ),
        Claim.at_least(
            "rates.bptt-over-rflo",
            PAPER,
            "BPTT converges faster than RFLO almost everywhere (share of the length, â = √|c|, least over teachers)",
            0.9,
            share_of_length(data.slower.sel(feedback=1.0)).min(),
        ),
        Claim.at_least(
            "rates.rflo-slower-any-feedback",
            PAPER,
            "RFLO converges more slowly than BPTT for most s, whatever its feedback (share of the length, least over "
            f"teachers, decays and â/√|c| from {feedbacks.min():g} to {feedbacks.max():g})",
            0.5,
            share_of_length(data.slower).min(),
        ),
        Claim.at_least(
            "rates.crossing-any-feedback",
            PAPER,
            "The rates of RFLO and BPTT cross at some s, whatever â, ŵ and w* (least number of crossings, c = 1)",
            1.0,
            data.num_crossings.isel(range=0).min(),
        ),
    ]


def numbers(data: xr.Dataset) -> dict[str, float]:
    """What the verdicts quote."""
    share, within = share_of_length(data.slower), data.num_crossings.isel(range=1)
    return {
        "share-small": float(share.isel(feedback=0).min()),
        "share-3-least": float(share.sel(feedback=3.0).min()),
        "share-3-most": float(share.sel(feedback=3.0).max()),
        "share-5-least": float(share.sel(feedback=5.0).min()),
        "most-crossings": float(data.num_crossings.max()),
        "fewest-within": float(within.min()),
        "most-within": float(within.max()),
        "smallest-s": float(data.s[0]),
        "gain-at-smallest-s": float((data.rate.isel(rule=2, s=0) / data.rate.isel(rule=0, s=0)).min()),
        "strongest": float(data.strength.max()),
    }


EXPERIMENT = Experiment(
    name="rates",
    title="Convergence rates",
    question="Which rule converges fastest near which optimal solution, and where do they cross?",
    parameters=Parameters(),
    quick=Parameters(num_points=500, num_mapped=40),
    compute=compute,
    claims=claims,
    checks=checks,
    numbers=numbers,
    describe=DESCRIBE,
    figures=(
        FigureSpec(
            "rates",
            draw_rates,
            "A–C: convergence rate at the optimal solution (s, 1/s, w*) for three teachers; RFLO has â = 1 and "
            "ŵ = 0.5. BPTT is slowest at s = 1. RFLO is slower than BPTT to the right of their crossing (grey line), "
            "and faster to the left of it, without bound as s → 0. tBPTT(1) is close to BPTT for w* = 0.2. D–F: "
            "the critical learning rate, above which steps are unstable.",
        ),
        FigureSpec(
            "rates-over-feedback",
            draw_map,
            "RFLO's convergence rate over BPTT's, for every size of its feedback â (c = 1, ŵ = 0.5). RFLO is slower "
            "where the map is blue; on the black lines the two are equal. An upright cut through a panel crosses the "
            "black line once or three times; for large â it does so only beyond s = 5, and RFLO is the faster rule "
            "below. Colours end at a factor of 100.",
        ),
    ),
    table=table,
    table_caption="On which share of the length 0 < s ≤ 5 RFLO converges more slowly than BPTT, and in brackets how "
    "often their rates cross there, for c = 1.",
)
