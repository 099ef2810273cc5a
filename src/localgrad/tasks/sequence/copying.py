r"""Copy: hear symbols, wait, and say them again after a mark.

    symbols s_1 … s_L, then `delay` steps of silence, of which the last is the mark, then L steps: say s_1 … s_L

Source: Hochreiter & Schmidhuber 1997; Arjovsky, Shah & Bengio 2016.
"""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PRNGKeyArray

from localgrad.tasks.sequences import Batch, SequenceTask
from localgrad.tasks.task_arguments import whole


class Copy(SequenceTask):
    r"""Say `length` symbols again, `delay` steps after the last of them.

    The input is one-hot: `symbols` channels, one for silence and one for the mark, which comes in the last step of the
    delay. The loss is the cross-entropy over the last `length` steps; guessing costs `ln symbols`.

    **Arguments:** `symbols`: at least 2; `length`, `delay`: steps, at least 1.

    **Raises:** `ValueError` for values outside these ranges.

    Source: Arjovsky, Shah & Bengio 2016.

    >>> import jax
    >>> batch = Copy(symbols=4, length=3, delay=5).sample(jax.random.key(0), 2)
    >>> batch.inputs.shape, batch.targets.shape, batch.mask[0].tolist()[-4:]
    ((2, 11, 6), (2, 11), [0.0, 1.0, 1.0, 1.0])
    """

    symbols: int = eqx.field(default=8, static=True)
    length: int = eqx.field(default=5, static=True)
    delay: int = eqx.field(default=10, static=True)
    loss: str = eqx.field(default="cross_entropy", init=False, static=True)

    def __post_init__(self) -> None:
        for name in ("symbols", "length", "delay"):
            setattr(self, name, whole(name, getattr(self, name)))
        if self.symbols < 2:
            raise ValueError(f"symbols must be at least 2, or there is nothing to tell apart; got {self.symbols}")

    @property
    def num_inputs(self) -> int:
        """Symbols, silence and the mark."""
        return self.symbols + 2

    @property
    def num_outputs(self) -> int:
        """Symbols."""
        return self.symbols

    @property
    def floor(self) -> float:
        """The loss of a guess, `ln symbols`, in nats."""
        return float(np.log(self.symbols))

    def sample(self, key: PRNGKeyArray, batch: int) -> Batch:
        """See `SequenceTask.sample`."""
        said = jax.random.randint(key, (batch, self.length), 0, self.symbols)
        silence = jnp.full((batch, self.delay + self.length), self.symbols)
        heard = jnp.concatenate([said, silence.at[:, self.delay - 1].set(self.symbols + 1)], axis=1)
        before = jnp.zeros((batch, self.length + self.delay), said.dtype)
        counts = jnp.concatenate([jnp.zeros(before.shape), jnp.ones(said.shape)], axis=1)
        return Batch(jax.nn.one_hot(heard, self.num_inputs), jnp.concatenate([before, said], axis=1), counts)
