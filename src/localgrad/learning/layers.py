r"""Exact learning curves of diagonal layers: the flow of their real coordinates.

    dν/dk = −(∂λ/∂ν)ᵀ Δλ,   and so for `C` and `B`,

where `ν` is what the layer trains its poles by (`models/layer_poles.py`). With direct poles a pole may reach the unit
circle, which is `DIVERGED`, as for networks; with the others only in the limit. Steps, ends and thresholds are those of
`integration.py`. A layer whose teacher is a layer learns by closed forms, on another task as its real blocks.

Limits: open loops; a horizon and a loss as in `learn`; memory of all snapshots.

Source: docs/theory.md, sections 8 and 11.
"""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array

from localgrad.learning.integration import Run, Scales, Settings, ended, solver_of
from localgrad.learning.solvers.stepping import integrate
from localgrad.models.diagonal import DiagonalSSM
from localgrad.models.layer_poles import LayerPoles, coordinates_of, find_layer_poles, layer_at, pull_back
from localgrad.models.linear import spectral_radius
from localgrad.outcomes import STALLED_SPEED, Outcome, divergence_gap
from localgrad.rules.compiled import in_compiled_form
from localgrad.rules.rule import Rule
from localgrad.tasks.linear_task import as_task
from localgrad.updates.diagonal import check_layer_update, diagonal_loss, diagonal_update, layer_reach
from localgrad.updates.exact import silent_loss
from localgrad.updates.horizon import Horizon


def integrate_layers(
    rule: Rule, students: DiagonalSSM, task: Any, scales: Scales, times: np.ndarray, settings: Settings, poles: Any
) -> Run:
    """The runs of a batch of layers, one after the other in one compiled program."""
    kind, runs = find_layer_poles(poles), []
    dtype = students.C.real.dtype
    numbers = jax.tree.map(lambda x: np.asarray(x, dtype), (scales, times))
    for seed in range(len(students.C)):
        student = jax.tree.map(lambda x, seed=seed: jnp.asarray(x[seed]), students)
        start = coordinates_of(student, kind)
        own = in_compiled_form(rule.of_seed(seed), *student.sizes[:2])
        found = _compiled(own, start, task, numbers[0], numbers[1], settings, kind)
        runs.append(jax.tree.map(np.asarray, found))
    return jax.tree.map(lambda *runs: np.stack(runs), *runs)


def _integrate(
    rule: Rule, start: Any, task: Any, scales: Scales, times: Array, settings: Settings, kind: LayerPoles
) -> Run:
    flat, parts_of = ravel_pytree(start)

    def layer(numbers: Array) -> DiagonalSSM:
        return layer_at(parts_of(numbers), kind)

    def flow(numbers: Array) -> Array:
        update = diagonal_update(rule, layer(numbers), task, settings.horizon)
        return -ravel_pytree(pull_back(update, parts_of(numbers), kind))[0]

    def reach(numbers: Array) -> Array:
        return jnp.minimum(layer_reach(rule, layer(numbers), scales.task_radius), 1.0)

    gap = divergence_gap(scales.task_radius, reach(flat))

    def observe(numbers: Array) -> tuple[Array, Array]:
        loss = diagonal_loss(layer(numbers), task, settings.horizon)
        return ended(loss, scales, settings, lambda: reach(numbers) < 1 - gap)

    solver, controller, first_step = solver_of(settings, scales)
    path = integrate(
        flow, observe, flat, solver, controller, duration=scales.duration, first_step=first_step,
        snapshot_times=times, max_steps=settings.max_steps,
    )  # fmt: skip
    stalled = path.speed <= STALLED_SPEED * jnp.sqrt(2 * scales.silent_loss)
    outcome = jnp.where(stalled & (path.outcome == Outcome.UNFINISHED), int(Outcome.STALLED), path.outcome)
    snapshots = jax.vmap(layer)(path.snapshots)
    return Run(path.time, path.values, snapshots, (), layer(path.final), (), outcome, path.steps)


_compiled = eqx.filter_jit(_integrate)


def silent_loss_of(task: Any, horizon: Horizon) -> Array:
    """The loss of a student without output, whatever the task."""
    if not isinstance(task, DiagonalSSM):
        return silent_loss(as_task(task), horizon)
    silent = DiagonalSSM(jnp.zeros_like(task.C), task.poles, task.B)
    value = diagonal_loss(silent, task, horizon)
    if not value > 0:
        raise ValueError("the teacher's output is 0, so there is nothing to learn; check C and B")
    return value


def radius_of(task: Any) -> float:
    """The spectral radius of a task that stands alone; `ValueError` for a closed loop."""
    if isinstance(task, DiagonalSSM):
        return float(np.abs(np.asarray(task.poles)).max())
    given = as_task(task)
    if given.is_closed_loop:
        raise ValueError("a layer does not learn in a closed loop yet; take lg.real_blocks of it")
    return spectral_radius(given.dynamics)


def check_layers(rule: Rule, students: DiagonalSSM, task: Any, horizon: Horizon) -> None:
    """`ValueError` where a layer of a batch has no update."""
    for seed in range(len(students.C)):
        student = jax.tree.map(lambda x, seed=seed: x[seed], students)
        check_layer_update(rule.of_seed(seed), student, task, horizon)
