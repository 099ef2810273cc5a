"""The theorem on e-prop's rank: its modulus and its Blaschke products against SciPy's elliptic functions; its bound."""

import numpy as np
import pytest
from scipy.special import ellipj, ellipk

from localgrad.reproduction.networks.eprop_rank.law import certified_blocks, coarser_rates, diameter, modulus


def arithmetic_geometric_mean(a, b):
    for _ in range(12):
        a, b = (a + b) / 2, np.sqrt(a * b)
    return a


@pytest.mark.parametrize("t", [1e-8, 1e-3, 0.3, 0.9, 0.9999])
def test_the_modulus_is_the_quotient_of_elliptic_integrals(t):
    # K(t) = π/(2 agm(1, √(1−t²))), Gauss's formula.
    expected = np.pi / 2 * arithmetic_geometric_mean(1, np.sqrt(1 - t * t)) / arithmetic_geometric_mean(1, t)
    assert modulus(t) == pytest.approx(expected, rel=1e-10)


def test_no_spread_has_an_infinite_modulus():
    assert modulus(0.0) == np.inf
    assert certified_blocks(0.5 ** np.arange(100), np.ones((1, 4)), np.full(4, 0.3), 0.5, np.array([1e-12])) == 1


@pytest.mark.parametrize("k", [1, 2, 5])
@pytest.mark.parametrize("half", [0.05, 0.4, 0.9])
def test_zolotarevs_blaschke_products_are_as_small_as_the_proof_says(k, half):
    # On [−√κ, √κ] the zeros √κ sn((2l − 1 − k) K/k) are the best; with m = κ² as SciPy's parameter.
    m = half**4
    zeros = half * ellipj((2 * np.arange(1, k + 1) - 1 - k) * ellipk(m) / k, m)[0]
    x = np.linspace(-half, half, 2001)[:, None]
    largest = np.abs(np.prod((x - zeros) / (1 - zeros * x), axis=1)).max()
    bound = 2 * np.exp(-k * modulus(diameter(x, 1.0)))
    assert largest <= bound * (1 + 1e-12)
    assert largest >= 0.5 * bound  # θ_2/θ_3 is at least half of 2 q^(1/4), as both are series with q < 1


def test_the_bound_holds_for_any_lags_whatever_they_come_from():
    # No network at all: random C_j of a given decay, summed by hand.
    rng = np.random.default_rng(0)
    for outputs, r, spread in [(1, 0.5, 0.1), (2, 0.8, 0.5), (3, 0.7, 0.02)]:
        n, d = 20, 0.2 + spread * rng.uniform(-1, 1, 20)
        R, C = (
            rng.standard_normal((outputs, n)),
            rng.standard_normal((512, outputs, n)) * r ** np.arange(512.0)[:, None, None],
        )
        update = np.einsum("aj,oa,jon->an", d[:, None] ** np.arange(512), R, C)
        sigma = np.linalg.svd(update, compute_uv=False)
        levels = sigma[0] * np.array([1e-2, 1e-5, 1e-10])
        rank = (sigma > levels[:, None]).sum(axis=1)
        bound = outputs * certified_blocks(np.linalg.norm(C, axis=(1, 2)), R, d, r, levels)
        assert np.all(rank <= bound)
        assert np.all(bound <= 3 * rank)  # and says something


@pytest.mark.parametrize(("low", "high"), [(-0.3, 0.3), (0.1, 0.6), (-0.8, -0.7)])
def test_the_coarser_laws_are_coarser(low, high):
    d, r = np.array([low, high]), 0.9
    lags, polynomials = coarser_rates(d, r)
    assert modulus(diameter(d, r)) > max(lags, polynomials)
    assert lags == pytest.approx(-np.log(0.9 * max(-low, high)), rel=1e-14)
    # The ellipse with foci `low`, `high` and semi-axes of sum `half · e^rate` touches the circle |z| = 1/r.
    reach = abs(low + high) / 2 + (high - low) / 2 * np.cosh(polynomials)
    assert reach == pytest.approx(1 / r, rel=1e-12)


def test_an_interval_that_nearly_reaches_the_poles_has_no_bound():
    assert certified_blocks(np.ones(10), np.ones((1, 2)), np.array([0.0, 0.99]), 0.99, np.array([0.1]))[0] == np.inf
