"""Exact learning curves of networks: `localgrad.learn`, a run at a time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from localgrad.learning.flow import learn
from localgrad.learning.methods import Flow, Steps
from localgrad.outcomes import CONVERGED_LOSS
from localgrad.rules.rule import Rule
from localgrad.sweeps.kinds.kind import Parameter, Variable
from localgrad.sweeps.kinds.modes import Positive
from localgrad.sweeps.kinds.networks import NETWORK_PARAMETERS, NETWORK_VARIABLES, Learned, NetworkKind
from localgrad.tasks.linear_task import LinearTask


class FlowKind(NetworkKind):
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
    variables: ClassVar = NETWORK_VARIABLES | {
        "time": Variable("float64", "learning time until the end", "learning rate × steps"),
        "steps": Variable("int32", "steps of the integrator", "steps"),
    }
    chunk = 64
    seconds = 0.05

    def learned(
        self, rule: Rule, student: Any, task: LinearTask, row: Mapping[str, Any], keys: Mapping[str, np.uint64]
    ) -> Learned:
        """The exact learning curve, of which the end is kept."""
        horizon, rate = row["horizon"], row["learning_rate"]
        curve = learn(
            rule,
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
        return Learned(ends | {"steps": int(curve.steps)}, curve.initial, curve.final)
