"""Powers of 2: exact, over the whole range of numbers, in both precisions, without a derivative."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from localgrad.updates.scaling import exponent_of, power_of_2, scaled_to_one, times_powers_of_2

BOTH = pytest.mark.parametrize("dtype", [np.float32, np.float64])


@BOTH
def test_exponents_and_powers_are_those_of_numpy(dtype):
    top = np.finfo(dtype).maxexp - 2
    numbers = np.ldexp(np.array([1, 1.5, 1.9999], dtype)[:, None], np.arange(-top, top + 1, 17)).astype(dtype)
    np.testing.assert_array_equal(exponent_of(jnp.asarray(numbers)), np.frexp(numbers)[1] - 1)
    powers = np.arange(-top, top + 1)
    np.testing.assert_array_equal(power_of_2(jnp.asarray(powers), dtype), np.ldexp(np.ones((), dtype), powers))


@BOTH
def test_to_one_and_back_is_exact(dtype):
    rng = np.random.default_rng(0)
    sizes = 1e-30, 1.0, 1e30
    given = [(jnp.asarray(size * rng.standard_normal((2, 3)), dtype),) for size in sizes]
    scaled, exponents = scaled_to_one(*given)
    assert all(1 <= float(jnp.abs(x).max()) < 2 for (x,) in scaled)
    back = times_powers_of_2(tuple(x for (x,) in scaled), tuple(exponents))
    for (before,), after in zip(given, back, strict=True):
        np.testing.assert_array_equal(after, before)


def test_powers_beyond_the_range_reach_what_is_within():
    """`2^−500 · 2^1500`, where the power itself is no number."""
    up, down = times_powers_of_2((jnp.array(2.0**-500), jnp.array(2.0**500)), (jnp.array(1500), jnp.array(-1500)))
    assert (float(up), float(down)) == (2.0**1000, 2.0**-1000)


def test_the_scale_has_no_derivative():
    def there_and_back(x):
        ((scaled,),), exponents = scaled_to_one((x,))
        return jnp.sum(times_powers_of_2((scaled,), tuple(exponents))[0] ** 2)

    x = jnp.array([[0.3, -5.0]])
    for gradient in (jax.grad(there_and_back), jax.jacfwd(there_and_back)):
        np.testing.assert_allclose(gradient(x), 2 * x, rtol=1e-15)
