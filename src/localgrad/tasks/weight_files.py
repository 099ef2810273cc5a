"""Weight files that nobody vouches for: `.npz` with `A, W, B`, or a bare `W` as `.npy` or text (`text_matrix.py`).

A file is read whole, up to `MAX_BYTES`, and believed only where its bytes bear it out: no pickle is read, and a header
or a zip member that claims more than is there allocates nothing. Every defect is a `ValueError` of one sentence that
names the value and the remedy; `load_teacher` puts the file's name before it. Limits: dense real matrices, converted to
float64.
"""

import io
import math
import warnings
import zipfile
from pathlib import Path

import jax.numpy as jnp
import numpy as np

from localgrad.tasks.text_matrix import MAX_BYTES, matrix_from_text

TEXT_SUFFIXES = (".csv", ".tsv", ".txt", ".edge", ".dat")
"""Endings of the names of texts; what is in them is told by looking."""

_SAVE_AGAIN = "write the file again"


def read_weights(path: Path) -> tuple[np.ndarray | None, np.ndarray, np.ndarray | None]:
    """`A, W, B` of a file, two-dimensional, `W` square; of a bare matrix, which may hold NaN, `W` alone."""
    suffix = path.suffix.lower()
    if suffix not in (".npz", ".npy", *TEXT_SUFFIXES):
        known = ", ".join((".npy", *TEXT_SUFFIXES))
        raise ValueError(f"the suffix {suffix!r} is not known; use .npz (A, W, B), or {known} (W alone)")
    data = read_bytes(path)
    A: np.ndarray | None = None
    B: np.ndarray | None = None
    if suffix == ".npz":
        A, W, B = _arrays_from_npz(data)
    else:
        W = _matrix_from_npy(data, "W") if suffix == ".npy" else matrix_from_text(data)
    if W.shape[0] != W.shape[1]:
        raise ValueError(f"W is {W.shape[0]} × {W.shape[1]}, but recurrent weights must be square; {_SAVE_AGAIN}")
    if A is not None and B is not None:
        for name, array in (("A", A), ("W", W), ("B", B)):
            check_entries(array, name)
    return A, W, B


def read_bytes(path: Path) -> bytes:
    """All bytes of a file that is not too large; `ValueError` for anything else."""
    try:
        if not path.is_file():
            state = "is a folder or device, not a file" if path.exists() else "does not exist"
            raise ValueError(f"it {state}; give the path of a .npz, .npy, .csv or .txt file")
        if (size := path.stat().st_size) > MAX_BYTES:
            raise ValueError(f"it has {size:,} bytes, above the limit of {MAX_BYTES:,}; give a smaller network")
        with path.open("rb") as stream:
            data = stream.read(MAX_BYTES)
    except OSError as error:
        raise ValueError(f"it cannot be read ({error.strerror}); check the path and its permissions") from None
    if not data:
        raise ValueError(f"it is empty; {_SAVE_AGAIN}")
    return data


def check_entries(array: np.ndarray, name: str) -> None:
    """`ValueError` that names the first entry that is not finite in the precision JAX runs in."""
    largest = float(jnp.finfo(jnp.result_type(float)).max)  # of the precision JAX runs in
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


def read_member(archive: zipfile.ZipFile, name: str) -> bytes:
    """A member of an archive, unpacked up to the size it claims; `ValueError` where that is too much or wrong."""
    size = archive.getinfo(name).file_size
    if size > MAX_BYTES:
        raise ValueError(f"{name} claims {size:,} bytes, above the limit of {MAX_BYTES:,}; give a smaller network")
    try:
        with archive.open(name) as member:
            return member.read(size)  # the size bounds what a zip bomb can unpack
    except Exception:  # bad checksum, encryption, unknown compression, …
        raise ValueError(f"{name} is damaged or in a format not known here; {_SAVE_AGAIN}") from None


def _arrays_from_npz(data: bytes) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    archive = open_archive(data)
    found = archive.namelist()
    missing = [name for name in "AWB" if f"{name}.npy" not in found]
    if missing:
        raise ValueError(
            f"it has no array {', '.join(missing)} (found {[name.removesuffix('.npy')[:20] for name in found[:6]]}); "
            "write it with numpy.savez(file, A=A, W=W, B=B), or W alone as .npy"
        )
    A, W, B = (_matrix_from_npy(read_member(archive, f"{name}.npy"), name) for name in "AWB")
    return A, W, B


def array_from_npy(data: bytes, name: str) -> np.ndarray:
    """The array in the bytes of an `.npy` file; its header is believed only where the bytes bear it out."""
    stream = io.BytesIO(data)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a damaged header makes Python's parser warn before it fails
            version = np.lib.format.read_magic(stream)
            read_header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
            shape, fortran_order, dtype = read_header[version](stream)
    except Exception:  # SyntaxError, KeyError, MemoryError, …
        raise ValueError(f"{name} is damaged, half-written or no .npy array at all; {_SAVE_AGAIN}") from None
    if dtype.hasobject:
        raise ValueError(f"{name} holds Python objects, which are never unpickled; save it as plain numbers")
    try:
        if math.prod(shape) * dtype.itemsize == len(data) - stream.tell():
            return np.ndarray(shape, dtype, data, stream.tell(), order="F" if fortran_order else "C")
    except ValueError:  # negative sizes, or too many of them
        pass
    raise ValueError(
        f"{name} claims shape {str(shape)[:60]} of {str(dtype)[:40]}, but {len(data) - stream.tell():,} bytes follow; "
        f"the file is damaged or half-written, {_SAVE_AGAIN}"
    )


def _matrix_from_npy(data: bytes, name: str) -> np.ndarray:
    """The real matrix in the bytes of an `.npy` file, in float64."""
    array = array_from_npy(data, name)
    if array.dtype.kind not in "fiub":
        raise ValueError(f"{name} has entries of type {str(array.dtype)[:40]}; save it as real numbers (float64)")
    if array.ndim != 2 or min(array.shape) < 1:
        shape = str(array.shape)[:60]
        raise ValueError(f"{name} has shape {shape}, but must be a matrix that is not empty; {_SAVE_AGAIN}")
    with np.errstate(all="ignore"):  # what overflows here is found as not finite
        return array.astype(np.float64)
