"""The figures of `localgrad show`: which of them a store has, and their files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import xarray as xr

from localgrad.figures.plotting import save_figure
from localgrad.figures.sweep_panels import draw_differences, draw_map, draw_marginals
from localgrad.files import build_folder
from localgrad.sweeps.axes import SEED
from localgrad.sweeps.summary import Measure, marginal


def draw_figures(
    measure: Measure, document: dict[str, Any], folder: Path, *, x: str | None, y: str | None, facet: str | None
) -> list[Path]:
    """Draw marginals, a map over two axes where there are two, and differences where some were asked for.

    **Raises:** `ValueError` for an axis that the store does not have.
    """
    for option, name in (("--x", x), ("--y", y), ("--facet", facet)):
        if name is not None and name not in measure.axes:
            raise ValueError(f"{option} {name!r} is no axis of the store; give one of {', '.join(measure.axes)}")
    chosen = [name for name in (x, y, facet) if name is not None]
    if len(set(chosen)) < len(chosen):
        raise ValueError(f"--x, --y and --facet are {', '.join(chosen)}; give each another axis")
    figures = {"marginals": draw_marginals(_marginals(measure, facet), document["measure"], document["units"], facet)}
    over = _map_axes(measure, x, y, facet)
    if over is not None:
        mean = measure.values.mean([d for d in measure.values.dims if d not in (*over, facet)])
        figures["map"] = draw_map(_sorted(mean), *over, facet, document["measure"])
    if document["differences"]:
        figures["differences"] = draw_differences(document["differences"], document["measure"], document["compared"])
    with build_folder(folder) as growing:
        for name, figure in figures.items():
            save_figure(figure, growing / f"{name}.png")
    return [folder / f"{name}.png" for name in figures]


def _marginals(measure: Measure, facet: str | None) -> dict[str, dict[str, list[dict[str, Any]]]]:
    """By axis and value of the facet, the marginal; without a facet its only value is empty."""
    axes = [axis for axis in measure.axes if axis != facet] or measure.axes
    if facet is None or facet not in measure.axes or axes == [facet]:
        return {axis: {"": marginal(measure, axis)} for axis in axes}
    found: dict[str, dict[str, list[dict[str, Any]]]] = {axis: {} for axis in axes}
    for place, value in enumerate(measure.values[facet].values):
        part = Measure(measure.name, measure.values.isel({facet: place}, drop=True), measure.is_share)
        for axis in axes:
            found[axis][str(value)] = marginal(part, axis)
    return found


def _sorted(mean: xr.DataArray) -> xr.DataArray:
    """Numbers by size; words as they stand."""
    return mean.sortby([name for name in mean.dims if mean[name].dtype.kind in "iuf"])


def _map_axes(measure: Measure, x: str | None, y: str | None, facet: str | None) -> tuple[str, str] | None:
    """The two axes of the map: those asked for, else the longest ones; `None` where there are not two."""
    sizes = measure.values.sizes
    free = sorted((a for a in measure.axes if a not in (x, y, facet, SEED)), key=lambda a: -sizes[a])
    across = x or (free.pop(0) if free else None)
    up = y or (free.pop(0) if free else None)
    return None if across is None or up is None or across == up else (across, up)
