r"""One compiled program that integrates a learning flow, and the limits at which it stops.

    dθ/dk = −Δθ   until   loss ≤ tolerance,   the reach → 1 (`updates/existence.py`),   or time is up

The integrators are diffrax's and our stabilised one (`solvers/stabilized.py`), the loop is in `solvers/stepping.py`.
What shapes the program is in `Settings`, what does not in `Scales`; where networks are small, all rules share one
program (`rules/compiled.py`). Checks and results: `flow.py`.

Source: docs/theory.md, sections 3 and 8.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array

from localgrad.checks import in_our_arithmetic
from localgrad.learning.solvers.stabilized import RungeKuttaChebyshev
from localgrad.learning.solvers.stepping import Multiples, integrate
from localgrad.models.linear import LinearRNN
from localgrad.outcomes import DIVERGED_LOSS, STALLED_SPEED, Outcome, divergence_gap
from localgrad.rules.compiled import in_compiled_form
from localgrad.rules.rule import Rule
from localgrad.tasks.linear_task import LinearTask
from localgrad.updates.exact import exact_loss, exact_update
from localgrad.updates.existence import estimated_reach
from localgrad.updates.horizon import Horizon


class Settings(NamedTuple):
    """What shapes the compiled program."""

    horizon: Horizon
    method: str  # a solver of `methods.Flow`, or "steps"
    max_steps: int


class Scales(NamedTuple):
    """What does not."""

    silent_loss: Any
    task_radius: Any  # ρ(D), of a teacher ρ(W*); 0 in a closed loop, where it says nothing alone
    duration: Any
    learning_rate: Any
    tolerance: Any
    rtol: Any
    atol: Any


class Run(NamedTuple):
    """A run as it leaves the compiled program; times beyond its end are infinite, snapshots its start."""

    time: Array
    loss: Array
    snapshots: Any  # models of the student's kind
    states: Any  # of the rule, at the snapshots
    final: Any
    final_state: Any
    outcome: Array
    steps: Array


def integrate_all(
    rule: Rule, students: LinearRNN, task: LinearTask, scales: Scales, times: Array, settings: Settings
) -> Run:
    """The runs of a batch, side by side in threads: each takes the steps it needs, which `vmap` would not allow."""
    output, hidden = students.A.shape[-2:]

    x64 = jnp.result_type(float) == jnp.float64  # threads do not inherit it where it is set by a context

    @in_our_arithmetic  # in threads, too
    def run(seed: int) -> Run:
        own, student = of_seed(rule, students, seed)
        with jax.enable_x64(x64):
            found = _compiled(in_compiled_form(own, output, hidden), student, task, scales, times, settings)
            return jax.tree.map(np.asarray, found)

    first = run(0)  # compiles
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        rest = list(pool.map(run, range(1, len(students.W))))
    return jax.tree.map(lambda *runs: np.stack(runs), first, *rest)


def _integrate(
    rule: Rule, student: LinearRNN, task: LinearTask, scales: Scales, times: Array, settings: Settings
) -> Run:
    # All that learns as one vector, since what is done to three matrices is also compiled three times: the network, and
    # what of the rule has dynamics of its own.
    state = jax.tree.map(lambda x: jnp.asarray(x, student.W.dtype), rule.state)
    start, parts_of = ravel_pytree((student, state))

    @jax.jit  # a compiled part of the compiled program, which is traced once however often it is called
    def update_of(weights: Array) -> Array:
        network, state = parts_of(weights)
        update = exact_update(rule.at(state), network, task, settings.horizon)
        return ravel_pytree((update, rule.at(state).state_update(network.A, update.A)))[0]

    solver, controller, first_step = solver_of(settings, scales)
    gap = divergence_gap(scales.task_radius, _reach(rule, student, task, scales))
    path = integrate(
        lambda weights: -update_of(weights),
        lambda weights: _observe(rule, parts_of(weights)[0], task, scales, settings, gap),
        start,
        solver,
        controller,
        duration=scales.duration,
        first_step=first_step,
        snapshot_times=times,
        max_steps=settings.max_steps,
    )
    stalled = path.speed <= STALLED_SPEED * jnp.sqrt(2 * scales.silent_loss)
    outcome = jnp.where(stalled & (path.outcome == Outcome.UNFINISHED), int(Outcome.STALLED), path.outcome)
    snapshots, states = jax.vmap(parts_of)(path.snapshots)
    final, final_state = parts_of(path.final)
    return Run(path.time, path.values, snapshots, states, final, final_state, outcome, path.steps)


_compiled = eqx.filter_jit(_integrate)


def _reach(rule: Rule, network: LinearRNN, task: LinearTask, scales: Scales) -> Array:
    return jnp.minimum(estimated_reach(rule, network, task, scales.task_radius), 1.0)


def _observe(
    rule: Rule, network: LinearRNN, task: LinearTask, scales: Scales, settings: Settings, gap: Array
) -> tuple[Array, Array]:
    """The loss of a run that is here, and its `Outcome` as a number."""
    loss = exact_loss(network, task, settings.horizon)
    return ended(loss, scales, settings, lambda: _reach(rule, network, task, scales) < 1 - gap)


def ended(loss: Array, scales: Scales, settings: Settings, is_stable: Callable[[], Array]) -> tuple[Array, Array]:
    """The loss, and as a number the `Outcome` of a run that is there; of an infinite horizon `is_stable` is asked."""
    # Not "loss > limit": a NaN must not pass for a number within limits.
    infinite = settings.horizon.is_infinite
    exists = is_stable() if infinite else loss <= DIVERGED_LOSS * scales.silent_loss
    # At a limit of 0, for "never", rounding may still take the loss there or below.
    converged = exists & (scales.tolerance > 0) & (loss <= scales.tolerance * scales.silent_loss)
    ended = jnp.where(converged, int(Outcome.CONVERGED), int(Outcome.DIVERGED))
    outcome = jnp.where(converged | ~exists, ended, int(Outcome.UNFINISHED))
    return jnp.where(jnp.isnan(loss), jnp.inf, loss), outcome  # ∞ − ∞, where a finite horizon has overflowed


def solver_of(settings: Settings, scales: Scales) -> tuple[Any, Any, Array | None]:
    """Solver, step size controller and first step."""
    if settings.method == "steps":
        return diffrax.Euler(), Multiples(scales.learning_rate), None
    tolerances = scales.rtol, scales.atol
    solver = {
        "stabilized": RungeKuttaChebyshev(),
        "explicit": diffrax.Tsit5(),
        "implicit": diffrax.Kvaerno5(root_finder=diffrax.VeryChord(*tolerances)),
    }[settings.method]
    controller = diffrax.PIDController(*tolerances, pcoeff=0.2, icoeff=0.4)
    return solver, controller, 1e-6 * scales.duration


def of_seed(rule: Rule, students: LinearRNN, seed: int) -> tuple[Rule, LinearRNN]:
    """The rule and the student of one seed of a batch."""
    return rule.of_seed(seed), jax.tree.map(lambda x: x[seed], students)
