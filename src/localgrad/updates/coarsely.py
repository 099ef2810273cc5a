r"""What coarse traces add to an update of a network of cells, and where they have none.

Source: docs/cells.md.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from localgrad.cells.block import cell_of
from localgrad.cells.stack import Network
from localgrad.checks import in_words
from localgrad.rules.coarse_traces import CoarseTraces
from localgrad.updates.through_time_steps import Carrying


def coarsened(carrying: Carrying, coarse: CoarseTraces | None, network: Network, way: str) -> Carrying:
    """What of a rule shapes its update, with its coarse traces; `ValueError` where it has no traces of that kind."""
    if coarse is None:
        return carrying
    if coarse.step is not None and way != "traces":
        raise ValueError(
            f"traces of rule {coarse.name!r} are rounded while they run, forward in time, a trace a synapse; use "
            "method 'online' with a rule that keeps every unit to itself"
        )
    if coarse.mismatch is not None and not carrying.propagator.is_elementwise:
        raise ValueError(
            f"rule {coarse.name!r} carries credit from unit to unit, and has no trace of a unit's own that could decay "
            "with mismatch; leave the mismatch out"
        )
    for layer in network.layers:
        hidden = cell_of(layer).sizes[0]
        if np.size(coarse.mismatch) not in (1, hidden):
            raise ValueError(
                f"the mismatch has {np.size(coarse.mismatch)} numbers, but a layer {hidden} units; give one number, or "
                "one for each unit"
            )
    mismatch = None if coarse.mismatch is None else jnp.reshape(jnp.asarray(coarse.mismatch, float), (-1,))
    return carrying._replace(mismatch=mismatch, step=None if coarse.step is None else float(coarse.step))


def check_random(coarse: CoarseTraces | None, key: Any) -> None:
    """`ValueError` where a key is missing, is none, or has no use."""
    if coarse is None or not coarse.stochastic:
        if key is not None:
            raise ValueError("key is given, but nothing of this rule is drawn at random; leave it out")
        return
    is_key = isinstance(key, jax.Array) and jnp.issubdtype(key.dtype, jax.dtypes.prng_key) and key.ndim == 0
    if not is_key:
        raise ValueError(f"traces are rounded at random; give key=jax.random.key(...), got {in_words(key)}")
