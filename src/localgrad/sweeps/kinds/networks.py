"""Runs of whole networks, whatever moves them: what a sweep may say of them, what it draws, and what it records.

A kind of such runs says how a student learns, `learned`; the task, the student and its rule are made here.
"""

from __future__ import annotations

import abc
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

import jax
import numpy as np
from pydantic import Field

from localgrad.rules.rule import Rule
from localgrad.sweeps.kinds.kind import Cells, Kind, Parameter, Variable, each_run
from localgrad.sweeps.kinds.modes import OUTCOMES, Positive
from localgrad.sweeps.kinds.rules import RULE_PARAMETERS, ignored_by_rule, takes_feedback
from localgrad.sweeps.kinds.students import CELLS, LEAKING, LINEAR, measured, network_rule, student_of
from localgrad.sweeps.kinds.tasks import TASK_PARAMETER, Size, task_of
from localgrad.tasks.linear_task import LinearTask

_ABOUT_CELLS = "what the student is made of"
LINEAR_CELL = Parameter(Literal[tuple(LINEAR)], _ABOUT_CELLS, "name", "linear")
"""The parameter of runs whose students have exact expected updates."""

ANY_CELL = Parameter(Literal[tuple(CELLS)], _ABOUT_CELLS, "name", "linear")
"""The parameter of runs whose students may be of any cell."""

NETWORK_PARAMETERS = RULE_PARAMETERS | {
    "task": TASK_PARAMETER,
    "cell": LINEAR_CELL,
    "leak": Parameter(Annotated[float, Field(gt=0, le=1)], "leak of leaky, tanh and lif cells, a step", default=None),
    "hidden": Parameter(Size, "hidden units of a student", "units"),
    "scale": Parameter(Positive, "scale of a student's first weights", default=0.3),
    "feedback_scale": Parameter(Positive, "scale of the fixed feedback", default=None),
}
"""What a sweep may say of a run of a network, whatever moves it."""

NETWORK_SOURCES = ("student", "feedback", "task")
"""What is drawn for a run of a network."""

NETWORK_VARIABLES = {
    "outcome": Variable("int8", f"how learning ended: {OUTCOMES}", "code"),
    "loss": Variable("float64", "exact expected loss at the end", "silent student's loss"),
    "rank": Variable("float64", "participation ratio (Σσ²)²/Σσ⁴ of the change of W"),
    "radius": Variable("float64", "spectral radius of W at the end"),
}
"""What is recorded of a run of a network, whatever moves it."""

_DRY = dict.fromkeys(NETWORK_SOURCES, np.uint64(0))


class Learned(NamedTuple):
    """What became of a student: the kind's own variables, and the model at both ends."""

    variables: dict[str, Any]
    initial: Any
    final: Any


class NetworkKind(Kind):
    """Runs of whole networks, one after another, in double precision."""

    sources: ClassVar[tuple[str, ...]] = NETWORK_SOURCES

    @abc.abstractmethod
    def learned(
        self, rule: Rule, student: Any, task: LinearTask, row: Mapping[str, Any], keys: Mapping[str, np.uint64]
    ) -> Learned:
        """Let a student learn; `ValueError` where it cannot."""

    def build(self, row: Mapping[str, Any]) -> None:
        """Task, student and rule, of some key."""
        with jax.enable_x64(True):
            task = task_of(row, _DRY)
            network_rule(row, _DRY, student_of(row, _DRY, task))

    def ignored(self, row: Mapping[str, Any]) -> set[str]:
        """What its rule and its cell do not take."""
        found = ignored_by_rule(row) | (set() if takes_feedback(row) else {"feedback_scale"})
        return found | (set() if row["cell"] in LEAKING else {"leak"})

    def compute(self, cells: Cells) -> dict[str, np.ndarray]:
        """Run by run."""
        with jax.enable_x64(True):
            return each_run(self, cells, self._run)

    def _run(self, row: dict[str, Any], keys: dict[str, np.uint64]) -> dict[str, Any]:
        task = task_of(row, keys)
        student = student_of(row, keys, task)
        found = self.learned(network_rule(row, keys, student), student, task, row, keys)
        return found.variables | measured(found.initial, found.final)
