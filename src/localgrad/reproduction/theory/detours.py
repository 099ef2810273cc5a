"""From the same start BPTT goes straight to the optimum, RFLO the long way round, or nowhere."""

from dataclasses import dataclass

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from localgrad.figures.plotting import GREY, ORANGE, SKY, VERMILLION, label_panels, new_figure, rule_style
from localgrad.models.aligned import Mode
from localgrad.modes.trajectory import learn_mode
from localgrad.outcomes import Outcome
from localgrad.reproduction.axes import rule_axis
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
    """The rules by what tells them apart in the figure; the last ones have the feedback of the wrong sign."""
    symmetric = {rule.name: rule for rule in (BPTT(), TruncatedBPTT(1))}
    numbers = [(-p.feedback, p.decays[0]), *((p.feedback, decay) for decay in p.decays)]
    local = [RFLO(feedback, decay) for feedback, decay in numbers]
    return symmetric | {
        f"{r.name}, â = {f:g}, ŵ = {w:g}".replace("-", "−"): r for r, (f, w) in zip(local, numbers, strict=True)
    }


def _compared() -> list[Rule]:
    """The rules of which it is asked what they conserve, BPTT first."""
    return [BPTT(), TruncatedBPTT(1), RFLO(1.0, 0.5), EProp(1.0)]


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
            "drift": ("rule", [_largest_drift(p, rule) for rule in _compared()]),
        },
        {"run": list(runs), "parameter": ["a", "b", "w"], **rule_axis(_compared())},
    )


def _padded(rows: list[np.ndarray]) -> np.ndarray:
    longest = max(row.shape[-1] for row in rows)
    return np.stack(
        [np.pad(r, [(0, 0)] * (r.ndim - 1) + [(0, longest - r.shape[-1])], constant_values=np.nan) for r in rows]
    )


def claims(data: xr.Dataset) -> list[Claim]:
    """The numbers of the paper's example, and what BPTT conserves."""
    bptt, detour, diverging = data.isel(run=0), data.isel(run=3), data.isel(run=[4, 5])
    paper, theory = "paper, detours", "theory, section 8"
    diverged = diverging.outcome == Outcome.DIVERGED
    return [
        Claim.equal(
            "detours.bptt-branch", paper, "BPTT ends on the near branch (sign of s)", 1, bptt.branch, tolerance=0
        ),
        Claim.equal(
            "detours.bptt-path", theory, "BPTT's path has length 0.23", 0.23, bptt.path_length, tolerance=0.005
        ),
        Claim.equal(
            "detours.rflo-branch",
            paper,
            "RFLO with â = −1, ŵ = 0.5 ends on the opposite branch (sign of s)",
            -1,
            detour.branch,
            tolerance=0,
        ),
        Claim.equal(
            "detours.rflo-end",
            theory,
            "RFLO with â = −1, ŵ = 0.5 ends at a = −0.504",
            -0.504,
            detour.final[0],
            tolerance=0.001,
        ),
        Claim.equal(
            "detours.rflo-path", theory, "RFLO's path has length 4.71", 4.71, detour.path_length, tolerance=0.005
        ),
        Claim.at_least(
            "detours.rflo-peak",
            paper,
            "RFLO's loss first rises tenfold or more (peak over start)",
            10,
            detour.peak_loss,
        ),
        Claim.equal(
            "detours.diverge",
            theory,
            "RFLO with â = −1 and ŵ = 0 or 0.9 diverges from the same start (share)",
            1,
            diverged.mean(),
            tolerance=0,
        ),
        Claim.at_most(
            "detours.conserved",
            "theory, section 3; Saxe et al. 2014",
            "BPTT conserves a² − b² (largest relative drift over random starts)",
            1e-6,
            data.drift[0],
        ),
        Claim.at_least(
            "detours.not-conserved",
            theory,
            "tBPTT(1), RFLO and e-prop do not conserve a² − b² (smallest of their largest drifts)",
            1e-2,
            data.drift[1:].min(),
        ),
    ]


def _look(index: int) -> dict:
    if index < 2:
        return rule_style(_compared()[index].key) | {"marker": ""}
    looks = ((GREY, (0, (1, 1))), (VERMILLION, "-"), (ORANGE, "-."), (SKY, (0, (5, 1, 1, 1, 1, 1))))
    color, linestyle = looks[index - 2]
    return {"color": color, "linestyle": linestyle}


def draw(data: xr.Dataset) -> Figure:
    """Paths in the plane of `a` and `b`; `w` and loss over learning time."""
    figure, axes = new_figure(1, 3, height=3.9, width_ratios=(1.3, 1, 1))
    s = np.linspace(0.2, 4, 200)
    for sign in (-1, 1):
        axes[0].plot(sign * s, sign / s, color="0.75", linewidth=3, zorder=0, label="optimal" if sign > 0 else None)
    for i, run in enumerate(data.run.values):
        here, look = data.sel(run=run), _look(i)
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
    describe={
        "run": "rule and its numbers",
        "parameter": "weight of a mode: a, b or w",
        "rule": "rule",
        "rule_name": "name of the rule",
        "mode": "weights along the way; NaN beyond the end",
        "time": "learning time along the way; NaN beyond the end [learning time]",
        "loss": "loss along the way; NaN beyond the end",
        "path_length": "length of the way through (a, b, w)",
        "peak_loss": "largest loss on the way, over the initial loss",
        "final": "weights at the end",
        "outcome": "how learning ended, a code of Outcome",
        "branch": "sign of a where it converged, else 0",
        "drift": "largest drift of a² − b² on the way, over 1 + a² + b² at the start",
    },
    figures=(
        FigureSpec(
            "detours",
            draw,
            "Learning from one start (black square) to circles (converged) or crosses (diverged). A: BPTT, tBPTT(1) "
            "and RFLO with â = 1 go straight to the near branch, by ways so short that the square covers them. RFLO "
            "with â = −1 leaves it and ends on the opposite branch, or diverges. B: on the way w overshoots; where it "
            "reaches ±1 learning diverges in finite time. C: the detour's loss first rises tenfold.",
        ),
    ),
    table=table,
    table_caption="How the runs end.",
)
