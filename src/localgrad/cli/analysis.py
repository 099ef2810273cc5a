"""What `localgrad analyze` reports: a teacher's modes, and how each rule learns them.

Everything is returned as a plain document that JSON can hold; the command line prints it as tables. A teacher that is
data-aligned falls apart into modes, for which fixed points, spectra and rates follow. For any other teacher the mode
equations do not hold; what can still be said exactly is how far each rule's expected update points along BPTT's.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from localgrad.cli.cosines import analyze_task, direction_table
from localgrad.cli.targets import task_without
from localgrad.models.aligned import Mode
from localgrad.models.linear import LinearRNN, spectral_radius
from localgrad.modes.fixed_points import fixed_points
from localgrad.modes.stability import critical_learning_rate, spectrum
from localgrad.rules.presets import PAPER
from localgrad.rules.rule import Rule
from localgrad.tasks.linear_task import LinearTask, as_task
from localgrad.tasks.teachers import aligned_modes, load_teacher, parse_mode_teacher

SCALES = (-2.0, -1.0, -0.5, 0.25, 0.5, 1.0, 2.0, 4.0)
"""The optimal solutions looked at: `s` in units of `√|c|`."""


def read_teacher(text: str, *, spectral_radius: float | None = None, **cleaning: Any) -> Mode | LinearRNN:
    """A teacher from the command line: a mode `a*,b*,w*`, or a file (see `load_teacher`, which takes `cleaning`)."""
    if "," in text and not Path(text).exists():
        if spectral_radius is not None:
            raise ValueError(f"--spectral-radius scales a matrix, but teacher {text!r} is a single mode; leave it out")
        if options := [f"--{name}" for name, value in cleaning.items() if value is not None]:
            raise ValueError(f"{options[0]} is for the matrix of a file, but teacher {text!r} is a mode; leave it out")
        return parse_mode_teacher(text)
    return load_teacher(text, spectral_radius=spectral_radius, **cleaning)


def read_source(
    teacher: str | None, task: str | None, *, spectral_radius: float | None, **cleaning: Any
) -> Mode | LinearRNN | LinearTask:
    """What is to be analyzed: a teacher (see `read_teacher`), or a task from a file or by name."""
    if task is None:
        return read_teacher(str(teacher), spectral_radius=spectral_radius, **cleaning)
    return task_without(task, {"spectral-radius": spectral_radius} | cleaning)


def analyze_source(rules: Sequence[Rule], found: LinearRNN | LinearTask, figure: Path | None) -> dict[str, Any]:
    """The document of a teacher network, by its modes where it has some, or of a task that is more than a teacher."""
    if isinstance(found, LinearTask) and not found.is_white_teacher:
        return analyze_task(rules, found, figure)
    if not isinstance(found, LinearTask):
        return analyze_network(rules, found, figure)
    document = analyze_network(rules, found.teacher, figure)
    if "reason" in document:  # without the remedy, which is for the matrix of a file
        document["reason"] = document["reason"].partition(";")[0]
    return document


def training_command(name: str, source: str = "teacher", **options: Any) -> str:
    """The command that trains a student on a teacher's file, read with the same options, or on a task.

    >>> training_command("brain.csv", spectral_radius=0.9, symmetrize=False, missing=None)
    'localgrad train --rule rflo --decay 0.5 --teacher brain.csv --spectral-radius 0.9 --no-symmetrize'
    """
    words = ["localgrad", "train", "--rule", PAPER[-1], "--decay", "0.5", f"--{source}", name]
    for name, value in options.items():
        option = name.replace("_", "-")
        if isinstance(value, bool):
            words.append(f"--{option}" if value else f"--no-{option}")
        elif value is not None:
            words += [f"--{option}", str(value)]
    return shlex.join(words)


def analyze_mode(rule: Rule, teacher: Mode, poles: str) -> dict[str, Any]:
    """Fixed points of one mode under one rule, and spectrum, rate and critical learning rate along the optimum."""
    s = np.array(SCALES) * np.sqrt(abs(teacher.a * teacher.b))
    values, limits = spectrum(rule, teacher, s, poles=poles), critical_learning_rate(rule, teacher, s, poles=poles)
    return {
        "rule": rule.describe(),
        "poles": poles,
        "fixed_points": [
            {"name": m.name, "points": m.formula, "loss_at_w_0": 0.0 if m.name == "optimal" else float(m.loss(0.0))}
            for m in fixed_points(rule, teacher, poles=poles)
        ],
        "optimal_solutions": [
            {
                "s": float(s[i]),
                "eigenvalues": [[float(x.real), float(x.imag)] for x in values[i]],
                "convergence_rate": float(-values[i, 1].real),
                "critical_learning_rate": float(limits[i]),
                "stable": bool(values[i, 1].real < 0),
            }
            for i in range(len(s))
        ],
    }


def analyze_network(rules: Sequence[Rule], teacher: LinearRNN, figure: Path | None) -> dict[str, Any]:
    """A teacher network: its modes and their rates, with a figure, if it is data-aligned; else its rules' cosines.

    **Raises:** `ValueError` for `ρ(W) ≥ 1` or a network without output.
    """
    output, hidden, input = teacher.sizes
    document: dict[str, Any] = {
        "sizes": {"output": output, "hidden": hidden, "input": input},
        "spectral_radius": spectral_radius(teacher.W),
        "rules": [rule.describe() for rule in rules],
    }
    if document["spectral_radius"] >= 1:
        raise ValueError(
            f"W has spectral radius {document['spectral_radius']:.6g}, but modes and their rates need one below 1; "
            "scale it with --spectral-radius, for example 0.95"
        )
    try:
        with np.errstate(all="ignore"):  # what overflows is refused below
            modes, _ = aligned_modes(teacher)
    except ValueError as reason:
        return document | {"aligned": False, "reason": str(reason)} | direction_table(rules, as_task(teacher), figure)
    return document | {"aligned": True} | _mode_table(rules, modes, figure)


def _mode_table(rules: Sequence[Rule], modes: Mode, figure: Path | None) -> dict[str, Any]:
    from localgrad.figures.plotting import save_figure, style
    from localgrad.reproduction.theory.teacher_modes import draw_mode_rates, mode_rates

    with np.errstate(over="ignore"):
        c = modes.a * modes.b
    if not np.all(np.isfinite(c)):
        raise ValueError("a mode of this teacher has a* b* too large for numbers; rescale A or B")
    if not np.any(c):
        raise ValueError("every mode of this teacher has a* b* = 0, so its output is 0; give a teacher with an output")
    audible = np.abs(c) > 1e-12 * np.abs(c).max()
    data = mode_rates(rules, Mode(*(x[audible] for x in modes)))
    if figure is not None:
        with style():
            drawn = draw_mode_rates(data)
        save_figure(drawn, figure)
    names, balanced = data.rule_name.values.tolist(), data.sel(scale=1.0)
    rows = [
        {
            "w_star": float(here.w_star),
            "c": float(here.c),
            "rates": dict(zip(names, here.rate.values.tolist(), strict=True)),
            "critical_learning_rates": dict(zip(names, here.critical.values.tolist(), strict=True)),
        }
        for here in (balanced.isel(mode=i) for i in range(data.sizes["mode"]))
    ]
    silent = int(np.sum(~audible))
    return {"modes": rows, "silent_modes": silent, "figure": None if figure is None else str(figure)}
