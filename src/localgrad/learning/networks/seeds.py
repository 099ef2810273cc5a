"""Networks of many seeds as one: a network whose arrays have one leading axis `"seeds"`, and its checks."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from localgrad.cells.block import Layer
from localgrad.cells.cell import Cell
from localgrad.cells.stack import Network, Readout, arrays_of_network
from localgrad.models.arrays import in_precision, precision_of


def seeds_of(network: Network) -> tuple[int, ...]:
    """`()` of one network, `(seeds,)` of a batch; `ValueError` for more axes, none in it, or arrays that disagree."""
    lead = np.shape(network.readout.A)[:-2]
    for name, x in arrays_of_network(network).items():
        if len(lead) > 1 or 0 in lead or np.shape(x)[: len(lead)] != lead:
            raise ValueError(
                f"the readout's A of the network has leading axes {lead}, and {name} shape {np.shape(x)}; a batch has "
                "one axis of seeds, of at least one, before those of each array of a network"
            )
    return lead


def of_seed(network: Network, seed: int) -> Network:
    """One network of a batch."""
    return jax.tree.map(lambda x: x[seed], network)


def as_seeds(given: Any) -> Network:
    """A network, or a list of networks of one kind and size as a batch; `ValueError` for anything else."""
    if isinstance(given, list | tuple):
        if not given or not all(isinstance(x, Network) for x in given):
            raise ValueError("the networks of seeds must be a list of at least one lg.Network")
        if len({(jax.tree.structure(x), *(np.shape(leaf) for leaf in jax.tree.leaves(x))) for x in given}) > 1:
            raise ValueError("the networks of seeds have different cells or sizes; train each kind by itself")
        given = jax.tree.map(lambda *parts: jnp.stack(parts), *given)
    if not isinstance(given, Network):
        raise ValueError(f"the network is a {type(given).__name__}; give an lg.Network, or a list of them, one a seed")
    lead = seeds_of(given)
    checked(of_seed(given, 0) if lead else given)
    return in_precision(precision_of(given), given)


def copies(network: Network, count: int) -> Network:
    """A batch of one network."""
    return jax.tree.map(lambda x: jnp.broadcast_to(x, (count, *x.shape)), network)


def checked(network: Network) -> Network:
    """The network made anew, so that all is asked of it that a network is asked when it is made."""
    layers = [_checked_layer(layer) for layer in network.layers]
    feedback = None if network.feedback is None else list(network.feedback)
    return Network(layers, Readout(network.readout.A, network.readout.bias), feedback)


def _checked_layer(layer: Layer) -> Layer:
    if isinstance(layer, Cell):
        return _checked_cell(layer)
    return eqx.tree_at(lambda block: block.cell, layer, _checked_cell(layer.cell))


def _checked_cell(cell: Cell) -> Cell:
    from dataclasses import fields

    return type(cell)(**{field.name: getattr(cell, field.name) for field in fields(cell) if field.init})
