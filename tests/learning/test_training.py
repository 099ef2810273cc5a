"""Sampled training: one batch's update against a loop over its sequences, three ways; then whole runs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import (
    BY_ID,
    CASES,
    FEEDBACK,
    HIDDEN,
    INPUT,
    OUTPUT,
    STUDENT,
    TEACHER,
    assert_close,
    matrices,
    network,
)
from oracles import brute_force_loss, updates_of_noise
from tiers import some

import localgrad as lg
from localgrad.learning.groups import GROUP
from localgrad.tasks.linear_task import as_task
from localgrad.updates.sampled import METHODS, Noise

# Sums of some hundred terms, and an FFT of 40, in float64.
ROUNDING = 1e-12
# More than a block of lags.py, and more than the most lags that a case keeps.
HORIZON, BATCH = 20, 3
KEY = jax.random.key(5)
SETTINGS = {"learning_rate": 0.002, "batch_size": 8, "horizon": 6}

# A program for each rule, loss and method is much to compile: these have every form of M and lags.
_FAST = ("bptt", "tbptt", "rflo-per-unit")
SOME_CASES = some(CASES, _FAST)
ONLINE = (
    "rflo",
    "eprop",
    "three-factor",
    "eprop-random",
    "rflo-per-unit",
    "rflo-symmetric",
    "sign-symmetric",
    "eprop-bellec",
)


def trainer(rule, method="correlation", loss="final", **settings):
    settings = {"learning_rate": 0.1, "batch_size": BATCH, "horizon": HORIZON} | settings
    return lg.Trainer(rule, network(TEACHER), loss=loss, method=method, **settings)


def students(count, seed=0):
    keys = jax.random.split(jax.random.key(seed), count)
    return jax.vmap(lambda key: lg.random_network(OUTPUT, HIDDEN, INPUT, key=key, scale=0.4))(keys)


def seed_of(tree, seed):
    return jax.tree.map(lambda x: x[seed], tree)


def assert_finite(run):
    for leaf in jax.tree.leaves((run.initial, run.final, run.snapshots, run.loss, run.final_loss, run.diverged_at)):
        assert np.all(np.isfinite(leaf))


# --- one update ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", ["final", "sequence"])
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("case", SOME_CASES)
def test_update_is_that_of_its_sequences(case, method, loss):
    if method == "online" and case.id not in ONLINE:
        with pytest.raises(ValueError, match="use method 'correlation' or 'recorded'"):
            trainer(case(), method, loss).init(network(STUDENT))
        return
    update, value = trainer(case(), method, loss).update(KEY, network(STUDENT))
    x = np.asarray(Noise(KEY, HORIZON, BATCH).all(as_task(network(TEACHER))))
    expected = updates_of_noise(*case.reference(STUDENT), STUDENT, TEACHER, x, loss)
    assert_close(matrices(update), tuple(u.mean(axis=0) for u in expected), ROUNDING)
    np.testing.assert_allclose(value, loss_of_noise(x, loss), rtol=ROUNDING)


def loss_of_noise(x, loss):
    h, h_star = np.zeros((BATCH, HIDDEN)), np.zeros((BATCH, len(TEACHER[1])))
    losses = []
    for now in x:
        h, h_star = h @ STUDENT[1].T + now @ STUDENT[2].T, h_star @ TEACHER[1].T + now @ TEACHER[2].T
        losses.append(np.sum((h @ STUDENT[0].T - h_star @ TEACHER[0].T) ** 2) / (2 * BATCH))
    return losses[-1] if loss == "final" else np.mean(losses)


@pytest.mark.parametrize("method", ["correlation", "recorded"])
def test_truncation_is_exact_where_credit_grows(method):
    # 3^19 = 1e9: what an update that subtracts too old credit would lose in rounding.
    rule = lg.Rule(FEEDBACK, 3.0, lags=3)
    update, _ = trainer(rule, method, "sequence").update(KEY, network(STUDENT))
    x = np.asarray(Noise(KEY, HORIZON, BATCH).all(as_task(network(TEACHER))))
    expected = updates_of_noise(FEEDBACK, 3 * np.eye(HIDDEN), 3, STUDENT, TEACHER, x, "sequence")
    assert_close(matrices(update), tuple(u.mean(axis=0) for u in expected), ROUNDING)


def test_noise_is_white():
    x = np.asarray(Noise(KEY, 50, 40).all(as_task(network(TEACHER)))).reshape(50, -1)  # 50 steps of 120 numbers
    # Standard errors of 6000 draws: 1/√6000 = 0.013 of a mean, √2 of that for a variance.
    assert abs(x.mean()) < 4 * 0.013
    assert abs(x.var() - 1) < 4 * 0.019
    correlations = np.corrcoef(x)[np.triu_indices(50, 1)]  # of steps: 1225 numbers with standard error 1/√120
    assert np.abs(correlations).max() < 5 / np.sqrt(120)


@pytest.mark.parametrize("loss", ["final", "sequence"])
def test_mean_of_updates_is_the_expected_update(loss):
    rule, count = BY_ID["random-11-lags-None"](), 2000
    updates, losses = jax.vmap(trainer(rule, loss=loss).update, in_axes=(0, None))(
        jax.random.split(KEY, count), network(STUDENT)
    )
    expected = lg.expected_update(rule, network(STUDENT), network(TEACHER), horizon=HORIZON, loss=loss)
    for sampled, exact in zip(jax.tree.leaves(updates), jax.tree.leaves(expected), strict=True):
        error = np.asarray(sampled.mean(axis=0) - exact) / (np.asarray(sampled.std(axis=0)) / np.sqrt(count))
        assert np.abs(error).max() < 4.5  # 36 numbers: by chance once in some 4,000
    deviation = float(losses.mean()) - brute_force_loss(STUDENT, TEACHER, HORIZON, loss)
    assert abs(deviation) < 4.5 * float(losses.std()) / np.sqrt(count)


@pytest.mark.parametrize(("method", "grows"), [("online", False), ("correlation", True)])
def test_memory_of_online_learning_does_not_depend_on_the_horizon(method, grows):
    def memory(horizon):
        update = trainer(lg.RFLO(FEEDBACK, 0.5), method, "sequence", horizon=horizon).update
        analysis = (
            jax.jit(lambda key, student: update(key, student)).lower(KEY, network(STUDENT)).compile().memory_analysis()
        )
        if analysis is None:
            pytest.skip("this backend does not say what memory a program takes")
        return analysis.temp_size_in_bytes

    short, long = memory(10), memory(1000)
    assert long > 10 * short if grows else long == short


# --- steps -----------------------------------------------------------------------------------------------------------


def test_a_step_follows_its_update():
    one = trainer(lg.BPTT())
    state, info = one.step(KEY, one.init(network(STUDENT)))
    update, loss = one.update(KEY, network(STUDENT))
    expected = tuple(x - 0.1 * np.asarray(d) for x, d in zip(STUDENT, update.matrices, strict=True))
    assert_close(matrices(state.student), expected, ROUNDING)
    assert (int(state.step), int(state.diverged_at)) == (1, -1)
    np.testing.assert_allclose(info.loss, loss, rtol=ROUNDING)
    size = np.sqrt(sum(np.sum(np.asarray(d) ** 2) for d in update.matrices))
    np.testing.assert_allclose(info.update_size, size, rtol=ROUNDING)


def test_a_run_is_its_steps():
    one = lg.Trainer(lg.EProp(), network(TEACHER), **SETTINGS)
    state, losses = one.init(network(STUDENT)), []
    for k in range(5):
        state, info = one.step(jax.random.fold_in(KEY, k), state)
        losses.append(float(info.loss))
    run = lg.train(lg.EProp(), network(STUDENT), network(TEACHER), key=KEY, num_steps=5, **SETTINGS)
    assert_close(matrices(run.final), matrices(state.student), ROUNDING)
    np.testing.assert_allclose(run.loss, losses, rtol=ROUNDING)


@pytest.mark.slow
def test_every_seed_of_a_batch_is_a_run_of_its_own():
    count = GROUP + 2  # two groups of different sizes
    batch = students(count)
    feedback = jax.random.normal(KEY, (count, OUTPUT, HIDDEN))
    settings = SETTINGS | {"num_steps": 12, "save_every": 5}
    run = lg.train(lg.RFLO(feedback, 0.5), batch, network(TEACHER), key=KEY, **settings)
    assert run.loss.shape == (count, 12)
    assert run.snapshots.B.shape == (count, 3, HIDDEN, INPUT)
    for seed in (0, count - 1):
        key, rule = jax.random.split(KEY, count)[seed], lg.RFLO(feedback[seed], 0.5)
        alone = lg.train(rule, seed_of(batch, seed), network(TEACHER), key=key, **settings)
        assert_close(matrices(seed_of(run.final, seed)), matrices(alone.final), ROUNDING)
        assert_close(matrices(seed_of(run.snapshots, seed)), matrices(alone.snapshots), ROUNDING)
        np.testing.assert_allclose(run.loss[seed], alone.loss, rtol=ROUNDING)


@pytest.mark.slow
@pytest.mark.parametrize("count", [OUTPUT, GROUP + 1])
def test_a_state_that_seeds_share_learns_for_each_beside_arrays_that_they_do_not(count):
    batch, each = students(count), jax.random.normal(KEY, (count, OUTPUT, HIDDEN))
    shared, own = (lg.WeightMirror(R, 0.5) for R in (FEEDBACK, np.stack([FEEDBACK] * count)))
    runs = [
        lg.train(lg.Rule(each + mirror), batch, network(TEACHER), key=KEY, **SETTINGS | {"num_steps": 3})
        for mirror in (shared, own)
    ]
    assert_close(matrices(runs[0].final), matrices(runs[1].final), ROUNDING)
    assert runs[0].final_rule.state[0].shape == (count, OUTPUT, HIDDEN)


def test_snapshots_are_what_shorter_runs_end_with():
    def run(num_steps, save_every=None):
        return lg.train(
            lg.BPTT(),
            network(STUDENT),
            network(TEACHER),
            key=KEY,
            num_steps=num_steps,
            save_every=save_every,
            **SETTINGS,
        )

    long, short = run(25, save_every=10), run(10)
    assert long.snapshot_steps.tolist() == [0, 10, 20]
    assert_close(matrices(seed_of(long.snapshots, 0)), STUDENT, 0)
    assert_close(matrices(seed_of(long.snapshots, 1)), matrices(short.final), 0)  # one program: the same bits
    np.testing.assert_array_equal(long.loss[:10], short.loss)
    assert short.snapshot_steps.size == 0
    assert short.snapshots.W.shape == (0, HIDDEN, HIDDEN)


@pytest.mark.slow
def test_precision_is_the_students():
    single = lg.LinearRNN(*(jnp.asarray(x, jnp.float32) for x in STUDENT))
    for method in METHODS:
        run = lg.train(
            lg.RFLO(FEEDBACK, 0.5), single, network(TEACHER), key=KEY, num_steps=2, method=method, **SETTINGS
        )
        assert {x.dtype for x in run.final.matrices} == {np.dtype("float32")}
        assert run.loss.dtype == np.float32


# --- outcomes --------------------------------------------------------------------------------------------------------


def test_learning_converges_on_the_exact_loss():
    settings = {"learning_rate": 0.002, "batch_size": 32, "horizon": 8, "num_steps": 1500}
    run = lg.train(lg.BPTT(), network(STUDENT), network(TEACHER), key=KEY, target_loss=0.05, **settings)
    silent = float(run.trainer.silent_loss)
    np.testing.assert_allclose(silent, brute_force_loss((0 * STUDENT[0], *STUDENT[1:]), TEACHER, 8), rtol=ROUNDING)
    np.testing.assert_allclose(run.final_loss, brute_force_loss(matrices(run.final), TEACHER, 8), rtol=1e-10)
    assert run.outcome is lg.Outcome.CONVERGED
    assert run.final_loss < 0.05 * silent
    assert run.loss[-100:].mean() < 0.05 * silent < run.loss[0]
    short = lg.train(
        lg.BPTT(), network(STUDENT), network(TEACHER), key=KEY, target_loss=1e-9, **settings | {"num_steps": 3}
    )
    assert short.outcome is lg.Outcome.UNFINISHED


def test_a_seed_that_diverges_stops_alone():
    batch = students(3)
    wild = jax.tree.map(lambda x: x.at[1].multiply(1e80), batch)  # its loss overflows in the first step
    settings = SETTINGS | {"num_steps": 20, "save_every": 10}
    run = lg.train(lg.BPTT(), wild, network(TEACHER), key=KEY, **settings)
    calm = lg.train(lg.BPTT(), batch, network(TEACHER), key=KEY, **settings)
    assert run.outcome.tolist() == [lg.Outcome.UNFINISHED, lg.Outcome.DIVERGED, lg.Outcome.UNFINISHED]
    assert run.diverged_at.tolist() == [-1, 0, -1]
    assert_finite(run)
    assert_close(matrices(seed_of(run.final, 1)), matrices(seed_of(wild, 1)), 0)
    assert np.all(run.loss[1] == float(run.trainer.loss_limit))
    for seed in (0, 2):
        assert_close(matrices(seed_of(run.final, seed)), matrices(seed_of(calm.final, seed)), 0)


def test_a_learning_rate_that_blows_up_is_a_result():
    run = lg.train(
        lg.BPTT(), network(STUDENT), network(TEACHER), key=KEY, num_steps=300, **SETTINGS | {"learning_rate": 2.0}
    )
    assert run.outcome is lg.Outcome.DIVERGED
    at, limit = int(run.diverged_at), float(run.trainer.loss_limit)
    assert 0 < at < 100
    assert_finite(run)
    assert np.all(run.loss[:at] < limit)
    assert np.all(run.loss[at:] == limit)


def test_a_finite_horizon_needs_no_stability():
    A, W, B = TEACHER
    run = lg.train(lg.BPTT(), network(STUDENT), network((A, 1.6 * W, B)), key=KEY, num_steps=2, **SETTINGS)
    assert lg.spectral_radius(run.teacher.W) > 1
    assert_finite(run)


# --- bad input -------------------------------------------------------------------------------------------------------

A, W, B = STUDENT


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"num_steps": 0}, "num_steps must be a whole number of at least 1; got 0"),
        ({"batch_size": 0}, "batch_size must be a whole number of at least 1; got 0"),
        ({"horizon": 0}, "horizon must be a whole number of at least 1; got 0"),
        ({"horizon": None}, "horizon must be a whole number"),
        ({"batch_size": 2.5}, "batch_size must be a whole number"),
        ({"save_every": 0}, "save_every must be a whole number"),
        ({"checkpoint_every": -1}, "checkpoint_every must be a whole number"),
        ({"learning_rate": 0.0}, "learning_rate must be a positive finite number; got 0.0"),
        ({"learning_rate": float("nan")}, "learning_rate must be a positive finite number; got nan"),
        ({"target_loss": -1.0}, "target_loss must be a positive finite number"),
        ({"loss": "last"}, "loss must be 'final' or 'sequence', got 'last'"),
        ({"method": "rtrl"}, "method must be 'correlation', 'recorded' or 'online', got 'rtrl'"),
        ({"method": "online"}, "'BPTT' carries credit by a dense matrix"),
        ({"method": "online", "rule": lg.Rule(FEEDBACK, 0.5, 2)}, "a trace that ends after 2 lags is not online"),
        ({"rule": lg.RFLO(FEEDBACK[:, :2], 0.5)}, "feedback has shape"),
        ({"rule": lg.RFLO(np.full_like(FEEDBACK, np.nan), 0.5)}, "the rule has an entry that is not finite"),
        ({"rule": lg.RFLO(np.stack([FEEDBACK] * 2), 0.5)}, "give one a seed"),
        ({"rule": "bptt"}, "the rule is a str, not a Rule"),
        ({"task": network((TEACHER[0] * np.nan, *TEACHER[1:]))}, "teacher's A has an entry that is not finite"),
        ({"task": network((TEACHER[0], 1e100 * TEACHER[1], TEACHER[2]))}, "overflows at horizon 6"),
        ({"task": network((0 * TEACHER[0], *TEACHER[1:]))}, "the teacher's output is 0 within 6 steps"),
        ({"task": TEACHER}, "the teacher is a tuple, not a LinearRNN"),
        ({"student": STUDENT}, "the student is a tuple, not a LinearRNN"),
        ({"student": network((A, W * np.inf, B))}, "the student has an entry that is not finite"),
        ({"student": network((A[:1], W, B))}, "student has 1 outputs and 3 inputs, teacher 2 and 3"),
        ({"student": network((np.stack([A] * 2), W, B))}, "leading axes"),
        ({"student": network(tuple(x[None, None] for x in STUDENT))}, "a batch has one"),
    ],
)
def test_misuse_names_the_value_and_the_remedy(changed, words):
    arguments = {"rule": lg.BPTT(), "student": network(STUDENT), "task": network(TEACHER), "key": KEY}
    with np.errstate(invalid="ignore"), pytest.raises(ValueError, match=words):
        lg.train(**arguments | {"num_steps": 3} | SETTINGS | changed)


@pytest.mark.parametrize("key", [0, None, jax.random.split(jax.random.key(0), 3)], ids=["number", "none", "batch"])
def test_a_key_that_is_not_one_random_key_is_refused_in_a_sentence(key):
    network = lg.LinearRNN([[0.5]], [[0.0]], [[1.0]])
    with pytest.raises(ValueError, match=r"key must be (a JAX|one) random key"):
        lg.train(lg.BPTT(), network, network, key=key, learning_rate=0.1, num_steps=1, batch_size=1, horizon=2)
