r"""Expected updates of an infinite horizon, in closed form by Stein equations.

With the error system `𝐀 = [A, −A*]`, `𝐖 = diag(W, W*)`, `𝐁 = [B; B*]` of `expected.py`,

    Q = 𝐁 Bᵀ + 𝐖 Q Wᵀ,   S = Σ_{j<lags} (M^j)ᵀ Fᵀ 𝐀 𝐖^j,
    ΔA = 𝐀 Q,   ΔB = S 𝐁,   ΔW = S 𝐖 Q.

All of it is matrix products, `O(n³)` a doubling of the number of lags (`stein.py`). A scalar propagator needs only as
many rows of `S` as there are outputs, a rule that keeps few lags a short sum.
"""

from functools import partial
from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array

from localgrad.network import LinearRNN
from localgrad.rules import Propagator, Rule
from localgrad.stein import operator_norm_bound, sum_all_lags, sum_first_lags, transpose_times


class _System(NamedTuple):
    """The matrices whose powers are needed. `M` is `None` where it is `W` itself, so that one squaring serves both."""

    W: Array
    W_star: Array
    M: Array | None


class _Sums(NamedTuple):
    """`S` and `Q` of the module's text, split at the border between student and teacher. `None` where not summed."""

    own_credit: Array | None  # Σ (M^j)ᵀ Fᵀ A W^j, or for a scalar M without its factor Fᵀ
    teacher_credit: Array | None  # Σ (M^j)ᵀ Fᵀ A* W*^j
    own_states: Array  # Σ W^i B (W^i B)ᵀ, the paper's P
    cross_states: Array  # Σ W*^i B* (W^i B)ᵀ
    teacher_states: Array | None = None  # Σ W*^i B* (W*^i B*)ᵀ; only the loss needs it


def _advance(system: _System, sums: _Sums) -> _Sums:
    """One lag more: `S → Mᵀ S 𝐖`, `Q → 𝐖 Q Wᵀ`."""
    W, W_star, M = system
    M = W if M is None else M

    def credit(S: Array | None, right: Array) -> Array | None:
        return None if S is None else transpose_times(M, S) @ right

    return _Sums(
        credit(sums.own_credit, W),
        credit(sums.teacher_credit, W_star),
        W @ sums.own_states @ W.mT,
        W_star @ sums.cross_states @ W.mT,
        None if sums.teacher_states is None else W_star @ sums.teacher_states @ W_star.mT,
    )


def _contraction(system: _System) -> Array:
    own, theirs = operator_norm_bound(system.W), operator_norm_bound(system.W_star)
    carrier = own if system.M is None else operator_norm_bound(system.M)
    return jnp.maximum(jnp.maximum(own, theirs), carrier) * jnp.maximum(own, theirs)


def closed_form_update(rule: Rule, student: LinearRNN, teacher: LinearRNN) -> tuple[LinearRNN, Array]:
    """The expected update, and whether its sums converged."""
    (A, W, B), (A_star, W_star, B_star) = student.matrices, teacher.matrices
    Ft, M = rule.feedback(A).mT, rule.propagator(W)
    system = _System(W, W_star, None if _is_plain_jacobian(rule.propagator) else M)
    sums = _Sums(Ft @ A, Ft @ A_star, B @ B.mT, B_star @ B.mT)
    if rule.lags is not None:
        credit = partial(_first_lags_credit, rule.lags, M, Ft)
        sums = sums._replace(own_credit=None, teacher_credit=None)
        sums, exists = sum_all_lags(_advance, _contraction, system._replace(M=jnp.zeros((1, 1), W.dtype)), sums)
        sums = sums._replace(own_credit=credit(A, W), teacher_credit=credit(A_star, W_star))
    elif M.shape[-2:] == (1, 1):
        # A scalar M commutes with Fᵀ: sum the few rows Σ m^j A W^j, and multiply by Fᵀ once.
        sums = sums._replace(own_credit=A, teacher_credit=A_star)
        sums, exists = sum_all_lags(_advance, _contraction, system, sums)
        sums = sums._replace(own_credit=Ft @ sums.own_credit, teacher_credit=Ft @ sums.teacher_credit)
    else:
        sums, exists = sum_all_lags(_advance, _contraction, system, sums)
    P, P_cross, S, S_star = sums.own_states, sums.cross_states, sums.own_credit, sums.teacher_credit
    update = LinearRNN(
        A @ P - A_star @ P_cross,
        (S @ W) @ P - (S_star @ W_star) @ P_cross,
        S @ B - S_star @ B_star,
    )
    return update, exists > 0


def _first_lags_credit(lags: int, M: Array, Ft: Array, A: Array, W: Array) -> Array:
    def advance(matrices: tuple[Array, Array], S: Array) -> Array:
        return transpose_times(matrices[0], S) @ matrices[1]

    return sum_first_lags(advance, (M, W), Ft @ A, lags)


def _is_plain_jacobian(propagator: Propagator) -> bool:
    plain = isinstance(propagator.full, int) and propagator.full == 1
    return plain and propagator.diagonal is None and propagator.decay is None


def closed_form_loss(student: LinearRNN, teacher: LinearRNN) -> Array:
    """`½ tr(A P Aᵀ − 2 A* P× Aᵀ + A* P** A*ᵀ)`; infinite where a network is unstable."""
    (A, W, B), (A_star, W_star, B_star) = student.matrices, teacher.matrices
    first = _Sums(None, None, B @ B.mT, B_star @ B.mT, B_star @ B_star.mT)
    sums, exists = sum_all_lags(_advance, _contraction, _System(W, W_star, jnp.zeros((1, 1), W.dtype)), first)
    own, cross, theirs = sums.own_states, sums.cross_states, sums.teacher_states
    variance = jnp.sum((A @ own) * A) - 2 * jnp.sum((A_star @ cross) * A) + jnp.sum((A_star @ theirs) * A_star)
    return jnp.where(exists > 0, variance / 2, jnp.inf)
