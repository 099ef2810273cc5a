"""Small sequence tasks and networks of cells for tests of training."""

import jax
import jax.numpy as jnp
import numpy as np

import localgrad as lg
from localgrad.tasks.sequences import Batch, SequenceTask

HIDDEN, INPUT, OUTPUT, STEPS = 6, 2, 2, 5


class Summing(SequenceTask):
    """Sum the input up with a leak; in every other sequence the first two steps do not count."""

    num_inputs: int = INPUT
    num_outputs: int = OUTPUT
    loss: str = "mse"
    leak: float = 0.8
    scale: float = 1.0

    def sample(self, key, batch):
        x = self.scale * jax.random.normal(key, (batch, STEPS, INPUT))

        def step(sums, x):
            sums = self.leak * sums + x
            return sums, sums

        y = jax.lax.scan(step, jnp.zeros((batch, INPUT)), x.swapaxes(0, 1))[1].swapaxes(0, 1)
        return Batch(x, y, jnp.ones((batch, STEPS)).at[::2, :2].set(0.0))


class Larger(SequenceTask):
    """Say which of two inputs was larger in sum so far."""

    num_inputs: int = INPUT
    num_outputs: int = OUTPUT
    loss: str = "cross_entropy"

    def sample(self, key, batch):
        x = jax.random.normal(key, (batch, STEPS, INPUT))
        return Batch(x, jnp.cumsum(x, axis=1).argmax(-1), jnp.ones((batch, STEPS)))


def network(seed=0, readout=0.5, cell=lg.cells.LeakyRate):
    """A leaky tanh network with biases."""
    rng = np.random.default_rng(seed)
    W, B = rng.normal(size=(HIDDEN, HIDDEN)) / np.sqrt(HIDDEN), rng.normal(size=(HIDDEN, INPUT))
    A = readout * rng.normal(size=(OUTPUT, HIDDEN))
    return lg.Network(cell(W, B, 0.1 * rng.normal(size=HIDDEN), leak=0.4), lg.Readout(A, np.zeros(OUTPUT)))


def feedback(*seeds, seed=1):
    return np.random.default_rng(seed).normal(size=(*seeds, OUTPUT, HIDDEN))


def loss_by_hand(net, batch, kind):
    """Loss of a leaky tanh network, written out."""
    cell, s, total = net.layers[0], jnp.zeros((len(batch.inputs), HIDDEN)), 0.0
    for t in range(STEPS):
        s = (1 - cell.leak) * s + cell.leak * jnp.tanh(s @ cell.W.T + batch.inputs[:, t] @ cell.B.T + cell.bias)
        y = s @ net.readout.A.T + net.readout.bias
        if kind == "mse":
            value = ((y - batch.targets[:, t]) ** 2).sum(1) / 2
        else:
            value = -jnp.take_along_axis(jax.nn.log_softmax(y), batch.targets[:, t, None], axis=1)[:, 0]
        total = total + value * batch.mask[:, t] / batch.mask.sum(1)
    return total.mean()
