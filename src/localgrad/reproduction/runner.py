"""Runs an experiment and turns it into a section of the report.

    experiment → dataset → claims, figures, table → `Section`

The section holds finished pieces only (JSON values, image files, rows of text): the report draws and computes nothing,
and sections travel between processes (`pool.py`).
"""

from __future__ import annotations

import json
import time

import jax
import xarray as xr

from localgrad.figures.plotting import figure_to_png, figure_to_svg, fix_layout, style
from localgrad.reproduction.experiment import Experiment, FigureSpec
from localgrad.reproduction.section import RenderedFigure, Section


def run_experiment(experiment: Experiment, *, quick: bool = False) -> Section:
    """Compute an experiment, check its claims and draw its figures; switches JAX to float64 for the whole process.

    **Arguments:** `experiment`; `quick`: use its fast setting.

    **Returns:** its section of the report. `Section.seconds` counts everything, compilation included.
    """
    started = time.perf_counter()
    jax.config.update("jax_enable_x64", True)
    dataset = experiment.run(quick=quick)
    claims = [claim.as_json(experiment.name) for claim in experiment.claims(dataset)]
    checks = (
        [check.as_json(experiment.name, "agrees") for check in experiment.checks(dataset)] if experiment.checks else []
    )
    figures = tuple(_render(figure, dataset) for figure in experiment.figures)
    table = experiment.table(dataset) if experiment.table else None
    return Section(
        name=experiment.name,
        title=experiment.title,
        question=experiment.question,
        parameters=json.loads(dataset.attrs["parameters"]),
        claims=claims,
        checks=checks,
        numbers=experiment.measured_numbers(dataset),
        figures=figures,
        table=table,
        table_caption=experiment.table_caption,
        dataset=dataset,
        quick=quick,
        seconds=time.perf_counter() - started,
    )


def _render(spec: FigureSpec, dataset: xr.Dataset) -> RenderedFigure:
    with style():
        figure = spec.draw(dataset)
        svg = figure_to_svg(figure)
        fix_layout(figure)  # the same in both files, and found once
        return RenderedFigure(spec.name, spec.caption, svg, figure_to_png(figure))
