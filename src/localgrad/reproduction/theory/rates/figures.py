"""The pictures and the table of the experiment on convergence rates."""

import numpy as np
import xarray as xr
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from localgrad.figures.plotting import BLACK, DIVERGING, GREY, label_panels, new_figure, rule_style


def share_of_length(condition: xr.DataArray) -> xr.DataArray:
    """On what share of the length of `s` a condition holds; the values of `s` lie evenly in `log s`."""
    return condition.weighted(xr.DataArray(np.gradient(condition.s.values), dims="s")).mean("s")


def draw_rates(data: xr.Dataset) -> Figure:
    """Rates above, critical learning rates below, a column a teacher."""
    columns = data.sizes["w_star"]
    figure, axes = new_figure(2, columns, height=5.0, sharex=True, sharey="row")
    for place, w_star in enumerate(data.w_star.values):
        top, bottom = axes[place], axes[columns + place]
        for i, rule in enumerate(data.rule.values):
            look = rule_style(str(rule)) | {"markevery": 0.12}
            curves = data.sel(w_star=w_star).isel(rule=i)
            top.loglog(data.s, curves.rate, **look, label=str(data.rule_name.values[i]))
            bottom.loglog(data.s, curves.critical, **look)
        crossing = float(data.crossing.sel(w_star=w_star, decay=0.5, feedback=1.0))
        top.axvline(crossing, color=GREY, linewidth=0.8)
        top.set(title=f"w* = {w_star:g}")
        bottom.set(xlabel="s", xlim=(0.02, 5))
    axes[0].set(ylabel="convergence rate", ylim=(0.3, 300))
    axes[columns].set_ylabel("critical learning rate")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=3)
    label_panels(axes)
    return figure


def draw_map(data: xr.Dataset) -> Figure:
    """RFLO's rate over BPTT's, over `â` and `s`, a panel a teacher."""
    figure, axes = new_figure(1, data.sizes["w_star"], height=3.0, sharey=True)
    norm = LogNorm(0.01, 100)
    for ax, w_star in zip(axes, data.w_star.values, strict=True):
        ratio = data.map_ratio.sel(w_star=w_star).transpose("s", "map_feedback")
        image = ax.pcolormesh(data.map_feedback, data.s, ratio, norm=norm, cmap=DIVERGING, rasterized=True)
        ax.contour(data.map_feedback, data.s, ratio, levels=[1.0], colors=[BLACK], linewidths=1.2)
        ax.set(xscale="log", yscale="log", xlabel="feedback â", title=f"w* = {w_star:g}")
    axes[0].set_ylabel("s")
    figure.colorbar(image, ax=axes, extend="both", label="RFLO's rate / BPTT's")
    label_panels(axes)
    return figure


def table(data: xr.Dataset) -> list[list[str]]:
    """RFLO against BPTT over feedbacks and decays: share of the length of `s` where it is slower, crossings there."""
    share, within = share_of_length(data.slower.sel(strength=1.0)), data.num_crossings.isel(range=1)
    rows = [["feedback and decay", *(f"w* = {w:g}" for w in data.w_star.values)]]
    for i, feedback in enumerate(data.feedback.values):
        for j, decay in enumerate(data.decay.values):
            cells = zip(share[i, j].values, within[i, j].values, strict=True)
            rows.append([f"â = {feedback:g}, ŵ = {decay:g}", *(f"{x:.1%} ({n})" for x, n in cells)])
    return rows
