r"""Expected updates lag by lag: any finite horizon, and low-rank infinite ones.

Write `E_k = 𝐀 𝐖^k 𝐁` for what the noise of `k + 1` steps ago does to the error, with the error system of `system.py`
(for a teacher, `A W^k B − A* W*^k B*`). Horizon and loss only weight these errors, `Ẽ_k = ω_k E_k` (`horizon.py`), and
for every rule

    L = ½ Σ_k ω_k ‖E_k‖²,   ⟨ε zᵀ⟩ = Σ_k Ẽ_k (𝐖^k 𝐁)ᵀ,   D_j = Σ_i Ẽ_{i+j+1} (𝐖^i 𝐁)ᵀ,
    ⟨credit zᵀ⟩ = Σ_{j<lags} (M^j)ᵀ Fᵀ D_j,   ⟨credit ξᵀ⟩ = Σ_{j<lags} (M^j)ᵀ Fᵀ Ẽ_j.

A forward pass makes the rows `𝐀 𝐖^k`, `F M^k` and from them `Ẽ_k`; a backward pass makes
`D_j = Ẽ_{j+1} 𝐁ᵀ + D_{j+1} 𝐖ᵀ`, for the part of the system that holds the student. Cost `O(n² · output)` a lag,
against the Stein equations' `O(n³)` a doubling.
Both passes go by blocks of lags, so that their products are matrix–matrix. The backward pass takes any errors: with
those measured in a batch of sequences in place of `Ẽ_k` it gives that batch's update (`sampled.py`).
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from localgrad.updates.horizon import Horizon
from localgrad.updates.stein import square, times
from localgrad.updates.system import Correlations, Credit, ErrorSystem

# Lags in a block; 16 and 32 are about equally fast, 8 and 64 slower for large networks (docs/decisions.md).
BLOCK = 16
# Lags an infinite horizon may take here before it is left to the Stein equations.
MAX_LAGS = 1024
# Numbers that the errors and credits of all lags may take, 16 GiB in float64.
_LARGEST_RECORD = 2**31


class _Rows(NamedTuple):
    """A block of rows `X N^k` and the matrix `N^block` that moves it on.

    `rows` has shape `"block·output hidden"`. Where the lags have no end, a row more: beneath the block runs a probe
    `p N^k` of random numbers, which shows whether powers of `N` grow where `X` does not see it.
    """

    rows: Array
    stride: Array

    def block(self, output: int) -> Array:
        """The block, of shape `"block output hidden"`."""
        return self.rows[: BLOCK * output].reshape(BLOCK, output, -1)

    def advance(self) -> "_Rows":
        return _Rows(times(self.rows, self.stride), self.stride)


def _first_rows(X: Array, N: Array, *, probed: bool = False) -> _Rows:
    block, stride = _first_block(X, N)
    rows = block.reshape(-1, X.shape[-1])
    if not probed:
        return _Rows(rows, stride)
    probe = np.random.default_rng(0).uniform(0.5, 1, (1, X.shape[-1]))
    return _Rows(jnp.concatenate([rows, jnp.asarray(probe, X.dtype)]), stride)


def _first_block(X: Array, N: Array) -> tuple[Array, Array]:
    """`X N^k` for the lags of a block, and `N^block`."""
    block, power = X[None], N
    while block.shape[0] < BLOCK:
        block, power = jnp.concatenate([block, times(block, power)]), square(power)
    return block, power


class Forward(NamedTuple):
    """State of the forward pass: the families of rows, and what the backward pass needs of them."""

    parts: tuple[_Rows, ...]  # 𝐀 𝐖^k
    credit: _Rows
    errors: Array  # Ẽ, "block_index block output noise"
    credits: Array  # F M^j, "block_index block output credit"
    position: Array  # of the next block


class Lags(NamedTuple):
    """Which lags count, and how much.

    `weights` is `ω`, shape `"capacity block"`, zero beyond the horizon; `num_blocks`, how many blocks to run, is static
    under differentiation. Both are `None` for an infinite horizon: all weights 1, until the rows have vanished.
    """

    weights: Array | np.ndarray | None
    num_blocks: Array | int | None


def lags_of(horizon: Horizon, dtype: Any) -> Lags:
    """The weights of the lags, in blocks.

    The capacity grows by powers of 4, so that few programs are compiled however many horizons are asked for.
    """
    if horizon.steps is None:
        return Lags(None, None)
    num_blocks = -(-horizon.steps // BLOCK)
    capacity = 4
    while capacity < num_blocks:
        capacity *= 4
    return Lags(horizon.weights(capacity * BLOCK).astype(dtype).reshape(capacity, BLOCK), num_blocks)


def check_memory(output: int, credit: int, noises: int, horizon: Horizon) -> None:
    """`ValueError` where the errors and credits of so many lags do not fit into memory."""
    if horizon.steps is not None and horizon.steps * output * (credit + noises) > _LARGEST_RECORD:
        most = _LARGEST_RECORD // (output * (credit + noises))
        raise ValueError(
            f"a horizon of {horizon.steps} steps needs more memory than there is, for a network of this size; "
            f"give at most {most} steps, or leave it out for the limit of long horizons"
        )


def correlations_by_lags(
    system: ErrorSystem, credit: Credit, max_lags: int | None, lags: Lags
) -> tuple[Correlations, Array]:
    """What the credit of a rule that keeps `max_lags` meets, and whether the sums are complete (always, if finite)."""
    forward = forward_pass(system, credit, lags, max_lags)
    complete = jnp.array(True) if lags.num_blocks is not None else forward.position < len(forward.errors)
    num_blocks = forward.position if lags.num_blocks is None else lags.num_blocks
    return backward_pass(system, forward.errors, forward.credits, max_lags, num_blocks), complete


def loss_by_lags(system: ErrorSystem, lags: Lags) -> Array:
    """`½ Σ_k ω_k ‖E_k‖²` for a finite horizon."""
    weights, output = jnp.asarray(lags.weights), len(system.A[0])

    def add_block(at: Array, state: tuple[tuple[_Rows, ...], Array]) -> tuple[tuple[_Rows, ...], Array]:
        parts, total = state
        E = _errors(parts, system, output)
        return tuple(rows.advance() for rows in parts), total + jnp.sum(weights[at][:, None, None] * E * E) / 2

    start = (tuple(map(_first_rows, system.A, system.W)), jnp.zeros((), system.W[0].dtype))
    return jax.lax.fori_loop(0, lags.num_blocks, add_block, start)[1]


def _errors(parts: tuple[_Rows, ...], system: ErrorSystem, output: int) -> Array:
    """`E_k` for the lags of a block, "block output noise"."""
    found = [rows.block(output) @ B for rows, B in zip(parts, system.B, strict=True)]
    return sum(found[1:], start=found[0])


def forward_pass(system: ErrorSystem, credit: Credit, lags: Lags, max_lags: int | None = None) -> Forward:
    """The weighted errors `Ẽ_k` and the credits `F M^k`, block by block; the rule keeps `max_lags` of the latter."""
    dtype, output = system.W[0].dtype, len(system.A[0])
    weights = jnp.ones((MAX_LAGS // BLOCK, BLOCK), dtype) if lags.weights is None else lags.weights
    weights, capacity = jnp.asarray(weights), len(weights)

    def record(state: Forward) -> Forward:
        E = _errors(state.parts, system, output)
        at = state.position
        return Forward(
            tuple(rows.advance() for rows in state.parts),
            state.credit.advance(),
            state.errors.at[at].set(weights[at][:, None, None] * E),
            state.credits.at[at].set(state.credit.block(output)),
            at + 1,
        )

    first_rows = partial(_first_rows, probed=lags.num_blocks is None)
    start = Forward(
        tuple(map(first_rows, system.A, system.W)),
        first_rows(credit.F, credit.M),
        jnp.zeros((capacity, BLOCK, output, system.B[0].shape[1]), dtype),
        jnp.zeros((capacity, BLOCK, *credit.F.shape), dtype),
        jnp.array(0),
    )
    if lags.num_blocks is not None:
        return jax.lax.fori_loop(0, lags.num_blocks, lambda _, state: record(state), start)
    at_start = _sizes(start, max_lags)

    def unfinished(state: Forward) -> Array:
        return ~_has_vanished(_sizes(state, max_lags), at_start) & (state.position < capacity)

    return jax.lax.while_loop(unfinished, record, start)


class _Sizes(NamedTuple):
    """Largest entries of a block: of the system's rows, of the credit that is kept, and of the probes.

    `own_probe` is that of the part which holds the student, `probe` the largest of all parts.
    """

    rows: Array
    credit: Array
    own_probe: Array
    probe: Array
    credit_probe: Array


def _sizes(state: Forward, max_lags: int | None) -> _Sizes:
    def largest(x: Array) -> Array:
        return jnp.max(jnp.abs(x))

    parts, credit = [part.rows for part in state.parts], state.credit.rows
    kept, credit_probe = credit[:-1], largest(credit[-1])
    if max_lags is not None:
        lag = state.position * BLOCK + jnp.arange(len(kept)) // state.credits.shape[-2]
        kept, credit_probe = jnp.where((lag < max_lags)[:, None], kept, 0), jnp.zeros_like(credit_probe)
    rows, probes = (jnp.stack([largest(part[of]) for part in parts]) for of in (slice(-1), -1))
    return _Sizes(jnp.max(rows), largest(kept), probes[0], jnp.max(probes), credit_probe)


def _has_vanished(now: _Sizes, at_start: _Sizes) -> Array:
    """Whether what is still to come is below rounding.

    Every term left is of lag `i + j + 1` or more and the product of an error, of credit at lag `j` and of a state at
    lag `i`. Sizes are compared, not their squares, which vanish or overflow long before them. NaN has not vanished.
    """
    ratios = (x / jnp.where(reference > 0, reference, 1) for x, reference in zip(now, at_start, strict=True))
    rows, credit, own_probe, probe, credit_probe = ratios
    eps = float(jnp.finfo(rows.dtype).eps)
    carried = jnp.maximum(credit, credit_probe)
    is_stable = probe * jnp.maximum(1, carried) <= eps**0.25
    return is_stable & (rows * jnp.maximum(own_probe, carried) <= eps / 4)


def backward_pass(
    system: ErrorSystem, errors: Array, credits: Array, max_lags: int | None, num_blocks: Array | int
) -> Correlations:
    """What `num_blocks` blocks of errors (zero beyond) bring to the credits of a rule that keeps `max_lags`."""
    W, B = system.W[0], system.B[0]
    # (𝐖^i 𝐁)ᵀ for the lags of a block, "block noise part"; and a lag beyond the last for the shift by one.
    impulses, stride = _first_block(B.mT, W.mT)
    errors = jnp.concatenate([errors, jnp.zeros_like(errors[:1])])
    windows = jnp.arange(BLOCK)[:, None] + jnp.arange(BLOCK)[None, :] + 1

    def collect(step: Array, state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        D, with_state, with_noise = state
        at = num_blocks - 1 - step
        two_blocks = jnp.concatenate([errors[at], errors[at + 1]])
        hankel = two_blocks[windows]  # "lag shift output noise"
        D = jnp.einsum("jkoi,kin->jon", hankel, impulses) + times(D, stride)
        credit = credits[at]
        if max_lags is not None:
            credit = jnp.where((at * BLOCK + jnp.arange(BLOCK) < max_lags)[:, None, None], credit, 0)
        with_state = with_state + jnp.einsum("jon,jom->nm", credit, D)
        with_noise = with_noise + jnp.einsum("jon,joi->ni", credit, errors[at])
        return D, with_state, with_noise

    (output, rows), (part, noises) = credits.shape[-2:], B.shape
    start = tuple(jnp.zeros(shape, W.dtype) for shape in ((BLOCK, output, part), (rows, part), (rows, noises)))
    D, with_state, with_noise = jax.lax.fori_loop(0, num_blocks, collect, start)
    return Correlations(errors[0, 0] @ B.mT + D[0] @ W.mT, with_state, with_noise)
