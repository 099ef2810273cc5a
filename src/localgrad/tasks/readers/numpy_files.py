"""Files of NumPy and SciPy: `.npy`; `.npz` with `A, W, B`, with one matrix, or with a matrix of scipy.sparse.

Shapes are read from the members' headers before any member is unpacked: a few kilobytes of `.npz` can claim, and unpack
to, gigabytes. Nothing is unpickled. Limits: sparse matrices as `csr`, `csc` or `coo`.
"""

from __future__ import annotations

import zipfile

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
from localgrad.tasks.weight_files import array_from_npy, npy_header, open_archive, read_member

_HEADER = 2**16  # bytes of a member in which its header must end
_MAX_MEMBERS = 1000


def read_npy(data: bytes) -> Weights:
    """A bare `W`, or a stack of them."""
    check_entries_claimed(npy_header(data[:_HEADER], "W")[0], "W")
    return Weights(real_array(array_from_npy(data, "W"), "W"))


def read_npz(data: bytes) -> Weights:
    """`A, W, B`, or the one square array, or a sparse matrix."""
    archive = open_archive(data)
    names = [name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")]
    if len(names) > _MAX_MEMBERS:
        raise ValueError(f"it holds {len(names):,} arrays; save A, W and B, or W alone")
    if {"format", "shape", "data"} <= set(names):
        return Weights(_sparse(archive))
    headers = {name: _header(archive, name) for name in names}
    numbers: dict[str, Shape] = {
        name: shape for name, (shape, dtype) in headers.items() if _may_be_weights(name, dtype)
    }
    return from_named(numbers, lambda name: real_array(_member(archive, name), name))


def _may_be_weights(name: str, dtype: np.dtype) -> bool:
    """Numbers of all kinds, so that complex ones are refused by name, and whatever is called `A`, `W` or `B`."""
    return dtype.kind in "fiubc" or name in ("A", "W", "B")


def _header(archive: zipfile.ZipFile, name: str) -> tuple[Shape, np.dtype]:
    shape, _, dtype, _ = npy_header(read_member(archive, f"{name}.npy", at_most=_HEADER), name)
    return shape, dtype


def _member(archive: zipfile.ZipFile, name: str) -> np.ndarray:
    return array_from_npy(read_member(archive, f"{name}.npy"), name)


def _sparse(archive: zipfile.ZipFile) -> np.ndarray:
    """A matrix that `scipy.sparse.save_npz` wrote."""

    def part(name: str) -> np.ndarray:
        if f"{name}.npy" not in archive.namelist():
            raise ValueError(f"its sparse matrix has no array {name}; write the file again with scipy.sparse.save_npz")
        check_entries_claimed(_header(archive, name)[0], name)
        return _member(archive, name)

    kind = part("format").tobytes().rstrip(b"\0").replace(b"\0", b"")[:10].decode("ascii", "replace")
    if kind not in ("csr", "csc", "coo"):
        raise ValueError(f"its sparse matrix is stored as {kind!r}; convert it with .tocsr() before it is saved")
    sizes = part("shape")
    if sizes.shape != (2,) or sizes.dtype.kind not in "iu":
        raise ValueError("its sparse matrix has no shape of two whole numbers; write the file again")
    shape, values = (int(sizes[0]), int(sizes[1])), part("data")
    if kind == "coo":
        return dense(shape, values, *_coordinates(archive, part))
    check_entries_claimed(shape, "its sparse matrix")
    minor, pointers = part("indices"), part("indptr")
    if len(pointers) != (shape[0] if kind == "csr" else shape[1]) + 1:
        raise ValueError("the rows of its sparse matrix do not fit its shape; the file is damaged, write it again")
    major = rows_of_pointers(pointers, values.size)
    return dense(shape, values, major, minor) if kind == "csr" else dense(shape, values, minor, major)


def _coordinates(archive: zipfile.ZipFile, part) -> tuple[np.ndarray, np.ndarray]:  # type: ignore[no-untyped-def]
    """Rows and columns, which SciPy stores as two arrays or as one, depending on its version."""
    if "coords.npy" not in archive.namelist():
        return part("row"), part("col")
    coordinates = part("coords")
    if coordinates.ndim != 2 or len(coordinates) != 2:
        raise ValueError("the coordinates of its sparse matrix are not two rows; write the file again")
    return coordinates[0], coordinates[1]
