r"""What a measured matrix needs before it is a network: missing entries filled, one triangle mirrored.

Nothing is changed silently: what is not certain is refused with the option that decides it, and what is filled in is
said in a warning. Limits: a matrix at a time.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from localgrad.checks import check_choice, warn

Missing = Literal["refuse", "zero", "drop"]


def fill_missing(W: np.ndarray, missing: Missing | None = None) -> np.ndarray:
    """`W` without NaN.

    **Arguments:** `W`: square; `missing`: `"zero"` reads missing entries as 0, `"drop"` leaves out the units that have
    one off the diagonal; `None` refuses them, but for a diagonal of which every entry is missing or 0: a connection of
    a region with itself is often not defined, and read as 0 with a warning.

    **Raises:** `ValueError` that says how many entries are missing, where the first is, and what helps.

    >>> fill_missing(np.array([[0.1, np.nan], [0.5, 0.2]]), "zero").tolist()
    [[0.1, 0.0], [0.5, 0.2]]
    """
    if missing is not None:
        check_choice("missing", missing, ("zero", "drop", "refuse"))
    absent = np.isnan(W)
    if not absent.any():
        return W
    off_diagonal = absent & ~np.eye(len(W), dtype=bool)
    if missing == "zero":
        return np.where(absent, 0.0, W)
    if missing == "drop":
        return _without_missing_units(np.where(absent & ~off_diagonal, 0.0, W), off_diagonal)
    diagonal = np.diagonal(W)
    if not off_diagonal.any() and np.all(np.isnan(diagonal) | (diagonal == 0)):
        warn(f"the {absent.sum()} missing entries on the diagonal of W are read as 0")
        return np.where(absent, 0.0, W)
    i, j = np.argwhere(absent)[0]
    plural = "y is" if absent.sum() == 1 else "ies are"
    raise ValueError(
        f"{absent.sum()} entr{plural} missing, the first in row {i + 1}, column {j + 1} of W; read them as 0 with "
        "--missing zero (missing='zero'), or leave out the regions with --missing drop (missing='drop')"
    )


def _without_missing_units(W: np.ndarray, absent: np.ndarray) -> np.ndarray:
    """`W` without the units that miss most, one after another, until nothing is missing."""
    kept = np.arange(len(W))
    while absent[np.ix_(kept, kept)].any():
        count = absent[np.ix_(kept, kept)].sum(axis=0) + absent[np.ix_(kept, kept)].sum(axis=1)
        kept = np.delete(kept, int(np.argmax(count)))
    if len(kept) == 0:
        raise ValueError("every region misses an entry, so none is left; read them as 0 with --missing zero")
    count = len(W) - len(kept)
    warn(f"{count} of {len(W)} regions are left out, since entries of theirs are missing")
    return W[np.ix_(kept, kept)]


def triangle_of(W: np.ndarray) -> str:
    """`"upper"` or `"lower"` where all off-diagonal entries stand on one side of the diagonal, else an empty string.

    >>> triangle_of(np.array([[0.0, 2.0], [0.0, 0.0]])), triangle_of(np.zeros((2, 2)))
    ('upper', '')
    """
    above, below = np.any(np.triu(W, 1)), np.any(np.tril(W, -1))
    return "" if above == below else "upper" if above else "lower"


def mirrored_where_missing(W: np.ndarray) -> np.ndarray:
    """`W` with missing entries read from across the diagonal, where they are there, as in half a table.

    >>> mirrored_where_missing(np.array([[0.0, 2.0], [np.nan, 0.0]])).tolist()
    [[0.0, 2.0], [2.0, 0.0]]
    """
    return np.where(np.isnan(W), W.T, W)


def symmetrized(W: np.ndarray) -> np.ndarray:
    """The symmetric network of `W`: a connection that stands once counts as it is, one that stands twice by its mean.

    >>> symmetrized(np.array([[1.0, 2.0], [0.0, 3.0]])).tolist()
    [[1.0, 2.0], [2.0, 3.0]]
    >>> symmetrized(np.array([[1.0, 2.0], [4.0, 3.0]])).tolist()
    [[1.0, 3.0], [3.0, 3.0]]
    """
    twice = (W != 0) & (W.T != 0)
    return np.where(np.eye(len(W), dtype=bool), W, np.where(twice, W / 2 + W.T / 2, W + W.T))


def check_triangle(W: np.ndarray, once: bool = False) -> None:
    """`ValueError` for a `W` that may be half of a symmetric network: one triangle, or a list of connections of which
    each stands `once`.
    """
    side = triangle_of(W)
    if side or once:
        where = f"all connections of W stand in its {side} triangle" if side else "each connection is listed once"
        raise ValueError(
            f"{where}, as programs store symmetric networks; read it as symmetric with --symmetrize (symmetrize=True), "
            "or as it stands, as a directed network, with --no-symmetrize (symmetrize=False)"
        )
