"""Exact and sampled learning of unaligned students, and their alignment along the way."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from localgrad.learning.flow import LearningCurve, learn
from localgrad.learning.methods import Flow
from localgrad.models.aligned import Mode, aligned_network, random_frames
from localgrad.models.linear import LinearRNN, random_network
from localgrad.modes.stability import critical_learning_rate
from localgrad.reproduction.axes import rule_axis
from localgrad.reproduction.networks.emergent_alignment.modes import (
    FULL,
    LOCAL,
    ORTHONORMAL,
    orthonormal_local,
    predictions,
    sampled_predictions,
)
from localgrad.reproduction.networks.emergent_alignment.sampled import Course, sampled_course
from localgrad.rules.presets import BPTT, EProp, TruncatedBPTT, paper_rules
from localgrad.rules.rule import Rule

SWEPT = (FULL, LOCAL, ORTHONORMAL)


@dataclass(frozen=True)
class Parameters:
    """Teacher, students, and learning time (learning rate × steps); all else is dimensionless.

    The transient ends where every mode's median input–output alignment reaches `aligned`. `scales` are further scales
    of the initial weights, for the first `num_swept` students. Sampled training is of the first `num_sampled`, with a
    learning rate that is `share_of_critical` of the critical one (`fastest_critical_rate`).
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
    share_of_critical: float = 0.5
    sampled_duration: float = 15.0
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
    rules = [*paper_rules(R, p.decay), EProp(R), EProp(), orthonormal_local(orthonormal, p.decay)]
    curves = [_learn(rule, students, teacher, p) for rule in rules]
    courses = _sampled(students, teacher, modes, orthonormal, p)
    read = {"decay": p.decay, "aligned": p.aligned}
    parts = [
        _along(curves), predictions(curves, R, **read), sampled_predictions(courses, R[: p.num_sampled], **read),
        _swept(curves, p),
    ]  # fmt: skip
    return xr.merge(parts).assign_coords(**rule_axis(rules), mode=np.arange(1, count + 1))


def _sampled(students: LinearRNN, teacher: LinearRNN, modes: Mode, R: jax.Array, p: Parameters) -> list[Course]:
    """Sampled training of the first students, under the rules whose modes separate."""
    few = jax.tree.map(lambda x: x[: p.num_sampled], students)
    rules = [BPTT(), TruncatedBPTT(1), orthonormal_local(R[: p.num_sampled], p.decay)]
    rate = p.share_of_critical * fastest_critical_rate(modes)
    count = round(p.sampled_duration / rate)
    settings = {"batch_size": p.batch_size, "horizon": p.horizon, "num_steps": count, "save_every": count // 100}
    return [sampled_course(rule, few, teacher, seed=p.seed, learning_rate=rate, **settings) for rule in rules]


def fastest_critical_rate(modes: Mode) -> float:
    """The learning rate from which on BPTT's steps leave the optimum of some mode, at `s = √c`.

    There BPTT ends from small weights, since it conserves `a² − b²`.
    """
    return float(np.min(critical_learning_rate(BPTT(), modes, np.sqrt(modes.a * modes.b))))


def _learn(rule: Rule, students: LinearRNN, teacher: LinearRNN, p: Parameters) -> LearningCurve:
    times = np.r_[0.0, np.geomspace(p.duration / 300, p.duration, p.num_snapshots - 1)]
    flow = Flow(rtol=1e-3, atol=1e-5)
    return learn(rule, students, teacher, duration=p.duration, save_at=times, tolerance=1e-8, method=flow)


def _along(curves: list[LearningCurve]) -> xr.Dataset:
    """Alignments over learning time, the loss at its end, and the integrator's error."""
    seen = [curve.alignment for curve in curves]
    with_R = [curve.rule for curve in curves if curve.rule.feedback.fixed is not None]
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
        {"time": curves[0].snapshot_times, **rule_axis(with_R, "rule_with_R")},
    )


def _swept(curves: list[LearningCurve], p: Parameters) -> xr.Dataset:
    """What is missing of input–output alignment at the end, over the scale of the same initial weights."""
    swept, scales = [curve for curve in curves if curve.rule.key in SWEPT], sorted({p.scale, *p.scales})

    def missing(curve: LearningCurve, scale: float) -> np.ndarray:
        if scale != p.scale:
            fixed, rule = curve.rule.feedback.fixed, curve.rule
            rule = rule if fixed is None else rule.with_feedback(fixed[: p.num_swept])
            students = jax.tree.map(lambda x: x[: p.num_swept] * (scale / p.scale), curve.initial)
            curve = _learn(rule, students, curve.teacher, p)
        return 1 - curve.alignment.input_output[: p.num_swept, -1].mean(axis=-1)

    values = [[missing(curve, scale) for scale in scales] for curve in swept]
    return xr.Dataset(
        {"misalignment": (("swept_rule", "scale", "swept_student"), np.array(values))},
        {**rule_axis([curve.rule for curve in swept], "swept_rule"), "scale": scales},
    )
