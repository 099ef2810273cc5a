"""The picture of the experiment on feedback of more dimensions."""

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from localgrad.figures.plotting import GREY, PALETTE, label_panels, new_figure
from localgrad.outcomes import Outcome

FLOOR = 1e-4
"""Lower end of the axis of singular values; smaller ones are not drawn."""


def draw_gain(data: xr.Dataset) -> Figure:
    """Task loss over learning time and spectra, in the small setting; shares of diverged runs in the large one."""
    figure, axes = new_figure(1, 3, height=3.6)
    small = data.isel(setting=0)
    index = np.arange(1, data.sizes["index"] + 1)
    for name, color, marker in zip(data.arrangement.values, PALETTE, "os^DvP", strict=False):
        runs, look = small.sel(arrangement=name), {"color": color, "marker": marker}
        axes[0].plot(data.time, runs.loss.median("seed"), **look, markevery=4, label=str(name))
        values = runs.singular_values.median("seed")
        axes[1].plot(index, values.where(values > FLOOR), **look)
    axes[0].set(xlabel="learning time", ylabel="task loss / silent loss", xscale="log", yscale="log")
    axes[1].set(
        xlabel="index", ylabel="σ / σ₁ of the change of W", xlim=(0.8, 4.2), ylim=(0.8 * FLOOR, 1.5), yscale="log"
    )
    place = np.arange(data.sizes["arrangement"])
    share = (data.outcome.isel(setting=1) == Outcome.DIVERGED).mean("seed")
    axes[2].barh(place, share, 0.6, color=GREY)
    axes[2].set_yticks(place, map(str, data.arrangement.values), fontsize=7)
    axes[2].invert_yaxis()
    axes[2].set(xlabel=f"share that diverges\n({data.setting.values[1]})", xlim=(0, 1))
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    label_panels(axes)
    return figure
