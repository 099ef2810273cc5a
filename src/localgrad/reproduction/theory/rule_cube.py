"""The cube of rules: feedback from `A` to fixed, propagator from `J` to a decay, lags from one to all.

At mode level every rule here is a point `(α, β, τ)` with `f = (1−α) a + α â`, `m = (1−β) w + β ŵ`. The corners are BPTT
`(0, 0, ∞)`, tBPTT(1) `(0, 0, 1)`, feedback alignment and e-prop with random feedback `(1, 0, ∞)`, RFLO `(1, 1, ∞)` and
the three-factor rule `(1, ·, 1)`; symmetric e-prop is BPTT in a mode. All learn from the same starts and teachers.
"""

from dataclasses import dataclass

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from localgrad.figures.plotting import SEQUENTIAL, new_figure
from localgrad.models.aligned import Mode
from localgrad.modes.ensemble.integrate import integrate_modes
from localgrad.outcomes import Outcome
from localgrad.reproduction.experiment import Claim, Experiment, FigureSpec
from localgrad.rules.parts import Feedback, Propagator
from localgrad.rules.presets import BPTT, RFLO, EProp, FeedbackAlignment, ThreeFactor, TruncatedBPTT
from localgrad.rules.rule import Rule

ALL_LAGS = "∞"


@dataclass(frozen=True)
class Parameters:
    """The cube's grid; teachers with `c = 1`, `w*` uniform in ±0.9; starts normal with standard deviation `scale`."""

    num_blends: int = 11
    lags: tuple[int | None, ...] = (1, 2, 4, None)
    feedback: float = 1.0
    decay: float = 0.5
    scale: float = 1.0
    num_starts: int = 2000
    duration: float = 2000.0
    seed: int = 0


def compute(p: Parameters) -> xr.Dataset:
    """Convergence probability, median learning time and median path length over BPTT's, over the cube."""
    rng = np.random.default_rng(p.seed)
    a, b = p.scale * rng.standard_normal((2, p.num_starts))
    start = Mode(a, b, rng.uniform(-0.9, 0.9, p.num_starts))
    teacher = Mode(1.0, 1.0, rng.uniform(-0.9, 0.9, p.num_starts))
    blend = np.linspace(0, 1, p.num_blends)
    feedback = Feedback.blend(blend[:, None, None], p.feedback)
    propagator = Propagator.blend(blend[None, :, None], p.decay)
    rules = [Rule(feedback, propagator, lags) for lags in p.lags]
    reference = integrate_modes(BPTT(), start, teacher, duration=p.duration, rtol=1e-5)
    run = integrate_modes(rules, start, teacher, duration=p.duration, rtol=1e-5)
    converged, diverged = run.outcome == Outcome.CONVERGED, run.outcome == Outcome.DIVERGED
    time = np.where(converged, run.time, np.nan)
    both = converged & (reference.outcome == Outcome.CONVERGED)
    detour = np.where(both, run.path_length / reference.path_length, np.nan)
    dims = ("lags", "alpha", "beta")
    return xr.Dataset(
        {
            "converged": (dims, converged.mean(axis=-1)),
            "diverged": (dims, diverged.mean(axis=-1)),
            "time": (dims, np.nanmedian(time, axis=-1)),
            "detour": (dims, np.nanmedian(detour, axis=-1)),
        },
        {"lags": [ALL_LAGS if n is None else str(n) for n in p.lags], "alpha": blend, "beta": blend},
    )


def claims(data: xr.Dataset) -> list[Claim]:
    """The corners, and how the cube is traversed."""
    full = data.sel(lags=ALL_LAGS)
    bptt, rflo = full.sel(alpha=0, beta=0), full.sel(alpha=1, beta=1)
    symmetric, fixed = data.sel(alpha=0), data.sel(alpha=1)
    return [
        Claim.equal(
            "rule-cube.bptt",
            "theory, section 8",
            "BPTT's corner: every start converges (probability)",
            1,
            bptt.converged,
            tolerance=1e-3,
        ),
        Claim.equal(
            "rule-cube.symmetric",
            "new: measured",
            "Symmetric feedback converges from every start, whatever the propagator and lags (least probability)",
            1,
            symmetric.converged.min(),
            tolerance=5e-3,
        ),
        Claim.at_most(
            "rule-cube.fixed",
            "new: measured",
            "Fixed feedback (â = 1) fails from a tenth of the starts or more, whatever propagator and lags (largest "
            "probability of convergence)",
            0.9,
            fixed.converged.max(),
        ),
        Claim.at_least(
            "rule-cube.feedback-decides",
            "new: measured",
            "Convergence hangs on feedback more than on credit through time: its range over α by that over β (lags ∞)",
            3.0,
            np.ptp(full.converged.mean("beta").values) / np.ptp(full.converged.mean("alpha").values),
        ),
        Claim.at_least(
            "rule-cube.rflo-longer",
            "new: measured",
            "RFLO's corner: the way is somewhat longer (median path length over BPTT's)",
            1.02,
            rflo.detour,
        ),
    ]


def _corners() -> list[tuple[str, int, int, str]]:
    """Column, `α`, `β` and number of each named corner, and what the numbers stand for."""
    names = {
        (ALL_LAGS, 0, 0): BPTT().name,
        (ALL_LAGS, 1, 1): RFLO(1.0, 0.5).name,
        (ALL_LAGS, 1, 0): f"{EProp(1.0).name}, {FeedbackAlignment(1.0).name}",
        (ALL_LAGS, 0, 1): f"{RFLO('symmetric', 0.5).name}",
        ("1", 0, 0): TruncatedBPTT(1).name,
        ("1", 1, 0): ThreeFactor(1.0).name,
    }
    return [(*place, name) for place, name in names.items()]


def draw(data: xr.Dataset) -> Figure:
    """Rows: probability, time, detour; columns: lags."""
    count = data.sizes["lags"]
    figure, axes = new_figure(3, count, height=5.6, sharex=True, sharey=True)
    rows = (
        ("converged", "convergence\nprobability"),
        ("time", "median\nlearning time"),
        ("detour", "median path\nover BPTT's"),
    )
    for row, (name, label) in zip(axes.reshape(3, count), rows, strict=True):
        low, high = float(data[name].min()), float(data[name].max())
        for ax, lags in zip(row, data.lags.values, strict=True):
            values = data[name].sel(lags=lags).transpose("beta", "alpha")
            image = ax.pcolormesh(data.alpha, data.beta, values, vmin=low, vmax=high, cmap=SEQUENTIAL, rasterized=True)
            ax.set_aspect("equal")
        figure.colorbar(image, ax=row, label=label)
    for ax, lags in zip(axes[:count], data.lags.values, strict=True):
        ax.set_title(f"lags {lags}")
        for number, (column, x, y, _) in enumerate(_corners(), start=1):
            if column == str(lags):  # outside the map, at the corner that it names
                place = {"ha": "left" if x else "right", "va": "bottom" if y else "top"}
                box = {"facecolor": "white", "alpha": 0.8, "edgecolor": "none", "pad": 1}
                ax.annotate(
                    str(number), (x, y), xytext=(3 if x else -3, 3 if y else -3), textcoords="offset points",
                    fontsize=8, fontweight="bold", annotation_clip=False, bbox=box, **place,
                )  # fmt: skip
    names = [f"{number} {name}" for number, (*_, name) in enumerate(_corners(), start=1)]
    lines = [",  ".join(names[:3]), ",  ".join(names[3:])]
    figure.suptitle("\n".join(lines), fontsize=8.5)
    for ax in axes[-count:]:
        ax.set_xlabel("α (feedback)")
    for ax in axes[::count]:
        ax.set_ylabel("β (propagator)")
    return figure


EXPERIMENT = Experiment(
    name="rule-cube",
    title="A cube of rules",
    question="Between BPTT, tBPTT, RFLO, e-prop and feedback alignment: what do feedback, propagator and lags cost?",
    parameters=Parameters(),
    quick=Parameters(num_blends=5, lags=(1, None), num_starts=500),
    compute=compute,
    claims=claims,
    describe={
        "lags": "lags that a rule keeps",
        "alpha": "share of fixed feedback, α",
        "beta": "share of the decay in the propagator, β",
        "converged": "share of starts that converge",
        "diverged": "share of starts that diverge",
        "time": "median learning time of those that converge [learning time]",
        "detour": "median length of the way over BPTT's from the same start",
    },
    figures=(
        FigureSpec(
            "rule-cube",
            draw,
            "Every small square is a rule: from symmetric to fixed feedback (α, to the right), from the full Jacobian "
            "to a decay (β, upwards); columns: lags kept. Numbers at corners name the rules there, as listed above. Of "
            "a mode, e-prop with random feedback and feedback alignment are one rule. How often learning converges "
            "hangs on the feedback above all (upper row); it is slowest where a little fixed feedback is mixed in "
            "(middle row), and its way is longest with fixed feedback, a decay and two lags (lower row).",
        ),
    ),
)
