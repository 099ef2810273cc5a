"""The picture and the table of the experiment on detours at scale."""

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from localgrad.figures.plotting import PALETTE, label_panels, new_figure
from localgrad.reproduction.theory.detours_at_scale.data import ENDS


def draw(data: xr.Dataset) -> Figure:
    """Ends by scale; divergence by `w*`; path length and learning time over BPTT's."""
    figure, axes = new_figure(2, 2, height=5.6)
    example = data.sel(feedback=1.0, decay=0.5)
    bottom = np.zeros(data.sizes["scale"])
    names = [f"{s:g}" for s in data.scale.values]
    for end, color in zip(ENDS, ("#0072B2", "#E69F00", "#F0E442", "#8C8C8C", "#000000"), strict=True):
        share = example.share.sel(end=end).values
        if share.max() > 0:
            axes[0].bar(names, share, bottom=bottom, color=color, label=end, edgecolor="white")
        bottom = bottom + share
    axes[0].set(xlabel="scale of the start", ylabel="share of starts")
    for i, decay in enumerate(data.decay.values):
        look = {"color": PALETTE[i], "linestyle": ("-", "--", "-.")[i], "marker": "os^"[i]}
        one = data.sel(feedback=1.0, decay=decay)
        axes[1].plot(data.w_star, one.diverged_by_w.sel(scale=1.0), **look, label=f"ŵ = {decay:g}")
        for ax, ratio in ((axes[2], one.path_ratio), (axes[3], one.time_ratio)):
            middle = ratio.sel(quantile=0.5)
            spread = np.abs(ratio.sel(quantile=[0.1, 0.9]) - middle)
            x = data.scale * (1 + 0.06 * (i - 1))
            ax.errorbar(x, middle, spread, **look, capsize=2, label=f"ŵ = {decay:g}")
    for ax, label in ((axes[2], "path length over BPTT's"), (axes[3], "learning time over BPTT's")):
        ax.axhline(1, color="0.5", linewidth=0.8)
        ax.set(xscale="log", yscale="log", xlabel="scale of the start", ylabel=label)
        ax.set_xticks(data.scale.values, names)
        ax.xaxis.set_minor_formatter("")
    axes[1].set(xlabel="teacher's w*", ylabel="share that diverges (scale 1)")
    for ax, columns in ((axes[0], 2), (axes[1], 3)):  # narrow enough to leave the letters of panels free
        ax.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=columns, columnspacing=0.8, handlelength=1.2)
    label_panels(axes)
    return figure


def table(data: xr.Dataset) -> list[list[str]]:
    """Ends and medians for every setting at scale 1."""
    one = data.sel(scale=1.0)
    rows = []
    for feedback in data.feedback.values:
        for decay in data.decay.values:
            here = one.sel(feedback=feedback, decay=decay)
            shares = [f"{float(x):.1%}" for x in here.share]
            medians = [f"{float(x.sel(quantile=0.5)):.2f}" for x in (here.path_ratio, here.time_ratio)]
            rows.append([f"{feedback:g}", f"{decay:g}", *shares, *medians])
    return [["â", "ŵ", *ENDS, "path / BPTT's", "time / BPTT's"], *rows]
