"""Modes with a complex pole: against sums over lags, finite differences, the real mode, and a network of two units."""

import numpy as np
import pytest

import localgrad as lg

STUDENT = lg.Mode(0.7 + 0.3j, -0.4 + 0.8j, 0.5 + 0.4j)
TEACHER = lg.Mode(1.0 + 0.2j, 0.6 - 0.5j, 0.6 * np.exp(0.9j))
RULES = {
    "bptt": (lg.BPTT(), lambda a, w: (a, w, None)),
    "tbptt-3": (lg.TruncatedBPTT(3), lambda a, w: (a, w, 3)),
    "rflo": (lg.RFLO(0.7, 0.4), lambda a, w: (0.7, 0.4, None)),
    "eprop-random": (lg.EProp(-0.5), lambda a, w: (-0.5, w, None)),
}
every_rule = pytest.mark.parametrize(("rule", "credit"), RULES.values(), ids=RULES)


def parts(mode):
    return np.array([part for x in mode for part in (np.real(x), np.imag(x))])


def mode_of(x):
    return lg.Mode(x[0] + 1j * x[1], x[2] + 1j * x[3], x[4] + 1j * x[5])


def slopes(function, x, step=1e-6):
    return np.array([(function(x + step * e) - function(x - step * e)) / (2 * step) for e in np.eye(6)])


def sums_over_lags(student, teacher, f, m, lags, count=300):
    a, b, w = student
    j = np.arange(count)
    errors = (a * w**j * b).real - (teacher.a * teacher.w**j * teacher.b).real
    credit = np.where(j < (lags or count), np.conj(f * np.asarray(m) ** j), 0)
    shifted = np.concatenate([errors, np.zeros(count)])[j[:, None] + j + 1]
    seen = np.conj(w**j * b)
    return np.sum(errors * seen), np.sum(credit * errors), credit @ (shifted @ seen), (errors**2).sum() / 2


@every_rule
def test_update_and_loss_are_sums_over_lags(rule, credit):
    *update, loss = sums_over_lags(STUDENT, TEACHER, *credit(STUDENT.a, STUDENT.w))
    np.testing.assert_allclose(lg.mode_update(rule, STUDENT, TEACHER), update, rtol=1e-12)
    np.testing.assert_allclose(lg.mode_loss(STUDENT, TEACHER), loss, rtol=1e-12)


def test_bptt_is_the_gradient():
    gradient = slopes(lambda x: lg.mode_loss(mode_of(x), TEACHER), parts(STUDENT))
    np.testing.assert_allclose(parts(lg.mode_update(lg.BPTT(), STUDENT, TEACHER)), gradient, rtol=1e-8)


@every_rule
def test_jacobian_is_that_of_the_update(rule, credit):
    found = lg.mode_jacobian(rule, STUDENT, TEACHER)
    expected = -slopes(lambda x: parts(lg.mode_update(rule, mode_of(x), TEACHER)), parts(STUDENT)).T
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-8)


@every_rule
def test_real_numbers_give_the_real_mode(rule, credit):
    real = lg.Mode(0.7, 0.4, 0.5), lg.Mode(1.0, 0.6, 0.3)
    complex_ones = [lg.Mode(*map(complex, mode)) for mode in real]
    np.testing.assert_allclose(lg.mode_update(rule, *complex_ones), lg.mode_update(rule, *real), rtol=1e-12, atol=1e-15)
    J = lg.mode_jacobian(rule, *complex_ones)
    np.testing.assert_allclose(J[::2, ::2], lg.mode_jacobian(rule, *real), rtol=1e-12)


def test_is_a_network_of_two_units():
    """`Re(a h)` of a complex `h` is a real network whose W turns and shrinks; its exact loss is the mode's."""

    def network(mode):
        a, b, w = mode
        A, B = [[a.real, -a.imag]], [[b.real], [b.imag]]
        return lg.LinearRNN(np.array(A), np.array([[w.real, -w.imag], [w.imag, w.real]]), np.array(B))

    exact = lg.expected_loss(network(STUDENT), network(TEACHER))
    np.testing.assert_allclose(lg.mode_loss(STUDENT, TEACHER), exact, rtol=1e-12)


@pytest.mark.parametrize("make", [lambda R: lg.BPTT(), lambda R: lg.RFLO(R, 0.4)], ids=["bptt", "rflo"])
@pytest.mark.parametrize("is_real", [True, False])
def test_is_a_state_space_layer_of_one_pole(make, is_real):
    student, teacher = (lg.Mode(*(x.real if is_real else x for x in mode)) for mode in (STUDENT, TEACHER))
    layers = [lg.DiagonalSSM([[x.a]], [x.w], [[x.b]]) for x in (student, teacher)]
    update = lg.expected_update(make(np.array([[0.7]])), *layers)
    expected = lg.mode_update(make(0.7), student, teacher)
    np.testing.assert_allclose([update.C[0, 0], update.B[0, 0], update.poles[0]], expected, rtol=1e-12)


@every_rule
def test_fixed_points_rest_and_two_eigenvalues_are_zero(rule, credit):
    s = 0.8 + 0.5j
    for manifold in lg.fixed_points(rule, TEACHER):
        point = manifold.at(s if manifold.name == "optimal" else 0.3)
        np.testing.assert_allclose(parts(lg.mode_update(rule, point, TEACHER)), 0, atol=1e-14)
        losses = manifold.loss(s if manifold.name == "optimal" else 0.3)
        assert np.all(losses < 1e-14) == (manifold.name == "optimal")
    values = lg.spectrum(rule, TEACHER, s)
    assert values.shape == (6,)
    assert np.all(values[:2] == 0)
    J = lg.mode_jacobian(rule, lg.optimal_mode(TEACHER, s), TEACHER)
    np.testing.assert_allclose(values.sum(axis=-1), np.trace(J), rtol=1e-9)


def test_bptt_is_stable_with_real_eigenvalues():
    """At an optimum its Jacobian is minus a Gram matrix."""
    values = np.array([lg.spectrum(lg.BPTT(), TEACHER, s) for s in (0.5 + 0.5j, 2.0, -1j)])
    np.testing.assert_allclose(values.imag, 0, atol=1e-10)
    assert np.all(values.real[:, 2:] < 0)


def test_elsewhere_complex_numbers_are_refused():
    for call in (
        lambda: lg.convergence_rate(lg.BPTT(), TEACHER, 1.0),
        lambda: lg.learn_mode(lg.BPTT(), STUDENT, TEACHER, duration=1.0),
        lambda: lg.integrate_modes(lg.BPTT(), STUDENT, TEACHER, duration=1.0),
    ):
        with pytest.raises(ValueError, match="is complex; give real numbers"):
            call()
    for odd in ((1j, None, 0.5), (1j, "2.0", 0.5), (1j, float("nan"), 0.5), (1j, [[1.0], [1.0, 2.0]], 0.5)):
        with pytest.raises(ValueError, match="student b"):
            lg.mode_update(lg.BPTT(), odd, TEACHER)
    with pytest.raises(ValueError, match=r"the teacher is None; give a localgrad\.Mode"):
        lg.mode_update(lg.BPTT(), STUDENT, None)
    with pytest.raises(ValueError, match="an oscillating mode has direct poles, not lru ones"):
        lg.mode_update(lg.BPTT(), STUDENT, TEACHER, poles="lru")
    with pytest.raises(ValueError, match="student w has modulus 1, which must be below 1"):
        lg.mode_update(lg.BPTT(), lg.Mode(1.0, 1.0, 1j), TEACHER)
    with pytest.raises(ValueError, match="must be below 1 when all lags are kept"):
        lg.mode_update(lg.RFLO(1.0, 1.9), STUDENT, TEACHER)
