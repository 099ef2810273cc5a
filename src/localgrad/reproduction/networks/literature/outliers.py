r"""Learning to integrate and to oscillate (Bordelon et al. 2025): a pole, or a pair, leaves the bulk of eigenvalues.

Where the recurrent weights begin at 0, every update of W lies in the space that the columns of `Aᵀ`, B and `Rᵀ` span,
under any rule whose F is made of A and R and whose propagator treats all directions alike (M of W, or a decay). So
with one input and output a network of any size moves as one of three units does: the low-dimensional system, whose
eigenvalues are the predicted path of the outliers. With small random weights it is followed as far as they are small.

RFLO's change of W has rank one, so of `W = 0` it makes one eigenvalue, which is real: it can learn to integrate, and of
a damped oscillation no more than the answer to the last input and one real pole.

Limits: one input and output, white noise; leaky and damped targets in steps of time, where the publication's time is
continuous. e-prop's diagonal is no direction of that space: it has no such system.
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
from localgrad.tasks.builders import integrator, oscillator
from localgrad.tasks.linear_task import LinearTask

TASKS = ("integrator", "oscillator")
_LARGE = 0.8


@dataclass(frozen=True)
class Parameters:
    """Sizes; gain of A and B; first radius of W, and what part of it is tiny; targets; `duration` in learning time."""

    hidden: int = 16
    seeds: int = 2
    gain: float = 0.5
    radius: float = 0.1
    tiny: float = 0.25
    leak: float = 0.1
    period: float = 12.0
    decay: float = 0.9
    duration: float = 200.0
    num_times: int = 80
    seed: int = 0


def _task(p: Parameters, name: str) -> LinearTask:
    task = oscillator(p.period, p.decay, gain=0.5) if name == "oscillator" else integrator(p.leak, gain=p.leak**0.5)
    return with_few_variables(task.dynamics, task.noise, task.to_target)


def target_pole(p: Parameters, name: str) -> complex:
    """The pole that is to be learned, of a pair that with the positive angle."""
    return 1 - p.leak if name == "integrator" else p.decay * np.exp(2j * np.pi / p.period)


def reduced(students: LinearRNN, R: np.ndarray) -> tuple[LinearRNN, np.ndarray]:
    """Students with `W = 0` in the space of `Aᵀ`, B and `Rᵀ`, and their feedback; of their units three are in use."""
    A, _, B = (np.asarray(x) for x in students.matrices)
    fixed = np.broadcast_to(R, A.shape)
    frame, _ = np.linalg.qr(np.concatenate([A.mT, B, fixed.mT], axis=-1))
    frame = np.pad(frame, ((0, 0), (0, 0), (0, FEW - 3)))
    return LinearRNN(A @ frame, np.zeros((len(A), FEW, FEW)), frame.mT @ B), fixed @ frame


def _curve(p: Parameters, rule: Rule, students: LinearRNN, name: str) -> LearningCurve:
    times = np.r_[0.0, np.geomspace(1e-3 * p.duration, p.duration, p.num_times - 1)]
    method = Flow(rtol=1e-4, atol=1e-6)
    return learn(rule, students, _task(p, name), duration=p.duration, method=method, tolerance=1e-4, save_at=times)


def _leading(A: Any, W: np.ndarray, B: Any) -> np.ndarray:
    """The two largest eigenvalues but for conjugates, as real and imaginary parts: shape `"… 2 2"`.

    Of a pair the one with the positive angle counts.
    """
    values = np.linalg.eigvals(W)
    values = np.where(values.imag < 0, 0, values)
    order = np.argsort(-np.abs(values), axis=-1)[..., :2]
    first = np.take_along_axis(values, order, axis=-1)
    return np.stack([first.real, first.imag], axis=-1)


def compute(p: Parameters) -> xr.Dataset:
    """Paths of eigenvalues from small random weights, from none, and of three units; what large weights need."""
    rng = np.random.default_rng(p.seed)
    small = gaussian_students(rng, p.seeds, p.hidden, p.gain, p.radius)
    A, W, B = (np.asarray(x) for x in small.matrices)
    R = rng.standard_normal((1, p.hidden)) / p.hidden**0.5
    empty, tiny, large = (LinearRNN(A, scale * W, B) for scale in (0, p.tiny, _LARGE / p.radius))
    few, few_R = reduced(small, R)
    rules, few_rules = local_rules(R), local_rules(few_R)
    grid = [[_curve(p, rule, small, name) for name in TASKS] for rule in rules]
    near = [[_curve(p, rule, tiny, name) for name in TASKS] for rule in rules[:3]]
    bare = [[_curve(p, rule, empty, name) for name in TASKS] for rule in rules[:3]]
    predicted = [[_curve(p, rule, few, name) for name in TASKS] for rule in few_rules[:3]]
    lazy = [_curve(p, BPTT(), large, name) for name in TASKS]
    where = ("rule", "task", "seed")
    path = (*where, "outlier_time", "eigenvalue", "part")
    few_where = tuple("low_rule" if x == "rule" else x for x in path)

    def eigenvalues(curves: list[list[LearningCurve]]) -> np.ndarray:
        return np.array([[along(c.snapshots, _leading) for c in row] for row in curves])

    def ends(curves: list[list[LearningCurve]]) -> np.ndarray:
        return np.array([[c.loss[:, -1] / c.silent_loss for c in row] for row in curves])

    return xr.Dataset(
        {
            "path": (path, eigenvalues(grid)),
            "tiny_path": (few_where, eigenvalues(near)), "empty_path": (few_where, eigenvalues(bare)),
            "low_path": (few_where, eigenvalues(predicted)),
            "outlier_loss": (where, ends(grid)),
            "outlier_length": (where, np.array([[c.time[:, -1] for c in row] for row in grid])),
            "empty_loss": (("low_rule", "task", "seed"), ends(bare)),
            "change": (("task", "seed"), [_change(c, W) for c in grid[0]]),
            "lazy_change": (("task", "seed"), [_change(c, _LARGE / p.radius * W) for c in lazy]),
            "floor": ("task", [real_floor(_task(p, name)) for name in TASKS]),
            "pole": (("task", "part"), [[target_pole(p, x).real, target_pole(p, x).imag] for x in TASKS]),
        },
        {
            **rule_axis(rules), **rule_axis(rules[:3], "low_rule"), "task": list(TASKS), "part": ["real", "imaginary"],
            "outlier_time": grid[0][0].snapshot_times,
        },
        {"radius": p.radius, "tiny": p.tiny},
    )  # fmt: skip


def _change(curve: LearningCurve, W: np.ndarray) -> np.ndarray:
    return np.asarray(np.linalg.norm(np.asarray(curve.final.W) - W, axis=(-2, -1)))


def real_floor(task: LinearTask) -> float:
    """The least loss, over a silent student's, of the answer to the last input and one real pole, by search."""
    D, N, Y = (np.asarray(x) for x in (task.dynamics, task.noise, task.to_target))
    target = np.array([(Y @ np.linalg.matrix_power(D, k) @ N).item() for k in range(400)])
    w = np.linspace(-0.9999, 0.9999, 20001)
    answered = np.polynomial.polynomial.polyval(w, target[1:])
    return float(1 - (target[0] ** 2 + np.max(answered**2 * (1 - w**2))) / np.sum(target**2))
