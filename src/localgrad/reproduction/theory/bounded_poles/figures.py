"""The figure and the table of the experiment on bounded poles."""

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from localgrad.figures.plotting import PALETTE, label_panels, new_figure
from localgrad.reproduction.theory.bounded_poles.data import ENDS, RULES

NAMES = {rule.key: rule.name for rule in RULES}


def draw(data: xr.Dataset) -> Figure:
    """Ends by rule and poles; RFLO's failures by decay; lengths and times; the trajectory that turns."""
    figure, axes = new_figure(2, 2, height=5.6)
    names = [
        f"{kind}\n{NAMES[str(rule)]}".replace(" (", "\n").replace(")", "")
        for rule in data.rule.values[:2]
        for kind in data.poles.values
    ]
    bottom = np.zeros(len(names))
    for end, color in zip(ENDS, ("#0072B2", "#F0E442", "#8C8C8C", "#D55E00", "#000000"), strict=True):
        share = data.share.sel(end=end).values[:2].ravel()
        if share.max() > 1e-3:
            axes[0].bar(range(len(names)), share, bottom=bottom, color=color, label=end, edgecolor="white")
        bottom += share
    axes[0].set_xticks(range(len(names)), names, fontsize=7)
    axes[0].set_ylabel("share of starts")
    for i, kind in enumerate(data.poles.values):
        look = {"color": PALETTE[i], "linestyle": ("-", "--", "-.")[i], "label": str(kind)}
        lost = 1 - data.by_decay.sel(poles=kind, end="converged")
        axes[1].plot(data.decay, lost, **look, marker="os^"[i], markersize=3)
        for k, ratio in enumerate((data.path_ratio, data.time_ratio)):
            one = ratio.isel(rule=0).sel(poles=kind)
            middle = float(one.sel(quantile=0.5))
            spread = np.abs(one.sel(quantile=[0.1, 0.9]).values - middle)[:, None]
            axes[2].errorbar(k + 0.15 * (i - 1), middle, spread, color=PALETTE[i], marker="os^"[i], capsize=3)
    axes[1].set(xlabel="decay ŵ", ylabel="share of RFLO that does\nnot converge", xticks=[-0.8, -0.4, 0, 0.4, 0.8])
    axes[2].axhline(1, color="0.5", linewidth=0.8)
    axes[2].set(yscale="log", ylabel="RFLO over BPTT, same poles", xlim=(-0.5, 1.5))
    axes[2].set_xticks([0, 1], ["path length", "learning time"])
    axes[3].plot(data.time, data.loss, color=PALETTE[0], label="loss")
    axes[3].plot(data.time, data.w, color=PALETTE[3], linestyle="--", label="w")
    axes[3].set(xlabel="learning time")
    for ax, columns in ((axes[0], 2), (axes[1], 3), (axes[3], 2)):
        ax.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=columns, columnspacing=0.8, handlelength=1.2)
    label_panels(axes)
    return figure


def table(data: xr.Dataset) -> list[list[str]]:
    """Ends by rule and poles."""
    rows = [
        [NAMES[str(rule)], str(kind), *(f"{float(x):.3%}" for x in data.share.sel(rule=rule, poles=kind))]
        for rule in data.rule.values
        for kind in data.poles.values
    ]
    return [["rule", "poles", *ENDS], *rows]
