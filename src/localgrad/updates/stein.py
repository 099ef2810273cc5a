r"""Geometric sums of linear operators, `Σ_j L^j X`, where `L` is made of matrix products.

Every infinite-horizon quantity of a linear network is such a sum: Gramians are `Σ W^j X (W^j)ᵀ`, credit is
`Σ (M^j)ᵀ X W^j`. With all lags they solve a Stein equation `S = X + L S`, by squared Smith iteration

    S ← S + L S,   L ← L²   (squaring each matrix that `L` is made of),

which holds the sum of `2^k` lags after `k` rounds and converges quadratically (Smith 1968). It is matrix
products only: it batches and runs on any device. A solver of the linear equation would return finite
nonsense where the sum diverges; this one notices, because the powers do not vanish.

`M^j` may grow where `W^j` decays faster. Plain powers notice where this leaves the range of the numbers, and the sum
counts as one that does not converge. Scaled ones (`Power`), entries of about 1 times a power of 2, hold any,
but take half the time again where matrices are small; so they are a second try (`exact.py`).

The sums are differentiable in both modes and to any order, through the equation they solve.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array

from localgrad.updates.scaling import exponent_of, power_of_2

Apply = Callable[[Any, Any], Any]  # (powers, X) -> L X


class Power(NamedTuple):
    """The matrix `matrix · 2^exponent`; the exponent is a whole number, kept as a floating-point one.

    A plain power has the exponent `None`, which stands for 0 and is never changed.
    """

    matrix: Array
    exponent: Array | None
    largest: Array  # entry of the matrix, in modulus

    @property
    def log2_bound(self) -> Array:
        """The binary logarithm of an upper bound of the spectral norm, which is size × largest entry.

        It is infinite for a plain power beyond the root of the largest number: another power that has vanished beside
        it might have mattered.
        """
        bound = jnp.log2(self.matrix.shape[-1] * self.largest)
        if self.exponent is not None:
            return self.exponent + bound
        return jnp.where(self.largest < 2.0 ** (jnp.finfo(bound.dtype).maxexp // 2), bound, jnp.inf)

    def normalized(self) -> "Power":
        """The same, with entries of about 1; a plain power as it is."""
        if self.exponent is None:
            return self
        shift = exponent_of(self.largest)
        scale = power_of_2(-shift, self.matrix.dtype)
        return Power(self.matrix * scale, self.exponent + shift.astype(self.exponent.dtype), self.largest * scale)

    def squared(self) -> "Power":
        """Its square, with entries of about 1 if its own are."""
        matrix = square(self.matrix)
        exponent = None if self.exponent is None else 2 * self.exponent
        return Power(matrix, exponent, jnp.max(jnp.abs(matrix))).normalized()


def first_power(matrix: Array, scaled: bool) -> Power:
    """The first power of a matrix: itself."""
    return Power(matrix, jnp.zeros((), matrix.dtype) if scaled else None, jnp.max(jnp.abs(matrix)))


def with_factor(product: Array, *powers: Power) -> Array:
    """A product of powers' matrices times `2^(sum of their exponents)`; of plain powers as it is."""
    exponents = [power.exponent for power in powers if power.exponent is not None]
    return product * power_of_2(sum(exponents[1:], start=exponents[0]), product.dtype) if exponents else product


def margin(W: Any) -> float:
    """How far rounding can move the spectral radius of a matrix like `W` near 1; nearer to 1 it cannot be told from 1.

    Of the size of the rounding error of one matrix product, `n` times machine precision, with some room.
    """
    return 4 * W.shape[-2] * float(jnp.finfo(W.dtype).eps)


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


def sum_all_lags(
    apply: Apply, contraction: Callable[[Any], Array], matrices: Any, X: Any, *, scaled: bool = False
) -> tuple[Any, Array]:
    """`Σ_{j≥0} L^j X` for pytrees `X`, with `L X = apply(powers, X)` for `powers` like `matrices`, each a `Power`.

    `contraction(powers)` is the binary logarithm of a bound of the norm of `L`; the rounds stop when it falls below
    rounding. `scaled`: whether powers are scaled; plain ones may overflow, and then the sum does not converge.

    Returns the sum and whether it converged (it does not where the spectral radius of `L` is 1 within rounding, or
    more).
    """
    powers = jax.tree.map(lambda matrix: first_power(matrix, scaled), matrices)
    # All unknowns are one vector: JAX transposes a linear solve only where each of its right-hand sides depends on what
    # is differentiated, and of one right-hand side this is true. Its last entry, with the equation `flag = 1`, says
    # whether the others were found. Not `has_aux`: `jax.vmap` then batches what does not depend on the batch, and
    # `jax.jacfwd` fails.
    rhs, unravel = ravel_pytree((X, jnp.ones((), jax.tree.leaves(X)[0].dtype)))

    def residual(unknowns: Array) -> Array:
        S, flag = unravel(unknowns)
        return ravel_pytree((jax.tree.map(jnp.subtract, S, apply(powers, S)), flag))[0]

    def solve_by(advance: Apply) -> Callable[[Any, Array], Array]:
        def solve(_: Any, rhs: Array) -> Array:
            first, flag = unravel(rhs)
            S, converged = _squared_smith(advance, contraction, powers, first)
            return ravel_pytree((S, flag * converged))[0]

        return solve

    def apply_transposed(powers: Any, Y: Any) -> Any:
        return jax.linear_transpose(lambda S: apply(powers, S), Y)(Y)[0]

    return unravel(jax.lax.custom_linear_solve(residual, rhs, solve_by(apply), solve_by(apply_transposed)))


def _squared_smith(apply: Apply, contraction: Callable, powers: Any, X: Any) -> tuple[Any, Array]:
    precision = jnp.finfo(jax.tree.leaves(X)[0].dtype)
    vanished, overflown = np.log2(float(precision.eps) / 4), np.log2(float(precision.max))
    # As many rounds as a spectral radius of 1 − margin needs until its powers vanish.
    largest = max((power.matrix for power in jax.tree.leaves(powers, is_leaf=_is_power)), key=lambda M: M.shape[-2])
    most = np.ceil(np.log2(-vanished * np.log(2) / margin(largest)))

    def unfinished(state: tuple) -> Array:
        *_, size, rounds = state
        return (size > vanished) & (size < overflown) & (rounds < most)  # and not NaN

    def double(state: tuple) -> tuple:
        S, powers, _, rounds = state
        S = jax.tree.map(jnp.add, S, apply(powers, S))
        powers = jax.tree.map(Power.squared, powers, is_leaf=_is_power)
        return S, powers, contraction(powers), rounds + 1

    powers = jax.tree.map(Power.normalized, powers, is_leaf=_is_power)
    S, _, size, _ = jax.lax.while_loop(unfinished, double, (X, powers, contraction(powers), 0))
    return S, (size <= vanished).astype(size.dtype)


def _is_power(tree: Any) -> bool:
    return isinstance(tree, Power)


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
