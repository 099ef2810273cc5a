"""The rule of an aligned network whose modes learn by a given rule (docs/theory.md, section 4)."""

from typing import Any

import jax.numpy as jnp
import numpy as np

from localgrad.checks import check_kind, in_our_arithmetic
from localgrad.models.aligned import Frames, align_matrix, check_frames
from localgrad.modes.arguments import is_traced
from localgrad.rules.parts import Feedback
from localgrad.rules.rule import Rule


@in_our_arithmetic
def align_rule(rule: Rule, frames: Frames) -> Rule:
    """The network rule whose mode rule is `rule`: a fixed feedback `â` becomes the matrix `U diag(â) Pᵀ`.

    Only scalar propagators and the full Jacobian keep alignment in any frames; `diag(J)` needs `P` to be
    a signed permutation (the paper's section 3; docs/theory.md, section 4).

    **Arguments:** `rule`: its fixed feedback `â`, if it has one, is a scalar, the same for every mode, or has shape
    `"modes"`; `frames`: those of the student.

    **Returns:** a `Rule` for networks of the frames' sizes.

    **Raises:** `ValueError` for a rule with a term that does not keep networks aligned, or with decays that differ
    between units where `P` is no signed permutation.

    >>> from localgrad import RFLO
    >>> align_rule(RFLO(2.0, 0.5), Frames(np.eye(1), np.eye(2), np.eye(1))).feedback.fixed.tolist()
    [[2.0, 0.0]]
    """
    check_kind("rule", rule, Rule, "the order is rule, frames")
    check_frames(frames)
    for term in rule.terms:
        if not term.keeps_alignment:
            raise ValueError(
                f"the term {type(term).__name__} does not keep networks aligned; no rule of theirs is that of a mode"
            )
    decay = rule.propagator.decay
    if np.size(decay) > 1 and not is_traced(decay, frames) and np.ptp(decay) > 0 and not _permutes_axes(frames.P):
        raise ValueError(
            f"decays of shape {np.shape(decay)}, one a unit, do not keep networks aligned in these frames; give one "
            "number, or frames whose P is a signed permutation"
        )
    if rule.feedback.fixed is None:
        return rule
    count = min(frames.U.shape[-1], frames.P.shape[-1])
    diagonal = rule.feedback.fixed * jnp.ones(count) if np.ndim(rule.feedback.fixed) == 0 else rule.feedback.fixed
    return rule.with_feedback(Feedback(rule.feedback.symmetric, align_matrix(diagonal, frames), rule.feedback.terms))


def _permutes_axes(P: Any) -> bool:
    """Whether a matrix is a signed permutation, to rounding."""
    size = np.sort(np.abs(np.asarray(P)), axis=-1)
    return bool(np.all(size[..., :-1] < 1e-6) and np.all(np.abs(size[..., -1] - 1) < 1e-6))
