r"""What a task of sequences is: batches of inputs, targets, and weights of the steps, drawn from a key.

    (x_t, y*_t, m_t), t = 1 … T;   loss = mean over the batch of Σ_t m_t ℓ_t / Σ_t m_t,
    ℓ = ½ ‖y − y*‖² or the cross-entropy of softmax(y)

as in `lg.network_update`, which takes a batch as it is. A task of one's own is a subclass with one method:

    class Echo(SequenceTask):
        num_inputs: int = 1
        num_outputs: int = 1
        loss: str = "mse"

        def sample(self, key, batch):
            x = jax.random.normal(key, (batch, 20, 1))
            return Batch(x, x, jnp.ones((batch, 20)))

Limits: all sequences of a batch have one length; what ends early has a mask of 0 from there on.

Source: docs/theory.md, section 12.
"""

from __future__ import annotations

import abc
from typing import Any, NamedTuple

import equinox as eqx
from jaxtyping import PRNGKeyArray

LOSSES = ("mse", "cross_entropy")


class Batch(NamedTuple):
    """Sequences to learn from.

    **Fields:** `inputs`: shape `"batch time input"`. `targets`: shape `"batch time output"`, or where the loss is
    `"cross_entropy"` whole numbers from 0, the classes, shape `"batch time"`. `mask`: weights of the steps in the loss,
    at least 0 and not all 0 in any sequence, shape `"batch time"`.

    Source: docs/theory.md, section 12.

    >>> Batch([[[0.5]]], [[[1.0]]], [[1.0]])._fields
    ('inputs', 'targets', 'mask')
    """

    inputs: Any
    targets: Any
    mask: Any


class SequenceTask(eqx.Module):
    """A task of sequences; subclass it with `num_inputs`, `num_outputs`, `loss` and `sample`.

    **Fields:** `num_inputs`: channels of the input. `num_outputs`: numbers of the output, for `"cross_entropy"` the
    number of classes. `loss`: `"mse"` or `"cross_entropy"`, as of `lg.network_update`.

    Source: docs/theory.md, section 12.

    >>> import jax, jax.numpy as jnp
    >>> class Echo(SequenceTask):
    ...     num_inputs: int = 1
    ...     num_outputs: int = 1
    ...     loss: str = "mse"
    ...     def sample(self, key, batch):
    ...         x = jax.random.normal(key, (batch, 20, 1))
    ...         return Batch(x, x, jnp.ones((batch, 20)))
    >>> Echo().sample(jax.random.key(0), 2).inputs.shape
    (2, 20, 1)
    """

    @property
    @abc.abstractmethod
    def num_inputs(self) -> int:
        """Channels of the input."""

    @property
    @abc.abstractmethod
    def num_outputs(self) -> int:
        """Numbers of the output, or classes."""

    @property
    @abc.abstractmethod
    def loss(self) -> str:
        """`"mse"` or `"cross_entropy"`."""

    @abc.abstractmethod
    def sample(self, key: PRNGKeyArray, batch: int) -> Batch:
        """A batch of sequences drawn from a random key; the same key gives the same batch. Compiles under `jax.jit`.

        **Arguments:** `batch`: how many sequences, at least 1, known when the program is compiled.
        """
