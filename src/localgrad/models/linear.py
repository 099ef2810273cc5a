r"""Linear recurrent networks.

A network `h_{t+1} = W h_t + B x_t`, `y_{t+1} = A h_{t+1}`, `h_0 = 0`, driven by white noise
`x_t ~ N(0, I)`, is known to its output only through its Markov parameters `A W^j B`.

Everything here is a pytree of arrays: batches are leading axes, made by `jax.vmap`.
"""

import math
from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from localgrad.checks import check_count, check_kind, check_memory, in_our_arithmetic, in_words, warn_if_cut
from localgrad.rules.numbers import as_numbers, is_absent

_LARGEST_WEIGHT = float(np.finfo(np.float32).max)

# Numbers that a network or a response may hold, 16 GiB in float64.
_LARGEST_SIZE = 2**31


class LinearRNN(eqx.Module):
    r"""A linear recurrent network `h_{t+1} = W h_t + B x_t`, `y_{t+1} = A h_{t+1}`.

    The same class holds a student, a teacher, and the update `(ΔA, ΔW, ΔB)` of a student.

    **Arguments:**

    - `A`: readout, shape `"output hidden"`, dimensionless.
    - `W`: recurrent weights, shape `"hidden hidden"`, dimensionless.
    - `B`: input weights, shape `"hidden input"`, dimensionless.

    **Raises:** `ValueError` where the three shapes do not fit together, where one is empty, and for what is no array of
    real numbers.

    Source: docs/theory.md, section 1.
    """

    A: Float[Array, "output hidden"]
    W: Float[Array, "hidden hidden"]
    B: Float[Array, "hidden input"]

    def __init__(self, A: Any, W: Any, B: Any):
        warn_if_cut("a matrix of the network", A, W, B)
        self.A, self.W, self.B = (as_float_array(x, name) for x, name in ((A, "A"), (W, "W"), (B, "B")))
        _check_shapes(self.A.shape, self.W.shape, self.B.shape)

    def __reduce__(self) -> Any:
        """Pickled as NumPy's arrays, so that what is read in a process of 32 bits is cut with a warning."""
        if not all(isinstance(x, jax.Array | np.ndarray) for x in self.matrices):
            return super().__reduce__()
        return LinearRNN, tuple(map(np.asarray, self.matrices))

    @property
    def matrices(self) -> tuple[Array, Array, Array]:
        """`(A, W, B)`."""
        return self.A, self.W, self.B

    @property
    def sizes(self) -> tuple[int, int, int]:
        """`(output, hidden, input)`."""
        output, hidden = self.A.shape[-2:]
        return output, hidden, self.B.shape[-1]


def as_float_array(value: Any, what: str = "the matrix") -> Array:
    """An array of JAX's floating-point numbers; `ValueError` naming `what` for what holds no real numbers."""
    if any(isinstance(x, jax.core.Tracer) for x in jax.tree.leaves(value)):
        array = jnp.asarray(value)
        return array if jnp.issubdtype(array.dtype, jnp.floating) else array.astype(float)
    numbers = as_numbers(value, what)
    kind = getattr(numbers, "dtype", np.dtype(float)).kind
    if not isinstance(numbers, int | float | np.ndarray | jax.Array) or kind == "O":
        raise ValueError(f"{what} is {str(value)[:40]}; give a number or an array of numbers")
    return jnp.asarray(numbers, None if hasattr(numbers, "dtype") else float)


def _check_shapes(A: tuple[int, ...], W: tuple[int, ...], B: tuple[int, ...]) -> None:
    if min(len(A), len(W), len(B)) < 2 or W[-1] != W[-2]:
        raise ValueError(
            f"A, W and B must be matrices and W square, got shapes {A}, {W} and {B}; "
            "a single mode is LinearRNN([[a]], [[w]], [[b]])"
        )
    if 0 in (A[-2], W[-1], B[-1]):
        raise ValueError(
            f"A, W and B have shapes {A}, {W} and {B}; a network needs an output, a hidden unit and an input at least"
        )
    if A[-1] != W[-1] or B[-2] != W[-1]:
        raise ValueError(
            f"W has {W[-1]} hidden units, but A has {A[-1]} columns and B {B[-2]} rows; "
            "all three must agree (A: output × hidden, B: hidden × input)"
        )


@in_our_arithmetic
def markov_parameters(network: LinearRNN, num_lags: int) -> Float[Array, "lags output input"]:
    """The impulse response `A W^j B` for lags `j = 0 … num_lags − 1`.

    **Arguments:** `network`; `num_lags`: a positive whole number, in steps.

    **Returns:** an array of shape `"lags output input"`.

    **Raises:** `ValueError` for a number of lags below 1.

    Source: Kailath, *Linear Systems* (1980), section 2.2.

    >>> markov_parameters(LinearRNN([[2.0]], [[0.5]], [[1.0]]), 3).ravel().tolist()
    [2.0, 1.0, 0.5]
    """

    check_kind("network", network, LinearRNN, "use LinearRNN(A, W, B)")
    check_count("num_lags", num_lags)
    output, _, input = network.sizes
    numbers = num_lags * output * input * math.prod(network.W.shape[:-2])
    check_memory(f"{num_lags:,} lags", numbers * network.W.dtype.itemsize, "ask for fewer lags")

    def next_lag(columns: Array, _: None) -> tuple[Array, Array]:
        return network.W @ columns, network.A @ columns

    start = network.B.astype(jnp.result_type(network.W, network.B))
    return jax.lax.scan(next_lag, start, None, length=num_lags)[1]


@in_our_arithmetic
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
    check_kind("network", network, LinearRNN, "use LinearRNN(A, W, B)")
    A, W, B = network.matrices
    return A.mT @ A - B @ B.mT + W.mT @ W - W @ W.mT


def spectral_radius(W: Any) -> float:
    """The largest modulus of an eigenvalue of `W` (shape `"hidden hidden"`); needs values, not tracers.

    **Raises:** `ValueError` for what is no square matrix of finite real numbers.

    >>> spectral_radius([[0.5, 1.0], [0.0, -0.9]])
    0.9
    """
    if isinstance(W, jax.core.Tracer):
        raise ValueError("W is traced by JAX, and its eigenvalues not known yet; call this outside jit, grad and vmap")
    numbers = as_numbers(W, "W")
    if np.ndim(numbers) != 2 or len(numbers) == 0 or np.shape(numbers)[0] != np.shape(numbers)[1]:
        raise ValueError(f"W has shape {np.shape(numbers)}, but must be a square matrix; pass one network's W")
    values = np.asarray(numbers, dtype=np.float64)
    if not np.all(np.isfinite(values)):
        raise ValueError("W has an entry that is not finite, so it has no spectral radius; give finite numbers")
    return float(np.abs(np.linalg.eigvals(values)).max())


@in_our_arithmetic
def random_network(
    output: int,
    hidden: int,
    input: int,
    *,
    key: PRNGKeyArray,
    scale: float = 1.0,
    spectral_radius: float | None = None,
) -> LinearRNN:
    """A network with independent Gaussian weights, or a batch of them.

    Entries have standard deviation `scale / √hidden` in `A` and `W` and `scale / √input` in `B`.

    **Arguments:**

    - `output`, `hidden`, `input`: sizes, positive whole numbers.
    - `key`: a JAX random key, of the new kind (`jax.random.key`) or the old (`jax.random.PRNGKey`); or an array of
        keys, such as `jax.random.split` gives, for a batch with the same leading axes.
    - `scale`: multiplies every weight, a finite number, dimensionless.
    - `spectral_radius`: if given, each `W` is rescaled to it (in `[0, 1)` for an infinite horizon).

    **Returns:** a `LinearRNN`.

    **Raises:** `ValueError` for values outside these domains.

    >>> random_network(1, 3, 2, key=jax.random.split(jax.random.key(0), 5)).W.shape
    (5, 3, 3)
    """
    for name, size in (("output", output), ("hidden", hidden), ("input", input)):
        check_count(name, size)
    if hidden * (output + hidden + input) > _LARGEST_SIZE:
        raise ValueError(
            f"a network of {output} × {hidden} × {input} units does not fit into memory; give smaller sizes"
        )
    scale, spectral_radius = _checked_scales(scale, spectral_radius)
    keys = as_keys(key)
    draw = partial(_draw, (output, hidden, input), scale, spectral_radius)
    for _ in range(keys.ndim):
        draw = jax.vmap(draw)
    return draw(keys)


def as_keys(key: Any) -> PRNGKeyArray:
    """Random keys of the new kind, from keys of either kind; `ValueError` for anything else."""
    dtype = getattr(key, "dtype", None)
    if dtype is not None and jnp.issubdtype(dtype, jax.dtypes.prng_key):
        return key
    if dtype == np.uint32 and key.ndim > 0:
        try:
            return jax.random.wrap_key_data(jnp.asarray(key))
        except (TypeError, ValueError):
            pass
    raise ValueError(f"key must be a JAX random key, such as jax.random.key(0); got {in_words(key)}")


def _checked_scales(scale: Any, spectral_radius: Any) -> tuple[Any, Any]:
    """Both in floating point, `None` and tracers as they are."""
    for name, value in (("scale", scale), ("spectral_radius", spectral_radius)):
        if isinstance(value, jax.core.Tracer) or (name == "spectral_radius" and value is None):
            continue
        number = as_numbers(value, name)
        if is_absent(number) or np.ndim(number) != 0 or not abs(number) <= _LARGEST_WEIGHT:
            raise ValueError(
                f"{name} must be one finite number, got {in_words(value)}; give at most {_LARGEST_WEIGHT:.2g}"
            )
        if name == "spectral_radius" and number < 0:
            raise ValueError(f"spectral_radius must not be negative, got {value}")
    if not isinstance(scale, jax.core.Tracer) and scale == 0 and spectral_radius is not None:
        raise ValueError("scale is 0, so W has no spectral radius to change; leave spectral_radius out")
    return tuple(float(x) if isinstance(x, int) else x for x in (scale, spectral_radius))  # type: ignore[return-value]


def _draw(sizes: tuple[int, int, int], scale: Any, spectral_radius: Any, key: PRNGKeyArray) -> LinearRNN:
    output, hidden, input = sizes
    key_a, key_w, key_b = jax.random.split(key, 3)
    W = _normal(key_w, (hidden, hidden), scale / hidden**0.5)
    if spectral_radius is not None:
        W = W * (spectral_radius / jnp.abs(jnp.linalg.eigvals(W)).max())
    A = _normal(key_a, (output, hidden), scale / hidden**0.5)
    B = _normal(key_b, (hidden, input), scale / input**0.5)
    return LinearRNN(A, W, B)


def _normal(key: PRNGKeyArray, shape: tuple[int, int], deviation: Any) -> Array:
    """The numbers of `jax.random.normal`, times their standard deviation, from one program for many shapes.

    JAX compiles one for each, slowly. A long array begins with the numbers of a short one
    (`jax_threefry_partitionable`, the default of JAX).
    """
    count, capacity = shape[0] * shape[1], 256
    while capacity < count:
        capacity *= 4
    return (deviation * jax.random.normal(key, (capacity,)))[:count].reshape(shape)
