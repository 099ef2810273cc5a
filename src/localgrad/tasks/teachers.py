r"""Teachers from outside: weight files, modes typed as text, and the human connectome.

A file gives either a whole teacher `(A, W, B)` or a bare recurrent matrix `W`, read out and driven unit by
unit: `A = B = I`. A symmetric `W` with identity input and output is exactly data-aligned,

    W = P diag(w) Pᵀ,   U = V = P,   a* = b* = 1,

so it falls apart into one mode an eigenvalue. Limits: dense matrices of at most `weight_files.MAX_BYTES`; a `W`
that is not symmetric has no such modes. Files are not trusted: every defect is one `ValueError` that names the
file, the value and the remedy (weight_files.py).
"""

from __future__ import annotations

import importlib.util
import math
import os
from pathlib import Path
from typing import Any

import numpy as np

from localgrad.checks import check_flag, check_kind, check_path, in_our_arithmetic, in_words, is_real
from localgrad.models.aligned import Frames, Mode
from localgrad.models.linear import LinearRNN
from localgrad.models.linear import spectral_radius as radius_of
from localgrad.tasks.cleaning import Missing, check_triangle, fill_missing, mirrored_where_missing, symmetrized
from localgrad.tasks.readers.formats import read_weights
from localgrad.tasks.readers.tvb import read_tvb, region_names
from localgrad.tasks.readers.weights import Weights, of_subject
from localgrad.tasks.text_matrix import as_number
from localgrad.tasks.weight_files import check_entries


@in_our_arithmetic
def load_teacher(
    path: str | os.PathLike[str],
    *,
    spectral_radius: float | None = None,
    symmetrize: bool | None = None,
    missing: Missing | None = None,
    subject: int | None = None,
) -> LinearRNN:
    r"""A teacher from a file: `A`, `W` and `B`, or a bare recurrent matrix `W`.

    A bare `W` gets identity input and output, `A = B = I`. Read are text (matrices and edge lists), NumPy, SciPy,
    MATLAB, HDF5, TVB, GraphML and safetensors; docs/files.md says what of each.

    **Arguments:**

    - `path`: the file; its suffix says the format.
    - `spectral_radius`: `W` is scaled to it, in (0, 1). Without it a bare `W` must have `ρ(W) < 1`; a whole
        teacher is taken as it is, since finite horizons need no stability.
    - `symmetrize`: whether a bare `W` is made symmetric: a connection that stands once counts as it is, one that stands
        twice by its mean. By default `W` is taken as it stands, and refused where it is one triangle, since that is how
        programs store symmetric networks.
    - `missing`: what becomes of missing entries (empty cells, `NA`, NaN) of a bare `W`: `"zero"` reads them as 0,
        `"drop"` leaves out their units; by default they are refused, but for an undefined diagonal, which is read as 0.
    - `subject`: which network of a stack (three axes) is meant, counted from 0.

    **Returns:** a `LinearRNN`, in float32 where the file is, since its rounding must be judged in its own precision.

    **Raises:** `ValueError` naming the file, the value and the remedy.

    Source: docs/theory.md, section 1.
    """
    if spectral_radius is not None:
        _check_target(spectral_radius)
    if symmetrize is not None:
        check_flag("symmetrize", symmetrize)
    check_path("the path of a teacher", path)
    path = Path(path)
    try:
        A, W, B = _prepared(read_weights(path), symmetrize, missing, subject)
        if spectral_radius is not None:
            W = _scaled(W, spectral_radius)
        elif A is None:
            _check_stable(W)
        identity = np.eye(W.shape[0], dtype=W.dtype)
        return LinearRNN(identity if A is None else A, W, identity if B is None else B)
    except ValueError as error:
        raise ValueError(f"teacher file {str(path)!r}: {error}") from None  # repr keeps any name on one line


def _prepared(
    weights: Weights, symmetrize: bool | None, missing: Missing | None, subject: int | None
) -> tuple[np.ndarray | None, np.ndarray, np.ndarray | None]:
    """`A, W, B` of a whole teacher as they are; or a bare `W`, chosen, without missing entries, and made symmetric."""
    options = {"--symmetrize": symmetrize, "--missing": missing, "--subject": subject}
    given = [option for option, value in options.items() if value is not None]
    W = weights.W
    if weights.A is None:
        W = of_subject(W, subject)
    elif given:
        raise ValueError(f"it holds a whole teacher, which is taken as it is; leave out {given[0]}")
    if W.shape[0] != W.shape[1]:
        raise ValueError(
            f"W is {W.shape[0]} × {W.shape[1]}, but recurrent weights must be square; write the file again"
        )
    if weights.A is None:
        W = fill_missing(mirrored_where_missing(W) if symmetrize else W, missing)
    for name, array in (("A", weights.A), ("W", W), ("B", weights.B)):
        if array is not None:
            check_entries(array, name)
    if weights.A is None and symmetrize is None:
        check_triangle(W, weights.once)
    return weights.A, symmetrized(W) if symmetrize else W, weights.B


def _check_stable(W: np.ndarray) -> None:
    rho = _radius(W)
    if rho >= 1 - len(W) * np.finfo(W.dtype).eps:
        within = "" if rho >= 1 else f", which is 1 within the rounding of its {W.dtype} numbers"
        raise ValueError(
            f"W has spectral radius {rho:.6g}{within}, but a teacher needs one below 1; "
            "scale it with --spectral-radius (spectral_radius=), for example 0.95"
        )


def parse_mode_teacher(text: str) -> Mode:
    """The teacher mode written as `a*,b*,w*`.

    **Arguments:** `text`: three numbers separated by commas, dimensionless, finite, `|w*| < 1`.

    **Returns:** a `Mode` of floats.

    **Raises:** `ValueError` naming the value and the remedy.

    >>> parse_mode_teacher("1, 1, 0.8")
    Mode(a=1.0, b=1.0, w=0.8)
    """
    cells = text.split(",")
    if len(cells) != 3:
        raise ValueError(f"teacher {text[:60]!r} has {len(cells)} value(s); give a*,b*,w*, for example 1,1,0.8")
    values = []
    for name, cell in zip(("a*", "b*", "w*"), cells, strict=True):
        value = as_number(cell)
        if value is None or not math.isfinite(value):
            raise ValueError(f"teacher {name} = {cell.strip()[:30]!r} is not a finite number; give one such as 0.8")
        values.append(value)
    if abs(values[2]) >= 1:
        raise ValueError(f"teacher w* = {values[2]:.17g} must lie strictly between -1 and 1 (stable mode)")
    return Mode(*values)


def is_symmetric(W: Any) -> bool:
    """Whether `|W − Wᵀ| ≤ 8 n ε max|W|` in every entry, with `ε` the rounding unit of `W`'s own dtype.

    The tolerance is what rounding does to a product `P diag(w) Pᵀ`; measured asymmetry is never waved through.

    **Arguments:** `W`: shape `"hidden hidden"`.

    **Raises:** `ValueError` where `W` is no square matrix.

    >>> is_symmetric([[0.5, 0.1], [0.1, 0.5]]), is_symmetric([[0.5, 0.1], [0.1001, 0.5]])
    (True, False)
    """
    W = np.asarray(W)
    W = W if np.issubdtype(W.dtype, np.floating) else W.astype(np.float64)
    if W.ndim != 2 or W.shape[0] != W.shape[1]:
        raise ValueError(f"W has shape {W.shape}, but must be a square matrix; pass one network's W")
    return bool(np.abs(W - W.mT).max() <= 8 * W.shape[-1] * np.finfo(W.dtype).eps * np.abs(W).max())


def symmetric_modes(W: Any) -> tuple[Mode, Frames]:
    r"""The modes of a symmetric `W` with identity input and output: `W = P diag(w) Pᵀ`, `U = V = P`, `a* = b* = 1`.

    Ordered by descending (signed) `w*`. Each column of `P` is signed so that its largest entry is positive.

    **Arguments:** `W`: symmetric in the sense of `is_symmetric`, shape `"hidden hidden"`, dimensionless.

    **Returns:** `Mode` of three float64 arrays of shape `"modes"`, and the `Frames`.

    **Raises:** `ValueError` for a `W` that is not symmetric.

    Source: docs/theory.md, section 4 (data alignment).

    >>> symmetric_modes([[0.5, 0.25], [0.25, 0.5]])[0].w
    array([0.75, 0.25])
    """
    if not is_symmetric(W):
        gap = np.abs(np.asarray(W) - np.asarray(W).mT)
        i, j = np.unravel_index(gap.argmax(), gap.shape)
        raise ValueError(
            f"W is not symmetric: W[{i}, {j}] and W[{j}, {i}] differ by {gap[i, j]:.3g}; "
            "make it symmetric with --symmetrize (symmetrize=True), or study the full network instead of its modes"
        )
    W = np.asarray(W, dtype=np.float64)
    w, P = np.linalg.eigh((W + W.T) / 2)
    w, P = w[::-1], P[:, ::-1]
    P = P * np.sign(P[np.abs(P).argmax(axis=0), np.arange(len(w))])
    return Mode(a=np.ones_like(w), b=np.ones_like(w), w=w), Frames(U=P, P=P, V=P)


@in_our_arithmetic
def aligned_modes(teacher: LinearRNN) -> tuple[Mode, Frames]:
    r"""The modes of any data-aligned network whose `W` is symmetric: `A = U Ā Pᵀ`, `W = P W̄ Pᵀ`, `B = P B̄ Vᵀ`.

    The eigenvectors of `W` are the axes `P`; the network is aligned if `A P` has orthogonal columns and `Pᵀ B`
    orthogonal rows. Ordered by descending `|a* b*|`, then `w*`; `a*, b* ≥ 0`, so that signs are in the frames.
    The frames give the network back, up to what its output never shows (modes with `a* b* = 0`).

    **Arguments:** `teacher`: values, not tracers. **Returns:** `Mode` of float64 arrays of shape `"modes"` (as many as
    the smallest of the three sizes), and the `Frames`.

    **Raises:** `ValueError` that says why the network is not aligned. Equal eigenvalues leave `P` undetermined; an
    alignment that needs a particular choice among them is not found.

    Source: docs/theory.md, section 4 (data alignment).

    >>> aligned_modes(LinearRNN([[2.0, 0.0], [0.0, 1.0]], [[0.5, 0.0], [0.0, 0.25]], np.eye(2)))[0].a
    array([2., 1.])
    """
    check_kind("teacher", teacher, LinearRNN, "use LinearRNN(A, W, B)")
    A, W, B = (np.asarray(x, dtype=np.float64) for x in (teacher.A, teacher.W, teacher.B))
    rounding = 64 * len(W) * np.finfo(np.asarray(teacher.W).dtype).eps
    _, frames = symmetric_modes(np.asarray(teacher.W))  # in its own precision
    P = frames.P
    readout, drive = A @ P, P.T @ B
    for name, gram in (("readout A", readout.T @ readout), ("input B", drive @ drive.T)):
        rest = np.abs(gram - np.diag(np.diag(gram))).max()
        if rest > rounding * max(np.abs(gram).max(), 1e-300):
            raise ValueError(f"the {name} mixes eigenvectors of W (overlap {rest:.3g}), so no modes can be told apart")
    a, b, w = np.linalg.norm(readout, axis=0), np.linalg.norm(drive, axis=1), np.diag(P.T @ W @ P)
    size = (a * b).max() or 1.0
    order = np.lexsort((-w, -np.round(a * b / size, 12)))
    count = min(teacher.sizes)
    frames = Frames(_completed(readout[:, order]), P[:, order], _completed(drive[order].T))
    return Mode(*(x[order][:count] for x in (a, b, w))), frames


def _completed(columns: np.ndarray) -> np.ndarray:
    """An orthogonal matrix whose first columns are the given orthogonal ones, normalised; zero ones are filled in."""
    size, count = columns.shape[0], min(columns.shape)
    norms = np.linalg.norm(columns[:, :count], axis=0)
    present = norms > 64 * max(columns.shape) * np.finfo(np.float64).eps * norms.max()
    # The zero columns last: QR would fill one in with a direction that a later column needs.
    order = np.r_[np.flatnonzero(present), np.flatnonzero(~present)]
    Q, R = np.linalg.qr(columns[:, order], mode="complete")
    signs = np.ones(size)
    signs[:count] = np.where(np.diag(R)[:count] < 0, -1, 1)
    completed = np.empty_like(Q)
    completed[:, np.r_[order, np.arange(count, size)]] = Q * signs
    return completed


@in_our_arithmetic
def connectome(regions: int = 68, *, spectral_radius: float = 0.95) -> tuple[np.ndarray, tuple[str, ...]]:
    r"""A measured brain network of the package `tvb-data`, scaled to a spectral radius.

    `W[i, j]` is the weight from region `j` to region `i`, diagonal included, as in the package. The human network
    of 68 regions is exactly symmetric; that of 66 only to 1.6e-4 of its largest weight; the others are directed.

    **Arguments:**

    - `regions`: 66, 68, 76, 96 or 192.
    - `spectral_radius`: in (0, 1), dimensionless.

    **Returns:** `W` as float64, shape `"regions regions"`, and the labels of the regions.

    **Raises:** `ValueError` without `tvb-data` (naming the extra), and for another number of regions.

    Source: The Virtual Brain, Sanz Leon et al. 2013; PyPI package `tvb-data`.
    """
    _check_target(spectral_radius)
    spec = importlib.util.find_spec("tvb_data")  # finds the folder without running the package
    if spec is None or not spec.submodule_search_locations:
        raise ValueError(
            "the connectome is in the package tvb-data, which is not installed; pip install 'localgrad[connectome]'"
        )
    folder = Path(next(iter(spec.submodule_search_locations))) / "connectivity"
    known = sorted(int(file.stem[13:]) for file in folder.glob("connectivity_*.zip") if file.stem[13:].isdigit())
    if not is_real(regions) or regions not in known:
        raise ValueError(f"tvb-data has no connectome of {in_words(regions)} regions; choose one of {known}")
    data = (folder / f"connectivity_{regions}.zip").read_bytes()
    return _scaled(read_tvb(data).W, spectral_radius), region_names(data)


def _check_target(spectral_radius: float) -> None:
    if not is_real(spectral_radius) or not 0 < spectral_radius < 1:
        raise ValueError(
            f"spectral_radius = {in_words(spectral_radius)} must lie strictly between 0 and 1, such as 0.95"
        )


def _radius(W: np.ndarray) -> float:
    size = float(np.abs(W).max())  # taken out first, so that no eigenvalue overflows on the way
    return size * radius_of(W / size) if size > 0 else 0.0


def _scaled(W: np.ndarray, target: float) -> np.ndarray:
    unit = W / (np.abs(W).max() or 1.0)
    rho = _radius(unit)
    if rho <= np.finfo(np.float64).eps:  # eigenvalues below this are rounding
        raise ValueError(f"W has spectral radius 0, so it cannot be scaled to {target:g}; leave out --spectral-radius")
    return unit * (target / rho)
