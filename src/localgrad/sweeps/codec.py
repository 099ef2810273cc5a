"""A chunk of an array as the bytes of its file in a Zarr store, and back.

Workers make these bytes, so that the one process that writes does nothing but write. Each carries a CRC-32C, which any
reader of Zarr checks. Made and read with Zarr's own code, in memory; nothing is unpickled.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import zarr
from zarr.codecs import Crc32cCodec, ZstdCodec
from zarr.core.buffer import default_buffer_prototype
from zarr.storage import MemoryStore

from localgrad.sweeps.kinds.kind import Variable


def compressors() -> list[Any]:
    """How the bytes of a chunk are packed: fast, since most are as random as they look, and with a checksum."""
    return [ZstdCodec(level=-1), Crc32cCodec()]


WRITE_ALL: Any = {"write_empty_chunks": True}
"""Chunks that hold nothing but what stands for "not run" have files, too."""


def encode(values: np.ndarray, variable: Variable) -> bytes:
    """The bytes of a chunk that holds just these values."""
    kept, array = _array_in_memory(values.shape, variable)
    array[...] = values
    return kept[_file_of(values.ndim)].to_bytes()


def decode(data: bytes, shape: tuple[int, ...], variable: Variable) -> np.ndarray:
    """The values in the bytes of a chunk; an error of some kind where they are damaged."""
    kept, array = _array_in_memory(shape, variable)
    kept[_file_of(len(shape))] = default_buffer_prototype().buffer.from_bytes(data)
    return np.asarray(array[...])


def _file_of(num_axes: int) -> str:
    return "/".join(["v", "c", *["0"] * num_axes])


def _array_in_memory(shape: tuple[int, ...], variable: Variable) -> tuple[dict[str, Any], Any]:
    kept: dict[str, Any] = {}
    array = zarr.create_array(
        MemoryStore(kept), name="v", shape=shape, chunks=shape, dtype=variable.dtype, fill_value=variable.fill_value,
        compressors=compressors(), config=WRITE_ALL,
    )  # fmt: skip
    return kept, array


def consolidate(store: MemoryStore) -> None:
    """Put a copy of all metadata into the group's own, so that opening a store reads one file."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Zarr says that its version 3 does not specify this yet
        zarr.consolidate_metadata(store)
