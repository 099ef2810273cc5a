r"""Expected updates of an infinite horizon, in closed form by Stein equations.

With the error system `z' = 𝐖 z + 𝐁 ξ`, `ε = 𝐀 z` of `system.py` (for a teacher `𝐀 = [A, −A*]`, `𝐖 = diag(W, W*)`,
`𝐁 = [B; B*]`),

    𝐐 = 𝐁 𝐁ᵀ + 𝐖 𝐐 𝐖ᵀ,   Q its columns of the student's part,   S = Σ_{j<lags} (M^j)ᵀ Fᵀ 𝐀 𝐖^j,
    ⟨ε zᵀ⟩ = 𝐀 Q,   ⟨credit zᵀ⟩ = S 𝐖 Q,   ⟨credit ξᵀ⟩ = S 𝐁,   loss = ½ tr(𝐀 𝐐 𝐀ᵀ).

All of it is matrix products, `O(n³)` a doubling of the number of lags (`stein.py`). Small systems are summed as they
stand here, since few products are what counts; of large ones the independent parts are kept apart, which leaves out the
zeros of `𝐖` and what is not needed of `𝐐`. A scalar propagator needs only as many rows of `S` as there are outputs, a
rule that keeps few lags a short sum.
"""

from functools import partial
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax.scipy.linalg import block_diag
from jaxtyping import Array

from localgrad.updates.stein import Power, sum_all_lags, sum_first_lags, transpose_times, with_factor
from localgrad.updates.system import Correlations, Credit, ErrorSystem

# Up to this many hidden units of student and teacher together, 𝐖 is one block: a quarter less time at 10 and 10, more
# at 16 and 16 (docs/decisions.md).
_ONE_BLOCK_UP_TO = 24


class _Matrices(NamedTuple):
    """The matrices whose powers are needed, or their powers. `M` is `None` where it is `W` itself, so that one squaring
    serves both."""

    W: tuple[Any, ...]
    M: Any


class _Sums(NamedTuple):
    """What is summed of `S` and `𝐐`, in blocks as `𝐖`."""

    S: tuple[Array, ...]  # for a scalar M without its factor Fᵀ; empty where it is not summed here
    Q: dict[tuple[int, int], Array]  # by row and column of the block; 𝐐 is symmetric, and half of it enough


def _in_blocks(system: ErrorSystem) -> ErrorSystem:
    """The same system, in one block where it is small."""
    if len(system.W) == 1 or sum(map(len, system.W)) > _ONE_BLOCK_UP_TO:
        return system
    A, W, B = jnp.concatenate(system.A, axis=1), block_diag(*system.W), jnp.concatenate(system.B)
    return ErrorSystem((A,), (W,), (B,))


def _advance(powers: _Matrices, sums: _Sums) -> _Sums:
    """So many lags more: `S → Mᵀ S 𝐖`, `𝐐 → 𝐖 𝐐 𝐖ᵀ`."""
    W = powers.W

    def carried(S: Array, right: Power) -> Array:
        hidden = S.shape[0]
        left = W[0] if powers.M is None else powers.M
        M = left.matrix[:hidden, :hidden] if powers.M is None else left.matrix
        return with_factor(transpose_times(M, S) @ right.matrix, left, right)

    def covariance(left: Power, Q: Array, right: Power) -> Array:
        return with_factor(left.matrix @ Q @ right.matrix.mT, left, right)

    return _Sums(
        tuple(carried(S, right) for S, right in zip(sums.S, W, strict=False)),
        {(row, column): covariance(W[row], Q, W[column]) for (row, column), Q in sums.Q.items()},
    )


def _contraction(powers: _Matrices) -> Array:
    W = jnp.max(jnp.stack([block.log2_bound for block in powers.W]))
    return W + (W if powers.M is None else jnp.maximum(W, powers.M.log2_bound))


def _covariances(system: ErrorSystem, columns: int) -> dict[tuple[int, int], Array]:
    """The first term of `𝐐`, for the blocks of its lower half in so many columns of blocks."""
    B = system.B
    return {(row, column): B[row] @ B[column].mT for row in range(len(B)) for column in range(min(row + 1, columns))}


def closed_form_correlations(
    whole: ErrorSystem, credit: Credit, max_lags: int | None, *, scaled: bool
) -> tuple[Correlations, Array]:
    """What the credit of a rule that keeps `max_lags` meets, and whether the sums converged.

    `scaled`: as in `sum_all_lags`.
    """
    sum_up = partial(sum_all_lags, _advance, _contraction, scaled=scaled)
    system, size = _in_blocks(whole), len(whole.W[0])
    M, Ft = credit.M, credit.F.mT
    matrices = _Matrices(system.W, None if credit.is_jacobian else M)
    Q = _covariances(system, columns=1)
    if max_lags is not None:
        sums, exists = sum_up(_only_states(system), _Sums((), Q))
        S = tuple(_first_lags(max_lags, M, Ft @ A, W) for A, W in zip(system.A, system.W, strict=True))
    elif M.shape[-2:] == (1, 1):
        # A scalar M commutes with Fᵀ: sum the few rows Σ m^j 𝐀 𝐖^j, and multiply by Fᵀ once.
        sums, exists = sum_up(matrices, _Sums(system.A, Q))
        S = tuple(Ft @ rows for rows in sums.S)
    else:
        sums, exists = sum_up(matrices, _Sums(tuple(Ft @ A for A in system.A), Q))
        S = sums.S
    return _correlations(system, S, [sums.Q[row, 0][:, :size] for row in range(len(S))]), exists > 0


def _correlations(system: ErrorSystem, S: tuple[Array, ...], states: list[Array]) -> Correlations:
    def total(parts: list[Array]) -> Array:
        return sum(parts[1:], start=parts[0])

    blocks = list(zip(*system, S, states, strict=True))
    return Correlations(
        total([a @ q for a, _, _, _, q in blocks]),
        total([(s @ w) @ q for _, w, _, s, q in blocks]),
        total([s @ b for _, _, b, s, _ in blocks]),
    )


def _only_states(system: ErrorSystem) -> _Matrices:
    return _Matrices(system.W, jnp.zeros((1, 1), system.W[0].dtype))


def _first_lags(lags: int, M: Array, first: Array, W: Array) -> Array:
    """`Σ_{j<lags} (M^j)ᵀ first W^j`."""

    def advance(matrices: tuple[Array, Array], S: Array) -> Array:
        return transpose_times(matrices[0], S) @ matrices[1]

    return sum_first_lags(advance, (M, W), first, lags)


def closed_form_loss(whole: ErrorSystem) -> Array:
    """`½ tr(𝐀 𝐐 𝐀ᵀ)`; infinite where the system is unstable."""
    system = _in_blocks(whole)
    first = _Sums((), _covariances(system, columns=2))
    sums, exists = sum_all_lags(_advance, _contraction, _only_states(system), first)
    A = system.A
    variance = sum(
        (1 if row == column else 2) * jnp.sum((A[row] @ Q) * A[column]) for (row, column), Q in sums.Q.items()
    )
    return jnp.where(exists > 0, variance / 2, jnp.inf)
