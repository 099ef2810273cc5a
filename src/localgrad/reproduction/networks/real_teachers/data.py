"""Teachers made of measured networks, and exact learning curves of every rule on them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
import xarray as xr

from localgrad.diagnostics.comparison import compare_updates
from localgrad.learning.flow import LearningCurve, learn
from localgrad.learning.methods import Flow
from localgrad.models.linear import LinearRNN, random_network
from localgrad.reproduction.axes import rule_axis
from localgrad.rules.presets import EProp, paper_rules
from localgrad.rules.rule import Rule
from localgrad.tasks.teachers import connectome
from localgrad.updates.expected import expected_update


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
    rules = rules_of(R, p.decay)
    teachers = [teacher_of(regions, hidden, p) for regions in p.regions]
    curves = [[_learn(rule, student, teacher, p) for rule in rules] for teacher in teachers]
    # All rules compared on the path that BPTT takes.
    paths = [compare_updates(rules, row[0].snapshots, teacher) for row, teacher in zip(curves, teachers, strict=True)]
    return xr.Dataset(
        {
            "mismatch": ("rule", _differences(rules, student, teachers[0], p)),
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


def rules_of(R: Any, decay: float) -> list[Rule]:
    """The rules, in the order of the dataset."""
    return [*paper_rules(R, decay), EProp(R), EProp()]


def _learn(rule: Rule, student: LinearRNN, teacher: LinearRNN, p: Parameters) -> LearningCurve:
    return learn(rule, student, teacher, duration=p.duration, tolerance=p.tolerance, method=Flow(rtol=1e-3, atol=1e-5))


def _differences(rules: list[Rule], student: LinearRNN, teacher: LinearRNN, p: Parameters) -> list[float]:
    """How far updates are from those of a teacher that has the leading eigenvalues of the symmetric one and no others.

    Its remaining units are silent, so that one compiled program serves both.
    """
    A, W, B = (np.asarray(x) for x in teacher.matrices)
    size, rest = p.outputs, W.shape[0] - p.outputs
    small = LinearRNN(
        np.eye(size, W.shape[0]), np.pad(np.diag(np.diag(A @ W @ A.T)), (0, rest)), np.pad(A @ B, ((0, rest), (0, 0)))
    )

    def difference(rule: Rule) -> float:
        one, other = (np.concatenate([np.ravel(x) for x in expected_update(rule, student, t).matrices])
                      for t in (teacher, small))  # fmt: skip
        return float(np.linalg.norm(one - other) / np.linalg.norm(one))

    return [difference(rule) for rule in rules]


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


DESCRIBE = {
    "regions": "regions of the teacher network",
    "rule": "rule",
    "rule_name": "name of the rule",
    "mismatch": "distance of the first update from that of a teacher of few units, over it; symmetric network",
    "time": "learning time at a step; the last one repeated beyond the end [learning time]",
    "loss": "loss over the initial loss",
    "outcome": "how learning ended, a code of Outcome",
    "rank": "rank of the change of W at 1e-6 of its largest singular value",
    "participation": "participation ratio of the change of W",
    "singular_values": "singular value of the change of W over the largest",
    "cosine": "cosine of the rule's update of W with BPTT's, on BPTT's path",
    "alignment": "mean |cosine| of the modes' input and output directions, symmetric teacher",
    "snapshot_time": "learning time of a snapshot [learning time]",
}
