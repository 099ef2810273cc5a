"""Runs experiments and turns them into sections of the report, one after another or side by side in processes.

    experiment → dataset → claims, figures, table → `Section`

A section holds finished pieces only (JSON values, image files, rows of text): the report draws and computes nothing,
and sections travel between processes.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed

import jax
import xarray as xr

from localgrad.experiments import load
from localgrad.experiments.base import Experiment, FigureSpec
from localgrad.plotting import figure_to_png, figure_to_svg, style
from localgrad.report import RenderedFigure, Section


def run_experiment(experiment: Experiment, *, quick: bool = False) -> Section:
    """Compute an experiment, check its claims and draw its figures; switches JAX to float64 for the whole process.

    **Arguments:** `experiment`; `quick`: use its fast setting.

    **Returns:** its section of the report. `Section.seconds` counts everything, compilation included.
    """
    started = time.perf_counter()
    jax.config.update("jax_enable_x64", True)
    dataset = experiment.run(quick=quick)
    claims = [claim.as_json(experiment.name) for claim in experiment.claims(dataset)]
    figures = tuple(_render(figure, dataset) for figure in experiment.figures)
    table = experiment.table(dataset) if experiment.table else None
    return Section(
        name=experiment.name,
        title=experiment.title,
        question=experiment.question,
        parameters=json.loads(dataset.attrs["parameters"]),
        claims=claims,
        figures=figures,
        table=table,
        table_caption=experiment.table_caption,
        dataset=dataset,
        quick=quick,
        seconds=time.perf_counter() - started,
    )


def run_experiments(names: Sequence[str], *, quick: bool = False, jobs: int = 1) -> Iterator[Section]:
    """The sections of experiments as they are finished, with more than one job in no particular order.

    A failure or an interrupt ends all of them.
    """
    jobs = min(jobs, len(names))
    if jobs <= 1:
        yield from (run_experiment(load(name), quick=quick) for name in names)
        return
    # Spawned, not forked: JAX has threads. Backwards, since the long experiments are the last.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(jobs, mp_context=context, initializer=_become_worker)
    try:
        tasks = [pool.submit(_run_by_name, name, quick) for name in reversed(names)]
        yield from (task.result() for task in as_completed(tasks))
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        for process in multiprocessing.active_children():
            process.terminate()
        raise
    pool.shutdown()


def _run_by_name(name: str, quick: bool) -> Section:
    return run_experiment(load(name), quick=quick)


def _become_worker() -> None:
    """Leave standard output to the parent, and go quietly when it is interrupted."""
    sys.stdout = sys.stderr
    signal.signal(signal.SIGINT, lambda *_: os._exit(130))


def _render(spec: FigureSpec, dataset: xr.Dataset) -> RenderedFigure:
    with style():
        figure = spec.draw(dataset)
        svg = figure_to_svg(figure)
        figure.set_layout_engine("none")  # laid out now, and the same in both files
        return RenderedFigure(spec.name, spec.caption, svg, figure_to_png(figure))
