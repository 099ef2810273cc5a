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
from localgrad.rules.presets import BPTT
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
            "rule-cube.bptt-detour",
            "definition",
            "… along its own way (median path length over BPTT's)",
            1,
            bptt.detour,
            tolerance=1e-9,
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
            "paper, stability",
            "Fixed feedback does not, whatever the propagator and lags (largest probability)",
            0.95,
            fixed.converged.max(),
        ),
        Claim.at_least(
            "rule-cube.feedback-decides",
            "new: measured",
            "Convergence hangs on feedback, not on credit through time (its range over α over that over β, lags ∞)",
            5.0,
            np.ptp(full.converged.mean("beta").values) / np.ptp(full.converged.mean("alpha").values),
        ),
        Claim.at_least(
            "rule-cube.rflo-longer",
            "paper, detours",
            "RFLO's corner: the way is longer (median path length over BPTT's)",
            1.0,
            rflo.detour,
        ),
    ]


_CORNERS = {
    ALL_LAGS: ((0, 0, "BPTT"), (1, 1, "RFLO"), (1, 0, "e-prop,\nFA"), (0, 1, "RFLO,\nF = A")),
    "1": ((0, 0, "tBPTT(1)"), (1, 0, "three-\nfactor")),
}


def draw(data: xr.Dataset) -> Figure:
    """Rows: probability, time, detour; columns: lags."""
    count = data.sizes["lags"]
    figure, axes = new_figure(3, count, height=6.6, sharex=True, sharey=True)
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
        for x, y, text in _CORNERS.get(str(lags), ()):
            place = {"ha": "right" if x else "left", "va": "top" if y else "bottom"}
            box = {"facecolor": "white", "alpha": 0.75, "edgecolor": "none", "pad": 1}
            ax.text(0.97 * x + 0.015, 0.97 * y + 0.015, text, fontsize=7, bbox=box, **place)
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
    figures=(
        FigureSpec(
            "rule-cube",
            draw,
            "Every small square is a rule: from symmetric to fixed feedback (α, to the right), from the full Jacobian "
            "to a decay (β, upwards), columns: lags kept. Named corners at the top. FA: feedback alignment, the same "
            "as e-prop with random feedback in a mode.",
        ),
    ),
)
