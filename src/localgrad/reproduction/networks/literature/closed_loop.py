r"""Learning in a closed loop (Ger & Barak 2025): a network pushes a mass that it sees, and makes its own inputs.

The plant is the publication's double integrator, `p' = p + v, v' = v + y`, of which the network senses the position
reached next, `x = p + v` (so that loop and network are their matrix exactly: a push moves the position a step later).
Episodes of T = 50 steps begin at a random state; a sum over an episode of what such a state leaves is the loss of the
last step under white noise, so that BPTT through the plant is their policy gradient, without its samples.

What differs: the loss is the square of `0.3 p + v`, one number, since every rule here needs an error of the size of the
output; theirs is `p² + v²`. All of W learns, from 0; theirs has rank one. They cut long gradients, which changes how
fast the same way is gone: so the figures count its length.

No controller that sees the position alone leaves less than `BEST` (docs/theory.md, section 15).

Limits: one input and output, and this plant.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from localgrad.learning.curve import LearningCurve
from localgrad.learning.flow import learn
from localgrad.learning.methods import Flow
from localgrad.models.linear import LinearRNN
from localgrad.reproduction.axes import rule_axis
from localgrad.reproduction.networks.literature.topics import (
    FEW,
    along,
    gaussian_students,
    local_rules,
    with_few_variables,
)
from localgrad.rules.presets import BPTT
from localgrad.rules.rule import Rule
from localgrad.tasks.plants import closed_loop

_POSITION = 0.3  # what it counts against the velocity
BEST = ((1 + 5**0.5) / 2 * (1 + _POSITION) ** 2 + _POSITION**2) / 2
"""The least loss of any controller that sees the position alone."""
_PLANT = LinearRNN([[1.0, 1.0]], [[1.0, 1.0], [0.0, 1.0]], [[0.0], [1.0]])


@dataclass(frozen=True)
class Parameters:
    """Units, students, gain of A and B, steps of an episode; `duration` in learning time, from a first time on."""

    hidden: int = FEW
    seeds: int = 2
    gain: float = 0.15
    steps: int = 50
    duration: float = 1.0
    first: float = 1e-8
    num_times: int = 80
    seed: int = 3


def rules_of(p: Parameters, R: np.ndarray) -> list[Rule]:
    """BPTT through the plant, the gradient, and the rules that know their network only."""
    return [BPTT(through_plant=True), *local_rules(R)]


def compute(p: Parameters) -> xr.Dataset:
    """Loss and eigenvalues of the loop along learning, in it and outside."""
    rng = np.random.default_rng(p.seed)
    students = gaussian_students(rng, p.seeds, p.hidden, p.gain, 0.0)
    R = rng.standard_normal((1, p.hidden)) / p.hidden**0.5
    task = closed_loop(_PLANT, regulate=[[_POSITION, 1.0]])
    times = np.r_[0.0, np.geomspace(p.first, p.duration, p.num_times - 1)]
    how: dict[str, Any] = {"method": Flow(rtol=1e-3, atol=1e-5), "tolerance": 0, "save_at": times}
    rules = rules_of(p, R)
    curves = [learn(rule, students, task, duration=p.duration, horizon=p.steps, **how) for rule in rules]
    opened = _imitate(p, curves[0], students, how)
    snapshots = [c.snapshots for c in (*curves, opened)]
    tested = [along(s, lambda A, W, B: loop_loss(A, W, B, p.steps)) for s in snapshots]
    poles = [along(s, loop_poles) for s in snapshots]
    names = rule_axis([*rules, Rule(name="BPTT, open loop", key="open")])
    where = ("loop_rule", "student", "moment")
    return xr.Dataset(
        {
            "loop_loss": (where, np.array(tested)),
            "loop_radius": (where, np.array([x[..., 0] for x in poles])),
            "third": (where, np.array([x[..., 1] for x in poles])),
            "loop_gain": (where, np.array([along(s, lambda A, W, B: (A @ B)[..., 0, 0]) for s in snapshots])),
            "way": (where, np.array([_way(s) for s in snapshots])),
            "rebound": (
                ("loop_rule", "student"),
                np.array([_rebound(x) for x in (*(c.loss for c in curves), tested[-1])]),
            ),
            "imitation": ("student", opened.loss[:, -1] / opened.silent_loss),
        },
        {"loop_rule": names["rule"], "loop_rule_name": ("loop_rule", names["rule_name"][1]), "moment": times},
    )


def _imitate(p: Parameters, taught: LearningCurve, students: LinearRNN, how: dict[str, Any]) -> LearningCurve:
    """Students that imitate in an open loop, on white inputs, what the first one learned in the closed one."""
    A, W, B = (np.asarray(x)[0] for x in taught.final.matrices)
    times = how["save_at"] * 1e3  # outside the loop errors are smaller by far, and learning is slower
    return learn(BPTT(), students, with_few_variables(W, B, A), duration=1e3 * p.duration, **how | {"save_at": times})


def loop_matrix(A: np.ndarray, W: np.ndarray, B: np.ndarray) -> np.ndarray:
    """Network and plant as one system, its state that of the network and then that of the plant."""
    sensed, own, push = (np.asarray(x) for x in _PLANT.matrices)
    above = np.concatenate([W, B @ sensed], axis=-1)
    below = np.concatenate([push @ A, np.broadcast_to(own, (*A.shape[:-2], 2, 2))], axis=-1)
    return np.concatenate([above, below], axis=-2)


def loop_loss(A: np.ndarray, W: np.ndarray, B: np.ndarray, steps: int) -> np.ndarray:
    """The loss over an episode in the loop, by powers of its matrix."""
    loop, wanted = loop_matrix(A, W, B), np.array([[_POSITION, 1 + _POSITION]])
    error = np.concatenate([A, np.broadcast_to(wanted, (*A.shape[:-2], 1, 2))], axis=-1)
    total, answer = np.zeros(A.shape[:-2]), error
    for _ in range(steps):
        total = total + np.sum(answer[..., 0, -2:] ** 2, axis=-1) / 2  # of a random state of the plant
        answer = answer @ loop
    return np.asarray(total)


def loop_poles(A: np.ndarray, W: np.ndarray, B: np.ndarray) -> np.ndarray:
    """The loop's spectral radius, and its largest real eigenvalue but the two that are largest: shape `"… 2"`."""
    loop = loop_matrix(A, W, B)
    values = np.linalg.eigvals(loop)
    values = np.take_along_axis(values, np.argsort(-np.abs(values), axis=-1), axis=-1)
    later = values[..., 2:]
    third = np.max(np.where(np.abs(later.imag) < 1e-9, later.real, 0), axis=-1)
    return np.stack([np.abs(values[..., 0]), third], axis=-1)


def _rebound(loss: np.ndarray) -> np.ndarray:
    """How far the loss of each student ever rises above what it has been before."""
    return np.asarray(np.max(loss / np.minimum.accumulate(loss, axis=-1), axis=-1))


def _way(snapshots: Any) -> np.ndarray:
    """The length of the way that all weights have gone, at the snapshots."""
    leaves = [np.asarray(x) for x in (snapshots.A, snapshots.W, snapshots.B)]
    steps = np.sqrt(sum(np.sum(np.diff(x, axis=1) ** 2, axis=(-2, -1)) for x in leaves))
    return np.concatenate([np.zeros((len(steps), 1)), np.cumsum(steps, axis=1)], axis=1)
