"""What `localgrad basin` does: a map of where learning ends, as a figure, a Zarr store, and a short document."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from localgrad.checks import check_memory
from localgrad.files import check_disk
from localgrad.models.aligned import Mode
from localgrad.modes.basins import basins
from localgrad.outcomes import Outcome
from localgrad.rules.rule import Rule

LARGEST_FIGURE = 4_000_000
"""Starts a figure may have."""

_BYTES = 14
"""What a map holds of one start."""


def parse_axes(texts: Mapping[str, str], points: int, store: Path | None) -> dict[str, float | np.ndarray]:
    """Numbers and axes from words (see `parse_axis`), once it is known that a map of them has a place."""
    ranges = sum("," in text for text in texts.values())
    size = points**ranges
    remedy = "lower --grid, or fix one of --a, --b, --w at a number"
    if store is None:  # counting the outcomes takes as much again
        check_memory(f"{size:,} starts", 2 * _BYTES * size, f"{remedy}, or stream the map to the disk with --store")
    else:
        check_disk(f"{size:,} starts", 0.1 * _BYTES * size, store.parent, remedy)  # they compress about tenfold
    return {name: parse_axis(name, text, points) for name, text in texts.items()}


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
    poles: str,
) -> dict[str, Any]:
    """Compute the map, draw it if it is a slice of two axes, and say how often learning ended how."""
    if figure is not None:
        _check_figure([name for name, axis in axes.items() if np.ndim(axis) == 1], axes)
    started = time.perf_counter()
    data = basins(rule, teacher, **axes, duration=duration, store=store, progress=progress, poles=poles)
    seconds = time.perf_counter() - started
    if figure is not None:
        _draw(data, figure)
    return _document(data, seconds, figure, store)


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
        "poles": data.attrs["poles"],
        "teacher": list(data.attrs["teacher"]),
        "starts": total,
        "shares": {outcome.name.lower(): float(counts[outcome] / total) for outcome in Outcome},
        "branches": {"s > 0": float(branches[2] / total), "s < 0": float(branches[0] / total)},
        "seconds": seconds,
        "figure": None if figure is None else str(figure),
        "store": None if store is None else str(store),
    }
