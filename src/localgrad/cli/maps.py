"""What `localgrad basin` does: a map of where learning ends, as a figure, a Zarr store, and a short document."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from localgrad.models.aligned import Mode
from localgrad.modes.basins import basins
from localgrad.outcomes import Outcome
from localgrad.rules.rule import Rule

LARGEST_FIGURE = 4_000_000
"""Starts a figure may have."""

LARGEST_IN_MEMORY = 100_000_000
"""Starts of a map that is not streamed into a store; they take 14 bytes each, and room to count them."""


def parse_axis(name: str, text: str, points: int) -> float | np.ndarray:
    """A number, or `LOW,HIGH` for an axis of `points` values.

    >>> parse_axis("w", "0.5", 3), parse_axis("a", "-1,1", 3)
    (0.5, array([-1.,  0.,  1.]))
    """
    try:
        ends = [float(cell) for cell in text.split(",")]
    except ValueError:
        raise ValueError(f"--{name} {text!r} is not a number or LOW,HIGH; give for example 0 or -2,2") from None
    if len(ends) not in (1, 2) or not np.all(np.isfinite(ends)):
        raise ValueError(f"--{name} {text!r} is not a finite number or LOW,HIGH; give for example 0 or -2,2")
    if name == "w" and max(map(abs, ends)) >= 1:
        raise ValueError(f"--w {text!r} must lie strictly between -1 and 1 (stable mode)")
    if len(ends) == 1:
        return ends[0]
    if not ends[0] < ends[1]:
        raise ValueError(f"--{name} {text!r} must rise from LOW to HIGH")
    return np.linspace(ends[0], ends[1], points)


def make_map(
    rule: Rule,
    teacher: Mode,
    axes: dict[str, Any],
    *,
    duration: float,
    figure: Path | None,
    store: Path | None,
    progress: Callable[[int], None],
) -> dict[str, Any]:
    """Compute the map, draw it if it is a slice of two axes, and say how often learning ended how."""
    _check_size(axes, store)
    if figure is not None:
        _check_figure([name for name, axis in axes.items() if np.ndim(axis) == 1], axes)
    started = time.perf_counter()
    data = basins(rule, teacher, **axes, duration=duration, store=store, progress=progress)
    seconds = time.perf_counter() - started
    if figure is not None:
        _draw(data, figure)
    return _document(data, seconds, figure, store)


def _check_size(axes: dict[str, Any], store: Path | None) -> None:
    size = math.prod(np.size(axis) for axis in axes.values())
    if store is None and size > LARGEST_IN_MEMORY:
        raise ValueError(
            f"a map of {size:,} starts takes {14e-9 * size:,.1f} GB of memory, above the limit of "
            f"{LARGEST_IN_MEMORY:,} starts; lower --grid, fix one of --a, --b, --w at a number, or stream the map "
            "to a disk with --store"
        )


def _check_figure(ranges: list[str], axes: dict[str, Any]) -> None:
    """What would make the figure fail, said before the map is computed."""
    if len(ranges) != 2:
        change = "fix one of --a, --b, --w at a number" if len(ranges) > 2 else "make two of --a, --b, --w ranges"
        raise ValueError(f"a figure shows two axes, not {len(ranges)}; {change}, or give --store without --figure")
    size = int(np.prod([np.size(axis) for axis in axes.values()]))
    if size > LARGEST_FIGURE:
        raise ValueError(
            f"a figure shows at most {LARGEST_FIGURE:,} starts, not {size:,}; "
            "lower --grid, or give --store without --figure"
        )


def _draw(data: xr.Dataset, figure: Path) -> None:
    from localgrad.figures.plotting import save_figure, style
    from localgrad.reproduction.theory.basin_maps import draw_basin

    x, y = data.outcome.dims
    with style():
        drawn = draw_basin(data.transpose(y, x))
    save_figure(drawn, figure)


def _document(data: xr.Dataset, seconds: float, figure: Path | None, store: Path | None) -> dict[str, Any]:
    """Counts row by row, so that a map larger than memory is never loaded whole."""
    counts, branches = np.zeros(len(Outcome), dtype=int), np.zeros(3, dtype=int)
    first = data.outcome.dims[0]
    step = max(1, 10_000_000 * data.sizes[first] // data.outcome.size)
    for start in range(0, data.sizes[first], step):
        part = data.isel({first: slice(start, start + step)})
        counts += np.bincount(part.outcome.values.ravel(), minlength=len(Outcome))
        branches += np.bincount(part.branch.values.ravel() + 1, minlength=3)
    total = int(counts.sum())
    return {
        "rule": data.attrs["rule"],
        "teacher": list(data.attrs["teacher"]),
        "starts": total,
        "shares": {outcome.name.lower(): float(counts[outcome] / total) for outcome in Outcome},
        "branches": {"s > 0": float(branches[2] / total), "s < 0": float(branches[0] / total)},
        "seconds": seconds,
        "figure": None if figure is None else str(figure),
        "store": None if store is None else str(store),
    }
