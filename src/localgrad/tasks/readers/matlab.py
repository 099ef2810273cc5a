"""MATLAB's `.mat`: versions 5 to 7.2 by SciPy, version 7.3 as HDF5 (`hdf5.py`).

A file of version 5 is a chain of elements, each perhaps compressed. They are unpacked here, all together up to
`MAX_BYTES`, before SciPy sees them, so that nothing can unpack to more; shapes are looked at before arrays are read.
Limits: variables at the top level, not fields of a struct; version 4 is refused.
"""

from __future__ import annotations

import io
import struct
import warnings
import zlib

import numpy as np

from localgrad.tasks.readers.hdf5 import read_hdf5
from localgrad.tasks.readers.weights import (
    Weights,
    check_entries_claimed,
    dense,
    from_named,
    real_array,
    rows_of_pointers,
)
from localgrad.tasks.weight_files import MAX_BYTES

_HEADER = 128
_COMPRESSED = 15
_NUMBERS = {
    "double",
    "single",
    "logical",
    "sparse",
    *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)),
}
_DAMAGED = "it is damaged, half-written or no .mat file; save it again in MATLAB, with save(…, '-v7')"


def read_mat(data: bytes) -> Weights:
    """`A, W, B`, or the one square array."""
    if b"\x89HDF\r\n\x1a\n" in data[:1024]:
        return read_hdf5(data)
    if len(data) < _HEADER or data[124:128] not in (b"\x00\x01IM", b"\x01\x00MI"):
        raise ValueError(_DAMAGED)
    plain = _inflated(data)
    from scipy.io import whosmat

    try:
        variables = {name: (shape, kind) for name, shape, kind in _quietly(whosmat, plain)}
    except Exception:  # SciPy's reader raises anything from TypeError to MemoryError
        raise ValueError(_DAMAGED) from None
    shapes = {name: tuple(map(int, shape)) for name, (shape, kind) in variables.items() if kind in _NUMBERS}
    return from_named(shapes, lambda name: _variable(plain, name))


def _inflated(data: bytes) -> bytes:
    """The file without compression."""
    order = "<" if data[126:128] == b"IM" else ">"
    parts, at, room = [data[:_HEADER]], _HEADER, MAX_BYTES
    while at + 8 <= len(data):
        kind, size = struct.unpack_from(f"{order}II", data, at)
        end = at + 8 + size
        if end > len(data):
            raise ValueError(_DAMAGED)
        parts.append(_unpacked(data[at + 8 : end], room) if kind == _COMPRESSED else data[at:end])
        room -= len(parts[-1])
        at = end
    if at != len(data):
        raise ValueError(_DAMAGED)
    return b"".join(parts)


def _unpacked(data: bytes, room: int) -> bytes:
    unpacker = zlib.decompressobj()
    try:
        plain = unpacker.decompress(data, room + 1)
    except zlib.error:
        raise ValueError(_DAMAGED) from None
    if len(plain) > room:
        raise ValueError(f"it unpacks to more than {MAX_BYTES:,} bytes; give a smaller network")
    if not unpacker.eof or len(plain) % 8:
        raise ValueError(_DAMAGED)
    return plain


def _variable(plain: bytes, name: str) -> np.ndarray:
    from scipy.io import loadmat

    try:
        value = _quietly(loadmat, plain, variable_names=[name])[name]
    except Exception:
        raise ValueError(_DAMAGED) from None
    if hasattr(value, "indptr"):  # a sparse matrix by columns, whose indices nobody has checked
        columns = rows_of_pointers(value.indptr, value.data.size)
        return dense(tuple(map(int, value.shape)), value.data, value.indices, columns)
    check_entries_claimed(value.shape, name)
    return real_array(value, name)


def _quietly(function, plain: bytes, **options):  # type: ignore[no-untyped-def]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # duplicate and damaged names
        return function(io.BytesIO(plain), **options)
