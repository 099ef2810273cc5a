r"""Whole runs of sampled training, `θ ← θ − η Δθ̂`: many steps, many seeds, checkpoints (`trainer.py` is one step).

Seeds run side by side in one compiled program. Step `k` draws from the run's key folded with `k`, and the program does
not depend on where a run is cut into chunks: a run that was stopped and resumed from its checkpoint is the
uninterrupted run, bit for bit, on the same machine and versions. A seed that diverges stops there; the others go on.

Source: docs/theory.md, section 9 (sampling).
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from jaxtyping import PRNGKeyArray

from localgrad.cells.stack import Network
from localgrad.checks import check_count, check_positive, in_our_arithmetic
from localgrad.learning.networks.measures import names_of
from localgrad.learning.networks.train import train_networks
from localgrad.learning.result import TrainingRun
from localgrad.learning.running import check_running, run_to_end
from localgrad.learning.trainer import Trainer
from localgrad.learning.training_loop import RunningTraining, losses_of
from localgrad.outcomes import Outcome
from localgrad.rules.rule import Rule
from localgrad.tasks.sequences import SequenceTask
from localgrad.updates.horizon import Loss


@in_our_arithmetic
def train(
    rule: Rule,
    student: Any,
    task: Any,
    *,
    key: PRNGKeyArray,
    num_steps: int,
    batch_size: int,
    learning_rate: Any = None,
    horizon: int | None = None,
    loss: Loss | None = None,
    method: str | None = None,
    poles: str | None = None,
    optimizer: Any = None,
    test_task: SequenceTask | None = None,
    test_size: int | None = None,
    record: Any = (),
    record_every: int | None = None,
    project_on: Any = None,
    target_loss: float | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    checkpoint_every: int = 1000,
    save_every: int | None = None,
    progress: bool = False,
) -> Any:
    r"""Train a student, or a batch of them, on a task with sampled updates.

    **Arguments:**

    - `rule`: feedback of shape `"output hidden"`, or `"seeds output hidden"` for one a seed.
    - `student`: a `LinearRNN`, `LeakyRNN` or `DiagonalSSM`, or a batch of one kind, with one leading axis `"seeds"`;
        or an `lg.Network` of cells, a batch of them, or a list of them. Its precision is the run's. A leak of a
        `LeakyRNN` does not learn; of cells what `learns` says.
    - `task`: for linear students a `LinearTask` or teacher, see `Trainer`; for cells a `SequenceTask` of `lg.tasks`.
    - `key`: a JAX random key; in a batch it is split, one a seed.
    - `num_steps`, `batch_size`: at least 1.
    - `learning_rate`: `η > 0`, dimensionless.
    - `target_loss`: loss, relative to that of a silent student, that counts as converged; positive. Linear students
        are judged by the exact expected loss, cells by that on the held-out batch.
    - `checkpoint`: a file written every `checkpoint_every` steps. If it exists, the run goes on from it; a finished run
        can be prolonged by asking for more steps.
    - `save_every`: keep a snapshot every so many steps.
    - `progress`: show a progress bar on standard error, where that is a terminal.

    For linear students only: `horizon`, which they need, `loss` (`"final"`), `method` (`"correlation"`), `poles`
    (`"direct"`): see `Trainer`. For networks of cells only:

    - `method`: `"recorded"` or `"online"`, see `network_update`.
    - `optimizer`: one of optax, such as `optax.adam(1e-3)`, in place of `learning_rate`.
    - `test_task`, `test_size`: what the held-out batch is drawn from, by default the task, and how many sequences are
        in it, by default `batch_size`. All seeds are judged on the same ones.
    - `record`: names of what is measured along the way (docs/cells.md, "Records").
    - `record_every`: measure after every so many steps, besides the first and the last.
    - `project_on`: directions of units, shape `"directions hidden"` or `"seeds directions hidden"`, that the steps of
        the layer are held to; of several layers a list, `None` for a free one.

    **Returns:** a `TrainingRun`, of cells a `NetworkRun`. A learning rate that blows up is a result, `DIVERGED`.

    **Raises:** `ValueError` for values outside their ranges, shapes that do not fit, weights that are not finite, and a
    checkpoint that is damaged, of another version or of other settings (it is left untouched), or of a run that another
    process is training; for sequences that are not finite.

    Source: docs/theory.md, sections 9 (sampling) and 12.

    >>> import jax, localgrad as lg
    >>> student, teacher = lg.LinearRNN([[0.5]], [[0.0]], [[1.0]]), lg.LinearRNN([[1.0]], [[0.0]], [[1.0]])
    >>> run = lg.train(lg.BPTT(), student, teacher, key=jax.random.key(0), learning_rate=0.1, num_steps=100,
    ...                batch_size=16, horizon=5, target_loss=1e-3)
    >>> run.outcome.name
    'CONVERGED'
    """
    common: dict[str, Any] = {"key": key, "num_steps": num_steps, "batch_size": batch_size}
    common |= {"learning_rate": learning_rate, "target_loss": target_loss, "checkpoint": checkpoint}
    common |= {"checkpoint_every": checkpoint_every, "save_every": save_every, "progress": progress}
    of_linear = {"horizon": horizon, "loss": loss, "poles": poles}
    of_cells = {"optimizer": optimizer, "test_task": test_task, "test_size": test_size}
    of_cells |= {"record_every": record_every, "project_on": project_on}
    if isinstance(student, Network | list):
        _check_unused(of_linear, "networks of cells, whose task has its own length and loss")
        return train_networks(rule, student, task, method=method or "recorded", record=record, **of_cells, **common)
    _check_unused(
        of_cells | {"record": names_of(record) or None}, "a LinearRNN, LeakyRNN or DiagonalSSM; give an lg.Network"
    )
    of_linear["method"] = method
    given: dict[str, Any] = {name: value for name, value in of_linear.items() if value is not None}
    return _train_linear(rule, student, task, **given, **common)


def _check_unused(options: dict[str, Any], whom: str) -> None:
    given = [name for name, value in options.items() if value is not None]
    if given:
        raise ValueError(f"{', '.join(given)} is no option for {whom}")


def _train_linear(
    rule: Rule,
    student: Any,
    task: Any,
    *,
    key: PRNGKeyArray,
    num_steps: int,
    target_loss: float | None,
    checkpoint: Any,
    checkpoint_every: int,
    save_every: int | None,
    progress: bool,
    horizon: int | None = None,
    **settings: Any,
) -> TrainingRun:
    """`train` of linear students."""
    check_running(checkpoint, progress, checkpoint_every=checkpoint_every, save_every=save_every)
    check_count("num_steps", num_steps)
    if target_loss is not None:
        check_positive("target_loss", target_loss)
    trainer = Trainer(rule, task, horizon=horizon, **settings)  # type: ignore[arg-type]
    run = RunningTraining(trainer, student, key, num_steps, save_every)
    run_to_end(run, checkpoint, checkpoint_every, progress, save_every)
    return _result(run, target_loss)


def _result(run: RunningTraining, target_loss: float | None) -> TrainingRun:
    trainer, state = run.trainer, run.state
    final_loss = np.asarray(losses_of(trainer, state.student))
    diverged_at = np.asarray(state.diverged_at)
    target = -1.0 if target_loss is None else target_loss * float(trainer.silent_loss)
    codes = np.where(final_loss <= target, Outcome.CONVERGED, Outcome.UNFINISHED)
    codes = np.where(diverged_at >= 0, Outcome.DIVERGED, codes)
    return TrainingRun(
        trainer=trainer,
        initial=run.initial,
        final=state.student,
        final_rule=trainer.rule.at(state.rule_state),
        loss=run.loss,
        final_loss=final_loss,
        outcome=codes if codes.ndim else Outcome(int(codes)),
        diverged_at=diverged_at,
        snapshot_steps=np.arange(len(run.snapshots)) * (run.save_every or 0),
        snapshots=run.stacked_snapshots(),
    )
