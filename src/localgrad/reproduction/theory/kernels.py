r"""Do the directions of error in which a rule raises the loss explain its detours?

At a start the kernel `K` of RFLO (docs/theory.md, section 13) says how the loss moves at first, `dL/dk = −Eᵀ K E`, and
which share of the error lies in directions in which it rises. A detour is a way at least twice as long as BPTT's from
the same start, or one that ends on another branch, or nowhere. Kernels come from sums over lags, detours from the mode
equations. Then it is asked how well the first tells the second: the chance that of two starts, one with a detour and
one without, that with the detour has the larger share. It is 1/2 if the kernel knows nothing.

Limits: single modes; the kernel is that of the start, and says nothing of what follows by itself.
"""

from dataclasses import dataclass

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from localgrad.diagnostics.kernel import kernel
from localgrad.figures.plotting import GREY, PALETTE, label_panels, new_figure, zero_line
from localgrad.models.aligned import Mode
from localgrad.modes.ensemble.integrate import integrate_modes
from localgrad.outcomes import Outcome
from localgrad.reproduction.experiment import Claim, Experiment, FigureSpec
from localgrad.rules.presets import BPTT, RFLO
from localgrad.rules.rule import Rule


@dataclass(frozen=True)
class Parameters:
    """Random starts, `a` and `b` normal, `w` uniform; teachers with `c = 1` and `w*` uniform; RFLO's numbers."""

    num_starts: int = 400
    reach: float = 0.8
    feedback: float = 1.0
    decay: float = 0.5
    horizon: int = 64
    duration: float = 2000.0
    longer: float = 2.0
    seed: int = 0


def _drawn(p: Parameters) -> tuple[Mode, Mode]:
    rng = np.random.default_rng(p.seed)
    a, b = rng.standard_normal((2, p.num_starts))
    w, w_star = rng.uniform(-p.reach, p.reach, (2, p.num_starts))
    return Mode(a, b, w), Mode(np.ones_like(a), np.ones_like(a), w_star)


def _kernels(rule: Rule, starts: Mode, teachers: Mode, p: Parameters) -> np.ndarray:
    """At each start: the relative rate `(dL/dk)/L`, the share of error in rising directions, and the steepest rate."""
    rows = []
    for a, b, w, *teacher in zip(*starts, *teachers, strict=True):
        found = kernel(rule, Mode(float(a), float(b), float(w)), Mode(*map(float, teacher)), horizon=p.horizon)
        rate = 2 * found.loss_rate / np.sum(found.errors**2)
        rows.append((rate, found.rising_share, found.rates.max(initial=0.0)))
    return np.array(rows).T


def chance(score: np.ndarray, detour: np.ndarray) -> float:
    """The chance that a start with a detour has a larger score than one without; ties count half."""
    more = np.sign(score[detour][:, None] - score[~detour][None, :])
    return float((1 + more.mean()) / 2)


def compute(p: Parameters) -> xr.Dataset:
    """Kernels and ways from the same random starts."""
    starts, teachers = _drawn(p)
    rule = RFLO(p.feedback, p.decay)
    bptt, rflo = (integrate_modes(r, starts, teachers, duration=p.duration, rtol=1e-6) for r in (BPTT(), rule))
    arrived = (rflo.outcome == Outcome.CONVERGED) & (rflo.branch == bptt.branch)
    ratio = np.where(arrived, rflo.path_length / bptt.path_length, np.inf)
    rate, share, steepest = _kernels(rule, starts, teachers, p)
    gradient = _kernels(BPTT(), starts, teachers, p)
    columns = {
        "rate": rate,
        "share": share,
        "steepest": steepest,
        "gradient_rate": gradient[0],
        "gradient_share": gradient[1],
        "detour": (ratio >= p.longer).astype(int),
        "peak": rflo.peak_loss,
        "sign": np.sign(p.feedback * starts.a),
    }
    return xr.Dataset({name: ("start", values) for name, values in columns.items()})


def claims(data: xr.Dataset) -> list[Claim]:
    """What must hold of kernels, and whether they tell detours."""
    theory, rises = "theory, section 13", data.rate > 0
    return [
        Claim.at_most("kernels.gradient", theory, "No error lies in a rising direction under BPTT (largest share)",
                      1e-9, data.gradient_share.max()),
        Claim.at_most("kernels.gradient-falls", theory, "BPTT's loss never rises at first (largest (dL/dk)/L)",
                      0, data.gradient_rate.max()),
        Claim.at_most("kernels.bound", theory, "RFLO's loss rises no faster than the steepest rising direction says "
                      "(largest (dL/dk)/L over the steepest rate, of starts at which it rises)",
                      1 + 1e-9, (data.rate / data.steepest).where(rises).max()),
        Claim.at_least("kernels.peak", theory, "Wherever RFLO's kernel says that the loss rises at first, the way of "
                       "the mode equations has a peak above its start (share)", 1, (data.peak > 1).where(rises).mean()),
        Claim.at_least("kernels.tells", "new: measured", "The share of error in rising directions tells detours from "
                       "direct ways (chance that the start with the detour has the larger share; 0.5 knows nothing, "
                       "and four standard errors of 400 starts are 0.1)", 0.6, numbers(data)["chance"]),
    ]  # fmt: skip


def numbers(data: xr.Dataset) -> dict[str, float]:
    """How well the kernel tells detours, and how well the sign of `âa` alone does."""
    detour, rises = data.detour.values == 1, data.rate.values > 0
    return {
        "chance": chance(data.share.values, detour),
        "chance-of-rate": chance(data.rate.values, detour),
        "chance-of-sign": chance(-data.sign.values, detour),
        "detours-where-rising": detour[rises].mean(),
        "detours-where-falling": detour[~rises].mean(),
    }


def draw(data: xr.Dataset) -> Figure:
    """The share of error in rising directions against the first rate; and what share of starts take a detour."""
    figure, (left, right) = new_figure(columns=2, width_ratios=(1.4, 1))
    for value, color, marker, words in ((1, PALETTE[1], "o", "detour"), (0, PALETTE[0], "x", "direct")):
        here = data.where(data.detour == value, drop=True)
        left.plot(here.share, here.rate, marker, color=color, markersize=3, label=words)
    left.set_yscale("symlog", linthresh=0.1)
    zero_line(left)
    left.set(xlabel="share of the error in rising directions", ylabel="$(dL/dk)/L$ at the start")
    edges = np.linspace(0, 1, 6)
    place = np.clip(np.digitize(data.share.values, edges) - 1, 0, 4)
    shares = [data.detour.values[place == i].mean() if np.any(place == i) else 0.0 for i in range(5)]
    right.bar((edges[1:] + edges[:-1]) / 2, shares, width=0.18, color=GREY)
    right.set(xlabel="share of the error in rising directions", ylabel="share of starts with a detour", ylim=(0, 1))
    figure.legend(*left.get_legend_handles_labels(), loc="outside upper center", ncols=2)
    label_panels((left, right))
    return figure


def table(data: xr.Dataset) -> list[list[str]]:
    """What tells detours, and how well."""
    found = numbers(data)
    rows = {"share of error in rising directions": "chance", "first rate of the loss": "chance-of-rate",
            "sign of the first âa": "chance-of-sign"}  # fmt: skip
    return [["what is asked", "chance of telling a detour"], *([k, f"{found[v]:.3f}"] for k, v in rows.items())]


EXPERIMENT = Experiment(
    name="kernels",
    title="Kernels and detours",
    question="Do the directions of error in which RFLO raises the loss explain its detours?",
    parameters=Parameters(),
    quick=Parameters(num_starts=100),
    compute=compute,
    claims=claims,
    numbers=numbers,
    describe={
        "rate": "relative rate (dL/dk)/L of RFLO's loss at the start [1/learning time]",
        "share": "share of the squared error in directions in which RFLO raises the loss",
        "steepest": "relative rate of the steepest of these directions [1/learning time]",
        "gradient_rate": "relative rate (dL/dk)/L of BPTT's loss at the start [1/learning time]",
        "gradient_share": "share of the squared error in directions in which BPTT raises the loss",
        "detour": "1 where RFLO's way is twice BPTT's or longer, ends on another branch or nowhere; else 0",
        "peak": "largest loss on RFLO's way, over the initial loss",
        "sign": "sign of âa at the start",
    },
    figures=(
        FigureSpec(
            "kernels",
            draw,
            "RFLO (â = 1, ŵ = 0.5) from random starts. A: each start by the share of its error in directions in which "
            "the rule raises the loss, and by the rate dL/dk at which the loss L at first moves in learning time k. "
            "Ways that are at least twice as long as BPTT's or do not end where BPTT's do are called detours. "
            "B: the more of the error lies in rising directions, the more starts take a detour; but many take one "
            "although their loss falls at first.",
        ),
    ),
    table=table,
    table_caption="The chance that a score is larger at a start with a detour than at one without.",
)
