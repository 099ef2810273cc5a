"""The terms of a rule: feedback and propagator."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float


class Feedback(eqx.Module):
    r"""`F = symmetric · A + fixed`: what projects the output error to the hidden units.

    A term that is `None` is absent. `fixed` is a matrix of shape `"output hidden"` for a network, and a
    scalar or broadcasting array for modes; `symmetric` is a scalar. Both are dimensionless.
    """

    symmetric: Any = None
    fixed: Any = None

    def __call__(self, readout: Any) -> Any:
        """`F` for a readout `A` (shape `"output hidden"`), or `f` for a mode's readout `a`."""
        return _sum_of_terms((self.symmetric, readout), (self.fixed, 1))

    @classmethod
    def blend(cls, share: Any, fixed: Any) -> Feedback:
        """`(1 − share) A + share · fixed`: from symmetric (`share = 0`) to fixed feedback (`share = 1`)."""
        return cls(symmetric=1 - share, fixed=share * fixed)


class Propagator(eqx.Module):
    r"""`M = full · J + diagonal · diag(J) + decay · I`: what carries credit one step back in time.

    A term that is `None` is absent. `full` and `diagonal` are scalars; `decay` is a scalar or, with one
    decay a unit, a vector of shape `"hidden"`. All are dimensionless. `decay` may broadcast for modes.
    """

    full: Any = None
    diagonal: Any = None
    decay: Any = None

    def __call__(self, jacobian: Float[Array, "hidden hidden"]) -> Float[Array, "hidden hidden_or_one"]:
        """`M` for a state Jacobian, in the cheapest form that holds it.

        Dense with shape `"hidden hidden"`; a diagonal `M` as the column of its entries, shape
        `"hidden 1"`; a multiple of the identity as shape `"1 1"`. For the last two `MᵀX = M * X`.
        """
        elementwise = []
        if self.diagonal is not None:
            elementwise.append(self.diagonal * jnp.diagonal(jacobian, axis1=-2, axis2=-1)[..., None])
        if self.decay is not None:
            elementwise.append(jnp.asarray(self.decay, jacobian.dtype).reshape(-1, 1))
        column = sum(elementwise) if elementwise else None
        if self.full is None:
            return jnp.zeros((1, 1), jacobian.dtype) if column is None else column
        dense = self.full * jacobian
        return dense if column is None else dense + column * jnp.eye(jacobian.shape[-1], dtype=jacobian.dtype)

    def on_mode(self, w: Any) -> Any:
        """`m` for a mode's recurrent weight `w`, whose Jacobian is its own diagonal."""
        return _sum_of_terms((self.full, w), (self.diagonal, w), (self.decay, 1))

    @classmethod
    def blend(cls, share: Any, decay: Any) -> Propagator:
        """`(1 − share) J + share · decay · I`: from the full Jacobian to a fixed decay."""
        return cls(full=1 - share, decay=share * decay)


def _sum_of_terms(*terms: tuple[Any, Any]) -> Any:
    """`Σ coefficient · value` over the terms present; plain arithmetic, so SymPy passes through."""
    present = [coefficient * value for coefficient, value in terms if coefficient is not None]
    return sum(present[1:], start=present[0]) if present else 0.0
