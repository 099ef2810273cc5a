r"""Convergence rates along the optimal manifold, over rules, teachers and the sizes of RFLO's feedback.

The rate at `s` is `−Re λ₊(s)`. It depends on `s`, on the teacher's `c = a* b*` and `w*`, and under RFLO on `â` and `ŵ`.
Lengths are taken in units of the readout gain at balance, `√|c|`: of `s` and of `â`. The strength `c` itself stays, for
how fast `w` learns, compared with `a` and `b`, grows with it.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from localgrad.models.aligned import Mode
from localgrad.modes.slowest import slowest_point
from localgrad.modes.stability import convergence_rate, critical_learning_rate, rate_crossings
from localgrad.reproduction.theory.closed_forms import small_s_rate
from localgrad.rules.presets import BPTT, RFLO, TruncatedBPTT
from localgrad.rules.rule import Rule


@dataclass(frozen=True)
class Parameters:
    """`s` runs over `[s_min, s_max]`, evenly in `log s`; `s` and `feedbacks` in units of `√|c|`. All dimensionless."""

    w_stars: tuple[float, ...] = (0.2, 0.5, 0.8)
    strengths: tuple[float, ...] = (0.3, 1.0, 3.0)
    feedback: float = 1.0
    decay: float = 0.5
    feedbacks: tuple[float, ...] = (0.3, 1.0, 3.0, 5.0)
    decays: tuple[float, ...] = (0.0, 0.2, 0.5, 0.8)
    s_min: float = 0.01
    s_max: float = 5.0
    num_points: int = 2000
    num_mapped: int = 80
    small_w_stars: tuple[float, ...] = (0.1, 0.05, 0.025)
    num_teachers: int = 20
    seed: int = 0


Variables = dict[str, tuple[tuple[str, ...], Any]]


def _rate(rule: Rule, p: Parameters, s: np.ndarray, c: float = 1.0) -> np.ndarray:
    """Rates at `s √c` for the teachers of strength `c`, shape `"w_star s"`."""
    return np.stack([convergence_rate(rule, Mode(c, 1.0, w), s * np.sqrt(c)) for w in p.w_stars])


def _shares(p: Parameters, s: np.ndarray) -> Variables:
    """Where tBPTT(1) and RFLO are slower than BPTT, for every strength; RFLO for every `â` and `ŵ` too."""
    bptt, tbptt = (np.stack([_rate(rule, p, s, c) for c in p.strengths]) for rule in (BPTT(), TruncatedBPTT(1)))
    rflo = [[[_rate(RFLO(f * np.sqrt(c), d), p, s, c) for d in p.decays] for f in p.feedbacks] for c in p.strengths]
    near = 1e-12  # the rules coincide at some points, to rounding
    return {
        "tbptt_slower": (("strength", "w_star", "s"), bptt >= tbptt * (1 - near)),
        "slower": (("strength", "feedback", "decay", "w_star", "s"), rflo < bptt[:, None, None] * (1 - near)),
    }


def _crossings(p: Parameters) -> Variables:
    """Where the rates of RFLO and BPTT are equal, for `c = 1`: the first such `s`, and how many there are."""
    found = [
        [[rate_crossings(RFLO(f, d), BPTT(), Mode(1.0, 1.0, w), 1e-4, 1e4) for w in p.w_stars] for d in p.decays]
        for f in p.feedbacks
    ]
    first = [[[x[0] if len(x) else np.nan for x in row] for row in rows] for rows in found]
    counts = [[[[len(x), int(np.sum(x <= p.s_max))] for x in row] for row in rows] for rows in found]
    dims = ("feedback", "decay", "w_star")
    return {"crossing": (dims, np.array(first)), "num_crossings": ((*dims, "range"), np.array(counts))}


def _special_places(p: Parameters) -> Variables:
    """The slowest point, `s → 0`, and `ŵ = w*`, for random teachers, `â` and `ŵ`."""
    rng = np.random.default_rng(p.seed)
    c, feedback = np.exp(rng.uniform(np.log(0.1), np.log(10), (2, p.num_teachers)))
    w, decay = rng.uniform(-0.95, 0.95, (2, p.num_teachers))
    slowest = [[slowest_point(BPTT(), Mode(x, 1.0, z), branch=k).s for k in (1, -1)] for x, z in zip(c, w, strict=True)]
    teacher, small = Mode(c, 1.0, w), 1e-4 * np.minimum(c, 1) * np.minimum(feedback, 1)
    limit = convergence_rate(RFLO(feedback, decay), teacher, small)
    flat = Mode(np.linspace(0.1, 2, p.num_teachers)[:, None], 1.0, 0.0)
    met = [convergence_rate(rule, teacher, feedback) for rule in (RFLO(feedback, w), BPTT())]
    return {
        "slowest": (("teacher", "branch"), np.abs(slowest) / np.sqrt(c)[:, None]),
        "flat": (("teacher", "place"), convergence_rate(BPTT(), flat, np.geomspace(0.01, 100, 101)) / flat.a**2),
        "small_s_ratio": (("teacher",), limit / small_s_rate(c, small, feedback, decay, w)),
        "small_s_gain": (("teacher",), limit / convergence_rate(BPTT(), teacher, small)),
        "matched": (("teacher",), met[0] / met[1]),
    }


def _tbptt_gap(p: Parameters, s: np.ndarray) -> np.ndarray:
    """Largest relative difference over `s` of the rates of tBPTT(1) and BPTT, shape `"strength small_w_star"`."""

    def gap(c: float, w: float) -> float:
        rates = [convergence_rate(rule, Mode(c, 1.0, w), s * np.sqrt(c)) for rule in (TruncatedBPTT(1), BPTT())]
        return float(np.abs(rates[0] / rates[1] - 1).max())

    return np.array([[gap(c, w) for w in p.small_w_stars] for c in p.strengths])


def compute(p: Parameters) -> xr.Dataset:
    """Rates and critical learning rates for `c = 1`; shares over strengths, `â` and `ŵ`; crossings; special places."""
    s, rules = np.geomspace(p.s_min, p.s_max, p.num_points), [BPTT(), TruncatedBPTT(1), RFLO(p.feedback, p.decay)]
    teachers, mapped = Mode(1.0, 1.0, np.array(p.w_stars)[:, None]), np.geomspace(0.1, 10, p.num_mapped)
    rates = np.stack([_rate(rule, p, s) for rule in rules])
    return xr.Dataset(
        {
            "rate": (("rule", "w_star", "s"), rates),
            "critical": (("rule", "w_star", "s"), np.stack([critical_learning_rate(r, teachers, s) for r in rules])),
            "map_ratio": (
                ("map_feedback", "w_star", "s"),
                np.stack([_rate(RFLO(f, p.decay), p, s) / rates[0] for f in mapped]),
            ),
            "tbptt_gap": (("strength", "small_w_star"), _tbptt_gap(p, s)),
            **_shares(p, s),
            **_crossings(p),
            **_special_places(p),
        },
        {
            "rule": [rule.key for rule in rules],
            "rule_name": ("rule", [rule.name for rule in rules]),
            "w_star": list(p.w_stars),
            "strength": list(p.strengths),
            "s": s,
            "feedback": list(p.feedbacks),
            "decay": list(p.decays),
            "map_feedback": mapped,
            "range": ["every s", f"s ≤ {p.s_max:g}"],
            "small_w_star": list(p.small_w_stars),
            "branch": [1, -1],
        },
    )


DESCRIBE = {
    "rate": "convergence rate at the optimal solution of s, c = 1 [1/learning time]",
    "critical": "largest learning rate at which steps near that solution are stable, c = 1 [learning time]",
    "map_ratio": "RFLO's rate over BPTT's, c = 1",
    "tbptt_gap": "largest relative difference over s of the rates of tBPTT(1) and BPTT",
    "tbptt_slower": "whether tBPTT(1) is no faster than BPTT",
    "slower": "whether RFLO is slower than BPTT",
    "crossing": "smallest s at which the rates of RFLO and BPTT are equal, c = 1",
    "num_crossings": "number of s at which the rates of RFLO and BPTT are equal, c = 1",
    "slowest": "absolute s at which BPTT is slowest, over √|c|, random teachers",
    "flat": "BPTT's rate over c² for w* = 0",
    "small_s_ratio": "RFLO's rate near s = 0 over its limiting law, random teachers",
    "small_s_gain": "RFLO's rate near s = 0 over BPTT's, random teachers",
    "matched": "RFLO's rate over BPTT's at s = â where ŵ = w*, random teachers",
    "rule": "key of the rule",
    "rule_name": "name of the rule",
    "w_star": "recurrent weight of the teacher",
    "strength": "c = a* b* of the teacher",
    "s": "readout gain of the optimal solution over √|c|",
    "feedback": "RFLO's feedback over √|c|",
    "decay": "RFLO's decay",
    "map_feedback": "RFLO's feedback on the map, over √|c|",
    "range": "where crossings are counted",
    "small_w_star": "small recurrent weight of a teacher",
    "branch": "sign of s",
}
