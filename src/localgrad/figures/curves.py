"""Figures of single results, as their `.plot()` draws them: what happened, in two panels.

A result is any object with the fields that are read here; nothing is computed but counts.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from localgrad.figures.plotting import BLACK, GREY, PALETTE, new_figure, rule_style, style, zero_line


def plot_trajectory(trajectory: Any) -> Figure:
    """The mode `(a, b, w)` and the loss over learning time."""
    with style():
        figure, (left, right) = new_figure(columns=2)
        for letter, values, color in zip("abw", trajectory.modes, PALETTE, strict=False):
            left.plot(trajectory.time, values, color=color, label=f"${letter}$")
        left.axhline(trajectory.teacher.w, color=GREY, linestyle=":", label="$w^*$")
        left.set(xlabel="learning time", ylabel="mode")
        left.legend(loc="center left", bbox_to_anchor=(1, 0.5))
        positive = trajectory.loss > 0  # a loss of exactly 0 has no place on a logarithmic axis
        right.semilogy(trajectory.time[positive], trajectory.loss[positive], color=BLACK)
        right.set(xlabel="learning time", ylabel="loss")
        figure.suptitle(f"{trajectory.rule.describe()}: {trajectory.outcome}")
    return figure


def plot_losses(time: np.ndarray, losses: np.ndarray, outcomes: Any, rule: Any, xlabel: str) -> Figure:
    """Losses, in units of a silent student's, over time or steps: a curve a seed."""
    with style():
        figure, (axis,) = new_figure()
        rows = np.atleast_2d(losses)
        look = {"color": rule_style(rule.key)["color"], "alpha": max(0.3, 1 / len(rows))}
        for knots, row in zip(np.broadcast_to(time, rows.shape), rows, strict=True):
            shown = (row > 0) & np.isfinite(row)
            axis.semilogy(knots[shown], row[shown], **look)
        zero_line(axis, 1.0)
        axis.set(xlabel=xlabel, ylabel="loss / loss of a silent student")
        words = str(outcomes) if np.ndim(outcomes) == 0 else f"{len(rows)} seeds"
        axis.set_title(f"{rule.describe()}: {words}")
    return figure


def plot_ensemble(ensemble: Any) -> Figure:
    """How often each outcome occurred, and learning times and path lengths of those that converged."""
    from localgrad.outcomes import Outcome

    with style():
        figure, (left, right) = new_figure(columns=2)
        counts = Outcome.counts(ensemble.outcome)
        bars = left.bar(list(counts), list(counts.values()), color=[PALETTE[k] for k in range(len(counts))])
        left.bar_label(bars, fmt="{:,.0f}")
        left.set(ylabel="trajectories")
        converged = ensemble.outcome == Outcome.CONVERGED
        for sign, color, words in ((1, PALETTE[0], "$s > 0$"), (-1, PALETTE[1], "$s < 0$")):
            here = converged & (ensemble.branch == sign)
            if here.any():
                right.plot(ensemble.time[here], ensemble.path_length[here], ".", markersize=3, color=color, label=words)
        right.set(xlabel="learning time", ylabel="path length")
        if np.any(converged):
            right.legend(loc="center left", bbox_to_anchor=(1, 0.5))
        figure.suptitle("; ".join(rule.describe() for rule in ensemble.rules[:2]))
    return figure


def plot_kernel(kernel: Any) -> Figure:
    """Eigenvalues of a kernel's symmetric part, those below 0 in another colour; and the kernel's in the plane."""
    with style():
        figure, (left, right) = new_figure(columns=2)
        values = kernel.symmetric_eigenvalues
        rising, place = len(kernel.rates), np.arange(1, len(values) + 1)
        left.plot(place[:rising], values[:rising], "o", color=PALETTE[1], label="the loss rises")
        left.plot(place[rising:], values[rising:], "o", color=PALETTE[0], label="the loss falls, or rests")
        zero_line(left)
        left.set(xlabel="direction of error", ylabel="eigenvalue of the symmetric part")
        left.legend(loc="best")
        right.plot(kernel.eigenvalues.real, kernel.eigenvalues.imag, "o", color=BLACK, markersize=4)
        zero_line(right)
        right.axvline(0, color=GREY, linewidth=0.8)
        # Rounding is not shown as turning.
        reach = max(1.1 * np.abs(kernel.eigenvalues.imag).max(), 0.05 * np.abs(kernel.eigenvalues).max(), 1e-300)
        right.set(xlabel="real part of an eigenvalue of K", ylabel="imaginary part", ylim=(-reach, reach))
        figure.suptitle(f"{kernel.rule.describe()}: curl {kernel.curl:.3g}")
    return figure
