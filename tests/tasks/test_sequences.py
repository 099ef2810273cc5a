"""What is asked of every task of sequences: shapes, determinism by key, compilation, masks, learning."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from shipped_tasks import TASKS
from tiers import some

import localgrad as lg

KEY, BATCH = jax.random.key(0), 5
ONES_THE_SAME = {"SumOfSines", "PatternGeneration"}  # whose trials are all alike


class Echo(lg.tasks.SequenceTask):
    """A task of one's own, as the docstring shows it."""

    num_inputs: int = 1
    num_outputs: int = 1
    loss: str = "mse"

    def sample(self, key, batch):
        x = jax.random.normal(key, (batch, 20, 1))
        return lg.tasks.Batch(x, x, jnp.ones((batch, 20)))


def network_for(task, hidden=3):
    rng = np.random.default_rng(0)
    W, B = 0.3 * rng.normal(size=(hidden, hidden)), rng.normal(size=(hidden, task.num_inputs))
    readout = rng.normal(size=(task.num_outputs, hidden))
    return lg.Network(lg.cells.LeakyRate(W, B, None, leak=0.5), lg.Readout(readout))


@pytest.fixture(scope="module", params=some((*TASKS, "Echo"), ("Echo", *list(TASKS)[:3])))
def known(request):
    task = Echo() if request.param == "Echo" else TASKS[request.param]
    return request.param, task, task.sample(KEY, BATCH)


def test_shapes_and_masks(known):
    _, task, batch = known
    steps = batch.inputs.shape[1]
    assert batch.inputs.shape == (BATCH, steps, task.num_inputs)
    assert batch.targets.shape == (BATCH, steps) + ((task.num_outputs,) if task.loss == "mse" else ())
    assert batch.mask.shape == (BATCH, steps)
    for x in (batch.inputs, batch.mask):
        assert jnp.issubdtype(x.dtype, jnp.floating)
    assert all(np.all(np.isfinite(x)) for x in batch)
    assert np.all(batch.mask >= 0)
    assert np.all(batch.mask.sum(1) > 0)
    if task.loss == "cross_entropy":
        assert jnp.issubdtype(batch.targets.dtype, jnp.integer)
        assert batch.targets.min() >= 0
        assert batch.targets.max() < task.num_outputs


def test_a_key_gives_a_batch_and_another_key_another_one(known):
    name, task, batch = known
    again, other = task.sample(KEY, BATCH), task.sample(jax.random.key(1), BATCH)
    assert all(np.array_equal(x, y) for x, y in zip(batch, again, strict=True))
    assert np.array_equal(batch.inputs, other.inputs) == (name in ONES_THE_SAME)


def test_it_compiles(known):
    _, task, batch = known
    compiled = jax.jit(lambda key: task.sample(key, BATCH))(KEY)
    for x, y in zip(batch, compiled, strict=True):
        np.testing.assert_allclose(x, y, atol=1e-12)


def test_a_network_learns_from_it(known):
    _, task, batch = known
    _, info = lg.network_update(
        lg.BPTT(), network_for(task), batch.inputs, batch.targets, mask=batch.mask, loss=task.loss
    )
    assert np.isfinite(info.loss)


def test_every_public_task_is_here():
    public = {name for name in lg.tasks.__all__ if isinstance(getattr(lg.tasks, name), type)}
    own = {name for name in public if issubclass(getattr(lg.tasks, name), lg.tasks.SequenceTask)}
    assert own - {"SequenceTask", "ArrayTask"} == {name for name in TASKS if not name.startswith("from_")}


def test_a_task_without_samples_is_none():
    class Silent(lg.tasks.SequenceTask):
        num_inputs: int = 1
        num_outputs: int = 1
        loss: str = "mse"

    with pytest.raises(TypeError, match="sample"):
        Silent()
