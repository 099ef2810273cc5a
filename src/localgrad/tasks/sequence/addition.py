r"""Delayed addition: a class drawn with odds that depend on two inputs of the past.

    x_t ~ Bernoulli(½),   P(class 0 at t) = ½ + ½ x_{t−d₁} − ¼ x_{t−d₂}

What a network can know bounds its loss from below: the mean entropy of the class given nothing, given `x_{t−d₁}`, and
given both. So the loss says how far back a rule has learned to look.

Source: Pitis 2016; Marschall, Cho & Savin 2020 ("Add" task).
"""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PRNGKeyArray
from scipy.special import entr

from localgrad.tasks.sequences import Batch, SequenceTask
from localgrad.tasks.task_arguments import whole


class Add(SequenceTask):
    r"""Delayed addition: `P(class 0) = ½ + ½ x_{t−delay1} − ¼ x_{t−delay2}` of coin flips `x`.

    Inputs are `(x, 1 − x)`, the loss is the cross-entropy of two classes. The first `max(delay1, delay2)` steps, whose
    classes come from before the beginning, do not count.

    **Arguments:** `delay1`, `delay2`: steps, at least 1; `length`: steps of a sequence, more than both.

    **Raises:** `ValueError` for values outside these ranges.

    Source: Marschall, Cho & Savin 2020.

    >>> [round(floor, 4) for floor in Add(3, 6).floors]
    [0.6616, 0.5192, 0.4545]
    """

    delay1: int = eqx.field(static=True)
    delay2: int = eqx.field(static=True)
    length: int = eqx.field(default=60, static=True)
    num_inputs: int = eqx.field(default=2, init=False, static=True)
    num_outputs: int = eqx.field(default=2, init=False, static=True)
    loss: str = eqx.field(default="cross_entropy", init=False, static=True)

    def __post_init__(self) -> None:
        for name in ("delay1", "delay2", "length"):
            setattr(self, name, whole(name, getattr(self, name)))
        if self.length <= self._late:
            raise ValueError(f"length is {self.length}, and must be more than both delays, {self._late}")

    @property
    def _late(self) -> int:
        return max(self.delay1, self.delay2)

    @property
    def floors(self) -> tuple[float, float, float]:
        """The least loss of a network that knows nothing, that knows `x_{t−delay1}` only, and that knows both; nats."""
        odds = np.array([[_odds(first, second) for second in (0, 1)] for first in (0, 1)])
        if self.delay1 == self.delay2:  # one input is both, and who knows it knows all
            odds = np.diag(odds)[:, None]
        return float(_entropy(odds.mean())), float(np.mean(_entropy(odds.mean(1)))), float(np.mean(_entropy(odds)))

    def sample(self, key: PRNGKeyArray, batch: int) -> Batch:
        """See `SequenceTask.sample`."""
        of_inputs, of_classes = jax.random.split(key)
        x = jax.random.bernoulli(of_inputs, 0.5, (batch, self.length + self._late)).astype(float)
        first, second = (x[:, self._late - delay :][:, : self.length] for delay in (self.delay1, self.delay2))
        heads = jax.random.bernoulli(of_classes, _odds(first, second))
        heard = x[:, self._late :]
        mask = jnp.broadcast_to(jnp.arange(self.length) >= self._late, heard.shape).astype(float)
        return Batch(jnp.stack([heard, 1 - heard], axis=-1), 1 - heads.astype(int), mask)


def _odds(first: Any, second: Any) -> Any:
    """The odds of class 0."""
    return 0.5 + 0.5 * first - 0.25 * second


def _entropy(odds: Any) -> Any:
    """The entropy of two classes, in nats."""
    return entr(odds) + entr(1 - np.asarray(odds))
