"""One look for all figures: legible in print, in grey, and for colour-blind readers.

A rule has the same colour, line style and marker in every figure (`rule_style`), told apart by any one of the three.
Colours stand in `looks.py`. Figures are plain `Figure` objects: no pyplot, no global state, no display.

    figure, axes = new_figure(columns=2)
    axes[0].plot(s, rate, **rule_style(rule.key), label=rule.name)

Draw and save inside `with style():`, since Matplotlib reads most settings when an artist is made; the report does so
for every figure of an experiment. Limit: sizes are chosen for a text width of 7 inch.
"""

from __future__ import annotations

import io
import os
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from localgrad.figures.looks import BLACK as BLACK
from localgrad.figures.looks import BLUE as BLUE
from localgrad.figures.looks import GREEN as GREEN
from localgrad.figures.looks import GREY as GREY
from localgrad.figures.looks import ORANGE as ORANGE
from localgrad.figures.looks import PALETTE as PALETTE
from localgrad.figures.looks import SKY as SKY
from localgrad.figures.looks import VERMILLION as VERMILLION
from localgrad.figures.looks import rule_style as rule_style
from localgrad.files import FIGURE_SUFFIXES, write_atomically

SEQUENTIAL, DIVERGING = "cividis", "RdBu_r"
"""Colour maps for magnitudes, and for signed values about zero."""

WIDTH = 7.0
"""Width of a figure in inch."""

_SETTINGS: dict[str, Any] = {
    "axes.formatter.min_exponent": 3,  # on log axes 0.02 rather than 2 × 10⁻², which overlaps its neighbours
    "axes.labelsize": 9,
    "axes.prop_cycle": cycler(color=PALETTE),
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": 9.5,
    "figure.constrained_layout.use": True,
    "figure.dpi": 100,
    "figure.titlesize": 10.5,
    "font.size": 9,
    "grid.color": "#DDDDDD",
    "grid.linewidth": 0.5,
    "image.cmap": SEQUENTIAL,
    "legend.fontsize": 8.5,
    "legend.frameon": False,
    "lines.linewidth": 1.6,
    "lines.markersize": 4.5,
    "savefig.dpi": 200,
    "svg.fonttype": "path",
    "svg.hashsalt": "localgrad",  # names inside the file that do not change from run to run
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
}


def style() -> AbstractContextManager[None]:
    """The settings of all figures, as a context manager: Matplotlib's defaults with ours on top, undone at the end.

    >>> with style():
    ...     float(matplotlib.rcParams["font.size"])
    9.0
    """
    # The backend is a property of the process, not of the look; setting it would touch pyplot.
    settings: Any = {key: value for key, value in matplotlib.rcParamsDefault.items() if not key.startswith("backend")}
    return matplotlib.rc_context(settings | _SETTINGS)


class NotebookFigure(Figure):
    """A figure that a notebook shows as the last value of a cell, with no backend to choose."""

    def _repr_png_(self) -> bytes:
        return figure_to_png(self, dpi=100)


def new_figure(
    rows: int = 1, columns: int = 1, *, width: float = WIDTH, height: float | None = None, **subplots: Any
) -> tuple[Figure, np.ndarray]:
    """A figure in our style, and its axes as a flat array in reading order.

    **Arguments:**

    - `rows`, `columns`: the grid of panels, at least 1 each.
    - `width`, `height`: in inch; the height is 2.6 inch a row (3.2 for a single panel) unless given.
    - `subplots`: passed to `Figure.subplots`, e.g. `sharey=True`, `width_ratios=(2, 1)`.

    **Returns:** the figure (constrained layout, Agg canvas), and its axes with shape `"rows*columns"`.

    >>> figure, axes = new_figure(columns=2, sharey=True)
    >>> axes.shape
    (2,)
    """
    if height is None:
        height = 3.2 if rows * columns == 1 else 2.6 * rows
    with style():
        figure = NotebookFigure(figsize=(width, height), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots(rows, columns, squeeze=False, **subplots)
        figure.align_labels()
    return figure, axes.ravel()


def label_panels(axes: Any) -> None:
    """Put bold capitals A, B, C … at the upper left of each panel, for captions to refer to.

    Capitals, since small letters are the modes' weights a and b.
    """
    for letter, ax in zip("ABCDEFGHIJKLMNOPQRSTUVWXYZ", np.ravel(axes), strict=False):
        ax.set_title(letter, loc="left", fontweight="bold")


def zero_line(ax: Axes, value: float = 0.0) -> None:
    """Mark a horizontal level, as the border of stability `Re λ = 0`, behind the curves."""
    ax.axhline(value, color=GREY, linewidth=0.8, zorder=1)


def figure_to_svg(figure: Figure) -> bytes:
    """The figure as an SVG file, without date and random names, so that a second run gives the same bytes."""
    return _save(figure, "svg", metadata={"Date": None})


def figure_to_png(figure: Figure, *, dpi: int = 200) -> bytes:
    """The figure as a PNG file with `dpi` dots per inch."""
    return _save(figure, "png", dpi=dpi)


def save_figure(figure: Figure, path: str | os.PathLike[str]) -> None:
    """Write the figure to `path`, whole or not at all, as its name says: `.png` or `.svg`.

    **Raises:** `ValueError` for another ending; `OSError` that names the file where it cannot be written.
    """
    write = dict(zip(FIGURE_SUFFIXES, (figure_to_png, figure_to_svg), strict=True)).get(Path(path).suffix.lower())
    if write is None:
        raise ValueError(f"figure {str(path)!r} must end in {' or '.join(FIGURE_SUFFIXES)}; give such a name")
    content = write(figure)
    with write_atomically(Path(path)) as stream:
        stream.write(content)


def fix_layout(figure: Figure) -> None:
    """Leave all as it is laid out now; without a layout engine, Matplotlib need not draw a figure twice to save it."""
    with matplotlib.rc_context({"figure.constrained_layout.use": False}):
        figure.set_layout_engine(None)


def _save(figure: Figure, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    with style():
        figure.savefig(buffer, format=kind, **options)
    return buffer.getvalue()
