"""Training of networks of cells: a step by hand, three ways; seeds beside one another; checkpoints; bad input."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from sequence_cases import HIDDEN, OUTPUT, STEPS, Larger, Summing, feedback, loss_by_hand, network

import localgrad as lg
from localgrad.cells.stack import arrays_of_network
from localgrad.learning.groups import GROUP
from localgrad.tasks.sequences import Batch

KEY = jax.random.key(3)
SETTINGS = {"key": KEY, "batch_size": 4}
RATE = SETTINGS | {"learning_rate": 0.1}
RFLO = lg.RFLO(feedback(), "internal")


def assert_same(one, other, tolerance=0.0):
    one, other = jax.tree.leaves(one), jax.tree.leaves(other)
    assert len(one) == len(other) > 0
    for x, y in zip(one, other, strict=True):
        np.testing.assert_allclose(np.asarray(x), np.asarray(y), rtol=tolerance, atol=tolerance)


def seed_of(tree, seed):
    return jax.tree.map(lambda x: x[seed], tree)


# --- a step ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", [Summing(), Larger()], ids=lambda task: task.loss)
def test_a_step_is_the_update_on_its_batch_and_for_bptt_the_gradient(task):
    start, batch = network(), task.sample(jax.random.fold_in(KEY, 0), 4)
    run = lg.train(lg.BPTT(), start, task, num_steps=1, **RATE)
    update, info = lg.network_update(
        lg.BPTT(), start, batch.inputs, batch.targets, loss=task.loss, mask=np.asarray(batch.mask)
    )
    assert_same(run.final, jax.tree.map(lambda x, d: x - 0.1 * d, start, update), 1e-13)
    value, gradient = jax.value_and_grad(loss_by_hand)(start, batch, task.loss)
    assert_same(run.final.layers[0].W, start.layers[0].W - 0.1 * gradient.layers[0].W, 1e-13)
    assert_same(run.final.layers[0].bias, start.layers[0].bias - 0.1 * gradient.layers[0].bias, 1e-13)
    assert_same((run.loss[0], run.loss[0]), (info.loss, value), 1e-13)
    assert_same(run.final.layers[0].leak, start.layers[0].leak)  # it does not learn


def test_a_local_rule_takes_its_own_step_online_too():
    start, batch = network(), Summing().sample(jax.random.fold_in(KEY, 0), 4)
    runs = [lg.train(RFLO, start, Summing(), num_steps=1, method=how, **RATE) for how in ("recorded", "online")]
    update, _ = lg.network_update(RFLO, start, batch.inputs, batch.targets, mask=np.asarray(batch.mask))
    assert_same(runs[0].final, jax.tree.map(lambda x, d: x - 0.1 * d, start, update), 1e-13)
    assert_same(runs[0].final, runs[1].final, 1e-12)
    gradient = lg.train(lg.BPTT(), start, Summing(), num_steps=1, **RATE)
    assert abs(gradient.final.layers[0].W - runs[0].final.layers[0].W).max() > 1e-3


def test_steps_of_an_optimiser_are_those_of_optax():
    task, net, optimizer = Summing(), network(), optax.adamw(1e-2, weight_decay=0.1)
    run = lg.train(RFLO, net, task, num_steps=3, optimizer=optimizer, **SETTINGS)
    names = [name for name in arrays_of_network(net) if "leak" not in name]  # weight decay would move the leak
    state = optimizer.init({name: arrays_of_network(net)[name] for name in names})
    for k in range(3):
        batch = task.sample(jax.random.fold_in(KEY, k), 4)
        update, _ = lg.network_update(RFLO, net, batch.inputs, batch.targets, mask=np.asarray(batch.mask))
        own = {name: arrays_of_network(net)[name] for name in names}
        steps, state = optimizer.update({name: arrays_of_network(update)[name] for name in names}, state, own)
        moved = arrays_of_network(net) | optax.apply_updates(own, steps)
        net = jax.tree.unflatten(jax.tree.structure(net), list(moved.values()))
    assert_same(run.final, net, 1e-12)


def test_feedback_that_learns_learns_along():
    rule = lg.Rule(lg.KolenPollack(feedback(), 0.5), "internal")
    run = lg.train(rule, network(), Summing(), num_steps=3, **RATE)
    moved = np.asarray(run.final_rule.state[0]) - feedback()
    assert np.abs(moved).max() > 1e-3
    descent = run.final.readout.A - network().readout.A
    assert abs(moved - descent).max() > 1e-3  # it decays, besides what the readout does


# --- runs ------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_every_seed_is_a_run_of_its_own():
    count = GROUP + 2  # two groups of different sizes
    nets, own = [network(seed) for seed in range(count)], feedback(count)
    settings = RATE | {"num_steps": 8, "save_every": 4, "record_every": 3}
    run = lg.train(lg.RFLO(own, "internal"), nets, Summing(), **settings)
    assert run.loss.shape == (count, 8)
    assert run.record_steps.tolist() == [0, 3, 6, 8]
    assert run.records["loss"].shape == (count, 4)
    assert run.snapshots.layers[0].W.shape == (count, 3, HIDDEN, HIDDEN)
    assert_same(run.snapshots.layers[0].W[:, 2], run.final.layers[0].W)
    for seed in (0, count - 1):
        key, rule = jax.random.split(KEY, count)[seed], lg.RFLO(own[seed], "internal")
        alone = lg.train(rule, nets[seed], Summing(), **settings | {"key": key})
        assert_same(seed_of(run.final, seed), alone.final, 1e-12)
        np.testing.assert_allclose(run.loss[seed], alone.loss, rtol=1e-12)
    stacked = jax.tree.map(lambda *x: jnp.stack(x), *nets)
    again = lg.train(lg.RFLO(own, "internal"), stacked, Summing(), **settings)
    assert_same(run.final, again.final)
    assert "7 networks of LeakyRate" in repr(run)


def test_one_network_under_feedback_of_many_seeds_is_copied():
    own = feedback(3)
    run = lg.train(lg.RFLO(own, "internal"), network(), Summing(), num_steps=2, **RATE)
    assert_same(run.initial.layers[0].W, np.stack([network().layers[0].W] * 3))
    assert abs(run.final.layers[0].W[0] - run.final.layers[0].W[1]).max() > 1e-3


def test_held_out_loss_and_accuracy_are_those_of_their_batch():
    start = network()
    run = lg.train(lg.BPTT(), start, Larger(), num_steps=40, test_size=64, target_loss=0.9, **RATE)
    batch = Larger().sample(jax.random.fold_in(KEY, 2**32 - 1), 64)
    for net, at in ((start, 0), (run.final, -1)):
        np.testing.assert_allclose(run.records["loss"][at], loss_by_hand(net, batch, "cross_entropy"), rtol=1e-12)
    assert run.silent_loss == pytest.approx(np.log(OUTPUT))
    assert 0.5 < run.records["accuracy"][-1] <= 1
    assert run.outcome == lg.Outcome.CONVERGED
    assert "accuracy" in repr(run)
    assert run.plot().axes


def test_a_run_that_blows_up_is_a_result():
    run = lg.train(
        lg.BPTT(), [network(0), network(1)], Summing(), num_steps=30, key=KEY, batch_size=4, learning_rate=50.0
    )
    assert set(run.outcome) == {lg.Outcome.DIVERGED}
    assert all(run.diverged_at >= 0)
    for seed, at in enumerate(run.diverged_at):
        assert np.all(run.loss[seed, at:] == run.loss[seed, -1])
        assert run.loss[seed, at - 1] < run.loss[seed, -1]
    assert all(np.all(np.isfinite(x)) for x in jax.tree.leaves((run.final, run.loss, run.records)))


@pytest.mark.slow
def test_in_a_closed_loop_a_step_is_the_update_on_its_trials_and_the_loss_what_they_cost(tmp_path):
    task = lg.tasks.Reaching(length=STEPS, credit="loop")
    start = network()
    cell = lg.cells.LeakyRate(start.layers[0].W, 0.1 * np.ones((HIDDEN, 6)), None, leak=0.4)
    start = lg.Network(cell, start.readout)
    run = lg.train(lg.BPTT(), start, task, num_steps=1, **RATE)

    def cost(net, key):
        return task.sample(key, 4, net)[1]

    value, gradient = jax.value_and_grad(cost)(start, jax.random.fold_in(KEY, 0))
    assert_same(run.final.layers[0].W, start.layers[0].W - 0.1 * gradient.layers[0].W, 1e-12)
    assert run.loss[0] == pytest.approx(float(value), rel=1e-12)
    held_out = jax.random.fold_in(KEY, 2**32 - 1)
    assert_same(run.records["loss"], np.array([cost(start, held_out), cost(run.final, held_out)]), 1e-12)
    silent = lg.Network(cell, lg.Readout(0 * start.readout.A))
    assert run.silent_loss == pytest.approx(float(cost(silent, held_out)), rel=1e-12)
    for num_steps in (2, 5):
        again = lg.train(lg.BPTT(), start, task, num_steps=num_steps, checkpoint=tmp_path / "run.npz", **RATE)
    assert_same(again.final, lg.train(lg.BPTT(), start, task, num_steps=5, **RATE).final)


# --- checkpoints -----------------------------------------------------------------------------------------------------


ADAM = SETTINGS | {"record_every": 3, "save_every": 4, "record": ()}


def test_a_run_that_was_stopped_goes_on_bit_for_bit(tmp_path):
    nets, rule = [network(0), network(1)], lg.Rule(lg.KolenPollack(feedback(2), 0.5), "internal")
    settings = ADAM | {"optimizer": optax.adam(1e-2)}
    whole = lg.train(rule, nets, Summing(), num_steps=11, **settings)
    stored = {"checkpoint": tmp_path / "run.npz", "checkpoint_every": 4}
    for num_steps in (5, 6, 11):
        again = ADAM | {"optimizer": optax.adam(1e-2)}  # another object, the same program
        run = lg.train(rule, nets, Summing(), num_steps=num_steps, **again, **stored)
    for name in ("final", "final_rule", "loss", "records", "record_steps", "snapshots", "outcome", "diverged_at"):
        assert_same(getattr(run, name), getattr(whole, name))


def test_an_optimiser_that_draws_goes_on_with_its_key(tmp_path):
    def run(num_steps, **options):
        optimizer = optax.chain(optax.adam(1e-2), lg.rounded_weights(0.01, jax.random.key(5)))
        return lg.train(
            lg.BPTT(), network(), Summing(), num_steps=num_steps, optimizer=optimizer, **SETTINGS, **options
        )

    whole = run(6)
    for num_steps in (3, 6):
        again = run(num_steps, checkpoint=tmp_path / "run.npz")
    assert_same(again.final, whole.final)
    W = np.asarray(whole.final.layers[0].W)
    np.testing.assert_allclose(W, np.round(W, 2), atol=1e-12)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"optimizer": optax.adam(2e-2)}, "optimizer"),
        ({"task": Summing(leak=0.7)}, r"task\.leak"),
        ({"rule": lg.RFLO(2 * feedback(), "internal")}, "rule"),
        ({"network": network(1)}, "network"),
        ({"network": network(cell=lg.cells.LeakyPotential)}, "cells"),
        ({"key": jax.random.key(4)}, "key"),
        ({"num_steps": 1}, "beyond the 1 asked for"),
    ],
    ids=["optimizer", "task", "rule", "network", "cell", "key", "steps"],
)
def test_a_checkpoint_of_another_run_is_refused(changed, words, tmp_path):
    path = tmp_path / "run.npz"
    given = {"rule": RFLO, "network": network(), "task": Summing(), "num_steps": 2, "optimizer": optax.adam(1e-2)}

    def run(given):
        first = [given.pop(name) for name in ("rule", "network", "task")]
        return lg.train(*first, **SETTINGS | given, checkpoint=path)

    run(dict(given))
    before = path.read_bytes()
    with pytest.raises(ValueError, match=words):
        run(given | changed)
    assert path.read_bytes() == before


# --- bad input -------------------------------------------------------------------------------------------------------


class Broken(Summing):
    """Its batches are as they should be, but for what `spoil` does to them."""

    loss: str = "mse"

    def sample(self, key, batch):
        return spoiled(super().sample(key, batch), self.leak)


def spoiled(batch, leak):
    return Batch(batch.inputs.at[0, 0, 0].set(jnp.where(leak == 0.1, jnp.nan, 0.0)), batch.targets, batch.mask)


class Unknown(Larger):
    def sample(self, key, batch):
        inputs, targets, mask = super().sample(key, batch)
        return Batch(inputs, targets + 2, mask)


class NaNLater(Summing):
    def sample(self, key, batch):
        inputs, targets, mask = super().sample(key, batch)
        later = jnp.all(jax.random.key_data(key) == jax.random.key_data(jax.random.fold_in(KEY, 3)))
        return Batch(jnp.where(later, jnp.nan, inputs), targets, mask)


BAD = {
    "no step": ({"learning_rate": None}, "give learning_rate for plain descent, or optimizer"),
    "two steps": ({"optimizer": optax.sgd(0.1)}, "give learning_rate for plain descent, or optimizer"),
    "no optimizer": ({"learning_rate": None, "optimizer": "adam"}, "the optimizer is 'adam'; give one of optax"),
    "negative": ({"learning_rate": -1.0}, "learning_rate must be a positive finite number"),
    "NaN": ({"task": Broken(leak=0.1)}, "not finite"),
    "NaN later": ({"task": NaNLater()}, "batch at step 3"),
    "classes": ({"task": Unknown()}, "whole numbers from 0 to 1"),
    "sizes": ({"task": Summing(num_inputs=3)}, "the task has 3 inputs and 2 outputs, but the network 2 and 2"),
    "no task": ({"task": network()}, "the task is a Network, not a SequenceTask"),
    "other test": ({"test_task": Larger()}, "test_task has loss 'cross_entropy'"),
    "horizon": ({"horizon": 3}, "horizon is no option for networks of cells"),
    "record": ({"record": ("speed",)}, "record must be"),
    "lists": ({"network": []}, "a list of at least one"),
    "kinds": ({"network": [network(), network(cell=lg.cells.LeakyPotential)]}, "different cells or sizes"),
    "seeds": ({"network": [network()] * 2, "rule": lg.RFLO(feedback(3), "internal")}, "arrays for 3 seeds, but"),
    "feedback": ({"rule": lg.RFLO(np.ones((OUTPUT, HIDDEN + 1)), "internal")}, "feedback has shape"),
    "steps": ({"num_steps": 0}, "num_steps must be a whole number"),
    "keys": ({"key": jax.random.split(KEY, 2)}, "key must be one random key"),
    "memory": ({"batch_size": 2**31}, "memory"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_refused_in_a_sentence(case):
    changed, words = BAD[case]
    given = {"rule": RFLO, "network": network(), "task": Summing(), "num_steps": 5} | RATE | changed
    first = [given.pop(name) for name in ("rule", "network", "task")]
    with pytest.raises(ValueError, match=words):
        lg.train(*first, **given)


def test_arrays_that_disagree_about_seeds_are_refused():
    nets = jax.tree.map(lambda *x: jnp.stack(x), network(0), network(1))
    wrong = eqx.tree_at(lambda n: n.layers[0].B, nets, nets.layers[0].B[0])
    with pytest.raises(ValueError, match="leading axes"):
        lg.train(RFLO, wrong, Summing(), num_steps=1, **RATE)


def test_options_of_cells_are_refused_for_linear_students():
    student = lg.LinearRNN([[0.5]], [[0.0]], [[1.0]])
    with pytest.raises(ValueError, match="record_every is no option for a LinearRNN"):
        lg.train(lg.BPTT(), student, student, num_steps=1, horizon=3, record_every=2, **RATE)


def test_another_call_with_the_same_shapes_compiles_nothing():
    def run(rate, steps, seed):
        settings = {"optimizer": optax.adam(rate)} if rate else {"learning_rate": 0.1 * (seed + 1)}
        rule = lg.RFLO(feedback(seed=seed), "internal")
        lg.train(rule, network(seed), Summing(), key=jax.random.key(seed), num_steps=steps, batch_size=4, **settings)

    run(1e-2, 3, 0)
    run(None, 3, 0)
    compiled = []

    def listen(event, duration, **_):
        compiled.append(event)

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        run(1e-2, 4, 1)  # a new object of optax, the same program
        run(None, 5, 2)
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)
    assert [event for event in compiled if "backend_compile" in event] == []
