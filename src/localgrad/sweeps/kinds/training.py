"""Sampled training of networks: `localgrad.train`, a run at a time.

Linear students are judged by their exact expected loss. Networks of cells hear the same task as sequences
(`tasks/linear_sequences.py`) and are judged on 1,024 of them, held out, in units of a silent student's loss on these.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from localgrad.cells.stack import Network
from localgrad.learning.train import train
from localgrad.rules.rule import Rule
from localgrad.sweeps.kinds.kind import Parameter, Variable
from localgrad.sweeps.kinds.modes import Positive
from localgrad.sweeps.kinds.networks import (
    ANY_CELL,
    NETWORK_PARAMETERS,
    NETWORK_SOURCES,
    NETWORK_VARIABLES,
    Learned,
    NetworkKind,
)
from localgrad.sweeps.kinds.tasks import jax_key
from localgrad.tasks.linear_sequences import linear_sequences
from localgrad.tasks.linear_task import LinearTask

Whole = Annotated[int, Field(ge=1, le=2**31)]
_HELD_OUT = 1024


class TrainingKind(NetworkKind):
    """Whole networks trained by sampled updates."""

    name = "train"
    about = "networks trained by sampled updates"
    parameters: ClassVar = NETWORK_PARAMETERS | {
        "cell": ANY_CELL,
        "learning_rate": Parameter(Positive, "learning rate"),
        "num_steps": Parameter(Whole, "updates", "steps"),
        "batch_size": Parameter(Whole, "sequences in a batch", "sequences", 64),
        "horizon": Parameter(Whole, "steps in a sequence", "steps", 100),
        "loss": Parameter(Literal["final", "sequence"], "what is learned of a sequence", "name", "final"),
        "target_loss": Parameter(Positive, "loss at which a run has converged", "silent student's loss", 0.01),
    }
    sources = (*NETWORK_SOURCES, "noise")
    variables: ClassVar = NETWORK_VARIABLES | {
        "loss": Variable(
            "float64", f"loss at the end, exact, of cells on {_HELD_OUT:,} sequences held out", "silent student's loss"
        ),
        "diverged_at": Variable("int32", "the first step that was not taken, or −1", "step", -9),
    }
    chunk = 16
    seconds = 0.5

    def learned(
        self, rule: Rule, student: Any, task: LinearTask, row: Mapping[str, Any], keys: Mapping[str, np.uint64]
    ) -> Learned:
        """The end of a training run."""
        horizon, loss = int(row["horizon"]), row["loss"]
        settings: dict[str, Any] = {name: int(row[name]) for name in ("num_steps", "batch_size")}
        settings |= {name: float(row[name]) for name in ("learning_rate", "target_loss")}
        key = jax_key(int(keys["noise"]))
        if isinstance(student, Network):
            sequences = linear_sequences(task, horizon, loss)
            run = train(rule, student, sequences, key=key, test_size=_HELD_OUT, **settings)
            final = float(run.records["loss"][-1])
        else:
            run = train(rule, student, task, key=key, horizon=horizon, loss=loss, **settings)
            final = float(run.final_loss)
        ends = {"outcome": int(run.outcome), "loss": final / run.silent_loss, "diverged_at": int(run.diverged_at)}
        return Learned(ends, run.initial, run.final)
