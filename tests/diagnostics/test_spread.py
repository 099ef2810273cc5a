"""The stationary spread near an optimum: closed forms, a plain iteration, and simulated learning with error bars."""

import numpy as np
import pytest
from cases import STUDENT, TEACHER, network

import localgrad as lg
from localgrad.diagnostics.spread import _flat_projector

NOISE, RATE = 0.2, 0.01
OPTIMUM = lg.Mode(0.8, 1.1, 0.5)


def noisy(mode, deviation=NOISE):
    return lg.tasks.white_noise_teacher(lg.LinearRNN([[mode.a]], [[mode.w]], [[mode.b]])).with_error_noise(deviation)


def of_mode(f, m, mode):
    """The table of section 14, in the order a, w, b."""
    _, b, w = mode
    S, both = 1 / (1 - w * w), 1 - m * w
    own = 1 / (1 - m * m)
    C = np.array(
        [
            [b * b * S, f * b * b * w * S / both, f * b / both],
            [0, f * f * b * b * S * (1 + m * w) * own / both, f * f * b * m * own / both],
            [0, 0, f * f * own],
        ]
    )
    return NOISE**2 * (C + np.triu(C, 1).T)


@pytest.mark.slow
@pytest.mark.parametrize(("rule", "m"), [(lg.BPTT(), 0.5), (lg.RFLO(0.6, 0.3), 0.3), (lg.RFLO(0.6, -0.7), -0.7)])
def test_a_mode_has_a_closed_form(rule, m):
    f = 0.6 if rule.feedback.is_random else OPTIMUM.a
    C = of_mode(f, m, OPTIMUM)
    np.testing.assert_allclose(lg.update_covariance(rule, OPTIMUM, noisy(OPTIMUM)), C, atol=1e-12)
    found = lg.stationary_spread(rule, OPTIMUM, noisy(OPTIMUM), learning_rate=RATE, batch_size=2)
    # The Jacobian's rows and columns are a, b, w; iterated without the direction along the manifold.
    order = [0, 2, 1]
    L = -lg.mode_jacobian(rule, OPTIMUM, OPTIMUM)[np.ix_(order, order)]
    values, right = np.linalg.eig(L)
    moving = (right * (np.abs(values) > 1e-9)) @ np.linalg.inv(right)
    S, step = np.zeros((3, 3)), np.real(moving) - RATE * L
    for _ in range(20_000):
        S = step @ S @ step.T + RATE**2 / 2 * np.real(moving @ C @ moving.T)
    np.testing.assert_allclose(found.covariance, S, rtol=1e-8, atol=1e-12)
    a, b, w = OPTIMUM
    k = np.arange(200)
    G = np.stack([b * w**k, a * b * k * w ** np.maximum(k - 1, 0), a * w**k], axis=1)
    np.testing.assert_allclose(found.excess_loss, np.trace(G @ S @ G.T) / 2, rtol=1e-8)
    assert found.drift < 1e-20
    assert "above it" in str(found)


@pytest.mark.slow
def test_under_bptt_the_excess_is_that_of_the_rates():
    """`C = σ² L`, so that the excess is `(σ²/2N) Σ ηλ/(2 − ηλ)`, for any network."""
    teacher = network(TEACHER)
    task = lg.tasks.white_noise_teacher(teacher).with_error_noise(NOISE)
    L = lg.kernel(lg.BPTT(), teacher, teacher)
    rates = np.linalg.eigvalsh(L.tangent.T @ L.tangent)
    found = lg.stationary_spread(lg.BPTT(), teacher, task, learning_rate=1e-3, batch_size=4)
    np.testing.assert_allclose(found.excess_loss, NOISE**2 / 8 * np.sum(1e-3 * rates / (2 - 1e-3 * rates)), rtol=1e-8)
    C = lg.update_covariance(lg.BPTT(), teacher, task)
    np.testing.assert_allclose(C, NOISE**2 * L.tangent.T @ L.tangent, atol=1e-10)


def simulated(f, m, horizon, steps, runs):
    """Losses of a mode that learns by single noisy sequences, once settled: the mean and its error over runs."""
    rng = np.random.default_rng(0)
    a, b, w = (np.full(runs, x) for x in OPTIMUM)
    c, w_star, losses = OPTIMUM.a * OPTIMUM.b, OPTIMUM.w, np.zeros(runs)
    for step in range(2 * steps):
        h, target, trace_w, trace_b = (np.zeros(runs) for _ in range(4))
        for x in rng.standard_normal((horizon, runs)):
            trace_w, trace_b = m * trace_w + h, m * trace_b + x
            h, target = w * h + b * x, w_star * target + x
        error = a * h - c * target + NOISE * rng.standard_normal(runs)
        a, b, w = a - RATE * error * h, b - RATE * error * f * trace_b, w - RATE * error * f * trace_w
        if step >= steps:
            k = np.arange(horizon)[:, None]
            losses += np.sum((a * b * w**k - c * w_star**k) ** 2, axis=0) / 2 / steps
    return losses.mean(), losses.std() / np.sqrt(runs)


@pytest.mark.slow
def test_simulated_learning_spreads_so():
    f, m, horizon = 0.6, 0.3, 10
    mean, error = simulated(f, m, horizon, steps=600, runs=3000)
    found = lg.stationary_spread(lg.RFLO(f, m), OPTIMUM, noisy(OPTIMUM), learning_rate=RATE, horizon=horizon)
    assert abs(mean - found.excess_loss) < 4 * error + 0.02 * mean  # what is not linear is of the order of a step
    assert error < 0.02 * mean


def test_what_has_no_stationary_spread_is_refused():
    task = noisy(OPTIMUM)
    with pytest.raises(ValueError, match="the student is not at rest: its update has size"):
        lg.stationary_spread(lg.BPTT(), lg.Mode(0.8, 1.1, 0.4), task, learning_rate=RATE)
    with pytest.raises(ValueError, match="steps of 10 leave this point"):
        lg.stationary_spread(lg.BPTT(), OPTIMUM, task, learning_rate=10)
    with pytest.raises(ValueError, match=r"steps of 0\.01 leave this point"):
        lg.stationary_spread(lg.RFLO(-0.6, 0.3), OPTIMUM, task, learning_rate=RATE)
    with pytest.raises(ValueError, match="learning_rate must be a positive finite number"):
        lg.stationary_spread(lg.BPTT(), OPTIMUM, task, learning_rate=0)
    with pytest.raises(ValueError, match="weights meet"):  # where L moves what it does not see
        _flat_projector(np.array([[0.0, 1.0], [0.0, 0.0]]))


@pytest.mark.slow
def test_without_noise_nothing_spreads_around_an_optimum():
    found = lg.stationary_spread(lg.RFLO(STUDENT[0], 0.3), network(STUDENT), network(STUDENT), learning_rate=1e-4)
    assert np.abs(found.covariance).max() < 1e-20
