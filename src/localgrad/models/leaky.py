r"""Leaky linear networks, and the linear form that every linear model has.

    h_{t+1} = (1 − α) h_t + α (W h_t + B x_t),   y_{t+1} = A h_{t+1}

is the linear network `(A, J, αB)` with the state Jacobian `J = (1 − α) I + α W`, of which `J₀ = 1 − α` is what a unit
carries over by itself. Both are linear in the weights, so the updates are `ΔW = α ∘ ΔJ` and `ΔB = α ∘ Δ(αB)`,
row by row.

A model that is a linear network in other weights says so by a method `linear_form`: the network it is, `J₀`, and how an
update of that network comes back to its own weights. All that is exact asks for this form once, at the door.

Limits: the leak is given and does not learn.

Source: docs/theory.md, section 10.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from localgrad.checks import in_our_arithmetic, in_words
from localgrad.models.coordinates import Coordinates, check_direct
from localgrad.models.linear import LinearRNN, as_float_array


class LinearForm(NamedTuple):
    """A model as a linear network.

    - `network`: the `LinearRNN` that it is.
    - `internal`: `J₀`, a column of shape `"hidden 1"` or `"1 1"`; `None` where units carry nothing over by themselves.
    - `pull_back`: from an update of that network to one of the model.
    """

    network: LinearRNN
    internal: Array | None
    pull_back: Callable[[LinearRNN], Any]


def linear_form(model: Any) -> LinearForm:
    """The linear form of a model: its own where it has one, else itself."""
    own = getattr(model, "linear_form", None)
    return LinearForm(model, None, lambda update: update) if own is None else own()


class LeakyRNN(eqx.Module):
    r"""A leaky linear network `h_{t+1} = (1 − α) h_t + α (W h_t + B x_t)`, `y_{t+1} = A h_{t+1}`.

    **Arguments:** `A`, `W`, `B`: as of a `LinearRNN`; `leak`: `α`, a number in (0, 1], or one for each unit; with
    1 nothing leaks.

    **Raises:** `ValueError` for shapes that do not fit, and a leak outside (0, 1].

    Source: Murray 2019 for such units; docs/theory.md, section 10.

    >>> network = LeakyRNN([[1.0]], [[0.5]], [[1.0]], leak=0.5)
    >>> network.linear_form().network.W.tolist()  # J = 0.5 + 0.5 · 0.5
    [[0.75]]
    """

    A: Float[Array, "output hidden"]
    W: Float[Array, "hidden hidden"]
    B: Float[Array, "hidden input"]
    leak: Float[Array, " units"]

    def __init__(self, A: Any, W: Any, B: Any, leak: Any):
        self.A, self.W, self.B = LinearRNN(A, W, B).matrices
        given = as_float_array(leak, "the leak")
        hidden, seeds = self.W.shape[-1], self.W.shape[:-2]
        if given.ndim == 0 or given.size == 1:
            given = given.reshape(1)
        if given.shape[-1] not in (1, hidden) or given.shape[:-1] not in ((), seeds):
            raise ValueError(f"leak has shape {given.shape}; give one number, or one for each of {hidden} units")
        known = not isinstance(given, jax.core.Tracer)
        if known and not np.all((np.asarray(given) > 0) & (np.asarray(given) <= 1)):
            raise ValueError(f"leak must lie in (0, 1], got {in_words(leak)}; a unit with leak 0 hears nothing")
        self.leak = jnp.broadcast_to(given, (*seeds, given.shape[-1])).astype(self.W.dtype)

    @property
    def sizes(self) -> tuple[int, int, int]:
        """`(output, hidden, input)`."""
        output, hidden = self.A.shape[-2:]
        return output, hidden, self.B.shape[-1]

    @in_our_arithmetic
    def linear_form(self) -> LinearForm:
        """The network `(A, (1 − α) I + αW, αB)`, with `J₀ = 1 − α`."""
        alpha = self.leak[..., None]
        identity = jnp.eye(self.W.shape[-1], dtype=self.W.dtype)
        network = LinearRNN(self.A, (1 - alpha) * identity + alpha * self.W, alpha * self.B)

        @in_our_arithmetic
        def pull_back(update: LinearRNN) -> LeakyRNN:
            moved = (update.A, alpha * update.W, alpha * update.B, jnp.zeros_like(self.leak))
            return jax.tree.unflatten(jax.tree.structure(self), moved)

        return LinearForm(network, 1 - alpha, pull_back)

    def coordinates(self, poles: str = "direct") -> Coordinates:
        """What it learns by: `A`, `W` and `B`; the leak stays."""
        check_direct(poles)
        return Coordinates({"A": self.A, "W": self.W, "B": self.B}, self.leak, _leaky)


def _leaky(numbers: dict[str, Array], leak: Array) -> LeakyRNN:
    return LeakyRNN(numbers["A"], numbers["W"], numbers["B"], leak)
