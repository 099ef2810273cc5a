"""Learning and training on any linear task: flows, sampled updates, closed loops that run away, files."""

import jax
import numpy as np
import pytest
from cases import DECAY, FEEDBACK, STUDENT, TASK_BY_ID, assert_close, matrices, network
from oracles import run_task

import localgrad as lg
from localgrad.updates.sampled import METHODS, Noise

LOOP = TASK_BY_ID["closed-loop"]
HORIZON, BATCH = 6, 3
KEY = jax.random.key(5)
RFLO = lg.RFLO(FEEDBACK, DECAY)
THROUGH = lg.BPTT(through_plant=True)


# --- sampled updates -------------------------------------------------------------------------------------------------


def update_of_record(rule, task, xi, loss):
    """The update of recorded sequences, step by step back from each error, in plain NumPy."""
    record = run_task(STUDENT, task.matrices, xi)
    A, W, B = STUDENT
    F, M = (A, W) if rule is THROUGH else (FEEDBACK, DECAY * np.eye(len(W)))
    through = rule is THROUGH
    update = [np.zeros_like(x) for x in STUDENT]
    ends = [len(xi)] if loss == "final" else range(1, len(xi) + 1)
    for end in ends:
        error = record.error[end] / (len(ends) * xi.shape[1])
        of_h, of_s = error @ F, -error @ task.matrices.Y
        update[0] += error.T @ record.h[end]
        for t in reversed(range(end)):
            of_y = of_s @ task.matrices.K * through
            update[0] += of_y.T @ record.h[t]
            update[1] += of_h.T @ record.h[t]
            update[2] += of_h.T @ record.x[t]
            of_h, of_s = of_h @ M + of_y @ F, of_s @ task.matrices.D + of_h @ B @ task.matrices.X
    return update


@pytest.mark.parametrize("loss", ["final", "sequence"])
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("id", "rule"),
    [
        ("closed-loop", RFLO),
        pytest.param("closed-loop", THROUGH, marks=pytest.mark.slow),
        pytest.param("coloured-teacher", RFLO, marks=pytest.mark.slow),
        pytest.param("noise-on-the-student", RFLO, marks=pytest.mark.slow),
    ],
)
def test_sampled_update_is_that_of_its_sequences(id, rule, method, loss):
    task = TASK_BY_ID[id]

    def trainer():
        settings = {"learning_rate": 0.1, "batch_size": BATCH, "horizon": HORIZON, "loss": loss, "method": method}
        return lg.Trainer(rule, task(), **settings)

    if method == "online" and rule is THROUGH:
        with pytest.raises(ValueError, match="through the plant, which no eligibility trace does"):
            trainer()
        return
    update, _ = trainer().update(KEY, network(STUDENT))
    xi = np.asarray(Noise(KEY, HORIZON, BATCH).all(trainer().task))
    assert_close(matrices(update), update_of_record(rule, task, xi, loss), 1e-12)


# --- runs ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def curve():
    return lg.learn(THROUGH, network(STUDENT), LOOP(), duration=2.0, save_at=[0.0, 1.0, 2.0])


@pytest.mark.slow
def test_the_gradient_lowers_the_loss_in_a_closed_loop(curve):
    assert np.all(np.diff(curve.loss) < 0)
    final = lg.expected_loss(curve.final, LOOP())
    np.testing.assert_allclose(curve.loss[-1], final, rtol=1e-10)
    with pytest.raises(ValueError, match="no teacher that hears the student's white noise"):
        curve.teacher  # noqa: B018


def pushed_along():
    """`p' = 0.5 p + y + ξ`, where `y` should be `p`: a plant that a good student pushes along ever faster."""
    return lg.tasks.closed_loop(lg.LinearRNN([[1.0]], [[0.5]], [[1.0]]), imitate=[[1.0]])


@pytest.mark.slow
def test_a_loop_may_become_unstable_while_learning():
    student = lg.LinearRNN([[0.3]], [[0.1]], [[0.3]])
    curve = lg.learn(lg.BPTT(), student, pushed_along(), duration=1000.0)
    assert curve.outcome == lg.Outcome.DIVERGED
    assert lg.spectral_radius(curve.final.W) < 0.9  # the student alone is stable, and so is the plant


@pytest.mark.slow
def test_an_unstable_loop_is_refused_at_the_door():
    with pytest.raises(ValueError, match=r"closed loop of student and task has spectral radius .*W alone 0\.1"):
        lg.expected_update(lg.BPTT(), lg.LinearRNN([[1.0]], [[0.1]], [[1.0]]), pushed_along())


@pytest.mark.slow
def test_runs_on_tasks_are_stored_whole(curve, tmp_path):
    trained = lg.train(
        RFLO, network(STUDENT), LOOP(), key=KEY, learning_rate=0.01, num_steps=3, batch_size=BATCH, horizon=HORIZON
    )
    for run in (curve, trained):
        lg.save(run, tmp_path / "run.npz")
        found = lg.load_run(tmp_path / "run.npz")
        assert jax.tree.structure(found.task) == jax.tree.structure(run.task)
        jax.tree.map(np.testing.assert_array_equal, found.task, run.task)
        assert found.rule.through_plant == run.rule.through_plant
        np.testing.assert_array_equal(found.loss, run.loss)


@pytest.mark.slow
def test_a_checkpoint_knows_its_task(tmp_path):
    settings = {"key": KEY, "learning_rate": 0.01, "batch_size": BATCH, "horizon": HORIZON}
    run = lambda task, steps: lg.train(  # noqa: E731
        RFLO, network(STUDENT), task, num_steps=steps, checkpoint=tmp_path / "run.npz", **settings
    )
    run(LOOP(), 2)
    whole = lg.train(RFLO, network(STUDENT), LOOP(), num_steps=4, **settings)
    np.testing.assert_array_equal(run(LOOP(), 4).loss, whole.loss)
    task = LOOP.matrices
    other = lg.LinearTask(task.D, task.N, task.X, task.X0, task.Y, 0.5 * task.K, task.Nh)
    with pytest.raises(ValueError, match=r"other settings: task\.K"):
        run(other, 4)


@pytest.mark.slow
def test_rules_are_compared_with_the_gradient_of_the_loop():
    found = lg.compare_updates([THROUGH, lg.BPTT()], network(STUDENT), LOOP())
    assert found.whole.cosine[0] == pytest.approx(1.0)
    assert 0 < found.whole.cosine[1] < 1 - 1e-4
