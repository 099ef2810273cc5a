r"""Expected updates of diagonal layers over an infinite horizon: geometric series, in closed form.

Student, teacher and their conjugates are one list of poles `L = [λ; λ*; λ̄; λ̄*]` with readouts
`𝒞 = [C, −C*, C̄, −C̄*] / 2` and input weights `ℬ = [B; B*; B̄; B̄*]`, so that the error in the `j`-th Markov parameter is
`E_j = 𝒞 L^j ℬ`, which is real. With a diagonal propagator `m` every sum over lags is a Cauchy matrix,

    K_kp = 1 / (1 − λ̄_k L_p),   Q_kp = Σ_{j<lags} (m̄_k L_p)^j = 1 / (1 − m̄_k L_p),   G = B̄ ℬᵀ,   S = (Fᴴ𝒞) ∘ Q,

    ΔC = 𝒞 (K ∘ G)ᵀ,   ΔB = S ℬ,   Δλ_k = Σ_p S_kp L_p K_kp G_kp,   loss = ½ Re Σ_k (C, −C*)ᴴ_k (ΔC, ΔC*)_k.

With all lags and the layer's own poles, or with one decay for all units, all three follow from sums `Σ_p K_kp R_p` and
`Σ_p L_p K_kp² R_p` of the residues `R_p = 𝒞_p ℬ_p`, a few columns, which are products of real matrices (`_pair_sums`).

Cost `O(n (n + n*))`, against `O(n³)` of dense networks. The matrices are made in blocks of the student's units, so that
memory is `O(n + n*)`. A finite number of lags is summed by binary doubling, which also serves where `|m λ| ≥ 1`.

Limits: `|λ|, |λ*| < 1` and, with all lags kept, `|m| |λ|, |m| |λ*| < 1` (`diagonal.py`). Finite horizons are summed lag
by lag (`diagonal_lags.py`).

Source: docs/theory.md, section 11.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array

from localgrad.models.diagonal import DiagonalSSM

# Entries of a Cauchy matrix that are made at a time.
_BLOCK = 2**17


class Joint(NamedTuple):
    """Student and teacher as one layer whose output is the error, and with their conjugates."""

    poles: Array  # L
    readout: Array  # 𝒞, "output poles"
    input: Array  # ℬ, "poles input"


def joint(student: DiagonalSSM, teacher: DiagonalSSM) -> Joint:
    """`L, 𝒞, ℬ`."""
    L, C, B = (
        jnp.concatenate([student.poles, teacher.poles]),
        jnp.concatenate([student.C, -teacher.C], axis=1) / 2,
        jnp.concatenate([student.B, teacher.B]),
    )
    return Joint(*(jnp.concatenate([x, x.conj()], axis) for x, axis in ((L, 0), (C, 1), (B, 0))))


def cauchy_update(
    student: DiagonalSSM, teacher: DiagonalSSM, F: Array, m: Array | None, lags: int | None
) -> DiagonalSSM:
    """The update under feedback `F` and propagator `m`: one number, one a unit, or `None` for the layer's own poles."""
    if m is None and lags is None:
        return _update_of_pairs(student, teacher, F, None)
    if m is not None and m.ndim == 0:  # one decay for all: the same series for each unit, so a part of the residues
        poles = jnp.concatenate([student.poles, teacher.poles])
        return _update_of_pairs(student, teacher, F, geometric(m.conj() * poles, lags))
    error = joint(student, teacher)
    carried = error.readout

    def of_block(own: tuple[Array, ...]) -> tuple[Array, Array, Array]:
        poles, B, F, *m = own
        K = geometric(poles.conj()[:, None] * error.poles, None)
        states = K * (B.conj() @ error.input.T)
        S = F.conj() @ carried
        if m:
            S = S * geometric(m[0].conj()[:, None] * error.poles, lags)
        elif lags is not None and lags > 1:
            S = S * geometric(poles.conj()[:, None] * error.poles, lags)
        return states @ error.readout.T, S @ error.input, jnp.sum(S * error.poles * states, axis=1)

    own = (student.poles, student.B, F.T) if m is None else (student.poles, student.B, F.T, m)
    dC, dB, dpoles = _in_blocks(of_block, own, len(error.poles))
    return DiagonalSSM(dC.T, dpoles, dB)


def _update_of_pairs(student: DiagonalSSM, teacher: DiagonalSSM, F: Array, carried: Array | None) -> DiagonalSSM:
    """The update by the layer's own poles, or where each pole's series is `carried`, whatever the unit."""
    L, B = jnp.concatenate([student.poles, teacher.poles]), jnp.concatenate([student.B, teacher.B])
    C = jnp.concatenate([student.C, -teacher.C], axis=1) / 2
    R = (C.T[:, :, None] * B[:, None, :]).reshape(len(L), -1)
    columns = R if carried is None else jnp.concatenate([R, (L * carried)[:, None] * R], axis=1)
    sums, slopes = _in_blocks(lambda own: _pair_sums(own[0], L, columns, carried is None), (student.poles,), 2 * len(L))
    shape = (-1, len(C), B.shape[1])
    if carried is None:
        of_C, of_B, of_poles = sums.reshape(shape), sums.reshape(shape), slopes.reshape(shape)
    else:
        of_C, of_poles = (x.reshape(shape) for x in jnp.split(sums, 2, axis=1))
        of_B = 2 * jnp.sum(carried[:, None] * R, axis=0).real.reshape(shape)  # one for all units
    credit, B_own = F.conj().T, student.B.conj()
    return DiagonalSSM(
        jnp.einsum("koi,ki->ok", of_C, B_own),
        jnp.einsum("ko,koi,ki->k", credit, of_poles, B_own),
        jnp.einsum("ko,koi->ki", credit, jnp.broadcast_to(of_B, (len(credit), *shape[1:])).astype(credit.dtype)),
    )


def _pair_sums(own: Array, L: Array, R: Array, with_slopes: bool) -> tuple[Array, Array]:
    """`Σ_p K_kp R_p` over all poles and their conjugates, and the same of `L_p K_kp²`, for units of poles `own`.

    A pole `λ = u + iv` and its conjugate have one denominator. With `z = λ̄_k`, `g = 1 − zu`, `h = zv`,

        1/(1 − zλ) = P + iQ,   1/(1 − zλ̄) = P − iQ,   P = g/(g² + h²),   Q = h/(g² + h²),

    so that sums over both are `2 (P Re R − Q Im R)`: products of real matrices, with a division a pair.
    """
    u, v, re, im = L.real, L.imag, R.real, R.imag
    x, y = own.real[:, None], -own.imag[:, None]
    gr, gi, hr, hi = 1 - x * u, -y * u, x * v, y * v
    dr, di = gr * gr - gi * gi + hr * hr - hi * hi, 2 * (gr * gi + hr * hi)
    size = 1 / (dr * dr + di * di)
    # Barriers, since the compiler would else do all of it anew for each of the matrices.
    dr, di = jax.lax.optimization_barrier((dr * size, -di * size))
    P, Q = (gr * dr - gi * di, gr * di + gi * dr), (hr * dr - hi * di, hr * di + hi * dr)
    P, Q = jax.lax.optimization_barrier((P, Q))
    sums = jax.lax.complex(*(2 * (p @ re - q @ im) for p, q in zip(P, Q, strict=True)))
    if not with_slopes:
        return sums, sums
    squares = P[0] * P[0] - P[1] * P[1] - Q[0] * Q[0] + Q[1] * Q[1], 2 * (P[0] * P[1] - Q[0] * Q[1])  # P² − Q²
    crossed = 2 * (P[0] * Q[0] - P[1] * Q[1]), 2 * (P[0] * Q[1] + P[1] * Q[0])  # 2PQ
    pairs = zip(squares, crossed, strict=True)
    return sums, jax.lax.complex(*(2 * ((u * s - v * c) @ re - (u * c + v * s) @ im) for s, c in pairs))


def cauchy_loss(student: DiagonalSSM, teacher: DiagonalSSM) -> Array:
    """Half the squared H2 norm of the error."""
    error = joint(student, teacher)
    half = len(error.poles) // 2

    def of_block(own: tuple[Array, ...]) -> Array:
        poles, B, C = own
        states = geometric(poles.conj()[:, None] * error.poles, None) * (B.conj() @ error.input.T)
        return jnp.sum((states @ error.readout.T) * C.conj(), axis=1).real

    own = (error.poles[:half], error.input[:half], error.readout.T[:half])
    return jnp.sum(_in_blocks(of_block, own, 2 * half))  # the readouts are halved, which is the ½ of the loss


def geometric(z: Array, lags: int | None) -> Array:
    """`Σ_{j<lags} z^j`, or `1/(1 − z)` for all lags; of complex numbers, entry by entry."""
    if lags is None:
        re, im = 1 - z.real, z.imag  # complex division would guard against overflow, at several times the cost
        size = 1 / (re * re + im * im)
        return jax.lax.complex(re * size, im * size)
    total, power = jnp.ones_like(z), z
    for bit in bin(lags)[3:]:  # from t lags to 2t, and to 2t + 1
        total, power = total + power * total, power * power
        if bit == "1":
            total, power = 1 + z * total, power * z
    return total


def _in_blocks(function: Callable[[tuple[Array, ...]], Any], own: tuple[Array, ...], num_poles: int) -> Any:
    """`function` of blocks of units (the first axis of `own`), put together; units that fill up the last are cut."""
    count = len(own[0])
    size = max(1, min(count, _BLOCK // num_poles))
    num_blocks = -(-count // size)

    def blocks(x: Array) -> Array:
        padded = jnp.pad(x, ((0, num_blocks * size - count), *((0, 0) for _ in x.shape[1:])))
        return padded.reshape(num_blocks, size, *x.shape[1:])

    found = jax.lax.map(function, tuple(map(blocks, own)))
    return jax.tree.map(lambda x: x.reshape(num_blocks * size, *x.shape[2:])[:count], found)
