"""The pictures of the experiment on alignment."""

import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from localgrad.figures.plotting import GREY, PALETTE, label_panels, new_figure, rule_style
from localgrad.reproduction.axes import name_of
from localgrad.reproduction.networks.emergent_alignment.modes import FULL, LOCAL


def _band(ax: Axes, values: xr.DataArray, key: str, name: str) -> None:
    """Median over everything but time, and the quartiles about it."""
    low, middle, high = values.quantile([0.25, 0.5, 0.75], [d for d in values.dims if d != "time"]).values
    look = rule_style(str(key)) | {"marker": ""}
    ax.plot(values.time[1:], middle[1:], **look, label=name)
    ax.fill_between(values.time[1:], low[1:], high[1:], color=look["color"], alpha=0.12, linewidth=0)


def draw_alignment(data: xr.Dataset) -> Figure:
    """The three alignments over learning time, and what is missing at the end over the scale of the weights."""
    figure, axes = new_figure(2, 2, height=5.6)
    for key in data.rule.values:
        _band(axes[0], data.input_output.sel(rule=key), key, name_of(data, key))
        _band(axes[1], data.recurrent.sel(rule=key), key, name_of(data, key))
    for key in data.rule_with_R.values:
        _band(axes[2], data.feedback.sel(rule_with_R=key), key, name_of(data, key))
    for ax, kind in zip(axes, ("input–output", "recurrent", "feedback"), strict=False):
        ax.set(xscale="log", xlabel="learning time", ylabel=f"{kind} alignment", ylim=(None, 1.02))
    for key in data.swept_rule.values:
        axes[3].loglog(
            data.scale, data.misalignment.sel(swept_rule=key).median("swept_student"), **rule_style(str(key))
        )
    axes[3].set_xticks(data.scale.values, [f"{x:g}" for x in data.scale.values])
    axes[3].xaxis.set_minor_formatter("")
    axes[3].set(xlabel="scale of the initial weights", ylabel="1 − input–output alignment")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=3)
    label_panels(axes)
    return figure


def _example(ax: Axes, data: xr.Dataset, rule: str) -> None:
    """Gains of the first student: symbols the network's, lines the mode equations' from the transient's end on."""
    one = data.sel(rule=rule).isel(student=0)
    after = one.time >= one.transient
    for i, color in enumerate(PALETTE[: data.sizes["mode"]]):
        ax.plot(one.time[1:], one.gain[1:, i], "os^D"[i % 4], color=color, markersize=3.2, markerfacecolor="none")
        ax.plot(one.time[after], one.mode_gain[after, i], color=color, label=f"mode {i + 1}")
    ax.axvline(float(one.transient), color=GREY, linewidth=0.8)
    ax.set(xscale="log", title=name_of(data, rule), xlabel="learning time", ylabel="gain a b / a* b*")


def draw_prediction(data: xr.Dataset) -> Figure:
    """Two students and their modes; the error over time; the error over the time at which the equations take over."""
    figure, axes = new_figure(2, 2, height=5.8)
    _example(axes[0], data, FULL)
    _example(axes[1], data, LOCAL)
    axes[0].legend(loc="lower right")
    error = abs(data.mode_gain - data.gain).median(("student", "mode"))
    largest = data.error_from.median(("student", "mode"))
    for key in data.rule.values:
        look, here = rule_style(str(key)) | {"marker": ""}, data.time > data.transient.sel(rule=key)
        axes[2].loglog(data.time[here], error.sel(rule=key)[here], **look, label=name_of(data, key))
        axes[3].loglog(data.start[1:], largest.sel(rule=key)[1:], **look)
    axes[2].set(xlabel="learning time", ylabel="error of the gain / a* b*")
    axes[3].set(xlabel="learning time at which the equations start", ylabel="largest later error / a* b*")
    figure.legend(*axes[2].get_legend_handles_labels(), loc="outside upper center", ncols=3)
    label_panels(axes)
    return figure
