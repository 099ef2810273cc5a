r"""One learning trajectory of a mode, with where it ends and how far around it goes.

Integrates `dθ/dk = −Δθ` and the path length `∫ ‖Δθ‖ dk` with an implicit method and the exact Jacobian: the flow is
stiff near `|w| = 1`, where its eigenvalues grow like `(1 − w²)⁻³`. For many trajectories at once: `integrate_modes`.
Limits: weights up to about 1e7; beyond, their rounding exceeds the default tolerances, and the steps shrink endlessly.

Source: docs/theory.md, section 8; the paper's figure on detours.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.integrate import solve_ivp

from localgrad.models.aligned import Mode
from localgrad.modes.equations import check_modes, field, loss, mode_jacobian
from localgrad.outcomes import CONVERGED_LOSS, REST_DISTANCE, STALLED_SPEED, Outcome, divergence_gap
from localgrad.rules.rule import Rule

# A trajectory is followed until its loss, in units of the silent loss, has fallen to this.
_END_LOSS = REST_DISTANCE**2


@dataclass(frozen=True)
class Trajectory:
    """A learning trajectory: `time`, `modes`, `loss` and `path_length` along it, each of shape `"points"`.

    `time` is learning time (learning rate × steps). `outcome` says how it ended; `branch`, on which side of the optimal
    manifold (`±1`; 0 if it did not converge).
    """

    rule: Rule
    teacher: Mode
    time: np.ndarray
    modes: Mode
    loss: np.ndarray
    path_length: np.ndarray
    outcome: Outcome
    branch: int

    @property
    def final(self) -> Mode:
        """The last point, as a `Mode` of floats."""
        return Mode(*(float(x[-1]) for x in self.modes))

    @property
    def peak_loss(self) -> float:
        """The highest loss at any point kept, over the initial loss; 1 for a trajectory that starts on the optimum."""
        return float(self.loss.max() / self.loss[0]) if self.loss[0] > 0 else 1.0


def learn_mode(
    rule: Rule, initial: Mode, teacher: Mode, *, duration: float, rtol: float = 1e-8, atol: float = 1e-10
) -> Trajectory:
    """The learning trajectory of one mode from `initial`, until it converges, diverges, or time is up.

    **Arguments:** `rule`, `initial`, `teacher` of scalars as in `mode_update`; `duration`: learning time, positive;
    `rtol`, `atol`: tolerances of the integrator, positive.

    **Returns:** a `Trajectory`, at the integrator's own steps.

    **Raises:** `ValueError` as `mode_update`; for values that are not scalars, `|a* b*|` outside `[1e-150, 1e150]`, an
    initial update that overflows, and for a duration or tolerance that is not positive.

    Source: docs/theory.md, section 8.

    >>> from localgrad import RFLO
    >>> path = learn_mode(RFLO(-1.0, 0.5), Mode(1.0, 1.0, 0.6), Mode(1.0, 1.0, 0.8), duration=100.0)
    >>> path.outcome.name, path.branch, round(path.final.a, 3)  # the paper's detour to the opposite branch
    ('CONVERGED', -1, -0.504)
    """
    _check_problem(rule, initial, teacher)
    for name, value in (("duration", duration), ("rtol", rtol), ("atol", atol)):
        if not (np.isfinite(value) and value > 0):
            raise ValueError(f"{name} must be positive and finite, got {value!r}")
    silent_loss = float(loss(Mode(0.0, 0.0, 0.0), teacher))  # the unit in which losses are judged
    gap = divergence_gap(teacher.w, initial.w)

    def excess_loss(x: np.ndarray) -> float:
        # Beyond |w| = 1, where a step may overshoot to, the formula for the loss holds no longer.
        return loss(Mode(*x[:3]), teacher) / silent_loss - _END_LOSS if abs(x[2]) < 1 else 1.0

    converged, diverged = _event(excess_loss), _event(lambda x: 1 - abs(x[2]) - gap)
    solution = solve_ivp(
        lambda _, x: _flow(rule, teacher, x),
        (0.0, duration),
        np.array([*initial, 0.0], dtype=float),
        method="Radau",
        jac=lambda _, x: _jacobian(rule, teacher, x),
        events=[converged, diverged],
        rtol=rtol,
        atol=atol,
    )
    modes = Mode(*solution.y[:3])
    outcome = _outcome(rule, teacher, solution, silent_loss)
    branch = int(np.sign(modes.a[-1])) if outcome is Outcome.CONVERGED else 0
    return Trajectory(rule, teacher, solution.t, modes, loss(modes, teacher), solution.y[3], outcome, branch)


def _check_problem(rule: Rule, initial: Mode, teacher: Mode) -> None:
    check_modes(rule, initial, teacher)
    if any(np.ndim(x) for x in (*initial, *teacher)):
        raise ValueError("initial and teacher must be single modes of scalars; for many at once use integrate_modes")
    with np.errstate(all="ignore"):
        c = np.float64(teacher.a) * teacher.b
        if not 1e-150 <= abs(c) <= 1e150:
            raise ValueError(f"teacher a* b* = {c:g} must lie between 1e-150 and 1e150 in size; rescale the teacher")
        if not np.isfinite(_flow(rule, teacher, np.array([*initial, 0.0], dtype=float))).all():
            raise ValueError(f"the update at a = {initial.a:g}, b = {initial.b:g} overflows; give smaller weights")


def _event(function: Any) -> Any:
    def event(_: float, x: np.ndarray) -> float:
        return function(x)

    event.terminal = True  # type: ignore[attr-defined]
    event.direction = -1  # type: ignore[attr-defined]
    return event


def _flow(rule: Rule, teacher: Mode, x: np.ndarray) -> np.ndarray:
    """The flow of `(a, b, w, path length)`."""
    velocity = -np.array(field(rule, Mode(*x[:3]), teacher))
    return np.append(velocity, np.linalg.norm(velocity))


def _jacobian(rule: Rule, teacher: Mode, x: np.ndarray) -> np.ndarray:
    velocity = _flow(rule, teacher, x)
    J = np.zeros((4, 4))
    # A Newton iterate of the solver may overshoot |w| = 1; the Jacobian just inside serves it as well.
    inside = Mode(x[0], x[1], float(np.clip(x[2], -1 + 1e-12, 1 - 1e-12)))
    J[:3, :3] = mode_jacobian(rule, inside, teacher)
    if velocity[3] > 0:
        J[3, :3] = velocity[:3] @ J[:3, :3] / velocity[3]
    return J


def _outcome(rule: Rule, teacher: Mode, solution: Any, silent_loss: float) -> Outcome:
    hit_optimum, hit_boundary = (len(times) > 0 for times in solution.t_events)
    # The step size of the solver also breaks down where |w| reaches 1 in finite time.
    if hit_boundary or solution.status == -1:
        return Outcome.DIVERGED
    relative_loss = loss(Mode(*solution.y[:3, -1]), teacher) / silent_loss
    if hit_optimum or relative_loss <= CONVERGED_LOSS:
        return Outcome.CONVERGED
    slow = _flow(rule, teacher, solution.y[:, -1])[3] <= STALLED_SPEED * abs(teacher.a * teacher.b)
    return Outcome.STALLED if slow else Outcome.UNFINISHED
