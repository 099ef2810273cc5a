"""Learning of single modes: `localgrad.integrate_modes`, many at a time.

A run is one mode `(a, b, w)` that learns from a teacher mode under a rule. Runs of a chunk that share what must be
shared (rule, lags, poles, duration, tolerance) are integrated together; no trajectory sees its neighbours, so results
do not depend on what else is in a chunk.

Limits: those of `integrate_modes`. A start outside the domain is `DIVERGED` at time 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import numpy as np
from pydantic import Field, PlainValidator

from localgrad.models.aligned import Mode
from localgrad.models.poles import DIRECT, find_poles
from localgrad.modes.ensemble.integrate import integrate_modes
from localgrad.modes.ensemble.result import Ensemble
from localgrad.outcomes import Outcome
from localgrad.sweeps.kinds.kind import Cells, Kind, Parameter, Variable
from localgrad.sweeps.kinds.rules import RULE_PARAMETERS, ignored_by_rule, needs_feedback, rule_of, takes_feedback
from localgrad.sweeps.values import Number

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Recurrent = Annotated[float, Field(gt=-1, lt=1)]

OUTCOMES = ", ".join(f"{int(outcome)} {outcome}" for outcome in Outcome)
"""The codes of outcomes in words, for the description of a variable."""

_SHARED = ("rule", "lags", "poles", "duration", "rtol")
_NUMBERS = ("feedback", "decay", "feedback_blend", "propagator_blend")
_STARTS = ("a", "b", "w", "teacher_a", "teacher_b", "teacher_w")


def _check_poles(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"give the name of poles in quotes, not {value!r:.40}")
    return find_poles(value).key


class ModesKind(Kind):
    """Single modes along the learning flow."""

    name = "modes"
    about = "single modes along the exact learning flow"
    parameters: ClassVar = RULE_PARAMETERS | {
        "decay": Parameter(Number, RULE_PARAMETERS["decay"].about, default=None),
        "feedback": Parameter(Number, "fixed feedback â of a mode", default=None),
        "a": Parameter(Number, "readout of the start"),
        "b": Parameter(Number, "input weight of the start"),
        "w": Parameter(Number, "recurrent weight of the start"),
        "scale": Parameter(Positive, "factor of a and b at the start", default=1.0),
        "teacher_a": Parameter(Number, "readout of the teacher", default=1.0),
        "teacher_b": Parameter(Number, "input weight of the teacher", default=1.0),
        "teacher_w": Parameter(Recurrent, "recurrent weight of the teacher"),
        "poles": Parameter(Annotated[Any, PlainValidator(_check_poles)], "what of a pole is trained", "name", "direct"),
        "duration": Parameter(
            Positive, "learning time after which a run is unfinished", "learning rate × steps", 1000.0
        ),
        "rtol": Parameter(Positive, "relative error allowed in a step of the integrator", default=1e-5),
    }
    variables: ClassVar = {
        "outcome": Variable("int8", f"how learning ended: {OUTCOMES}", "code"),
        "branch": Variable("int8", "branch of the optimal manifold reached, sign of s; 0 if not converged", "sign", -9),
        "time": Variable("float32", "learning time until converged, or the end", "learning rate × steps"),
        "path_length": Variable("float32", "length of the way through (a, b, w)"),
        "peak_loss": Variable("float32", "highest loss on the way, infinite where diverged", "initial loss"),
    }
    chunk = 2**20
    least_chunk = 2**18
    uses_xla = False
    seconds = 2e-6

    def build(self, row: Mapping[str, Any]) -> None:
        """The rule, and its feedback."""
        _rule_of(row)

    def ignored(self, row: Mapping[str, Any]) -> set[str]:
        """What its rule does not take."""
        return ignored_by_rule(row) | (set() if takes_feedback(row) else {"feedback"})

    def compute(self, cells: Cells) -> dict[str, np.ndarray]:
        """All runs, those together that share a program."""
        found = {name: np.full(cells.size, v.fill_value, v.dtype) for name, v in self.variables.items()}
        for group in _groups(cells):
            _integrate(cells, group, found)
        return found


def _groups(cells: Cells) -> list[np.ndarray]:
    """The runs that can be integrated in one call, group by group: alike in what they share, and in what they lack."""
    code = np.zeros(cells.size, np.int64)
    for name in (*_SHARED, *_NUMBERS):
        values, index = cells.levels(name)
        words = [str(x) if name in _SHARED else str(x is None) for x in values]
        kinds = {word: number for number, word in enumerate(dict.fromkeys(words))}
        if len(kinds) > 1:
            code = np.unique(code * len(kinds) + np.array([kinds[x] for x in words])[index], return_inverse=True)[1]
    if code.size == 0 or not code.any():
        return [np.arange(cells.size)]
    order = np.argsort(code, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(code[order])) + 1)


def _integrate(cells: Cells, group: np.ndarray, found: dict[str, np.ndarray]) -> None:
    """Integrate a group; where one of its runs cannot be computed, parts of it, so that the others are."""
    try:
        run = _run_as_is(cells, group)
    except ValueError as error:
        parts = _parts(cells, group)
        for part in parts:
            _integrate(cells, part, found)
        for index in group if not parts else ():
            cells.refuse(int(index), str(error))
        return
    with np.errstate(over="ignore"):  # a peak loss beyond single precision is infinite there
        for name, column in found.items():
            column[_places(cells, group)] = getattr(run, name)[: len(group)]


def _run_as_is(cells: Cells, group: np.ndarray) -> Ensemble:
    """The ensemble of a group; where all its starts are invalid, outcomes all the same, not an error."""
    try:
        return _run(cells, group)
    except ValueError:
        return _run(cells, group, completed=True)


def _places(cells: Cells, group: np.ndarray) -> Any:
    """A group as an index: of all runs, all of them, which needs no copy."""
    return slice(None) if len(group) == cells.size else group


def _parts(cells: Cells, group: np.ndarray) -> list[np.ndarray]:
    """A group divided by what decides whether a run can be computed; none where its runs are alike in that.

    Starts decide nothing (`_run`), but for those that bounded poles do not have.
    """
    deciding = [*_NUMBERS, "teacher_a", "teacher_b", "teacher_w"]
    if cells.column("poles")[group[0]] != DIRECT.key:
        deciding.append("w")
    alike = True
    for name in deciding:
        own = np.unique(cells.levels(name)[1][group], return_inverse=True)[1]
        alike &= not own.any()
        if 0 < own.max() < len(group) // 2:
            return [group[own == level] for level in range(own.max() + 1)]
    return [] if alike else np.array_split(group, 2)


def _run(cells: Cells, group: np.ndarray, completed: bool = False) -> Ensemble:
    """The ensemble of a group; if it is completed, with a start at the teacher's w at its end.

    That start is always valid: of starts that are all invalid `integrate_modes` makes an error, of some an outcome.
    """
    shared = {name: cells.column(name)[group[0]] for name in _SHARED}
    where = np.append(group, group[0]) if completed else _places(cells, group)
    numbers = {name: _numbers(cells, name, where) for name in (*_NUMBERS, *_STARTS, "scale")}
    a, b, w, *teacher = (numbers[name] for name in _STARTS)
    w = np.broadcast_to(w, len(group) + completed)
    if completed:
        w = np.append(w[:-1], np.ravel(teacher[2])[-1])
    return integrate_modes(
        _rule_of(shared | numbers), Mode(_scaled(a, numbers), _scaled(b, numbers), w), Mode(*teacher), threads=1,
        duration=float(shared["duration"]), rtol=float(shared["rtol"]), poles=shared["poles"],
    )  # fmt: skip


def _scaled(x: Any, numbers: Mapping[str, Any]) -> Any:
    scale = numbers["scale"]
    return x if isinstance(scale, float) and scale == 1 else x * scale


def _numbers(cells: Cells, name: str, where: Any) -> Any:
    """The numbers of a group: one, where all runs share it, or an array; `None` where its runs have none."""
    values, _ = cells.levels(name)
    if len(values) == 1:
        return None if values[0] is None else float(values[0])
    found = cells.column(name)[where]
    return None if found.dtype == object and found[0] is None else found.astype(float, copy=False)


def _rule_of(row: Mapping[str, Any]) -> Any:
    feedback = row["feedback"]
    if needs_feedback(row) and feedback is None:
        raise ValueError("the rule needs a fixed feedback; give feedback, a number")
    return rule_of(row, feedback if takes_feedback(row) else None)
