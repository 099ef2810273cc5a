r"""Linear recurrent networks.

A network `h_{t+1} = W h_t + B x_t`, `y_{t+1} = A h_{t+1}`, `h_0 = 0`, driven by white noise
`x_t ~ N(0, I)`, is known to its output only through its Markov parameters `A W^j B`.

Everything here is a pytree of arrays: batches are leading axes, made by `jax.vmap`.
"""

import warnings
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray


class LinearRNN(eqx.Module):
    r"""A linear recurrent network `h_{t+1} = W h_t + B x_t`, `y_{t+1} = A h_{t+1}`.

    The same class holds a student, a teacher, and the update `(ΔA, ΔW, ΔB)` of a student.

    **Arguments:**

    - `A`: readout, shape `"output hidden"`, dimensionless.
    - `W`: recurrent weights, shape `"hidden hidden"`, dimensionless.
    - `B`: input weights, shape `"hidden input"`, dimensionless.

    **Raises:** `ValueError` where the three shapes do not fit together.

    Source: docs/theory.md, section 1.
    """

    A: Float[Array, "output hidden"]
    W: Float[Array, "hidden hidden"]
    B: Float[Array, "hidden input"]

    def __init__(self, A: Any, W: Any, B: Any):
        _warn_if_truncated(A, W, B)
        self.A, self.W, self.B = (as_float_array(x) for x in (A, W, B))
        _check_shapes(self.A.shape, self.W.shape, self.B.shape)

    @property
    def matrices(self) -> tuple[Array, Array, Array]:
        """`(A, W, B)`."""
        return self.A, self.W, self.B

    @property
    def sizes(self) -> tuple[int, int, int]:
        """`(output, hidden, input)`."""
        output, hidden = self.A.shape[-2:]
        return output, hidden, self.B.shape[-1]


def as_float_array(value: Any) -> Array:
    """An array of JAX's floating-point numbers."""
    array = jnp.asarray(value)
    return array if jnp.issubdtype(array.dtype, jnp.floating) else array.astype(float)


def _warn_if_truncated(*values: Any) -> None:
    """Say once a place that float64 input is about to be computed in float32."""
    wide = any(getattr(value, "dtype", None) == np.float64 for value in values)
    if wide and not jax.config.read("jax_enable_x64"):
        warnings.warn(
            "float64 weights are cut to float32 because JAX runs in 32 bits; for exact results "
            "call jax.config.update('jax_enable_x64', True) first",
            stacklevel=4,
        )


def _check_shapes(A: tuple[int, ...], W: tuple[int, ...], B: tuple[int, ...]) -> None:
    if min(len(A), len(W), len(B)) < 2 or W[-1] != W[-2]:
        raise ValueError(
            f"A, W and B must be matrices and W square, got shapes {A}, {W} and {B}; "
            "a single mode is LinearRNN([[a]], [[w]], [[b]])"
        )
    if A[-1] != W[-1] or B[-2] != W[-1]:
        raise ValueError(
            f"W has {W[-1]} hidden units, but A has {A[-1]} columns and B {B[-2]} rows; "
            "all three must agree (A: output × hidden, B: hidden × input)"
        )


def markov_parameters(network: LinearRNN, num_lags: int) -> Float[Array, "lags output input"]:
    """The impulse response `A W^j B` for lags `j = 0 … num_lags − 1`.

    **Arguments:** `network`; `num_lags`: a positive whole number, in steps.

    **Returns:** an array of shape `"lags output input"`.

    Source: Kailath, *Linear Systems* (1980), section 2.2.
    """

    if num_lags < 1:
        raise ValueError(f"num_lags must be a whole number of at least 1, got {num_lags!r}")

    def next_lag(columns: Array, _: None) -> tuple[Array, Array]:
        return network.W @ columns, network.A @ columns

    return jax.lax.scan(next_lag, network.B, None, length=num_lags)[1]


def conserved_quantity(network: LinearRNN) -> Float[Array, "hidden hidden"]:
    r"""`Q = AᵀA − BBᵀ + WᵀW − WWᵀ`, which BPTT's learning flow keeps; of a mode, `a² − b²`.

    Every loss here sees a network only through `A W^j B`, so it does not change along `(A S⁻¹, S W S⁻¹, S B)`. With
    `S = I + tX` and any `X` its gradient `(ΔA, ΔW, ΔB)` therefore obeys `ΔB Bᵀ + ΔW Wᵀ − Wᵀ ΔW − Aᵀ ΔA = 0`, and
    `dQ/dk` is this sum plus its transpose. So it holds for every horizon, finite or infinite, for both losses, and with
    sampled inputs; with finite steps `η`, up to `η²` a step. Other rules' updates are no gradient, and do not keep it.

    **Arguments:** `network`: any leading axes. **Returns:** a symmetric array of shape `"... hidden hidden"`.

    Source: docs/theory.md, section 3.

    >>> conserved_quantity(LinearRNN([[2.0]], [[0.5]], [[1.0]])).tolist()
    [[3.0]]
    """
    A, W, B = network.matrices
    return A.mT @ A - B @ B.mT + W.mT @ W - W @ W.mT


def spectral_radius(W: Any) -> float:
    """The largest modulus of an eigenvalue of `W` (shape `"hidden hidden"`); needs values, not tracers.

    >>> spectral_radius([[0.5, 1.0], [0.0, -0.9]])
    0.9
    """
    values = np.asarray(W, dtype=np.float64)
    if values.ndim != 2 or values.shape[0] != values.shape[1]:
        raise ValueError(f"W has shape {values.shape}, but must be a square matrix; pass one network's W")
    return float(np.abs(np.linalg.eigvals(values)).max())


def random_network(
    output: int,
    hidden: int,
    input: int,
    *,
    key: PRNGKeyArray,
    scale: float = 1.0,
    spectral_radius: float | None = None,
) -> LinearRNN:
    """A network with independent Gaussian weights.

    Entries have standard deviation `scale / √hidden` in `A` and `W` and `scale / √input` in `B`.

    **Arguments:**

    - `output`, `hidden`, `input`: sizes, positive whole numbers.
    - `key`: a JAX random key.
    - `scale`: multiplies every weight, dimensionless.
    - `spectral_radius`: if given, `W` is rescaled to it (in `[0, 1)` for an infinite horizon).

    **Returns:** a `LinearRNN`.
    """
    if min(output, hidden, input) < 1:
        raise ValueError(f"sizes must be at least 1, got {output} outputs, {hidden} hidden units, {input} inputs")
    if spectral_radius is not None and not spectral_radius >= 0:
        raise ValueError(f"spectral_radius must not be negative, got {spectral_radius}")
    key_a, key_w, key_b = jax.random.split(key, 3)
    W = _normal(key_w, (hidden, hidden), scale / np.sqrt(hidden))
    if spectral_radius is not None:
        W = W * (spectral_radius / jnp.abs(jnp.linalg.eigvals(W)).max())
    A = _normal(key_a, (output, hidden), scale / np.sqrt(hidden))
    B = _normal(key_b, (hidden, input), scale / np.sqrt(input))
    return LinearRNN(A, W, B)


def _normal(key: PRNGKeyArray, shape: tuple[int, int], deviation: float) -> Array:
    """The numbers of `jax.random.normal`, times their standard deviation, from one program for many shapes.

    JAX compiles one for each, slowly. A long array begins with the numbers of a short one
    (`jax_threefry_partitionable`, the default of JAX).
    """
    count, capacity = shape[0] * shape[1], 256
    while capacity < count:
        capacity *= 4
    return (deviation * jax.random.normal(key, (capacity,)))[:count].reshape(shape)
