r"""How a pole depends on what is trained: `w = g(ν)`.

State-space layers seldom train a pole itself. They train a number `ν` from which it is made, so that it cannot leave
the unit disc:

    direct   w = ν                              −1 < w < 1, but learning may carry it out
    tanh     w = tanh ν                         −1 < w < 1
    lru      w = exp(−exp ν)                     0 < w < 1   (Orvieto et al. 2023, the modulus)

The gradient by `ν` is `g′` times that by `w`, so learning moves the pole by `ẇ = −ρ Δw` with `ρ = g′²`. Everything here
is a function of `w`, written in plain arithmetic: floats, NumPy (also complex numbers), JAX and SymPy all run it.

Limits: real poles. Source: docs/theory.md, section 11.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from localgrad.checks import check_choice


@dataclass(frozen=True)
class Poles:
    """A parametrisation `w = g(ν)`.

    `key`: its word; `low`, `high`: the poles lie strictly between; `stays_inside`: whether no finite `ν` has `|w| = 1`;
    `formula`: `g` in words; `pole`: `g`; `coordinate`: its inverse; `slope`: `g′`, as a function of `w`.
    """

    key: str
    low: float
    high: float
    stays_inside: bool
    formula: str
    pole: Callable[[Any], Any] = field(repr=False)
    coordinate: Callable[[Any], Any] = field(repr=False)
    slope: Callable[[Any], Any] = field(repr=False)

    def __reduce__(self) -> Any:
        return find_poles, (self.key,)  # functions do not all pickle; each parametrisation stands once, under its word

    def speed(self, w: Any) -> Any:
        """`ρ = g′²`: how much faster than a direct pole this one learns."""
        slope = self.slope(w)
        return slope * slope


def _elementary(name: str) -> Callable[[Any], Any]:
    """A function of JAX's for its arrays, of SymPy's for symbols, and else of NumPy's."""

    def function(x: Any) -> Any:
        if isinstance(x, jax.Array):
            return getattr(jnp, name)(x)
        if hasattr(x, "free_symbols"):
            import sympy

            return getattr(sympy, {"arctanh": "atanh"}.get(name, name))(x)
        return getattr(np, name)(x)

    return function


_exp, _log, _tanh, _arctanh = (_elementary(name) for name in ("exp", "log", "tanh", "arctanh"))

DIRECT = Poles("direct", -1, 1, False, "w = ν", lambda nu: nu, lambda w: w, lambda w: 1)
TANH = Poles("tanh", -1, 1, True, "w = tanh ν", _tanh, _arctanh, lambda w: 1 - w * w)
LRU = Poles(
    "lru", 0, 1, True, "w = exp(−exp ν)",
    lambda nu: _exp(-_exp(nu)), lambda w: _log(-_log(w)), lambda w: w * _log(w),
)  # fmt: skip

POLES = {poles.key: poles for poles in (DIRECT, TANH, LRU)}
"""All parametrisations, by their words."""


def find_poles(poles: Any) -> Poles:
    """The parametrisation of that word; `ValueError` for another.

    >>> find_poles("tanh").speed(0.5)
    0.5625
    """
    if isinstance(poles, Poles):
        return poles
    check_choice("poles", poles, POLES)
    return POLES[poles]
