"""The kernel of a rule, against brute-force sums, finite differences of the loss, and the gradient's symmetry."""

import numpy as np
import pytest
from cases import BY_ID, FEEDBACK, HIDDEN, HORIZON, STUDENT, TASK_BY_ID, TEACHER, layer, network
from oracles import brute_force_kernel

import localgrad as lg

SMALL = {"horizon": HORIZON}
START, OPTIMUM = lg.Mode(1.0, 1.0, 0.6), lg.Mode(1.0, 1.0, 0.8)


def flat(update):
    return np.concatenate([np.asarray(x).ravel() for x in update.matrices])


@pytest.mark.parametrize("name", ["bptt", "rflo", "eprop", "tbptt"])
def test_against_brute_force(name):
    case = BY_ID[name]
    found = lg.kernel(case(), network(STUDENT), network(TEACHER), **SMALL)
    expected = brute_force_kernel(*case.reference(STUDENT), STUDENT, HORIZON)
    np.testing.assert_allclose(found.matrix, expected, atol=1e-11 * np.abs(expected).max())
    values, vectors = np.linalg.eigh((expected + expected.T) / 2)
    rising = values < -1e-9 * np.abs(values).max()
    np.testing.assert_allclose(found.rates, -2 * values[rising], rtol=1e-9)
    along = vectors[:, rising].T @ found.errors.ravel()
    np.testing.assert_allclose(found.rising_share, np.sum(along**2) / np.sum(found.errors**2), atol=1e-9)
    size = np.sort(np.abs(np.linalg.eigvals(expected)))[::-1][:5]
    np.testing.assert_allclose(np.abs(found.eigenvalues)[:5], size, rtol=1e-6)


@pytest.mark.parametrize(
    ("task", "options"),
    [
        ("teacher", {}),
        pytest.param("teacher", {"horizon": HORIZON, "loss": "sequence"}, marks=pytest.mark.slow),
        pytest.param("closed-loop", {}, marks=pytest.mark.slow),
    ],
)
def test_the_losses_rate_is_that_along_the_update(task, options):
    given, step = TASK_BY_ID[task](), 1e-5
    rule = lg.RFLO(FEEDBACK, 0.4).with_delay(1)
    found = lg.kernel(rule, network(STUDENT), given, **options)
    update = lg.expected_update(rule, network(STUDENT), given, **options)
    np.testing.assert_allclose(found.credit @ found.errors.ravel(), flat(update), rtol=1e-9, atol=1e-10)
    moved = [[x - side * step * dx for x, dx in zip(STUDENT, update.matrices, strict=True)] for side in (1, -1)]
    ahead, behind = (float(lg.expected_loss(network(x), given, **options)) for x in moved)
    np.testing.assert_allclose(found.loss_rate, (ahead - behind) / (2 * step), rtol=1e-6)
    loss = float(lg.expected_loss(network(STUDENT), given, **options))
    np.testing.assert_allclose(np.sum(found.errors**2) / 2, loss, rtol=1e-10)


def test_the_gradient_is_symmetric_positive_and_free_of_curl_and_the_others_are_not():
    bptt, rflo = (
        lg.kernel(rule, network(STUDENT), network(TEACHER), **SMALL) for rule in (lg.BPTT(), lg.RFLO(FEEDBACK, 0.5))
    )
    size = bptt.symmetric_eigenvalues[-1]
    assert len(bptt.rates) == 0
    assert not bptt.turns
    assert bptt.curl < 1e-12
    assert bptt.symmetric_eigenvalues[0] > -1e-13 * size
    np.testing.assert_allclose(bptt.credit, bptt.tangent.T, atol=1e-12 * size)
    assert rflo.turns
    assert rflo.curl > 0.1
    # An error in a rising direction raises the loss at the rate said.
    d = rflo.rising[0].ravel()
    np.testing.assert_allclose(-(d @ rflo.tangent) @ (rflo.credit @ d), rflo.rates[0] / 2, rtol=1e-9)


def test_curl_against_finite_differences():
    """`J` by differences of the update; a single hidden unit, to be quick."""
    rule, numbers, step = lg.RFLO([[-1.0]], 0.5), np.array([1.0, 0.6, 1.0]), 1e-6

    def update(x):
        student = lg.LinearRNN(*(x[i : i + 1, None] for i in range(3)))
        return flat(lg.expected_update(rule, student, lg.LinearRNN([[1.0]], [[0.8]], [[1.0]])))

    J = np.stack([(update(numbers + step * e) - update(numbers - step * e)) / (2 * step) for e in np.eye(3)], axis=1)
    found = lg.kernel(lg.RFLO(-1.0, 0.5), START, OPTIMUM)  # as a mode
    np.testing.assert_allclose(found.curl, np.linalg.norm(J - J.T) / np.linalg.norm(J), rtol=1e-6)
    assert found.loss_rate > 0  # the detour: its loss rises at once
    assert found.rates[0] / 2 >= found.loss_rate / np.sum(found.errors**2)
    assert "loss rises in" in str(found)
    assert len(found.plot().axes) == 2


def test_a_leaky_network_is_one_in_other_weights():
    student = lg.LeakyRNN(*STUDENT, leak=0.5)
    found = lg.kernel(lg.BPTT(), student, network(TEACHER), **SMALL)
    assert found.curl < 1e-12
    assert found.tangent.shape[1] == sum(x.size for x in STUDENT)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("rule", "student", "message"),
    [
        (lg.RFLO(FEEDBACK, 1.1), network(STUDENT), "propagator has spectral radius 1.1"),
        (lg.BPTT(), layer([np.ones((2, 2)), np.array([0.5, 0.4]), np.ones((2, 3))]), "take lg.real_blocks"),
        (lg.BPTT(), network([STUDENT[0], np.eye(HIDDEN), STUDENT[2]]), "spectral radius 1"),
        (lg.BPTT(), lg.Mode([1.0, 2.0], 1.0, 0.5), "a mode with arrays"),
        ("bptt", network(STUDENT), "rule"),
    ],
)
def test_what_has_no_kernel_is_refused(rule, student, message):
    with pytest.raises(ValueError, match=message):
        lg.kernel(rule, student, network(TEACHER))
