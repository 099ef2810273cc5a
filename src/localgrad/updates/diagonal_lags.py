r"""Expected updates of diagonal layers lag by lag: any finite horizon, and infinite ones whose powers vanish soon.

With the errors `Ẽ_j = ω_j E_j` in the Markov parameters (`horizon.py`) and a diagonal propagator `m`,

    ΔC_k = [Σ_j Ẽ_j λ̄_k^j] B̄_k,   ΔB_k = F_kᴴ [Σ_j Ẽ_j q_jk],   Δλ_k = F_kᴴ [Σ_j Ẽ_j p_jk] B̄_k,

with `q_jk = m̄_k^j` for `j < lags` and 0 beyond, and `p_jk = Σ_{i<j} λ̄_k^i q_{j−1−i,k}`, so that
`p_{j+1} = λ̄ p_j + q_j`. All three are products of a table of powers, one row a lag, with the errors. Cost
`O(output · input · (n + n*))` a lag. As in `lags.py` the tables take any errors, also those measured in a batch of
sequences.

Source: docs/theory.md, sections 3 and 11.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from localgrad.models.diagonal import DiagonalSSM
from localgrad.updates.lags import BLOCK, Lags


def errors_by_lag(
    student: DiagonalSSM, teacher: DiagonalSSM | None, lags: Lags
) -> Float[Array, "num_blocks block output input"]:
    """`Ẽ_j = ω_j E_j`, in blocks of lags; without a teacher, the layer's own response. Zero beyond the horizon."""
    layers = [(student, 1)] if teacher is None else [(student, 1), (teacher, -1)]
    poles = jnp.concatenate([layer.poles for layer, _ in layers])
    residues = jnp.concatenate([sign * _residues(layer) for layer, sign in layers])
    weights, (output, _, input) = jnp.asarray(lags.weights), student.sizes
    # The real part of a product of complex numbers, as one product of real ones.
    stacked = jnp.concatenate([residues.real, -residues.imag])
    powers, stride = _first_powers(poles)

    def record(at: Array, state: tuple[Array, Array]) -> tuple[Array, Array]:
        errors, powers = state
        E = jnp.concatenate([powers.real, powers.imag], axis=1) @ stacked
        return errors.at[at].set(weights[at][:, None] * E), powers * stride

    start = jnp.zeros((*weights.shape, output * input), residues.real.dtype)
    errors, _ = jax.lax.fori_loop(0, lags.num_blocks, record, (start, powers))
    return errors.reshape(*weights.shape, output, input)


def loss_by_lag(student: DiagonalSSM, teacher: DiagonalSSM, lags: Lags) -> Array:
    """`½ Σ_j ω_j ‖E_j‖²`."""
    weights = jnp.asarray(lags.weights)
    errors = errors_by_lag(student, teacher, lags._replace(weights=(weights > 0).astype(weights.dtype)))
    return jnp.sum(weights * jnp.sum(errors * errors, axis=(2, 3))) / 2


def update_by_lag(
    student: DiagonalSSM,
    errors: Float[Array, "num_blocks block output input"],
    F: Array,
    m: Array,
    max_lags: int | None,
    lags: Lags,
) -> DiagonalSSM:
    """The update that errors bring to a rule of feedback `F` and propagator `m` that keeps `max_lags`."""
    output, hidden, input = student.sizes
    own = student.poles.conj()
    m = jnp.broadcast_to(m, own.shape).astype(own.dtype).conj()
    first, stride = _first_powers(own)
    carried, carried_stride = _first_powers(m)
    first_paths, path_stride = _paths(own, carried, jnp.zeros_like(own))

    def collect(at: Array, state: tuple[Array, ...]) -> tuple[Array, ...]:
        powers, carried, path, total = state
        kept = carried
        if max_lags is None:  # every block repeats the first, scaled by what is carried into it
            rows, path = first * path + first_paths * carried[0], stride * path + path_stride * carried[0]
        else:
            kept = jnp.where((at * BLOCK + jnp.arange(BLOCK) < max_lags)[:, None], carried, 0)
            rows, path = _paths(own, kept, path)
        tables = jnp.concatenate([powers, kept, rows], axis=1)
        E = errors[at].reshape(BLOCK, output * input)
        total = total + jax.lax.complex(tables.real.T @ E, tables.imag.T @ E)
        return powers * stride, carried * carried_stride, path, total

    start = (first, carried, jnp.zeros_like(own), jnp.zeros((3 * hidden, output * input), own.dtype))
    *_, total = jax.lax.fori_loop(0, lags.num_blocks, collect, start)
    to_C, to_B, to_poles = total.reshape(3, hidden, output, input)
    B, credit = student.B.conj(), F.conj().T
    return DiagonalSSM(
        jnp.einsum("koi,ki->ok", to_C, B),
        jnp.einsum("ko,koi,ki->k", credit, to_poles, B),
        jnp.einsum("ko,koi->ki", credit, to_B),
    )


def _paths(own: Array, kept: Array, before: Array) -> tuple[Array, Array]:
    """`p_j` for the lags of a block that begins with `before`, one row a lag, and what the next one begins with."""
    rows = []
    for j in range(BLOCK):
        rows.append(before)
        before = own * before + kept[j]
    return jnp.stack(rows), before


def _residues(layer: DiagonalSSM) -> Array:
    """`C_k B_k` of each unit, shape `"hidden output·input"`."""
    return (layer.C.T[:, :, None] * layer.B[:, None, :]).reshape(len(layer.poles), -1)


def _first_powers(z: Array) -> tuple[Array, Array]:
    """`z^j` for the lags of a block, one row a lag, and `z^block`."""
    rows, power = jnp.ones_like(z)[None], z
    while len(rows) < BLOCK:
        rows, power = jnp.concatenate([rows, rows * power]), power * power
    return rows, power
