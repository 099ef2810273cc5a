"""The pictures of the experiment on brain networks as teachers."""

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from localgrad.figures.plotting import label_panels, new_figure, rule_style, zero_line
from localgrad.reproduction.axes import name_of

FLOOR = 1e-8
"""Lower end of the axis of singular values; smaller ones are not drawn."""


def _until_its_end(data: xr.Dataset, rule: str, values: xr.DataArray) -> tuple[np.ndarray, np.ndarray]:
    """Times and values of snapshots on the way of a rule on the first network, its start and what follows its end off.

    Beyond the end a learning curve repeats its last network.
    """
    end = data.time.sel(rule=rule).isel(regions=0, point=-1)
    shown = ((data.snapshot_time > 0) & (data.snapshot_time <= end)).values
    return data.snapshot_time.values[shown], values.values[shown]


def draw_learning(data: xr.Dataset) -> Figure:
    """Loss over learning time, and the alignment on the symmetric teacher."""
    figure, axes = new_figure(1, 3, height=2.9)
    for ax, regions in zip(axes, data.regions.values, strict=False):
        for name in data.rule.values:
            run = data.sel(regions=regions, rule=name)
            ax.loglog(run.time[1:], run.loss[1:], label=name_of(data, name), **rule_style(name) | {"marker": ""})
        ax.set(title=f"{regions} regions", xlabel="learning time", ylabel="loss / initial loss", xlim=(1e-2, None))
    for name in data.rule.values:
        style = rule_style(name) | {"marker": ""}
        time, values = _until_its_end(data, name, data.alignment.sel(rule=name))
        axes[2].semilogx(time, values, **style)
    axes[2].set(title="68 regions", xlabel="learning time", ylabel="input–output alignment", ylim=(0, 1.02))
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=5)
    label_panels(axes)
    return figure


def draw_ranks(data: xr.Dataset) -> Figure:
    """Singular values of what was learned, and how the rules' updates agree with the gradient on BPTT's path."""
    figure, axes = new_figure(1, 3, height=2.9)
    for ax, regions in zip(axes, data.regions.values, strict=False):
        for name in data.rule.values:
            values = data.singular_values.sel(regions=regions, rule=name)
            look = rule_style(name) | {"markersize": 3}
            if int((values > FLOOR).sum()) <= data.attrs["outputs"]:  # few points, which others would cover
                look |= {"markersize": 7, "markerfacecolor": "none", "zorder": 5}
            ax.semilogy(
                np.arange(1, len(values) + 1),
                values.where(values > FLOOR),
                label=name_of(data, name),
                **look,
            )
        ax.axvline(data.attrs["outputs"] + 0.5, color="black", linewidth=0.8)
        ax.set(
            title=f"{regions} regions",
            xlabel="index",
            ylabel="σ / σ₁ of the change of W",
            ylim=(FLOOR, 2),
            xlim=(0, 26),
        )
    regions = data.regions.values[0]
    for name in data.rule.values[1:]:  # the first is BPTT, whose update is the gradient
        style = rule_style(name) | {"marker": ""}
        time, values = _until_its_end(data, data.rule.values[0], data.cosine.sel(rule=name, regions=regions))
        axes[2].semilogx(time, values, **style)
    zero_line(axes[2])
    axes[2].set(title=f"{regions} regions", xlabel="time on BPTT's path", ylabel="cosine of ΔW to the gradient")
    axes[2].set_ylim(-0.3, 1.05)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=5)
    label_panels(axes)
    return figure
