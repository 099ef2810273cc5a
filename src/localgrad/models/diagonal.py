r"""Diagonal state-space layers.

A layer `h_{t+1} = λ ∘ h_t + B x_t`, `y_{t+1} = Re(C h_{t+1})`, `h_0 = 0`, with complex poles `λ`, driven by white noise
`x_t ~ N(0, I)`. It is the recurrent part of S4D, LRU and S5. Every unit sees only itself, so that the layer is known to
its output through sums of powers, `Re Σ_k C_k λ_k^j B_k`, which add up in closed form (`updates/cauchy.py`).

The layer is also a network of twice as many real units (`real_blocks`): unit `k` is the pair `Re h_k, Im h_k`, which
turns and shrinks. And a network that can be diagonalised is also such a layer (`diagonalized`): a real eigenvalue is
a real pole, and of a conjugate pair one pole is kept, with its readout doubled.

Limits: one layer, without feedthrough from input to output. Batches are leading axes, made by `jax.vmap`.

Source: Gupta, Gu & Berant 2022; Orvieto et al. 2023; docs/theory.md, section 11.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex

from localgrad.checks import check_kind, in_our_arithmetic, warn_if_cut
from localgrad.models.coordinates import Coordinates
from localgrad.models.layer_poles import LAYER_POLES, find_layer_poles
from localgrad.models.linear import LinearRNN, as_float_array

# Beyond this condition number of the eigenvectors, half the digits are lost where they are taken out.
_MOST_CONDITION = 1e7


class DiagonalSSM(eqx.Module):
    r"""A diagonal state-space layer `h_{t+1} = λ ∘ h_t + B x_t`, `y_{t+1} = Re(C h_{t+1})`.

    The same class holds a student, a teacher, and the update `(ΔC, Δλ, ΔB)` of a student: `∂/∂Re + i ∂/∂Im` of each
    number, so that a step of learning subtracts it.

    **Arguments:** complex or real, dimensionless:

    - `C`: readout, shape `"output hidden"`.
    - `poles`: `λ`, shape `"hidden"`; any numbers, though an infinite horizon needs `|λ| < 1`.
    - `B`: input weights, shape `"hidden input"`.

    **Raises:** `ValueError` where the three shapes do not fit together, where one is empty, and for what is no array of
    numbers.

    Source: docs/theory.md, section 11.

    >>> DiagonalSSM([[2.0]], [0.5j], [[1.0]]).sizes
    (1, 1, 1)
    """

    C: Complex[Array, "output hidden"]
    poles: Complex[Array, " hidden"]
    B: Complex[Array, "hidden input"]

    @in_our_arithmetic
    def __init__(self, C: Any, poles: Any, B: Any):
        warn_if_cut("an array of the layer", C, poles, B)
        self.C, self.poles, self.B = (
            _as_complex_array(x, name) for x, name in ((C, "C"), (poles, "poles"), (B, "B"))
        )  # fmt: skip
        _check_shapes(self.C.shape, self.poles.shape, self.B.shape)

    def __reduce__(self) -> Any:
        """Pickled as NumPy's arrays, so that what is read in a process of 32 bits is cut with a warning."""
        if not all(isinstance(x, jax.Array | np.ndarray) for x in self.arrays):
            return super().__reduce__()
        return DiagonalSSM, tuple(map(np.asarray, self.arrays))

    @property
    def arrays(self) -> tuple[Array, Array, Array]:
        """`(C, poles, B)`."""
        return self.C, self.poles, self.B

    @property
    def sizes(self) -> tuple[int, int, int]:
        """`(output, hidden, input)`."""
        output, hidden = self.C.shape[-2:]
        return output, hidden, self.B.shape[-1]

    def coordinates(self, poles: str = "direct") -> Coordinates:
        """What it learns by: the real and imaginary parts of `C` and `B`, and the numbers behind its poles.

        **Arguments:** `poles`: a word of `layer_poles.py`. **Raises:** `ValueError` for another, and for a pole that
        the parametrisation does not reach.
        """
        kind = find_layer_poles(poles)
        kind.check_reached(self.poles)
        trained = {f"poles_{i}": x for i, x in enumerate(kind.trained(self.poles))}
        weights = {"C_re": self.C.real, "C_im": self.C.imag, "B_re": self.B.real, "B_im": self.B.imag}
        return Coordinates(weights | trained, None, _layer_made_by(kind.key))


@cache  # one function for each, since it shapes compiled programs
def _layer_made_by(key: str) -> Callable[[dict[str, Array], None], DiagonalSSM]:
    kind = LAYER_POLES[key]

    def layer(numbers: dict[str, Array], _: None) -> DiagonalSSM:
        trained = [numbers[name] for name in sorted(numbers) if name.startswith("poles_")]
        C, B = (jax.lax.complex(numbers[f"{x}_re"], numbers[f"{x}_im"]) for x in "CB")
        return DiagonalSSM(C, kind.poles(*trained), B)

    return layer


@in_our_arithmetic
def real_blocks(layer: DiagonalSSM) -> LinearRNN:
    r"""The same layer as a network of twice as many real units: first all `Re h`, then all `Im h`.

    `A = [Re C, −Im C]`, `W = [[Re λ, −Im λ], [Im λ, Re λ]]` with diagonal blocks, `B = [Re B; Im B]`.

    **Arguments:** `layer`. **Returns:** a `LinearRNN`, with the same response to inputs.

    Source: docs/theory.md, section 11.

    >>> real_blocks(DiagonalSSM([[1.0]], [0.5j], [[1.0]])).W.tolist()
    [[0.0, -0.5], [0.5, 0.0]]
    """
    check_kind("layer", layer, DiagonalSSM, "use DiagonalSSM(C, poles, B)")
    C, poles, B = layer.arrays
    A = jnp.concatenate([C.real, -C.imag], axis=-1)
    return LinearRNN(A, block_matrix(poles), jnp.concatenate([B.real, B.imag], axis=-2))


def block_matrix(entries: Complex[Array, " hidden"]) -> Array:
    """Multiplication of each unit by a complex number, as a real matrix on all `Re h`, then all `Im h`."""
    identity = jnp.eye(entries.shape[-1], dtype=entries.real.dtype)
    re, im = entries.real[..., None] * identity, entries.imag[..., None] * identity
    return jnp.concatenate([jnp.concatenate([re, -im], axis=-1), jnp.concatenate([im, re], axis=-1)], axis=-2)


def from_blocks(update: LinearRNN) -> DiagonalSSM:
    """The layer's update from the update of its real blocks: what they share is added up, by the chain rule."""
    A, W, B = update.matrices
    hidden = W.shape[-1] // 2

    def diagonal(rows: slice, columns: slice) -> Array:
        return jnp.diagonal(W[..., rows, columns], axis1=-2, axis2=-1)

    re, im = slice(None, hidden), slice(hidden, None)
    poles = jax.lax.complex(diagonal(re, re) + diagonal(im, im), diagonal(im, re) - diagonal(re, im))
    return DiagonalSSM(
        jax.lax.complex(A[..., re], -A[..., im]), poles, jax.lax.complex(B[..., re, :], B[..., im, :])
    )  # fmt: skip


@in_our_arithmetic
def diagonalized(network: LinearRNN) -> DiagonalSSM:
    r"""The layer that responds to inputs as a network does: its eigenvalues as poles.

    A real eigenvalue gives a real pole. Of a conjugate pair the pole with `Im λ > 0` is kept, its readout doubled,
    since the other one's response is the conjugate of its own.

    **Arguments:** `network`: one `LinearRNN`, whose `W` has a full set of eigenvectors.

    **Returns:** a `DiagonalSSM` of as many units as `W` has real eigenvalues and conjugate pairs.

    **Raises:** `ValueError` where the eigenvectors are so nearly dependent that half of the digits would be lost.

    Source: Kailath, *Linear Systems* (1980), section 2.3; docs/theory.md, section 11.

    >>> layer = diagonalized(LinearRNN([[1.0, 0.0]], [[0.0, -0.5], [0.5, 0.0]], [[1.0], [0.0]]))
    >>> np.round(layer.poles, 12).tolist()
    [0.5j]
    """
    check_kind("network", network, LinearRNN, "use LinearRNN(A, W, B)")
    if network.W.ndim != 2:
        raise ValueError(f"the network is a batch, with W of shape {network.W.shape}; diagonalise one at a time")
    A, W, B = (np.asarray(x, np.float64) for x in network.matrices)
    if not all(np.all(np.isfinite(x)) for x in (A, W, B)):
        raise ValueError("the network has an entry that is not finite; give finite numbers")
    poles, vectors = np.linalg.eig(W)
    condition = np.linalg.cond(vectors)
    if not condition < _MOST_CONDITION:
        raise ValueError(
            f"W cannot be diagonalised in these numbers: its eigenvectors have condition {condition:.3g}, above "
            f"{_MOST_CONDITION:.0e}; keep the network as it is"
        )
    kept = poles.imag >= 0  # LAPACK gives conjugate pairs exactly
    twice = np.where(poles.imag > 0, 2, 1)
    C, B = (A @ vectors * twice)[:, kept], np.linalg.solve(vectors, B.astype(vectors.dtype))[kept]
    dtype = np.result_type(network.W.dtype, np.complex64)
    return DiagonalSSM(C.astype(dtype), poles[kept].astype(dtype), B.astype(dtype))


def _as_complex_array(value: Any, what: str) -> Array:
    """An array of JAX's complex numbers; `ValueError` naming `what` for what holds no numbers."""
    if any(isinstance(x, jax.core.Tracer) for x in jax.tree.leaves(value)) or _is_complex(value):
        array = jnp.asarray(value)
    else:
        array = as_float_array(value, what)
    return array.astype(jnp.result_type(array.dtype, jnp.complex64))


def _is_complex(value: Any) -> bool:
    if isinstance(value, np.ma.MaskedArray):
        return False
    try:
        return np.asarray(value).dtype.kind == "c"
    except (ValueError, TypeError):
        return False


def _check_shapes(C: tuple[int, ...], poles: tuple[int, ...], B: tuple[int, ...]) -> None:
    if min(len(C), len(B)) < 2 or len(poles) < 1:
        raise ValueError(
            f"C and B must be matrices and the poles a vector, got shapes {C}, {B} and {poles}; a single unit is "
            "DiagonalSSM([[c]], [pole], [[b]])"
        )
    if 0 in (C[-2], poles[-1], B[-1]):
        raise ValueError(
            f"C, poles and B have shapes {C}, {poles} and {B}; a layer needs an output, a unit and an input at least"
        )
    if C[-1] != poles[-1] or B[-2] != poles[-1]:
        raise ValueError(
            f"there are {poles[-1]} poles, but C has {C[-1]} columns and B {B[-2]} rows; "
            "all three must agree (C: output × hidden, B: hidden × input)"
        )
