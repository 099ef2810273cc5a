r"""How the complex poles of a layer depend on what is trained, and all its numbers as real coordinates.

    direct   λ = u + i v                                      learning may carry it out of the unit disc
    tanh     λ = tanh(ν) exp(iθ)                              |λ| < 1
    lru      λ = exp(−exp ν) exp(iθ)                          0 < |λ| < 1   (Orvieto et al. 2023)
    s4d      λ = exp(Δ (−exp a + i b)),   Δ = exp δ           0 < |λ| < 1   (Gu et al. 2022), Δ = 1 at the start

The modulus is a real pole of `poles.py`, where its function stands. `C` and `B` are trained by their real and imaginary
parts. An update, which is `∂/∂Re + i ∂/∂Im` by the layer's own numbers, comes back to the coordinates by the chain
rule.

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
from localgrad.models.diagonal import DiagonalSSM
from localgrad.models.poles import LRU, TANH, Poles

Coordinates = tuple[Array, ...]


class LayerPoles(NamedTuple):
    """A parametrisation of complex poles: `poles(*trained)`, and `trained(poles)`, its inverse."""

    key: str
    poles: Callable[..., Array]
    trained: Callable[[Array], Coordinates]
    least: float  # the moduli lie strictly between
    most: float


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


def coordinates_of(layer: DiagonalSSM, kind: LayerPoles) -> Coordinates:
    """The real numbers that are trained.

    **Raises:** `ValueError` for a pole that the parametrisation does not reach.
    """
    sizes = np.abs(np.asarray(layer.poles))
    outside = (sizes <= kind.least) | (sizes >= kind.most)
    if np.any(outside):
        raise ValueError(
            f"a pole has modulus {sizes[outside].flat[0]:.6g}, which {kind.key!r} does not reach; it needs a modulus "
            f"{'above 0 and ' if kind.least == 0 else ''}below 1"
        )
    C, B = layer.C, layer.B
    return C.real, C.imag, *kind.trained(layer.poles), B.real, B.imag


def layer_at(coordinates: Coordinates, kind: LayerPoles) -> DiagonalSSM:
    """The layer at these coordinates."""
    C_re, C_im, *trained, B_re, B_im = coordinates
    return DiagonalSSM(jax.lax.complex(C_re, C_im), kind.poles(*trained), jax.lax.complex(B_re, B_im))


def pull_back(update: DiagonalSSM, coordinates: Coordinates, kind: LayerPoles) -> Coordinates:
    """The update by the coordinates, from that by the layer's own numbers: the chain rule.

    >>> own = (jnp.ones((1, 1)), jnp.zeros((1, 1)), jnp.zeros(1), jnp.zeros(1), jnp.ones((1, 1)), jnp.zeros((1, 1)))
    >>> update = DiagonalSSM([[0.0]], [2.0 + 1.0j], [[0.0]])
    >>> pull_back(update, own, find_layer_poles("tanh"))[2].tolist()  # d tanh ν/dν = 1 at ν = 0
    [2.0]
    """

    def parts(coordinates: Coordinates) -> tuple[Array, ...]:
        layer = layer_at(coordinates, kind)
        return tuple(part for x in layer.arrays for part in (x.real, x.imag))

    _, transpose = jax.vjp(parts, coordinates)
    return transpose(tuple(part for x in update.arrays for part in (x.real, x.imag)))[0]
