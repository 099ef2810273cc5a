r"""Whether what a file says of a run fits together: shapes, kinds of numbers, ranges.

A file is written by whoever has it. What is read from it is believed only where all shapes follow from those of the
students at the start (a student, or a batch of them), times ascend, and the rule fits the networks. Limit: numbers that
are plausible are not recomputed.
"""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from localgrad.checks import check_finite
from localgrad.learning.curve import LearningCurve
from localgrad.learning.result import TrainingRun
from localgrad.models.arrays import axes_of, check_one_axis, readout_of
from localgrad.models.diagonal import DiagonalSSM
from localgrad.outcomes import Outcome
from localgrad.rules.rule import Rule
from localgrad.updates.engines import engine_of
from localgrad.updates.problem import named

_REAL, _WHOLE = "f", "iu"


def check_run(run: LearningCurve | TrainingRun) -> None:
    """`ValueError` that names the first thing about a run from a file that does not fit the rest."""
    seeds = check_one_axis(run.initial)
    _check_networks(run, seeds)
    if isinstance(run, LearningCurve):
        _check_curve(run, seeds)
    else:
        _check_training(run, seeds)
    _check_array("outcome", np.asarray(run.outcome), seeds, _WHOLE)
    for code in np.unique(np.asarray(run.outcome)):
        Outcome(int(code))


def _check_networks(run: Any, seeds: tuple[int, ...]) -> None:
    check_finite("teacher" if isinstance(run.task, DiagonalSSM) else named(run.task), run.task)
    check_finite("student", run.initial)
    first = jax.tree.map(lambda x: x[0], run.initial) if seeds else run.initial
    # Of shapes alone, in a precision that is never cut: to load a run is not to compute with it.
    engine_of(first).check_problem(*jax.tree.map(_zeros, (first, run.task)))
    _check_network("final networks", run.final, run.initial, seeds)
    check_finite("final network", run.final)
    if run.rule.num_seeds not in (None, *seeds):
        raise ValueError(f"its rule has arrays for {run.rule.num_seeds} seeds, its students leading axes {seeds}")
    Rule.check_fits(run.rule.of_seed(0), *first.sizes[:2], diagonal=isinstance(first, DiagonalSSM))
    _check_states("final state", run.final_rule.state, run.initial, seeds)


def _check_curve(run: LearningCurve, seeds: tuple[int, ...]) -> None:
    points = np.shape(run.time)[-1:]
    _check_array("time", run.time, (*seeds, *points), _REAL)
    _check_array("loss", run.loss, (*seeds, *points), _REAL)
    _check_array("steps", run.steps, seeds, _WHOLE)
    count = np.shape(run.snapshot_times)[:1]
    _check_array("snapshot_times", run.snapshot_times, count, _REAL)
    _check_network("snapshots", run.snapshots, run.initial, (*seeds, *count))
    _check_states("state", run.states, run.initial, (*seeds, *count))
    for name, times in (("time", run.time), ("snapshot_times", run.snapshot_times)):
        if not points[0] or not np.all(np.isfinite(times)) or np.any(np.diff(times) < 0):
            raise ValueError(f"its {name} does not ascend; save the run again")
    for name in ("duration", "silent_loss"):
        if not 0 < getattr(run, name) < np.inf:
            raise ValueError(f"its {name} is {getattr(run, name)}, but must be positive and finite")


def _check_training(run: TrainingRun, seeds: tuple[int, ...]) -> None:
    _check_array("loss", run.loss, (*seeds, *np.shape(run.loss)[-1:]), _REAL)
    _check_array("final_loss", run.final_loss, seeds, _REAL)
    _check_array("diverged_at", run.diverged_at, seeds, _WHOLE)
    count = np.shape(run.snapshot_steps)[:1]
    _check_array("snapshot_steps", run.snapshot_steps, count, _WHOLE)
    _check_network("snapshots", run.snapshots, run.initial, (*seeds, *count))


def _check_array(name: str, value: Any, shape: tuple[int, ...], kinds: str) -> None:
    if np.shape(value) != shape or value.dtype.kind not in kinds or np.any(np.isnan(value)):
        raise ValueError(
            f"its {name} has shape {np.shape(value)} of {value.dtype}; it must be {shape} of "
            f"{'whole' if kinds == _WHOLE else 'real'} numbers that are not NaN"
        )
    if kinds == _WHOLE and name != "diverged_at" and np.any(value < 0):
        raise ValueError(f"its {name} is negative; save the run again")


def _check_network(name: str, model: Any, like: Any, leading: tuple[int, ...]) -> None:
    for letter, axes in axes_of(type(like)).items():
        x, y = getattr(model, letter), getattr(like, letter)
        if x.shape != (*leading, *y.shape[-len(axes) :]):
            raise ValueError(
                f"{letter} of its {name} has shape {x.shape}, it must be {(*leading, *y.shape[-len(axes) :])}"
            )


def _zeros(x: Any) -> np.ndarray:
    return np.zeros(x.shape, np.complex64 if np.iscomplexobj(x) else np.float32)


def _check_states(name: str, states: tuple[Any, ...], like: Any, leading: tuple[int, ...]) -> None:
    for state in states:
        _check_array(name, np.asarray(state), (*leading, *readout_of(like).shape[-2:]), _REAL)


def check_same_rule(
    rule: Rule, terms: Any, times: tuple[Any, Any], numbers: Any, stored: Any, description: str
) -> None:
    """`ValueError` where a rule given beside a file is not the one that the file tells of, as far as it tells.

    `times`: its lags and its delay.
    """
    told = {part: [type(term).__name__ for term in getattr(rule, part).terms] for part in ("feedback", "propagator")}
    same = told == terms and (rule.lags, rule.delay) == times and set(numbers) == set(stored)
    if not same or not all(_close(numbers[name], stored[name]) for name in numbers):
        raise ValueError(f"the rule given ({rule.describe()}) is not that of the run ({description[:200]}); give that")


def _close(one: Any, other: Any) -> bool:
    """Equal but for the precision in which a run may have been computed."""
    return np.shape(one) == np.shape(other) and np.allclose(one, other, rtol=1e-6, atol=0)
