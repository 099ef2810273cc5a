"""Figures of sweeps: how a measure hangs on each axis, over two of them, and between pairs of runs.

All that is drawn was computed before; values that are words stand at whole numbers.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from localgrad.figures.plotting import BLACK, GREY, PALETTE, new_figure, style

_MOST_PANELS = 12
_MOST_CURVES = len(PALETTE)


def draw_marginals(
    marginals: dict[str, dict[str, list[dict[str, Any]]]], measure: str, units: str, facet: str | None
) -> Figure:
    """A panel an axis: probability with its interval, or median and quartiles; a curve a value of the facet."""
    with style():
        columns = min(3, len(marginals))
        rows = -(-len(marginals) // columns)
        figure, panels = new_figure(rows, columns, sharey=True)
        for panel, (axis, curves) in zip(panels, marginals.items(), strict=False):
            for number, (value, points) in enumerate(list(curves.items())[:_MOST_CURVES]):
                shift = 0.12 * (number - (len(curves) - 1) / 2)
                _draw_curve(panel, points, PALETTE[number] if facet else BLACK, value, shift)
            panel.set_xlabel(axis)
        for panel in panels[len(marginals) :]:
            panel.set_visible(False)
        for panel in panels[::columns]:
            panel.set_ylabel(f"{measure} [{units}]")
        if facet and len(next(iter(marginals.values()))) > 1:
            figure.legend(*panels[0].get_legend_handles_labels(), title=facet, loc="outside right upper")
    return figure


def _draw_curve(panel: Axes, points: list[dict[str, Any]], color: str, label: str, shift: float) -> None:
    """A curve; where values are words its points stand beside those of the other curves."""
    known = [p for p in points if p["mean"] is not None]
    places, words = _places([p["value"] for p in known])
    mean = np.array([p["mean"] for p in known])
    ends = [[p[name] if p[name] is not None else p["mean"] for p in known] for name in ("low", "high")]
    at = [place + shift for place in places] if words else places
    panel.errorbar(at, mean, yerr=np.abs(np.array(ends) - mean), color=color, label=label, marker="o", capsize=2,
                   linestyle="" if words else "-")  # fmt: skip
    if words:
        turned: Any = {"rotation": 30, "ha": "right", "rotation_mode": "anchor"} if max(map(len, words)) > 6 else {}
        panel.set_xticks(places, words, **turned)
        panel.margins(x=0.15)
    elif len(places) > 2 and min(places) > 0 and max(places) / min(places) > 50:
        panel.set_xscale("log")


def _places(values: list[Any]) -> tuple[list[float], list[str]]:
    """Where values stand, and their words if they are none."""
    if all(isinstance(x, int | float) for x in values):
        return [float(x) for x in values], []
    return [float(i) for i in range(len(values))], [str(x) for x in values]


def draw_map(mean: xr.DataArray, x: str, y: str, facet: str | None, measure: str) -> Figure:
    """The mean of a measure over two axes, a panel for each value of the facet, all in one scale of colours."""
    parts = [(str(v), mean.isel({facet: i})) for i, v in enumerate(mean[facet].values)] if facet else [("", mean)]
    parts = parts[:_MOST_PANELS]
    low, high = (0.0, 1.0) if measure == "converged" else (float(mean.min()), float(mean.max()))
    with style():
        columns = min(3, len(parts))
        figure, panels = new_figure(-(-len(parts) // columns), columns, sharex=True, sharey=True)
        for panel, (value, part) in zip(panels, parts, strict=False):
            image = panel.imshow(
                part.transpose(y, x).values, origin="lower", aspect="auto", vmin=low, vmax=high, interpolation="nearest"
            )
            panel.set(xlabel=x, title=f"{facet} = {value}" if facet else "")
            _label(panel.set_xticks, mean[x].values)
            _label(panel.set_yticks, mean[y].values)
        for panel in panels[len(parts) :]:
            panel.set_visible(False)
        for panel in panels[::columns]:
            panel.set_ylabel(y)
        figure.colorbar(image, ax=list(panels[: len(parts)]), label=f"mean of {measure}")
    return figure


def _label(set_ticks: Any, values: np.ndarray) -> None:
    """At most six values beside an axis of the map."""
    shown = np.arange(0, len(values), -(-len(values) // 6))
    words = [f"{values[i]:.3g}" if values.dtype.kind in "iuf" else str(values[i]) for i in shown]
    set_ticks(shown, words)


def draw_differences(rows: list[dict[str, Any]], measure: str, axis: str) -> Figure:
    """Paired differences with their intervals; those that are real after Holm's correction (5 %) are filled."""
    known = [row for row in rows if row["mean"] is not None][:30]
    with style():
        figure, (panel,) = new_figure(height=1.0 + 0.35 * len(known))
        for place, row in enumerate(reversed(known)):
            real = row["p_holm"] is not None and row["p_holm"] < 0.05
            low, high = (row[name] if row[name] is not None else row["mean"] for name in ("low", "high"))
            panel.plot([low, high], [place, place], color=BLACK if real else GREY)
            panel.plot(row["mean"], place, "o", color=BLACK if real else GREY, fillstyle="full" if real else "none")
        panel.set_yticks(range(len(known)), [f"{row['of']} − {row['minus']}" for row in reversed(known)])
        panel.axvline(0.0, color=GREY, linewidth=0.8, zorder=1)
        panel.set(xlabel=f"paired difference of {measure} along {axis}", ylim=(-0.6, len(known) - 0.4))
    return figure
