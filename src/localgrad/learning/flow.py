r"""Exact learning curves of full networks: the flow `dθ/dk = −Δθ` of any rule, without sampling.

`k` is learning time (learning rate × steps). The right-hand side is the exact expected update, so what is seen is the
rule itself, not the noise of its samples. With a learning rate the same flow is taken in steps of that size,
`θ ← θ − η Δθ`, as a program would.

Flows of networks are stiff but only mildly so; the default method is made for that (`stabilized.py`). Limits: dense
networks; an infinite horizon ends where `ρ(W)`, or `ρ(M)` times the larger of `ρ(W)` and `ρ(W*)`, reaches 1; that is a
result (`DIVERGED`), not an error. The compiled program is in `integration.py`.

Source: docs/theory.md, sections 3, 8 and 9.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from localgrad.diagnostics.alignment import Alignment, alignment
from localgrad.diagnostics.rank import SingularSpectrum, singular_spectrum
from localgrad.learning.integration import Scales, Settings, integrate_all, of_seed
from localgrad.models.linear import LinearRNN, conserved_quantity, spectral_radius
from localgrad.outcomes import Outcome
from localgrad.rules.rule import Rule
from localgrad.updates.exact import silent_loss
from localgrad.updates.existence import check_update
from localgrad.updates.horizon import Horizon, Loss

Method = Literal["stabilized", "explicit", "implicit"]

_SNAPSHOTS_PER_DECADE, _DECADES = 8, 4


@dataclass(frozen=True)
class LearningCurve:
    """How a network learned. Shapes are of one run; in a batch, everything has one leading axis `"seeds"` more.

    - `time`, `loss`: learning time and exact expected loss at every step of the integrator, shape `"points"`; a
        diverged run may end on an infinite loss. In a batch a run that ended before the longest repeats its last point.
    - `outcome`: how it ended, an `Outcome`; in a batch an array of their numbers.
    - `initial`, `final`: the networks at both ends.
    - `snapshot_times`, `snapshots`: the networks on the way, with a leading axis `"snapshots"`; a run that ended
        before holds its final network from then on.
    - `steps`: how many steps the integrator tried.
    """

    rule: Rule
    teacher: LinearRNN
    horizon: int | None
    time: np.ndarray
    loss: np.ndarray
    outcome: Any
    initial: LinearRNN
    final: LinearRNN
    snapshot_times: np.ndarray
    snapshots: LinearRNN
    steps: np.ndarray

    @cached_property
    def alignment(self) -> Alignment:
        """The snapshots' alignment with the teacher's modes (`localgrad.alignment`); the teacher must be aligned."""
        fixed = self.rule.feedback.fixed
        feedback = None if fixed is None else np.asarray(fixed)[..., None, :, :]
        return alignment(self.snapshots, self.teacher, feedback)

    @cached_property
    def spectrum(self) -> SingularSpectrum:
        """Rank and singular values of what each snapshot has learned, `W_k − W_0` and `B_k − B_0`."""
        initial = jax.tree.map(lambda x: np.asarray(x)[..., None, :, :], self.initial)
        return singular_spectrum(initial, self.snapshots)

    @cached_property
    def spectral_radius(self) -> np.ndarray:
        """`ρ(W)` of each snapshot."""
        return np.abs(np.linalg.eigvals(np.asarray(self.snapshots.W, dtype=np.float64))).max(axis=-1)

    @cached_property
    def conserved_drift(self) -> np.ndarray:
        """How far `AᵀA − BBᵀ + WᵀW − WWᵀ` has moved in each snapshot, relative to the size of its terms.

        BPTT conserves it, so that for BPTT this is the integrator's error; other rules do move it.
        """
        Q = np.asarray(conserved_quantity(self.snapshots))
        start = np.asarray(conserved_quantity(jax.tree.map(np.asarray, self.initial)))[..., None, :, :]
        size = sum(np.sum(np.asarray(x) ** 2, axis=(-2, -1)) for x in self.snapshots.matrices)
        return np.linalg.norm(Q - start, axis=(-2, -1)) / np.maximum(size, np.finfo(float).tiny)


def learn(
    rule: Rule,
    student: LinearRNN,
    teacher: LinearRNN,
    *,
    duration: float,
    horizon: int | None = None,
    loss: Loss = "final",
    learning_rate: float | None = None,
    save_at: Any = None,
    tolerance: float = 1e-6,
    method: Method = "stabilized",
    rtol: float = 1e-4,
    atol: float = 1e-6,
    max_steps: int = 4096,
) -> LearningCurve:
    r"""The exact learning curve of a network from `student`, until it converges, diverges, rests or time is up.

    **Arguments:**

    - `rule`, `student`, `teacher`, `horizon`, `loss`: as in `expected_update`. A student with one leading axis
        `"seeds"` is a batch; the rule's feedback may then have that axis too.
    - `duration`: learning time (learning rate × steps), positive.
    - `learning_rate`: `None` for the flow, or the size `η` of discrete steps `θ ← θ − η Δθ`, positive; the last step
        is what is left of the duration. Method, step tolerances and `max_steps` then have no say.
    - `save_at`: learning times of snapshots, increasing, in `[0, duration]`; by default 0 and eight a decade over the
        last four decades of `duration`.
    - `tolerance`: loss, relative to that of a silent student, at which learning has converged; 0 for never.
    - `method`: `"stabilized"` (Runge–Kutta–Chebyshev, order 2, for all sizes), `"explicit"` (Tsitouras, order 5, for
        tight tolerances where nothing is stiff), `"implicit"` (Kværnø, order 5: small networks, since it needs the
        Jacobian).
    - `rtol`, `atol`: tolerances of a step, relative and absolute in weights; positive.
    - `max_steps`: steps of the integrator after which a run is unfinished.

    **Returns:** a `LearningCurve`. Outcomes: `CONVERGED` (loss within `tolerance`); `DIVERGED` (`ρ(W)`, or the
    propagator's radius times it, reaches 1; for a finite horizon, a loss a million times that of a silent student);
    `STALLED` (the flow has come to rest at a higher loss); `UNFINISHED`.

    **Raises:** `ValueError` as `expected_update`, and for a duration, time, rate or tolerance outside its domain.

    Source: docs/theory.md, sections 3 and 8; Sommeijer, Shampine & Verwer 1998, Tsitouras 2011, Kværnø 2004.

    >>> import localgrad as lg
    >>> student, teacher = lg.LinearRNN([[0.1]], [[0.0]], [[0.1]]), lg.LinearRNN([[1.0]], [[0.5]], [[1.0]])
    >>> curve = lg.learn(lg.BPTT(), student, teacher, duration=100.0)
    >>> curve.outcome.name, round(float(curve.final.W[0, 0]), 2)  # a loss of 1e-6 leaves w within 1e-3
    ('CONVERGED', 0.5)
    """
    _check_numbers(duration, learning_rate, tolerance, rtol, atol, max_steps, method)
    over, students = Horizon.of(horizon, loss), _as_batch(student)
    _check_networks(rule, students, teacher, over)
    silent = silent_loss(teacher, over)
    times = _snapshot_times(save_at, duration)
    dtype = jnp.result_type(*students.matrices, *teacher.matrices)  # time too, or diffrax would widen the weights
    settings = Settings(over, method, int(max_steps))
    if learning_rate is not None:
        capacity = 1024  # in powers of 4, so that many learning rates share one compiled program
        while capacity * learning_rate < duration:
            capacity *= 4
        settings = Settings(over, "steps", capacity)
    radius = spectral_radius(teacher.W)
    numbers = Scales(silent, radius, duration, learning_rate or 0.0, tolerance, rtol, atol)
    students, given, scales, at = jax.tree.map(lambda x: np.asarray(x, dtype), (students, teacher, numbers, times))
    runs = integrate_all(rule, students, given, scales, at, settings)
    return _as_curve(rule, student, teacher, settings, times, runs)


# --- from the compiled program to the user ---------------------------------------------------------------------------


def _as_curve(
    rule: Rule, student: LinearRNN, teacher: LinearRNN, settings: Settings, times: np.ndarray, run: Any
) -> LearningCurve:
    count = np.isfinite(run.time).sum(axis=-1)  # of points; at least the first
    points = np.minimum(np.arange(count.max()), count[:, None] - 1)
    time, losses = (np.take_along_axis(x, points, axis=-1) for x in (run.time, run.loss))
    ended = times >= time[:, -1:]
    snapshots = jax.tree.map(
        lambda kept, final: np.where(ended[..., None, None], final[:, None], kept), run.snapshots, run.final
    )
    curve = (time, losses, run.outcome, run.final, snapshots, run.steps)
    if student.W.ndim == 2:
        curve = jax.tree.map(lambda x: x[0], curve)
        curve = (*curve[:2], Outcome(int(curve[2])), *curve[3:])
    time, losses, outcome, final, snapshots, steps = curve
    return LearningCurve(
        rule, teacher, settings.horizon.steps, time, losses, outcome, student, final, times, snapshots, steps
    )


def _snapshot_times(save_at: Any, duration: float) -> np.ndarray:
    if save_at is None:
        return np.r_[0.0, np.geomspace(10.0**-_DECADES * duration, duration, _SNAPSHOTS_PER_DECADE * _DECADES + 1)]
    times = np.asarray(save_at, dtype=np.float64)
    inside = times.ndim == 1 and times.size > 0 and np.all((times >= 0) & (times <= duration))
    if not inside or not np.all(np.diff(times) > 0):
        raise ValueError(f"save_at must be one or more increasing learning times from 0 to the duration {duration:g}")
    return times


# --- checks ----------------------------------------------------------------------------------------------------------


def _check_numbers(
    duration: Any, learning_rate: Any, tolerance: Any, rtol: Any, atol: Any, max_steps: Any, method: str
) -> None:
    positive = {"duration": duration, "rtol": rtol, "atol": atol, "max_steps": max_steps}
    if learning_rate is not None:
        positive["learning_rate"] = learning_rate
    for name, value in positive.items():
        if not (np.isfinite(value) and value > 0):
            raise ValueError(f"{name} must be positive and finite, got {value!r}")
    if int(max_steps) != max_steps:
        raise ValueError(f"max_steps must be a whole number, got {max_steps!r}")
    if not 0 <= tolerance < 1:
        raise ValueError(f"tolerance must lie in [0, 1), relative to a silent student's loss; got {tolerance!r}")
    if method not in ("stabilized", "explicit", "implicit"):
        raise ValueError(f"method must be 'stabilized', 'explicit' or 'implicit', got {method!r}")


def _check_networks(rule: Rule, students: LinearRNN, teacher: LinearRNN, horizon: Horizon) -> None:
    if not isinstance(rule, Rule):
        raise ValueError(f"rule is a {type(rule).__name__}, not a Rule; the order is rule, student, teacher")
    fixed = rule.feedback.fixed
    if np.ndim(fixed) == 3 and len(fixed) != len(students.W):
        raise ValueError(f"feedback has {len(fixed)} matrices, one a seed, for {len(students.W)} student(s)")
    for seed in range(len(students.W)):
        try:
            check_update(*of_seed(rule, students, seed), teacher, horizon)
        except ValueError as error:
            raise error if len(students.W) == 1 else ValueError(f"seed {seed}: {error}") from None


def _as_batch(student: LinearRNN) -> LinearRNN:
    leading = {x.shape[:-2] for x in student.matrices} if isinstance(student, LinearRNN) else set()
    if len(leading) != 1 or any(len(axes) > 1 or 0 in axes for axes in leading):
        raise ValueError("the student must be a LinearRNN, or a batch of them with one leading axis in A, W and B")
    # NumPy's arrays, since taking one of JAX's apart compiles a program for each piece
    return jax.tree.map(lambda x: np.asarray(x) if x.ndim == 3 else np.asarray(x)[None], student)
