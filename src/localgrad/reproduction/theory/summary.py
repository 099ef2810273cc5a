"""The paper's summary table, filled with computed numbers: fixed points, stability and rate of BPTT, tBPTT and RFLO."""

from dataclasses import dataclass

import numpy as np
import xarray as xr

from localgrad.models.aligned import Mode
from localgrad.modes.fixed_points import fixed_points, search_fixed_points
from localgrad.modes.stability import convergence_rate, spectrum_at
from localgrad.reproduction.experiment import Claim, Experiment
from localgrad.rules.presets import BPTT, RFLO, TruncatedBPTT
from localgrad.rules.rule import Rule


@dataclass(frozen=True)
class Parameters:
    """One teacher, RFLO's numbers, and the range of `s`, in units of `√|c|`, over which shares are taken."""

    teacher: tuple[float, float, float] = (1.0, 1.0, 0.8)
    feedback: float = 1.0
    decay: float = 0.5
    num_starts: int = 500
    s_max: float = 5.0
    num_points: int = 2000
    small_s: float = 0.1


def compute(p: Parameters) -> xr.Dataset:
    """One row a rule."""
    teacher, rules = Mode(*p.teacher), [BPTT(), TruncatedBPTT(1), RFLO(p.feedback, p.decay)]
    balanced = np.sqrt(abs(teacher.a * teacher.b))
    s = balanced * np.linspace(p.s_max / p.num_points, p.s_max, p.num_points)
    bptt = convergence_rate(BPTT(), teacher, s)

    def row(rule: Rule) -> dict[str, float]:
        search = search_fixed_points(rule, teacher, num_starts=p.num_starts)
        others = [m for m in fixed_points(rule, teacher) if m.name != "optimal"]
        rate = convergence_rate(rule, teacher, s)
        return {
            "roots_optimal": search.count("optimal"),
            "roots_silent": search.count("silent"),
            "roots_other": search.count("blocked") + search.count("unknown"),
            "silent_loss": float(others[0].loss(0.0)) if others else np.nan,
            "silent_growth": float(spectrum_at(rule, others[0].at(0.0), teacher)[0].real) if others else np.nan,
            "stable_positive": float(np.mean(rate > 0)),
            "stable_negative": float(np.mean(convergence_rate(rule, teacher, -s) > 0)),
            "rate_balanced": float(convergence_rate(rule, teacher, balanced)),
            "rate_small": float(convergence_rate(rule, teacher, p.small_s * balanced)),
            "share_as_fast": float(np.mean(rate >= bptt * (1 - 1e-12))),
        }

    rows = [row(rule) for rule in rules]
    return xr.Dataset(
        {key: ("rule", np.array([r[key] for r in rows], dtype=float)) for key in rows[0]},
        {"rule": [rule.name for rule in rules]},
    )


def claims(data: xr.Dataset) -> list[Claim]:
    """The table's qualitative entries, as numbers."""
    source = "paper, summary table"
    bptt, tbptt, rflo = (data.sel(rule=name) for name in ("BPTT", "tBPTT(1)", "RFLO"))
    fewest = min(float(bptt.roots_silent), float(tbptt.roots_silent))
    return [
        Claim.at_least(
            "summary.silent", source, "BPTT and tBPTT(1) have non-optimal fixed points (roots found)", 1, fewest
        ),
        Claim.equal(
            "summary.rflo-silent",
            source,
            "RFLO has none (roots found)",
            0,
            rflo.roots_silent + rflo.roots_other,
            tolerance=0,
        ),
        Claim.equal(
            "summary.stable",
            source,
            "BPTT and tBPTT(1) are stable at every optimal solution (share of s, both signs)",
            1,
            min(float(x) for d in (bptt, tbptt) for x in (d.stable_positive, d.stable_negative)),
            tolerance=0,
        ),
        Claim.equal(
            "summary.rflo-stable",
            source,
            "RFLO is stable where its feedback has the readout's sign (share of s > 0, â = 1)",
            1,
            rflo.stable_positive,
            tolerance=0,
        ),
        Claim.at_most(
            "summary.rflo-unstable",
            source,
            "… and not everywhere else (share of s < 0 that is stable)",
            0.99,
            rflo.stable_negative,
        ),
        Claim.at_most(
            "summary.bptt-fastest",
            source,
            "BPTT is fastest for most s (largest share of s > 0 where tBPTT(1) or RFLO is as fast)",
            0.5,
            max(float(tbptt.share_as_fast), float(rflo.share_as_fast)),
        ),
        Claim.at_least(
            "summary.rflo-fast",
            source,
            "RFLO is faster than BPTT for small s (its rate over BPTT's at s = √|c|/10)",
            1,
            rflo.rate_small / bptt.rate_small,
        ),
    ]


def table(data: xr.Dataset) -> list[list[str]]:
    """The paper's table, transposed: a row a property, a column a rule."""

    def line(text: str, key: str, form: str = "{:.4g}", missing: str = "none") -> list[str]:
        values = [missing if np.isnan(x) else form.format(x) for x in data[key].values]
        return [text, *values]

    return [
        ["", *map(str, data.rule.values)],
        line("optimal manifold (s, c/s, w*): roots found", "roots_optimal", "{:.0f}"),
        line("non-optimal manifold (0, 0, w): roots found", "roots_silent", "{:.0f}"),
        line("its loss, c²/(2(1−w*²))", "silent_loss"),
        line("its unstable eigenvalue at w = 0", "silent_growth"),
        line("other fixed points: roots found", "roots_other", "{:.0f}"),
        line("optimal solutions with s > 0 stable", "stable_positive", "{:.0%}"),
        line("optimal solutions with s < 0 stable", "stable_negative", "{:.0%}"),
        line("convergence rate at s = √|c|", "rate_balanced"),
        line("convergence rate at s = √|c|/10", "rate_small"),
        line("as fast as BPTT or faster, share of 0 < s ≤ 5√|c|", "share_as_fast", "{:.0%}"),
    ]


EXPERIMENT = Experiment(
    name="summary",
    title="The paper's summary table, computed",
    question="How do BPTT, tBPTT(1) and RFLO compare in fixed points, stability and rate?",
    parameters=Parameters(),
    quick=Parameters(num_starts=100),
    compute=compute,
    claims=claims,
    figures=(),
    table=table,
    table_caption="Teacher (1, 1, 0.8), RFLO with â = 1 and ŵ = 0.5; every entry is computed.",
)
