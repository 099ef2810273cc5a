r"""What has changed since the start, `ΔW = W − W₀`: its rank, its share along the feedback, and whether seeds agree.

- `rank`: numerical rank and participation ratio of the change of every matrix (`diagnostics/rank.py`). Of a cell with
    several drives each drive by itself.
- `share`: the share `‖ΠΔW‖²/‖ΔW‖²` of a layer's change along the span of the feedback that it hears, over units.
- `angle`: between the leading left singular subspaces of the changes of two seeds, as many dimensions as there are
    outputs: `arccos √(mean cos² θ_i)` of their principal angles, in radians. Of random subspaces of `k` dimensions
    among `n` units, `cos²` is `k/n` in the mean.

Source: docs/theory.md, sections 9 (rank) and 12.
"""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from localgrad.cells.block import Block, Layer, cell_of
from localgrad.cells.stack import arrays_of_network
from localgrad.diagnostics.rank import basis_of, change_spectrum
from localgrad.learning.networks.situation import Finished, Measure, Situation
from localgrad.learning.networks.trainer import learning_of


def _changes(found: Finished) -> dict[str, np.ndarray]:
    """The changes of all matrices that learn."""
    final, initial = (arrays_of_network(learning_of(x)) for x in (found.network, found.initial))
    changes = {name: np.asarray(x) - np.asarray(initial[name]) for name, x in final.items()}
    return {name: x for name, x in changes.items() if x.ndim - len(found.seeds) >= 2}


def _rank(found: Finished) -> dict[str, np.ndarray]:
    spectra = {name: change_spectrum(x) for name, x in _changes(found).items()}
    ranks = {f"rank {name}": x.rank for name, x in spectra.items()}
    return ranks | {f"participation {name}": x.participation_ratio for name, x in spectra.items()}


def _feedbacks(seen: Situation) -> dict[str, Array]:
    """The feedback that each layer hears, over its units; none where credit came down through weights."""
    network = seen.network
    heard = [*(network.feedback or [None] * (len(network.layers) - 1)), seen.rule.feedback(network.readout.A)]
    return {
        f"feedback {i}": _over_units(F, layer)
        for i, (F, layer) in enumerate(zip(heard, network.layers, strict=True))
        if F is not None and not _turns_credit(layer)
    }


def _turns_credit(layer: Layer) -> bool:
    return isinstance(layer, Block) and layer.value is not None


def _over_units(F: Array, layer: Layer) -> Array:
    cell = cell_of(layer)
    return jnp.asarray(F).reshape(len(F) * type(cell).emitted, cell.sizes[0])


def _share(found: Finished) -> dict[str, np.ndarray]:
    shares = {}
    for name, change in _changes(found).items():
        F = found.raw.get(f"feedback {name.removeprefix('layers[').partition(']')[0]}")
        if F is None or not name.startswith("layers") or name.rpartition(".")[2] not in ("W", "B"):
            continue
        basis = basis_of(np.asarray(F, float).mT)
        if change.ndim > basis.ndim:  # several drives
            basis = basis[..., None, :, :]
        outside = change_spectrum(change, basis).outside_feedback
        changed = np.any(change != 0, axis=(-2, -1))
        shares[f"share {name}"] = np.where(changed, 1 - np.asarray(outside), 0)
    return shares


def _angle(found: Finished) -> dict[str, np.ndarray]:
    outputs = found.network.readout.A.shape[-2]
    angles = {}
    for name, change in _changes(found).items():
        if not name.startswith("layers"):
            continue
        left = np.linalg.svd(change, full_matrices=False)[0][..., :outputs]
        overlap = np.einsum("s...hi,r...hj->sr...ij", left, left)
        mean = np.sum(overlap**2, axis=(-2, -1)) / left.shape[-1]
        angles[f"angle {name}"] = np.arccos(np.clip(np.sqrt(mean), 0, 1))
    return angles


CHANGES = {"rank": Measure(None, _rank), "share": Measure(_feedbacks, _share), "angle": Measure(None, _angle)}
