r"""What does feedback of more dimensions buy RFLO? Output copies and auxiliary readouts, in rank and in loss.

RFLO's change has rank at most the number of outputs, since `ΔW = Rᵀ(…)`: one for a task with one output. Here the task
is extended to `o'` outputs, either by *copies* of it (rows of `A*` repeated) or by *auxiliary readouts* (random rows
of `A*`), each with a readout and a row of `R` of its own. What counts is the number of *distinct* errors: copies that
share one readout have one error for ever, and with it rank 1: their feedback is in effect the sum of the rows of `R`.
Rows of `R` are divided by `√o'`, so that feedback does not grow with `o'`. Losses are of the task's output alone.

All networks have 4 outputs, hence one compiled program; those unused are rows of zeros in `A`, `A*` and `R`, whose
errors and updates are zero for ever. Limits: one teacher; the arrangements start from the same students.

Source: the paper's proposition 3.1 and its advice of feedback of higher rank; docs/theory.md, section 9.
"""

from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
import xarray as xr
from jaxtyping import Array
from matplotlib.figure import Figure

from localgrad.diagnostics.rank import singular_spectrum
from localgrad.figures.plotting import GREY, PALETTE, label_panels, new_figure
from localgrad.learning.flow import learn
from localgrad.learning.methods import Flow
from localgrad.models.linear import LinearRNN
from localgrad.outcomes import Outcome
from localgrad.reproduction.experiment import Claim, Experiment, FigureSpec
from localgrad.reproduction.networks.gaussian_networks import gaussian_weights, out_of_steps, random_teacher, scaled
from localgrad.rules.presets import RFLO
from localgrad.updates.exact import silent_loss
from localgrad.updates.expected import expected_loss

ARRANGEMENTS: tuple[tuple[str, str, int], ...] = (
    ("task alone", "copies", 1), ("4 copies, one readout", "shared", 4), ("4 copies", "copies", 4),
    ("1 auxiliary", "auxiliary", 2), ("3 auxiliary", "auxiliary", 4), ("3 auxiliary, silent start", "silent", 4),
)  # fmt: skip
OUTPUTS = 4


@dataclass(frozen=True)
class Parameters:
    """Sizes, scales and learning time, as in `rank.py`; losses are relative to a silent student's.

    `settings`: (scale, feedback_scale), small and large weights and feedback: RFLO is slow, or often diverges.
    `auxiliary_scale`: of the auxiliary rows of `A*`, relative to the task's.
    """

    hidden: int = 10
    teacher_hidden: int = 6
    teacher_radius: float = 0.9
    largest_radius: float = 0.9
    decay: float = 0.5
    settings: tuple[tuple[float, float], ...] = ((0.3, 1.0), (0.9, 3.0))
    auxiliary_scale: float = 1.0
    num_seeds: int = 20
    duration: float = 1000.0
    max_steps: int = 2000
    snapshots: int = 25
    thresholds: tuple[float, ...] = (0.1, 0.05, 0.01)
    seed: int = 0


def compute(p: Parameters) -> xr.Dataset:
    """RFLO on every arrangement of outputs, in both settings, from the same students."""
    rng = np.random.default_rng(p.seed)
    task = random_teacher(rng, p.teacher_hidden, p.teacher_radius)
    unit = gaussian_weights(rng, (p.num_seeds,), OUTPUTS, p.hidden)
    R = rng.standard_normal((p.num_seeds, OUTPUTS, p.hidden)) / np.sqrt(p.hidden)
    extra = rng.standard_normal((OUTPUTS - 1, p.teacher_hidden))
    runs = [[_run(arrangement, unit, task, extra, R, setting, p) for arrangement in ARRANGEMENTS]
            for setting in p.settings]  # fmt: skip
    dims = ("setting", "arrangement", "seed")
    extra_dims = {"loss": (*dims, "time"), "singular_values": (*dims, "index")}
    return xr.Dataset(
        {key: (extra_dims.get(key, dims), np.stack([[run[key] for run in row] for row in runs])) for key in runs[0][0]}
        | {"outputs": ("arrangement", [o for *_, o in ARRANGEMENTS])}
        | {"distinct": ("arrangement", [1 if kind == "shared" else o for _, kind, o in ARRANGEMENTS])},
        coords={
            "arrangement": [name for name, *_ in ARRANGEMENTS],
            "setting": [f"scale {scale:g}, R × {size:g}" for scale, size in p.settings],
            "time": _times(p),
            "threshold": list(p.thresholds),
        },
    )


def _times(p: Parameters) -> np.ndarray:
    return np.geomspace(p.duration * 1e-4, p.duration, p.snapshots)


def _run(
    arrangement: tuple[str, str, int],
    unit: LinearRNN,
    task: LinearRNN,
    extra: np.ndarray,
    R: np.ndarray,
    setting: tuple[float, float],
    p: Parameters,
) -> dict[str, Any]:
    _, kind, outputs = arrangement
    scale, feedback_scale = setting
    students, teacher = _extended(kind, outputs, scaled(unit, scale, p.largest_radius), task, extra, p)
    shown = np.arange(OUTPUTS) < outputs
    rule = RFLO(feedback_scale * R * shown[:, None] / np.sqrt(outputs), p.decay)
    curve = learn(rule, students, teacher, duration=p.duration, tolerance=0, save_at=_times(p),
                  method=Flow(rtol=1e-3, atol=1e-5, max_steps=p.max_steps))  # fmt: skip
    spectrum = singular_spectrum(curve.initial, curve.final)
    values = spectrum.W.singular_values
    return {
        "outcome": np.asarray(curve.outcome, dtype=int),
        "cut": out_of_steps(curve, p.duration),
        "loss": _task_loss(curve.snapshots, teacher),
        "agreement": _agreement(np.asarray(students.A), np.asarray(rule.feedback.fixed)),
        "rank": spectrum.W.rank,
        "participation": spectrum.W.participation_ratio,
        "singular_values": values / values[:, :1],
    }


def _extended(
    kind: str, outputs: int, students: LinearRNN, task: LinearRNN, extra: np.ndarray, p: Parameters
) -> tuple[LinearRNN, LinearRNN]:
    """Students and teacher with the task's output first, then its copies or auxiliary readouts, then zeros."""
    shown = (np.arange(OUTPUTS) < outputs)[:, None]
    a_star, A = np.asarray(task.A), np.asarray(students.A)
    size = p.auxiliary_scale * np.linalg.norm(a_star) / np.linalg.norm(extra, axis=-1, keepdims=True)
    others = extra * size if kind in ("auxiliary", "silent") else np.repeat(a_star, OUTPUTS - 1, axis=0)
    if kind == "shared":
        A = np.repeat(A[:, :1], OUTPUTS, axis=1)
    if kind == "silent":
        A = A * (np.arange(OUTPUTS) == 0)[:, None]
    return LinearRNN(shown * A, students.W, students.B), LinearRNN(
        shown * np.concatenate([a_star, others]), task.W, task.B
    )


def _task_loss(networks: LinearRNN, teacher: LinearRNN) -> np.ndarray:
    """Loss of the first output alone, relative to a silent student's; leading axes as the networks'."""
    first = (np.arange(OUTPUTS) == 0)[:, None]
    task = LinearRNN(teacher.A * first, teacher.W, teacher.B)
    silent = float(silent_loss(task))
    losses = _losses(LinearRNN(networks.A * first, networks.W, networks.B), task)
    return np.minimum(np.asarray(losses) / silent, 1e6)  # a run that has diverged may have none


@jax.jit
def _losses(networks: LinearRNN, task: LinearRNN) -> Array:
    return jax.vmap(jax.vmap(lambda network: expected_loss(network, task)))(networks)


def _agreement(A: np.ndarray, R: np.ndarray) -> np.ndarray:
    """The least real part of an eigenvalue of `A_0 Rᵀ`, relative to the largest modulus, outputs in use only.

    For one output it is the sign of `A_0 Rᵀ`; below 0, some error is fed back against its readout.
    """
    used = np.any(R != 0, axis=(0, 2))
    values = np.linalg.eigvals((A @ R.mT)[:, used][:, :, used])
    return values.real.min(axis=-1) / np.abs(values).max(axis=-1)


def claims(data: xr.Dataset) -> list[Claim]:
    """The bound; and what copies and auxiliary readouts buy, in the small setting, and cost, in the large one."""
    small, large = data.isel(setting=0), data.isel(setting=1)
    excess = data["rank"] - data.distinct
    loss, participation = small.loss.isel(time=-1).median("seed"), small.participation.median("seed")
    diverged = (large.outcome == Outcome.DIVERGED).mean("seed")
    against = (large.agreement < -1e-9).values
    failed = (large.outcome == Outcome.DIVERGED).values
    return [
        Claim.at_most(
            "feedback-dimension.bound",
            "theory, section 9",
            "Rank of RFLO's change of W minus the number of distinct feedback dimensions (largest of all runs)",
            0,
            excess.max(),
        ),
        Claim.at_least(
            "feedback-dimension.reached",
            "new: measured",
            "… and the bound is reached (least of all runs)",
            0,
            excess.min(),
        ),
        Claim.at_most(
            "feedback-dimension.copies",
            "new: measured",
            "Copies with readouts of their own add little more than numerical rank: their errors soon agree "
            "(median participation ratio, 4 copies, small weights)",
            1.2,
            participation.sel(arrangement="4 copies"),
        ),
        Claim.at_least(
            "feedback-dimension.auxiliary",
            "paper, advice",
            "Auxiliary readouts raise it (median participation ratio with 3 auxiliary readouts; 1 for the task alone)",
            1.2,
            participation.sel(arrangement="3 auxiliary"),
        ),
        Claim.at_least(
            "feedback-dimension.loss",
            "paper, advice",
            "… and the task itself is learned better (median task loss alone, over that with 3 auxiliary readouts)",
            1.0,
            loss.sel(arrangement="task alone") / loss.sel(arrangement="3 auxiliary"),
        ),
        Claim.at_least(
            "feedback-dimension.diverges",
            "new: measured",
            "But from large weights with a large R more runs diverge (share with 3 auxiliary readouts minus alone)",
            0.1,
            diverged.sel(arrangement="3 auxiliary") - diverged.sel(arrangement="task alone"),
        ),
        Claim.at_least(
            "feedback-dimension.against",
            "new: measured",
            "… namely those in which some error is fed back against its readout, A₀Rᵀ having an eigenvalue with "
            "negative real part (their share that diverges, minus that of all others)",
            0.1,
            _share(failed[against]) - _share(failed[~against]),
        ),
    ]


FLOOR = 1e-4
"""Lower end of the axis of singular values; smaller ones are not drawn."""


def _share(values: np.ndarray) -> float:
    return float(values.mean()) if values.size else np.nan


def draw_gain(data: xr.Dataset) -> Figure:
    """Task loss over learning time and spectra, in the small setting; shares of diverged runs in the large one."""
    figure, axes = new_figure(1, 3, height=3.6)
    small = data.isel(setting=0)
    index = np.arange(1, data.sizes["index"] + 1)
    for name, color, marker in zip(data.arrangement.values, PALETTE, "os^DvP", strict=False):
        runs, look = small.sel(arrangement=name), {"color": color, "marker": marker}
        axes[0].plot(data.time, runs.loss.median("seed"), **look, markevery=4, label=str(name))
        values = runs.singular_values.median("seed")
        axes[1].plot(index, values.where(values > FLOOR), **look)
    axes[0].set(xlabel="learning time", ylabel="task loss / silent loss", xscale="log", yscale="log")
    axes[1].set(
        xlabel="index", ylabel="σ / σ₁ of the change of W", xlim=(0.8, 6.2), ylim=(0.8 * FLOOR, 1.5), yscale="log"
    )
    place = np.arange(data.sizes["arrangement"])
    share = (data.outcome.isel(setting=1) == Outcome.DIVERGED).mean("seed")
    axes[2].barh(place, share, 0.6, color=GREY)
    axes[2].set_yticks(place, map(str, data.arrangement.values), fontsize=7)
    axes[2].invert_yaxis()
    axes[2].set(xlabel=f"diverged, {data.setting.values[1]}", xlim=(0, 1))
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    label_panels(axes)
    return figure


def table(data: xr.Dataset) -> list[list[str]]:
    """A row an arrangement and setting."""
    rows = []
    for setting in data.setting.values:
        for name in data.arrangement.values:
            runs = data.sel(setting=setting, arrangement=name)
            loss, diverged = runs.loss.isel(time=-1), runs.outcome == Outcome.DIVERGED
            counts = [f"{int(((loss <= t) & ~diverged).sum())} of {len(loss)}" for t in data.threshold.values]
            numbers = f"{int(runs['rank'].max())}", f"{float(runs.participation.median()):.2f}"
            ends = [f"{int(how.sum())} of {len(loss)}" for how in (diverged, runs.cut)]
            rows.append([str(setting), str(name), *numbers, *counts, *ends, f"{float(loss.median()):.2g}"])
    reached = [f"loss ≤ {100 * t:g} %" for t in data.threshold.values]
    header = ["setting", "outputs", "rank", "participation ratio", *reached, "diverged", "out of steps", "median loss"]
    return [header, *rows]


EXPERIMENT = Experiment(
    name="feedback-dimension",
    title="Feedback of more dimensions",
    question="What do output copies and auxiliary readouts buy RFLO, in rank and in loss on the task itself?",
    parameters=Parameters(),
    quick=Parameters(num_seeds=12, duration=100.0),
    compute=compute,
    claims=claims,
    figures=(
        FigureSpec(
            "feedback-dimension-gain",
            draw_gain,
            "RFLO on a task with one output, alone and with copies of it or auxiliary readouts of the teacher's hidden "
            "state; medians over students. A: loss of the task's output, small weights and feedback: auxiliary "
            "readouts lower it, copies hardly. B: singular values of what was learned, same runs, down to 1e-4 of σ₁: "
            "copies that share a "
            "readout have rank 1, copies with their own a rank that is small in effect, auxiliary readouts one that is "
            "not. C: the cost: from large weights with a large R, more outputs make more runs diverge (share); in the "
            "runs of A and B none does.",
        ),
    ),
    table=table,
    table_caption="How many runs end, without having diverged, at or below a loss of the task's output relative to a "
    "silent student's; rank: the largest; participation ratio: the median. Silent start: auxiliary readouts of the "
    "student that begin at zero.",
)
