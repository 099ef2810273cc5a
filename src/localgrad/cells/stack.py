r"""Networks of cells: layers, one upon the other, and a readout.

Layer `ℓ` hears at time `t` what layer `ℓ − 1` emits at time `t`; the readout hears the last one:

    z^ℓ_t = cell^ℓ(z^ℓ_{t−1}, z^{ℓ−1}_t),   z^0_t = x_t,   y_t = A z^L_t + bias.

Credit goes down from layer to layer by the weights it came up through (spatial backpropagation), or comes to each layer
from the output error by a fixed feedback of its own.

Source: docs/theory.md, section 12.
"""

from __future__ import annotations

import itertools
from typing import Any

import equinox as eqx
import jax

from localgrad.cells.block import Block, Layer, cell_of
from localgrad.cells.cell import Cell
from localgrad.checks import in_our_arithmetic
from localgrad.models.linear import as_float_array


class Readout(eqx.Module):
    r"""A linear readout `y_t = A z_t + bias`.

    **Arguments:** `A`: shape `"output hidden"`, dimensionless; `bias`: shape `"output"`, or `None`.

    **Raises:** `ValueError` for other shapes.

    Source: docs/theory.md, section 12.

    >>> Readout([[1.0, 2.0]]).A.shape
    (1, 2)
    """

    A: Any
    bias: Any

    @in_our_arithmetic
    def __init__(self, A: Any, bias: Any = None):
        self.A = as_float_array(A, "A of the readout")
        self.bias = None if bias is None else as_float_array(bias, "bias of the readout")
        if self.A.ndim != 2 or 0 in self.A.shape:
            raise ValueError(f"A of the readout has shape {self.A.shape}; give a matrix, output × hidden")
        if self.bias is not None and self.bias.shape != self.A.shape[:1]:
            raise ValueError(f"bias of the readout has shape {self.bias.shape}; give {self.A.shape[:1]}")


class Network(eqx.Module):
    r"""Layers of recurrent cells with a readout; the same class holds an update of each of its arrays.

    **Arguments:** `layers`: a cell of `lg.cells` or of one's own (`lg.Cell`), a
        `lg.cells.Block` around one, or a list of them; the first hears the
    input; `readout`: a `lg.Readout` of the last one; `feedback`: `None`, where credit goes down through the weights,
    or one fixed matrix for each layer but the last, shape `"output hidden"`, by which it hears the output error.

    **Raises:** `ValueError` where a layer does not fit what it hears.

    Source: docs/theory.md, section 12.

    >>> from localgrad.cells.rates import LeakyRate
    >>> Network(LeakyRate([[0.5]], [[1.0]], None, leak=0.1), Readout([[1.0]])).sizes
    (1, 1, 1)
    """

    layers: tuple[Layer, ...]
    readout: Readout
    feedback: tuple[Any, ...] | None

    @in_our_arithmetic
    def __init__(self, layers: Any, readout: Any, feedback: Any = None):
        self.layers = (layers,) if isinstance(layers, Cell | Block) else _as_tuple(layers)
        self.readout = readout
        _check_layers(self.layers, readout)
        self.feedback = None if feedback is None else _checked_feedback(feedback, self.layers, len(readout.A))

    @property
    def sizes(self) -> tuple[int, int, int]:
        """`(output, emitted numbers of the last layer, input)`."""
        return len(self.readout.A), self.layers[-1].width, self.layers[0].sizes[1]


def learned_parts(network: Network) -> Any:
    """The network with `True` in place of every array that learns, and `False` of every other one."""
    layers = tuple(map(_learned_of_layer, network.layers))
    none = jax.tree.map(lambda _: False, network)
    readout = jax.tree.map(lambda _: True, network.readout)
    return eqx.tree_at(lambda n: (n.layers, n.readout), none, (layers, readout))


def _learned_of_layer(layer: Layer) -> Any:
    cell = cell_of(layer)
    of_cell = jax.tree.map_with_path(lambda path, _: jax.tree_util.keystr(path).lstrip(".") in cell.learns, cell)
    if not isinstance(layer, Block):
        return of_cell
    return eqx.tree_at(lambda block: block.cell, jax.tree.map(lambda _: True, layer), of_cell)


def arrays_of_network(network: Any) -> dict[str, Any]:
    """The arrays of a network, or of a part of one, by name: `layers[0].W`, `readout.A`."""
    return {jax.tree_util.keystr(path).lstrip("."): x for path, x in jax.tree.leaves_with_path(network)}


def _as_tuple(layers: Any) -> tuple[Any, ...]:
    if not isinstance(layers, list | tuple) or not layers:
        raise ValueError(f"layers is a {type(layers).__name__}; give a cell of lg.cells, or a list of cells")
    return tuple(layers)


def _check_layers(layers: tuple[Any, ...], readout: Any) -> None:
    for layer in layers:
        if not isinstance(layer, Cell | Block):
            raise ValueError(f"a layer is a {type(layer).__name__}; give a cell of lg.cells or a subclass of lg.Cell")
    if not isinstance(readout, Readout):
        raise ValueError(f"the readout is a {type(readout).__name__}; give lg.Readout(A)")
    for below, above in itertools.pairwise(layers):
        if above.sizes[1] != below.width:
            raise ValueError(
                f"a layer hears {above.sizes[1]} inputs, but the one below emits {below.width} numbers; they must agree"
            )
    if readout.A.shape[1] != layers[-1].width:
        raise ValueError(
            f"A of the readout has {readout.A.shape[1]} columns, but the last layer emits {layers[-1].width} numbers; "
            "they must agree"
        )


def _checked_feedback(feedback: Any, layers: tuple[Layer, ...], output: int) -> tuple[Any, ...]:
    if not isinstance(feedback, list | tuple) or len(feedback) != len(layers) - 1:
        raise ValueError(
            f"feedback of the network must be a list of {len(layers) - 1} matrices, one for each layer but the last"
        )
    found = tuple(as_float_array(x, "a feedback of the network") for x in feedback)
    for matrix, layer in zip(found, layers[:-1], strict=True):
        if matrix.shape != (output, layer.width):
            raise ValueError(f"a feedback of the network has shape {matrix.shape}; give {(output, layer.width)}")
    return found
