r"""One learning trajectory of a mode, with where it ends and how far around it goes.

The flow `dθ/dk = −Δθ` is followed in steps by an implicit method (`stepping.py`), and how it ended is decided as for
ensembles (`verdict.py`). For many trajectories at once: `integrate_modes`.

Source: docs/theory.md, section 8; the paper's figure on detours.
"""

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from localgrad.checks import in_our_arithmetic
from localgrad.models.aligned import Mode
from localgrad.models.poles import Poles, find_poles
from localgrad.modes.arguments import (
    as_float,
    as_mode,
    as_scalar,
    as_single_rule,
    check_count,
    check_positive,
    check_times,
)
from localgrad.modes.domain import check_modes
from localgrad.modes.equations import loss
from localgrad.modes.stepping import Course, Problem, follow
from localgrad.outcomes import Outcome
from localgrad.rules.rule import Rule


@dataclass(frozen=True)
class Trajectory:
    """A learning trajectory: `time`, `modes`, `loss` and `path_length` along it, each of shape `"points"`.

    `time` is learning time (learning rate × steps). `outcome` says how it ended; `branch`, on which side of the optimal
    manifold (`±1`; 0 if it did not converge). It knows its problem: `rule`, `initial`, `teacher` and the `settings`
    (duration, tolerances, how many steps were allowed, and the poles).
    """

    rule: Rule
    initial: Mode
    teacher: Mode
    settings: dict[str, Any]
    time: np.ndarray
    modes: Mode
    loss: np.ndarray
    path_length: np.ndarray
    outcome: Outcome
    branch: int
    _course: Course = field(repr=False, compare=False)

    def __repr__(self) -> str:
        branch = f" on the branch s {'>' if self.branch > 0 else '<'} 0" if self.branch else ""
        return (
            f"Trajectory of {self.rule.describe()}\n"
            f"  from {_in_short(self.initial)}, teacher {_in_short(self.teacher)}\n"
            f"  {self.outcome}{branch} at learning time {self.time[-1]:.4g} of {self.settings['duration']:.4g}, "
            f"{len(self.time)} points\n"
            f"  at {_in_short(self.final)}, path length {self.path_length[-1]:.4g}, loss {self.loss[-1]:.3g}"
        )

    @property
    def final(self) -> Mode:
        """The last point, as a `Mode` of floats."""
        return Mode(*(float(x[-1]) for x in self.modes))

    @property
    def peak_loss(self) -> float:
        """The highest loss at any point kept, over the initial loss; 1 for a trajectory that starts on the optimum."""
        return float(self.loss.max() / self.loss[0]) if self.loss[0] > 0 else 1.0

    def at(self, times: Any) -> "Trajectory":
        """The same trajectory at other times, interpolated with order 3; after its end, its last point.

        **Arguments:** `times`: learning times from 0 to the duration, ascending, shape `"points"`.

        **Raises:** `ValueError` for times outside this range or out of order.
        """
        times = np.atleast_1d(np.asarray(as_float(times, "times"), dtype=float))
        check_times(times, self.settings["duration"], "times")
        return _on_course(self, times, *self._course.at(times))

    def plot(self) -> Any:
        """A Matplotlib figure: `a, b, w` and the loss over learning time."""
        from localgrad.figures.curves import plot_trajectory

        return plot_trajectory(self)


def _on_course(trajectory: Trajectory, times: np.ndarray, points: np.ndarray, lengths: np.ndarray) -> Trajectory:
    modes = Mode(*points)
    return replace(trajectory, time=times, modes=modes, loss=loss(modes, trajectory.teacher), path_length=lengths)


def _in_short(mode: Mode) -> str:
    return "(" + ", ".join(f"{float(x):.4g}" for x in mode) + ")"


@in_our_arithmetic
def learn_mode(
    rule: Rule,
    initial: Mode,
    teacher: Mode,
    *,
    duration: float,
    rtol: float = 1e-8,
    atol: float = 1e-10,
    max_steps: int = 10_000,
    poles: str | Poles = "direct",
) -> Trajectory:
    """The learning trajectory of one mode from `initial`, until it converges, rests, diverges, or time is up.

    **Arguments:** `rule`, `initial`, `teacher` of scalars as in `mode_update`; `duration`: learning time, positive;
    `rtol`, `atol`: tolerances of the integrator, positive; `max_steps`: steps after which it is given up as unfinished;
    `poles` as in `mode_update`. Where they are not direct, the tolerances are those of `(a, b, ν)`, and `DIVERGED` does
    not occur while `|m| ≤ 1`: `|w| → 1` then takes for ever, and a trajectory on its way there is `UNFINISHED`.

    **Returns:** a `Trajectory`, at the integrator's own steps. It is followed beyond convergence, until its loss is
    1e-12 of that of a silent student.

    **Raises:** `ValueError` as `mode_update`; for values that are not scalars, `|a* b*|` outside `[1e-150, 1e150]`, an
    initial update that overflows, and for a duration or tolerance that is not positive.

    Source: docs/theory.md, section 8.

    >>> from localgrad import RFLO
    >>> path = learn_mode(RFLO(-1.0, 0.5), Mode(1.0, 1.0, 0.6), Mode(1.0, 1.0, 0.8), duration=100.0)
    >>> path.outcome.name, path.branch, round(path.final.a, 3)  # the paper's detour to the opposite branch
    ('CONVERGED', -1, -0.504)
    """
    problem = _checked(rule, initial, teacher, find_poles(poles))
    check_positive(duration=duration, rtol=rtol, atol=atol)
    settings: dict[str, Any] = {"duration": float(duration), "rtol": float(rtol), "atol": float(atol)}
    settings["max_steps"] = check_count(max_steps, "max_steps")
    course, outcome = follow(problem, **settings)
    settings["poles"] = problem.poles.key
    branch = int(np.sign(course.points[0, -1])) if outcome is Outcome.CONVERGED else 0
    nothing = np.empty(0)
    empty = Trajectory(
        rule,
        problem.initial,
        problem.teacher,
        settings,
        nothing,
        Mode(*3 * [nothing]),
        nothing,
        nothing,
        outcome,
        branch,
        course,
    )
    return _on_course(empty, course.time, course.points, course.lengths)


def _checked(rule: Rule, initial: Mode, teacher: Mode, poles: Poles) -> Problem:
    initial, teacher = as_mode(initial, "student"), as_mode(teacher, "teacher")
    if any(np.ndim(x) for x in (*initial, *teacher)):
        raise ValueError("initial and teacher must be single modes of scalars; for many at once use integrate_modes")
    rule, initial, teacher = check_modes(as_single_rule(rule), initial, teacher, poles)
    initial, teacher = (Mode(*(as_scalar(x, "the mode's number") for x in mode)) for mode in (initial, teacher))
    problem = Problem(rule, initial, teacher, poles)
    with np.errstate(all="ignore"):
        c = np.float64(teacher.a) * teacher.b
        if not 1e-150 <= abs(c) <= 1e150:
            raise ValueError(f"teacher a* b* = {c:g} must lie between 1e-150 and 1e150 in size; rescale the teacher")
        if not np.isfinite(problem.flow(np.array(initial))).all():
            raise ValueError(f"the update at a = {initial.a:g}, b = {initial.b:g} overflows; give smaller weights")
    return problem
