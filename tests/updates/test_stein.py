"""Geometric sums of operators: against plain loops, and where they do not exist."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from localgrad.updates.stein import (
    first_power,
    is_elementwise,
    square,
    sum_all_lags,
    sum_first_lags,
    times,
    transpose_times,
    with_factor,
)

rng = np.random.default_rng(0)
X = jnp.asarray(rng.standard_normal((4, 3)))
N = jnp.asarray(0.3 * rng.standard_normal((3, 3)))
DENSE = jnp.asarray(0.3 * rng.standard_normal((4, 4)))
COLUMN = jnp.asarray(rng.uniform(-0.9, 0.9, (4, 1)))
SCALAR = jnp.asarray([[0.7]])
FORMS = pytest.mark.parametrize("M", [DENSE, COLUMN, SCALAR], ids=["dense", "column", "scalar"])


def full(M):
    """The dense matrix that a column or a 1 × 1 stands for."""
    return np.asarray(M) if M.shape == (4, 4) else np.diag(np.broadcast_to(np.asarray(M)[:, 0], 4))


def apply(matrices, S):
    M, N = matrices
    return transpose_times(M, S) @ N


def apply_powers(powers, S):
    M, N = powers
    return with_factor(apply((M.matrix, N.matrix), S), M, N)


def contraction(matrices):
    M, N = matrices
    return M.log2_bound + N.log2_bound


def summed(M, lags):
    power, total = np.asarray(X), np.zeros_like(X)
    for _ in range(lags):
        total = total + power
        power = full(M).T @ power @ np.asarray(N)
    return total


@FORMS
def test_products_do_not_depend_on_the_form(M):
    np.testing.assert_allclose(transpose_times(M, X), full(M).T @ X, rtol=1e-14)
    np.testing.assert_allclose(times(X.T, M), X.T @ full(M), rtol=1e-14)
    np.testing.assert_allclose(full(square(M)), full(M) @ full(M), rtol=1e-14, atol=1e-16)
    assert is_elementwise(M) == (M.shape != (4, 4))


@FORMS
@pytest.mark.parametrize("scale", [1.0, 1e-200, 1e150])
def test_powers_and_the_bounds_of_their_norms(M, scale):
    """The squares of 1e-200 and of 1e150 are no numbers of float64's; their logarithms are."""
    power, exact = first_power(scale * M, scaled=True).normalized(), full(M)
    for round in range(4):
        shift = 2.0**round * np.log2(scale)
        assert power.log2_bound >= np.log2(np.linalg.norm(exact, 2)) + shift - 1e-9
        found = full(power.matrix) * 2.0 ** (float(power.exponent) - float(shift))
        np.testing.assert_allclose(found, exact, rtol=1e-9, atol=1e-12 * np.abs(exact).max())
        power, exact = power.squared(), exact @ exact


@FORMS
@pytest.mark.parametrize("lags", [1, 2, 3, 7, 8, 29])
def test_first_lags(M, lags):
    np.testing.assert_allclose(sum_first_lags(apply, (M, N), X, lags), summed(M, lags), rtol=1e-12, atol=1e-14)


EITHER_WAY = pytest.mark.parametrize("scaled", [False, True])


@EITHER_WAY
@FORMS
def test_all_lags(M, scaled):
    total, converged = sum_all_lags(apply_powers, contraction, (M, N), X, scaled=scaled)
    assert converged == 1
    # Norms below 0.9 · 0.9: the rest after 300 lags is below rounding.
    np.testing.assert_allclose(total, summed(M, 300), rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(total - apply((M, N), total), X, atol=1e-13)


@pytest.mark.parametrize("M", [DENSE, pytest.param(COLUMN, marks=pytest.mark.slow)], ids=["dense", "column"])
def test_derivatives_solve_the_same_equation(M):
    """For `S = X + MᵀSN` along `(dM, dN, dX)`, against central differences with step 1e-6."""
    directions = [jnp.asarray(np.random.default_rng(1).standard_normal(x.shape)) for x in (M, N, X)]
    solve = lambda M, N, X: sum_all_lags(apply_powers, contraction, (M, N), X, scaled=True)[0]  # noqa: E731
    _, tangent = jax.jvp(solve, (M, N, X), tuple(directions))
    moved = [solve(*(x + sign * 1e-6 * dx for x, dx in zip((M, N, X), directions, strict=True))) for sign in (1, -1)]
    # Step 1e-6: truncation 1e-12, rounding 1e-16/1e-6, times derivatives of order 100.
    np.testing.assert_allclose(tangent, (moved[0] - moved[1]) / 2e-6, rtol=1e-6, atol=1e-7)
    weights = jnp.asarray(np.random.default_rng(2).standard_normal(X.shape))
    gradients = jax.grad(lambda *x: jnp.vdot(weights, solve(*x)), argnums=(0, 1, 2))(M, N, X)
    backwards = sum(jnp.vdot(g, dx) for g, dx in zip(gradients, directions, strict=True))
    np.testing.assert_allclose(backwards, jnp.vdot(weights, tangent), rtol=1e-11)


@EITHER_WAY
@pytest.mark.parametrize("radius", [1.0, 1.0 + 1e-9, 1.5, 100.0])
def test_a_divergent_sum_says_so(radius, scaled):
    _, converged = sum_all_lags(apply_powers, contraction, (radius * jnp.ones((1, 1)), jnp.eye(3)), X, scaled=scaled)
    assert converged == 0


@EITHER_WAY
def test_growth_on_one_side_is_not_hidden_by_underflow_on_the_other(scaled):
    """`(1.75 · 0.6)^j` grows, though `0.6^j` alone underflows."""
    _, converged = sum_all_lags(
        apply_powers, contraction, (1.75 * jnp.ones((1, 1)), 0.6 * jnp.eye(3)), X, scaled=scaled
    )
    assert converged == 0


@EITHER_WAY
def test_slow_decay_beside_growth(scaled):
    """`(1.99 · 0.5)^j` needs `1.99^4096`, beyond the range: scaled powers hold it, plain ones say that they cannot.

    After 1024 lags `0.5^j` has vanished beside `1.99^j`, of 1e306, though their product is 0.006 still.
    """
    total, converged = sum_all_lags(
        apply_powers, contraction, (1.99 * jnp.ones((1, 1)), 0.5 * jnp.eye(3)), X, scaled=scaled
    )
    assert converged == scaled
    if scaled:
        np.testing.assert_allclose(total, X / (1 - 0.995), rtol=1e-12)


@EITHER_WAY
def test_nan_does_not_converge(scaled):
    _, converged = sum_all_lags(apply_powers, contraction, (jnp.full((1, 1), jnp.nan), N), X, scaled=scaled)
    assert converged == 0
