"""The figures of `experiment.py`, drawn from its dataset."""

from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

from localgrad.figures.plotting import GREY, label_panels, new_figure, rule_style
from localgrad.reproduction.axes import name_of


def draw_limits(data: xr.Dataset) -> Figure:
    """Bias at finite horizons, deviation by finite steps, departure above the critical rate; medians over problems."""
    figure, axes = new_figure(1, 3, height=3.1)
    middle, overflowed = data.median("problem"), 0
    for i, rule in enumerate(data.rule.values):
        look, one = rule_style(rule), middle.isel(rule=i)
        bias = one.final_bias[1]
        axes[0].semilogy(data.horizon, bias.where(bias > 0), **look, label=name_of(data, rule))
        axes[0].semilogy(data.horizon, one.sequence_bias[1], **look | {"marker": ""})
        axes[1].loglog(data.learning_rate, one.deviation.where(np.isfinite(one.deviation)), **look)
        ended = np.isfinite(one.growth)
        axes[2].semilogy(data["ratio"], one.growth.where(ended), **look)
        top = np.full(int((~ended).sum()), 0.97 - 0.06 * overflowed)  # where it overflowed: at the upper edge
        overflowed += bool(top.size)
        axes[2].plot(
            data["ratio"][~ended], top, "^", color=look["color"], markersize=7, transform=axes[2].get_xaxis_transform()
        )
    _guide(axes[1], data.learning_rate.values, middle.deviation.values, 1.0)
    axes[0].set(xlabel="horizon T (steps)", ylabel="relative bias of the update", ylim=(1e-14, 10))
    axes[1].set(xlabel="learning rate η", ylabel="relative distance from the flow")
    axes[2].set(xlabel="η / critical η", ylabel="growth of a perturbation", ylim=(None, 1e8))
    axes[2].axvline(1, color=GREY, linewidth=0.8, zorder=1)
    _name_ticks(axes[1].xaxis, data.learning_rate.values)
    _more_ticks(axes[1].yaxis)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=len(data.rule))
    label_panels(axes)
    return figure


def draw_samples(data: xr.Dataset) -> Figure:
    """Spread of updates and of learning curves, and the distance of their mean from the flow; medians over problems."""
    figure, axes = new_figure(1, 3, height=3.1)
    middle = data.median("problem")
    relative = (data.sampled_rate / data.batch_size).transpose("batch_size", "sampled_rate").values.ravel()
    curves = middle.curve_spread.transpose("rule", "batch_size", "sampled_rate").values.reshape(data.sizes["rule"], -1)
    means = middle.curve_bias.isel(batch_size=-1)
    for i, rule in enumerate(data.rule.values):
        look = rule_style(rule) | {"linestyle": ""}
        axes[0].loglog(data.batch_size, middle.update_spread[i], **look, label=name_of(data, rule))
        axes[1].loglog(relative, curves[i], **look)
        axes[2].loglog(data.sampled_rate, means[i], **look)
    _guide(axes[0], data.batch_size.values, middle.update_spread.values, -0.5)
    _guide(axes[1], relative, curves, 0.5)
    _guide(axes[2], data.sampled_rate.values, means.values, 1.0)
    axes[0].set(xlabel="batch size N", ylabel="relative spread of one update")
    axes[1].set(xlabel="η / N", ylabel="relative spread of curves")
    axes[2].set(xlabel="learning rate η", ylabel="mean’s distance from the flow")
    axes[2].set_title(f"N = {int(data.batch_size[-1])}")
    axes[1].xaxis.set_minor_formatter("")
    for ax in axes:
        _more_ticks(ax.yaxis)
    _name_ticks(axes[0].xaxis, data.batch_size.values)
    _name_ticks(axes[2].xaxis, data.sampled_rate.values)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=len(data.rule))
    label_panels(axes)
    return figure


def _guide(ax: Axes, x: np.ndarray, rows: np.ndarray, slope: float) -> None:
    """A grey line of the expected slope through the geometric mean of what is finite."""
    logs = np.log(rows / x.astype(float) ** slope)
    ends = np.array([x.min(), x.max()], dtype=float)
    ax.plot(ends, np.exp(logs[np.isfinite(logs)].mean()) * ends**slope, color=GREY, linewidth=0.8, zorder=1)


def _more_ticks(axis: Any) -> None:
    """Ticks at 1, 2 and 5 of every decade, for an axis of one or two."""
    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter("{x:g}")
    axis.set_minor_formatter("")


def _name_ticks(axis: Any, values: np.ndarray) -> None:
    """Ticks at the values that were run, at most three of them, since a short logarithmic axis has hardly one."""
    shown = values[:: max(1, len(values) // 2)]
    axis.set_ticks(shown, [f"{value:g}" for value in shown])
    axis.set_ticks([], minor=True)
