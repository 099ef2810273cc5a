"""The pictures of the experiment on stability."""

import numpy as np
import xarray as xr
from matplotlib.colors import BoundaryNorm, ListedColormap
from matplotlib.figure import Figure

from localgrad.figures.plotting import ORANGE, label_panels, new_figure, rule_style, zero_line
from localgrad.reproduction.theory.stability.data import KINDS

_COLORS = ("#0072B2", "#56B4E9", "#F0E442", "#D55E00", "#5B5B5B")


def draw_curves(data: xr.Dataset) -> Figure:
    """The two non-zero eigenvalues along the manifold."""
    figure, axes = new_figure(1, 3, height=3.1, sharex=True)
    for i, rule in enumerate(data.curve_rule.values):
        look = rule_style(str(rule)) | {"marker": ""}
        if i == data.sizes["curve_rule"] - 1:
            look |= {"color": ORANGE, "linestyle": ":"}
        for side in (data.s < 0, data.s > 0):
            curve, s = data.curve[i, side.values], data.s[side]
            label = str(data.curve_label.values[i]) if float(s[0]) > 0 else None
            axes[0].plot(s, curve.sel(eigenvalue="λ₊"), **look, label=label)
            axes[1].plot(s, curve.sel(eigenvalue="λ₋"), **look)
            axes[2].plot(s, data.curve_imaginary[i, side.values], **look)
    for ax, name in zip(axes, ("Re λ₊", "Re λ₋", "|Im λ|"), strict=True):
        zero_line(ax)
        ax.set(xlabel="s", title=name)
    axes[0].set_yscale("symlog", linthresh=1)
    axes[1].set_yscale("symlog", linthresh=10)
    axes[0].set_ylim(-100, 100)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=4)
    label_panels(axes)
    return figure


def draw_map(data: xr.Dataset) -> Figure:
    """Kinds of stability of RFLO for `âs < 0`, over `s` and `ŵ`."""
    figure, axes = new_figure(1, data.sizes["gain"], height=3.3, sharey=True)
    norm, colors = BoundaryNorm(np.arange(len(KINDS) + 1) - 0.5, len(KINDS)), ListedColormap(_COLORS)
    for ax, gain in zip(axes, data.gain.values, strict=True):
        kind = data.kind.sel(gain=gain)
        image = ax.pcolormesh(data.scaled_s, data.decay, kind, cmap=colors, norm=norm, rasterized=True)
        ax.set(xscale="log", xlabel=r"$s\;/\;(c^2/|\hat{a}|)^{1/3}$", title=f"c = {gain:g}")
        ax.set_xticks([0.3, 1, 3], ["0.3", "1", "3"])
        ax.xaxis.set_minor_formatter("")
    axes[0].set_ylabel("decay ŵ")
    bar = figure.colorbar(image, ax=axes, ticks=range(len(KINDS)), location="bottom", aspect=50)
    bar.ax.set_xticklabels([kind.replace(", ", ",\n") for kind in KINDS])
    label_panels(axes)
    return figure
