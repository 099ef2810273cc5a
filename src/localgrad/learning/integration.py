r"""One compiled program that integrates a learning flow, and the limits at which it stops.

    dθ/dk = −Δθ   until   loss ≤ tolerance,   the reach → 1 (`updates/existence.py`),   or time is up

`θ` are the real numbers by which a model learns (`models/coordinates.py`): of a layer with direct poles one may reach
the unit circle, which is `DIVERGED`, as for networks; with bounded poles only in the limit. The integrators are
diffrax's and our stabilised one (`solvers/stabilized.py`), the loop is in `solvers/stepping.py`.
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
from localgrad.models.arrays import precision_of, readout_of
from localgrad.models.coordinates import Coordinates, coordinates_of
from localgrad.outcomes import DIVERGED_LOSS, STALLED_SPEED, Outcome, divergence_gap
from localgrad.rules.compiled import in_compiled_form
from localgrad.rules.rule import Rule
from localgrad.updates.engines import engine_of
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
    rule: Rule, students: Any, task: Any, scales: Scales, times: Any, settings: Settings, poles: str
) -> Run:
    """The runs of a batch, side by side in threads: each takes the steps it needs, which `vmap` would not allow."""
    output, hidden, _ = students.sizes
    x64 = jnp.result_type(float) == jnp.float64  # threads do not inherit it where it is set by a context

    @in_our_arithmetic  # in threads, too
    def run(seed: int) -> Run:
        own, student = of_seed(rule, students, seed)
        with jax.enable_x64(x64):
            start = coordinates_of(student, poles)
            found = _compiled(in_compiled_form(own, output, hidden), start, task, scales, times, settings)
            return jax.tree.map(np.asarray, found)

    first = run(0)  # compiles
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        rest = list(pool.map(run, range(1, len(readout_of(students)))))
    return jax.tree.map(lambda *runs: np.stack(runs), first, *rest)


def _integrate(rule: Rule, start: Coordinates, task: Any, scales: Scales, times: Array, settings: Settings) -> Run:
    # All that learns as one vector, since what is done to three matrices is also compiled three times: the model, and
    # what of the rule has dynamics of its own.
    engine, dtype = engine_of(start.model), precision_of(start.model)
    state = jax.tree.map(lambda x: jnp.asarray(x, dtype), rule.state)
    flat, parts_of = ravel_pytree((start.numbers, state))

    def at(weights: Array) -> tuple[Coordinates, Rule]:
        numbers, state = parts_of(weights)
        return start.at(numbers), rule.at(state)

    @jax.jit  # a compiled part of the compiled program, which is traced once however often it is called
    def update_of(weights: Array) -> Array:
        own, rule = at(weights)
        update = engine.update(rule, own.model, task, settings.horizon)
        of_state = rule.state_update(readout_of(own.model), readout_of(update))
        return ravel_pytree((own.pull_back(update), of_state))[0]

    def reach(weights: Array) -> Array:
        own, rule = at(weights)
        return jnp.minimum(engine.reach(rule, own.model, task, scales.task_radius), 1.0)

    gap = divergence_gap(scales.task_radius, reach(flat))

    def observe(weights: Array) -> tuple[Array, Array]:
        loss = engine.loss(at(weights)[0].model, task, settings.horizon)
        return ended(loss, scales, settings, lambda: reach(weights) < 1 - gap)

    solver, controller, first_step = solver_of(settings, scales)
    path = integrate(
        lambda weights: -update_of(weights), observe, flat, solver, controller, duration=scales.duration,
        first_step=first_step, snapshot_times=times, max_steps=settings.max_steps,
    )  # fmt: skip
    stalled = path.speed <= STALLED_SPEED * jnp.sqrt(2 * scales.silent_loss)
    outcome = jnp.where(stalled & (path.outcome == Outcome.UNFINISHED), int(Outcome.STALLED), path.outcome)
    snapshots, states = jax.vmap(lambda weights: (at(weights)[0].model, parts_of(weights)[1]))(path.snapshots)
    final, final_state = at(path.final)[0].model, parts_of(path.final)[1]
    return Run(path.time, path.values, snapshots, states, final, final_state, outcome, path.steps)


_compiled = eqx.filter_jit(_integrate)


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


def of_seed(rule: Rule, students: Any, seed: int) -> tuple[Rule, Any]:
    """The rule and the student of one seed of a batch."""
    return rule.of_seed(seed), jax.tree.map(lambda x: x[seed], students)
