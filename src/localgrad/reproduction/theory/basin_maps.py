"""Drawing a slice of a basin map: shared by `localgrad basin` and the experiment on basins."""

import json

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from localgrad.figures.looks import OUTCOME_COLORS, OUTCOME_KINDS, outcome_kinds, slowness
from localgrad.figures.plotting import VERMILLION, new_figure


def kinds(data: xr.Dataset) -> xr.DataArray:
    """Index into `OUTCOME_KINDS` of every start."""
    return data.outcome.copy(data=outcome_kinds(data.outcome.values, data.branch.values))


def draw_slice(ax: Axes, data: xr.Dataset, teacher: tuple[float, float, float]) -> None:
    """A two-dimensional map: colour by how it ended, paler the longer it took to converge."""
    y, x = data.outcome.dims
    kind = kinds(data).values
    color = np.array([to_rgb(c) for c in OUTCOME_COLORS])[kind]
    image = np.where((kind < 2)[..., None], color + (1 - color) * slowness(data.time.values)[..., None], color)
    left, right, low, high = (float(data[axis][i]) for axis in (x, y) for i in (0, -1))
    ax.imshow(image, origin="lower", extent=(left, right, low, high), aspect="auto", interpolation="nearest")
    _draw_landmarks(ax, data, x, y, teacher)
    ax.set(xlabel=x, ylabel=y, xlim=_limits(x, left, right), ylim=_limits(y, low, high))


def _limits(name: str, low: float, high: float) -> tuple[float, float]:
    """An axis of `w` that comes close to the planes `|w| = 1` shows them."""
    near = 0.9
    if name != "w":
        return low, high
    return (-1.02 if low < -near else low), (1.02 if high > near else high)


def _draw_landmarks(ax: Axes, data: xr.Dataset, x: str, y: str, teacher: tuple[float, float, float]) -> None:
    """The optimal manifold, the non-optimal line and the planes `|w| = 1`, where the slice shows them."""
    c, w_star = teacher[0] * teacher[1], teacher[2]
    if "w" not in (x, y):
        s = np.linspace(float(data[x][0]), float(data[x][-1]), 400)
        for side in (s[s < 0], s[s > 0]):
            ax.plot(side, c / side, color="white", linewidth=1.6)
        ax.plot(0, 0, "o", color=VERMILLION, markeredgecolor="white", markersize=6)
        return
    other = "b" if "a" in (x, y) else "a"
    point, fixed = {"w": w_star}, float(data[other])
    if fixed != 0:
        point[x if y == "w" else y] = c / fixed
        ax.plot(point[x], point[y], "*", color="white", markeredgecolor="black", markersize=11)
    for edge in (-1, 1):
        line = ax.axhline if y == "w" else ax.axvline
        line(edge, color="black", linewidth=1.2)


def legend_handles(present: np.ndarray) -> list[Patch]:
    """Legend entries of the kinds that occur."""
    return [Patch(color=OUTCOME_COLORS[i], label=OUTCOME_KINDS[i]) for i in np.unique(present)]


def draw_basin(data: xr.Dataset) -> Figure:
    """One slice with its legend; `data` as `analysis.basins` returns it, over two axes."""
    figure, axes = new_figure(height=4.6, width=5.6)
    draw_slice(axes[0], data, tuple(data.attrs["teacher"]))
    fixed = ", ".join(f"{name} = {float(data[name]):g}" for name in "abw" if name not in data.outcome.dims)
    axes[0].set_title(f"{data.attrs['rule']}; {fixed}")
    figure.legend(handles=legend_handles(kinds(data).values), loc="outside lower center", ncols=3)
    return figure


def teacher_of(data: xr.Dataset) -> tuple[float, float, float]:
    """The teacher among an experiment's parameters."""
    a, b, w = json.loads(data.attrs["parameters"])["teacher"]
    return a, b, w
