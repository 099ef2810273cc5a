r"""Geometric sums of linear operators, `Σ_j L^j X`, where `L` is made of matrix products.

Every infinite-horizon quantity of a linear network is such a sum: Gramians are `Σ W^j X (W^j)ᵀ`, credit is
`Σ (M^j)ᵀ X W^j`. With all lags they solve a Stein equation `S = X + L S`, by squared Smith iteration

    S ← S + L S,   L ← L²   (squaring each matrix that `L` is made of),

which holds the sum of `2^k` lags after `k` rounds and converges quadratically (Smith 1968). It is matrix
products only: it batches and runs on any device. A solver of the linear equation would return finite
nonsense where the sum diverges; this one notices, because the powers do not vanish.

The sums are differentiable in both modes and to any order, through the equation they solve.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

# 2^60 lags: more would mean a spectral radius within 1e-17 of 1, which float64 cannot tell from 1.
_MAX_DOUBLINGS = 60

Apply = Callable[[Any, Any], Any]  # (matrices, X) -> L X


def is_elementwise(M: Array) -> bool:
    """Whether a propagator is kept as a column (see `rules.Propagator`), so that `MᵀX = M * X`."""
    return M.shape[-1] == 1


def transpose_times(M: Array, X: Array) -> Array:
    """`Mᵀ X`, elementwise where `M` is diagonal."""
    return M * X if is_elementwise(M) else M.mT @ X


def times(X: Array, M: Array) -> Array:
    """`X M`, elementwise where `M` is diagonal."""
    return X * M.mT if is_elementwise(M) else X @ M


def square(M: Array) -> Array:
    """`M²`, elementwise where `M` is diagonal."""
    return M * M if is_elementwise(M) else M @ M


def operator_norm_bound(M: Array) -> Array:
    """An upper bound of the spectral norm: exact for a diagonal `M`, size × largest entry for a dense one.

    Not the Frobenius norm: its squares underflow to 0, and the powers of a divergent sum would seem to vanish.
    """
    largest = jnp.max(jnp.abs(M))
    return largest if is_elementwise(M) else M.shape[-1] * largest


def sum_all_lags(apply: Apply, contraction: Callable[[Any], Array], matrices: Any, X: Any) -> tuple[Any, Array]:
    """`Σ_{j≥0} L^j X` for pytrees `X`, with `L X = apply(matrices, X)`.

    `contraction(matrices)` bounds the norm of `L`; the rounds stop when it falls below rounding.

    Returns the sum and whether it converged (it does not where the spectral radius of `L` is 1 or more).
    """

    # The second unknown, with the equation `flag = 1`, says whether the first was found. Not `has_aux`: `jax.vmap`
    # then batches what does not depend on the batch, and `jax.jacfwd` fails.
    # JAX transposes a linear solve only where all of its right-hand side depends on what is differentiated, whatever
    # that is: so all unknowns depend, formally, on every matrix and every term.
    one_of_matrices = 1 + _nothing(matrices)

    def residual(unknowns: Any) -> Any:
        S, flag = unknowns
        return jax.tree.map(lambda s, Ls: s * one_of_matrices - Ls, S, apply(matrices, S)), flag * one_of_matrices

    def solve(_: Any, rhs: Any) -> Any:
        S, converged = _squared_smith(apply, contraction, matrices, rhs[0])
        return S, rhs[1] * converged

    def solve_transposed(_: Any, rhs: Any) -> Any:
        def apply_transposed(powers: Any, Y: Any) -> Any:
            return jax.linear_transpose(lambda S: apply(powers, S), Y)(Y)[0]

        S, converged = _squared_smith(apply_transposed, contraction, matrices, rhs[0])
        return S, rhs[1] * converged

    one = jnp.ones((1, 1), jax.tree.leaves(X)[0].dtype)
    tied = jax.tree.map(lambda leaf: leaf + _nothing(X), (X, one))
    S, flag = jax.lax.custom_linear_solve(residual, tied, solve, solve_transposed)
    # All of them depend on all, formally: else JAX cannot differentiate the transposed solve.
    return jax.tree.map(lambda leaf: leaf + _nothing((S, flag)), S), flag[0, 0]


def _nothing(tree: Any) -> Array:
    """A zero that depends, formally, on every array of a tree."""
    leaves = jax.tree.leaves(tree)
    return 0 * sum((jnp.sum(leaf[..., :1, :1]) for leaf in leaves), start=jnp.zeros((), leaves[0].dtype))


def _squared_smith(apply: Apply, contraction: Callable, matrices: Any, X: Any) -> tuple[Any, Array]:
    tiny = jnp.finfo(jax.tree.leaves(X)[0].dtype).eps / 4

    def unfinished(state: tuple) -> Array:
        *_, size, rounds = state
        return (size > tiny) & jnp.isfinite(size) & (rounds < _MAX_DOUBLINGS)

    def double(state: tuple) -> tuple:
        S, powers, _, rounds = state
        S = jax.tree.map(jnp.add, S, apply(powers, S))
        powers = jax.tree.map(square, powers)
        return S, powers, contraction(powers), rounds + 1

    S, _, size, _ = jax.lax.while_loop(unfinished, double, (X, matrices, contraction(matrices), 0))
    return S, (size <= tiny).astype(size.dtype)


def sum_first_lags(apply: Apply, matrices: Any, X: Any, lags: int) -> Any:
    """`Σ_{j<lags} L^j X` for `lags ≥ 1`, by binary doubling; always exists.

    From the sum of `t` lags come those of `2t` (add `L^t` of it) and of `t + 1` (apply `L`, add `X`).
    """
    S, powers = X, matrices
    for bit in bin(lags)[3:]:
        S = jax.tree.map(jnp.add, S, apply(powers, S))
        powers = jax.tree.map(square, powers)
        if bit == "1":
            S = jax.tree.map(jnp.add, X, apply(matrices, S))
            powers = jax.tree.map(lambda p, m: p * m if is_elementwise(p) else p @ m, powers, matrices)
    return S
