"""What is asked of every task of sequences: shapes, determinism by key, compilation, masks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import localgrad as lg


class Echo(lg.tasks.SequenceTask):
    """A task of one's own, as the docstring shows it."""

    num_inputs: int = 1
    num_outputs: int = 1
    loss: str = "mse"

    def sample(self, key, batch):
        x = jax.random.normal(key, (batch, 20, 1))
        return lg.tasks.Batch(x, x, jnp.ones((batch, 20)))


def test_a_task_of_ones_own_is_one_method():
    batch = Echo().sample(jax.random.key(0), 3)
    network = lg.Network(lg.cells.LeakyRate([[0.5]], [[1.0]], None, leak=0.5), lg.Readout([[1.0]]))
    _, info = lg.network_update(lg.BPTT(), network, batch.inputs, batch.targets, mask=batch.mask)
    assert np.isfinite(info.loss)


def test_a_task_without_samples_is_none():
    class Silent(lg.tasks.SequenceTask):
        num_inputs: int = 1
        num_outputs: int = 1
        loss: str = "mse"

    with pytest.raises(TypeError, match="sample"):
        Silent()
