"""The picture and the table of the experiment on fixed points."""

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from localgrad.figures.plotting import GREY, PALETTE, label_panels, new_figure
from localgrad.reproduction.axes import name_of
from localgrad.reproduction.theory.fixed_points.data import Parameters, rules_of


def draw(data: xr.Dataset) -> Figure:
    """Roots found under four rules, in the plane of the input–output weights."""
    rules = rules_of(Parameters())
    shown = [rules[0].key, rules[3].key, rules[7].key, rules[-3].key]
    figure, axes = new_figure(2, 2, height=5.6, sharex=True, sharey=True)
    s = np.linspace(0.2, 5, 200)
    for ax, rule in zip(axes, shown, strict=True):
        for sign in (-1, 1):
            ax.plot(
                sign * s, sign / s, color=GREY, linewidth=1, label="optimal: ab = c" if sign > 0 else None, zorder=1
            )
        points = data.roots.sel(rule=rule)
        image = ax.scatter(points[:, 0], points[:, 1], c=points[:, 2], s=12, vmin=-1, vmax=1, cmap="cividis", zorder=2)
        ax.set(title=name_of(data, rule), xlim=(-4, 4), ylim=(-4, 4))
    axes[0].plot(0, 0, "o", markersize=13, markerfacecolor="none", color=PALETTE[3], label="silent line, seen end-on")
    axes[1].plot(0, 0, "o", markersize=13, markerfacecolor="none", color=PALETTE[3])
    axes[3].axvline(-1, color=PALETTE[3], linestyle="--", linewidth=1, label="feedback vanishes: f = 0")
    handles = {label: h for ax in axes for h, label in zip(*ax.get_legend_handles_labels(), strict=True)}
    figure.legend(handles.values(), handles, loc="outside upper center", ncols=len(handles))
    for ax in axes[2:]:
        ax.set_xlabel("a")
    for ax in axes[::2]:
        ax.set_ylabel("b")
    figure.colorbar(image, ax=axes, label="w of the root", shrink=0.6)
    label_panels(axes)
    return figure


def table(data: xr.Dataset) -> list[list[str]]:
    """How many of the starts, over all teachers, ended on which manifold."""
    total = data.num_roots.sum("teacher")
    rows = [
        [name_of(data, rule), *(str(int(x)) for x in total.sel(rule=rule)), str(int(data.escaped.sel(rule=rule).sum()))]
        for rule in data.rule.values
    ]
    return [["rule", "optimal", "silent (b = 0, f = 0)", "blocked (f = 0)", "unknown", "no root reached"], *rows]
