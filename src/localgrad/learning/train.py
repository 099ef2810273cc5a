r"""Whole runs of sampled training, `θ ← θ − η Δθ̂`: many steps, many seeds, checkpoints (`trainer.py` is one step).

Seeds run side by side in one compiled program. Step `k` draws from the run's key folded with `k`, and the program does
not depend on where a run is cut into chunks: a run that was stopped and resumed from its checkpoint is the
uninterrupted run, bit for bit, on the same machine and versions. A seed that diverges stops there; the others go on.

Source: docs/theory.md, section 9 (sampling).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import jax
import numpy as np
from jaxtyping import PRNGKeyArray

from localgrad.checks import check_count, check_flag, check_path, check_positive, in_our_arithmetic
from localgrad.files import only_writer
from localgrad.learning.checkpoints import check_room, restore_checkpoint, write_checkpoint
from localgrad.learning.result import TrainingRun
from localgrad.learning.trainer import Trainer
from localgrad.learning.training_loop import RunningTraining, losses_of
from localgrad.models.diagonal import DiagonalSSM
from localgrad.models.leaky import LeakyRNN
from localgrad.models.linear import LinearRNN
from localgrad.outcomes import Outcome
from localgrad.rules.rule import Rule
from localgrad.tasks.linear_task import LinearTask
from localgrad.updates.horizon import Loss


@in_our_arithmetic
def train(
    rule: Rule,
    student: LinearRNN | LeakyRNN | DiagonalSSM,
    task: LinearRNN | DiagonalSSM | LinearTask,
    *,
    key: PRNGKeyArray,
    learning_rate: float,
    num_steps: int,
    batch_size: int,
    horizon: int,
    loss: Loss = "final",
    method: str = "correlation",
    poles: str = "direct",
    target_loss: float | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    checkpoint_every: int = 1000,
    save_every: int | None = None,
    progress: bool = False,
) -> TrainingRun:
    r"""Train a student, or a batch of them, on a task with sampled updates.

    **Arguments:**

    - `rule`: feedback of shape `"output hidden"`, or `"seeds output hidden"` for one a seed.
    - `student`: a `LinearRNN`, `LeakyRNN` or `DiagonalSSM`, or a batch of one kind, with one leading axis `"seeds"`.
        Its precision is the run's. A leak does not learn.
    - `task`, `learning_rate`, `batch_size`, `horizon`, `loss`, `method`, `poles`: see `Trainer`.
    - `key`: a JAX random key; in a batch it is split, one a seed.
    - `num_steps`: at least 1.
    - `target_loss`: exact expected loss, relative to that of a silent student, that counts as converged; positive.
    - `checkpoint`: a file written every `checkpoint_every` steps. If it exists, the run goes on from it; a finished run
        can be prolonged by asking for more steps.
    - `save_every`: keep a snapshot every so many steps.
    - `progress`: show a progress bar on standard error, where that is a terminal.

    **Returns:** a `TrainingRun`. A learning rate that blows up is a result, `DIVERGED`.

    **Raises:** `ValueError` for values outside their ranges, shapes that do not fit, weights that are not finite, and a
    checkpoint that is damaged, of another version or of other settings (it is left untouched), or of a run that another
    process is training.

    Source: docs/theory.md, section 9 (sampling).

    >>> import jax, localgrad as lg
    >>> student, teacher = lg.LinearRNN([[0.5]], [[0.0]], [[1.0]]), lg.LinearRNN([[1.0]], [[0.0]], [[1.0]])
    >>> run = lg.train(lg.BPTT(), student, teacher, key=jax.random.key(0), learning_rate=0.1, num_steps=100,
    ...                batch_size=16, horizon=5, target_loss=1e-3)
    >>> run.outcome.name
    'CONVERGED'
    """
    for name, count in (("num_steps", num_steps), ("checkpoint_every", checkpoint_every), ("save_every", save_every)):
        if count is not None or name != "save_every":
            check_count(name, count)
    if target_loss is not None:
        check_positive("target_loss", target_loss)
    if checkpoint is not None:
        check_path("checkpoint", checkpoint)
    check_flag("progress", progress)
    trainer = Trainer(
        rule, task, learning_rate=learning_rate, batch_size=batch_size, horizon=horizon, loss=loss, method=method,
        poles=poles,
    )  # fmt: skip
    run = RunningTraining(trainer, student, key, num_steps, save_every)
    with ExitStack() as held:
        if checkpoint is not None:  # two runs that take turns at one file would each lose the other's steps
            held.enter_context(only_writer(checkpoint, "checkpoint"))
        stored = None if checkpoint is None else _Checkpoint(Path(checkpoint), run)
        show = held.enter_context(_progress_bar(progress, run.step, num_steps))
        while run.step < num_steps:
            run.advance(_next_multiple(run.step, checkpoint_every if stored else None, save_every, num_steps))
            if stored and (run.step % checkpoint_every == 0 or run.step == num_steps):
                stored.write(run)
            show(run.step)
    return _result(run, target_loss)


def _next_multiple(step: int, *intervals: int | None) -> int:
    """The next step that is a multiple of one of the intervals."""
    return min((step // interval + 1) * interval for interval in intervals if interval)


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


class _Checkpoint:
    """The file that a run is stored in. A first one is written at once, so that a bad place shows early."""

    def __init__(self, path: Path, run: RunningTraining):
        self.path, self.settings = path, run.settings()
        check_room(path, _size_at_end(run, self.settings))
        if path.exists():
            restore_checkpoint(path, self.settings, run.restore)
        else:
            self.write(run)

    def write(self, run: RunningTraining) -> None:
        write_checkpoint(self.path, self.settings, run.progress())


def _size_at_end(run: RunningTraining, settings: dict[str, np.ndarray]) -> int:
    student = sum(x.nbytes for x in jax.tree.leaves(run.initial))
    num_snapshots = run.num_steps // run.save_every + 1 if run.save_every else 0
    return sum(x.nbytes for x in settings.values()) + run.loss.nbytes + (num_snapshots + 1) * student


@contextmanager
def _progress_bar(wanted: bool, step: int, num_steps: int) -> Iterator[Callable[[int], None]]:
    """A function to call with the step reached; it moves a bar on standard error, where that is a terminal."""
    if not wanted:
        yield lambda step: None
        return
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("steps", total=num_steps, completed=step)
        yield lambda step: bar.update(task, completed=step)
