"""Linear tasks as sequences: their targets by a loop, their loss and updates those of the exact theory."""

import jax
import numpy as np
import pytest

import localgrad as lg
from localgrad.tasks.linear_sequences import linear_sequences

T = 12
TASK = lg.tasks.coloured_teacher(lg.LinearRNN([[1.0, -0.5]], [[0.6, 0.2], [-0.3, 0.4]], [[1.0], [0.5]]), 0.6)
STUDENT = lg.LinearRNN([[0.7, 0.3]], [[0.2, -0.4], [0.5, 0.1]], [[0.6], [-0.8]])


def network(student):
    return lg.Network(lg.cells.Linear(student.W, student.B, None), lg.Readout(student.A))


def test_targets_are_the_teachers_answer_to_the_inputs():
    """In a loop over time: the teacher that hears the inputs gives the targets, in the same step."""
    teacher = lg.LinearRNN([[1.0, -0.5]], [[0.6, 0.2], [-0.3, 0.4]], [[1.0], [0.5]])
    batch = linear_sequences(TASK, T, "sequence").sample(jax.random.key(0), 3)
    assert batch.inputs.shape == (3, T, 1)
    A, W, B = map(np.asarray, teacher.matrices)
    for inputs, targets in zip(np.asarray(batch.inputs), np.asarray(batch.targets), strict=True):
        state = np.zeros(2)
        for x, target in zip(inputs, targets, strict=True):
            state = W @ state + B @ x
            np.testing.assert_allclose(target, A @ state, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("loss", ["final", "sequence"])
@pytest.mark.parametrize("rule", [lg.BPTT(), lg.RFLO([[0.4, -0.9]], 0.5)], ids=["bptt", "rflo"])
def test_linear_cells_have_the_exact_loss_and_update_on_average(rule, loss):
    sequences = linear_sequences(TASK, T, loss)
    update, info = lg.network_update(rule, network(STUDENT), *sequences.sample(jax.random.key(1), 60_000)[:2],
                                     mask=sequences.sample(jax.random.key(1), 60_000).mask)  # fmt: skip
    exact = lg.expected_update(rule, STUDENT, TASK, horizon=T, loss=loss)
    np.testing.assert_allclose(info.loss, lg.expected_loss(STUDENT, TASK, horizon=T, loss=loss), rtol=0.02)
    for found, expected in ((update.layers[0].W, exact.W), (update.layers[0].B, exact.B), (update.readout.A, exact.A)):
        np.testing.assert_allclose(found, expected, atol=0.03 * np.abs(expected).max())


def test_final_and_sequence_differ_in_their_mask_alone():
    key = jax.random.key(0)
    final, whole = (linear_sequences(TASK, T, loss).sample(key, 2) for loss in ("final", "sequence"))
    np.testing.assert_array_equal(final.inputs, whole.inputs)
    assert final.mask[0].tolist() == [0.0] * (T - 1) + [1.0]
    assert np.all(whole.mask == 1)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("task", "words"),
    [(lg.tasks.load_task("point-mass"), "hears the student's output"), (TASK.with_student_noise(0.1, 2), "puts noise")],
)
def test_what_sequences_cannot_say_is_refused(task, words):
    with pytest.raises(ValueError, match=words):
        linear_sequences(task, T, "final")
