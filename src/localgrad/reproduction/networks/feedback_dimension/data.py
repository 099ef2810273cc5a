"""RFLO's runs on every arrangement of outputs, from the same students."""

from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
import xarray as xr
from jaxtyping import Array

from localgrad.diagnostics.rank import singular_spectrum
from localgrad.learning.flow import learn
from localgrad.learning.methods import Flow
from localgrad.models.linear import LinearRNN
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
    """Sizes, scales and learning time, as in the experiment on rank; losses are relative to a silent student's.

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
    losses = np.asarray(_losses(LinearRNN(networks.A * first, networks.W, networks.B), task)) / silent
    return np.where(np.isfinite(losses), losses, np.inf)  # a run that has diverged may have none


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


DESCRIBE = {
    "arrangement": "arrangement of the outputs",
    "setting": "scales of the initial weights and of the feedback",
    "time": "learning time [learning time]",
    "threshold": "loss over that of a silent student that counts as reached",
    "outcome": "how a run ended, a code of Outcome",
    "cut": "whether a run used up its steps before its time",
    "loss": "loss of the task's output over that of a silent student; infinite for a network that has none",
    "agreement": "least real part of an eigenvalue of A Rᵀ at the start, over the largest modulus",
    "rank": "rank of what was learned in W",
    "participation": "participation ratio of what was learned in W",
    "singular_values": "singular values of what was learned in W over the largest",
    "outputs": "number of outputs in use",
    "distinct": "number of outputs that can have different errors",
}
