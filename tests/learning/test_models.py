"""Every model learns by the same doors: sampled updates three ways, training, files and checkpoints, comparison."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import (
    COMPLEX_FEEDBACK,
    FEEDBACK,
    HIDDEN,
    LAYER,
    LAYER_CASES,
    LAYER_TEACHER,
    STUDENT,
    TASK_BY_ID,
    TEACHER,
    assert_close,
    layer,
    matrices,
    network,
)
from oracles import layer_update, layer_update_of_noise, updates_of_noise
from tiers import some

import localgrad as lg
from localgrad.models.arrays import arrays_of, axes_of, leading_axes
from localgrad.models.coordinates import coordinates_of
from localgrad.models.kinds import MODELS
from localgrad.tasks.linear_task import as_task
from localgrad.updates.sampled import METHODS, Noise

ROUNDING = 1e-12
LEAK = np.array([0.2, 0.5, 0.9, 1.0])
KEY, HORIZON, BATCH = jax.random.key(3), 6, 3
SETTINGS = {"learning_rate": 0.002, "batch_size": BATCH, "horizon": HORIZON}
STUDENTS = {
    "LinearRNN": lambda: network(STUDENT),
    "LeakyRNN": lambda: lg.LeakyRNN(*STUDENT, leak=LEAK),
    "DiagonalSSM": lambda: layer(LAYER),
}
POLES = {"DiagonalSSM": "s4d"}  # whose coordinates do not follow from the poles
every_model = pytest.mark.parametrize("name", some(MODELS, ("DiagonalSSM",)))
TASKS = {"network": lambda: network(TEACHER), "layer": lambda: layer(LAYER_TEACHER)}


def pair_of(name):
    """A batch of two, and the poles it learns by."""
    batch = jax.tree.map(lambda x: jnp.stack([x, 0.7 * x]), STUDENTS[name]())
    return batch, POLES.get(name, "direct")


def noise_of(task):
    return np.asarray(Noise(KEY, HORIZON, BATCH).all(as_task(task)))


def test_every_model_is_under_test():
    assert set(STUDENTS) == set(MODELS)


# --- sampled updates -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", ["final", "sequence"])
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    "name", some(("bptt", "rflo-per-unit", "three-factor", "rflo-complex", "tbptt"), ("rflo-per-unit",))
)
def test_a_layers_update_is_that_of_its_sequences(name, method, loss):
    rule, credit, lags = LAYER_CASES[name]
    if method == "online" and name == "tbptt":
        with pytest.raises(ValueError, match="a trace that ends after 2 lags is not online"):
            lg.Trainer(rule, layer(LAYER_TEACHER), **SETTINGS, method=method)
        return
    trainer = lg.Trainer(rule, layer(LAYER_TEACHER), **SETTINGS, method=method, loss=loss)
    trainer.init(layer(LAYER))
    F, m = credit(*LAYER[:2])
    update, _ = trainer.update(KEY, layer(LAYER))
    x = noise_of(layer(LAYER_TEACHER))
    assert_close(update.arrays, layer_update_of_noise(F, m, lags, LAYER, LAYER_TEACHER, x, loss), ROUNDING)


@pytest.mark.parametrize("method", METHODS)
def test_a_leaky_networks_update_is_that_of_its_sequences(method):
    """The network without a leak, `(A, (1 − α) I + αW, αB)`, brings `ΔW = α ΔJ`."""
    A, W, B = STUDENT
    column = LEAK[:, None]
    plain = (A, (1 - column) * np.eye(HIDDEN) + column * W, column * B)
    rule = lg.RFLO(FEEDBACK, "internal")
    trainer = lg.Trainer(rule, network(TEACHER), **SETTINGS, method=method, loss="sequence")
    found, _ = trainer.update(KEY, STUDENTS["LeakyRNN"]())
    x = noise_of(network(TEACHER))
    expected = updates_of_noise(FEEDBACK, np.diag(1 - LEAK), None, plain, TEACHER, x, "sequence")
    dA, dJ, dB = (part.mean(axis=0) for part in expected)
    assert_close(matrices(found), (dA, column * dJ, column * dB), ROUNDING)


@pytest.mark.parametrize("id", ["coloured-teacher", "closed-loop"])
def test_a_layer_learns_from_any_task_as_its_real_blocks_do(id):
    """Three ways of sampling agree where the task is no layer, closed loops among them."""
    task = TASK_BY_ID[id]()
    if task.student_noise is not None:  # told of the blocks' units
        task = eqx.tree_at(lambda t: t.student_noise, task, jnp.tile(task.student_noise, (2, 1)))
    rule = lg.RFLO(FEEDBACK, 0.4)
    found = [lg.Trainer(rule, task, **SETTINGS, method=method, loss="sequence").update(KEY, layer(LAYER))[0].arrays
             for method in METHODS]  # fmt: skip
    for other in found[1:]:
        assert_close(other, found[0], ROUNDING)


# --- runs ------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@every_model
def test_a_step_of_training_follows_the_update(name):
    """`θ − η (∂model/∂θ)ᵀ Δ`, in the coordinates of each model."""
    student, poles = STUDENTS[name](), POLES.get(name, "direct")
    run = lg.train(lg.EProp(), student, TASKS["layer"](), key=KEY, num_steps=1, poles=poles, **SETTINGS)
    key = jax.random.fold_in(KEY, 0)
    update, _ = run.trainer.update(key, student)
    own = coordinates_of(student, poles)
    moved = jax.tree.map(lambda x, d: x - 0.002 * d, own.numbers, own.pull_back(update))
    assert_close(jax.tree.leaves(run.final), jax.tree.leaves(own.at(moved).model), ROUNDING)
    assert type(run.final) is MODELS[name]


@pytest.mark.slow
@every_model
def test_runs_are_files(name, tmp_path):
    """A batch with snapshots, trained and learned, comes back as it was, whatever the model and the task."""
    batch, poles = pair_of(name)
    R = COMPLEX_FEEDBACK if name == "DiagonalSSM" else FEEDBACK
    rule = lg.RFLO(np.stack([R, -R]), "internal")
    trained = lg.train(rule, batch, TASKS["layer"](), key=KEY, num_steps=4, save_every=2, poles=poles, **SETTINGS)
    learned = lg.learn(rule, batch, TASKS["network"](), duration=0.01, method=lg.Steps(0.005), poles=poles)
    for run in (trained, learned):
        lg.save(run, tmp_path / "run.npz")
        found = lg.load_run(tmp_path / "run.npz")
        assert repr(found) == repr(run)
        for part in ("initial", "final", "snapshots"):
            assert type(getattr(found, part)) is MODELS[name]
            for x, y in zip(jax.tree.leaves(getattr(found, part)), jax.tree.leaves(getattr(run, part)), strict=True):
                np.testing.assert_array_equal(x, y)
        assert leading_axes(found.initial) == (2,)
    assert isinstance(trained.teacher, lg.DiagonalSSM)


@every_model
def test_a_stopped_training_goes_on(name, tmp_path):
    batch, poles = pair_of(name)
    problem = (lg.BPTT(), batch, TASKS["network"]())
    settings = {"key": KEY, "save_every": 2, "poles": poles, **SETTINGS}
    whole = lg.train(*problem, num_steps=4, **settings)
    for steps in (2, 4):
        found = lg.train(
            lg.BPTT(), batch, TASKS["network"](), num_steps=steps, checkpoint=tmp_path / "c.npz", **settings
        )
    for x, y in zip(jax.tree.leaves((found.final, found.snapshots)),
                    jax.tree.leaves((whole.final, whole.snapshots)), strict=True):  # fmt: skip
        np.testing.assert_array_equal(x, y)


def test_a_leaky_network_learns_as_its_linear_form_says():
    """One step of `learn`: `W` moves by `α ΔJ`, and the leak stays."""
    student, eta = STUDENTS["LeakyRNN"](), 1e-3
    curve = lg.learn(lg.RFLO(FEEDBACK, "internal"), student, network(TEACHER), duration=eta, method=lg.Steps(eta))
    update = lg.expected_update(lg.RFLO(FEEDBACK, "internal"), student, network(TEACHER))
    assert_close(matrices(curve.final), [x - eta * d for x, d in zip(STUDENT, matrices(update), strict=True)], ROUNDING)
    np.testing.assert_array_equal(curve.final.leak, LEAK)
    J = np.diag(1 - LEAK) + LEAK[:, None] * np.asarray(curve.final.W)
    np.testing.assert_allclose(curve.spectral_radius[-1], np.abs(np.linalg.eigvals(J)).max(), rtol=1e-12)
    with pytest.raises(ValueError, match=r"a LeakyRNN has no spectrum here; take snapshots\.linear_form"):
        curve.spectrum  # noqa: B018


def test_comparison_of_a_layers_updates():
    found = lg.compare_updates([lg.RFLO(FEEDBACK, 0.4)], layer(LAYER), layer(LAYER_TEACHER), horizon=9)
    update, gradient = (
        np.concatenate([x.ravel().view(float) for x in layer_update(F, m, None, LAYER, LAYER_TEACHER, 9)])
        for F, m in ((FEEDBACK, np.full(HIDDEN, 0.4)), (LAYER[0], LAYER[1]))
    )
    expected = update @ gradient / np.linalg.norm(update) / np.linalg.norm(gradient)
    np.testing.assert_allclose(found.whole.cosine[0], expected, rtol=1e-10)


def test_arrays_and_axes_stand_in_the_class():
    assert axes_of(lg.LeakyRNN) == {
        "A": ("output", "hidden"), "W": ("hidden", "hidden"), "B": ("hidden", "input"), "leak": ("units",)
    }  # fmt: skip
    assert list(arrays_of(layer(LAYER))) == ["C", "poles", "B"]


# --- what is refused -------------------------------------------------------------------------------------------------


def unstable(scale):
    return layer((LAYER[0], scale * LAYER[1], LAYER[2]))


def trained(rule, student, **options):
    return lg.train(rule, student, network(TEACHER), key=KEY, num_steps=1, **SETTINGS, **options)


LEAKY_UNSTABLE = lg.LeakyRNN(STUDENT[0], 9 * STUDENT[1], STUDENT[2], 0.5)
NO_POLE = layer((LAYER[0], 0 * LAYER[1], LAYER[2]))
REFUSED = {
    "update": (lambda t: lg.expected_update(lg.BPTT(), unstable(2), t), "the student's pole . has modulus 1.2"),
    "loss": (lambda t: lg.expected_loss(unstable(2), t), "the student's pole . has modulus 1.2"),
    "learn": (lambda t: lg.learn(lg.BPTT(), unstable(2), t, duration=1.0), "the student's pole . has modulus"),
    "nan": (lambda t: lg.expected_update(lg.BPTT(), unstable(np.nan), t), "student's poles has an entry that"),
    "leaky": (
        lambda t: lg.expected_update(lg.BPTT(), LEAKY_UNSTABLE, t),
        r"the student's state Jacobian \(1 − α\) I \+ αW has spectral radius",
    ),
    "dense": (lambda t: trained(lg.Rule(FEEDBACK, lg.LowRank(1)), layer(LAYER)), "take lg.real_blocks of the layer"),
    "reach": (lambda t: trained(lg.BPTT(), NO_POLE, poles="lru"), "a pole has modulus 0, which 'lru' does not reach"),
    "network": (lambda t: trained(lg.BPTT(), network(STUDENT), poles="lru"), "poles='lru' is for a DiagonalSSM"),
    "word": (lambda t: lg.Trainer(lg.BPTT(), t, **SETTINGS, poles="cosh"), "poles of a layer must be"),
}


@pytest.mark.parametrize(("action", "match"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_done_names_the_remedy(action, match):
    with pytest.raises(ValueError, match=match):
        action(network(TEACHER))


@pytest.mark.slow
def test_updates_of_layers_neither_overflow_nor_vanish_on_the_way():
    """Squares of `C` and `B` leave the range of numbers; updates and loss do not."""
    for scale in (2.0**300, 2.0**-300):  # C scaled up, B down by as much: the response is the same
        moved = [layer((C * scale, z, B / scale)) for C, z, B in (LAYER, LAYER_TEACHER)]
        for horizon in (None, 9):
            expected = lg.expected_update(lg.BPTT(), layer(LAYER), layer(LAYER_TEACHER), horizon=horizon)
            found = lg.expected_update(lg.BPTT(), *moved, horizon=horizon)
            assert_close((found.C * scale, found.poles, found.B / scale), expected.arrays, ROUNDING)
