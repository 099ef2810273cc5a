"""The pictures of the experiment on rank."""

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from localgrad.figures.plotting import BLACK, label_panels, new_figure, rule_style

FLOOR = 1e-4  # of the axis of singular values


def draw_spectra(data: xr.Dataset) -> Figure:
    """Normalised singular values by rule, every seed faint and the median bold; participation ratios."""
    figure, axes = new_figure(1, 2, width_ratios=(1, 1.1), height=3.2)
    index = np.arange(1, data.sizes["index"] + 1)
    for place, key in enumerate(data.rule.values):
        runs = data.sel(rule=key)
        look = rule_style(str(key))
        values = runs.singular_values.where(runs.singular_values > FLOOR)  # below lies rounding
        axes[0].plot(index, values.T, color=look["color"], linewidth=0.4, alpha=0.25)
        axes[0].plot(index, values.median("seed"), **look)
        spread = np.linspace(-0.2, 0.2, data.sizes["seed"])
        axes[1].plot(place + spread, runs.participation, **look | {"linestyle": ""}, markersize=3)
    axes[0].set(xlabel="index of the singular value", ylabel="σ / σ₁ of the change of W", yscale="log", ylim=(FLOOR, 2))
    names = [str(name).replace(" (", "\n(") for name in data.rule_name.values]
    axes[1].set_xticks(range(data.sizes["rule"]), names, fontsize=7)
    axes[1].set(ylabel="participation ratio")
    label_panels(axes)
    return figure


def draw_loss(data: xr.Dataset) -> Figure:
    """Final loss against the participation ratio, one marker a run."""
    figure, axes = new_figure()
    for i, key in enumerate(data.rule.values):
        runs, look = data.isel(rule=i), rule_style(str(key)) | {"linestyle": ""}
        axes[0].plot(runs.participation, runs.loss, **look, label=str(data.rule_name.values[i]), alpha=0.8)
    for threshold in data.threshold.values:
        axes[0].axhline(threshold, color=BLACK, linewidth=0.5, linestyle=":")
    axes[0].set(xlabel="participation ratio of the change of W", ylabel="final loss / silent loss", yscale="log")
    axes[0].legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return figure
