"""The spectrum of what was learned: known singular values, sums of outer products, and the paper's proposition 3.1."""

import jax
import numpy as np
import pytest
from cases import network, random_matrices
from hypothesis import given
from hypothesis import strategies as st

import localgrad as lg

OUTPUT, HIDDEN, INPUT = 2, 8, 3
# Differences of weights of order 1, singular values of order 1.
ROUNDING = 1e-13

seeds = st.integers(0, 2**31 - 1)
START = random_matrices(OUTPUT, HIDDEN, INPUT, seed=1)


def changed(dW, dB=0.0):
    return network((START[0], START[1] + dW, START[2] + dB))


def with_values(values, rows, columns, rng):
    """A matrix with the given singular values."""
    left, right = (np.linalg.qr(rng.standard_normal((size, len(values))))[0] for size in (rows, columns))
    return left * values @ right.T


def test_known_singular_values():
    """`(2² + 1²)²/(2⁴ + 1⁴) = 25/17`; of three equal values the participation ratio is 3."""
    rng = np.random.default_rng(2)
    dW, dB = with_values([2.0, 1.0], HIDDEN, HIDDEN, rng), with_values([0.5, 0.5, 0.5], HIDDEN, INPUT, rng)
    found = lg.singular_spectrum(network(START), changed(dW, dB))
    np.testing.assert_allclose(found.W.singular_values, [2, 1] + [0] * 6, atol=ROUNDING)
    np.testing.assert_allclose(found.B.singular_values, [0.5, 0.5, 0.5], atol=ROUNDING)
    assert (found.W.rank, found.B.rank) == (2, 3)
    np.testing.assert_allclose(found.W.participation_ratio, 25 / 17, rtol=ROUNDING)
    np.testing.assert_allclose(found.B.participation_ratio, 3, rtol=ROUNDING)
    assert found.W.outside_feedback is None


@pytest.mark.parametrize(("tolerance", "rank"), [(0.0, 8), (1e-6, 3), (1e-4, 2), (1e-2, 1)])
def test_the_rank_counts_what_exceeds_the_tolerance(tolerance, rank):
    values = [1.0, 1e-3, 1e-5, 1e-9, 1e-9, 1e-9, 1e-9, 1e-9]
    dW = with_values(values, HIDDEN, HIDDEN, np.random.default_rng(2))
    assert lg.singular_spectrum(network(START), changed(dW), tolerance=tolerance).W.rank == rank
    # Relative to the largest value, at any scale.
    still = network(0 * x for x in START)
    for scale in (1e-200, 1e200):
        found = lg.singular_spectrum(still, network((still.A, scale * dW, still.B)), tolerance=tolerance)
        assert found.W.rank == rank
        np.testing.assert_allclose(found.W.participation_ratio, 1 + 2e-6, atol=1e-10)  # (1 + 1e-6)²/(1 + 1e-12)


@given(seeds, st.integers(1, HIDDEN + 2), st.integers(1, 3))
def test_a_sum_of_outer_products(seed, count, outputs):
    """`Σ r_i q_iᵀ` has rank at most the number of terms, and stays in the span of the `r_i`."""
    rng = np.random.default_rng(seed)
    columns, rows = rng.standard_normal((HIDDEN, count)), rng.standard_normal((count, HIDDEN))
    R = np.concatenate([columns.T, rng.standard_normal((1, count)) @ columns.T])  # the last row adds nothing
    start = tuple(np.resize(x, shape) for x, shape in zip(START, ((count + 1, HIDDEN), (8, 8), (8, 3)), strict=True))
    found = lg.singular_spectrum(network(start), network((start[0], start[1] + columns @ rows, start[2])), feedback=R)
    assert found.W.rank <= min(count, HIDDEN)
    assert found.W.outside_feedback <= 1e-20  # rounding, squared, over a change of order 1
    assert 1 - ROUNDING <= found.W.participation_ratio <= min(count, HIDDEN) + ROUNDING


@given(seeds)
def test_the_span_is_measured_by_energy(seed):
    """Of a change inside the span and one orthogonal to it, the share outside is that of the squared norms."""
    rng = np.random.default_rng(seed)
    R = rng.standard_normal((OUTPUT, HIDDEN))
    basis = np.linalg.qr(R.T, mode="complete")[0]
    inside = basis[:, :OUTPUT] @ rng.standard_normal((OUTPUT, HIDDEN))
    outside = basis[:, OUTPUT:] @ rng.standard_normal((HIDDEN - OUTPUT, HIDDEN))
    share = np.sum(outside**2) / (np.sum(outside**2) + np.sum(inside**2))
    found = lg.singular_spectrum(network(START), changed(inside + outside), feedback=R)
    np.testing.assert_allclose(found.W.outside_feedback, share, rtol=1e-11)


def test_a_feedback_of_zero_or_of_repeated_rows_spans_less():
    change = np.zeros((HIDDEN, HIDDEN))
    change[0, 0], change[1, 1] = 3.0, 4.0
    e = np.eye(HIDDEN)
    for R, share in ((np.stack([e[0], e[0]]), 16 / 25), (0 * e[:2], 1.0), (e[:2], 0.0)):
        found = lg.singular_spectrum(network(START), changed(change), feedback=R)
        np.testing.assert_allclose(found.W.outside_feedback, share, atol=ROUNDING)


def test_without_change_all_is_zero():
    found = lg.singular_spectrum(network(START), network(START), feedback=np.ones((OUTPUT, HIDDEN)))
    for x in jax.tree.leaves(found):
        np.testing.assert_array_equal(x, 0)


def test_leading_axes():
    """Snapshots × seeds against one start per seed, and a feedback per seed."""
    rng = np.random.default_rng(4)
    starts = [rng.standard_normal((3, *x.shape)) for x in START]
    ends = [x + rng.standard_normal((2, *x.shape)) for x in starts]
    R = rng.standard_normal((3, OUTPUT, HIDDEN))
    found = lg.singular_spectrum(network(starts), network(ends), feedback=R)
    assert found.W.singular_values.shape == (2, 3, HIDDEN)
    assert found.B.singular_values.shape == (2, 3, INPUT)
    for i, j in np.ndindex(2, 3):
        one = lg.singular_spectrum(network(x[j] for x in starts), network(x[i, j] for x in ends), feedback=R[j])
        for x, y in zip(jax.tree.leaves(found), jax.tree.leaves(one), strict=True):
            np.testing.assert_allclose(x[i, j], y, rtol=1e-12)


def learned(rule, output, num_steps=12, horizon=None):
    """Plain steps of an exact update from small weights, few and short enough that every rule stays stable."""
    (A, W, B), (A_star, W_star, B_star) = (random_matrices(output, n, INPUT, seed=n) for n in (HIDDEN, 5))
    start, teacher = network((A / 4, W, B / 4)), network((A_star / 2, W_star, B_star / 2))
    end = start
    for _ in range(num_steps):
        update = lg.expected_update(rule, end, teacher, horizon=horizon)
        end = jax.tree.map(lambda x, dx: x - 0.005 * dx, end, update)
    return start, end


@pytest.mark.slow
@pytest.mark.parametrize(("output", "horizon"), [(1, None), (2, None), (2, 5)])
def test_rflo_learns_in_the_span_of_its_feedback(output, horizon):
    """The paper's proposition 3.1: after any number of steps, unaligned, at any horizon; and the others do not."""
    R = np.random.default_rng(3).standard_normal((output, HIDDEN))
    found = lg.singular_spectrum(*learned(lg.RFLO(R, 0.5), output, horizon=horizon), feedback=R)
    assert found.W.rank == found.B.rank == output
    assert max(found.W.outside_feedback, found.B.outside_feedback) < 1e-24  # rounding of the weights, squared
    if horizon is None:
        for rule in (lg.BPTT(), lg.EProp(R), lg.EProp()):
            other = lg.singular_spectrum(*learned(rule, output), feedback=R)
            assert other.W.rank > output
            assert other.W.outside_feedback > 1e-3


NAN = network([START[0], np.full_like(START[1], np.nan), START[2]])
BAD = {
    "type": ((START, network(START)), {}, "the initial network is a tuple, not a LinearRNN"),
    "nan": ((network(START), NAN), {}, "the final network's W has an entry that is not finite"),
    "sizes": ((network(START), network(random_matrices(2, 7, 3, 1))), {}, r"sizes \(2, 8, 3\) and \(2, 7, 3\)"),
    "tolerance": ((network(START), network(START)), {"tolerance": 1.0}, r"tolerance = 1.0 must lie in \[0, 1\)"),
    "tolerance-nan": ((network(START), network(START)), {"tolerance": np.nan}, "tolerance = nan must lie"),
    "feedback": ((network(START), network(START)), {"feedback": np.ones((8, 2))}, r"feedback has shape \(8, 2\)"),
    "axes": (
        (network(np.stack([x, x]) for x in START), network(np.stack([x, x, x]) for x in START)),
        {},
        r"leading axes do not broadcast against each other: initial \(2,\), final \(3,\)",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input(name):
    arguments, options, message = BAD[name]
    with pytest.raises(ValueError, match=message):
        lg.singular_spectrum(*arguments, **options)
