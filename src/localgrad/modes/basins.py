r"""Where learning ends, and how, as a map of where it starts.

Every start `(a, b, w)` of a grid (`basins`) or of a random sample (`sample_basins`) is followed along the learning flow
`dθ/dk = −Δθ` by the ensemble engine; the map holds its outcome, the branch of the optimal manifold it reached, its
learning time, path length and peak loss. Maps larger than memory are computed block by block and streamed into a
Zarr store, from which xarray opens them lazily.

Limits: those of `integrate_modes`; starts with `|w| ≥ 1` count as diverged at time 0, under direct poles.
"""

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from localgrad.checks import check_memory, check_path, check_seed, in_our_arithmetic, in_words
from localgrad.files import build_folder
from localgrad.models.aligned import Mode
from localgrad.models.poles import Poles, find_poles
from localgrad.modes.arguments import as_float, as_mode, as_rule, as_scalar, check_count
from localgrad.modes.domain import check_start
from localgrad.modes.ensemble.integrate import integrate_modes
from localgrad.modes.ensemble.result import Ensemble
from localgrad.outcomes import Outcome
from localgrad.rules.rule import Rule

BLOCK = 2**20
"""Trajectories computed at a time; about 100 MB."""

_TYPES = {"outcome": "int8", "branch": "int8", "time": "float32", "path_length": "float32", "peak_loss": "float32"}
_CODES = ", ".join(f"{int(outcome)} {outcome}" for outcome in Outcome)
_ABOUT = {
    "a": ("readout of the start", "1"),
    "b": ("input weight of the start", "1"),
    "w": ("recurrent weight of the start", "1"),
    "outcome": (f"how learning ended: {_CODES}", "code"),
    "branch": ("branch of the optimal manifold reached, sign of s; 0 if not converged", "sign"),
    "time": ("learning time (learning rate × steps) until converged, or the end", "learning rate × steps"),
    "path_length": ("length of the way through (a, b, w)", "1"),
    "peak_loss": ("highest loss on the way, infinite where diverged", "initial loss"),
}


@in_our_arithmetic
def basins(
    rule: Rule,
    teacher: Mode,
    *,
    a: Any,
    b: Any,
    w: Any,
    duration: float = 1000.0,
    rtol: float = 1e-5,
    store: str | Path | None = None,
    progress: Callable[[int], None] | None = None,
    poles: str | Poles = "direct",
) -> xr.Dataset:
    r"""Outcomes over the grid of starts `a × b × w`.

    **Arguments:**

    - `rule`, `teacher`: of scalars, as in `integrate_modes`.
    - `a`, `b`, `w`: axes of the grid, each a number or an array of one axis; a number makes a slice.
    - `duration`: learning time after which a trajectory counts as unfinished.
    - `rtol`: relative error allowed in a step of the integrator.
    - `store`: folder of a new Zarr store to stream the map into; the dataset returned then reads from it.
    - `progress`: called with the number of trajectories just finished.
    - `poles`: as in `integrate_modes`.

    **Returns:** a dataset over those of `a, b, w` that are arrays, with `outcome` (codes of `Outcome`), `branch`,
    `time` (learning time), `path_length`, and `peak_loss` (over the initial loss).

    **Raises:** `ValueError` as `integrate_modes`, for axes that are not numbers or of one axis, and an existing store.

    Source: docs/theory.md, section 8.

    >>> from localgrad import RFLO
    >>> found = basins(RFLO(1.0, 0.5), Mode(1.0, 1.0, 0.8), a=[-1.0, 1.0], b=[-1.0, 1.0], w=0.0)
    >>> found.branch.values.tolist()  # from a = −1, b = 1 it diverges
    [[1, 0], [1, 1]]
    """
    rule, teacher, poles = as_rule(rule), as_mode(teacher, "teacher"), find_poles(poles)
    if store is not None:
        check_path("store", store)
    if progress is not None and (isinstance(progress, type) or not callable(progress)):
        raise ValueError(f"progress must be a function of a number of trajectories, got {in_words(progress)}")
    axes = {name: np.asarray(as_float(x, f"axis {name}"), dtype=float) for name, x in (("a", a), ("b", b), ("w", w))}
    for name, axis in axes.items():
        if axis.ndim > 1 or axis.size == 0:
            raise ValueError(f"axis {name} has shape {axis.shape}; give a number or an array of one axis, not empty")
    check_start(poles, axes["w"], "axis w")
    grid = {name: axis for name, axis in axes.items() if axis.ndim == 1} or {"a": axes["a"].reshape(1)}
    shape = tuple(axis.size for axis in grid.values())

    def starts(first: int, last: int) -> Mode:
        index = dict(zip(grid, np.unravel_index(np.arange(first, last), shape), strict=True))
        return Mode(*(grid[name][index[name]] if name in grid else axes[name] for name in "abw"))

    fixed = {name: float(axis) for name, axis in axes.items() if name not in grid}
    attributes = _problem(rule, teacher, duration, rtol, poles)
    count = math.prod(shape)
    if store is None:
        check_memory(f"{count:,} starts", count * 14, "give shorter axes, or a store to stream the map into")

    def fill(target: _Memory | _Store) -> None:
        for first, last in _blocks(count, target.rows):
            run = integrate_modes(rule, starts(first, last), teacher, duration=duration, rtol=rtol, poles=poles)
            target.write(first, last, run)
            if progress is not None:
                progress(last - first)

    if store is None:
        memory = _Memory(shape, grid)
        fill(memory)
        found = memory.dataset()
    else:
        with build_folder(store) as growing:
            fill(_Store(shape, grid, growing, attributes | fixed))
        found = xr.open_zarr(store, consolidated=False, chunks=None)
    return _described(found.assign_coords(fixed), attributes)


@in_our_arithmetic
def sample_basins(
    rule: Rule,
    teacher: Mode,
    *,
    num_starts: int,
    low: Mode,
    high: Mode,
    seed: int = 0,
    duration: float = 1000.0,
    rtol: float = 1e-5,
    poles: str | Poles = "direct",
) -> xr.Dataset:
    """Outcomes from starts drawn uniformly from the box between `low` and `high`.

    **Arguments:** `rule` and `teacher`, scalars or arrays of shape `"start"`; `num_starts`, at least 1; `low`, `high`:
    `Mode`s of numbers; the others as in `basins`.

    **Returns:** a dataset over `start`, with the starts as coordinates `a`, `b`, `w` and the variables of `basins`.

    **Raises:** `ValueError` as `integrate_modes`, and for a box or a number of starts outside its domain.

    Source: docs/theory.md, section 8.

    >>> from localgrad import BPTT, Outcome
    >>> box = {"low": Mode(0.1, 0.1, 0.0), "high": Mode(1.0, 1.0, 0.5)}
    >>> Outcome.counts(sample_basins(BPTT(), Mode(1.0, 1.0, 0.8), num_starts=100, **box).outcome)
    {'converged': 100}
    """
    num_starts = check_count(num_starts, "num_starts")
    check_memory(f"{num_starts:,} starts", num_starts * 200, "give fewer")
    check_seed("seed", seed)
    rng = np.random.default_rng(seed)
    corners = zip("abw", as_mode(low, "low"), as_mode(high, "high"), strict=True)
    start = Mode(*(rng.uniform(as_scalar(x, f"low {k}"), as_scalar(y, f"high {k}"), num_starts) for k, x, y in corners))
    poles = find_poles(poles)
    run = integrate_modes(rule, start, teacher, duration=duration, rtol=rtol, poles=poles)
    variables = {name: ("start", values) for name, values in _values(run).items()}
    found = xr.Dataset(variables, {name: ("start", x) for name, x in zip("abw", start, strict=True)})
    return _described(found, _problem(rule, teacher, duration, rtol, poles) | {"seed": seed})


def _problem(rule: Rule, teacher: Mode, duration: float, rtol: float, poles: Poles) -> dict[str, Any]:
    """What a map is of, for its attributes."""
    numbers = [np.asarray(x, dtype=float).tolist() for x in teacher]
    found = {"rule": rule.describe(), "rule_key": rule.key, "teacher": numbers, "duration": duration, "rtol": rtol}
    return found | {"poles": poles.key}


def _described(found: xr.Dataset, attributes: dict[str, Any]) -> xr.Dataset:
    """With the problem as attributes, and a description and unit of every variable and coordinate."""
    for name in found.variables:
        if name in _ABOUT:
            found[name].attrs.update(zip(("long_name", "units"), _ABOUT[str(name)], strict=True))
    return found.assign_attrs(attributes)


def _values(run: Ensemble) -> dict[str, np.ndarray]:
    with np.errstate(over="ignore"):  # a peak loss beyond single precision is infinite there
        return {name: getattr(run, name).astype(dtype) for name, dtype in _TYPES.items()}


def _blocks(count: int, rows: int) -> Iterator[tuple[int, int]]:
    """Ranges of about `BLOCK` trajectories, whole rows of the grid's first axis (`rows` trajectories each)."""
    step = max(1, BLOCK // rows) * rows
    return ((first, min(first + step, count)) for first in range(0, count, step))


class _Memory:
    """Collects a map in memory."""

    def __init__(self, shape: tuple[int, ...], grid: dict[str, np.ndarray]):
        self.grid, self.shape, self.rows = grid, shape, math.prod(shape[1:])
        self.arrays = {name: np.empty(math.prod(shape), dtype) for name, dtype in _TYPES.items()}

    def write(self, first: int, last: int, run: Ensemble) -> None:
        for name, values in _values(run).items():
            self.arrays[name][first:last] = values

    def dataset(self) -> xr.Dataset:
        variables = {name: (tuple(self.grid), x.reshape(self.shape)) for name, x in self.arrays.items()}
        return xr.Dataset(variables, self.grid)


class _Store:
    """Streams a map into a Zarr store in a folder that is empty, whole rows of the first axis at a time."""

    def __init__(self, shape: tuple[int, ...], grid: dict[str, np.ndarray], folder: Path, attributes: dict):
        import zarr

        self.shape, self.rows = shape, math.prod(shape[1:])
        chunks = (max(1, min(shape[0], BLOCK // self.rows)), *shape[1:])
        group = zarr.open_group(folder, mode="w-", attributes=attributes)
        for name, axis in grid.items():
            self._array(group, name, axis.shape, "float64", dimension_names=[name])[:] = axis
        self.arrays = {
            name: self._array(group, name, shape, dtype, chunks=chunks, dimension_names=list(grid))
            for name, dtype in _TYPES.items()
        }

    def _array(self, group: Any, name: str, shape: tuple[int, ...], dtype: str, **options: Any) -> Any:
        about = dict(zip(("long_name", "units"), _ABOUT[name], strict=True))
        return group.create_array(name, shape=shape, dtype=dtype, attributes=about, **options)

    def write(self, first: int, last: int, run: Ensemble) -> None:
        rows = slice(first // self.rows, last // self.rows)
        for name, values in _values(run).items():
            self.arrays[name][rows] = values.reshape(-1, *self.shape[1:])
