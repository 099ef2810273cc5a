r"""The steps of one trajectory: an implicit method with the exact Jacobian, until the trajectory ends.

Integrates `dθ/dk = −Δθ` by Radau IIA of order 5, since the flow is stiff near `|w| = 1`, where its eigenvalues grow
like `(1 − w²)⁻³`, and where weights are large. A step is at most half the growth time of what grows: an implicit method
would else damp a growing mode that is still below the absolute tolerance, and rest at a saddle for ever. The path
length is that of the curve through the points: its derivative `‖Δθ‖` is all rounding error where weights are large.

The steps are of what is trained, `(a, b, ν)` with the pole `w = g(ν)` (`models/poles.py`): near `|w| = 1` a tolerance
on `ν` is one on how far `w` is from there. Everything else is told in `(a, b, w)`.

Source: Hairer & Wanner, *Solving Ordinary Differential Equations II* (1996), section IV.8, as SciPy has it.
"""

from dataclasses import dataclass
from functools import cached_property, partial
from itertools import pairwise
from typing import Any

import numpy as np
from scipy.integrate import Radau
from scipy.optimize import brentq

from localgrad.models.aligned import Mode
from localgrad.models.poles import DIRECT, Poles
from localgrad.modes.equations import LinearRule, complex_step, field, linearised, loss
from localgrad.modes.verdict import outcome_at
from localgrad.outcomes import REST_DISTANCE, ROUNDING_GAP, ROUNDING_LOSS, Outcome, divergence_gap
from localgrad.rules.rule import Rule

# A trajectory is followed until its loss, in units of the silent loss, has fallen to this.
_END_LOSS = REST_DISTANCE**2
_GROWTH_A_STEP = 0.5
_ROUNDING = 1e-13  # of the squared trace: what the minors may be below zero by rounding alone
_INSIDE = 1 - 1e-12
_EDGE = 1e-6  # how close to the edge steps may break down
_CHORDS = 8  # of a step, when its length is measured


@dataclass(frozen=True)
class Problem:
    """A mode's learning: all that the field, its Jacobian and the verdict need. Points are arrays `a, b, w`."""

    rule: Rule
    initial: Mode
    teacher: Mode
    poles: Poles = DIRECT

    @cached_property
    def silent_loss(self) -> float:
        """The loss of a student whose output is 0."""
        return float(loss(Mode(0.0, 0.0, 0.0), self.teacher))

    @cached_property
    def _plain(self) -> Rule | LinearRule:
        return self.rule if self.rule.affine is None else linearised(self.rule, self.initial)

    def flow(self, x: np.ndarray) -> np.ndarray:
        """`dθ/dk`."""
        return -np.array(field(self._plain, Mode(*x), self.teacher, self.poles), dtype=float)

    def jacobian(self, x: np.ndarray) -> np.ndarray:
        """Of the flow; just inside `|w| = 1` for a Newton iterate that overshoots it."""
        inside = Mode(x[0], x[1], np.clip(x[2], -_INSIDE, _INSIDE))
        tangent = linearised(self._plain, inside)
        columns = [complex_step(tangent, inside, self.teacher, axis, self.poles) for axis in range(3)]
        return np.nan_to_num(-np.array(columns, dtype=float).T)

    def trained(self, x: np.ndarray) -> np.ndarray:
        """`(a, b, ν)` of points `(a, b, w)`."""
        return np.array([x[0], x[1], self.poles.coordinate(x[2])])

    def point(self, y: np.ndarray) -> np.ndarray:
        """`(a, b, w)` of points `(a, b, ν)`."""
        return np.array([y[0], y[1], self.poles.pole(y[2])])

    def trained_flow(self, y: np.ndarray) -> np.ndarray:
        """`dθ/dk` of `(a, b, ν)`: `ν̇ = ẇ/g′`."""
        x = self.point(y)
        return self.flow(x) / [1, 1, self.poles.slope(x[2])]

    def trained_jacobian(self, y: np.ndarray) -> np.ndarray:
        """Of `trained_flow`: that of the flow by `diag(1, 1, g′)`, and `−ẇ dg′/dw / g′` as `g′` itself changes."""
        x = self.point(y)
        slope = self.poles.slope(x[2])
        bend = np.imag(self.poles.slope(x[2] + 1e-30j)) / 1e-30
        J = self.jacobian(x) * np.array([1, 1, slope]) / np.array([[1], [1], [slope]])
        J[2, 2] -= self.flow(x)[2] * bend / slope
        return np.nan_to_num(J)

    def relative_loss(self, x: np.ndarray) -> float:
        """The loss in units of the silent loss; infinite outside the domain, where its formula holds no longer."""
        return float(loss(Mode(*x), self.teacher) / self.silent_loss) if abs(x[2]) < 1 else np.inf

    def reach(self, w: float) -> float:
        """How near the mode equations' edge: at 1 one of the sums over lags exists no longer.

        Poles that stay inside meet `|w| = 1` in no finite time, nor `|m w| = 1` while `|m| ≤ 1`.
        """
        own = 0.0 if self.poles.stays_inside else abs(w)
        m = 0.0 if self.rule.lags is not None else abs(float(self._plain.propagator.on_mode(w)))
        return own if self.poles.stays_inside and m <= 1 else max(own, m * max(abs(w), abs(self.teacher.w)))

    def verdict(self, x: np.ndarray) -> Outcome:
        """How a trajectory that stops here has ended, if it has not diverged."""
        feedback = linearised(self._plain, Mode(*x)).feedback
        task = (self.teacher.a * self.teacher.b, self.teacher.w)
        trace, minors, _ = _invariants(self.jacobian(x))
        speed = float(np.abs(self.flow(x)).sum())
        slope = (feedback.on_mode(x[0]), feedback.k1)
        return Outcome(outcome_at(tuple(x), task, slope, self.relative_loss(x), speed, (trace, minors)))


@dataclass(frozen=True)
class Course:
    """The points of a trajectory, shape `"3 points"`, the length of the way to each, and how to read between them."""

    time: np.ndarray
    points: np.ndarray
    lengths: np.ndarray
    pieces: tuple[Any, ...]

    def at(self, times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The points and lengths at any times; after the end, the last ones."""
        times = np.minimum(times, self.time[-1])
        last = np.clip(np.searchsorted(self.time, times, side="left") - 1, 0, max(len(self.pieces) - 1, 0))
        points = [self.pieces[k](t) if self.pieces else self.points[:, 0] for k, t in zip(last, times, strict=True)]
        lengths = [
            self.lengths[k] + (_arc(self.pieces[k], self.time[k], t) if self.pieces else 0.0)
            for k, t in zip(last, times, strict=True)
        ]
        return np.stack(points, axis=1), np.array(lengths)


@np.errstate(all="ignore")
def follow(problem: Problem, duration: float, rtol: float, atol: float, max_steps: int) -> tuple[Course, Outcome]:
    """The trajectory until it ends, and how it ended."""
    gap = divergence_gap(problem.teacher.w, problem.reach(problem.initial.w))

    def solver_from(time: float, x: np.ndarray, first_step: float | None = None) -> Any:
        jacobian, start = (lambda _, y: problem.trained_jacobian(y)), problem.trained(x)
        settings = {"rtol": rtol, "atol": atol, "jac": jacobian, "first_step": first_step}
        return Radau(lambda _, y: problem.trained_flow(y), time, start, duration, **settings)

    times, points, pieces = [0.0], [np.array(problem.initial, dtype=float)], []
    solver, outcome, steps = solver_from(0.0, points[0]), None, 0
    while outcome is None and steps < max_steps and solver.status == "running" and not _has_ended(problem, points[-1]):
        steps += 1
        solver.max_step = _longest_step(problem, points[-1], duration)
        if not _step(solver):
            # Steps break down where |w| reaches 1 in finite time, and where rounding exceeds the tolerances.
            at_edge = 1 - problem.reach(points[-1][2]) < gap + _EDGE and _moves_outwards(problem, points[-1])
            outcome = Outcome.DIVERGED if at_edge else problem.verdict(points[-1])
            break
        piece, stop = partial(_in_weights, problem, solver.dense_output()), solver.t
        if problem.reach(piece(stop)[2]) >= 1 - gap:
            if not _moves_outwards(problem, points[-1]):
                # The stages, extrapolated from the step before, have found a root outside the domain: without them.
                solver = solver_from(times[-1], points[-1], (stop - times[-1]) / 10)
                continue
            stop = brentq(lambda t, piece=piece: 1 - gap - problem.reach(piece(t)[2]), times[-1], stop)
            outcome = Outcome.DIVERGED
        pieces.append(piece)
        times.append(stop)
        points.append(piece(stop))
    arcs = [_arc(piece, *ends) for piece, ends in zip(pieces, pairwise(times), strict=True)]
    course = Course(np.array(times), np.stack(points, axis=1), np.cumsum([0.0, *arcs]), tuple(pieces))
    return course, problem.verdict(points[-1]) if outcome is None else outcome


def _in_weights(problem: Problem, piece: Any, t: Any) -> np.ndarray:
    """A step's interpolant, in `(a, b, w)`; at the top of the module, so that trajectories pickle."""
    return problem.point(piece(t))


def _arc(piece: Any, start: float, stop: float) -> float:
    """The length of the way within one step: by chords, whose error falls with the square of their number."""
    points = piece(np.linspace(start, stop, _CHORDS + 1))
    fine, coarse = (np.linalg.norm(np.diff(points[:, ::k]), axis=0).sum() for k in (1, 2))
    return float(fine + (fine - coarse) / 3)


def _has_ended(problem: Problem, x: np.ndarray) -> bool:
    """Whether nothing more will happen, or can be followed: at a stable optimum, at rest, or too near `|w| = 1`."""
    loss_now = problem.relative_loss(x)
    if problem.poles.stays_inside and 1 - abs(x[2]) < ROUNDING_GAP:
        return True
    if loss_now <= ROUNDING_LOSS or not np.any(problem.flow(x)):
        return True
    return loss_now <= _END_LOSS and problem.verdict(x) is Outcome.CONVERGED


def _longest_step(problem: Problem, x: np.ndarray, duration: float) -> float:
    trace, minors, unit = _invariants(problem.jacobian(x))
    saddle = max(-minors - _ROUNDING * trace * trace, 0.0)
    root = np.sqrt(trace * trace / 4 + saddle)  # the larger eigenvalue is trace/2 + root, the product of both −saddle
    growth = unit * (trace / 2 + root if trace > 0 else saddle / max(root - trace / 2, 1e-300))
    return min(duration, _GROWTH_A_STEP / growth) if growth > 0 else duration


def _invariants(J: np.ndarray) -> tuple[float, float, float]:
    """Trace and sum of the principal minors in a unit of rate that keeps products from overflowing, and the unit."""
    unit = float(np.abs(J).max()) or 1.0
    (aa, ab, aw), (ba, bb, bw), (wa, wb, ww) = (J / unit).tolist()
    return aa + bb + ww, aa * bb - ab * ba + aa * ww - aw * wa + bb * ww - bw * wb, unit


def _step(solver: Any) -> bool:
    """Advance; whether the solver could."""
    try:
        solver.step()
    except (ValueError, np.linalg.LinAlgError):  # entries that are not finite, in the solver's own matrices
        return False
    return solver.status != "failed" and bool(np.all(np.isfinite(solver.y)))


def _moves_outwards(problem: Problem, x: np.ndarray) -> bool:
    return bool(problem.flow(x)[2] * x[2] > 0)
