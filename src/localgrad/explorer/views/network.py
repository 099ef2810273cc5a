"""A small network as it learns: the exact flow from a random student, and what there is to see at every moment of it.

The teacher has a few aligned modes, each weaker and slower than the one before; the student is random. Once student and
teacher are aligned well enough, the mode equations are started from the student's modes, and run beside the network:
where the two part, the network's modes do not learn on their own.

The whole course of learning is one answer, so that the page can run through it at its own pace.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import numpy as np

from localgrad.diagnostics.alignment import EffectiveModes, effective_modes
from localgrad.explorer.snippets import network_snippet
from localgrad.explorer.state import State
from localgrad.learning.flow import LearningCurve, learn
from localgrad.learning.methods import Flow
from localgrad.models.aligned import Mode, aligned_network, random_frames
from localgrad.models.linear import LinearRNN, random_network
from localgrad.modes.ensemble.integrate import integrate_modes

MOMENTS = 120
"""Snapshots, the first at learning time 0, the others evenly in the logarithm of time."""

FIRST = 1e-3
"""Learning time of the second snapshot, as a share of the whole."""

ALIGNED = 0.9
"""The least input–output alignment of all modes from which on mode theory runs along, as in `emergent-alignment`."""

FLOW = Flow(rtol=1e-3, atol=1e-5)
WEAKER = 0.72
"""Readout of a teacher's mode over that of the one before."""


class Scene(NamedTuple):
    """Who learns from whom, and by which feedback: a random `R` of about the size of a readout."""

    student: LinearRNN
    teacher: LinearRNN
    R: Any


def scene(state: State) -> Scene:
    """The networks of a state; they follow from its numbers alone."""
    count, keys = state.teacher_modes, jax.random.split(jax.random.key(state.seed), 3)
    teacher = aligned_network(teacher_modes(state), random_frames(count, count, count, key=keys[0]))
    student = random_network(count, state.units, count, key=keys[1], scale=state.weight_scale)
    return Scene(student, teacher, jax.random.normal(keys[2], (count, state.units)) / np.sqrt(state.units))


def teacher_modes(state: State) -> Mode:
    """The teacher's modes: the first is that of the sliders."""
    k = np.arange(state.teacher_modes)
    a, b, w = state.teacher
    return Mode(a * WEAKER**k, np.full(k.size, b), w * (1 - k / k.size))


def network(state: State, rest: bool) -> Iterator[tuple[dict, dict]]:
    """The course of learning of one network, until it converges, diverges, or time is up."""
    times = np.concatenate([[0.0], np.geomspace(FIRST, 1.0, MOMENTS - 1)]) * state.learning_time
    with jax.enable_x64(True):
        student, teacher, R = scene(state)
        rule = state.rule_with(state.feedback * R)
        curve = learn(rule, student, teacher, duration=state.learning_time, save_at=times, method=FLOW)
        modes = effective_modes(curve.snapshots, teacher, state.feedback * R)
        arrays = _weights(curve) | _modes(state, curve, modes)
    arrays |= {"time": times, "loss": curve.at(times)}
    lasted = int((times <= float(curve.time[-1])).sum())
    about = {
        "outcome": str(curve.outcome),
        "ended": float(curve.time[-1]),
        "rule": state.rule.name,
        "silent_loss": float(curve.silent_loss),
        "teacher_w": modes.teacher.w.tolist(),
        "teacher_gain": (modes.teacher.a * modes.teacher.b).tolist(),
        "snippet": network_snippet(state),
    }
    yield about, {name: np.asarray(x, np.float32)[..., :lasted] for name, x in arrays.items()}


def _weights(curve: LearningCurve) -> dict[str, np.ndarray]:
    """Eigenvalues of W, and the singular values of its change; time is the last axis."""
    W = np.asarray(curve.snapshots.W)
    eigenvalues = np.linalg.eigvals(W).T
    change = np.linalg.svd(W - W[0], compute_uv=False).T
    return {"real": eigenvalues.real, "imaginary": eigenvalues.imag, "change": change}


def _modes(state: State, curve: LearningCurve, modes: EffectiveModes) -> dict[str, np.ndarray]:
    """Alignment, the student's gains and recurrent weights, and what mode theory makes of them; time is last."""
    found, predicted = curve.alignment, predictions(state, curve, modes)
    return {
        "input_output": found.input_output.T,
        "recurrent": found.recurrent,
        "gain": (modes.student.a * modes.student.b).T,
        "w": modes.student.w.T,
        "predicted_gain": (predicted.a * predicted.b).T,
        "predicted_w": predicted.w.T,
    }


def predictions(state: State, curve: LearningCurve, modes: EffectiveModes) -> Mode:
    """The mode equations from the moment at which all modes are aligned, shape `"time modes"`; before it, no number."""
    empty = Mode(*(np.full_like(x, np.nan) for x in modes.student))
    aligned = curve.alignment.input_output.min(axis=-1) >= ALIGNED
    first, times = int(np.argmax(aligned)), curve.snapshot_times
    if modes.feedback is None or not aligned[:-1].any() or (np.abs(modes.student.w[first]) >= 1).any():
        return empty
    rule, start = state.rule_with(modes.feedback[first]), Mode(*(x[first] for x in modes.student))
    later = times[first:] - times[first]
    run = integrate_modes(rule, start, modes.teacher, duration=later[-1], save_at=later, early_stop=False)
    for whole, part in zip(empty, run.saved or (), strict=True):
        whole[first:] = np.moveaxis(part, -1, 0)
    return empty
