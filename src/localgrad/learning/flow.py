r"""Exact learning curves of full networks: the flow `dθ/dk = −Δθ` of any rule, without sampling.

`k` is learning time (learning rate × steps). The right-hand side is the exact expected update, so what is seen is the
rule itself, not the noise of its samples. With a learning rate the same flow is taken in steps of that size,
`θ ← θ − η Δθ`, as a program would.

Flows of networks are stiff but only mildly so; the default method is made for that (`solvers/stabilized.py`). Limits:
dense networks; an infinite horizon ends where the reach of the sums (`updates/existence.py`), such as `ρ(W)`, becomes
1; that is a result (`DIVERGED`), not an error. The compiled program is in `integration.py`.

Source: docs/theory.md, sections 3, 8 and 9.
"""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from localgrad.checks import check_kind, check_positive, in_our_arithmetic, in_words, is_real
from localgrad.learning.curve import LearningCurve
from localgrad.learning.integration import Scales, Settings, integrate_all, of_seed
from localgrad.learning.methods import Flow, Steps, as_method
from localgrad.models.arrays import as_batch, in_precision, leading_axes, precision_of, readout_of
from localgrad.models.coordinates import coordinates_of
from localgrad.models.diagonal import DiagonalSSM
from localgrad.models.kinds import check_model
from localgrad.models.leaky import LeakyRNN
from localgrad.models.linear import LinearRNN
from localgrad.outcomes import CONVERGED_LOSS, Outcome
from localgrad.rules.numbers import as_numbers
from localgrad.rules.rule import Rule
from localgrad.tasks.linear_task import LinearTask
from localgrad.updates.engines import engine_of, given_task, radius_of, silent_loss_of
from localgrad.updates.horizon import Horizon, Loss

_SNAPSHOTS_PER_DECADE, _DECADES = 8, 4
_FLOW = Flow()
_MOST_STEPS = 10**7


@in_our_arithmetic
def learn(
    rule: Rule,
    student: LinearRNN | LeakyRNN | DiagonalSSM,
    task: LinearRNN | DiagonalSSM | LinearTask,
    *,
    duration: float,
    horizon: int | None = None,
    loss: Loss = "final",
    method: Flow | Steps = _FLOW,
    tolerance: float = CONVERGED_LOSS,
    save_at: Any = None,
    poles: str = "direct",
) -> LearningCurve:
    r"""The exact learning curve of a network from `student`, until it converges, diverges, rests or time is up.

    **Arguments:**

    - `rule`, `student`, `task`, `horizon`, `loss`: as in `expected_update`. A student with one leading axis
        `"seeds"` is a batch; the rule's feedback may then have that axis too. A leak does not learn.
    - `poles`: what a `DiagonalSSM` trains its poles by: `"direct"`, `"tanh"`, `"lru"` or `"s4d"`
        (docs/state_space.md).
    - `duration`: learning time (learning rate × steps), positive.
    - `method`: `Flow(...)` for the flow with a solver and its tolerances, or `Steps(learning_rate)` for discrete steps
        `θ ← θ − η Δθ`.
    - `save_at`: learning times of snapshots, increasing, in `[0, duration]`; by default 0 and eight a decade over the
        last four decades of `duration`.
    - `tolerance`: loss, relative to that of a silent student, at which learning has converged; 0 for never.

    **Returns:** a `LearningCurve`. Outcomes: `CONVERGED` (loss within `tolerance`); `DIVERGED` (`ρ(W)`, or the
    propagator's radius times it, reaches 1, in a closed loop that of student and task together; for a finite horizon,
    a loss a million times that of a silent student);
    `STALLED` (the flow has come to rest at a higher loss; for a student with fewer hidden units than its teacher has
    modes this is the best it can do, an H2-optimal reduction where the rule is BPTT); `UNFINISHED`. A feedback that
    learns (`Term`) moves along with the weights.

    **Raises:** `ValueError` as `expected_update`, and for a duration, time, rate or tolerance outside its domain.

    Source: docs/theory.md, sections 3 and 8.

    >>> import localgrad as lg
    >>> student, teacher = lg.LinearRNN([[0.1]], [[0.0]], [[0.1]]), lg.LinearRNN([[1.0]], [[0.5]], [[1.0]])
    >>> curve = lg.learn(lg.BPTT(), student, teacher, duration=100.0)
    >>> str(curve.outcome), round(float(curve.final.W[0, 0]), 2)  # a loss of 1e-6 leaves w within 1e-3
    ('converged', 0.5)
    """
    how = as_method(method)
    check_positive("duration", duration)
    if not is_real(tolerance) or not 0 <= tolerance < 1:
        raise ValueError(
            f"tolerance must lie in [0, 1), relative to a silent student's loss; got {in_words(tolerance)}"
        )
    over, times = Horizon.of(horizon, loss), _snapshot_times(save_at, duration)
    problem = {"over": over, "method": how, "duration": float(duration), "tolerance": float(tolerance), "poles": poles}
    students, given = _as_batch(student), given_task(task)
    _check_students(rule, students, given, over, poles)
    silent = silent_loss_of(given, over)
    dtype = precision_of(students, given)  # time too, or diffrax would widen the weights
    numbers = _scales(silent, radius_of(given), duration, tolerance, how)
    students, cast = jax.tree.map(np.asarray, in_precision(dtype, (students, given)))
    scales, at = jax.tree.map(lambda x: np.asarray(x, dtype), (numbers, times))
    run = integrate_all(rule, students, cast, scales, at, _settings(how, over, duration), poles)
    return _as_curve(rule, student, given, times, run, silent_loss=float(silent), **problem)


def _scales(silent: Any, radius: Any, duration: float, tolerance: float, how: Flow | Steps) -> Scales:
    rate, rtol, atol = (how.learning_rate, 1.0, 1.0) if isinstance(how, Steps) else (0.0, how.rtol, how.atol)
    return Scales(silent, radius, duration, rate, tolerance, rtol, atol)


def _settings(method: Flow | Steps, over: Horizon, duration: float) -> Settings:
    """What of the problem shapes the compiled program."""
    if isinstance(method, Flow):
        return Settings(over, method.solver, int(method.max_steps))
    count = duration / method.learning_rate
    if count > _MOST_STEPS:
        raise ValueError(
            f"{count:.3g} steps of {method.learning_rate:g} are more than {_MOST_STEPS:,}; shorten the duration, or "
            "follow the flow with lg.Flow()"
        )
    capacity = 1024  # in powers of 4, so that many learning rates share one compiled program
    while capacity < count:
        capacity *= 4
    return Settings(over, "steps", capacity)


# --- from the compiled program to the user ---------------------------------------------------------------------------


def _as_curve(rule: Rule, student: Any, task: Any, times: np.ndarray, run: Any, **problem: Any) -> LearningCurve:
    count = np.isfinite(run.time).sum(axis=-1)  # of points; at least the first
    points = np.minimum(np.arange(count.max()), count[:, None] - 1)
    time, losses = (np.take_along_axis(x, points, axis=-1) for x in (run.time, run.loss))
    ended = times >= time[:, -1:]
    snapshots, states = jax.tree.map(
        lambda kept, final: np.where(ended.reshape(*ended.shape, *[1] * (kept.ndim - 2)), final[:, None], kept),
        (run.snapshots, run.states),
        (run.final, run.final_state),
    )
    found = {
        "time": time, "loss": losses, "outcome": run.outcome, "final": run.final, "snapshots": snapshots,
        "states": states, "steps": run.steps,
    }  # fmt: skip
    final_state = run.final_state
    if not leading_axes(student):
        found, final_state = jax.tree.map(lambda x: x[0], (found, final_state))
        found["outcome"] = Outcome(int(found["outcome"]))
    final_rule = rule.at(final_state)
    return LearningCurve(
        rule=rule, task=task, initial=student, snapshot_times=times, final_rule=final_rule, **found, **problem
    )


def _snapshot_times(save_at: Any, duration: float) -> np.ndarray:
    if save_at is None:
        return np.r_[0.0, np.geomspace(10.0**-_DECADES * duration, duration, _SNAPSHOTS_PER_DECADE * _DECADES + 1)]
    times = np.asarray(as_numbers(save_at, "save_at"), dtype=np.float64)
    inside = times.ndim == 1 and times.size > 0 and np.all((times >= 0) & (times <= duration))
    if not inside or not np.all(np.diff(times) > 0):
        raise ValueError(f"save_at must be one or more increasing learning times from 0 to the duration {duration:g}")
    return times


# --- checks ----------------------------------------------------------------------------------------------------------


def _check_students(rule: Rule, students: Any, task: Any, horizon: Horizon, poles: str) -> None:
    check_kind("rule", rule, Rule)
    count = len(readout_of(students))
    if rule.num_seeds not in (None, count):
        raise ValueError(f"feedback has {rule.num_seeds} matrices, one a seed, for {count} student(s)")
    coordinates_of(students, poles)  # for its errors
    for seed in range(count):
        own, student = of_seed(rule, students, seed)
        try:
            engine_of(student).check(own, student, task, horizon)
        except ValueError as error:
            raise error if count == 1 else ValueError(f"seed {seed}: {error}") from None


def _as_batch(student: Any) -> Any:
    check_model(student)
    return as_batch(student)
