"""What `train` returns: how a student, or a batch of them, was trained by sampled updates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from localgrad.learning.curve import interpolated
from localgrad.learning.trainer import Trainer
from localgrad.models.diagonal import DiagonalSSM
from localgrad.models.linear import LinearRNN
from localgrad.outcomes import Outcome
from localgrad.rules.rule import Rule
from localgrad.tasks.linear_task import LinearTask


@dataclass(frozen=True)
class TrainingRun:
    """A run of sampled training. Shapes are of one student; a batch has one leading axis `"seeds"` more throughout.

    - `trainer`: rule, task and settings.
    - `initial`, `final`: the students at both ends; one that diverged is the last with finite weights.
    - `final_rule`: the rule at the end, whose feedback may have learned.
    - `loss`: of each step's batch, before the step, shape `"steps"`; from divergence on `trainer.loss_limit`.
    - `final_loss`: the exact expected loss of `final`, at most `trainer.loss_limit`.
    - `outcome`: an `Outcome`; in a batch an array of their numbers. `DIVERGED`: a loss that is not finite or above 1e6
        times that of a silent student. `CONVERGED`: `final_loss` is at most `target_loss` times that of a silent
        student, where a target was given. `UNFINISHED`: neither.
    - `diverged_at`: the first step that was not taken, or −1.
    - `snapshot_steps`, `snapshots`: with `save_every`, the students after these steps (0 first), with a leading axis
        `"snapshots"`; without, none.
    """

    trainer: Trainer
    initial: Any
    final: Any
    final_rule: Rule
    loss: np.ndarray
    final_loss: np.ndarray
    outcome: Any
    diverged_at: np.ndarray
    snapshot_steps: np.ndarray
    snapshots: Any

    def __repr__(self) -> str:
        trainer, sizes = self.trainer, "{} outputs, {} hidden units, {} inputs".format(*self.initial.sizes)
        many, left = self.loss.ndim == 2, self.final_loss / self.silent_loss
        seeds = f"{len(self.loss)} students of " if many else "a student of "
        counts = Outcome.counts(self.outcome)
        outcomes = ", ".join(f"{n} {word}" for word, n in counts.items()) if many else str(self.outcome)
        losses = f"{np.median(left):.3g}" + (f" (median; {left.min():.3g} to {left.max():.3g})" if many else "")
        return (
            f"TrainingRun under {self.rule.describe()}\n"
            f"  {seeds}{sizes}; batches of {trainer.batch_size} sequences of {trainer.horizon} steps, "
            f"learning rate {float(trainer.learning_rate):g}\n"
            f"  {outcomes} after {self.loss.shape[-1]} steps\n"
            f"  exact loss {losses} of a silent student's"
        )

    @property
    def rule(self) -> Rule:
        """The rule at the start."""
        return self.trainer.rule

    @property
    def task(self) -> LinearTask | DiagonalSSM:
        """The task."""
        return self.trainer.task

    @property
    def teacher(self) -> LinearRNN | DiagonalSSM:
        """The teacher; `ValueError` where the task is more than a teacher that hears white noise."""
        return self.task if isinstance(self.task, DiagonalSSM) else self.task.teacher

    @property
    def silent_loss(self) -> float:
        """The exact expected loss of a student without output, the unit in which losses are told."""
        return float(self.trainer.silent_loss)

    @property
    def duration(self) -> float:
        """Learning time: learning rate × steps."""
        return float(self.trainer.learning_rate) * self.loss.shape[-1]

    @property
    def time(self) -> np.ndarray:
        """Learning time before each step, shape `"steps"`."""
        return float(self.trainer.learning_rate) * np.arange(self.loss.shape[-1])

    def at(self, times: Any) -> np.ndarray:
        """The batches' loss at learning times, interpolated between steps in its logarithm (see `LearningCurve.at`)."""
        return interpolated(times, self.time, self.loss, self.duration)

    def plot(self) -> Any:
        """A Matplotlib figure: the batches' loss over steps, a curve a seed, in units of a silent student's."""
        from localgrad.figures.curves import plot_losses

        steps = np.arange(1, self.loss.shape[-1] + 1)
        return plot_losses(steps, self.loss / self.silent_loss, self.outcome, self.rule, "step")
