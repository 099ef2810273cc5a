r"""Decisions on what was seen: whether two stimuli match, and where the evidence of one of two senses points.

- `DelayedMatch`: a stimulus, a delay, a second one: are they the same?
- `ContextDecision`: two noisy streams at once, and a sign that says which of them counts.

Source: Miller, Erickson & Desimone 1996; Mante, Sussillo, Shenoy & Newsome 2013.
"""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PRNGKeyArray
from scipy.special import ndtr

from localgrad.tasks.sequences import Batch, SequenceTask
from localgrad.tasks.task_arguments import whole, within


class DelayedMatch(SequenceTask):
    r"""Say whether the second of two stimuli, a delay apart, is the first again (class 1) or another one (class 0).

    The input has a channel for each stimulus and one that asks for the answer, which counts in the last `answer` steps.

    **Arguments:** `stimuli`: at least 2; `shown`, `delay`, `answer`: steps; `noise`: standard deviation of the white
    noise of every channel and step, at least 0.

    **Raises:** `ValueError` for values outside these ranges.

    Source: Miller, Erickson & Desimone 1996; with times of our own.

    >>> import jax
    >>> batch = DelayedMatch(shown=2, delay=3, answer=2).sample(jax.random.key(0), 4)
    >>> batch.inputs.shape, batch.mask[0].tolist()
    ((4, 9, 3), [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 1.0])
    """

    stimuli: int = eqx.field(default=2, static=True)
    shown: int = eqx.field(default=5, static=True)
    delay: int = eqx.field(default=20, static=True)
    answer: int = eqx.field(default=5, static=True)
    noise: float = eqx.field(default=0.1, static=True)
    num_outputs: int = eqx.field(default=2, init=False, static=True)
    loss: str = eqx.field(default="cross_entropy", init=False, static=True)

    def __post_init__(self) -> None:
        for name in ("stimuli", "shown", "delay", "answer"):
            setattr(self, name, whole(name, getattr(self, name)))
        self.noise = within("noise", self.noise, 0, np.inf, "it is a standard deviation", or_first=True)
        if self.stimuli < 2:
            raise ValueError(f"stimuli must be at least 2, or all of them match; got {self.stimuli}")

    @property
    def num_inputs(self) -> int:
        """Stimuli, and what asks for the answer."""
        return self.stimuli + 1

    def sample(self, key: PRNGKeyArray, batch: int) -> Batch:
        """See `SequenceTask.sample`."""
        of_first, of_match, of_other, of_noise = jax.random.split(key, 4)
        first = jax.random.randint(of_first, (batch,), 0, self.stimuli)
        same = jax.random.bernoulli(of_match, 0.5, (batch,))
        other = (first + jax.random.randint(of_other, (batch,), 1, self.stimuli)) % self.stimuli
        second = jnp.where(same, first, other)
        time = jnp.arange(2 * self.shown + self.delay + self.answer)
        at_second = time - self.shown - self.delay
        seen = jax.nn.one_hot(first, self.stimuli)[:, None] * (time < self.shown)[:, None]
        again = jax.nn.one_hot(second, self.stimuli)[:, None] * ((at_second >= 0) & (at_second < self.shown))[:, None]
        asked = jnp.broadcast_to(at_second >= self.shown, (batch, len(time))).astype(float)
        inputs = jnp.concatenate([seen + again, asked[..., None]], axis=-1)
        inputs = inputs + self.noise * jax.random.normal(of_noise, inputs.shape)
        return Batch(inputs, jnp.where(asked > 0, same[:, None].astype(int), 0), asked)


class ContextDecision(SequenceTask):
    r"""Of two noisy streams at once, say the sign of the mean of the one that the context names.

    `x_{t,i} = c_i + noise · ξ_{t,i}` for `i = 1, 2`, and two channels for the context. Each `c_i` is drawn from
    `± coherence · {¼, ½, 1}`. The target, `±1`, counts in the last `answer` steps, in which the streams are silent.

    **Arguments:** `length`: steps of the streams; `answer`: steps; `coherence`: positive; `noise`: standard deviation,
    at least 0.

    **Raises:** `ValueError` for values outside these ranges.

    Source: Mante et al. 2013; with times and strengths of our own.

    >>> import jax
    >>> ContextDecision(length=10, answer=2).sample(jax.random.key(0), 3).inputs.shape
    (3, 12, 4)
    """

    length: int = eqx.field(default=30, static=True)
    answer: int = eqx.field(default=5, static=True)
    coherence: float = eqx.field(default=0.5, static=True)
    noise: float = eqx.field(default=1.0, static=True)
    num_inputs: int = eqx.field(default=4, init=False, static=True)
    num_outputs: int = eqx.field(default=1, init=False, static=True)
    loss: str = eqx.field(default="mse", init=False, static=True)

    def __post_init__(self) -> None:
        for name in ("length", "answer"):
            setattr(self, name, whole(name, getattr(self, name)))
        self.coherence = within("coherence", self.coherence, 0, np.inf, "there must be something to see")
        self.noise = within("noise", self.noise, 0, np.inf, "it is a standard deviation", or_first=True)

    @property
    def best_accuracy(self) -> float:
        """The share of right answers of an observer who takes the sign of the sum of the stream that counts."""
        if self.noise == 0:
            return 1.0
        strengths = self.coherence * np.array([0.25, 0.5, 1.0])
        return float(np.mean(ndtr(np.sqrt(self.length) * strengths / self.noise)))

    def sample(self, key: PRNGKeyArray, batch: int) -> Batch:
        """See `SequenceTask.sample`."""
        of_strength, of_sign, of_context, of_noise = jax.random.split(key, 4)
        strength = jax.random.choice(of_strength, jnp.array([0.25, 0.5, 1.0]), (batch, 2))
        sign = jnp.where(jax.random.bernoulli(of_sign, 0.5, (batch, 2)), 1.0, -1.0)
        context = jax.random.randint(of_context, (batch,), 0, 2)
        streams = (self.coherence * sign * strength)[:, None] + self.noise * jax.random.normal(
            of_noise, (batch, self.length, 2)
        )
        streams = jnp.concatenate([streams, jnp.zeros((batch, self.answer, 2))], axis=1)
        named = jnp.broadcast_to(jax.nn.one_hot(context, 2)[:, None], streams.shape)
        answering = jnp.broadcast_to(jnp.arange(streams.shape[1]) >= self.length, streams.shape[:2]).astype(float)
        right = jnp.take_along_axis(sign, context[:, None], axis=1)
        return Batch(jnp.concatenate([streams, named], axis=-1), (answering * right)[..., None], answering)
