"""Intervals and tests against published values, brute force, and their own promises in simulation."""

import itertools

import numpy as np
import pytest
from scipy.stats import binomtest, permutation_test

from localgrad.sweeps.statistics import holm, paired_difference, probability, sign_flip_test, wilson


@pytest.mark.parametrize(("count", "of"), [(0, 10), (3, 10), (10, 10), (81, 263)])
def test_wilson_is_scipys(count, of):
    expected = binomtest(count, of).proportion_ci(method="wilson")
    np.testing.assert_allclose(wilson(count / of, of), (expected.low, expected.high), rtol=1e-12, atol=1e-15)


def test_independent_runs_have_wilsons_interval():
    rng = np.random.default_rng(0)
    happened = (rng.random((500, 1)) < 0.3).astype(float)
    found = probability(happened)
    np.testing.assert_allclose(found[1:], wilson(happened.mean(), 500), atol=2e-3)


def test_runs_that_share_all_count_as_one():
    """Ten copies of each seed's run say no more than one."""
    rng = np.random.default_rng(1)
    one = (rng.random((60, 1)) < 0.5).astype(float)
    np.testing.assert_allclose(probability(np.repeat(one, 10, axis=1)), probability(one), atol=5e-3)


@pytest.mark.parametrize("shared", [0.0, 0.7])
def test_intervals_hold_what_they_promise(shared):
    """Of 400 samples, with runs that share a seed's luck or do not, at least 92 % of intervals hold the truth."""
    rng, hits = np.random.default_rng(2), 0
    for _ in range(400):
        luck, own = rng.random((40, 1)), rng.random((40, 8))
        happened = (np.where(rng.random((40, 1)) < shared, luck, own) < 0.6).astype(float)
        found = probability(happened)
        hits += found.low <= 0.6 <= found.high
    assert hits / 400 > 0.92


def test_sure_things_have_an_interval_of_their_seeds():
    assert probability(np.ones((20, 50))) == (1.0, *wilson(1.0, 20, freedom=19))


def test_missing_runs_are_left_out():
    happened = np.array([[1.0, np.nan], [0.0, 0.0], [np.nan, np.nan]])
    assert probability(happened).mean == pytest.approx(1 / 3)
    assert np.isnan(probability(np.full((2, 2), np.nan)).mean)
    assert np.isnan(probability(np.ones((1, 4))).low)


def test_sign_flips_are_counted_exactly():
    x = np.array([0.3, -0.1, 0.8, 0.5, -0.2])
    sums = [abs(np.dot(signs, x)) for signs in itertools.product((-1, 1), repeat=5)]
    assert sign_flip_test(x) == pytest.approx(np.mean(np.array(sums) >= abs(x.sum()) - 1e-12))
    found = permutation_test((x,), np.mean, permutation_type="samples", n_resamples=np.inf)
    assert sign_flip_test(x) == pytest.approx(found.pvalue)


def test_random_sign_flips_agree_with_all_of_them():
    rng = np.random.default_rng(3)
    x = rng.normal(0.3, 1.0, 18)
    expected = permutation_test((x,), np.mean, permutation_type="samples", n_resamples=20_000, rng=rng).pvalue
    assert sign_flip_test(x) == pytest.approx(expected, abs=0.02)
    assert sign_flip_test(x) == sign_flip_test(x)


def test_no_difference_is_found_where_there_is_none():
    """At level 5 %, in about 5 % of 300 samples."""
    rng = np.random.default_rng(4)
    found = [sign_flip_test(rng.normal(size=9)) for _ in range(300)]
    assert 0.02 < np.mean(np.array(found) <= 0.05) < 0.09


def test_differences_are_of_pairs():
    rng = np.random.default_rng(5)
    common = rng.normal(0, 10, (12, 3))
    found = paired_difference(common + 1.0 + rng.normal(0, 0.01, (12, 3)), common)
    assert found.mean == pytest.approx(1.0, abs=0.02)
    assert found.low < found.mean < found.high
    assert found.p_value == pytest.approx(2 / 2**12)
    alone = paired_difference(np.array([[1.0, np.nan]]), np.array([[0.0, 3.0]]))
    assert (alone.mean, alone.seeds) == (1.0, 1)
    assert paired_difference(np.full((2, 1), np.nan), np.zeros((2, 1))).seeds == 0


def test_holm_is_as_published():
    """Holm 1979, by hand: 4 × 0.005, 3 × 0.01, 2 × 0.03, and no less for the last."""
    np.testing.assert_allclose(holm(np.array([0.01, 0.04, 0.03, 0.005])), [0.03, 0.06, 0.06, 0.02])
    np.testing.assert_allclose(holm(np.array([0.6, np.nan, 0.7])), [1.0, np.nan, 1.0])
    assert holm(np.array([])).size == 0
