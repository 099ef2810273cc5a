"""Linear tasks and their builders: what each is by its own equation, and what is refused."""

import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import HIDDEN, INPUT, OUTPUT, STUDENT, TASK_BY_ID, TEACHER, network
from oracles import Task, run_task

import localgrad as lg
from localgrad.tasks.linear_task import as_task


def in_oracle(task):
    """The task's matrices, dense, as a library-free simulation takes them; for students of `STUDENT`'s sizes."""
    output, state, inputs = task.sizes
    noises = task.num_noises
    absent = {"X": (inputs, state), "X0": (inputs, noises), "K": (state, output), "Nh": (HIDDEN, noises)}
    names = {"D": "dynamics", "N": "noise", "X": "to_input", "X0": "noise_to_input", "Y": "to_target",
             "K": "from_output", "Nh": "student_noise"}  # fmt: skip
    found = {letter: getattr(task, name) for letter, name in names.items()}
    if task.hears_noise:
        found["X0"] = np.eye(inputs)
    return Task(**{k: np.zeros(absent[k]) if x is None else np.asarray(x) for k, x in found.items()})


def targets_and_inputs(task, steps=12, seed=0):
    """The target and the input of a run without a student, and the noise; rows are steps."""
    output, _, inputs = task.sizes
    silent = (np.zeros((output, HIDDEN)), np.zeros((HIDDEN, HIDDEN)), np.zeros((HIDDEN, inputs)))
    xi = np.random.default_rng(seed).standard_normal((steps, task.num_noises))
    record = run_task(silent, in_oracle(task), xi)
    return -record.error, record.x, xi


class TestBuilders:
    def test_delay_line(self):
        rng = np.random.default_rng(1)
        gains = {delay: rng.standard_normal((OUTPUT, INPUT)) for delay in (1, 4)}
        task = lg.tasks.delay_line(gains)
        target, x, _ = targets_and_inputs(task)
        assert task.is_white_teacher
        for t in range(4, 12):
            np.testing.assert_allclose(target[t], gains[1] @ x[t - 1] + gains[4] @ x[t - 4])

    def test_integrator(self):
        target, x, _ = targets_and_inputs(lg.tasks.integrator(0.2, gain=3.0, channels=2))
        np.testing.assert_allclose(target[1:], 0.8 * target[:-1] + 3 * x[:-1])

    def test_oscillator(self):
        target, x, _ = targets_and_inputs(lg.tasks.oscillator(7, 0.9, gain=2.0))
        k = np.arange(12)
        response = 2 * 0.9**k * np.cos(2 * np.pi * k / 7)
        for t in range(1, 13):
            np.testing.assert_allclose(target[t, 0], np.dot(response[:t], x[:t, 0][::-1]), atol=1e-12)

    def test_white_noise_teacher(self):
        target, x, xi = targets_and_inputs(lg.tasks.white_noise_teacher(network(TEACHER)))
        A, W, B = TEACHER
        np.testing.assert_array_equal(x[:-1], xi)
        np.testing.assert_allclose(target[2], A @ (B @ x[1] + W @ B @ x[0]))

    @pytest.mark.parametrize("colour", [0.6, [0.1, -0.5, 0.9], 0.0])
    def test_coloured_teacher(self, colour):
        task = lg.tasks.coloured_teacher(network(TEACHER), colour)
        target, x, xi = targets_and_inputs(task)
        c = np.broadcast_to(colour, INPUT)
        np.testing.assert_allclose(x[1:-1], c * x[:-2] + np.sqrt(1 - c**2) * xi[1:])
        A, W, B = TEACHER
        np.testing.assert_allclose(target[3], A @ (B @ x[2] + W @ B @ x[1] + W @ W @ B @ x[0]))

    @pytest.mark.slow
    def test_an_uncoloured_colour_is_the_teacher(self):
        """With `c = 0` update and loss are those of white noise."""
        task = lg.tasks.coloured_teacher(network(TEACHER), 0.0)
        for settings in ({}, {"horizon": 7}):
            loss = [lg.expected_loss(network(STUDENT), given, **settings) for given in (task, network(TEACHER))]
            np.testing.assert_allclose(*loss, rtol=1e-12)

    def test_a_filter_makes_the_input(self):
        filter_ = lg.LinearRNN(np.ones((INPUT, 2)), np.diag([0.5, 0.8]), np.eye(2))
        _, x, xi = targets_and_inputs(lg.tasks.coloured_teacher(network(TEACHER), filter_))
        state = np.zeros(2)
        for t in range(12):
            np.testing.assert_allclose(x[t], np.ones((INPUT, 2)) @ state)
            state = np.diag([0.5, 0.8]) @ state + xi[t]

    def test_closed_loop(self):
        """A point mass under a student's force, from its own equations of motion."""
        step, damping, stiffness = 0.1, 0.7, 2.0
        plant = lg.tasks.point_mass(step, damping=damping, stiffness=stiffness)
        task = lg.tasks.closed_loop(plant, regulate=[[1.0, 0.3]], plant_noise=[0.0, 0.5], sensor_noise=0.1)
        rng = np.random.default_rng(2)
        student = rng.standard_normal((1, 3)), 0.3 * rng.standard_normal((3, 3)), rng.standard_normal((3, 2))
        xi = rng.standard_normal((8, task.num_noises))
        record = run_task(student, in_oracle(task)._replace(Nh=np.zeros((3, 4))), xi)
        p = v = 0.0
        for t in range(8):
            np.testing.assert_allclose(record.s[t], [p, v], atol=1e-12)
            np.testing.assert_allclose(record.x[t], [p + 0.1 * xi[t, 2], v + 0.1 * xi[t, 3]], atol=1e-12)
            u = float((student[0] @ record.h[t])[0])
            v_next = v + step * (u - damping * v - stiffness * p)
            p_next = p + step * v_next
            # The error is Q p' without the noise of that step, over what a unit of force does to it.
            np.testing.assert_allclose(record.error[t, 0], (p_next + 0.3 * v_next) / (step**2 + 0.3 * step), atol=1e-12)
            p, v = p_next, v_next + 0.5 * xi[t, 1]

    def test_noise_on_the_student(self):
        task = lg.tasks.integrator(0.5, channels=2).with_student_noise(0.3, hidden=4)
        record = run_task((np.ones((2, 4)), np.zeros((4, 4)), np.zeros((4, 2))), in_oracle(task), np.eye(6))
        np.testing.assert_array_equal(record.h[3:], 0.3 * np.eye(4))
        assert task.sizes == (2, 2, 2)


class TestStructure:
    def test_tasks_pickle(self):
        for case in (TASK_BY_ID["closed-loop"](), as_task(network(TEACHER))):
            found = pickle.loads(pickle.dumps(case))
            assert jax.tree.structure(found) == jax.tree.structure(case)
            jax.tree.map(np.testing.assert_array_equal, found, case)

    def test_what_is_zero_is_absent(self):
        A, W, B = TEACHER
        n = len(W)
        task = lg.LinearTask(W, B, np.zeros((INPUT, n)), np.eye(INPUT), A, np.zeros((n, OUTPUT)), np.zeros((4, INPUT)))
        assert task.is_white_teacher
        for one, other in zip(task.teacher.matrices, TEACHER, strict=True):
            np.testing.assert_array_equal(one, other)

    def test_structure_is_known_under_jit(self):
        seen = []

        @jax.jit
        def look(task):
            seen.append((task.is_white_teacher, task.is_closed_loop, task.sizes))
            return jnp.sum(task.dynamics)

        look(as_task(network(TEACHER)))
        look(TASK_BY_ID["closed-loop"]())
        assert seen == [(True, False, (OUTPUT, 5, INPUT)), (False, True, (OUTPUT, 5, INPUT))]

    def test_a_mute_input_stays_mute(self):
        task = lg.LinearTask([[0.5]], [[1.0]], [[0.0]], [[0.0]], [[1.0]])
        assert not task.hears_noise
        update = lg.expected_update(lg.BPTT(), lg.LinearRNN([[1.0]], [[0.5]], [[1.0]]), task)
        assert all(float(x[0, 0]) == 0 for x in update.matrices)


ONE = lg.LinearRNN([[1.0]], [[0.5]], [[1.0]])
TASK = lg.tasks.integrator(0.5)
REFUSED = {
    "shapes": (lambda: lg.LinearTask(np.eye(2), np.eye(3), None, None, [[1.0, 0.0]]),
               r"noise \(N, state × noise\) .* shape \(3, 3\), but dynamics \(D\) says there are 2 state variables"),
    "no-matrix": (lambda: lg.LinearTask(0.5, [[1.0]], None, None, [[1.0]]), r"dynamics \(D\) .* a single number is"),
    "no-number": (lambda: lg.LinearTask("D", [[1.0]], None, None, [[1.0]]), r"dynamics \(D\) of the task"),
    "no-noise": (lambda: lg.LinearTask([[0.5]], [[0.0]], [[1.0]], None, [[1.0]]), "there is nothing to learn"),
    "silent": (lambda: lg.learn(lg.BPTT(), ONE, lg.LinearTask([[0.5]], [[1.0]], None, None, [[0.0]]), duration=1.0),
               "output is 0, so there is nothing to learn"),
    "unstable": (lambda: lg.expected_loss(ONE, lg.LinearTask([[1.5]], [[1.0]], [[1.0]], None, [[1.0]])),
                 r"the task's D has spectral radius 1\.5, .* scale D down or give a finite horizon"),
    "outputs": (lambda: lg.expected_loss(ONE, lg.LinearTask([[0.5]], [[1.0]], [[1.0]], None, [[1.0], [2.0]])),
                "student has 1 outputs and 1 inputs, task 2 and 1"),
    "student-noise": (lambda: lg.expected_loss(ONE, TASK.with_student_noise(0.1, hidden=3)),
                      "noise on 3 hidden units, but the student has 1"),
    "nan": (lambda: lg.expected_loss(ONE, lg.LinearTask([[np.nan]], [[1.0]], [[1.0]], None, [[1.0]])),
            "task's D has an entry that is not finite"),
    "kind": (lambda: lg.expected_loss(ONE, "integrator"), "the teacher is a str, not a LinearRNN or a LinearTask"),
    "order": (lambda: lg.expected_loss(TASK, ONE), "the student is a LinearTask, not a LinearRNN"),
    "leak": (lambda: lg.tasks.integrator(0.0), r"leak must be one number in \(0, 1\].* got 0\.0"),
    "period": (lambda: lg.tasks.oscillator(1.0, 0.5), "period must be one number"),
    "decay": (lambda: lg.tasks.oscillator(5.0, 1.0), "decay must be one number"),
    "gain": (lambda: lg.tasks.integrator(0.5, gain=0), "nothing to learn"),
    "delays": (lambda: lg.tasks.delay_line({}), "weights must be a mapping"),
    "delay-0": (lambda: lg.tasks.delay_line({0: 1.0}), "a delay must be a whole number of at least 1; got 0"),
    "delay-half": (lambda: lg.tasks.delay_line({1.5: 1.0}), "a delay must be a whole number of at least 1; got 1.5"),
    "colour": (lambda: lg.tasks.coloured_teacher(ONE, 1.0), "strictly between -1 and 1"),
    "no-target": (lambda: lg.tasks.closed_loop(ONE), "exactly one target"),
    "target-shape": (lambda: lg.tasks.closed_loop(ONE, imitate=[[1.0, 2.0]]), r"imitate has shape \(1, 2\), but must"),
    "no-effect": (lambda: lg.tasks.closed_loop(lg.LinearRNN(np.eye(2), 0.5 * np.eye(2), [[0.0], [1.0]]),
                                               regulate=[[1.0, 0.0]]), "does not change what regulate asks for"),
    "no-teacher": (lambda: lg.tasks.white_noise_teacher(TASK), "the teacher is a LinearTask, not a LinearRNN"),
    "uncontrolled": (lambda: lg.learn(lg.BPTT(), lg.LinearRNN([[0.0]], [[0.5]], [[1.0, 1.0]]), lg.tasks.closed_loop(
        lg.tasks.point_mass(), regulate=[[1.0, 1.0]]), duration=1.0), "closed loop of student and task has spectral"),
    "plant-flag": (lambda: lg.Rule(through_plant=1), "through_plant must be True or False, got 1"),
}  # fmt: skip


def test_losses_on_a_plant_that_runs_away_alone():
    """A student that controls it has a loss; but a silent one, the unit of losses, has none."""
    task = lg.tasks.closed_loop(lg.tasks.point_mass(1.0), imitate=[[-0.05, -0.3]])
    student = lg.LinearRNN([[1.0]], [[0.0]], [[-0.05, -0.3]])
    assert np.isfinite(lg.expected_loss(student, task))
    with pytest.raises(ValueError, match="without a student's output the task is unstable"):
        lg.learn(lg.BPTT(), student, task, duration=1.0)


@pytest.mark.parametrize(("misuse", "words"), [pytest.param(*case, id=id) for id, case in REFUSED.items()])
def test_misuse_is_one_sentence(misuse, words):
    with pytest.raises(ValueError, match=words) as raised:
        misuse()
    assert "\n" not in str(raised.value)
