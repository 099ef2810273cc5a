r"""How the complex poles of a layer depend on what is trained.

    direct   λ = u + i v                                      learning may carry it out of the unit disc
    tanh     λ = tanh(ν) exp(iθ)                              |λ| < 1
    lru      λ = exp(−exp ν) exp(iθ)                          0 < |λ| < 1   (Orvieto et al. 2023)
    s4d      λ = exp(Δ (−exp a + i b)),   Δ = exp δ           0 < |λ| < 1   (Gu et al. 2022), Δ = 1 at the start

The modulus is a real pole of `poles.py`, where its function stands. How an update comes back to what is trained,
`coordinates.py` says.

Limits: where `λ = 0` a phase is undefined and does not move.

Source: docs/theory.md, section 11.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from localgrad.checks import check_choice
from localgrad.models.poles import LRU, TANH, Poles

Coordinates = tuple[Array, ...]


class LayerPoles(NamedTuple):
    """A parametrisation of complex poles: `poles(*trained)`, and `trained(poles)`, its inverse."""

    key: str
    poles: Callable[..., Array]
    trained: Callable[[Array], Coordinates]
    least: float  # the moduli lie strictly between
    most: float

    def check_reached(self, poles: Any) -> None:
        """`ValueError` for a pole that the parametrisation does not reach; what is traced passes."""
        if isinstance(poles, jax.core.Tracer):
            return
        sizes = np.abs(np.asarray(poles))
        outside = (sizes <= self.least) | (sizes >= self.most)
        if np.any(outside):
            raise ValueError(
                f"a pole has modulus {sizes[outside].flat[0]:.6g}, which {self.key!r} does not reach; it needs a "
                f"modulus {'above 0 and ' if self.least == 0 else ''}below 1"
            )


def _polar(modulus: Poles) -> LayerPoles:
    def poles(nu: Array, phase: Array) -> Array:
        return modulus.pole(nu) * jax.lax.complex(jnp.cos(phase), jnp.sin(phase))

    def trained(poles: Array) -> Coordinates:
        real = poles.imag == 0  # a real pole keeps its sign where the modulus may have one
        signed = real & (modulus.low < 0)
        size = jnp.where(signed, poles.real, jnp.abs(poles))
        return modulus.coordinate(size), jnp.where(signed, 0.0, jnp.angle(poles))

    return LayerPoles(modulus.key, poles, trained, -1 if modulus.low < 0 else 0, 1)


def _s4d(step: Array, rate: Array, frequency: Array) -> Array:
    delta = jnp.exp(step)
    return LRU.pole(rate + step) * jax.lax.complex(jnp.cos(delta * frequency), jnp.sin(delta * frequency))


_KINDS = (
    LayerPoles("direct", jax.lax.complex, lambda poles: (poles.real, poles.imag), -1, np.inf),
    _polar(TANH),
    _polar(LRU),
    LayerPoles(
        "s4d",
        _s4d,
        lambda poles: (jnp.zeros_like(poles.real), LRU.coordinate(jnp.abs(poles)), jnp.angle(poles)),
        0,
        1,
    ),
)
LAYER_POLES = {kind.key: kind for kind in _KINDS}
"""All parametrisations of a layer's poles, by their words."""


def find_layer_poles(poles: Any) -> LayerPoles:
    """The parametrisation of that word; `ValueError` for another.

    >>> find_layer_poles("lru").key
    'lru'
    """
    check_choice("poles of a layer", poles, LAYER_POLES)
    return LAYER_POLES[poles]
