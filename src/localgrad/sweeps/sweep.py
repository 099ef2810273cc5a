r"""Many runs from one definition, into one Zarr store: `localgrad.sweep`.

    definition → grid of runs → chunks → Dask → one Zarr store → xarray

Each run's random numbers are functions of its coordinates (`draws.py`), each chunk a function of its job (`plan.py`),
and the store believes only complete chunks (`store.py`). So results are the same, bit for bit, whatever the chunks,
their order, the workers and the number of restarts, on the same machine and versions. A run that diverges or cannot be
computed is data. docs/sweeps.md has the form of a file.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from localgrad.checks import check_flag, check_path, in_our_arithmetic, in_words
from localgrad.files import check_disk
from localgrad.sweeps.definition import Definition
from localgrad.sweeps.layout import ROOT, stored_sweep
from localgrad.sweeps.reading import define, read_definition
from localgrad.sweeps.runner import Report, num_cores, run_pending, versions_of
from localgrad.sweeps.shipped import shipped_sweep
from localgrad.sweeps.store import Store, open_store

if TYPE_CHECKING:
    import xarray as xr


@in_our_arithmetic
def sweep(
    definition: str | os.PathLike[str] | Mapping[str, Any],
    *,
    out: str | os.PathLike[str],
    workers: int | None = None,
    scheduler: str | None = None,
    progress: bool = False,
) -> xr.Dataset:
    r"""Compute all runs of a sweep that are not in its store yet, and open the store.

    **Arguments:**

    - `definition`: a TOML file, the name of a sweep that ships with localgrad, or a mapping with the keys of such a
        file (docs/sweeps.md), whose values may also be Python objects: rules, tasks, teachers, arrays.
    - `out`: the Zarr store. One of the same sweep is continued, also where axes have become longer.
    - `workers`: processes on this machine, by default one a core; 0 computes in this process.
    - `scheduler`: the address of a running Dask scheduler, whose workers then compute instead.
    - `progress`: show a progress bar on standard error, where that is a terminal.

    **Returns:** the store as an `xarray.Dataset`, read when it is looked at: a variable for each thing recorded, and
    `status`, over the axes of the sweep.

    **Raises:** `ValueError` for what is wrong with the definition, naming the key and in a file the line, for a store
    of another sweep, and one that another process writes; `OSError` that names what cannot be written;
    `ChildProcessError` where workers are lost for good. What was computed before stays in the store.

    Source: docs/sweeps.md.

    >>> import tempfile, localgrad as lg
    >>> runs = {"kind": "modes", "run": {"a": 0.5, "b": 0.5, "w": 0.0, "teacher_w": 0.8},
    ...         "axes": {"rule": ["bptt", {"label": "slow", "rule": lg.RFLO(1.0, 0.9)}]}}
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     found = lg.sweep(runs, out=f"{folder}/runs.zarr", workers=0)
    ...     lg.Outcome.words(found.outcome.values).tolist()
    ['converged', 'converged']
    """
    if workers is not None and (isinstance(workers, bool) or not isinstance(workers, int) or not 0 <= workers < 1000):
        raise ValueError(f"workers must be a whole number below 1000, 0 for this process; got {in_words(workers)}")
    if scheduler is not None and not isinstance(scheduler, str):
        raise ValueError(f"scheduler must be the address of a Dask scheduler, got {in_words(scheduler)}")
    check_path("out", out)
    check_flag("progress", progress)
    check_one_place(workers, scheduler)
    found = find_definition(definition)
    run_sweep(found, Path(out), workers=workers, scheduler=scheduler, progress=progress)
    return open_dataset(Path(out))


def check_one_place(workers: int | None, scheduler: str | None) -> None:
    """`ValueError` where both a number of workers of this machine and a scheduler with its own are given."""
    if workers is not None and scheduler is not None:
        raise ValueError(f"the scheduler has its own workers, so workers = {workers} has no meaning; leave one out")


def find_definition(definition: str | os.PathLike[str] | Mapping[str, Any]) -> Definition:
    """The definition in a file, in a mapping, or that ships under a name."""
    if isinstance(definition, Mapping):
        return define(definition, Path())
    check_path("a sweep's definition", definition)
    return read_definition(shipped_sweep(str(definition)) or Path(definition))


def run_sweep(
    definition: Definition, out: Path, *, workers: int | None, scheduler: str | None, progress: bool
) -> tuple[Report, int]:
    """Run what is missing; what was done, and how many chunks of the store were damaged and so computed again."""
    if not out.exists():
        num_bytes = definition.size * sum(_width(definition.kind.variables[name].dtype) for name in definition.record)
        remedy = "shorten the axes, record less, or name another place"
        check_disk(f"{definition.size:,} runs", num_bytes / 2, out.absolute().parent, remedy)
    with open_store(out, definition, versions_of(workers, scheduler)) as store:
        _tell(store)
        pending = store.pending()
        total = sum(_size(store.plan.extent(place)) for place in pending)
        try:
            with _bar(progress, total) as show:
                report = run_pending(store, workers=workers, scheduler=scheduler, progress=show)
        except KeyboardInterrupt as interruption:
            left = len(store.pending())
            interruption.args = (
                f"interrupted; {store.plan.num_chunks - left:,} of {store.plan.num_chunks:,} chunks are in "
                f"{str(out)!r}, and the same command goes on",
            )
            raise
    return report, len(store.damaged)


def open_dataset(path: Path) -> xr.Dataset:
    """The store at `path`, lazily; `ValueError` where there is none."""
    import xarray as xr

    try:
        stored_sweep((path / ROOT).read_bytes())
        return xr.open_zarr(path, chunks=None, zarr_format=3)  # files of version 2 may hold pickles
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = str(error).splitlines()[0][:120] if str(error) else type(error).__name__
        raise ValueError(f"store {str(path)!r} cannot be opened ({reason}); give a store of localgrad sweep") from None


def _tell(store: Store) -> None:
    for place, reason in sorted(store.damaged.items()):
        warnings.warn(f"chunk {place} of {str(store.path)!r}: {reason}; it is computed again", stacklevel=4)
    if store.other_versions:
        warnings.warn(f"{str(store.path)!r} was begun with other versions ({store.other_versions}); its runs may "
                      "differ in their last bits from new ones", stacklevel=4)  # fmt: skip


def _size(extent: tuple[int, ...]) -> int:
    size = 1
    for x in extent:
        size *= x
    return size


def _width(dtype: str) -> int:
    import numpy as np

    return np.dtype(dtype).itemsize


@contextmanager
def _bar(wanted: bool, total: int) -> Iterator[Callable[[int], None]]:
    """A function to call with the number of runs stored; it moves a bar with rate and time left."""
    if not wanted or not total:
        yield lambda count: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("runs", total=total, rate="")

        def show(count: int) -> None:
            bar.advance(task, count)
            speed = bar.tasks[0].speed
            bar.update(task, rate=f"{speed:,.0f} runs/s" if speed else "")

        yield show


__all__ = ["num_cores", "sweep"]
