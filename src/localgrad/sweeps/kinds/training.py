"""Sampled training of networks: `localgrad.train`, a run at a time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

import jax
import numpy as np
from pydantic import Field

from localgrad.learning.train import train
from localgrad.sweeps.kinds.kind import Cells, Kind, Parameter, Variable, each_run
from localgrad.sweeps.kinds.modes import Positive
from localgrad.sweeps.kinds.networks import NETWORK_PARAMETERS, NETWORK_SOURCES, NETWORK_VARIABLES
from localgrad.sweeps.kinds.students import measured, network_rule, student_of
from localgrad.sweeps.kinds.tasks import jax_key, task_of

Whole = Annotated[int, Field(ge=1, le=2**31)]
_DRY = dict.fromkeys(NETWORK_SOURCES, np.uint64(0))


class TrainingKind(Kind):
    """Whole networks trained by sampled updates."""

    name = "train"
    about = "networks trained by sampled updates"
    parameters: ClassVar = NETWORK_PARAMETERS | {
        "learning_rate": Parameter(Positive, "learning rate"),
        "num_steps": Parameter(Whole, "updates", "steps"),
        "batch_size": Parameter(Whole, "sequences in a batch", "sequences", 64),
        "horizon": Parameter(Whole, "steps in a sequence", "steps", 100),
        "loss": Parameter(Literal["final", "sequence"], "what is learned of a sequence", "name", "final"),
        "target_loss": Parameter(Positive, "loss at which a run has converged", "silent student's loss", 0.01),
    }
    sources = (*NETWORK_SOURCES, "noise")
    variables: ClassVar = NETWORK_VARIABLES | {
        "diverged_at": Variable("int32", "the first step that was not taken, or −1", "step", -9),
    }
    chunk = 16
    seconds = 0.5

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
    run = train(
        network_rule(row, keys, student),
        student,
        task,
        key=jax_key(int(keys["noise"])),
        learning_rate=float(row["learning_rate"]),
        num_steps=int(row["num_steps"]),
        batch_size=int(row["batch_size"]),
        horizon=int(row["horizon"]),
        loss=row["loss"],
        target_loss=float(row["target_loss"]),
    )
    ends = {"outcome": int(run.outcome), "loss": float(run.final_loss) / run.silent_loss}
    return ends | {"diverged_at": int(run.diverged_at)} | measured(run.initial, run.final)
