"""What defines a run of networks of cells, as named arrays: all of it must be the same for a checkpoint to go on.

Numbers are compared as they are. What is no number (a cell's local function, the optimiser, how a task draws) is told
by a digest of its program as JAX writes it. Limit: another version of JAX may write the same program otherwise; its
checkpoints are then refused.
"""

from __future__ import annotations

import hashlib
from typing import Any

import equinox as eqx
import jax
import numpy as np

from localgrad.cells.block import cell_of
from localgrad.cells.cell import emission, moved
from localgrad.cells.stack import Network
from localgrad.learning.networks.optimizers import Descent, digest_of
from localgrad.learning.networks.seeds import of_seed, seeds_of
from localgrad.learning.networks.trainer import drawn
from localgrad.rules.rule import Rule
from localgrad.rules.terms import terms_in_words


def named(prefix: str, tree: Any) -> dict[str, Any]:
    """The arrays of a tree by name: the prefix and the path."""
    return {prefix + jax.tree_util.keystr(path): x for path, x in jax.tree.leaves_with_path(tree)}


def like(prefix: str, tree: Any, arrays: dict[str, Any]) -> Any:
    """The inverse of `named`: the tree with these arrays."""
    return jax.tree.map_with_path(lambda path, _: arrays[prefix + jax.tree_util.keystr(path)], tree)


def of_rule(rule: Rule) -> dict[str, Any]:
    """The rule's numbers, times and terms."""
    words = {"lags": rule.lags or 0, "delay": rule.delay, "terms": terms_in_words(rule)}
    return words | named("rule", rule)


def of_network(network: Network) -> dict[str, Any]:
    """The arrays that a run begins with, and the programs of its cells."""
    one = of_seed(network, 0) if seeds_of(network) else network
    kinds = " ".join(f"{type(layer).__name__} {type(cell_of(layer)).__name__}" for layer in one.layers)
    return named("network", network) | {"cells": kinds + " " + " ".join(map(_local_program, one.layers))}


def _local_program(layer: Any) -> str:
    cell = cell_of(layer)
    drives = 1 if cell.B.ndim == 2 else len(cell.B)
    s, u = np.zeros((cell.states, cell.sizes[0])), np.zeros((drives, cell.sizes[0]))
    around = "" if layer is cell else f"{layer.norm}{layer.residual}"
    return digest_of(lambda cell, s, u: (moved(cell, s, u), emission(cell, s)), cell, s, u) + around + str(cell.learns)


def of_task(task: Any, batch_size: int, network: Network) -> dict[str, Any]:
    """How a task draws its batches, and its numbers."""
    arrays, rest = eqx.partition(task, eqx.is_array)
    one = of_seed(network, 0) if seeds_of(network) else network

    def batch(arrays: Any, key: Any, network: Network) -> Any:
        return drawn(eqx.combine(arrays, rest), key, batch_size, network)

    program = digest_of(batch, arrays, jax.random.key(0), one)
    numbers = named("task", eqx.filter(task, eqx.is_array_like))  # for the message that says what differs
    return {"task": f"{type(task).__name__} {task.loss} {program}"} | numbers


def of_optimizer(optimizer: Any, digest: str) -> dict[str, Any]:
    """The rate of plain descent, or the program of an optimiser."""
    if isinstance(optimizer, Descent):
        return {"optimizer": digest, "learning_rate": optimizer.learning_rate}
    return {"optimizer": digest}


def digest_of_arrays(tree: Any) -> str:
    """A digest of the numbers in a tree."""
    found = hashlib.sha256()
    for x in map(np.asarray, jax.tree.leaves(tree)):
        found.update(f"{x.dtype}{x.shape}".encode() + x.tobytes())
    return found.hexdigest()[:32]
