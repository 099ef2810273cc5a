r"""Activations of units: by name, or any callable that takes an array number by number.

A spike `z = Θ(v − θ)` has no derivative that learning could use; in its place stands the surrogate
`ψ = dampening · max(0, 1 − |v − θ|/θ)`.

Source: Bellec et al. 2018 for the surrogate derivative; docs/theory.md, section 12.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from localgrad.checks import check_choice

_KNOWN: dict[str, Callable[[Any], Any]] = {
    "tanh": jnp.tanh,
    "relu": jax.nn.relu,
    "softplus": jax.nn.softplus,
    "identity": lambda u: u,
}


def find_activation(word: Any) -> Callable[[Any], Any]:
    """The function of a name, or the callable itself; `ValueError` for an unknown name."""
    if callable(word):
        return word
    check_choice("activation", word, _KNOWN)
    return _KNOWN[word]


@jax.custom_jvp
def spike(excess: Any, dampening: Any) -> Any:
    """`Θ(excess)`, for `excess = (v − θ)/θ`, with the surrogate derivative `dampening · max(0, 1 − |excess|)`."""
    return (excess > 0).astype(excess.dtype)


@spike.defjvp
def _spike_jvp(primals: Any, tangents: Any) -> Any:
    excess, dampening = primals
    slope = dampening * jnp.maximum(0, 1 - jnp.abs(excess))
    return spike(excess, dampening), slope * tangents[0]
