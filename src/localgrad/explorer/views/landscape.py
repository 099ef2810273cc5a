"""What is drawn over a map: the curves of fixed points with their stability, and the loss in the plane.

Fixed points are curves in `(a, b, w)` (`lg.fixed_points`); the page draws their shadows on the plane, and marks where
they cross it. A point is stable where no eigenvalue of the flow has a positive real part; the eigenvalue along the
curve is 0.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from localgrad.explorer.state import State
from localgrad.explorer.views.mode_space import starts
from localgrad.models.aligned import Mode
from localgrad.models.poles import POLES
from localgrad.modes.equations import mode_loss
from localgrad.modes.fixed_points import FixedPointManifold, fixed_points
from localgrad.modes.stability import spectrum, spectrum_at

POINTS = 160
"""Points of a curve, or of each of its branches."""

GRID = 96
"""Points along each side of the plane at which the loss is given."""

STILL = 1e-9
"""A rate below which an eigenvalue counts as zero, relative to the fastest."""


def landscape(state: State, rest: bool) -> Iterator[tuple[dict, dict]]:
    """The curves, each with its points and their stability, and the loss."""
    curves: list[dict[str, str]] = []
    arrays: dict[str, np.ndarray] = {}
    manifolds: tuple[FixedPointManifold, ...] = ()
    why = ""
    try:
        manifolds = fixed_points(state.rule, state.teacher, poles=state.poles)
    except ValueError as error:  # as where errors come late: the loss is there all the same
        why = str(error)
    for manifold in manifolds:
        for t in _parameters(manifold, state):
            points = Mode(*np.broadcast_arrays(*manifold.at(t)))
            place = len(curves)
            arrays[f"points{place}"] = np.stack(points).astype(np.float32)
            arrays[f"stable{place}"] = _is_stable(manifold, state, t, points).astype(np.uint8)
            curves.append({"name": manifold.name, "formula": manifold.formula})
    with np.errstate(over="ignore"):
        loss = np.asarray(mode_loss(starts(state, GRID)[0], state.teacher), np.float32)
    silent = float(mode_loss(Mode(0.0, 0.0, 0.0), state.teacher))
    yield (
        {"curves": curves, "why": why, "silent_loss": silent},
        arrays | {"loss": np.broadcast_to(loss, (GRID, GRID)).copy()},
    )


def _parameters(manifold: FixedPointManifold, state: State) -> list[np.ndarray]:
    """Where along a curve: both branches by the logarithm of the readout, or all `w` but the edges."""
    if manifold.parameter != "w":
        c = abs(state.teacher_a * state.teacher_b)
        s = np.geomspace(c / (2 * state.extent), 2 * state.extent, POINTS)
        return [s, -s]
    poles = POLES[state.poles]
    edge = 1e-3 * (poles.high - poles.low)
    return [np.linspace(poles.low + edge, poles.high - edge, POINTS)]


def _is_stable(manifold: FixedPointManifold, state: State, t: np.ndarray, points: Mode) -> np.ndarray:
    values: Any
    if manifold.name == "optimal":
        values = spectrum(state.rule, state.teacher, t, poles=state.poles).real
    else:
        values = spectrum_at(state.rule, points, state.teacher, poles=state.poles).real
    return values.max(axis=-1) <= STILL * np.abs(values).max(axis=-1)
