"""Exact learning curves of networks: `localgrad.learn`, a run at a time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

import jax
import numpy as np
from pydantic import Field

from localgrad.learning.flow import learn
from localgrad.learning.methods import Flow, Steps
from localgrad.outcomes import CONVERGED_LOSS
from localgrad.sweeps.kinds.kind import Cells, Kind, Parameter, Variable, each_run
from localgrad.sweeps.kinds.modes import Positive
from localgrad.sweeps.kinds.networks import NETWORK_PARAMETERS, NETWORK_SOURCES, NETWORK_VARIABLES
from localgrad.sweeps.kinds.students import measured, network_rule, student_of
from localgrad.sweeps.kinds.tasks import task_of

_DRY = dict.fromkeys(NETWORK_SOURCES, np.uint64(0))


class FlowKind(Kind):
    """Whole networks along the exact learning flow."""

    name = "flow"
    about = "networks along the exact learning flow"
    parameters: ClassVar = NETWORK_PARAMETERS | {
        "duration": Parameter(Positive, "learning time after which a run is unfinished", "learning rate × steps"),
        "horizon": Parameter(
            Annotated[int, Field(ge=1)], "steps of a sequence; without it, infinitely many", "steps", None
        ),
        "loss": Parameter(Literal["final", "sequence"], "what is learned of a finite sequence", "name", "final"),
        "learning_rate": Parameter(Positive, "size of discrete steps; without it, the flow", default=None),
        "tolerance": Parameter(
            Annotated[float, Field(ge=0, lt=1)],
            "loss at which a run has converged",
            "silent student's loss",
            CONVERGED_LOSS,
        ),
        "rtol": Parameter(Positive, "relative error allowed in a step of the integrator", default=Flow().rtol),
    }
    sources = NETWORK_SOURCES
    variables: ClassVar = NETWORK_VARIABLES | {
        "time": Variable("float64", "learning time until the end", "learning rate × steps"),
        "steps": Variable("int32", "steps of the integrator", "steps"),
    }
    chunk = 64
    seconds = 0.05

    def build(self, row: Mapping[str, Any]) -> None:
        """Task, student and rule, of some key."""
        with jax.enable_x64(True):
            task = task_of(row, _DRY)
            network_rule(row, _DRY, student_of(row, _DRY, task))

    def compute(self, cells: Cells) -> dict[str, np.ndarray]:
        """Run by run, in double precision."""
        with jax.enable_x64(True):
            return each_run(self, cells, _run)


def _run(row: dict[str, Any], keys: dict[str, np.uint64]) -> dict[str, Any]:
    task = task_of(row, keys)
    student = student_of(row, keys, task)
    horizon, rate = row["horizon"], row["learning_rate"]
    curve = learn(
        network_rule(row, keys, student),
        student,
        task,
        duration=float(row["duration"]),
        horizon=None if horizon is None else int(horizon),
        loss=row["loss"],
        method=Flow(rtol=float(row["rtol"])) if rate is None else Steps(float(rate)),
        tolerance=float(row["tolerance"]),
        save_at=[0.0],
    )
    ends = {"outcome": int(curve.outcome), "loss": curve.loss[-1] / curve.silent_loss, "time": curve.time[-1]}
    return ends | {"steps": int(curve.steps)} | measured(curve.initial, curve.final)
