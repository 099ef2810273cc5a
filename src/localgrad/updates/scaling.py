"""Powers of 2, taken out of numbers and put back exactly.

Scaling by powers of 2 costs no accuracy, and keeps squares of small numbers from vanishing and those of large ones from
overflowing. Here they are read from and written into the bits of floating-point numbers: with `frexp` and `ldexp`,
long programs which the compiler copies to wherever their result is used, updates took twice as long to compile.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array


def exponent_of(x: Array) -> Array:
    """The whole number `e` with `2^e ≤ |x| < 2^(e+1)`; of 0 one below, of infinity and NaN one above all others."""
    precision = jnp.finfo(x.dtype)
    bits = jax.lax.bitcast_convert_type(jnp.abs(x), f"int{precision.bits}")
    return (bits >> precision.nmant) - (precision.maxexp - 1)


def power_of_2(exponent: Array, dtype: Any) -> Array:
    """`2^exponent` for whole numbers of any kind; 0 and infinity beyond the range of normal numbers."""
    precision = jnp.finfo(dtype)
    within = jnp.clip(exponent, precision.minexp - 1, precision.maxexp).astype(f"int{precision.bits}")
    return jax.lax.bitcast_convert_type((within + (precision.maxexp - 1)) << precision.nmant, dtype)


def scaled_to_one(*groups: tuple[Array, ...]) -> tuple[list[tuple[Array, ...]], Array]:
    """Groups of matrices, each over the power of 2 that brings its largest entry to about 1, and the exponents."""
    entries = (jnp.concatenate([matrix.ravel() for matrix in group]) for group in groups)
    largest = jnp.stack([jnp.max(jnp.abs(jax.lax.stop_gradient(x))) for x in entries])
    most = jnp.finfo(largest.dtype).maxexp - 2  # so that the powers are normal numbers
    exponents = jnp.clip(exponent_of(largest), -most, most)
    scales = power_of_2(-exponents, largest.dtype)
    return [tuple(x * scale for x in group) for group, scale in zip(groups, scales, strict=True)], exponents


def times_powers_of_2(arrays: tuple[Array, ...], exponents: tuple[Array, ...]) -> list[Array]:
    """`x · 2^exponent` for each, in two steps, since the power itself may overflow where the product does not."""
    whole, dtype = jnp.stack(exponents), arrays[0].real.dtype
    first, second = power_of_2(whole // 2, dtype), power_of_2(whole - whole // 2, dtype)
    return [x * p * q for x, p, q in zip(arrays, first, second, strict=True)]
