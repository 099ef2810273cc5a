"""Unaligned students align while they learn, and then follow the mode equations: how far, under which rule, and why.

Students are Gaussian networks with small weights, the teacher an aligned one with four modes; learning is the exact
flow. How well mode equations predict it afterwards is measured in `modes.py`.

For small weights `B` learns first, by `Fᵀ A* B*`: with a fixed feedback `R` the direction `p_k` of mode k becomes row
k of `UᵀR`. Directions of separate modes are orthogonal; the rows of a Gaussian `R` are not, those of an orthonormal `R`
are, which is run as a control. Limits: one teacher, one size.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from localgrad.figures.plotting import label_panels, new_figure, rule_style
from localgrad.learning.flow import LearningCurve, learn
from localgrad.learning.methods import Flow
from localgrad.models.aligned import Mode, aligned_network, random_frames
from localgrad.models.linear import LinearRNN, random_network
from localgrad.reproduction.experiment import Claim, Experiment, FigureSpec
from localgrad.reproduction.networks.emergent_alignment.describe import DESCRIBE
from localgrad.reproduction.networks.emergent_alignment.modes import (
    FULL,
    KEYS,
    LOCAL,
    ORTHONORMAL,
    draw_prediction,
    prediction_checks,
    prediction_claims,
    prediction_numbers,
    predictions,
    sampled_predictions,
    table,
)
from localgrad.reproduction.networks.emergent_alignment.sampled import sampled_course
from localgrad.rules.presets import BPTT, RFLO, EProp, TruncatedBPTT
from localgrad.rules.rule import Rule

SWEPT = (FULL, LOCAL, ORTHONORMAL)


@dataclass(frozen=True)
class Parameters:
    """Teacher, students, and learning time (learning rate × steps); all else is dimensionless.

    The transient ends where every mode's median input–output alignment reaches `aligned`. `scales` are further scales
    of the initial weights, for the first `num_swept` students.
    """

    teacher_a: tuple[float, ...] = (2.0, 1.5, 1.0, 0.75)
    teacher_w: tuple[float, ...] = (0.8, 0.6, 0.4, 0.2)
    hidden: int = 10
    scale: float = 0.1
    scales: tuple[float, ...] = (0.03, 0.3)
    decay: float = 0.5
    aligned: float = 0.9
    duration: float = 30.0
    num_snapshots: int = 41
    num_seeds: int = 20
    num_swept: int = 5
    num_sampled: int = 5
    learning_rate: float = 0.02
    batch_size: int = 64
    horizon: int = 30
    seed: int = 0


def compute(p: Parameters) -> xr.Dataset:
    """Alignment and effective modes along every learning curve, and what the mode equations make of them."""
    count, keys = len(p.teacher_w), jax.random.split(jax.random.key(p.seed), 3)
    modes = Mode(np.array(p.teacher_a), np.ones(count), np.array(p.teacher_w))
    teacher = aligned_network(modes, random_frames(count, count, count, key=keys[0]))
    draw = jax.vmap(lambda key: random_network(count, p.hidden, count, key=key, scale=p.scale))
    students = draw(jax.random.split(keys[1], p.num_seeds))
    R = jax.random.normal(keys[2], (p.num_seeds, count, p.hidden)) / np.sqrt(p.hidden)
    orthonormal = jnp.linalg.qr(R.mT)[0].mT
    control = Rule(orthonormal, p.decay, name=ORTHONORMAL)
    rules = [BPTT(), TruncatedBPTT(1), RFLO(R, p.decay), EProp(R), EProp(), control]
    curves = [_learn(rule, students, teacher, p) for rule in rules]
    few = jax.tree.map(lambda x: x[: p.num_sampled], students)
    trained = [BPTT(), TruncatedBPTT(1), Rule(orthonormal[: p.num_sampled], p.decay, name=ORTHONORMAL)]
    courses = [
        sampled_course(
            rule, few, teacher, seed=p.seed, learning_rate=p.learning_rate, batch_size=p.batch_size, horizon=p.horizon,
            num_steps=round(p.duration / p.learning_rate), save_every=round(p.duration / p.learning_rate / 100),
        )
        for rule in trained
    ]  # fmt: skip
    read = {"decay": p.decay, "aligned": p.aligned}
    parts = [
        _along(curves), predictions(curves, R, **read), sampled_predictions(courses, R[: p.num_sampled], **read),
        _swept(curves, p),
    ]  # fmt: skip
    return xr.merge(parts).assign_coords(rule=[rule.name for rule in rules], mode=np.arange(1, count + 1))


def _learn(rule: Rule, students: LinearRNN, teacher: LinearRNN, p: Parameters) -> LearningCurve:
    times = np.r_[0.0, np.geomspace(p.duration / 300, p.duration, p.num_snapshots - 1)]
    flow = Flow(rtol=1e-3, atol=1e-5)
    return learn(rule, students, teacher, duration=p.duration, save_at=times, tolerance=1e-8, method=flow)


def _along(curves: list[LearningCurve]) -> xr.Dataset:
    """Alignments over learning time, the loss at its end, and the integrator's error."""
    seen = [curve.alignment for curve in curves]
    with_R = [curve.rule.name for curve in curves if curve.rule.feedback.fixed is not None]
    path, modes = ("student", "time"), ("student", "time", "mode")
    feedback = np.stack([x.feedback for x in seen if x.feedback is not None])
    return xr.Dataset(
        {
            "recurrent": (("rule", *path), np.stack([x.recurrent for x in seen])),
            "input_output": (("rule", *modes), np.stack([x.input_output for x in seen])),
            "feedback": (("rule_with_R", *modes), feedback),
            "final_loss": (("rule", "student"), np.stack([c.loss[:, -1] / c.loss[:, 0] for c in curves])),
            "bptt_drift": ("student", curves[0].conserved_drift.max(axis=-1)),
        },
        {"time": curves[0].snapshot_times, "rule_with_R": with_R},
    )


def _swept(curves: list[LearningCurve], p: Parameters) -> xr.Dataset:
    """What is missing of input–output alignment at the end, over the scale of the same initial weights."""
    swept, scales = [curve for curve in curves if curve.rule.name in SWEPT], sorted({p.scale, *p.scales})

    def missing(curve: LearningCurve, scale: float) -> np.ndarray:
        if scale != p.scale:
            fixed = curve.rule.feedback.fixed
            feedback = curve.rule.feedback if fixed is None else fixed[: p.num_swept]
            rule = Rule(feedback, curve.rule.propagator, curve.rule.lags, name=curve.rule.name)
            students = jax.tree.map(lambda x: x[: p.num_swept] * (scale / p.scale), curve.initial)
            curve = _learn(rule, students, curve.teacher, p)
        return 1 - curve.alignment.input_output[: p.num_swept, -1].mean(axis=-1)

    values = [[missing(curve, scale) for scale in scales] for curve in swept]
    return xr.Dataset(
        {"misalignment": (("swept_rule", "scale", "swept_student"), np.array(values))},
        {"swept_rule": [curve.rule.name for curve in swept], "scale": scales},
    )


def _rise(alignment: xr.DataArray) -> float:
    """The least rise, from first to last, of a student's alignment (mean over modes) under any rule."""
    rise = alignment.isel(time=-1) - alignment.isel(time=0)
    return float((rise.mean("mode") if "mode" in rise.dims else rise).min())


def claims(data: xr.Dataset) -> list[Claim]:
    """Alignment emerges; the mode equations of a rule then predict its networks; where they do not, and why."""
    return [*_alignment_claims(data), *prediction_claims(data), *_reasons(data)]


def _alignment_claims(data: xr.Dataset) -> list[Claim]:
    paper = "paper, emergent alignment"
    return [
        Claim.at_least(
            "emergent-alignment.input-output",
            paper,
            "Input and output directions align in every student under every rule (least rise of |cos|, mean of modes)",
            0.0,
            _rise(data.input_output),
        ),
        Claim.at_least(
            "emergent-alignment.recurrent",
            paper,
            "Recurrent weights become diagonal on these directions (least rise of the diagonal's share of energy)",
            0.0,
            _rise(data.recurrent),
        ),
        Claim.at_least(
            "emergent-alignment.feedback",
            paper,
            "Readouts turn towards a fixed feedback (least rise of the cosine, mean of modes)",
            0.0,
            _rise(data.feedback),
        ),
        Claim.at_least(
            "emergent-alignment.level",
            "new: measured",
            "The typical student ends aligned (median of |cos|, least over rules and modes)",
            0.95,
            data.input_output.isel(time=-1).median("student").min(),
        ),
        Claim.at_most(
            "emergent-alignment.conserved",
            "theory, section 3",
            "BPTT's flow conserves AᵀA − BBᵀ + WᵀW − WWᵀ (largest relative drift, integrator's tolerance 1e-3)",
            1e-3,
            data.bptt_drift.max(),
        ),
    ]


def _reasons(data: xr.Dataset) -> list[Claim]:
    missing = data.misalignment.median("swept_student")
    bptt, decades = missing.sel(swept_rule=FULL).values, np.log(data.scale.values)
    smallest = missing.isel(scale=0)
    return [
        Claim.at_least(
            "emergent-alignment.small-weights",
            "new: measured",
            "The smaller the initial weights, the better BPTT's networks align (order of 1 − |cos| in their scale)",
            1.5,
            np.log(bptt[-1] / bptt[0]) / (decades[-1] - decades[0]),
        ),
        Claim.at_least(
            "emergent-alignment.orthonormal",
            "new: measured",
            "RFLO's hardly do, since the rows of a Gaussian R are not orthogonal: those of an orthonormal R do "
            "(1 − |cos| under Gaussian over that under orthonormal R, at the smallest scale)",
            5.0,
            smallest.sel(swept_rule=LOCAL) / smallest.sel(swept_rule=ORTHONORMAL),
        ),
    ]


def _band(ax: Axes, values: xr.DataArray, name: str) -> None:
    """Median over everything but time, and the quartiles about it."""
    low, middle, high = values.quantile([0.25, 0.5, 0.75], [d for d in values.dims if d != "time"]).values
    look = rule_style(KEYS[str(name)]) | {"marker": ""}
    ax.plot(values.time[1:], middle[1:], **look, label=name)
    ax.fill_between(values.time[1:], low[1:], high[1:], color=look["color"], alpha=0.12, linewidth=0)


def draw_alignment(data: xr.Dataset) -> Figure:
    """The three alignments over learning time, and what is missing at the end over the scale of the weights."""
    figure, axes = new_figure(2, 2, height=5.6)
    for name in data.rule.values:
        _band(axes[0], data.input_output.sel(rule=name), name)
        _band(axes[1], data.recurrent.sel(rule=name), name)
    for name in data.rule_with_R.values:
        _band(axes[2], data.feedback.sel(rule_with_R=name), name)
    for ax, kind in zip(axes, ("input–output", "recurrent", "feedback"), strict=False):
        ax.set(xscale="log", xlabel="learning time", ylabel=f"{kind} alignment", ylim=(None, 1.02))
    for name in data.swept_rule.values:
        axes[3].loglog(
            data.scale, data.misalignment.sel(swept_rule=name).median("swept_student"), **rule_style(KEYS[str(name)])
        )
    axes[3].set_xticks(data.scale.values, [f"{x:g}" for x in data.scale.values])
    axes[3].xaxis.set_minor_formatter("")
    axes[3].set(xlabel="scale of the initial weights", ylabel="1 − input–output alignment")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=3)
    label_panels(axes)
    return figure


EXPERIMENT = Experiment(
    name="emergent-alignment",
    title="Alignment emerges",
    question="Do unaligned students align while they learn, and do the mode equations then predict them?",
    parameters=Parameters(),
    quick=Parameters(num_seeds=5, scales=(0.03,), num_sampled=3),
    compute=compute,
    claims=claims,
    checks=prediction_checks,
    numbers=prediction_numbers,
    describe=DESCRIBE,
    figures=(
        FigureSpec(
            "emergent-alignment",
            draw_alignment,
            "Alignment of unaligned Gaussian students with a four-mode teacher over learning time: medians over "
            "students and modes, bands to the quartiles. A: directions of input and output align early, alike under "
            "all rules. B: recurrent weights become diagonal on these directions, with symmetric feedback (BPTT, "
            "tBPTT(1), e-prop; they coincide) only once the modes grow. C: readouts turn towards a fixed feedback. "
            "D: what is missing of A's alignment in the end vanishes with the scale of the initial weights under BPTT, "
            "but not under RFLO with a Gaussian R, whose rows are not orthogonal; with an orthonormal R it does.",
        ),
        FigureSpec(
            "emergent-alignment-modes",
            draw_prediction,
            "A, B: one student under BPTT and RFLO; symbols: gains of its effective modes; curves: the mode equations "
            "started from them at the grey line, where the transient ends. C: error of each rule's own mode equations "
            "from there on (median over students and modes). With a Gaussian R about a per cent remains, which is what "
            "incomplete alignment adds to a_k b_k. D: the largest later error against the time at which the equations "
            "start: with a fixed feedback they need the transient, with a symmetric one hardly; for symmetric e-prop "
            "they miss the modes' growth by several per cent wherever they start before it.",
        ),
    ),
    table=table,
    table_caption="Networks (rows) against mode equations (columns) from the end of the transient on: largest later "
    "error of the gain, relative to a* b*; median over students and modes. Gain still to come: the same for the "
    "prediction that nothing changes any more. w, own: the error of w, relative to w*, of the rule's own equations. "
    "Networks under BPTT, tBPTT(1) and RFLO with an orthonormal R are told apart by their equations. RFLO with a "
    "Gaussian R, which is aligned in no frames, is by a small margin only, which for other draws may be none.",
)
