"""The covariance of one update: closed form, brute-force sums over lags, and sampled sequences with error bars."""

import numpy as np
import pytest
from cases import BY_ID, FEEDBACK, HIDDEN, HORIZON, INPUT, OUTPUT, STUDENT, TASK_BY_ID, TEACHER, layer, network
from cases import LAYER as LAYER_ARRAYS
from numpy.linalg import matrix_power
from oracles import updates_of_noise
from scipy.linalg import solve_discrete_lyapunov

import localgrad as lg

DEVIATIONS = np.linspace(0.3, 0.6, OUTPUT)
AT_OPTIMUM = lg.tasks.white_noise_teacher(network(STUDENT)).with_error_noise(DEVIATIONS)


def flat(matrices):
    return np.concatenate([np.reshape(x, (len(x), -1)) for x in matrices], axis=1)


def closed_form(F, M, student, noise):
    """Section 14 at an optimum: Stein, Lyapunov and a Kronecker product, weights ordered row by row."""
    _, W, B = student
    eye = np.eye(len(W))
    G, Sigma = F.T @ np.diag(noise**2) @ F, np.diag(noise**2)
    S, P = solve_discrete_lyapunov(M.T, G), solve_discrete_lyapunov(W, B @ B.T)
    K = np.linalg.inv(np.eye(len(W) ** 2) - np.kron(M, W))
    X = np.kron(S, eye) @ K @ np.kron(eye, P)
    AW, AB = np.kron(Sigma @ F, W) @ K @ np.kron(eye, P), np.kron(Sigma @ F, eye) @ K @ np.kron(eye, B)
    WB = np.kron(S @ M, eye) @ K @ np.kron(eye, B)
    AA, WW, BB = np.kron(Sigma, P), X + X.T - np.kron(S, P), np.kron(S, np.eye(B.shape[1]))
    return np.block([[AA, AW, AB], [AW.T, WW, WB], [AB.T, WB.T, BB]])


@pytest.mark.parametrize("name", ["bptt", "rflo", "eprop-random"])
def test_at_an_optimum_there_is_a_closed_form(name):
    F, M, _ = BY_ID[name].reference(STUDENT)
    expected = closed_form(F, M, STUDENT, DEVIATIONS)
    for delay in (0, 3):  # which does not matter there
        found = lg.update_covariance(BY_ID[name]().with_delay(delay), network(STUDENT), AT_OPTIMUM)
        np.testing.assert_allclose(found, expected, atol=1e-10 * np.abs(expected).max())


def by_lags(F, M, lags, delay, noise, horizon):
    """Brute force over all pairs of noises: error and traces respond to each, and fourth moments are Isserlis'."""
    A, W, B = STUDENT
    A_star, W_star, B_star = TEACHER
    steps, inputs = horizon + delay, B.shape[1]
    E, Z = [], []  # of the noise of each step before the error arrives: "output input", "weights output input"
    states = [matrix_power(W, k) @ B for k in range(steps)]
    for m in range(steps):
        k = m - delay  # its lag when the error was made
        E.append(A @ states[k] - A_star @ matrix_power(W_star, k) @ B_star if k >= 0 else np.zeros((len(A), inputs)))
        response = np.zeros((A.size + W.size + B.size, len(A), inputs))
        for e in range(len(A)):
            for q in range(inputs):
                credit, now = np.eye(len(A))[e] @ F, states[m][:, q]
                dA, dW, dB = np.zeros_like(A), np.zeros_like(W), np.zeros_like(B)
                dA[e] = now
                for j in range(steps if lags is None else min(lags, steps)):
                    if j < m:
                        dW += np.outer(credit, states[m - 1 - j][:, q])
                    if j == m:
                        dB += np.outer(credit, np.eye(inputs)[q])
                    credit = credit @ M
                response[:, e, q] = np.concatenate([x.ravel() for x in (dA, dW, dB)])
        Z.append(response)
    own = sum(e @ e.T for e in E) + np.diag(noise**2)
    met = sum(np.einsum("xeq,fq->xef", z, e) for z, e in zip(Z, E, strict=True))
    traces = sum(np.einsum("xeq,yfq->xeyf", z, z) for z in Z)
    mean = np.einsum("xee->x", met)
    return np.einsum("ef,xeyf->xy", own, traces) + np.einsum("xef,yfe->xy", met, met), mean


@pytest.mark.slow
@pytest.mark.parametrize(("name", "delay"), [("bptt", 0), ("rflo", 2), ("rflo-lags-3", 1), ("three-factor", 3)])
def test_anywhere_it_is_a_sum_over_lags(name, delay):
    rule, task = BY_ID[name]().with_delay(delay), lg.tasks.white_noise_teacher(network(TEACHER))
    found = lg.update_covariance(rule, network(STUDENT), task.with_error_noise(DEVIATIONS), horizon=HORIZON)
    expected, mean = by_lags(*BY_ID[name].reference(STUDENT), delay, DEVIATIONS, HORIZON)
    np.testing.assert_allclose(found, expected, atol=1e-11 * np.abs(expected).max())
    # and its mean does not hear the noise
    update = lg.expected_update(rule, network(STUDENT), task.with_error_noise(DEVIATIONS), horizon=HORIZON)
    np.testing.assert_allclose(np.concatenate([np.ravel(x) for x in update.matrices]), mean, atol=1e-11)


@pytest.mark.slow
def test_sampled_sequences_spread_so():
    count, delay = 40_000, 1
    rng = np.random.default_rng(0)
    x = rng.standard_normal((HORIZON + delay, count, INPUT))
    F, M, lags = BY_ID["rflo"].reference(STUDENT)
    clean = flat(updates_of_noise(F, M, lags, STUDENT, TEACHER, x, "final", delay))
    # An error of noise alone, met by the same traces: the student without a teacher, its readout a draw a sequence.
    noisy = clean + _of_noise(F, M, rng, x)
    centred = noisy - noisy.mean(axis=0)
    products = centred[:, :, None] * centred[:, None, :]
    error = products.std(axis=0) / np.sqrt(count)
    task = lg.tasks.white_noise_teacher(network(TEACHER)).with_error_noise(DEVIATIONS)
    found = lg.update_covariance(BY_ID["rflo"]().with_delay(delay), network(STUDENT), task, horizon=HORIZON)
    assert np.abs((products.mean(axis=0) - found) / error).max() < 5  # of some 700 entries
    np.testing.assert_allclose(np.trace(noisy.T @ noisy) / count, np.trace(clean.T @ clean) / count, rtol=0.5)


def _of_noise(F, M, rng, x):
    """The updates that error noise brings to the recorded sequences."""
    _, W, B = STUDENT
    h, noise = [np.zeros((x.shape[1], HIDDEN))], DEVIATIONS * rng.standard_normal((x.shape[1], OUTPUT))
    for now in x:
        h.append(h[-1] @ W.T + now @ B.T)
    dA, credit = noise[:, :, None] * h[-1][:, None, :], noise @ F
    dW, dB = np.zeros((x.shape[1], *W.shape)), np.zeros((x.shape[1], *B.shape))
    for t in range(len(x) - 1, -1, -1):
        dW, dB = dW + credit[:, :, None] * h[t][:, None, :], dB + credit[:, :, None] * x[t][:, None, :]
        credit = credit @ M
    return flat((dA, dW, dB))


@pytest.mark.slow
def test_noise_in_the_error_is_noise_in_a_state_of_the_task():
    for name in ("closed-loop", "teacher"):
        task = TASK_BY_ID[name]()
        task = task if isinstance(task, lg.LinearTask) else lg.tasks.white_noise_teacher(task)
        noisy = task.with_error_noise(0.5)
        for horizon in (None, HORIZON):
            over = {"horizon": horizon}
            clean, found = (lg.expected_update(lg.BPTT(), network(STUDENT), t, **over) for t in (task, noisy))
            for one, other in zip(clean.matrices, found.matrices, strict=True):
                np.testing.assert_allclose(one, other, atol=1e-12)
            gap = lg.expected_loss(network(STUDENT), noisy, **over) - lg.expected_loss(network(STUDENT), task, **over)
            np.testing.assert_allclose(gap, OUTPUT * 0.5**2 / 2, rtol=1e-10)


@pytest.mark.parametrize("deviation", [-0.1, np.nan, [0.1] * (OUTPUT + 1), "much"])
def test_bad_noise_is_refused(deviation):
    with pytest.raises(ValueError, match="deviation"):
        lg.tasks.white_noise_teacher(network(TEACHER)).with_error_noise(deviation)


def test_what_has_no_covariance_is_refused():
    with pytest.raises(ValueError, match=r"take lg\.real_blocks of it"):
        lg.update_covariance(lg.BPTT(), layer(LAYER_ARRAYS), network(TEACHER))
    with pytest.raises(ValueError, match="propagator has spectral radius 1, so that its credit"):
        lg.update_covariance(lg.RFLO(FEEDBACK, 1.0), network(STUDENT), network(TEACHER))
