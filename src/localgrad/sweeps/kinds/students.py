"""The student of a run of a network: of which cells, with which first weights, under which rule; and what became of it.

Weights are Gaussian, entries of `A` and `W` with standard deviation `scale / √hidden`, those of `B` with
`scale / √input`. A fixed feedback is Gaussian with `feedback_scale / √hidden`, so that `‖R‖` is about
`feedback_scale · √output`. Each is a function of its key alone. Cells are

    linear     h ← W h + B x
    leaky      h ← (1 − leak) h + leak (W h + B x)
    diagonal   complex poles, half as many as `hidden`: moduli with squares uniform in (0.25, 0.81), angles in (0, π);
               C and B complex, with the same standard deviations, and so is a fixed feedback

and in networks of `lg.cells`, which sampled training moves (A, W and B of `tanh` and `lif` are those of `linear`),

    tanh       h ← (1 − leak) h + leak tanh(W h + B x)
    gru        gated units, every drive with weights of its own
    lif        spiking units whose potential keeps 1 − leak of itself a step
    lru        poles, C and B of `diagonal`, the poles trained by their logarithms, with a gain √(1 − |pole|²)

Source: Murray 2019 for leaky units; Orvieto et al. 2023 for such poles; docs/theory.md, section 12 for cells.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from localgrad.cells.gated import GRU
from localgrad.cells.rates import LeakyRate
from localgrad.cells.spiking import LIF
from localgrad.cells.stack import Network, Readout
from localgrad.cells.state_space import LRU
from localgrad.diagnostics.rank import singular_spectrum
from localgrad.models.diagonal import DiagonalSSM
from localgrad.models.leaky import LeakyRNN, linear_form
from localgrad.models.linear import random_network, spectral_radius
from localgrad.rules.rule import Rule
from localgrad.sweeps.draws import mix, normals, uniforms
from localgrad.sweeps.kinds.rules import needs_feedback, rule_of, takes_feedback
from localgrad.sweeps.kinds.tasks import jax_key
from localgrad.tasks.linear_sequences import check_sequences
from localgrad.tasks.linear_task import LinearTask


def _linear(row: Mapping[str, Any], key: np.uint64, task: LinearTask) -> Any:
    output, _, input = task.sizes
    return random_network(output, int(row["hidden"]), input, key=jax_key(int(key)), scale=float(row["scale"]))


def _leak(row: Mapping[str, Any]) -> float:
    if row["leak"] is None:
        raise ValueError(f"{row['cell']} cells need a leak; give leak, above 0 and at most 1")
    return float(row["leak"])


def _leaky(row: Mapping[str, Any], key: np.uint64, task: LinearTask) -> LeakyRNN:
    A, W, B = _linear(row, key, task).matrices
    return LeakyRNN(A, W, B, _leak(row))


def _diagonal(row: Mapping[str, Any], key: np.uint64, task: LinearTask) -> DiagonalSSM:
    output, _, input = task.sizes
    hidden, scale = int(row["hidden"]), float(row["scale"])
    if hidden % 2:
        raise ValueError(f"{row['cell']} cells have pairs of units, but hidden is {hidden}; give an even number")
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


def _tanh(row: Mapping[str, Any], key: np.uint64, task: LinearTask) -> Network:
    A, W, B = _linear(row, key, task).matrices
    return _network(LeakyRate(W, B, None, leak=_leak(row)), A, task)


def _lif(row: Mapping[str, Any], key: np.uint64, task: LinearTask) -> Network:
    A, W, B = _linear(row, key, task).matrices
    if (decay := 1 - _leak(row)) == 0:
        raise ValueError("spiking cells keep 1 − leak of their potential, but leak is 1; give less")
    return _network(LIF(W, B, None, decay=decay), A, task)


def _gru(row: Mapping[str, Any], key: np.uint64, task: LinearTask) -> Network:
    drives = [_linear(row, np.uint64(x), task).matrices for x in mix(key ^ np.arange(1, 4, dtype=np.uint64))]
    W, B = (np.stack([np.asarray(x[i]) for x in drives]) for i in (1, 2))
    return _network(GRU(W, B, None), _linear(row, key, task).A, task)


def _lru(row: Mapping[str, Any], key: np.uint64, task: LinearTask) -> Network:
    C, poles, B = map(np.asarray, _diagonal(row, key, task).arrays)
    size = np.abs(poles)
    logs = {"nu": np.log(-np.log(size)), "phase": np.angle(poles), "log_gain": np.log1p(-(size**2)) / 2}
    return _network(LRU(None, np.stack([B.real, B.imag]), None, **logs), np.hstack([C.real, -C.imag]), task)


def _network(cell: Any, A: Any, task: LinearTask) -> Network:
    check_sequences(task)
    return Network(cell, Readout(A))


Maker = Callable[[Mapping[str, Any], np.uint64, LinearTask], Any]
"""From parameters, a key and the task to a model."""

LINEAR: dict[str, Maker] = {"linear": _linear, "leaky": _leaky, "diagonal": _diagonal}
"""What a student with an exact expected update can be made of, by name."""

CELLS: dict[str, Maker] = LINEAR | {"tanh": _tanh, "gru": _gru, "lif": _lif, "lru": _lru}
"""What a student of sampled training can be made of, by name."""


LEAKING = ("leaky", "tanh", "lif")
"""Those that have a leak."""


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
    """What `NETWORK_VARIABLES` says of weights at both ends; NaN for what a student has not."""
    if isinstance(final, DiagonalSSM):
        return {"radius": float(np.abs(final.poles).max())}
    if isinstance(final, Network):
        return _measured_cells(initial.layers[0], final.layers[0])
    before, after = linear_form(initial).network, linear_form(final).network
    change = singular_spectrum(before, after).W
    return {"rank": float(change.participation_ratio), "radius": spectral_radius(after.W)}


def _measured_cells(initial: Any, final: Any) -> dict[str, float]:
    if final.W is None:
        return {"radius": float(np.exp(-np.exp(np.asarray(final.nu))).max())}
    before, after = (np.asarray(cell.W) for cell in (initial, final))
    hidden = after.shape[-1]
    change = np.linalg.svd((after - before).reshape(-1, hidden), compute_uv=False)  # of all drives together
    shares = (change / change.max()) ** 2 if change.any() else change
    found = {"rank": float(shares.sum() ** 2 / (shares**2).sum()) if change.any() else 0.0}
    return found | ({"radius": spectral_radius(after)} if after.ndim == 2 else {})
