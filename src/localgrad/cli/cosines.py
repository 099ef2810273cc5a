"""What `localgrad analyze` says of a task without modes: how far each rule's exact update points along the gradient.

Cosines are taken at random students, whose feedback is drawn anew for each. The gradient is BPTT's update, in a closed
loop that of BPTT through the plant.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from localgrad.cli.base import check_finite
from localgrad.models.linear import LinearRNN, random_network, spectral_radius
from localgrad.rules.presets import BPTT
from localgrad.rules.rule import Rule
from localgrad.tasks.linear_task import LinearTask
from localgrad.updates.expected import expected_update
from localgrad.updates.system import error_system

NUM_STUDENTS = 5
"""Random students over which the cosines are taken."""

# Halvings of a student's readout in search of a stable loop: down to a ten-thousandth.
_HALVINGS = 14


def analyze_task(rules: Sequence[Rule], task: LinearTask, figure: Path | None) -> dict[str, Any]:
    """A task that is no teacher of white noise, which has no modes: its sizes, and each rule's cosines.

    **Raises:** `ValueError` where the task is unstable without a student, or with every random one.
    """
    document = {
        "sizes": dict(zip(("output", "state", "input"), task.sizes, strict=True)),
        "closed_loop": task.is_closed_loop,
        "spectral_radius": spectral_radius(task.dynamics),
        "aligned": False,
        "reason": "modes are those of a teacher that hears white noise, and this task is more",
    }
    return document | direction_table(rules, task, figure)


def direction_table(rules: Sequence[Rule], task: LinearTask, figure: Path | None) -> dict[str, Any]:
    """The cosine of each rule's exact update with the gradient, over random students, and a figure."""
    data = _directions(rules, task)
    rows = [
        {"rule": name, "mean": float(x.mean()), "min": float(x.min()), "max": float(x.max())}
        for name, x in zip(data.rule_name.values.tolist(), data.cosine.values, strict=True)
    ]
    check_finite(rows, "this task")
    if figure is not None:
        from localgrad.figures.directions import draw_directions
        from localgrad.figures.plotting import save_figure, style

        with style():
            drawn = draw_directions(data)
        save_figure(drawn, figure)
    described = [_with_drawn_feedback(rule, task, 0).describe() for rule in rules]
    written = None if figure is None else str(figure)
    return {"rules": described, "num_students": NUM_STUDENTS, "cosines": rows, "figure": written}


def _directions(rules: Sequence[Rule], task: LinearTask) -> Any:
    """A dataset of the cosines of each rule's exact update with BPTT's, and of the eigenvalues of `W`."""
    import xarray as xr

    from localgrad.reproduction.axes import rule_axis

    cosines = np.array([_cosines(rules, task, seed) for seed in range(NUM_STUDENTS)]).T
    values = np.linalg.eigvals(np.asarray(task.dynamics, np.float64))
    about = {
        "cosine": "cosine of the rule's exact expected update of W and B with BPTT's",
        "real_part": "real part of an eigenvalue of the teacher's W, or of the task's D",
        "imaginary_part": "imaginary part of an eigenvalue of the teacher's W, or of the task's D",
    }
    arrays = {"cosine": (("rule", "student"), cosines), "real_part": ("eigenvalue", values.real),
              "imaginary_part": ("eigenvalue", values.imag)}  # fmt: skip
    described = {name: (*array, {"long_name": about[name], "units": "1"}) for name, array in arrays.items()}
    return xr.Dataset(described, rule_axis(rules))


def _cosines(rules: Sequence[Rule], task: LinearTask, seed: int) -> list[float]:
    """Cosine of each rule's exact update with the gradient, for a random student with as many units as the task."""
    student = _student(task, seed)
    reference = _flat(expected_update(BPTT(through_plant=task.is_closed_loop), student, task))
    updates = [_flat(expected_update(_with_drawn_feedback(rule, task, seed), student, task)) for rule in rules]
    with np.errstate(all="ignore"):  # what is not finite is refused before it is shown
        return [float(x @ reference / (np.linalg.norm(x) * np.linalg.norm(reference))) for x in updates]


def _student(task: LinearTask, seed: int) -> LinearRNN:
    """A random student; in a closed loop with as much output as keeps the loop stable, or refused if none does."""
    student = random_network(*task.sizes, key=_keys(seed)[0], spectral_radius=0.8)
    # Non-normal matrices have diagonals above their spectral radius, where e-prop's traces would not decay.
    W = student.W / max(1.0, float(abs(student.W.diagonal()).max()) / 0.8)
    for halvings in range(_HALVINGS):
        quieter = LinearRNN(student.A / 2**halvings, W, student.B)
        if not task.is_closed_loop or spectral_radius(error_system(quieter, task).W[0]) < 0.99:
            return quieter
    raise ValueError(
        f"the plant's dynamics have spectral radius {spectral_radius(task.dynamics):.6g}, and no small output keeps "
        "it stable, as the cosines with the gradient need it; give the plant damping"
    )


def _with_drawn_feedback(rule: Rule, task: LinearTask, seed: int) -> Rule:
    """A rule with a random feedback of the readout's size for its scalar `â`, which has no meaning without modes."""
    if rule.feedback.fixed is None:
        return rule
    output, hidden, _ = task.sizes
    return rule.with_feedback(jax.random.normal(_keys(seed)[1], (output, hidden)) / np.sqrt(hidden))


def _keys(seed: int) -> Any:
    """The keys of a student and of its feedback."""
    return jax.random.split(jax.random.key(seed))


def _flat(update: LinearRNN) -> np.ndarray:
    """The recurrent and input weights' part of an update; the readout's is the same for every rule."""
    return np.concatenate([np.ravel(update.W), np.ravel(update.B)])
