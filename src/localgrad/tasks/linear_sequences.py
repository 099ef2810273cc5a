r"""A linear task as sequences, so that networks of cells learn what linear students learn.

    x_t = X s_t + X₀ ξ_t,   s_{t+1} = D s_t + N ξ_t,   y*_{t+1} = Y s_{t+1},   s_0 = 0, t = 0 … T − 1

A cell that hears `x_t` answers in the same step, `y_{t+1} = A z_{t+1}`, so step `t` of a sequence has the input `x_t`
and the target `y*_{t+1}`: a network of `lg.cells.Linear` units has the errors of the `LinearRNN` of its weights.

Limits: an open loop, and no noise on the student.

Source: docs/theory.md, sections 9 (sampling) and 10.
"""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray

from localgrad.tasks.linear_task import LinearTask
from localgrad.tasks.sequences import Batch, SequenceTask


class LinearSequences(SequenceTask):
    """Sequences of a linear task: `horizon` steps; in the loss all of them, or for `of_final` the last one only."""

    task: Any = None
    horizon: int = eqx.field(default=1, static=True)
    of_final: bool = eqx.field(default=True, static=True)
    num_inputs: int = eqx.field(default=0, static=True)
    num_outputs: int = eqx.field(default=0, static=True)
    loss: str = eqx.field(default="mse", static=True)

    def __init__(self, task: LinearTask, horizon: int, of_final: bool):
        self.task, self.horizon, self.of_final = task, horizon, of_final
        self.num_outputs, _, self.num_inputs = task.sizes
        self.loss = "mse"

    def sample(self, key: PRNGKeyArray, batch: int) -> Batch:
        """Sequences from rest, driven by unit white noise."""
        task = self.task
        noise = jax.random.normal(key, (self.horizon, batch, task.num_noises), task.noise.dtype)

        def step(s: Array, noise: Array) -> tuple[Array, tuple[Array, Array]]:
            after = s @ task.dynamics.mT + noise @ task.noise.mT
            return after, (task.heard(s, noise), after @ task.to_target.mT)

        _, (inputs, targets) = jax.lax.scan(step, jnp.zeros((batch, task.dynamics.shape[0]), task.noise.dtype), noise)
        mask = jnp.ones(self.horizon).at[:-1].set(0.0 if self.of_final else 1.0)
        return Batch(inputs.swapaxes(0, 1), targets.swapaxes(0, 1), jnp.broadcast_to(mask, (batch, self.horizon)))


def check_sequences(task: LinearTask) -> None:
    """`ValueError` where a linear task is more than inputs and targets."""
    if task.is_closed_loop or task.student_noise is not None:
        what = "hears the student's output" if task.is_closed_loop else "puts noise on the student's state"
        raise ValueError(f"the task {what}, which no sequences for networks of cells can say; give another task")


def linear_sequences(task: LinearTask, horizon: int, loss: Any) -> LinearSequences:
    """The sequences of a linear task under the loss `"final"` or `"sequence"`; raises as `check_sequences`."""
    check_sequences(task)
    return LinearSequences(task, horizon, loss == "final")
