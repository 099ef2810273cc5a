r"""Rules on a diagonal layer as its network of real blocks (`models/diagonal.py`), where dense algorithms serve it.

A unit's complex `m` is the block `[[Re m, −Im m], [Im m, Re m]]`, and credit `Fᴴ ε` is
`[Re F, −Im F]ᵀ ε`.

Source: docs/theory.md, section 11.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp

from localgrad.models.diagonal import DiagonalSSM, block_matrix
from localgrad.rules.rule import Rule
from localgrad.rules.shipped import FixedMatrix


def rule_of_blocks(rule: Rule, student: DiagonalSSM) -> Rule:
    """The rule as it acts on the layer's real blocks: `F` and `M` of twice as many units."""
    F, propagator = rule.feedback(student.C), rule.propagator
    feedback = "symmetric" if rule.feedback.is_symmetric else jnp.concatenate([F.real, -F.imag], axis=-1)
    if is_own(rule):
        carried: Any = "full"
    elif propagator.is_scalar:
        carried = propagator
    else:
        m = jnp.asarray(propagator.on_diagonal(student.poles), student.poles.dtype)
        carried = FixedMatrix(block_matrix(jnp.broadcast_to(m, student.poles.shape)))
    own = {"through_plant": rule.through_plant, "delay": rule.delay, "name": rule.name, "key": rule.key}
    return Rule(feedback, carried, rule.lags, **own)  # type: ignore[arg-type]


def is_own(rule: Rule) -> bool:
    """Whether `m = λ`: the layer's Jacobian is diagonal, so that all of it and its diagonal are the same."""
    M = rule.propagator
    parts = [x for x in (M.full, M.diagonal) if x is not None]
    return M.decay is None and not M.terms and len(parts) == 1 and isinstance(parts[0], int) and parts[0] == 1
