r"""Exact learning curves of full networks: the flow `dθ/dk = −Δθ` of any rule, without sampling.

`k` is learning time (learning rate × steps). The right-hand side is the exact expected update, so what is seen is the
rule itself, not the noise of its samples. With a learning rate the same flow is taken in steps of that size,
`θ ← θ − η Δθ`, as a program would.

Flows of networks are stiff but only mildly so; the default method is made for that (`stabilized.py`). Limits: dense
networks; an infinite horizon ends where `ρ(W)`, or `ρ(M)` times the larger of `ρ(W)` and
`ρ(W*)`, reaches 1; that is a result (`DIVERGED`), not an error.

Source: docs/theory.md, sections 3, 8 and 9.
"""

from __future__ import annotations

import math
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, Literal, NamedTuple

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from localgrad.analysis.aligning import Alignment, alignment
from localgrad.analysis.ranks import SingularSpectrum, singular_spectrum
from localgrad.expected import Loss, check_update, expected_loss, expected_update
from localgrad.network import LinearRNN, conserved_quantity, markov_parameters
from localgrad.outcomes import Outcome
from localgrad.rules import Rule, in_general_form
from localgrad.stabilized import RungeKuttaChebyshev
from localgrad.stein import is_elementwise

Method = Literal["stabilized", "explicit", "implicit"]

# Distance of ρ(W) from 1, relative to the teacher's, below which an infinite horizon has diverged (as for modes).
_DIVERGED_GAP = 1e-4
# Loss, relative to that of a silent student, above which a finite horizon has diverged.
_DIVERGED_LOSS = 1e6
# Speed `‖Δθ‖`, relative to `√(2 × silent loss)`, below which a run that has run out of time counts as stalled.
_STALLED_SPEED = 1e-6
# Up to this many hidden units all rules share one compiled program: 5 s saved a rule, up to twice the time a step.
_SHARED_UP_TO = 128
_SNAPSHOTS_PER_DECADE, _DECADES = 8, 4
# Squarings in an estimate of ρ(W): its relative error is about log(n κ) / 2^20, κ being the eigenvectors' condition.
_SQUARINGS = 20


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
        start = np.asarray(conserved_quantity(self.initial))[..., None, :, :]
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
    propagator's radius times it, reaches 1; or for a finite horizon
    a loss a million times that of a silent student); `STALLED` (the flow has come to rest at a higher loss);
    `UNFINISHED`.

    **Raises:** `ValueError` as `expected_update`, and for a duration, time, rate or tolerance outside its domain.

    Source: docs/theory.md, sections 3 and 8; Sommeijer, Shampine & Verwer 1998, Tsitouras 2011, Kværnø 2004.

    >>> import localgrad as lg
    >>> student, teacher = lg.LinearRNN([[0.1]], [[0.0]], [[0.1]]), lg.LinearRNN([[1.0]], [[0.5]], [[1.0]])
    >>> curve = lg.learn(lg.BPTT(), student, teacher, duration=100.0)
    >>> curve.outcome.name, round(float(curve.final.W[0, 0]), 3)
    ('CONVERGED', 0.5)
    """
    _check_numbers(duration, learning_rate, tolerance, rtol, atol, max_steps, method)
    students = _as_batch(student)
    _check_networks(rule, students, teacher, horizon, loss)
    times = _snapshot_times(save_at, duration)
    dtype = jnp.result_type(*students.matrices, *teacher.matrices)  # time too, or diffrax would widen the weights
    if learning_rate is not None:
        max_steps = math.ceil(duration / learning_rate * (1 - 8 * float(jnp.finfo(dtype).eps)))
    settings = _Settings(horizon, loss, "steps" if learning_rate is not None else method, int(max_steps))
    numbers = _Scales(duration, learning_rate or 0.0, tolerance, rtol, atol)
    students, given, scales, at = jax.tree.map(lambda x: jnp.asarray(x, dtype), (students, teacher, numbers, times))
    runs = _integrate_all(rule, students, given, scales, at, settings)
    return _as_curve(rule, student, teacher, settings, times, runs)


class _Settings(NamedTuple):
    """What shapes the compiled program."""

    horizon: int | None
    loss: Loss
    method: str  # one of `Method`, or "steps"
    max_steps: int


class _Scales(NamedTuple):
    """What does not."""

    duration: Any
    learning_rate: Any
    tolerance: Any
    rtol: Any
    atol: Any


class _Run(NamedTuple):
    """A run as it leaves the compiled program; times beyond its end are infinite."""

    time: Array
    loss: Array
    snapshots: LinearRNN
    final: LinearRNN
    outcome: Array
    steps: Array


# --- integration -----------------------------------------------------------------------------------------------------


def _integrate_all(
    rule: Rule, students: LinearRNN, teacher: LinearRNN, scales: _Scales, times: Array, settings: _Settings
) -> _Run:
    """The runs of a batch, side by side in threads: each takes the steps it needs, which `vmap` would not allow."""

    def run(seed: int) -> _Run:
        own, student = _of_seed(rule, students, seed)
        found = _compiled(_compact(own, student), student, teacher, scales, times, settings)
        return jax.tree.map(np.asarray, found)

    first = run(0)  # compiles
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        rest = list(pool.map(run, range(1, len(students.W))))
    return jax.tree.map(lambda *runs: np.stack(runs), first, *rest)


def _integrate(
    rule: Rule, student: LinearRNN, teacher: LinearRNN, scales: _Scales, times: Array, settings: _Settings
) -> _Run:
    loss_of = partial(expected_loss, teacher=teacher, horizon=settings.horizon, loss=settings.loss)
    update_of = partial(expected_update, rule, teacher=teacher, horizon=settings.horizon, loss=settings.loss)
    limits = _limits(loss_of(jax.tree.map(jnp.zeros_like, student)), teacher, scales.tolerance)

    def judge(network: LinearRNN, update: LinearRNN | None = None) -> Array:
        loss = loss_of(network)
        # Not "loss > limit": a NaN must not pass for a number within limits.
        exists = loss <= limits.diverged if settings.horizon else _reach(rule, network.W, limits.teacher) < limits.reach
        return _judge(loss, exists, limits, update)

    def has_ended(_: Array, network: LinearRNN, *__: Any, **___: Any) -> Array:
        return judge(network) != Outcome.UNFINISHED

    solver, controller, first_step = _solver(settings, scales)
    solution = diffrax.diffeqsolve(
        diffrax.ODETerm(lambda _, network, __: jax.tree.map(jnp.negative, update_of(network))),
        solver,
        t0=0.0,
        t1=scales.duration,
        dt0=first_step,
        y0=student,
        saveat=diffrax.SaveAt(
            subs=[
                diffrax.SubSaveAt(t0=True, steps=True, t1=True, fn=lambda time, network, _: (time, loss_of(network))),
                diffrax.SubSaveAt(ts=times),
                diffrax.SubSaveAt(t1=True),
            ]
        ),
        stepsize_controller=controller,
        event=diffrax.Event(has_ended),
        adjoint=diffrax.ForwardMode(),
        max_steps=settings.max_steps,
        throw=False,
    )
    (time, losses), snapshots, final = solution.ys
    final = jax.tree.map(lambda x: x[0], final)
    losses = jnp.where(jnp.isnan(losses), jnp.inf, losses)  # ∞ − ∞, where a finite horizon has overflowed
    return _Run(time, losses, snapshots, final, judge(final, update_of(final)), solution.stats["num_steps"])


_compiled = eqx.filter_jit(_integrate)


def _solver(settings: _Settings, scales: _Scales) -> tuple[Any, Any, Array | None]:
    """Solver, step size controller and first step."""
    if settings.method == "steps":
        times = scales.learning_rate * jnp.arange(settings.max_steps + 1)  # not summed up, which would drift
        return diffrax.Euler(), diffrax.StepTo(times.at[-1].set(scales.duration)), None
    solver = {
        "stabilized": RungeKuttaChebyshev,
        "explicit": diffrax.Tsit5,
        "implicit": diffrax.Kvaerno5,
    }[settings.method]()
    controller = diffrax.PIDController(scales.rtol, scales.atol, pcoeff=0.2, icoeff=0.4)
    return solver, controller, 1e-6 * scales.duration


class _Limits(NamedTuple):
    """Where runs end: two losses, a reach of lags, the unit of speed; and the teacher's spectral radius."""

    converged: Array
    diverged: Array
    reach: Array
    speed: Array
    teacher: Array


def _limits(silent_loss: Array, teacher: LinearRNN, tolerance: Array) -> _Limits:
    radius = _radius_bound(teacher.W)
    reach = 1 - _DIVERGED_GAP * (1 - radius)
    return _Limits(tolerance * silent_loss, _DIVERGED_LOSS * silent_loss, reach, jnp.sqrt(2 * silent_loss), radius)


def _judge(loss: Array, exists: Array, limits: _Limits, update: LinearRNN | None) -> Array:
    """The `Outcome` of a run that is here, as a number; whether it has stalled only where the update is given."""
    stalled = jnp.array(False)
    if update is not None:
        speed = jnp.sqrt(sum(jnp.sum(x * x) for x in jax.tree.leaves(update)))
        stalled, exists = speed <= _STALLED_SPEED * limits.speed, exists & jnp.isfinite(speed)
    return jnp.select(
        # At a limit of 0, for "never", rounding may still take the loss there or below.
        [exists & (loss <= limits.converged) & (limits.converged > 0), ~exists, stalled],
        [int(Outcome.CONVERGED), int(Outcome.DIVERGED), int(Outcome.STALLED)],
        int(Outcome.UNFINISHED),
    )


def _reach(rule: Rule, W: Array, teacher_radius: Array) -> Array:
    """How near an infinite horizon is to having no update: at 1 or above, one of the sums over lags diverges.

    Where `ρ(M) > 1`, a sum that converges slowly cannot be had either: `M^N` overflows before `(ρ(M) ρ(W))^N` vanishes.
    """
    own, M = _radius_bound(W), rule.propagator(W)
    if rule.lags is not None:
        return own
    carried = jnp.max(jnp.abs(M)) if is_elementwise(M) else _radius_bound(M)
    precision = jnp.finfo(W.dtype)
    decay_needed = 2 * (np.log(W.shape[-1] ** 2) - np.log(float(precision.eps) / 4))  # twice, since N is a power of 2
    overflow = decay_needed / np.log(float(precision.max)) * jnp.log(jnp.maximum(carried, 1))
    return jnp.maximum(own, carried * jnp.maximum(own, teacher_radius) * jnp.exp(overflow))


def _radius_bound(W: Array) -> Array:
    """`‖W^(2^k)‖^(1/2^k)`, which tends to `ρ(W)` from above, to about 1e-5 here; on any device, unlike eigenvalues."""

    def square(_: int, state: tuple[Array, Array]) -> tuple[Array, Array]:
        M, log_size = state  # the power is exp(log_size) · M
        size = jnp.linalg.norm(M)
        M = M / jnp.where(size > 0, size, 1)
        return M @ M, 2 * (log_size + jnp.log(size))

    M, log_size = jax.lax.fori_loop(0, _SQUARINGS, square, (W, jnp.zeros((), W.dtype)))
    return jnp.exp((log_size + jnp.log(jnp.linalg.norm(M))) / 2.0**_SQUARINGS)


# --- from the compiled program to the user ---------------------------------------------------------------------------


def _as_curve(
    rule: Rule, student: LinearRNN, teacher: LinearRNN, settings: _Settings, times: np.ndarray, run: Any
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
        rule, teacher, settings.horizon, time, losses, outcome, student, final, times, snapshots, steps
    )


def _snapshot_times(save_at: Any, duration: float) -> np.ndarray:
    if save_at is None:
        return np.r_[0.0, np.geomspace(10.0**-_DECADES * duration, duration, _SNAPSHOTS_PER_DECADE * _DECADES + 1)]
    times = np.asarray(save_at, dtype=np.float64)
    inside = times.ndim == 1 and times.size > 0 and np.all((times >= 0) & (times <= duration))
    if not inside or not np.all(np.diff(times) > 0):
        raise ValueError(f"save_at must be one or more increasing learning times from 0 to the duration {duration:g}")
    return times


def _compact(rule: Rule, student: LinearRNN) -> Rule:
    """The rule in the form that is best compiled: one program for all rules where networks are small."""
    output, hidden, _ = student.sizes
    return in_general_form(rule, output, hidden) if hidden <= _SHARED_UP_TO else rule


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


def _check_networks(rule: Rule, students: LinearRNN, teacher: LinearRNN, horizon: int | None, loss: Loss) -> None:
    if not isinstance(rule, Rule):
        raise ValueError(f"rule is a {type(rule).__name__}, not a Rule; the order is rule, student, teacher")
    fixed = rule.feedback.fixed
    if np.ndim(fixed) == 3 and len(fixed) != len(students.W):
        raise ValueError(f"feedback has {len(fixed)} matrices, one a seed, for {len(students.W)} student(s)")
    for seed in range(len(students.W)):
        try:
            check_update(*_of_seed(rule, students, seed), teacher, horizon, loss)
        except ValueError as error:
            raise error if len(students.W) == 1 else ValueError(f"seed {seed}: {error}") from None
    _, hidden, _ = teacher.sizes  # as many lags tell: the rest of the impulse response is a combination of these
    if not np.any(markov_parameters(teacher, min(hidden, horizon or hidden))):
        raise ValueError("the teacher is silent, A* W*^j B* = 0 for all j, so losses have no unit; give it an output")


def _as_batch(student: LinearRNN) -> LinearRNN:
    leading = {x.shape[:-2] for x in student.matrices} if isinstance(student, LinearRNN) else set()
    if len(leading) != 1 or any(len(axes) > 1 or 0 in axes for axes in leading):
        raise ValueError("the student must be a LinearRNN, or a batch of them with one leading axis in A, W and B")
    return student if student.W.ndim == 3 else jax.tree.map(lambda x: x[None], student)


def _of_seed(rule: Rule, students: LinearRNN, seed: int) -> tuple[Rule, LinearRNN]:
    fixed = rule.feedback.fixed
    own = rule if np.ndim(fixed) < 3 else eqx.tree_at(lambda r: r.feedback.fixed, rule, fixed[seed])
    return own, jax.tree.map(lambda x: x[seed], students)
