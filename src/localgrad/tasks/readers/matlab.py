"""MATLAB's `.mat`: versions 5 to 7.2 here, version 7.3 as HDF5 (`hdf5.py`).

A file of version 5 is a chain of elements, each perhaps compressed: a tag says the type and the number of bytes. An
element of type 14 is a variable, again a chain: flags with the class, dimensions, name, and the numbers, which may be
stored in a smaller type than their class. It is read here and not with SciPy, whose reader believes the tags: a damaged
file can end the process. All that is unpacked is at most `MAX_BYTES`.

Limits: variables at the top level, not fields of a struct; version 4 is refused.

Source: The MathWorks, *MAT-File Format*.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from localgrad.tasks.readers.hdf5 import read_hdf5
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

_HEADER = 128
_MATRIX, _COMPRESSED = 14, 15
_TYPES = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
_SPARSE, _SINGLE, _NUMBERS = 5, 7, range(5, 16)
_COMPLEX = 0x800
_DAMAGED = "it is damaged, half-written or no .mat file; save it again in MATLAB, with save(…, '-v7')"


class _Variable(NamedTuple):
    """A variable of the file: its shape and class, and the elements of its numbers, not yet read."""

    shape: Shape
    kind: int
    is_complex: bool
    parts: list[np.ndarray]


def read_mat(data: bytes) -> Weights:
    """`A, W, B`, or the one square array."""
    if b"\x89HDF\r\n\x1a\n" in data[:1024]:
        return read_hdf5(data)
    if len(data) < _HEADER or data[124:128] not in (b"\x00\x01IM", b"\x01\x00MI"):
        raise ValueError(_DAMAGED)
    order = "<" if data[126:128] == b"IM" else ">"
    variables: dict[str, _Variable] = {}
    for kind, body in _unpacked_elements(memoryview(data)[_HEADER:], order):
        if kind == _MATRIX:
            name, variable = _variable(body, order)
            if variable is not None:
                variables[name] = variable
    return from_named({name: x.shape for name, x in variables.items()}, lambda name: _array(variables[name], name))


def _unpacked_elements(data: memoryview, order: str) -> Iterator[tuple[int, memoryview]]:
    """The elements of the file; what is compressed holds one element."""
    room = MAX_BYTES
    for kind, body in _elements(data, order, padded=False):
        if kind != _COMPRESSED:
            yield kind, body
            continue
        plain = _unpacked(body, room)
        room -= len(plain)
        yield from _elements(memoryview(plain), order)


def _elements(data: memoryview, order: str, padded: bool = True) -> Iterator[tuple[int, memoryview]]:
    """Type and bytes of each element; a short one stands within its tag."""
    at = 0
    while at < len(data):
        if at + 8 > len(data):
            raise ValueError(_DAMAGED)
        kind, size = struct.unpack_from(f"{order}II", data, at)
        start, end = at + 8, at + 8 + size
        if kind >> 16:
            kind, size = kind & 0xFFFF, kind >> 16
            start, end = at + 4, at + 4 + size
            if size > 4:
                raise ValueError(_DAMAGED)
        if end > len(data):
            raise ValueError(_DAMAGED)
        yield kind, data[start:end]
        at = max(at + 8, end + (-end % 8 if padded else 0))


def _unpacked(data: memoryview, room: int) -> bytes:
    unpacker = zlib.decompressobj()
    try:
        plain = unpacker.decompress(data, room + 1)
    except zlib.error:
        raise ValueError(_DAMAGED) from None
    if len(plain) > room:
        raise ValueError(f"it unpacks to more than {MAX_BYTES:,} bytes, above the limit; give a smaller network")
    if not unpacker.eof:
        raise ValueError(_DAMAGED)
    return plain


def _variable(body: memoryview, order: str) -> tuple[str, _Variable | None]:
    """Name and numbers of a variable; `None` for one of another class, such as text."""
    elements = _elements(body, order)
    try:
        flags = _numbers(*next(elements), order)
        shape = tuple(map(int, _numbers(*next(elements), order)))
        name = bytes(next(elements)[1]).decode("ascii", "replace")
        kind = int(flags[0]) & 0xFF
        if kind not in _NUMBERS:
            return name, None
        return name, _Variable(shape, kind, bool(flags[0] & _COMPLEX), [_numbers(*part, order) for part in elements])
    except (StopIteration, IndexError):
        raise ValueError(_DAMAGED) from None


def _numbers(kind: int, body: memoryview, order: str) -> np.ndarray:
    """The numbers of an element, where they stand in the file."""
    if kind not in _TYPES or len(body) % np.dtype(_TYPES[kind]).itemsize:
        raise ValueError(_DAMAGED)
    return np.frombuffer(body, order + _TYPES[kind])


def _array(variable: _Variable, name: str) -> np.ndarray:
    shape, kind, parts = variable.shape, variable.kind, variable.parts
    if variable.is_complex:
        raise ValueError(f"{name[:40]} has entries of type complex; save it as real numbers (double)")
    check_entries_claimed(shape, name)
    if kind == _SPARSE:
        if len(parts) != 3 or len(shape) != 2 or len(parts[1]) != shape[1] + 1:
            raise ValueError(_DAMAGED)
        rows, pointers, values = parts
        used = int(pointers[-1])  # MATLAB may set more entries aside than it uses
        if not 0 <= used <= min(len(rows), len(values)):
            raise ValueError(_DAMAGED)
        return dense(shape, values[:used], rows[:used], rows_of_pointers(pointers, used))
    if len(parts) != 1 or parts[0].size != int(np.prod(shape)):
        raise ValueError(_DAMAGED)
    stored = parts[0].astype(np.float32) if kind == _SINGLE else parts[0]
    return real_array(stored.reshape(shape, order="F"), name)
