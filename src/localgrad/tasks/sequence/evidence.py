r"""Evidence accumulation: cues to the left and to the right, a delay, then: on which side were there more?

Four groups of neurons fire at random: the left and the right group while a cue of their side is shown, one that calls
for the answer at the end, and one as background all the time. The answer counts in the recall at the end only.

Source: Bellec et al. 2020 (after Morcos & Harvey 2016): 7 cues of 100 ms with gaps of 50 ms, cues of one side with
probability 0.7 or 0.3, 40 Hz in a cue, 10 Hz as background, recall of 150 ms.
"""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import PRNGKeyArray

from localgrad.tasks.sequences import Batch, SequenceTask
from localgrad.tasks.task_arguments import whole, within


class EvidenceAccumulation(SequenceTask):
    r"""Say on which side there were more of an odd number of cues.

    In every trial one side is favoured: each cue is on it with probability 0.7. Class 0 is left, 1 right, whichever had
    more cues. All times in steps; a step of 10 ms makes the published times by default, but for a shorter delay.

    **Arguments:** `cues`: an odd number; `cue`, `gap`, `delay`, `recall`: steps; `group`: neurons a group; `rate`,
    `background`: odds of a spike a step, in (0, 1]; 0.4 is 40 Hz in steps of 10 ms.

    **Raises:** `ValueError` for values outside these ranges.

    Source: Bellec et al. 2020.

    >>> import jax
    >>> batch = EvidenceAccumulation(cues=3, cue=5, gap=2, delay=10, recall=4).sample(jax.random.key(0), 2)
    >>> batch.inputs.shape, int(batch.mask.sum())
    ((2, 35, 40), 8)
    """

    cues: int = eqx.field(default=7, static=True)
    cue: int = eqx.field(default=10, static=True)
    gap: int = eqx.field(default=5, static=True)
    delay: int = eqx.field(default=50, static=True)
    recall: int = eqx.field(default=15, static=True)
    group: int = eqx.field(default=10, static=True)
    rate: float = eqx.field(default=0.4, static=True)
    background: float = eqx.field(default=0.1, static=True)
    num_outputs: int = eqx.field(default=2, init=False, static=True)
    loss: str = eqx.field(default="cross_entropy", init=False, static=True)

    def __post_init__(self) -> None:
        for name in ("cues", "cue", "gap", "delay", "recall", "group"):
            setattr(self, name, whole(name, getattr(self, name)))
        for name in ("rate", "background"):
            setattr(self, name, within(name, getattr(self, name), 0, 1, "it is the odds of a spike", or_last=True))
        if self.cues % 2 == 0:
            raise ValueError(f"cues must be odd, or the sides can tie; got {self.cues}")

    @property
    def num_inputs(self) -> int:
        """Four groups."""
        return 4 * self.group

    def sample(self, key: PRNGKeyArray, batch: int) -> Batch:
        """See `SequenceTask.sample`."""
        of_side, of_cues, of_spikes = jax.random.split(key, 3)
        right_odds = jnp.where(jax.random.bernoulli(of_side, 0.5, (batch, 1)), 0.7, 0.3)
        right = jax.random.bernoulli(of_cues, right_odds, (batch, self.cues))
        shown = jnp.tile(jnp.arange(self.cue + self.gap) < self.cue, self.cues)
        of_cue = jnp.repeat(right, self.cue + self.gap, axis=1)
        quiet = jnp.zeros((batch, self.delay + self.recall), bool)
        left_on, right_on = (jnp.concatenate([on & shown, quiet], axis=1) for on in (~of_cue, of_cue))
        answering = jnp.broadcast_to(jnp.arange(left_on.shape[1]) >= left_on.shape[1] - self.recall, left_on.shape)
        rates = [self.rate * on for on in (left_on, right_on, answering)] + [jnp.full(left_on.shape, self.background)]
        odds = jnp.repeat(jnp.stack(rates, axis=-1), self.group, axis=-1)
        spikes = jax.random.bernoulli(of_spikes, odds).astype(float)
        more_right = (2 * right.sum(1) > self.cues).astype(int)
        return Batch(spikes, jnp.where(answering, more_right[:, None], 0), answering.astype(float))
