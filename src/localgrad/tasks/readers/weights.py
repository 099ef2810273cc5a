r"""What a weight file holds, and how much of it is believed.

A reader gets the bytes of a file and gives `Weights`: a bare recurrent matrix `W`, a stack of such matrices (one a
subject), or a whole teacher `(A, W, B)`. Many formats hold several named arrays; `from_named` says once for all of them
which is meant. Sizes are compared with `MAX_ENTRIES` where they are only claimed, before anything is unpacked.

Limits: real numbers. They keep the precision in which they are stored (`float32` stays `float32`), since rounding must
be judged in it; whole numbers become float64.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from localgrad.checks import in_words, is_real
from localgrad.tasks.weight_files import MAX_BYTES

MAX_ENTRIES = MAX_BYTES // 8
"""Numbers in an array, as many as 256 MiB of float64 hold: a matrix of 5,792 units."""

_BARE_NAMES = ("W", "weights")
"""Names that say which of several square arrays is the recurrent matrix."""

Shape = tuple[int, ...]


class Weights(NamedTuple):
    """The arrays of a file; `A` and `B` are `None` where it holds recurrent weights alone."""

    W: np.ndarray
    """Shape `"hidden hidden"`, or a stack `"subject hidden hidden"` or `"hidden hidden subject"`; may hold NaN."""

    A: np.ndarray | None = None
    B: np.ndarray | None = None

    once: bool = False
    """Whether each connection stands once, in a format that does not say whether it counts in both directions."""


def check_entries_claimed(shape: Shape, name: str) -> None:
    """`ValueError` for an array that is too large, or has a shape that no array has."""
    if any(size < 0 for size in shape) or math.prod(shape) > MAX_ENTRIES:
        raise ValueError(
            f"{name[:40]} claims shape {str(shape)[:60]}, above the limit of {MAX_ENTRIES:,} entries; "
            "give a smaller network"
        )


def real_array(array: np.ndarray, name: str) -> np.ndarray:
    """An array of real numbers in the precision of its source; `ValueError` for anything else."""
    if array.dtype.kind not in "fiub":
        raise ValueError(f"{name[:40]} has entries of type {str(array.dtype)[:40]}; save it as real numbers (float64)")
    check_entries_claimed(array.shape, name)
    narrow = array.dtype.kind == "f" and array.dtype.itemsize <= 4
    with np.errstate(all="ignore"):  # what overflows here is found as not finite
        return array.astype(np.float32 if narrow else np.float64)


def from_named(shapes: Mapping[str, Shape], read: Callable[[str], np.ndarray]) -> Weights:
    """The weights among named arrays: `A, W, B`; or the one that is square, or is called `W` or `weights`.

    **Arguments:** `shapes`: of the arrays of numbers, by name, as the file claims them; `read`: gives one of them.
    """
    if "W" in shapes and ("A" in shapes or "B" in shapes):
        return _whole(shapes, read)
    square = [name for name, shape in shapes.items() if subject_axes(shape) or _is_square(shape)]
    chosen = next(([name] for name in _BARE_NAMES if name in square), square)
    if not chosen:
        raise ValueError(
            f"it has no array A, W, B, and no square matrix (found {_listed(shapes)}); save W alone, or A, W and B "
            "under these names"
        )
    if len(chosen) > 1:
        raise ValueError(
            f"it has {len(chosen)} square matrices, and none is called W (found {_listed(shapes)}); "
            "save the one that is meant alone, or call it W"
        )
    [name] = chosen
    check_entries_claimed(shapes[name], name)
    return Weights(W=read(name))


def _whole(shapes: Mapping[str, Shape], read: Callable[[str], np.ndarray]) -> Weights:
    missing = [name for name in "AWB" if name not in shapes]
    if missing:
        raise ValueError(
            f"it has no array {', '.join(missing)} (found {_listed(shapes)}); save A, W and B, or W without the other"
        )
    for name in "AWB":
        check_entries_claimed(shapes[name], name)
    W, A, B = read("W"), read("A"), read("B")
    for name, array in (("A", A), ("W", W), ("B", B)):
        check_matrix(array, name)
    return Weights(W, A, B)


def check_matrix(array: np.ndarray, name: str) -> None:
    """`ValueError` for an array that is no matrix, or empty."""
    if array.ndim != 2 or min(array.shape) < 1:
        shape = str(array.shape)[:60]
        raise ValueError(f"{name} has shape {shape}, but must be a matrix that is not empty; write the file again")


def _is_square(shape: Shape) -> bool:
    return len(shape) == 2 and shape[0] == shape[1] >= 2


def subject_axes(shape: Shape) -> list[int]:
    """The axes of a stack of square matrices that may count the subjects: the first, the last, or both.

    >>> subject_axes((20, 68, 68)), subject_axes((68, 68, 20)), subject_axes((68, 68))
    ([0], [2], [])
    """
    if len(shape) != 3:
        return []
    return [axis for axis, (i, j) in ((0, (1, 2)), (2, (0, 1))) if shape[i] == shape[j] >= 2]


def of_subject(W: np.ndarray, subject: int | None) -> np.ndarray:
    """One matrix of a stack, counted from 0; a single matrix as it is."""
    axes = subject_axes(W.shape)
    if not axes:
        if subject is not None and W.ndim == 2:
            raise ValueError(
                f"it holds one network, but subject {in_words(subject)} is asked for; leave out --subject (subject=)"
            )
        check_matrix(W, "W")
        return W
    if len(axes) > 1 and subject_axes(W.shape) == [0, 2]:
        raise ValueError(f"W has shape {W.shape}, so it is open which axis counts the subjects; save one network alone")
    count = W.shape[axes[0]]
    if subject is None and count == 1:
        subject = 0
    if subject is None or not is_real(subject) or subject not in range(count):
        given = "W is a stack" if subject is None else f"subject {in_words(subject)} is asked for in a stack"
        raise ValueError(f"{given} of {count} networks; choose one with --subject K (subject=K), K = 0 to {count - 1}")
    return np.take(W, int(subject), axis=axes[0])


def dense(shape: Shape, values: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """The matrix of a sparse one; entries that stand twice add up, as in SciPy."""
    if len(shape) != 2:
        raise ValueError(f"its sparse matrix has shape {str(shape)[:60]}, but must have two axes; write the file again")
    check_entries_claimed(shape, "its sparse matrix")
    values = real_array(values, "its sparse matrix")
    indices = (rows, columns)
    fits = all(x.ndim == 1 and x.dtype.kind in "iu" and len(x) == values.size for x in indices) and values.ndim == 1
    if not fits or any(len(x) and not 0 <= x.min() <= x.max() < n for x, n in zip(indices, shape, strict=True)):
        raise ValueError("the indices of its sparse matrix do not fit its shape; the file is damaged, write it again")
    matrix = np.zeros(shape, values.dtype)
    np.add.at(matrix, indices, values)
    return matrix


def rows_of_pointers(pointers: np.ndarray, num_entries: int) -> np.ndarray:
    """The row of each entry of a compressed sparse matrix, from where its rows begin (columns likewise)."""
    fits = pointers.ndim == 1 and pointers.dtype.kind in "iu" and len(pointers) >= 1
    steps: np.ndarray = np.diff(pointers.astype(np.int64)) if fits else np.zeros(0, np.int64)
    if not fits or pointers[0] != 0 or int(pointers[-1]) != num_entries or (steps < 0).any():
        raise ValueError("the rows of its sparse matrix do not fit its entries; the file is damaged, write it again")
    return np.repeat(np.arange(len(steps)), steps)


def _listed(shapes: Mapping[str, Shape]) -> str:
    shown = [
        f"{name[:20]} {'×'.join(str(size)[:12] for size in shape[:4])}" for name, shape in list(shapes.items())[:6]
    ]
    return ", ".join(repr(text)[1:-1] for text in shown) + ", …" * (len(shapes) > 6) or "nothing"
