"""Invariants of full networks, on networks drawn by Hypothesis (one set of sizes, so that nothing compiles anew)."""

import numpy as np
from cases import HIDDEN, INPUT, OUTPUT, TEACHER_HIDDEN, assert_close, matrices, network, random_matrices
from hypothesis import given, settings
from hypothesis import strategies as st

import localgrad as lg

# Radius 0.9: sums of some hundred lags, entries up to 1e4.
ROUNDING = 1e-9

seeds = st.integers(0, 2**31 - 1)
radii = st.floats(0, 0.9)
students = st.builds(lambda seed, r: random_matrices(OUTPUT, HIDDEN, INPUT, seed, r), seeds, radii)
teachers = st.builds(lambda seed, r: random_matrices(OUTPUT, TEACHER_HIDDEN, INPUT, seed, r), seeds, radii)
few = settings(max_examples=30)


def rate_of_conserved_quantity(student, update):
    """`dQ/dk` for `Q = AᵀA − BBᵀ + WᵀW − WWᵀ` along `dθ/dk = −Δθ`, and the size of its terms."""
    (A, W, B), (dA, dW, dB) = student, update
    terms = [A.T @ dA, -B @ dB.T, W.T @ dW, -W @ dW.T]
    rate = sum(term + term.T for term in terms)
    return -rate, max(np.abs(term).max() for term in terms)


@few
@given(students, teachers, st.sampled_from([None, 5]))
def test_bptt_conserves(student, teacher, horizon):
    """The similarity symmetry of every loss is a conservation law of its gradient flow (Noether)."""
    update = matrices(lg.expected_update(lg.BPTT(), network(student), network(teacher), horizon=horizon))
    rate, size = rate_of_conserved_quantity(student, update)
    assert np.abs(rate).max() <= ROUNDING * size


def test_other_rules_do_not_conserve():
    student, teacher = random_matrices(OUTPUT, HIDDEN, INPUT, 1), random_matrices(OUTPUT, TEACHER_HIDDEN, INPUT, 2)
    R = np.random.default_rng(3).standard_normal((OUTPUT, HIDDEN))
    for rule in (lg.TruncatedBPTT(1), lg.RFLO(R, 0.4), lg.EProp(), lg.EProp(R), lg.FeedbackAlignment(R)):
        update = matrices(lg.expected_update(rule, network(student), network(teacher)))
        rate, size = rate_of_conserved_quantity(student, update)
        assert np.abs(rate).max() > 0.05 * size


@few
@given(students, teachers)
def test_losses_are_not_negative(student, teacher):
    pair = (network(student), network(teacher))
    # A difference of variances, each about as large as the losses against a silent network.
    silent = network(tuple(0 * x for x in student)), network(tuple(0 * x for x in teacher))
    size = float(lg.expected_loss(pair[0], silent[1]) + lg.expected_loss(silent[0], pair[1]))
    assert lg.expected_loss(*pair) >= -1e-12 * size
    assert lg.expected_loss(*pair, horizon=5) >= 0


@few
@given(students, teachers, seeds)
def test_the_loss_knows_no_hidden_coordinates(student, teacher, seed):
    """`(A S⁻¹, S W S⁻¹, S B)` is the same network to its output; `S` has condition number 4."""
    rng = np.random.default_rng(seed)
    left, right = (np.linalg.qr(rng.standard_normal((HIDDEN, HIDDEN)))[0] for _ in range(2))
    S = left @ np.diag([0.5, 1.0, 1.5, 2.0]) @ right
    A, W, B = student
    moved = (A @ np.linalg.inv(S), S @ W @ np.linalg.inv(S), S @ B)
    losses = [lg.expected_loss(network(x), network(teacher)) for x in (student, moved)]
    np.testing.assert_allclose(losses[1], losses[0], rtol=ROUNDING)


@few
@given(students, teachers)
def test_both_algorithms_agree(student, teacher):
    by_lags, doubling = (
        matrices(lg.expected_update(lg.BPTT(), network(student), network(teacher), method=method))
        for method in ("lags", "doubling")
    )
    assert_close(by_lags, doubling, ROUNDING)
