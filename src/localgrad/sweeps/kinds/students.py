"""The student of a run of a network: of which cells, with which first weights, under which rule; and what became of it.

Weights are Gaussian, entries of `A` and `W` with standard deviation `scale / √hidden`, those of `B` with
`scale / √input`. A fixed feedback is Gaussian with `feedback_scale / √hidden`, so that `‖R‖` is about
`feedback_scale · √output`. Each is a function of its key alone. Cells are

    linear     h ← W h + B x
    leaky      h ← (1 − leak) h + leak (W h + B x)
    diagonal   complex poles, half as many as `hidden`: moduli with squares uniform in (0.25, 0.81), angles in (0, π);
               C and B complex, with the same standard deviations, and so is a fixed feedback

Source: Murray 2019 for leaky units; Orvieto et al. 2023 for such poles.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from localgrad.diagnostics.rank import singular_spectrum
from localgrad.models.diagonal import DiagonalSSM
from localgrad.models.leaky import LeakyRNN, linear_form
from localgrad.models.linear import random_network, spectral_radius
from localgrad.rules.rule import Rule
from localgrad.sweeps.draws import normals, uniforms
from localgrad.sweeps.kinds.rules import needs_feedback, rule_of, takes_feedback
from localgrad.sweeps.kinds.tasks import jax_key
from localgrad.tasks.linear_task import LinearTask


def _linear(row: Mapping[str, Any], key: np.uint64, task: LinearTask) -> Any:
    output, _, input = task.sizes
    return random_network(output, int(row["hidden"]), input, key=jax_key(int(key)), scale=float(row["scale"]))


def _leaky(row: Mapping[str, Any], key: np.uint64, task: LinearTask) -> LeakyRNN:
    if row["leak"] is None:
        raise ValueError("leaky cells need a leak; give leak, above 0 and at most 1")
    A, W, B = _linear(row, key, task).matrices
    return LeakyRNN(A, W, B, float(row["leak"]))


def _diagonal(row: Mapping[str, Any], key: np.uint64, task: LinearTask) -> DiagonalSSM:
    output, _, input = task.sizes
    hidden, scale = int(row["hidden"]), float(row["scale"])
    if hidden % 2:
        raise ValueError(f"diagonal cells have pairs of units, but hidden is {hidden}; give an even number")
    count = hidden // 2
    numbers = np.atleast_1d(uniforms(np.asarray(key), 2 * count))
    poles = np.sqrt(0.25 + 0.56 * numbers[:count]) * np.exp(1j * np.pi * numbers[count:])
    weights = _complex(key ^ np.uint64(1), (output + input) * count) * scale
    C = weights[: output * count].reshape(output, count) / np.sqrt(hidden)
    return DiagonalSSM(C, poles, weights[output * count :].reshape(count, input) / np.sqrt(input))


def _complex(key: np.uint64, count: int) -> np.ndarray:
    """Complex normal numbers whose real and imaginary parts have variance 1 each."""
    numbers = normals(np.asarray(key), 2 * count)
    return numbers[:count] + 1j * numbers[count:]


CELLS: dict[str, Callable[[Mapping[str, Any], np.uint64, LinearTask], Any]] = {
    "linear": _linear,
    "leaky": _leaky,
    "diagonal": _diagonal,
}
"""What a student can be made of, by name: from parameters, a key and the task to a model."""


def student_of(row: Mapping[str, Any], keys: Mapping[str, np.uint64], task: LinearTask) -> Any:
    """The student of a run at its start."""
    return CELLS[row["cell"]](row, keys["student"], task)


def network_rule(row: Mapping[str, Any], keys: Mapping[str, np.uint64], student: Any) -> Rule:
    """The rule of a run, with a fixed feedback drawn where it needs one or a scale is given."""
    scale, feedback = row["feedback_scale"], None
    if needs_feedback(row) or (scale is not None and takes_feedback(row)):
        output, units = student.sizes[:2]
        layer = isinstance(student, DiagonalSSM)
        count = output * units
        drawn = _complex(keys["feedback"], count) if layer else np.ravel(normals(np.asarray(keys["feedback"]), count))
        feedback = (1.0 if scale is None else float(scale)) / np.sqrt(row["hidden"]) * drawn.reshape(output, units)
    return rule_of(row, feedback)


def measured(initial: Any, final: Any) -> dict[str, float]:
    """What `NETWORK_VARIABLES` says of weights at both ends; a layer has no `W`, and so no rank."""
    if isinstance(final, DiagonalSSM):
        return {"radius": float(np.abs(final.poles).max())}
    before, after = linear_form(initial).network, linear_form(final).network
    change = singular_spectrum(before, after).W
    return {"rank": float(change.participation_ratio), "radius": spectral_radius(after.W)}
