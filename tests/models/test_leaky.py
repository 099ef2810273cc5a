"""Leaky linear networks under rules that keep the leak, the recurrent weights, or both."""

import jax
import numpy as np
import pytest
from cases import FEEDBACK, HIDDEN, STUDENT, TEACHER, assert_close, distance, matrices, network
from oracles import brute_force_loss, brute_force_update, finite_differences

import localgrad as lg

A, W, B = STUDENT
LEAKS = {"one": 0.3, "one a unit": np.array([0.2, 0.5, 0.9, 1.0])}
leaks = pytest.mark.parametrize("leak", LEAKS.values(), ids=LEAKS)


def plain(student, leak):
    """The same network without a leak, in plain NumPy: `(A, (1 − α) I + αW, αB)`."""
    A, W, B = student
    alpha = np.broadcast_to(leak, HIDDEN)[:, None]
    return A, (1 - alpha) * np.eye(HIDDEN) + alpha * W, alpha * B


def update_of(rule, leak, **settings):
    return matrices(lg.expected_update(rule, lg.LeakyRNN(A, W, B, leak), network(TEACHER), **settings))


@leaks
def test_bptt_is_the_gradient_of_the_weights_themselves(leak):
    own = lg.LeakyRNN(A, W, B, leak)
    loss = lambda student: brute_force_loss(plain(student, leak), TEACHER, 9)  # noqa: E731
    np.testing.assert_allclose(lg.expected_loss(own, network(TEACHER), horizon=9), loss(STUDENT), rtol=1e-12)
    update = lg.expected_update(lg.BPTT(), own, network(TEACHER), horizon=9)
    assert isinstance(update, lg.LeakyRNN)
    assert np.all(np.asarray(update.leak) == 0)
    assert_close(matrices(update), finite_differences(loss, STUDENT), 1e-8)


@leaks
def test_internal_is_the_leak(leak):
    """Against the sums of the network without a leak, whose propagator is `1 − α` and no recurrent weight."""
    alpha = np.broadcast_to(leak, HIDDEN)[:, None]
    M = np.diag(1 - alpha[:, 0])
    dA, dJ, dB = brute_force_update(FEEDBACK, M, None, plain(STUDENT, leak), TEACHER, 9)
    murray = lg.RFLO(FEEDBACK, "internal")
    assert_close(update_of(murray, leak, horizon=9), (dA, alpha * dJ, alpha * dB), 1e-12)
    assert_close(update_of(lg.BellecEProp(FEEDBACK), leak, horizon=9), (dA, alpha * dJ, alpha * dB), 1e-12)
    J = plain(STUDENT, leak)[1]
    blend = brute_force_update(
        FEEDBACK, 0.5 * M + 0.3 * J + 0.1 * np.eye(HIDDEN), None, plain(STUDENT, leak), TEACHER, 9
    )
    rule = lg.Rule(FEEDBACK, lg.Propagator(full=0.3, decay=0.1, internal=0.5))
    assert_close(update_of(rule, leak, horizon=9), (blend[0], alpha * blend[1], alpha * blend[2]), 1e-12)


def test_names_are_different_rules_where_units_leak():
    """Murray's and Bellec's rule are one up to feedback; the paper's e-prop, which is SnAp-1, is another."""
    symmetric = update_of(lg.RFLO("symmetric", "internal"), 0.3, horizon=9)
    assert distance(update_of(lg.BellecEProp(), 0.3, horizon=9), symmetric) == 0
    assert distance(update_of(lg.RFLO("symmetric", 0.7), 0.3, horizon=9), symmetric) < 1e-12
    assert distance(update_of(lg.SnAp1(), 0.3, horizon=9), update_of(lg.EProp(), 0.3, horizon=9)) == 0
    assert distance(update_of(lg.EProp(), 0.3, horizon=9), symmetric) > 0.01


def test_without_a_leak_nothing_is_internal():
    """One lag is left, as of a rule without a trace; and a leak of 1 is no leak."""
    for student in (network(STUDENT), lg.LeakyRNN(A, W, B, 1.0)):
        update = lg.expected_update(lg.RFLO(FEEDBACK, "internal"), student, network(TEACHER), horizon=9)
        expected = lg.expected_update(lg.ThreeFactor(FEEDBACK), network(STUDENT), network(TEACHER), horizon=9)
        assert_close(matrices(update), matrices(expected), 1e-12)


def test_words_and_sums():
    rule = lg.Rule("symmetric", "internal" + lg.FixedMatrix(np.eye(HIDDEN)))
    assert rule.describe() == "custom: F = A, M = J₀ + X, all lags"
    assert lg.RFLO(1.0, "internal").describe() == "RFLO (Murray): F = 1, M = J₀, all lags"
    assert lg.Propagator(internal=2.0).on_mode(0.5) == 0.0
    assert lg.Propagator(internal=1).is_elementwise
    assert not lg.Propagator(full=1, internal=1).is_jacobian
    student = lg.LeakyRNN(A, W, B, 0.5)
    assert jax.tree.structure(lg.expected_update(lg.BPTT(), student, network(TEACHER))) == jax.tree.structure(student)


@pytest.mark.parametrize("leak", [0.0, 1.5, -0.1, np.ones(3), np.nan])
def test_leaks_that_are_refused(leak):
    with pytest.raises(ValueError, match=r"leak (must lie in \(0, 1\]|has shape)"):
        lg.LeakyRNN(A, W, B, leak)
