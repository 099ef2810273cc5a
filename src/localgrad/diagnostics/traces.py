r"""What the eligibility trace of a weight looks like in a cell under a rule: asked of the cell, by differentiation.

A trace `e_t = M_t e_{t−1} + ∂s_t/∂θ` has one number for each number of a unit's state. Which of them must be kept from
step to step follows from where the block of `M`, the derivative by the drives and the emission are 0. And where neither
depends on the state, nor differs between units, all synapses of a presynaptic unit have the same trace, and it can be
kept there once. Both are seen at a few random states.

Limits: what is 0 at all of these states counts as 0. Traces that differ by a known factor only (real and imaginary part
of a complex weight) count apart.

Source: Bellec et al. 2020 for traces a presynaptic unit; docs/theory.md, section 12.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from localgrad.cells.cell import Cell, Weights, moved, own_learned
from localgrad.cells.running import Step
from localgrad.rules.parts import Propagator
from localgrad.updates.through_time_steps import block, derivatives

_POINTS = 8
_SAME = 1e-9  # numbers within this are the same


class Traces(NamedTuple):
    """Of a weight, for each drive that it may add to (last axis), and of a unit's own parameters.

    - `kept`: how many numbers are kept from step to step; `shared`: how many of them are the same for all synapses of a
        presynaptic unit; `operations`: multiply-adds a synapse and step; `shared_operations`: those at the presynaptic
        unit, once for all its synapses. Shape `"drives"`.
    - `own`, `own_operations`: the same of the parameters of a unit that learn, numbers a unit.
    """

    kept: np.ndarray
    shared: np.ndarray
    operations: np.ndarray
    shared_operations: np.ndarray
    own: int
    own_operations: int


class _Seen(NamedTuple):
    """Derivatives at all points: `"points … hidden"`."""

    block: np.ndarray | None
    drive: np.ndarray
    own: np.ndarray
    emitted: np.ndarray


def traces_of(propagator: Propagator, cell: Cell) -> Traces:
    """The traces of a cell's weights under a propagator that keeps every unit to itself."""
    seen = _seen(propagator, cell)
    d = seen.drive.shape[1]
    carries = np.zeros((d, d), bool) if seen.block is None else _anywhere(seen.block)
    steady = np.ones((d, d), bool) if seen.block is None else _everywhere_the_same(seen.block)
    heard = np.asarray(_anywhere(seen.emitted).any(0))
    useful = _closed(heard, carries.T)
    drive = _counted(_anywhere(seen.drive), _everywhere_the_same(seen.drive), carries, steady, useful, heard)
    own = _counted(_anywhere(seen.own), np.zeros_like(seen.own[0, ..., 0], bool), carries, steady, useful, heard)
    return Traces(*drive, int(own[0].sum()), int(own[2].sum()))


def _counted(entering: Any, same: Any, carries: Any, steady: Any, useful: Any, heard: Any) -> tuple[Any, Any, Any, Any]:
    """Numbers kept, those of them that are shared, and operations, for each column of `entering`, `"states …"`."""
    found = []
    for column, alike in zip(entering.T, same.T, strict=True):
        present = _closed(column, carries) & useful
        live = carries & present[:, None] & present[None, :]
        kept = live.any(0)
        shared = present & np.where(column, alike, True)
        for _ in present:
            shared &= ~(live & ~(steady & shared[None, :])).any(1)
        moves = live.sum(1) + (column & present)
        credit = int((present & heard).sum())
        apart = int(moves[~shared].sum()) + credit
        found.append((int(kept.sum()), int((kept & shared).sum()), apart, int(moves[shared].sum())))
    columns = np.array(found, int).reshape(-1, 4).T
    return columns[0], columns[1], columns[2], columns[3]


def _closed(start: np.ndarray, leads: np.ndarray) -> np.ndarray:
    """All that is reached from `start` where `leads[i, j]` goes from `j` to `i`."""
    reached = start.copy()
    for _ in start:
        reached = reached | (leads & reached[None, :]).any(1)
    return reached


def _anywhere(x: np.ndarray) -> np.ndarray:
    """Where a derivative is not 0 at some point and unit."""
    return (np.abs(x) > 0).any((0, -1))


def _everywhere_the_same(x: np.ndarray) -> np.ndarray:
    """Where a derivative is the same at all points and units."""
    return np.ptp(x, axis=(0, -1)) <= _SAME * (1 + np.abs(x).max((0, -1)))


def _seen(propagator: Propagator, cell: Cell) -> _Seen:
    rng = np.random.default_rng(0)
    cell = _as_it_may_become(cell, rng)
    weights = _drawn(cell, rng)
    sizes = cell.states, len(weights.B)
    s, u = (jnp.asarray(rng.normal(size=(_POINTS, count, cell.sizes[0]))) for count in sizes)
    found, *others = _at_points(propagator, cell, weights, s, u)
    return _Seen(None if found is None else np.asarray(found), *map(np.asarray, others))


@eqx.filter_jit
def _at_points(propagator: Propagator, cell: Cell, weights: Weights, s: Any, u: Any) -> tuple[Any, ...]:
    after = jax.vmap(lambda s, u: moved(cell, s, u))(s, u)
    empty = jnp.zeros((_POINTS, 0))
    at = derivatives(cell, Step(s, u, after, empty, empty, empty, empty))
    return block(propagator, weights, at), at.drive, at.own, at.emitted


def _as_it_may_become(cell: Cell, rng: np.random.Generator) -> Cell:
    """The cell with its learned parameters moved apart, since learning moves them apart."""
    names = own_learned(cell)
    moved = [getattr(cell, name) * (1 + 0.1 * rng.uniform(size=cell.sizes[0])) + 1e-3 for name in names]
    return eqx.tree_at(lambda c: [getattr(c, name) for name in names], cell, moved) if names else cell


def _drawn(cell: Cell, rng: np.random.Generator) -> Weights:
    """Random weights where the cell has synapses."""
    places = synapses(cell)
    return Weights(*(None if x is None else jnp.asarray(x * rng.normal(size=x.shape)) for x in places))


def synapses(cell: Cell) -> Weights:
    """Where the cell has weights, by drive: 1 there, and 0 where there is none."""
    names = [name for name in ("W", "B", "bias") if getattr(cell, name) is not None]
    ones = [jnp.ones_like(getattr(cell, name)) for name in names]
    found = eqx.tree_at(lambda c: [getattr(c, name) for name in names], cell, ones).weights()
    return Weights(*(None if x is None else (np.abs(np.asarray(x)) > 0).astype(float) for x in found))
