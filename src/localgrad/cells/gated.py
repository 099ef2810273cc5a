r"""Gated units: GRU, whose reset acts after the product with the weights, and LSTM.

With the reset after the product all that a unit hears are sums over other units, and the cell has a local form.

Source: Cho et al. 2014; Hochreiter & Schmidhuber 1997; docs/theory.md, section 12.
"""

from __future__ import annotations

from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from localgrad.cells.cell import Cell, Weights


class GRU(Cell):
    r"""Gated recurrent units, `s_t = (1 − q) n + q s_{t−1}` with `n = tanh(r · W³ s_{t−1} + B³ x_t + b³)`.

    `r = σ(u¹)` is the reset and `q = σ(u²)` the update gate.

    **Arguments:** as of `lg.Cell` with three drives, in the order reset, update, new: `W` of shape `"3 hidden hidden"`,
    `B` `"3 hidden input"`, `bias` `"3 hidden"` or `None`. **Raises:** as `lg.Cell`.

    Source: Cho et al. 2014; docs/theory.md, section 12.
    """

    def __check_init__(self) -> None:
        check_drives(self, 3)

    def weights(self) -> Weights:
        """Four drives: reset, update, and what is new, heard from the units and from the input."""
        W, B, bias = super().weights()
        from_input = None if bias is None else _split(bias, 0)
        return Weights(None if W is None else _split(W, 1), _split(B, 0), from_input)

    def local(self, s: Any, u: Any) -> Any:
        """`(1 − q) tanh(r u³ + u⁴) + q s`."""
        reset, update = jax.nn.sigmoid(u[0]), jax.nn.sigmoid(u[1])
        return (1 - update) * jnp.tanh(reset * u[2] + u[3]) + update * s

    def emit(self, s: Any) -> Any:
        """`s`."""
        return s


class LSTM(Cell):
    r"""Long short-term memory: `c_t = σ(u²) c_{t−1} + σ(u¹) tanh(u³)`, heard as `h_t = σ(u⁴) tanh(c_t)`.

    The state of a unit is `(c, h)`.

    **Arguments:** as of `lg.Cell` with four drives, in the order input, forget, cell, output. **Raises:** as `lg.Cell`.

    Source: Hochreiter & Schmidhuber 1997; docs/theory.md, section 12.
    """

    states: ClassVar[int] = 2

    def __check_init__(self) -> None:
        check_drives(self, 4)

    def local(self, s: Any, u: Any) -> Any:
        """`(c, h)` of the next step."""
        taken, kept, shown = (jax.nn.sigmoid(u[i]) for i in (0, 1, 3))
        c = kept * s[0] + taken * jnp.tanh(u[2])
        return jnp.stack([c, shown * jnp.tanh(c)])

    def emit(self, s: Any) -> Any:
        """`h`."""
        return s[1]


def check_drives(cell: Cell, drives: int) -> None:
    """`ValueError` where a cell has another number of drives than its local function hears."""
    found = 1 if cell.B.ndim == 2 else len(cell.B)
    if found != drives:
        kind = type(cell).__name__
        raise ValueError(f"B of a {kind} has {found} drives; give {drives} of them, shape (drives, hidden, input)")


def _split(x: Any, empty: int) -> Any:
    """Three drives as four: the third stands in one of two places, and in the other one stands 0."""
    parts = [x[2], jnp.zeros_like(x[2])] if empty else [jnp.zeros_like(x[2]), x[2]]
    return jnp.stack([x[0], x[1], *parts])
