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

import jax
import numpy as np

from localgrad.cli.base import check_finite
from localgrad.models.aligned import Mode
from localgrad.models.linear import LinearRNN, random_network, spectral_radius
from localgrad.modes.fixed_points import fixed_points
from localgrad.modes.stability import critical_learning_rate, spectrum
from localgrad.rules.presets import BPTT, PAPER
from localgrad.rules.rule import Rule
from localgrad.tasks.teachers import aligned_modes, load_teacher, parse_mode_teacher
from localgrad.updates.expected import expected_update

SCALES = (-2.0, -1.0, -0.5, 0.25, 0.5, 1.0, 2.0, 4.0)
"""The optimal solutions looked at: `s` in units of `√|c|`."""

NUM_STUDENTS = 5
"""Random students over which the cosines of a network that is not aligned are taken."""


def read_teacher(text: str, *, spectral_radius: float | None = None, **cleaning: Any) -> Mode | LinearRNN:
    """A teacher from the command line: a mode `a*,b*,w*`, or a file (see `load_teacher`, which takes `cleaning`)."""
    if "," in text and not Path(text).exists():
        if spectral_radius is not None:
            raise ValueError(f"--spectral-radius scales a matrix, but teacher {text!r} is a single mode; leave it out")
        if options := [f"--{name}" for name, value in cleaning.items() if value is not None]:
            raise ValueError(f"{options[0]} is for the matrix of a file, but teacher {text!r} is a mode; leave it out")
        return parse_mode_teacher(text)
    return load_teacher(text, spectral_radius=spectral_radius, **cleaning)


def training_command(teacher: str, **options: Any) -> str:
    """The command that trains a student on a teacher's file, read with the same options.

    >>> training_command("brain.csv", spectral_radius=0.9, symmetrize=False, missing=None)
    'localgrad train --rule rflo --decay 0.5 --teacher brain.csv --spectral-radius 0.9 --no-symmetrize'
    """
    words = ["localgrad", "train", "--rule", PAPER[-1], "--decay", "0.5", "--teacher", teacher]
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
        return document | {"aligned": False, "reason": str(reason)} | _direction_table(rules, teacher, figure)
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


def _direction_table(rules: Sequence[Rule], teacher: LinearRNN, figure: Path | None) -> dict[str, Any]:
    data = _directions(rules, teacher)
    rows = [
        {"rule": name, "mean": float(x.mean()), "min": float(x.min()), "max": float(x.max())}
        for name, x in zip(data.rule_name.values.tolist(), data.cosine.values, strict=True)
    ]
    check_finite(rows, "this teacher")
    if figure is not None:
        from localgrad.figures.directions import draw_directions
        from localgrad.figures.plotting import save_figure, style

        with style():
            drawn = draw_directions(data)
        save_figure(drawn, figure)
    described = [_with_drawn_feedback(rule, teacher, 0).describe() for rule in rules]
    written = None if figure is None else str(figure)
    return {"rules": described, "num_students": NUM_STUDENTS, "cosines": rows, "figure": written}


def _directions(rules: Sequence[Rule], teacher: LinearRNN) -> Any:
    """A dataset of the cosines of each rule's exact update with BPTT's, and of the eigenvalues of `W`."""
    import xarray as xr

    from localgrad.reproduction.axes import rule_axis

    cosines = np.array([_cosines(rules, teacher, seed) for seed in range(NUM_STUDENTS)]).T
    values = np.linalg.eigvals(np.asarray(teacher.W, np.float64))
    about = {
        "cosine": "cosine of the rule's exact expected update of W and B with BPTT's",
        "real_part": "real part of an eigenvalue of the teacher's W",
        "imaginary_part": "imaginary part of an eigenvalue of the teacher's W",
    }
    arrays = {"cosine": (("rule", "student"), cosines), "real_part": ("eigenvalue", values.real),
              "imaginary_part": ("eigenvalue", values.imag)}  # fmt: skip
    described = {name: (*array, {"long_name": about[name], "units": "1"}) for name, array in arrays.items()}
    return xr.Dataset(described, rule_axis(rules))


def _cosines(rules: Sequence[Rule], teacher: LinearRNN, seed: int) -> list[float]:
    """Cosine of each rule's exact update with BPTT's, for a random student of the teacher's sizes."""
    student = random_network(*teacher.sizes, key=_keys(seed)[0], spectral_radius=0.8)
    # Non-normal matrices have diagonals above their spectral radius, where e-prop's traces would not decay.
    student = LinearRNN(student.A, student.W / max(1.0, float(abs(student.W.diagonal()).max()) / 0.8), student.B)
    reference = _flat(expected_update(BPTT(), student, teacher))
    updates = [_flat(expected_update(_with_drawn_feedback(rule, teacher, seed), student, teacher)) for rule in rules]
    with np.errstate(all="ignore"):  # what is not finite is refused before it is shown
        return [float(x @ reference / (np.linalg.norm(x) * np.linalg.norm(reference))) for x in updates]


def _with_drawn_feedback(rule: Rule, teacher: LinearRNN, seed: int) -> Rule:
    """A rule with a random feedback of the readout's size for its scalar `â`, which has no meaning without modes."""
    if rule.feedback.fixed is None:
        return rule
    output, hidden, _ = teacher.sizes
    return rule.with_feedback(jax.random.normal(_keys(seed)[1], (output, hidden)) / np.sqrt(hidden))


def _keys(seed: int) -> Any:
    """The keys of a student and of its feedback."""
    return jax.random.split(jax.random.key(seed))


def _flat(update: LinearRNN) -> np.ndarray:
    """The recurrent and input weights' part of an update; the readout's is the same for every rule."""
    return np.concatenate([np.ravel(update.W), np.ravel(update.B)])
