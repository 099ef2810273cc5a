"""From the same start BPTT goes straight to the optimum, RFLO the long way round, or nowhere."""

from dataclasses import dataclass

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from localgrad.figures.plotting import GREY, ORANGE, PURPLE, VERMILLION, label_panels, new_figure, rule_style
from localgrad.models.aligned import Mode
from localgrad.modes.trajectory import learn_mode
from localgrad.outcomes import Outcome
from localgrad.reproduction.experiment import Claim, Experiment, FigureSpec
from localgrad.rules.presets import BPTT, RFLO, EProp, TruncatedBPTT
from localgrad.rules.rule import Rule


@dataclass(frozen=True)
class Parameters:
    """The paper's example: a start near the optimum whose readout has the wrong sign for the feedback."""

    teacher: tuple[float, float, float] = (1.0, 1.0, 0.8)
    start: tuple[float, float, float] = (1.0, 1.0, 0.6)
    feedback: float = -1.0
    decays: tuple[float, ...] = (0.5, 0.0, 0.9)
    duration: float = 100.0
    num_random_starts: int = 6
    seed: int = 0


def _runs(p: Parameters) -> dict[str, Rule]:
    wrong = {f"RFLO, â = {p.feedback:g}, ŵ = {w:g}": RFLO(p.feedback, w) for w in p.decays}
    return {
        "BPTT": BPTT(),
        "tBPTT(1)": TruncatedBPTT(1),
        "RFLO, â = 1, ŵ = 0.5": RFLO(-p.feedback, p.decays[0]),
        **wrong,
    }


def _largest_drift(p: Parameters, rule: Rule) -> float:
    """How far `a² − b²` moves, at most, on the way from random starts; relative to `1 + a² + b²` at the start."""
    rng = np.random.default_rng(p.seed)
    drifts = []
    for _ in range(p.num_random_starts):
        start = Mode(rng.uniform(0.3, 1.5), rng.uniform(0.3, 1.5), rng.uniform(-0.7, 0.7))
        path = learn_mode(rule, start, Mode(*p.teacher), duration=p.duration, rtol=1e-9, atol=1e-12)
        conserved = path.modes.a**2 - path.modes.b**2
        drifts.append(np.abs(conserved - conserved[0]).max() / (1 + start.a**2 + start.b**2))
    return max(drifts)


def compute(p: Parameters) -> xr.Dataset:
    """The trajectories, padded with NaN to one length, and how each ended."""
    runs = _runs(p)
    paths = [learn_mode(rule, Mode(*p.start), Mode(*p.teacher), duration=p.duration) for rule in runs.values()]
    drift = {rule.name: _largest_drift(p, rule) for rule in (BPTT(), TruncatedBPTT(1), RFLO(1.0, 0.5), EProp(1.0))}
    return xr.Dataset(
        {
            "mode": (("run", "parameter", "point"), _padded([np.stack(path.modes) for path in paths])),
            "time": (("run", "point"), _padded([path.time for path in paths])),
            "loss": (("run", "point"), _padded([path.loss for path in paths])),
            "path_length": ("run", [path.path_length[-1] for path in paths]),
            "peak_loss": ("run", [path.peak_loss for path in paths]),
            "final": (("run", "parameter"), [path.final for path in paths]),
            "outcome": ("run", [int(path.outcome) for path in paths]),
            "branch": ("run", [path.branch for path in paths]),
            "drift": ("rule", list(drift.values())),
        },
        {"run": list(runs), "parameter": ["a", "b", "w"], "rule": list(drift)},
    )


def _padded(rows: list[np.ndarray]) -> np.ndarray:
    longest = max(row.shape[-1] for row in rows)
    return np.stack(
        [np.pad(r, [(0, 0)] * (r.ndim - 1) + [(0, longest - r.shape[-1])], constant_values=np.nan) for r in rows]
    )


def claims(data: xr.Dataset) -> list[Claim]:
    """The numbers of the paper's example, and what BPTT conserves."""
    detour, bptt = data.sel(run="RFLO, â = -1, ŵ = 0.5"), data.sel(run="BPTT")
    paper, theory = "paper, detours", "theory, section 8"
    diverged = data.outcome.sel(run=["RFLO, â = -1, ŵ = 0", "RFLO, â = -1, ŵ = 0.9"]) == Outcome.DIVERGED
    return [
        Claim.equal(
            "detours.bptt-branch", paper, "BPTT ends on the near branch (sign of s)", 1, bptt.branch, tolerance=0
        ),
        Claim.equal(
            "detours.bptt-path", theory, "… after a path of length 0.23", 0.23, bptt.path_length, tolerance=0.005
        ),
        Claim.equal(
            "detours.rflo-branch",
            paper,
            "RFLO with â = −1, ŵ = 0.5 ends on the opposite branch (sign of s)",
            -1,
            detour.branch,
            tolerance=0,
        ),
        Claim.equal("detours.rflo-end", theory, "… at a = −0.504", -0.504, detour.final[0], tolerance=0.001),
        Claim.equal(
            "detours.rflo-path", theory, "… after a path of length 4.71", 4.71, detour.path_length, tolerance=0.005
        ),
        Claim.at_least(
            "detours.rflo-peak", paper, "… its loss first rising about tenfold (peak over start)", 10, detour.peak_loss
        ),
        Claim.equal(
            "detours.diverge",
            theory,
            "With ŵ = 0 or 0.9 the same start diverges (share)",
            1,
            diverged.mean(),
            tolerance=0,
        ),
        Claim.at_most(
            "detours.conserved",
            "theory, section 3; Saxe et al. 2014",
            "BPTT conserves a² − b² (largest relative drift over random starts)",
            1e-6,
            data.drift.sel(rule="BPTT"),
        ),
        Claim.at_least(
            "detours.not-conserved",
            theory,
            "tBPTT(1), RFLO and e-prop do not (smallest of their largest drifts)",
            1e-2,
            data.drift.sel(rule=["tBPTT(1)", "RFLO", "e-prop (random)"]).min(),
        ),
    ]


def _look(run: str, index: int) -> dict:
    if run in ("BPTT", "tBPTT(1)"):
        return rule_style(run) | {"marker": ""}
    looks = ((GREY, (0, (1, 1))), (VERMILLION, "-"), (ORANGE, "-."), (PURPLE, (0, (5, 1, 1, 1, 1, 1))))
    color, linestyle = looks[index - 2]
    return {"color": color, "linestyle": linestyle}


def draw(data: xr.Dataset) -> Figure:
    """Paths in the plane of `a` and `b`; `w` and loss over learning time."""
    figure, axes = new_figure(1, 3, height=3.9, width_ratios=(1.3, 1, 1))
    s = np.linspace(0.2, 4, 200)
    for sign in (-1, 1):
        axes[0].plot(sign * s, sign / s, color="0.75", linewidth=3, zorder=0, label="optimal" if sign > 0 else None)
    for i, run in enumerate(data.run.values):
        here, look = data.sel(run=run), _look(str(run), i)
        axes[0].plot(here.mode[0], here.mode[1], **look, label=str(run))
        axes[1].plot(here.time, here.mode[2], **look)
        axes[2].semilogy(here.time, here.loss, **look)
        if int(here.outcome) == Outcome.DIVERGED:
            axes[0].plot(*here.final[:2].values, "x", color=look["color"], markersize=7)
        else:
            axes[0].plot(*here.final[:2].values, "o", color=look["color"])
    axes[0].plot(*data.mode.isel(run=0, point=0)[:2].values, "s", color="black", markersize=7)
    axes[0].set(xlim=(-2.2, 2.2), ylim=(-2.6, 2.6), xlabel="a", ylabel="b")
    axes[1].set(xlabel="learning time", ylabel="w", xlim=(0, 6), ylim=(-1.05, 1.05))
    axes[2].set(xlabel="learning time", ylabel="loss", xlim=(0, 6), ylim=(1e-8, None))
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=3)
    label_panels(axes)
    return figure


def table(data: xr.Dataset) -> list[list[str]]:
    """How each run ended."""
    rows = []
    for run in data.run.values:
        here = data.sel(run=run)
        end = ", ".join(f"{x:.4g}" for x in here.final.values)
        outcome = Outcome(int(here.outcome)).name.lower()
        rows.append([str(run), outcome, f"({end})", f"{float(here.path_length):.3f}", f"{float(here.peak_loss):.3g}"])
    return [["rule", "outcome", "end (a, b, w)", "path length", "peak loss / initial"], *rows]


EXPERIMENT = Experiment(
    name="detours",
    title="Detours",
    question="Where does learning go from (1, 1, 0.6), close to the optimum of the teacher (1, 1, 0.8)?",
    parameters=Parameters(),
    quick=Parameters(num_random_starts=2),
    compute=compute,
    claims=claims,
    figures=(
        FigureSpec(
            "detours",
            draw,
            "Learning from one start (black square) to circles (converged) or crosses (diverged). a: BPTT, tBPTT(1) "
            "and RFLO with the right sign go straight to the near branch; RFLO with â = −1 leaves it and ends on the "
            "opposite branch, or diverges. b: on the way w overshoots; where it reaches ±1 learning diverges in "
            "finite time. c: the detour's loss first rises tenfold.",
        ),
    ),
    table=table,
    table_caption="How the runs end.",
)
