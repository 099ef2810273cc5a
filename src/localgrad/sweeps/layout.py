"""The files of a store but for its chunks: metadata and coordinates, as a function of the plan alone.

    zarr.json                     the group: what the sweep is, where it comes from, and a copy of all metadata below
    decay/…  seed/…               a coordinate an axis
    loss/zarr.json  status/…      an array a variable; its chunks are written as they are computed
    .localgrad/chunks/0.3.json    a receipt for each chunk that is complete (`store.py`)

So a store whose axes grow is laid out anew, file by file, with the group's own file last: a process killed on the way
leaves a store that is laid out again the next time.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import zarr
from zarr.storage import MemoryStore

from localgrad.sweeps.axes import SEED, Axis
from localgrad.sweeps.codec import WRITE_ALL, compressors, consolidate
from localgrad.sweeps.plan import Plan

FORMAT = 1
ROOT = "zarr.json"


def lay_out(plan: Plan, provenance: Mapping[str, Any]) -> dict[str, bytes]:
    """All files by their names, the group's own last."""
    kept: dict[str, Any] = {}
    store = MemoryStore(kept)
    group = zarr.create_group(store, attributes=_attributes(plan, provenance))
    for axis in plan.definition.axes:
        _coordinate(group, plan, axis)
    names = [axis.name for axis in plan.definition.axes]
    for name, variable in plan.variables.items():
        group.create_array(
            name, shape=plan.definition.shape, chunks=plan.chunk, dtype=variable.dtype, fill_value=variable.fill_value,
            dimension_names=names, compressors=compressors(),
            attributes={"long_name": variable.about, "units": variable.units},
        )  # fmt: skip
    consolidate(store)
    files = {name: buffer.to_bytes() for name, buffer in kept.items()}
    return {name: data for name, data in files.items() if name != ROOT} | {ROOT: files[ROOT]}


def _attributes(plan: Plan, provenance: Mapping[str, Any]) -> dict[str, Any]:
    definition = plan.definition
    about = {"format": FORMAT, "identity": definition.identity, "chunk": list(plan.chunk)}
    about["axes"] = {axis.name: axis.identity for axis in definition.axes}
    return {
        "title": definition.title,
        "kind": f"{definition.kind.name}: {definition.kind.about}",
        "random_seed": definition.seed,
        "parameters": definition.identity["run"],
        "draws": definition.identity["draws"],
        "provenance": dict(provenance),
        "localgrad_sweep": about,
    }


def _coordinate(group: Any, plan: Plan, axis: Axis) -> None:
    parameter = plan.definition.kind.parameters.get(axis.name)
    about, units = (parameter.about, parameter.units) if parameter else ("repetition", "1")
    if parameter is None and axis.name != SEED:
        about, units = "settings that belong together", "name"
    words = axis.labels.dtype.kind not in "iuf"
    array = group.create_array(
        axis.name, shape=(len(axis),), chunks=(min(len(axis), 2**20),), dtype=str if words else axis.labels.dtype,
        dimension_names=[axis.name], attributes={"long_name": about, "units": units}, config=WRITE_ALL,
    )  # fmt: skip
    array[...] = np.asarray(axis.labels, object if words else None)


def stored_sweep(root: bytes) -> dict[str, Any]:
    """What the group's own file says of the sweep: `identity`, `axes`, `chunk`, and its `provenance`.

    **Raises:** `ValueError` for what is no store of a sweep of this format, or damaged.
    """
    try:
        attributes = json.loads(root)["attributes"]
        found = attributes["localgrad_sweep"]
        known = {"identity": dict, "axes": dict, "chunk": list}
        if found["format"] != FORMAT:
            raise ValueError(f"has format {found['format']}, this localgrad reads {FORMAT}; name another store")
        if not all(isinstance(found[name], kind) for name, kind in known.items()):
            raise TypeError
        return {name: found[name] for name in known} | {"provenance": dict(attributes["provenance"])}
    except (KeyError, TypeError, AttributeError, UnicodeDecodeError, json.JSONDecodeError, RecursionError):
        raise ValueError(f"is no store of a sweep, or its file {ROOT} is damaged; name another store") from None
