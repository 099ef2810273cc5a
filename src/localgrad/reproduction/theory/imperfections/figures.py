"""The figure of imperfections: rates of modes, and how long networks take."""

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from localgrad.figures.plotting import GREY, label_panels, new_figure, rule_style


def draw(data: xr.Dataset) -> Figure:
    """For each imperfection and rule, the rate of modes and the learning time of networks over those without it."""
    figure, axes = new_figure(columns=2, height=4.2)
    names = [str(name) for name in data.imperfection.values if name != "none"]
    places = np.arange(len(names))[::-1]
    slower = relative_rate(data).median("optimum"), 1 / relative_time(data).median(("teacher", "seed"))
    for axis, speed in zip(axes, slower, strict=True):
        for k, (key, label) in enumerate(zip(data.rule.values, data.rule_name.values, strict=True)):
            look = {**rule_style(str(key)), "linestyle": ""}
            values = speed.isel(rule=k).sel(imperfection=names)
            axis.plot(np.clip(values, 0, 2.4), places + 0.13 * (1.5 - k), **look, label=str(label))
        axis.axvline(1, color=GREY, linewidth=1)
        axis.set(xlim=(-0.08, 2.5), yticks=places)
    axes[0].set(xlabel="rate of a mode over that without it", yticklabels=names)
    axes[1].set(xlabel="speed of a network over that without it", yticklabels=[])
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=data.sizes["rule"])
    label_panels(axes)
    return figure


def relative_rate(data: xr.Dataset) -> xr.DataArray:
    """Rates of convergence of modes over those of the rule without an imperfection; 0 for those that do not learn."""
    return np.maximum(data.rate, 0) / data.rate.sel(imperfection="none")


def relative_time(data: xr.Dataset) -> xr.DataArray:
    """Learning times of networks over those of the rule without an imperfection; infinite where none learns."""
    return data.learned_after / data.learned_after.sel(imperfection="none")
