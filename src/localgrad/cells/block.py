r"""Blocks of deep models: what stands around a recurrent cell and has no memory.

    z_t = cell(z_{t−1}, norm(x_t)),   v_t = (V z_t) ∘ σ(G z_t),   y_t = x_t + v_t,

with a normalisation over the channels of the input, a gated linear unit (GLU), and a residual way around both, each of
which may be left out. Credit passes all of them within a step, whatever the rule.

Limits: the normalisation has no parameters of its own, since of them there would be no trace a synapse.

Source: Smith et al. 2023; Orvieto et al. 2023; docs/theory.md, section 12.
"""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from localgrad.cells.cell import Cell
from localgrad.checks import check_flag, in_our_arithmetic
from localgrad.models.linear import as_float_array

_SMALLEST_VARIANCE = 1e-6


class Block(eqx.Module):
    r"""A recurrent cell with normalisation, a gated linear unit and a residual way around them, as one layer.

    `y_t = x_t + (V z_t) ∘ σ(G z_t)`, `z_t = cell(z_{t−1}, norm(x_t))`.

    **Arguments:** `cell`: a cell of `lg.cells` or of one's own; `value`, `gate`: `V` and `G`, of shape
    `"channels emitted"`, both or neither, without which `y_t = x_t + z_t`; `norm`: whether the input is normalised over
    its channels to mean 0 and variance 1; `residual`: whether it is added to the output.

    **Raises:** `ValueError` for shapes that do not fit together.

    Source: Smith et al. 2023; docs/theory.md, section 12.
    """

    cell: Cell
    value: Any
    gate: Any
    norm: bool = eqx.field(static=True)
    residual: bool = eqx.field(static=True)

    @in_our_arithmetic
    def __init__(self, cell: Any, value: Any = None, gate: Any = None, *, norm: bool = True, residual: bool = True):
        if not isinstance(cell, Cell):
            raise ValueError(f"the cell of a block is a {type(cell).__name__}; give a cell of lg.cells")
        check_flag("norm", norm)
        check_flag("residual", residual)
        if (value is None) != (gate is None):
            raise ValueError("a block has value and gate, or neither; give both matrices of its gated linear unit")
        self.cell, self.norm, self.residual = cell, norm, residual
        self.value, self.gate = (
            None if x is None else as_float_array(x, "a matrix of the block") for x in (value, gate)
        )
        if self.value is not None and (
            self.value.ndim != 2 or self.value.shape != self.gate.shape or self.value.shape[1] != cell.width
        ):
            raise ValueError(
                f"value and gate of the block have shapes {self.value.shape} and {self.gate.shape}; give both with "
                f"{cell.width} columns"
            )
        if residual and self.width != self.sizes[1]:
            raise ValueError(
                f"a block with a residual way hears {self.sizes[1]} channels and emits {self.width}; make them equal, "
                "or give residual=False"
            )

    @property
    def sizes(self) -> tuple[int, int]:
        """`(hidden, input)` of its cell."""
        return self.cell.sizes

    @property
    def width(self) -> int:
        """How many numbers it emits a step."""
        return self.cell.width if self.value is None else len(self.value)


Layer = Cell | Block


def cell_of(layer: Layer) -> Cell:
    """The recurrent cell of a layer."""
    return layer.cell if isinstance(layer, Block) else layer


def entering(layer: Layer, x: Any) -> Any:
    """What the cell of a layer hears of the layer's input, `"... input"`."""
    if not isinstance(layer, Block) or not layer.norm:
        return x
    centred = x - x.mean(-1, keepdims=True)
    return centred / jnp.sqrt((centred**2).mean(-1, keepdims=True) + _SMALLEST_VARIANCE)


def leaving(layer: Layer, z: Any, x: Any) -> Any:
    """What a layer emits, from what its cell emits, `"... width"`, and the layer's input."""
    if not isinstance(layer, Block):
        return z
    v = z if layer.value is None else (z @ layer.value.mT) * jax.nn.sigmoid(z @ layer.gate.mT)
    return x + v if layer.residual else v
