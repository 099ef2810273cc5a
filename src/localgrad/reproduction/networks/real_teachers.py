"""Brain networks as teachers of full networks: what do rules learn of the connectome, how fast, and at what rank?

Two networks of the package tvb-data: 68 regions (symmetric, so data-aligned) and 76 regions (directed, so not). Each
is read out and driven through its leading singular vectors, `A* = U₃ᵀ`, `B* = V₃`, and learned by an unaligned Gaussian
student. Both students have 76 units; the smaller teacher gets 8 silent units.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from localgrad.diagnostics.comparison import compare_updates
from localgrad.figures.plotting import label_panels, new_figure, rule_style
from localgrad.learning.flow import LearningCurve, learn
from localgrad.learning.methods import Flow
from localgrad.models.linear import LinearRNN, random_network
from localgrad.outcomes import Outcome
from localgrad.reproduction.axes import name_of, rule_axis
from localgrad.reproduction.experiment import Claim, Experiment, FigureSpec
from localgrad.rules.presets import BPTT, RFLO, EProp, TruncatedBPTT
from localgrad.rules.rule import Rule
from localgrad.tasks.teachers import connectome, is_symmetric


@dataclass(frozen=True)
class Parameters:
    """Sizes and scales, dimensionless; learning ends at a loss of `tolerance`, relative to a silent student's."""

    regions: tuple[int, ...] = (68, 76)
    spectral_radius: float = 0.95
    outputs: int = 3
    scale: float = 0.3
    decay: float = 0.5
    tolerance: float = 1e-4
    duration: float = 100.0
    seed: int = 0


def teacher_of(regions: int, hidden: int, p: Parameters) -> LinearRNN:
    """The connectome, read out and driven through its leading singular vectors, with silent units up to `hidden`."""
    W, _ = connectome(regions, spectral_radius=p.spectral_radius)
    left, _, right = np.linalg.svd(W)
    silent = hidden - regions
    A, B = left[:, : p.outputs].T, right[: p.outputs].T
    return LinearRNN(np.pad(A, ((0, 0), (0, silent))), np.pad(W, (0, silent)), np.pad(B, ((0, silent), (0, 0))))


def compute(p: Parameters) -> xr.Dataset:
    """Exact learning curves of every rule on every teacher, with ranks and, on the way, alignment."""
    hidden = max(p.regions)
    keys = jax.random.split(jax.random.key(p.seed), 2)
    student = random_network(p.outputs, hidden, p.outputs, key=keys[0], scale=p.scale)
    R = jax.random.normal(keys[1], (p.outputs, hidden)) / np.sqrt(hidden)
    rules = _rules(R, p.decay)
    teachers = [teacher_of(regions, hidden, p) for regions in p.regions]
    curves = [[_learn(rule, student, teacher, p) for rule in rules] for teacher in teachers]
    # All rules compared on the path that BPTT takes.
    paths = [compare_updates(rules, row[0].snapshots, teacher) for row, teacher in zip(curves, teachers, strict=True)]
    return xr.Dataset(
        {
            "symmetric": ("regions", [int(is_symmetric(teacher.W)) for teacher in teachers]),
            "time": (("regions", "rule", "point"), _padded(curves, lambda curve: curve.time)),
            "loss": (("regions", "rule", "point"), _padded(curves, lambda curve: curve.loss / curve.loss[0])),
            "outcome": (("regions", "rule"), _each(curves, lambda curve: int(curve.outcome))),
            "rank": (("regions", "rule"), _each(curves, lambda curve: curve.spectrum.W.rank[-1])),
            "participation": (("regions", "rule"), _each(curves, lambda c: c.spectrum.W.participation_ratio[-1])),
            "singular_values": (
                ("regions", "rule", "index"),
                _each(curves, lambda c: _normalised(c.spectrum.W.singular_values[-1])),
            ),
            "cosine": (("regions", "rule", "snapshot"), np.stack([path.W.cosine for path in paths])),
            "alignment": (("rule", "snapshot"), np.stack([_alignment(curve) for curve in curves[0]])),
            "snapshot_time": ("snapshot", curves[0][0].snapshot_times),
        },
        coords={"regions": list(p.regions), **rule_axis(rules)},
        attrs={"outputs": p.outputs, "tolerance": p.tolerance},
    )


def _rules(R: Any, decay: float) -> list[Rule]:
    return [BPTT(), TruncatedBPTT(1), RFLO(R, decay), EProp(R), EProp()]


def _learn(rule: Rule, student: LinearRNN, teacher: LinearRNN, p: Parameters) -> LearningCurve:
    return learn(rule, student, teacher, duration=p.duration, tolerance=p.tolerance, method=Flow(rtol=1e-3, atol=1e-5))


def _alignment(curve: LearningCurve) -> np.ndarray:
    """Input–output alignment, mean over the modes; the symmetric teacher only."""
    return np.asarray(curve.alignment.input_output).mean(axis=-1)


def _each(curves: list[list[LearningCurve]], value: Callable[[LearningCurve], Any]) -> np.ndarray:
    return np.array([[value(curve) for curve in row] for row in curves])


def _padded(curves: list[list[LearningCurve]], value: Callable[[LearningCurve], np.ndarray]) -> np.ndarray:
    """Curves of one length; a shorter one repeats its last point."""
    longest = max(len(curve.time) for row in curves for curve in row)
    return _each(curves, lambda curve: np.pad(value(curve), (0, longest - len(curve.time)), mode="edge"))


def _normalised(values: np.ndarray) -> np.ndarray:
    return values / values[0]


def claims(data: xr.Dataset) -> list[Claim]:
    """Ranks, speed, alignment, and whether rules descend at all on teachers that were not made up."""
    o, rank = data.attrs["outputs"], data["rank"]
    end = data.time.isel(point=-1)
    bptt, tbptt, rflo, random, symmetric = (rule.key for rule in _rules(1.0, 0.5))
    rise = data.alignment.isel(snapshot=-1) - data.alignment.isel(snapshot=0)
    return [
        Claim.equal(
            "real-teachers.directed",
            "new: a fact of these networks",
            "The 68-region network is symmetric and has modes, the 76-region one is directed and has none (1 and 0)",
            1.0,
            data.symmetric.sel(regions=68) - data.symmetric.sel(regions=76),
            tolerance=0,
        ),
        Claim.at_most(
            "real-teachers.rflo-rank",
            "paper, proposition 3.1",
            f"RFLO's change of W has rank at most the number of outputs, {o}, aligned or not (larger of two teachers)",
            o,
            rank.sel(rule=rflo).max(),
        ),
        Claim.at_least(
            "real-teachers.other-ranks",
            "paper, rank",
            "BPTT, tBPTT(1) and e-prop go beyond that (least rank at 1e-6 of the largest singular value)",
            o + 1,
            rank.sel(rule=[bptt, tbptt, random, symmetric]).min(),
        ),
        Claim.equal(
            "real-teachers.converged",
            "new: measured",
            f"All rules reach {data.attrs['tolerance']:.0e} of a silent student's loss on both teachers (share)",
            1.0,
            (data.outcome == Outcome.CONVERGED).mean(),
            tolerance=0,
        ),
        Claim.at_least(
            "real-teachers.bptt-fastest",
            "paper, convergence rates",
            "BPTT gets there first (least learning time of another rule, over BPTT's)",
            1.0,
            (end.drop_sel(rule=bptt) / end.sel(rule=bptt)).min(),
        ),
        Claim.at_least(
            "real-teachers.aligned",
            "new: measured; random directions in 76 dimensions have a mean |cosine| of 0.09",
            "On the symmetric teacher students align under every rule (least rise of the mean input–output cosine)",
            0.5,
            rise.min(),
        ),
        Claim.at_least(
            "real-teachers.symmetric-descends",
            "new: measured",
            "On BPTT's path ΔW of tBPTT(1) and symmetric e-prop never turns against the gradient (least cosine)",
            0.0,
            data.cosine.sel(rule=[tbptt, symmetric]).min(),
        ),
    ]


def draw_learning(data: xr.Dataset) -> Figure:
    """Loss over learning time, and the alignment on the symmetric teacher."""
    figure, axes = new_figure(1, 3, height=2.9)
    for ax, regions in zip(axes, data.regions.values, strict=False):
        for name in data.rule.values:
            run = data.sel(regions=regions, rule=name)
            ax.loglog(run.time[1:], run.loss[1:], label=name_of(data, name), **rule_style(name) | {"marker": ""})
        ax.set(title=f"{regions} regions", xlabel="learning time", ylabel="loss / initial loss", xlim=(1e-2, None))
    for name in data.rule.values:
        style = rule_style(name) | {"marker": ""}
        axes[2].semilogx(data.snapshot_time[1:], data.alignment.sel(rule=name)[1:], label=name, **style)
    axes[2].set(title="68 regions", xlabel="learning time", ylabel="input–output alignment", ylim=(0, 1.02))
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=5)
    label_panels(axes)
    return figure


def draw_ranks(data: xr.Dataset) -> Figure:
    """Singular values of what was learned, and how the rules' updates agree with the gradient on BPTT's path."""
    figure, axes = new_figure(1, 3, height=2.9)
    for ax, regions in zip(axes, data.regions.values, strict=False):
        for name in data.rule.values:
            values = data.singular_values.sel(regions=regions, rule=name)
            ax.semilogy(
                np.arange(1, len(values) + 1),
                values.where(values > 0),
                label=name_of(data, name),
                **rule_style(name) | {"markersize": 3},
            )
        ax.axvline(data.attrs["outputs"] + 0.5, color="black", linewidth=0.8)
        ax.set(
            title=f"{regions} regions", xlabel="index", ylabel="σ / σ₁ of the change of W", ylim=(1e-8, 2), xlim=(0, 26)
        )
    for name in data.rule.values:
        style = rule_style(name) | {"marker": ""}
        axes[2].semilogx(data.snapshot_time[1:], data.cosine.sel(rule=name, regions=68)[1:], label=name, **style)
    axes[2].set(title="68 regions", xlabel="learning time on BPTT's path", ylabel="cosine of ΔW to the gradient")
    axes[2].set_ylim(-0.3, 1.05)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=5)
    label_panels(axes)
    return figure


def table(data: xr.Dataset) -> list[list[str]]:
    """Each rule on each teacher: learning time, rank, participation ratio."""
    rows = [["regions", "rule", "outcome", "learning time", "rank of the change of W", "participation ratio"]]
    for regions in data.regions.values:
        for name in data.rule.values:
            run = data.sel(regions=regions, rule=name)
            outcome, time = str(Outcome(int(run.outcome))), f"{float(run.time[-1]):.1f}"
            rows.append(
                [
                    str(regions),
                    name_of(data, name),
                    outcome,
                    time,
                    str(int(run["rank"])),
                    f"{float(run.participation):.2f}",
                ]
            )
    return rows


EXPERIMENT = Experiment(
    name="real-teachers",
    title="Full networks taught by brains",
    question="What do full networks learn of the connectome under each rule: how fast, how aligned, at what rank?",
    parameters=Parameters(),
    quick=Parameters(tolerance=1e-3),
    compute=compute,
    claims=claims,
    describe={
        "regions": "regions of the teacher network",
        "rule": "rule",
        "rule_name": "name of the rule",
        "symmetric": "whether the teacher is symmetric to rounding",
        "time": "learning time at a step; the last one repeated beyond the end [learning time]",
        "loss": "loss over the initial loss",
        "outcome": "how learning ended, a code of Outcome",
        "rank": "rank of the change of W at 1e-6 of its largest singular value",
        "participation": "participation ratio of the change of W",
        "singular_values": "singular value of the change of W over the largest",
        "cosine": "cosine of the rule's update of W with BPTT's, on BPTT's path",
        "alignment": "mean |cosine| of the modes' input and output directions, symmetric teacher",
        "snapshot_time": "learning time of a snapshot [learning time]",
    },
    figures=(
        FigureSpec(
            "real-teachers-learning",
            draw_learning,
            "Exact learning curves of an unaligned student with 76 units, three inputs and three outputs. A: the "
            "symmetric network of 68 regions; B: the directed network of 76 regions, which has no modes. C: "
            "alignment of the "
            "student's input and output directions on the symmetric one, mean of three modes: it rises from near 0 "
            "under all rules, and stops short of 1.",
        ),
        FigureSpec(
            "real-teachers-ranks",
            draw_ranks,
            "A, B: singular values of what was learned. The line marks the three outputs: RFLO stops there, the others "
            "go on at a few per cent. C: cosine of each rule's ΔW to the gradient, all at the networks BPTT passes "
            "through. Random feedback is nearly orthogonal to the gradient there and at times against it: such rules "
            "learn because on their own path the readout turns towards the feedback, which on BPTT's it has no "
            "reason to.",
        ),
    ),
    table=table,
    table_caption="Each rule on each teacher; rank at 1e-6 of the largest singular value.",
)
