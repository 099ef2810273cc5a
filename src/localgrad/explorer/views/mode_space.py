"""Mode space: where learning ends, over a plane of starts.

A map is one byte a start: `16 kind + level`, with the kind of ending (`OUTCOME_KINDS`) and, where learning converges,
a level from 0 (fast) to 15 (slow). The page paints it with the palette below, byte for byte. The starts are the
centres of the cells of the plane, so that no start has |w| = 1, and a finer map lies exactly on a coarser one.

Maps come ever finer: 64 × 64 while a slider moves, then 256 × 256 and 1024 × 1024 when it rests. Between bands of
rows the view yields `None`: there it may be given up for a newer request.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from localgrad.explorer.snippets import map_snippet
from localgrad.explorer.state import PLANES, State
from localgrad.figures.looks import OUTCOME_COLORS, OUTCOME_KINDS, outcome_kinds, slowness
from localgrad.models.aligned import Mode
from localgrad.modes.ensemble.integrate import integrate_modes

MOVING, RESTING = (64,), (64, 256, 1024)
"""Starts along each side of the map, while a slider moves and when it rests."""

RTOL = 1e-5
"""Relative error of a step, as in `lg.basins`."""

LEVELS = 16
BAND = 2**16
"""Starts computed between two looks at whether a newer request has come."""

_PALEST = 0.85  # as `slowness`


def palette() -> np.ndarray:
    """The colour of every code, shape `"256 4"`, red, green, blue, opacity; unused codes are transparent."""
    colors = np.zeros((256, 4), np.uint8)
    for kind, color in enumerate(OUTCOME_COLORS):
        full = np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)])
        for level in range(LEVELS):
            pale = _PALEST * level / (LEVELS - 1) * (kind < 2)
            colors[LEVELS * kind + level] = [*np.rint(full + (255 - full) * pale), 255]
    return colors


def cell_centres(low: float, high: float, count: int) -> np.ndarray:
    """The centres of `count` equal cells between `low` and `high`."""
    return low + (high - low) * (np.arange(count) + 0.5) / count


def starts(state: State, count: int) -> tuple[Mode, tuple[str, str]]:
    """The starts of a map with `count` along each side, as it is seen: the first row is at the top."""
    (across, xs), (up, ys) = ((name, cell_centres(*ends, count)) for name, ends in state.axes.items())
    values = {across: xs[None, :], up: ys[::-1, None], PLANES[state.plane][2]: np.float64(state.fixed)}
    return Mode(values["a"], values["b"], values["w"]), (across, up)


def encode(run: Any) -> np.ndarray:
    """The codes of an ensemble."""
    kinds = outcome_kinds(run.outcome, run.branch)
    level = np.rint(slowness(run.time) / _PALEST * (LEVELS - 1)).astype(np.uint8)
    return (LEVELS * kinds + level * (kinds < 2)).astype(np.uint8)


def basin(state: State, rest: bool) -> Iterator[tuple[dict, dict] | None]:
    """Maps of the plane, ever finer."""
    rule, teacher = state.rule, state.teacher
    for count in RESTING if rest else MOVING:
        start, _ = starts(state, count)
        codes, rows = np.empty((count, count), np.uint8), max(1, BAND // count)
        for first in range(0, count, rows):
            band = Mode(*(x[first : first + rows] if np.ndim(x) == 2 and x.shape[0] == count else x for x in start))
            settings = {"duration": state.duration, "rtol": RTOL, "poles": state.poles}
            codes[first : first + rows] = encode(integrate_modes(rule, band, teacher, **settings))
            if first + rows < count:
                yield None
        shares = np.bincount(codes.ravel() // LEVELS, minlength=len(OUTCOME_KINDS)) / codes.size
        about = {"count": count, "shares": dict(zip(OUTCOME_KINDS, shares.tolist(), strict=True))}
        yield about | {"snippet": map_snippet(state, count)}, {"codes": codes}
