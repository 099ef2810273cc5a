"""What the experiment on results of others stands on: borders in closed form, the low-dimensional system, the loop."""

import jax
import numpy as np
import pytest
from scipy.linalg import solve_discrete_are
from scipy.optimize import minimize_scalar

import localgrad as lg
from localgrad.reproduction.networks.literature import closed_loop, feedforward, outliers
from localgrad.reproduction.networks.literature.delays import Border, best_weight
from localgrad.reproduction.networks.literature.topics import Published, gaussian_students


def two_inputs(w, ratio, delay):
    """`1 + r²` less twice the loss at the best gain."""
    return (1 + ratio * w**delay) ** 2 * (1 - w**2)


@pytest.mark.parametrize("delay", [3, 4, 7, 20])
def test_the_optimum_jumps_where_both_solutions_are_as_good(delay):
    border = Border.of_bptt(delay)
    value = two_inputs(border.best_weight, border.best, delay)
    assert value == pytest.approx(1, rel=1e-12)  # as good as without a recurrent weight
    found = minimize_scalar(
        lambda w: -two_inputs(w, border.best, delay), bounds=(0.9 * border.best_weight, 0.999), method="bounded"
    )
    assert found.x == pytest.approx(border.best_weight, abs=1e-5)
    assert best_weight([1.0, *[0.0] * (delay - 1), 1.01 * border.best]) > 0.9 * border.best_weight
    assert best_weight([1.0, *[0.0] * (delay - 1), 0.99 * border.best]) == 0


@pytest.mark.parametrize("delay", [3, 4, 7])
@pytest.mark.parametrize("of", ["of_bptt", "of_one_lag"])
def test_recurrent_solutions_exist_from_the_border_on(delay, of):
    border, w = getattr(Border, of)(delay), np.linspace(1e-3, 1, 100_001)

    def crossings(ratio):
        slope = (
            np.gradient(two_inputs(w, ratio, delay), w)
            if of == "of_bptt"
            else 1 - ratio * w ** (delay - 2) * (1 - w**2)
        )
        return int(np.sum(np.diff(np.sign(slope[1:-1])) != 0))

    assert (crossings(0.999 * border.exists), crossings(1.001 * border.exists)) == (0, 2)


def test_without_a_jump_all_borders_are_one_half():
    border = Border.of_bptt(2)
    assert (border.exists, border.best, border.best_weight) == (0.5, 0.5, 0.0)
    assert Border.of_one_lag(2).exists == 1


@pytest.mark.parametrize("decay", [0.0, 0.5])
def test_rflo_rests_where_the_error_vanishes_at_its_decay_and_pole(decay):
    # Any target of white noise will do; the unit is moved to where both vanish, found by a root search of ours.
    task = lg.tasks.delay_line({1: 1.0, 2: 0.4, 4: 1.3})

    def target(z):
        return 1 + 0.4 * z + 1.3 * z**3

    w = np.linspace(0.55, 0.95, 400_001)
    gap = target(w) * (1 - w**2) - target(decay) * (1 - decay * w)
    w = w[np.argmin(np.abs(gap))]
    unit = lg.LinearRNN([[1.0]], [[w]], [[target(w) * (1 - w**2)]])
    update = lg.expected_update(lg.RFLO([[0.7]], decay), unit, task)
    assert max(float(np.abs(x).max()) for x in update.matrices) < 1e-4
    assert abs(float(lg.expected_update(lg.BPTT(), unit, task).W[0, 0])) > 1e-2  # which is no optimum


@pytest.mark.parametrize("rule", [lambda R: lg.BPTT(), lambda R: lg.RFLO(R, 0.5), lambda R: lg.TruncatedBPTT(2)])
def test_three_units_have_the_updates_of_many(rule):
    rng = np.random.default_rng(0)
    p = outliers.Parameters(hidden=12)
    students, R = gaussian_students(rng, 1, p.hidden, 0.5, 0.0), rng.standard_normal((1, p.hidden))
    few, few_R = outliers.reduced(students, R)
    task = outliers._task(p, "oscillator")
    many, small = (jax.tree.map(lambda x: x[0], network) for network in (students, few))
    A, B = (
        np.asarray(lg.expected_update(rule(R), many, task).W),
        np.asarray(lg.expected_update(rule(few_R[0]), small, task).W),
    )
    np.testing.assert_allclose(np.linalg.svd(A)[1][:3], np.linalg.svd(B)[1][:3], atol=1e-12)


def test_an_answer_with_one_real_pole_is_at_least_as_bad_as_the_floor():
    p = outliers.Parameters()
    task = outliers._task(p, "oscillator")
    floor, silent = outliers.real_floor(task), float(lg.expected_loss(lg.LinearRNN([[0.0]], [[0.0]], [[0.0]]), task))
    rng = np.random.default_rng(0)
    for w, a, b in rng.uniform(-0.9, 0.9, (50, 3)):  # a free answer to the last input, and a geometric series after it
        network = lg.LinearRNN([[1.0, 0.0]], [[0.0, 1.0], [0.0, w]], [[a], [b]])
        assert float(lg.expected_loss(network, task)) >= floor * silent


def test_the_loss_in_the_loop_is_that_of_the_task():
    rng = np.random.default_rng(0)
    A, W, B = 0.1 * rng.standard_normal((1, 4)), 0.3 * rng.standard_normal((4, 4)), 0.5 * rng.standard_normal((4, 1))
    task = lg.tasks.closed_loop(closed_loop._PLANT, regulate=[[0.3, 1.0]])
    expected = float(lg.expected_loss(lg.LinearRNN(A, W, B), task, horizon=20))
    assert float(closed_loop.loop_loss(A, W, B, 20)) == pytest.approx(expected, rel=1e-12)
    assert closed_loop.loop_poles(A, W, B).shape == (2,)


def test_no_controller_does_better_than_the_kalman_filter():
    # State (s, v) with s = p + v sensed; what is unknown of v after a measurement, from the Riccati equation.
    dynamics, noise = np.array([[1.0, 1.0], [0.0, 1.0]]), np.array([[2.0, 1.0], [1.0, 1.0]])
    sensed = np.array([[1.0, 0.0]])
    before = solve_discrete_are(dynamics.T, sensed.T, noise, [[1e-12]])
    wanted = np.array([[0.3, 1.0]])  # the error is 0.3 s + v once the push is known
    assert (wanted @ before @ wanted.T).item() / 2 == pytest.approx(closed_loop.BEST, rel=1e-6)


def test_times_of_a_fixed_feedback_are_those_of_the_flow():
    p = feedforward.Parameters(strengths=(2.0, 0.7), start=0.01, feedback=1.5, num_times=801)
    data = feedforward.compute(p)
    np.testing.assert_allclose(data.half.sel(flow_rule="rflo"), data.fixed_half, rtol=1e-3)
    assert np.all(
        np.abs(data.half.sel(flow_rule="bptt") / data.fixed_half - 1) > 0.5
    )  # which another rule does not have


def test_verdicts_follow_from_the_parts():
    def verdict(*parts):
        return Published.judged("", "", dict(zip("abc", parts, strict=False)), "").verdict

    assert verdict(True, True) == "holds"
    assert verdict(True, False, True) == "partly: a, c"
    assert verdict(False) == "does not hold"
