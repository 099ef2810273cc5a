r"""The update of one batch of noisy sequences to a diagonal layer, under any rule with a diagonal propagator.

As for networks (`sampled.py`), in three ways that agree to rounding:

- `correlation`: the formulas of the expected update by lags (`diagonal_lags.py`) with the correlations `Ê_k` that were
    measured in the batch. On a teacher that is a layer it costs `O(T (n + n*))` beside them.
- `recorded`: back through recorded sequences of the layer's real blocks.
- `online`: forward in time, with a complex trace for every pole and every input weight,
    `p_t = m̄ ∘ p_{t−1} + h̄_{t−1}`, `q_t = m̄ ∘ q_{t−1} + x_{t−1}`, also under BPTT, since units do not mix.

On a task that is no layer, the first two take the layer as its network of real blocks (`models/diagonal.py`).

Source: docs/theory.md, sections 9 (sampling) and 11.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from localgrad.models.diagonal import DiagonalSSM, from_blocks, real_blocks
from localgrad.rules.rule import Rule
from localgrad.tasks.linear_task import LinearTask, as_task
from localgrad.updates.diagonal_blocks import rule_of_blocks
from localgrad.updates.diagonal_lags import errors_by_lag, update_by_lag
from localgrad.updates.lags import BLOCK, Lags
from localgrad.updates.sampled import METHODS, Noise, Sampled, check_trace, correlate


def sampled_layer_update(
    rule: Rule, student: DiagonalSSM, task: LinearTask | DiagonalSSM, noise: Noise, loss: str, method: str
) -> Sampled:
    """The update of a batch, and its loss."""
    if method == "online":
        return _online(rule, student, as_task(task), noise, loss)
    if method == "correlation" and isinstance(task, DiagonalSSM) and not rule.delay:
        return _by_correlation(rule, student, task, noise, loss)
    update, value = METHODS[method](rule_of_blocks(rule, student), real_blocks(student), as_task(task), noise, loss)
    return from_blocks(update), value


def check_sampled_layer(rule: Rule, task: Any, horizon: int, method: str) -> None:
    """`ValueError` where the method does not serve."""
    if method == "online":
        check_trace(rule, as_task(task), horizon + rule.delay)


def _by_correlation(rule: Rule, student: DiagonalSSM, teacher: DiagonalSSM, noise: Noise, loss: str) -> Sampled:
    T, num_blocks = noise.horizon, -(-noise.horizon // BLOCK)
    within = (np.arange(num_blocks * BLOCK) < T).astype(student.C.real.dtype).reshape(num_blocks, BLOCK)
    lags = Lags(within, num_blocks)
    errors = errors_by_lag(student, teacher, lags)
    measured, value = correlate(errors.reshape(-1, *errors.shape[2:])[:T], noise.all(as_task(teacher)), loss, T)
    padded = jnp.pad(measured, ((0, num_blocks * BLOCK - T), (0, 0), (0, 0))).reshape(errors.shape)
    F, m = rule.feedback(student.C), rule.propagator.on_diagonal(student.poles)
    return update_by_lag(student, padded, F, jnp.asarray(m, student.poles.dtype), rule.lags, lags), value


class _Traces(NamedTuple):
    """What is carried from step to step, a row a sequence; nothing of it grows with the horizon."""

    h: Array  # "batch hidden", complex
    s: Array  # "batch state", of the task
    to_poles: Array  # "batch hidden"
    to_input: Array  # "batch hidden_or_one input"
    waiting: Array  # errors that have not arrived yet, the oldest first, "delay batch output"
    total: DiagonalSSM
    loss: Array


def _online(rule: Rule, student: DiagonalSSM, task: LinearTask, noise: Noise, loss: str) -> Sampled:
    steps = noise.horizon + rule.delay
    check_trace(rule, task, steps)
    F, m = rule.feedback(student.C).conj(), jnp.ravel(rule.propagator.on_diagonal(student.poles)).conj()
    m = jnp.zeros_like(m) if rule.lags == 1 else m
    num_learning = 1 if loss == "final" else noise.horizon

    def move(t: Array, state: _Traces) -> _Traces:
        xi = noise.at(t, task)
        x, y = task.heard(state.s, xi), (state.h @ student.C.T).real
        to_poles = m * state.to_poles + state.h.conj()
        to_input = m[:, None] * state.to_input + x[:, None, :]
        h = student.poles * state.h + x @ student.B.T + _own_noise(task, xi)
        return state._replace(h=h, s=task.moved(state.s, xi, y), to_poles=to_poles, to_input=to_input)

    def learn(t: Array, state: _Traces) -> _Traces:
        error = jnp.where(t < noise.horizon, (state.h @ student.C.T).real - state.s @ task.to_target.mT, 0)
        queue = jnp.concatenate([state.waiting, error[None]])
        arrived, credit = queue[0], queue[0] @ F
        to_input = jnp.einsum(
            "nk,nki->ki", credit, jnp.broadcast_to(state.to_input, (*credit.shape, state.to_input.shape[-1]))
        )
        update = DiagonalSSM(arrived.T @ state.h.conj(), jnp.sum(credit * state.to_poles, axis=0), to_input)
        total = jax.tree.map(jnp.add, state.total, update)
        return state._replace(waiting=queue[1:], total=total, loss=state.loss + jnp.sum(error**2) / 2)

    unlearned = noise.horizon - num_learning
    state = jax.lax.fori_loop(0, unlearned, move, _at_rest(rule, student, task, noise.batch_size, len(m)))
    state = jax.lax.fori_loop(unlearned, steps, lambda t, s: learn(t, move(t, s)), state)
    return jax.tree.map(lambda sum_: sum_ / (noise.batch_size * num_learning), (state.total, state.loss))


def _own_noise(task: LinearTask, xi: Array) -> Array:
    """The noise on the layer's state, told of its real blocks: first all `Re h`, then all `Im h`."""
    if task.student_noise is None:
        return jnp.zeros((), xi.dtype)
    re, im = jnp.split(xi @ task.student_noise.mT, 2, axis=-1)
    return jax.lax.complex(re, im)


def _at_rest(rule: Rule, student: DiagonalSSM, task: LinearTask, batch_size: int, num_decays: int) -> _Traces:
    dtype, (output, hidden, inputs) = student.C.dtype, student.sizes
    return _Traces(
        h=jnp.zeros((batch_size, hidden), dtype),
        s=jnp.zeros((batch_size, len(task.dynamics)), student.C.real.dtype),
        to_poles=jnp.zeros((batch_size, hidden), dtype),
        to_input=jnp.zeros((batch_size, num_decays, inputs), dtype),
        waiting=jnp.zeros((rule.delay, batch_size, output), student.C.real.dtype),
        total=jax.tree.map(jnp.zeros_like, student),
        loss=jnp.zeros((), student.C.real.dtype),
    )
