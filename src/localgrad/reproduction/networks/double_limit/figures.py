"""The figures of `experiment.py`, drawn from its dataset."""

from typing import Any

import numpy as np
import xarray as xr
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

from localgrad.figures.plotting import GREY, label_panels, new_figure, rule_style
from localgrad.reproduction.axes import name_of

OVERFLOW = 1e12
"""Growth of a perturbation from which on a run counts as overflowed."""


def draw_limits(data: xr.Dataset) -> Figure:
    """Bias at finite horizons, deviation by finite steps, departure above the critical rate."""
    figure, axes = new_figure(1, 3, height=3.1)
    for i, rule in enumerate(data.rule.values):
        look = rule_style(rule)
        axes[0].semilogy(data.horizon, _positive(data.final_bias[i, 1]), **look, label=name_of(data, rule))
        axes[0].semilogy(data.horizon, data.sequence_bias[i, 1], **look | {"marker": ""})
        axes[1].loglog(data.learning_rate, data.deviation[i], **look)
        ended = data.growth[i] < OVERFLOW
        axes[2].semilogy(data["ratio"], data.growth[i].where(ended), **look)
        top = np.full(int((~ended).sum()), 0.97)  # where it overflowed: above the frame
        axes[2].plot(
            data["ratio"][~ended], top, "^", color=look["color"], markersize=7, transform=axes[2].get_xaxis_transform()
        )
    axes[0].set(xlabel="horizon T (steps)", ylabel="relative bias of the update", ylim=(1e-14, 10))
    axes[1].set(xlabel="learning rate η", ylabel="relative distance from the flow")
    axes[2].set(xlabel="η / critical η", ylabel="growth of a perturbation")
    axes[2].axvline(1, color=GREY, linewidth=0.8, zorder=1)
    _name_ticks(axes[1].xaxis, data.learning_rate.values)
    _thirds(axes[1].yaxis)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=len(data.rule))
    label_panels(axes)
    return figure


def draw_samples(data: xr.Dataset) -> Figure:
    """Spread of updates and of learning curves, and the distance of their mean from the flow."""
    figure, axes = new_figure(1, 3, height=3.1)
    relative = (data.sampled_rate / data.batch_size).transpose("batch_size", "sampled_rate").values.ravel()
    order = np.argsort(relative)
    for i, rule in enumerate(data.rule.values):
        look = rule_style(rule)
        axes[0].loglog(data.batch_size, data.update_spread[i], **look, label=name_of(data, rule))
        axes[1].loglog(relative[order], data.curve_spread[i].values.ravel()[order], **look | {"linestyle": ""})
        axes[2].loglog(data.sampled_rate, data.curve_bias[i, -1], **look)
    line = np.array([relative.min(), relative.max()])
    middle = np.exp(np.log(data.curve_spread / np.sqrt(data.sampled_rate / data.batch_size)).mean())
    axes[1].loglog(line, float(middle) * np.sqrt(line), color=GREY, linewidth=0.8, zorder=1)
    axes[0].set(xlabel="batch size N", ylabel="relative spread of one update")
    axes[1].set(xlabel="η / N", ylabel="relative spread of curves")
    axes[2].set(xlabel="learning rate η", ylabel="mean’s distance from the flow")
    axes[2].set_title(f"N = {int(data.batch_size[-1])}")
    axes[1].xaxis.set_minor_formatter("")
    _thirds(axes[0].yaxis)
    _thirds(axes[1].yaxis)
    _name_ticks(axes[0].xaxis, data.batch_size.values)
    _name_ticks(axes[2].xaxis, data.sampled_rate.values)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=len(data.rule))
    label_panels(axes)
    return figure


def _positive(values: xr.DataArray) -> xr.DataArray:
    """Without what is rounding: an error of exactly 0 has no place on a logarithmic axis."""
    return values.where(values > 0)


def _thirds(axis: Any) -> None:
    """Ticks at 1 and 3 of every decade, for an axis of one or two."""
    axis.set_major_locator(LogLocator(subs=(1, 3)))
    axis.set_minor_formatter("")


def _name_ticks(axis: Any, values: np.ndarray) -> None:
    """Ticks at the values that were run, at most three of them, since a short logarithmic axis has hardly one."""
    shown = values[:: max(1, len(values) // 2)]
    axis.set_ticks(shown, [f"{value:g}" for value in shown])
    axis.set_ticks([], minor=True)
