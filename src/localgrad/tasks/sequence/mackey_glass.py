r"""Mackey–Glass: predict a chaotic series `ahead` units of time from now.

    ẋ = β x(t − τ) / (1 + x(t − τ)^p) − γ x,   β = 0.2, γ = 0.1, p = 10

Chaotic for `τ > 16.8`. Integrated by Heun's method in steps of 0.1, one sample a unit of time, from a constant past
drawn from [0.5, 1.5], after 300 units in which it finds its attractor. Input and target are `x − 1`.

Limits: two integrations with different steps part after some hundred units, as chaos has it; the attractor stays.

Source: Mackey & Glass 1977; Jaeger 2001.
"""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray

from localgrad.tasks.sequences import Batch, SequenceTask
from localgrad.tasks.task_arguments import whole

_STEP = 0.1
_STEPS_A_UNIT = 10
_TRANSIENT = 300


class MackeyGlass(SequenceTask):
    r"""Predict the Mackey–Glass series `ahead` units of time from now, one sample a unit.

    **Arguments:** `tau`: the delay of the equation, units of time, a whole number; 17 is mildly chaotic, 30 more so;
    `ahead`: how far to look, units of time; `length`: samples of a sequence.

    **Raises:** `ValueError` for what is no count.

    Source: Mackey & Glass 1977.

    >>> import jax
    >>> batch = MackeyGlass(length=40, ahead=5).sample(jax.random.key(0), 2)
    >>> bool((batch.inputs[:, 5:] == batch.targets[:, :-5]).all())
    True
    """

    tau: int = eqx.field(default=17, static=True)
    ahead: int = eqx.field(default=6, static=True)
    length: int = eqx.field(default=200, static=True)
    num_inputs: int = eqx.field(default=1, init=False, static=True)
    num_outputs: int = eqx.field(default=1, init=False, static=True)
    loss: str = eqx.field(default="mse", init=False, static=True)

    def __post_init__(self) -> None:
        for name in ("tau", "ahead", "length"):
            setattr(self, name, whole(name, getattr(self, name), 10**6))

    def sample(self, key: PRNGKeyArray, batch: int) -> Batch:
        """See `SequenceTask.sample`."""
        past = jax.random.uniform(key, (batch,), minval=0.5, maxval=1.5)
        series = mackey_glass(past, self.tau, _TRANSIENT + self.length + self.ahead)[:, _TRANSIENT:, None] - 1
        return Batch(series[:, : self.length], series[:, self.ahead :], jnp.ones((batch, self.length)))


def mackey_glass(past: Array, tau: int, units: int) -> Array:
    """The series from constant pasts of shape `"batch"`, one sample a unit of time: shape `"batch units"`."""
    kept = tau * _STEPS_A_UNIT

    def slope(x: Any, late: Any) -> Any:
        return 0.2 * late / (1 + late**10) - 0.1 * x

    def step(state: Any, k: Any) -> Any:
        ring, x = state  # ring[k % kept] is x a delay ago, and the place of the new value
        late, later = ring[k % kept], ring[(k + 1) % kept]
        first = slope(x, late)
        moved = x + _STEP / 2 * (first + slope(x + _STEP * first, later))
        return (ring.at[k % kept].set(x), moved), None

    def unit(state: Any, k: Any) -> Any:
        state, _ = jax.lax.scan(step, state, k * _STEPS_A_UNIT + jnp.arange(_STEPS_A_UNIT))
        return state, state[1]

    start = (jnp.broadcast_to(past, (kept, *past.shape)), past)
    return jax.lax.scan(unit, start, jnp.arange(units))[1].T
