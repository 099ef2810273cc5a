r"""Rate units: linear ones, those whose rate leaks, and those whose potential leaks.

Source: docs/theory.md, section 12.
"""

from __future__ import annotations

from typing import Any

import equinox as eqx

from localgrad.cells.activations import find_activation
from localgrad.cells.cell import Cell
from localgrad.checks import check_range


class Linear(Cell):
    r"""Linear units, `s_t = W s_{t−1} + B x_t + bias`, heard as they are.

    **Arguments:** as of `lg.Cell`. **Raises:** as `lg.Cell`.

    Source: docs/theory.md, section 12.
    """

    def local(self, s: Any, u: Any) -> Any:
        """`u`."""
        return u

    def emit(self, s: Any) -> Any:
        """`s`."""
        return s


class LeakyRate(Cell):
    r"""Units whose rate leaks: `s_t = (1 − α) s_{t−1} + α φ(W s_{t−1} + B x_t + bias)`, heard as they are.

    **Arguments:** `W`, `B`, `bias`, and by keyword `mask`, `signs`, `learns`: as of `lg.Cell`. `leak`: `α`, a step of
    time over a unit's time constant, in (0, 1], one number or one for each unit; it learns where `learns` names it.
    `activation`: `φ`, `"tanh"`, `"relu"`, `"softplus"`, `"identity"`, or a callable in `jax.numpy`.

    **Raises:** `ValueError` for shapes that do not fit, a leak outside (0, 1] and an unknown activation.

    Source: Murray 2019; docs/theory.md, section 12.

    >>> LeakyRate([[0.5]], [[1.0]], None, leak=0.1).activation
    'tanh'
    """

    leak: Any = 1.0
    activation: Any = eqx.field(default="tanh", static=True)

    def __check_init__(self) -> None:
        find_activation(self.activation)
        _check_leak(self)

    def local(self, s: Any, u: Any) -> Any:
        """`(1 − α) s + α φ(u)`."""
        return (1 - self.leak) * s + self.leak * find_activation(self.activation)(u)

    def emit(self, s: Any) -> Any:
        """`s`."""
        return s


class LeakyPotential(Cell):
    r"""Units whose potential leaks: `s_t = (1 − α) s_{t−1} + α (W z_{t−1} + B x_t + bias)`, heard as `z_t = φ(s_t)`.

    Under a local rule `φ′` stands outside the trace, where that of `LeakyRate` stands inside: two different rules.

    **Arguments:** as of `LeakyRate`. **Raises:** as `LeakyRate`.

    Source: Liu et al. 2021; docs/theory.md, section 12.
    """

    leak: Any = 1.0
    activation: Any = eqx.field(default="tanh", static=True)

    def __check_init__(self) -> None:
        find_activation(self.activation)
        _check_leak(self)

    def local(self, s: Any, u: Any) -> Any:
        """`(1 − α) s + α u`."""
        return (1 - self.leak) * s + self.leak * u

    def emit(self, s: Any) -> Any:
        """`φ(s)`."""
        return find_activation(self.activation)(s)


def _check_leak(cell: LeakyRate | LeakyPotential) -> None:
    remedy = "; a unit with leak 0 hears nothing"
    check_range(f"leak of a {type(cell).__name__}", cell.leak, 0, 1, ends="(]", remedy=remedy)
