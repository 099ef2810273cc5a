r"""Aligned networks, and the modes into which they fall apart.

A linear network is *aligned* when orthogonal frames `U, P, V` exist with `A = U Ā Pᵀ`, `W = P W̄ Pᵀ`, `B = P B̄ Vᵀ`
and all bars diagonal: each diagonal entry `(a, b, w)` is then a mode that evolves alone
(Williams, Payeur & Lajoie 2026, section 3; Proca et al. 2025).
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from localgrad.checks import check_count, check_kind, in_our_arithmetic, in_words, warn_if_cut
from localgrad.models.linear import LinearRNN, as_float_array, as_keys


class Mode(NamedTuple):
    """The three numbers of a mode: readout `a`, input weight `b`, recurrent weight `w`.

    A mode is a network of one hidden unit, `h ← w h + b x`, output `a h`. Aligned networks fall apart into modes.

    **Arguments:** `a`, `b`, `w`: scalars, broadcasting NumPy or JAX arrays, or SymPy symbols; dimensionless; `|w| < 1`,
    which is checked where a mode is used. The same triple also holds an update of a mode.
    """

    a: Any
    b: Any
    w: Any


class Frames(NamedTuple):
    """Orthogonal frames of an aligned network: outputs `U`, hidden units `P`, inputs `V`.

    In these frames its matrices are diagonal: `A = U Ā Pᵀ`, `W = P W̄ Pᵀ`, `B = P B̄ Vᵀ`.

    **Arguments:** `U`, `P`, `V`: orthogonal matrices of shapes `"output output"`, `"hidden hidden"`, `"input input"`,
    whose columns are the axes.
    """

    U: Any
    P: Any
    V: Any


@in_our_arithmetic
def random_frames(output: int, hidden: int, input: int, *, key: PRNGKeyArray) -> Frames:
    """Frames drawn uniformly (Haar measure) from the orthogonal groups of the three sizes.

    **Arguments:** `output`, `hidden`, `input`: sizes, positive whole numbers; `key`: one JAX random key.

    **Returns:** `Frames`. **Raises:** `ValueError` for a size or key outside its domain.

    >>> random_frames(2, 4, 3, key=jax.random.key(0)).P.shape
    (4, 4)
    """
    for name, size in (("output", output), ("hidden", hidden), ("input", input)):
        check_count(name, size, most=2**15)
    keys = jax.random.split(as_keys(key), 3)
    return Frames(*(jax.random.orthogonal(k, n) for k, n in zip(keys, (output, hidden, input), strict=True)))


@in_our_arithmetic
def aligned_network(modes: Mode, frames: Frames | None = None) -> LinearRNN:
    r"""The network whose modes, in the given frames, are the given ones.

    `A = U Ā Pᵀ`, `W = P W̄ Pᵀ`, `B = P B̄ Vᵀ`; units beyond the modes have zero weights.

    **Arguments:**

    - `modes`: `Mode`, or a tuple, of three arrays of one length, shape `"modes"`, or of numbers; `|w| < 1`.
    - `frames`: `Frames`, each at least as large as the number of modes; by default identities of just that size.

    **Raises:** `ValueError` for lengths that differ, `|w| ≥ 1`, what is no real number, and a frame smaller than the
    number of modes.

    Source: docs/theory.md, section 4 (data alignment).

    >>> aligned_network(Mode(a=[1.0, 2.0], b=[1.0, 1.0], w=[0.5, 0.25])).W.tolist()
    [[0.5, 0.0], [0.0, 0.25]]
    """
    a, b, w = _checked_modes(modes)
    frames = Frames(*3 * (jnp.eye(a.shape[-1], dtype=a.dtype),)) if frames is None else frames
    U, P, V = check_frames(frames)
    return LinearRNN(_in_frames(U, a, P), _in_frames(P, w, P), _in_frames(P, b, V))


def _checked_modes(modes: Any) -> tuple[Array, Array, Array]:
    """`a`, `b` and `w` as arrays of one shape, with an axis of modes."""
    if not isinstance(modes, tuple | list) or len(modes) != 3:
        raise ValueError(f"modes is a {type(modes).__name__}; give a localgrad.Mode of three arrays a, b and w")
    warn_if_cut("an array of modes", *modes)
    a, b, w = (jnp.atleast_1d(as_float_array(x, f"modes' {name}")) for x, name in zip(modes, "abw", strict=True))
    if not a.shape == b.shape == w.shape:
        raise ValueError(f"a, b and w of the modes have shapes {a.shape}, {b.shape} and {w.shape}; give one length")
    if not isinstance(w, jax.core.Tracer) and not np.all(np.abs(w) < 1):
        raise ValueError(f"a mode's w must lie between −1 and 1; the largest |w| given is {np.abs(w).max():g}")
    return a, b, w


def check_frames(frames: Any) -> Frames:
    """Frames as arrays; `ValueError` for what is no triple of square matrices."""
    if not isinstance(frames, tuple | list) or len(frames) != 3:
        raise ValueError(f"the frames are {in_words(frames)}; give localgrad.Frames of three matrices U, P and V")
    found = Frames(*(_as_frame(x, f"the frame {name}") for x, name in zip(frames, "UPV", strict=True)))
    return found


def _as_frame(value: Any, what: str) -> Any:
    array = value if isinstance(value, np.ndarray) and value.dtype.kind == "f" else as_float_array(value, what)
    if isinstance(array, np.ma.MaskedArray) or array.ndim < 2 or array.shape[-1] != array.shape[-2] or not array.size:
        raise ValueError(f"{what} is {in_words(value)}; give a square matrix with orthogonal columns")
    return array


@in_our_arithmetic
def align_matrix(diagonal: Any, frames: Frames) -> Float[Array, "output hidden"]:
    """`U R̄ Pᵀ`: a readout or feedback matrix with the given diagonal in the given frames."""
    warn_if_cut("the diagonal", diagonal)
    return _in_frames(frames.U, as_float_array(diagonal, "the diagonal"), frames.P)


def _in_frames(left: Array, diagonal: Array, right: Array) -> Array:
    count = diagonal.shape[-1]
    if count > min(left.shape[-1], right.shape[-1]):
        raise ValueError(
            f"{count} modes do not fit into frames of sizes {left.shape[-1]} and {right.shape[-1]}; "
            "every frame needs at least as many axes as there are modes"
        )
    return (left[..., :count] * diagonal[..., None, :]) @ right[..., :count].mT


@in_our_arithmetic
def project_modes(network: LinearRNN, frames: Frames) -> Mode:
    """The modes of an aligned network: the diagonals of `UᵀAP`, `PᵀBV`, `PᵀWP`, each of shape `"modes"`.

    Exact only for a network aligned in these frames; `aligned_network` is the inverse.

    **Arguments:** `network`: any leading axes; `frames`: of its sizes. **Returns:** a `Mode` of arrays of shape
    `"... modes"`, as many modes as the smallest of the three sizes.

    Source: docs/theory.md, section 4 (data alignment).

    >>> frames = random_frames(2, 2, 2, key=jax.random.key(0))
    >>> project_modes(aligned_network(Mode([2.0, 1.0], [1.0, 1.0], [0.5, 0.25]), frames), frames).w.round(6).tolist()
    [0.5, 0.25]
    """
    check_kind("network", network, LinearRNN, "use LinearRNN(A, W, B)")
    U, P, V = check_frames(frames)
    sizes = U.shape[-1], P.shape[-1], V.shape[-1]
    if sizes != network.sizes:
        raise ValueError(
            f"the frames have sizes {sizes} (output, hidden, input), but the network {network.sizes}; they must agree"
        )
    count = min(U.shape[-1], P.shape[-1], V.shape[-1])
    rotated = (U.mT @ network.A @ P, P.mT @ network.B @ V, P.mT @ network.W @ P)
    return Mode(*(jnp.diagonal(x, axis1=-2, axis2=-1)[..., :count] for x in rotated))
