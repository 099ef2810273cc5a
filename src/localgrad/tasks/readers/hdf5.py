"""HDF5: `.mat` of MATLAB 7.3, and `.h5` with a square data set, such as TVB's `weights`.

MATLAB stores columns first, so its arrays are transposed here; sparse ones are groups of `data`, `ir` and `jc`. Only
the top level is looked at, and only what the file itself holds: links out of it, external storage and virtual data sets
are passed over, and sizes of arrays and of their chunks are compared with the limit before anything is unpacked.

Limit: the file is parsed by the HDF5 library, which is not made for hostile input as the other readers here are.
"""

from __future__ import annotations

import io
import math
from typing import Any

import numpy as np

from localgrad.tasks.readers.weights import (
    Shape,
    Weights,
    check_entries_claimed,
    dense,
    from_named,
    real_array,
    rows_of_pointers,
)
from localgrad.tasks.weight_files import MAX_BYTES

_DAMAGED = "it is damaged, half-written or no HDF5 file; write the file again"


def read_hdf5(data: bytes) -> Weights:
    """`A, W, B`, or the one square array."""
    try:
        import h5py
    except ImportError:
        raise ValueError("HDF5 files need the package h5py; pip install 'localgrad[files]'") from None
    try:
        with h5py.File(io.BytesIO(data), "r") as file:
            members = dict(_members(file, h5py))
            shapes = {name: _shape(member, h5py) for name, member in members.items()}
            return from_named(shapes, lambda name: _read(members[name], name, h5py))
    except ValueError:
        raise
    except Exception:  # the HDF5 library raises OSError, RuntimeError, KeyError, …
        raise ValueError(_DAMAGED) from None


def _members(file: Any, h5py: Any) -> Any:
    """The arrays of numbers at the top level, by name."""
    for name in list(file)[:1000]:
        if not isinstance(file.get(name, getlink=True), h5py.HardLink):
            continue
        member = file[name]
        if isinstance(member, h5py.Group):
            if "MATLAB_sparse" in member.attrs and {"data", "ir", "jc"} <= set(member):
                yield name, member
        elif _is_own(member) and _may_be_weights(member):
            yield name, member


def _may_be_weights(dataset: Any) -> bool:
    """Numbers of all kinds, so that complex ones are refused by name."""
    numbers = dataset.dtype.kind in "fiubc" or dataset.dtype.names == ("real", "imag")
    return numbers and _class_of(dataset) not in (b"cell", b"char")


def _is_own(dataset: Any) -> bool:
    return dataset.external is None and not dataset.is_virtual and dataset.shape is not None


def _class_of(member: Any) -> bytes:
    return bytes(member.attrs.get("MATLAB_class", b""))


def _shape(member: Any, h5py: Any) -> Shape:
    if isinstance(member, h5py.Group):
        return int(member.attrs["MATLAB_sparse"]), len(member["jc"]) - 1
    shape = tuple(int(size) for size in member.shape)
    return shape[::-1] if _class_of(member) else shape


def _read(member: Any, name: str, h5py: Any) -> np.ndarray:
    if isinstance(member, h5py.Group):
        values, rows, pointers = (_array(member[part], part) for part in ("data", "ir", "jc"))
        return dense(_shape(member, h5py), values, rows, rows_of_pointers(pointers, values.size))
    array = real_array(_array(member, name), name)
    return array.T if _class_of(member) else array


def _array(dataset: Any, name: str) -> np.ndarray:
    if not isinstance(dataset.shape, tuple) or not _is_own(dataset):
        raise ValueError(_DAMAGED)
    check_entries_claimed(dataset.shape, name)
    chunk = math.prod(dataset.chunks or ()) * dataset.dtype.itemsize
    if chunk > MAX_BYTES:
        raise ValueError(f"{name[:40]} unpacks in chunks of {chunk:,} bytes, above the limit of {MAX_BYTES:,}")
    return np.asarray(dataset[()])
