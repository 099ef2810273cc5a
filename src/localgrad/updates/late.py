r"""Errors that arrive late: an update with a delay of `d` steps, from the one without.

The error of time `t` reaches the synapses at `t + d` and meets what is there then. The noise after `t` is independent
of it, so that of each step more only this is seen in what it is correlated with:

    ⟨ε zᵀ⟩ → ⟨ε zᵀ⟩ 𝐖ᵀ,   ⟨credit zᵀ⟩ → Mᵀ ⟨credit zᵀ⟩ + Fᵀ ⟨ε zᵀ⟩,   ⟨credit ξᵀ⟩ → Mᵀ ⟨credit ξᵀ⟩.

Of the lags that a rule keeps, the first `d` then belong to what came after the error. Over a finite horizon network and
task run on for `d` steps after the last error, so that it arrives as well.

In a diagonal layer each unit does so alone, in complex numbers, whose states are heard as conjugates:

    ΔC → ΔC λ̄,   Δλ → m̄ Δλ + Σ F̄ ΔC,   ΔB → m̄ ΔB.

Source: docs/theory.md, section 10.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array

from localgrad.models.diagonal import DiagonalSSM
from localgrad.rules.rule import Rule
from localgrad.updates.stein import transpose_times
from localgrad.updates.system import Correlations, Credit, ErrorSystem


def lags_before(rule: Rule) -> int | None:
    """How many lags of what came before the error are summed: those kept less the delay, at least one."""
    return None if rule.lags is None else max(rule.lags - rule.delay, 1)


def arriving_late(found: Correlations, system: ErrorSystem, credit: Credit, rule: Rule) -> Correlations:
    """What the credit of a late error meets, from what it meets on time with `lags_before` lags."""
    if not rule.delay:
        return found
    W = system.W[0]

    def a_step_later(_: int, x: Correlations) -> Correlations:
        state = transpose_times(credit.M, x.state) + credit.F.mT @ x.now
        return Correlations(x.now @ W.mT, state, transpose_times(credit.M, x.noise))

    steps = rule.delay
    if rule.lags is not None and rule.lags <= rule.delay:  # nothing of before the error is kept
        now = jax.lax.fori_loop(0, rule.delay - rule.lags, lambda _, x: x @ W.mT, found.now)
        found, steps = Correlations(now, jnp.zeros_like(found.state), jnp.zeros_like(found.noise)), rule.lags
    return jax.lax.fori_loop(0, steps, a_step_later, found)


def layer_arriving_late(found: DiagonalSSM, student: DiagonalSSM, F: Array, m: Array, rule: Rule) -> DiagonalSSM:
    """A layer's update by late errors, from the update on time with `lags_before` lags."""
    if not rule.delay:
        return found
    own, credit = student.poles.conj(), F.conj()
    carried = jnp.broadcast_to(m, own.shape).astype(own.dtype).conj()

    def a_step_later(_: int, x: DiagonalSSM) -> DiagonalSSM:
        poles = carried * x.poles + jnp.sum(credit * x.C, axis=0)
        return DiagonalSSM(x.C * own, poles, carried[:, None] * x.B)

    steps = rule.delay
    if rule.lags is not None and rule.lags <= rule.delay:
        C = found.C * own ** (rule.delay - rule.lags)
        found, steps = DiagonalSSM(C, jnp.zeros_like(found.poles), jnp.zeros_like(found.B)), rule.lags
    return jax.lax.fori_loop(0, steps, a_step_later, found)
