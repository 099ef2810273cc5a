r"""Flip-flop: for each channel, keep the sign of the last pulse.

    x_{t,i} = ±1 with probability p, else 0;   y*_{t,i} = the last x_{s,i} ≠ 0 with s ≤ t

Source: Sussillo & Barak 2013.
"""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import PRNGKeyArray

from localgrad.tasks.sequences import Batch, SequenceTask
from localgrad.tasks.task_arguments import whole, within


class FlipFlop(SequenceTask):
    r"""Keep the sign of the last pulse of each channel; the first step has a pulse in all of them.

    **Arguments:** `bits`: channels, at least 1; `length`: steps; `probability`: of a pulse in a channel and step, in
    (0, 1].

    **Raises:** `ValueError` for values outside these ranges.

    Source: Sussillo & Barak 2013.

    >>> import jax
    >>> batch = FlipFlop(bits=2, length=5).sample(jax.random.key(0), 3)
    >>> batch.targets.shape, bool(abs(batch.targets).min() == 1)
    ((3, 5, 2), True)
    """

    bits: int = eqx.field(default=3, static=True)
    length: int = eqx.field(default=50, static=True)
    probability: float = eqx.field(default=0.1, static=True)
    loss: str = eqx.field(default="mse", init=False, static=True)

    def __post_init__(self) -> None:
        self.bits = whole("bits", self.bits)
        self.length = whole("length", self.length)
        self.probability = within("probability", self.probability, 0, 1, "there must be pulses", or_last=True)

    @property
    def num_inputs(self) -> int:
        """One a bit."""
        return self.bits

    @property
    def num_outputs(self) -> int:
        """One a bit."""
        return self.bits

    def sample(self, key: PRNGKeyArray, batch: int) -> Batch:
        """See `SequenceTask.sample`."""
        of_pulses, of_signs = jax.random.split(key)
        shape = (batch, self.length, self.bits)
        pulses = jax.random.bernoulli(of_pulses, self.probability, shape).at[:, 0].set(True)
        signs = jnp.where(jax.random.bernoulli(of_signs, 0.5, shape), 1.0, -1.0)
        last = jax.lax.cummax(jnp.where(pulses, jnp.arange(self.length)[:, None], 0), axis=1)
        kept = jnp.take_along_axis(signs, last, axis=1)
        return Batch(signs * pulses, kept, jnp.ones((batch, self.length)))
