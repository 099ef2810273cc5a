"""The modes of a teacher, and how fast each rule learns them: shared by `localgrad analyze` and the connectome.

Rates are those at the balanced optimal solution `s = √|c|`, `a = ±b`: where BPTT arrives from small weights, since it
conserves `a² − b²`.
"""

from collections.abc import Sequence

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from localgrad.figures.plotting import label_panels, new_figure, rule_style, zero_line
from localgrad.models.aligned import Mode
from localgrad.modes.stability import convergence_rate, critical_learning_rate
from localgrad.reproduction.axes import name_of, rule_axis
from localgrad.rules.rule import Rule


def mode_rates(rules: Sequence[Rule], teacher: Mode, scales: Sequence[float] = (1.0,)) -> xr.Dataset:
    """Convergence rates and critical learning rates of every mode, under every rule, at `s = scale · √|c|`.

    **Arguments:** `rules`, with scalar feedback; `teacher`: `Mode` of arrays of shape `"modes"`, `a* b* ≠ 0`;
    `scales`: dimensionless, non-zero.

    **Returns:** a dataset with `rate` and `critical` over `rule`, `scale` and `mode`, and `w_star`, `c` over `mode`.
    """
    c = np.asarray(teacher.a) * np.asarray(teacher.b)
    s = np.asarray(scales)[:, None] * np.sqrt(np.abs(c))
    dims = ("rule", "scale", "mode")
    return xr.Dataset(
        {
            "rate": (dims, np.stack([convergence_rate(rule, teacher, s) for rule in rules])),
            "critical": (dims, np.stack([critical_learning_rate(rule, teacher, s) for rule in rules])),
            "w_star": ("mode", np.asarray(teacher.w)),
            "c": ("mode", c),
        },
        {**rule_axis(rules), "scale": list(scales), "mode": np.arange(1, len(c) + 1)},
    )


def draw_mode_rates(data: xr.Dataset) -> Figure:
    """Each mode's rate against its `w*`, and that of further rules relative to the first rule's."""
    figure, axes = new_figure(1, min(data.sizes["rule"], 2), height=3.4)
    here = data.sel(scale=1.0)
    for rule in data.rule.values:
        look = rule_style(rule) | {"linestyle": "", "markersize": 4}
        axes[0].plot(here.w_star, here.rate.sel(rule=rule), **look, label=name_of(data, rule))
        if rule != data.rule.values[0]:
            axes[1].plot(here.w_star, here.rate.sel(rule=rule) / here.rate[0], **look)
    axes[0].set_yscale("log" if bool((here.rate > 0).all()) else "symlog")
    axes[0].set(xlabel="mode's w*", ylabel="convergence rate at s = √|c|")
    for ax in axes[1:]:
        zero_line(ax, 1.0)
        ax.set(xlabel="mode's w*", ylabel=f"rate relative to {name_of(data, data.rule.values[0])}")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=len(data.rule))
    label_panels(axes)
    return figure
