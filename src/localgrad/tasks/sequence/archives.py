r"""Sequences of one's own from an `.npz` file: arrays `inputs`, `targets`, and perhaps `mask`.

The file is not trusted: its size and the shapes that its headers claim are looked at before anything is unpacked, and
nothing is unpickled (`tasks/weight_files.py`).
"""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

import numpy as np

from localgrad.checks import check_path
from localgrad.tasks.readers.weights import check_entries_claimed, real_array
from localgrad.tasks.sequence.arrays import ArrayTask, from_arrays
from localgrad.tasks.weight_files import array_from_npy, npy_header, open_archive, read_bytes, read_member

_HEADER = 2**16  # bytes of a member in which its header must end
_NEEDED = ("inputs", "targets")


def from_npz(path: str | os.PathLike[str], *, loss: str = "mse", num_classes: int | None = None) -> ArrayTask:
    r"""A task from an `.npz` file with arrays `inputs`, `targets`, and perhaps `mask`, as `numpy.savez` writes it.

    **Arguments:** `path`: the file; its arrays, `loss` and `num_classes`: see `from_arrays`.

    **Returns:** an `ArrayTask`.

    **Raises:** `ValueError` that names the file: for what `from_arrays` refuses, for a file without these arrays, and
    for one that is damaged, too large, claims what is not in it, or holds Python objects.

    Source: docs/theory.md, section 12.

    >>> import tempfile, numpy as np
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     np.savez(folder + "/data.npz", inputs=np.zeros((5, 3, 1)), targets=np.ones((5, 3, 2)))
    ...     from_npz(folder + "/data.npz").num_outputs
    2
    """
    check_path("the file of sequences", path)
    try:
        archive = open_archive(read_bytes(Path(path)))
        names = {name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")}
        missing = [name for name in _NEEDED if name not in names]
        if missing:
            raise ValueError(f"it has no array {missing[0]}; save inputs and targets with numpy.savez")
        found = {name: _array(archive, name) for name in (*_NEEDED, "mask") if name in names}
        return from_arrays(found["inputs"], found["targets"], found.get("mask"), loss=loss, num_classes=num_classes)
    except ValueError as error:
        raise ValueError(f"file of sequences {str(path)!r}: {error}") from None


def _array(archive: zipfile.ZipFile, name: str) -> np.ndarray:
    """An array of numbers; its shape is believed before it is unpacked only if it is small enough."""
    check_entries_claimed(npy_header(read_member(archive, f"{name}.npy", at_most=_HEADER), name)[0], name)
    return real_array(array_from_npy(read_member(archive, f"{name}.npy"), name), name)
