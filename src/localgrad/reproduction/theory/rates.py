"""How fast each rule converges along the optimal manifold, and where one overtakes another."""

from dataclasses import dataclass

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from localgrad.figures.plotting import label_panels, new_figure, rule_style
from localgrad.models.aligned import Mode
from localgrad.modes.stability import convergence_rate, critical_learning_rate, rate_crossings
from localgrad.reproduction.experiment import Claim, Experiment, FigureSpec
from localgrad.rules.presets import BPTT, RFLO, TruncatedBPTT
from localgrad.rules.rule import Rule


@dataclass(frozen=True)
class Parameters:
    """Teachers with `c = 1`; `s` runs over `[s_min, s_max]`, evenly in `log s`. All dimensionless."""

    w_stars: tuple[float, ...] = (0.2, 0.5, 0.8)
    feedback: float = 1.0
    decays: tuple[float, ...] = (0.0, 0.2, 0.5, 0.8)
    decay: float = 0.5
    s_min: float = 0.01
    s_max: float = 5.0
    num_points: int = 2000
    small_w_stars: tuple[float, ...] = (0.2, 0.1, 0.05, 0.025)


def _rules(p: Parameters) -> list[Rule]:
    return [BPTT(), TruncatedBPTT(1), RFLO(p.feedback, p.decay)]


def _relative_difference(rule: Rule, other: Rule, teacher: Mode, s: np.ndarray) -> np.ndarray:
    return np.abs(convergence_rate(rule, teacher, s) / convergence_rate(other, teacher, s) - 1)


def compute(p: Parameters) -> xr.Dataset:
    """Rates and critical learning rates over rules, teachers and `s`; the crossings of RFLO and BPTT."""
    s = np.geomspace(p.s_min, p.s_max, p.num_points)
    teachers, rules = [Mode(1.0, 1.0, w) for w in p.w_stars], _rules(p)
    crossings = np.full((len(p.decays), len(p.w_stars)), np.nan)
    num_crossings = np.zeros_like(crossings, dtype=int)
    for i, decay in enumerate(p.decays):
        for j, teacher in enumerate(teachers):
            found = rate_crossings(RFLO(p.feedback, decay), BPTT(), teacher, p.s_min / 10, p.s_max)
            num_crossings[i, j] = len(found)
            crossings[i, j] = found[0] if len(found) else np.nan
    small = 1e-5
    law = [p.feedback / (small * (1 - w**2) * (1 - p.decay * w) ** 2) for w in p.w_stars]
    small_s = [float(convergence_rate(RFLO(p.feedback, p.decay), teacher, small)) for teacher in teachers]
    near = (p.feedback / 2, p.feedback * 2)
    matched = [rate_crossings(RFLO(p.feedback, t.w), BPTT(), t, *near)[0] / p.feedback for t in teachers]
    gap = [_relative_difference(TruncatedBPTT(1), BPTT(), Mode(1.0, 1.0, w), s) for w in p.small_w_stars]
    return xr.Dataset(
        {
            "rate": (("rule", "w_star", "s"), [[convergence_rate(r, t, s) for t in teachers] for r in rules]),
            "critical": (("rule", "w_star", "s"), [[critical_learning_rate(r, t, s) for t in teachers] for r in rules]),
            "crossing": (("decay", "w_star"), crossings),
            "num_crossings": (("decay", "w_star"), num_crossings),
            "small_s_ratio": ("w_star", np.divide(small_s, law)),
            "matched_crossing": ("w_star", matched),
            "tbptt_gap": ("small_w_star", np.max(gap, axis=1)),
        },
        {
            "rule": [rule.name for rule in rules],
            "w_star": list(p.w_stars),
            "s": s,
            "decay": list(p.decays),
            "small_w_star": list(p.small_w_stars),
        },
    )


def claims(data: xr.Dataset) -> list[Claim]:
    """Who is faster where."""
    bptt, tbptt, rflo = (data.rate.sel(rule=name) for name in ("BPTT", "tBPTT(1)", "RFLO"))
    w = data.small_w_star.values
    order = np.polyfit(np.log(w), np.log(data.tbptt_gap.values), 1)[0]
    ratio = rflo / bptt
    paper = "paper, convergence rates"
    # "Most s" by length of s, as on a linear axis; the points lie evenly in log s, so each counts for its spacing.
    length = _length(data)
    return [
        Claim.at_least(
            "rates.bptt-over-tbptt",
            paper,
            "BPTT converges at least as fast as tBPTT(1) almost everywhere (share of 0 < s ≤ 5√|c|, worst teacher)",
            0.9,
            (bptt >= tbptt).weighted(length).mean("s").min(),
        ),
        Claim.at_most(
            "rates.tbptt-approaches",
            paper,
            f"tBPTT(1) approaches BPTT as |w*| → 0 (largest relative difference over s, at w* = {w[-1]:g})",
            0.1,
            data.tbptt_gap[-1],
        ),
        Claim.equal(
            "rates.tbptt-order",
            "new: perturbation theory",
            "… with order 2 in w*: the rules' Jacobians differ by off-diagonal terms of order w* (slope)",
            2.0,
            order,
            tolerance=0.1,
        ),
        Claim.at_least(
            "rates.rflo-slower",
            paper,
            "RFLO converges more slowly than BPTT for most s (share of the length 0 < s ≤ 5√|c|, worst teacher)",
            0.5,
            (ratio < 1).weighted(length).mean("s").min(),
        ),
        Claim.at_least(
            "rates.rflo-faster",
            paper,
            f"RFLO is faster as s → 0 (rate over BPTT's at s = {float(data.s[0]):g}, least favourable teacher)",
            1.0,
            ratio.isel(s=0).min(),
        ),
        Claim.equal(
            "rates.rflo-growth",
            "new: derive rflo",
            "There its rate is |â| c²/(|s| (1−w*²)(1−ŵ w*)²), without bound (measured over this, furthest teacher)",
            1.0,
            data.small_s_ratio[int(np.argmax(np.abs(data.small_s_ratio.values - 1)))],
            tolerance=1e-3,
        ),
        Claim.equal(
            "rates.crossing",
            paper,
            "RFLO and BPTT cross exactly once for 0 < s ≤ 5√|c| (teachers and decays with one crossing, share)",
            1.0,
            (data.num_crossings == 1).mean(),
            tolerance=0,
        ),
        Claim.equal(
            "rates.coincide",
            "new: theory, section 7",
            "With ŵ = w* they cross at s = â, where RFLO's Jacobian is BPTT's (furthest crossing over â)",
            1.0,
            data.matched_crossing[int(np.argmax(np.abs(data.matched_crossing.values - 1)))],
            tolerance=1e-9,
        ),
    ]


def draw(data: xr.Dataset) -> Figure:
    """Rates above, critical learning rates below, a column a teacher."""
    figure, axes = new_figure(2, data.sizes["w_star"], height=5.0, sharex=True, sharey="row")
    columns = zip(axes[: data.sizes["w_star"]], axes[data.sizes["w_star"] :], data.w_star.values, strict=True)
    for top, bottom, w_star in columns:
        for rule in data.rule.values:
            look = rule_style(rule) | {"markevery": 0.12}
            top.loglog(data.s, data.rate.sel(rule=rule, w_star=w_star), **look, label=str(rule))
            bottom.loglog(data.s, data.critical.sel(rule=rule, w_star=w_star), **look)
        crossing = float(data.crossing.sel(w_star=w_star, decay=0.5))
        top.axvline(crossing, color="0.5", linewidth=0.8)
        top.set(title=f"w* = {w_star:g}, crossing at {crossing:.2f}")
        bottom.set(xlabel="s", xlim=(0.02, 5))
    axes[0].set(ylabel="convergence rate", ylim=(0.3, 300))
    axes[data.sizes["w_star"]].set_ylabel("critical learning rate")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=3)
    label_panels(axes)
    return figure


def table(data: xr.Dataset) -> list[list[str]]:
    """Where RFLO stops being faster than BPTT, and on what share of `s` it is slower, by length and by `log s`."""
    slower = data.rate.sel(rule="RFLO") < data.rate.sel(rule="BPTT")
    by_log = slower.where(data.s >= 0.1).mean("s")  # the points lie evenly in log s
    rows = [
        [f"crossing, ŵ = {d:g}", *(f"{x:.4f}" for x in data.crossing.sel(decay=d).values)] for d in data.decay.values
    ]
    return [
        ["", *(f"w* = {w:g}" for w in data.w_star.values)],
        *rows,
        [
            "RFLO slower, share of the length of s",
            *(f"{float(x):.0%}" for x in slower.weighted(_length(data)).mean("s")),
        ],
        ["RFLO slower, share of log s from 0.1 on", *(f"{float(x):.0%}" for x in by_log)],
    ]


def _length(data: xr.Dataset) -> xr.DataArray:
    """What each value of `s` counts for by length, as on a linear axis."""
    return xr.DataArray(np.gradient(data.s.values), dims="s")


EXPERIMENT = Experiment(
    name="rates",
    title="Convergence rates",
    question="Which rule converges fastest near which optimal solution, and where do they cross?",
    parameters=Parameters(),
    quick=Parameters(num_points=500),
    compute=compute,
    claims=claims,
    figures=(
        FigureSpec(
            "rates",
            draw,
            "Above: convergence rate at the optimal solution (s, 1/s, w*), RFLO with â = 1, ŵ = 0.5. BPTT is slowest "
            "at s = 1; RFLO is slower to the right of the crossing (grey line), faster to the left of it and without "
            "bound as s → 0. tBPTT(1) is close to BPTT for w* = 0.2. Below: the critical learning rate, above which "
            "steps are unstable.",
        ),
    ),
    table=table,
    table_caption="The s below which RFLO (â = 1, c = 1) converges faster than BPTT, and where it is slower (ŵ = 0.5).",
)
