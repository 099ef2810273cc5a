"""Files that nobody vouches for: their bytes, the members of their archives, and arrays in NumPy's format.

A file is read whole, up to `MAX_BYTES`, and believed only where its bytes bear it out: no pickle is read, a header or a
zip member that claims more than is there allocates nothing, and what is no ordinary file is refused without waiting for
it. Every defect is a `ValueError` of one sentence that names the value and the remedy; who asked for the file puts its
name before it. What weights are in the bytes is the affair of `readers/`.
"""

import io
import math
import os
import stat
import warnings
import zipfile
from pathlib import Path

import jax.numpy as jnp
import numpy as np

from localgrad.tasks.text_matrix import MAX_BYTES

_SAVE_AGAIN = "write the file again"


def read_bytes(path: Path) -> bytes:
    """All bytes of an ordinary file that is not too large; `ValueError` for anything else, at once."""
    try:
        if not path.is_file():
            state = "is a folder or device, not a file" if path.exists() else "does not exist"
            raise ValueError(f"it {state}; give the path of a file, such as .npz, .npy, .csv or .mat")
        # Opened without waiting and looked at again, since what has this name may have become a pipe or a device.
        with open(
            os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)), "rb"
        ) as stream:
            status = os.fstat(stream.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise ValueError("it is a folder or device, not a file; give the path of a file")
            if status.st_size > MAX_BYTES:
                raise ValueError(
                    f"it has {status.st_size:,} bytes, above the limit of {MAX_BYTES:,}; give a smaller network"
                )
            data = stream.read(status.st_size)
    except OSError as error:
        raise ValueError(f"it cannot be read ({error.strerror}); check the path and its permissions") from None
    if not data:
        raise ValueError(f"it is empty; {_SAVE_AGAIN}")
    return data


def check_entries(array: np.ndarray, name: str) -> None:
    """`ValueError` that names the first entry that is not finite in the precision JAX runs in."""
    largest = min(np.finfo(kind).max.astype(np.float64) for kind in (jnp.result_type(float), array.dtype))
    bad = np.argwhere(~(np.abs(array) <= largest))
    if len(bad):
        i, j = bad[0]
        reason = "is too large for the 32-bit numbers JAX runs in" if np.isfinite(array[i, j]) else "is not finite"
        raise ValueError(f"{name}[{i}, {j}] = {array[i, j]:.6g} (counted from 0) {reason}; replace or rescale it")


def open_archive(data: bytes) -> zipfile.ZipFile:
    """The zip archive in these bytes; `ValueError` where there is none."""
    try:
        return zipfile.ZipFile(io.BytesIO(data))
    except Exception:  # damaged archives raise anything from BadZipFile to struct.error
        raise ValueError(f"it is damaged, half-written or no zip archive at all; {_SAVE_AGAIN}") from None


def read_member(archive: zipfile.ZipFile, name: str, at_most: int | None = None) -> bytes:
    """A member of an archive, or its first `at_most` bytes; `ValueError` where it claims too much, or wrongly."""
    size = archive.getinfo(name).file_size
    if size > MAX_BYTES and at_most is None:
        raise ValueError(f"{name} claims {size:,} bytes, above the limit of {MAX_BYTES:,}; give a smaller network")
    try:
        with archive.open(name) as member:
            return member.read(min(size, at_most or size))  # the size bounds what a zip bomb can unpack
    except Exception:  # bad checksum, encryption, unknown compression, …
        raise ValueError(f"{name} is damaged or in a format not known here; {_SAVE_AGAIN}") from None


def npy_header(data: bytes, name: str) -> tuple[tuple[int, ...], bool, np.dtype, int]:
    """What the header of an `.npy` file claims: shape, whether columns come first, type; and where the header ends."""
    stream = io.BytesIO(data)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a damaged header makes Python's parser warn before it fails
            version = np.lib.format.read_magic(stream)
            read_header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
            return *read_header[version](stream), stream.tell()
    except Exception:  # SyntaxError, KeyError, MemoryError, …
        raise ValueError(f"{name} is damaged, half-written or no .npy array at all; {_SAVE_AGAIN}") from None


def array_from_npy(data: bytes, name: str) -> np.ndarray:
    """The array in the bytes of an `.npy` file; its header is believed only where the bytes bear it out."""
    shape, fortran_order, dtype, start = npy_header(data, name)
    if dtype.hasobject:
        raise ValueError(f"{name} holds Python objects, which are never unpickled; save it as plain numbers")
    try:
        if math.prod(shape) * dtype.itemsize == len(data) - start:
            return np.ndarray(shape, dtype, data, start, order="F" if fortran_order else "C")
    except ValueError:  # negative sizes, or too many of them
        pass
    raise ValueError(
        f"{name} claims shape {str(shape)[:60]} of {str(dtype)[:40]}, but {len(data) - start:,} bytes follow; "
        f"the file is damaged or half-written, {_SAVE_AGAIN}"
    )
