"""The pictures of the experiment on e-prop's rank."""

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from localgrad.figures.plotting import BLACK, GREY, PALETTE, label_panels, new_figure, zero_line
from localgrad.reproduction.networks.eprop_rank.law import modulus

FLOOR = 1e-10
"""Lower end of the axis of singular values, relative to the largest; what is smaller is rounding."""


def unsaturated(data: xr.Dataset) -> xr.DataArray:
    """Where the theorem's bound is below the number of units."""
    return data.certified < data.attrs["hidden"]


def predicted(data: xr.Dataset) -> xr.DataArray:
    """`o·log(1/ε)/rate`, for each estimate."""
    return (-data.outputs * np.log(data.epsilon) / data.rate).transpose("estimate", "network", ...)


def draw_law(data: xr.Dataset) -> Figure:
    """Rank against the diameter, the theorem's bound, and the counts of the two simpler laws."""
    figure, axes = new_figure(1, 3, height=2.9)
    at = data.sel(epsilon=1e-6, method="nearest")
    t = np.linspace(0.01, 0.99, 200)
    axes[0].plot(t, np.log(1e6) / modulus(t), color=BLACK)
    for o in np.unique(data.outputs):
        own = data.outputs.values == o
        look = {"color": PALETTE[int(o) - 1], "linestyle": "", "marker": "o^s"[int(o) - 1], "markersize": 2.5}
        axes[0].plot(at.diameter[own], at["rank"][own] / o, **look, label=f"o = {o}")
        axes[2].plot(predicted(at).sel(estimate="lags")[own], at["rank"][own], **look)
        chosen = own[:, None] & unsaturated(data).values
        jitter = np.random.default_rng(0).uniform(-0.3, 0.3, (2, chosen.sum()))
        pairs = np.stack([data.certified.values[chosen], data["rank"].values[chosen]]) + jitter
        axes[1].plot(*pairs, **look | {"markersize": 1.2}, rasterized=True)
    for ax in axes[1:]:
        ax.axline((0, 0), slope=1, color=BLACK, linewidth=1)
    axes[0].set(
        xlabel="diameter t of diag W",
        xticks=(0, 0.5, 1),
        ylabel="rank at ε = 1e-6, per output",
        ylim=(0, 14),
        xlim=(0, 1),
    )
    axes[1].set(xlabel="proved bound", ylabel="rank, all ε", xlim=(0, 32), ylim=(0, 32))
    axes[2].set(xlabel="count of lags", ylabel="rank at ε = 1e-6", xlim=(0, 100), ylim=(0, 32))
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, markerscale=2)
    label_panels(axes)
    return figure


def draw_learning(data: xr.Dataset) -> Figure:
    """Rank and spectra of what is learned, and the surplus of single updates on the way over the law and the bound."""
    figure, axes = new_figure(1, 3, height=2.9)
    end, time = data.change.isel(snapshot=-1), data.time[1:]
    for i, name in enumerate(data.diagonal.values):
        look = {"color": PALETTE[i], "linestyle": ("-", "--", "-.")[i], "label": str(name)}
        ranks = (data.change.sel(diagonal=name) > 1e-6).sum("index")[:, 1:]
        axes[0].semilogx(time, ranks.median("seed"), **look)
        axes[0].fill_between(time, ranks.min("seed"), ranks.max("seed"), color=PALETTE[i], alpha=0.15, linewidth=0)
        found = end.sel(diagonal=name)
        values = np.exp(np.log(found.where(found > FLOOR)).mean("seed"))
        axes[1].semilogy(np.arange(1, len(values) + 1), values, **look, marker="os^"[i])
    for key, color, line, label in (
        ("law", GREY, "--", "law without constant"),
        ("certified", BLACK, "-", "proved bound"),
    ):
        surplus = (data.path_rank - data[f"path_{key}"]).max(("start", "seed", "epsilon"))[1:]
        axes[2].semilogx(
            data.path_time[1:], surplus, color=color, linestyle=line, marker="o", markersize=3, label=label
        )
    zero_line(axes[2])
    axes[0].set(xlabel="learning time", ylabel="rank of the change of W at 1e-6", ylim=(0, None))
    axes[1].set(xlabel="index", xticks=(1, 4, 7, 10), ylabel="σ / σ₁ of the change of W", ylim=(FLOOR, 3))
    axes[2].set(xlabel="learning time", ylabel="largest surplus of rank(ΔW)")
    handles, labels = (a + b for a, b in zip(*(axes[i].get_legend_handles_labels() for i in (0, 2)), strict=True))
    figure.legend(handles, labels, loc="outside lower center", ncols=5)
    label_panels(axes)
    return figure
