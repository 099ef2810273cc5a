r"""One compiled program that integrates a learning flow, and the limits at which it stops.

    dθ/dk = −Δθ   until   loss ≤ tolerance,   ρ(W) → 1 or ρ(M) max(ρ(W), ρ(W*)) → 1,   or time is up

The integrators are diffrax's and our stabilised one (`stabilized.py`). What shapes the program is in `Settings`, what
does not in `Scales`; where networks are small, all rules share one program
(`rules.in_compiled_form`). Checks and results: `flow.py`.

Source: docs/theory.md, sections 3 and 8.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array

from localgrad.expected import Loss, expected_loss, expected_update
from localgrad.network import LinearRNN
from localgrad.outcomes import DIVERGED_GAP, DIVERGED_LOSS, STALLED_SPEED, Outcome
from localgrad.rules import Rule, in_compiled_form
from localgrad.stabilized import RungeKuttaChebyshev
from localgrad.stein import is_elementwise

# Squarings in an estimate of ρ(W): its relative error is about log(n κ) / 2^20, κ being the eigenvectors' condition.
_SQUARINGS = 20


class Settings(NamedTuple):
    """What shapes the compiled program."""

    horizon: int | None
    loss: Loss
    method: str  # one of `flow.Method`, or "steps"
    max_steps: int


class Scales(NamedTuple):
    """What does not."""

    silent_loss: Any
    duration: Any
    learning_rate: Any
    num_steps: Any  # of that size
    tolerance: Any
    rtol: Any
    atol: Any


class Run(NamedTuple):
    """A run as it leaves the compiled program; times beyond its end are infinite."""

    time: Array
    loss: Array
    snapshots: LinearRNN
    final: LinearRNN
    outcome: Array
    steps: Array


def integrate_all(
    rule: Rule, students: LinearRNN, teacher: LinearRNN, scales: Scales, times: Array, settings: Settings
) -> Run:
    """The runs of a batch, side by side in threads: each takes the steps it needs, which `vmap` would not allow."""
    output, hidden = students.A.shape[-2:]

    def run(seed: int) -> Run:
        own, student = of_seed(rule, students, seed)
        found = _compiled(in_compiled_form(own, output, hidden), student, teacher, scales, times, settings)
        return jax.tree.map(np.asarray, found)

    first = run(0)  # compiles
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        rest = list(pool.map(run, range(1, len(students.W))))
    return jax.tree.map(lambda *runs: np.stack(runs), first, *rest)


def _integrate(
    rule: Rule, student: LinearRNN, teacher: LinearRNN, scales: Scales, times: Array, settings: Settings
) -> Run:
    # Compiled parts of the compiled program, which are traced once however often they are called.
    loss_of = jax.jit(partial(expected_loss, teacher=teacher, horizon=settings.horizon, loss=settings.loss))
    update_of = jax.jit(partial(expected_update, rule, teacher=teacher, horizon=settings.horizon, loss=settings.loss))
    limits = _limits(teacher, scales)

    def judge(network: LinearRNN, update: LinearRNN | None = None) -> Array:
        loss = loss_of(network)
        # Not "loss > limit": a NaN must not pass for a number within limits.
        exists = loss <= limits.diverged if settings.horizon else _reach(rule, network.W, limits.teacher) < limits.reach
        return _judge(loss, exists, limits, update)

    def has_ended(time: Array, network: LinearRNN, *_: Any, **__: Any) -> Array:
        return (judge(network) != Outcome.UNFINISHED) | (time >= scales.duration)

    solver, controller, first_step, end = _solver(settings, scales)
    solution = diffrax.diffeqsolve(
        diffrax.ODETerm(lambda _, network, __: jax.tree.map(jnp.negative, update_of(network))),
        solver,
        t0=0.0,
        t1=end,
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
    return Run(time, losses, snapshots, final, judge(final, update_of(final)), solution.stats["num_steps"])


_compiled = eqx.filter_jit(_integrate)


def _solver(settings: Settings, scales: Scales) -> tuple[Any, Any, Array | None, Array]:
    """Solver, step size controller, first step, and where they are to end."""
    if settings.method == "steps":
        # As many as the program holds, so that it serves other numbers; `has_ended` stops at the duration. Multiples of
        # the learning rate, not sums, which would drift; the last step before the duration is what is left.
        k, rate = jnp.arange(settings.max_steps + 1), scales.learning_rate
        times = jnp.where(k < scales.num_steps, rate * k, scales.duration + rate * (k - scales.num_steps))
        return diffrax.Euler(), diffrax.StepTo(times), None, times[-1]
    solver = {
        "stabilized": RungeKuttaChebyshev,
        "explicit": diffrax.Tsit5,
        "implicit": diffrax.Kvaerno5,
    }[settings.method]()
    controller = diffrax.PIDController(scales.rtol, scales.atol, pcoeff=0.2, icoeff=0.4)
    return solver, controller, 1e-6 * scales.duration, scales.duration


class _Limits(NamedTuple):
    """Where runs end: two losses, a reach of lags, the unit of speed; and the teacher's spectral radius."""

    converged: Array
    diverged: Array
    reach: Array
    speed: Array
    teacher: Array


def _limits(teacher: LinearRNN, scales: Scales) -> _Limits:
    silent, radius = scales.silent_loss, _radius_bound(teacher.W)
    reach = 1 - DIVERGED_GAP * (1 - radius)
    return _Limits(scales.tolerance * silent, DIVERGED_LOSS * silent, reach, jnp.sqrt(2 * silent), radius)


def _judge(loss: Array, exists: Array, limits: _Limits, update: LinearRNN | None) -> Array:
    """The `Outcome` of a run that is here, as a number; whether it has stalled only where the update is given."""
    stalled = jnp.array(False)
    if update is not None:
        speed = jnp.linalg.norm(ravel_pytree(update)[0])
        stalled, exists = speed <= STALLED_SPEED * limits.speed, exists & jnp.isfinite(speed)
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


def of_seed(rule: Rule, students: LinearRNN, seed: int) -> tuple[Rule, LinearRNN]:
    """The rule and the student of one seed of a batch."""
    fixed = rule.feedback.fixed
    own = rule if np.ndim(fixed) < 3 else eqx.tree_at(lambda r: r.feedback.fixed, rule, fixed[seed])
    return own, jax.tree.map(lambda x: x[seed], students)
